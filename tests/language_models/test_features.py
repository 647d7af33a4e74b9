"""Fused features of language models: what the last linear layer is given at the end of each prompt."""

import pytest

pytest.importorskip("transformers")

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import ASKED, probe_of, single_questions
from language_models.test_explanations import prompts_of

from mviz_lightning.engine.answer_outputs import OwnAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import MultimodalRepresentation, ProbeContext
from mviz_lightning.functional import GridDesign
from mviz_lightning.session.feature_evaluators import FeatureEvaluators

PAIRS = [(1, 0), (0, 1), (2, 2)]
FAMILY = FAMILIES["LLaVA"]


@pytest.mark.parametrize(("name", "side"), [("LLaVA", "left"), ("Qwen2-VL", "right"), ("Qwen2-Audio", "left")])
@torch.no_grad()
def test_features_are_hidden_states_at_the_end_of_prompts(name: str, side: str) -> None:
    family: Family = FAMILIES[name]
    answers, probe = prompts_of(family, side)
    evaluator = Evaluator(family.own_model(), answers.predict)
    featured = FeatureEvaluators(ProbeContext(probe, "multiclass", GridDesign(2), range(4)), evaluator)
    found = featured.of(MultimodalRepresentation()).plain(probe, Query(torch.tensor(PAIRS)))
    for row, (item, text) in zip(found, PAIRS, strict=True):
        batch = family.batch([Question(ASKED[text][0], [family.item(item)])])
        returned = family.own_model()(**batch, output_hidden_states=True)
        wanted = torch.cat([returned.hidden_states[-1][0, -1], returned.logits[0, -1]])
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=2e-6)


def test_likelihoods_of_answers_have_no_features() -> None:
    answers, _ = prompts_of(FAMILY)
    probe = answers.texts(probe_of(FAMILY, single_questions(FAMILY))).answered
    context = ProbeContext(probe, "regression", GridDesign(2), range(4))
    evaluator = Evaluator(FAMILY.own_model(), OwnAnswers(answers.language, answers.finder))
    with pytest.raises(ConfigurationError, match="the output is the likelihood .* Remove this explainer"):
        FeatureEvaluators(context, evaluator).of(MultimodalRepresentation())
