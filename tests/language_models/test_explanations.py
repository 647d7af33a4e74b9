"""Explanations of language models: words masked in place, pictures by the tokens that the model makes of them."""

import pytest

pytest.importorskip("transformers")

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import transformers as tf
from helpers.tally import Tally
from language_models.families import FAMILIES, TEXT, Family, Question, _llava
from language_models.rebuilding import ASKED, modalities_of, probe_of, single_questions
from language_models.tokens import VOCABULARY
from lightning.pytorch import LightningModule
from matplotlib.figure import Figure
from torch import Tensor, nn

from mviz_lightning import explain
from mviz_lightning.batch import Modality, Probe
from mviz_lightning.engine.answer_outputs import OwnAnswers, WholeAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    MultimodalPrediction,
    MultimodalRepresentation,
    ProbeContext,
    UnimodalImportance,
)
from mviz_lightning.functional import GridDesign
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.modalities.vocabulary import BLANK
from mviz_lightning.session.answer_scores import Answers, answers_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.share_report import ShareReport

BY_INDEX = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL")
"""Families whose positions follow from the attention mask."""

WORDS = [
    ["what", "is", "the", "colour", "of"],
    ["many"],
    ["is"],
    ["red"],
]
"""The words of each question that can be masked: not the first and the last token."""


def prompts_of(family: Family, side: str = "right") -> tuple[Answers, Probe]:
    """Return the answers of a family, and its questions without them."""
    probe = probe_of(family, single_questions(family), side)
    answers = answers_of(family.own_model(), probe, SessionConfig(modalities_of(family, side)))
    assert answers is not None
    prompts = answers.prompted(probe)
    return answers, replace(prompts, segments={"text": text_of(prompts).segments})


def text_of(probe: Probe) -> ModalityType:
    """Return the text of a probe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)  # of pictures in tiles
        return modality_types_of(probe)["text"]


def unmasked_positions(family: Family, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the positions of a row that a model would otherwise count by its mask."""
    if family.name not in BY_INDEX:
        return {}
    given = {name: value for name, value in batch.items() if name != "pixel_values"}
    return {"position_ids": family.own_model().model.get_rope_index(**given)[0]}


@torch.no_grad()
def slow_logits(family: Family, items: int, text: int, masked: Sequence[str]) -> Tensor:
    """Return ``(V,)`` logits behind a prompt of the processor's own in which some words are hidden."""
    question = Question(ASKED[text][0], [family.item(items)])
    batch = family.batch([question])
    positions, mask = unmasked_positions(family, batch), batch["attention_mask"].clone()
    for word in masked:
        mask[batch["input_ids"] == VOCABULARY[word]] = 0
    return family.own_model()(**batch | positions | {"attention_mask": mask}).logits[0, -1]


@pytest.mark.long
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_masked_words_are_hidden_and_others_stay_in_place(family: Family, side: str) -> None:
    answers, probe = prompts_of(family, side)
    pairs, kept = torch.tensor([[1, 0], [0, 1], [2, 0], [3, 3]]), torch.ones(4, 5, dtype=torch.bool)
    kept[0, [1, 3]], kept[1, 0], kept[3, 0] = False, False, False
    found = Evaluator(family.own_model(), answers.predict).plain(probe, Query(pairs, {"text": kept}))
    masked = [["is", "colour"], ["many"], [], ["red"]]
    wanted = [slow_logits(family, *pair, hidden) for pair, hidden in zip(pairs.tolist(), masked, strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", BY_INDEX)
def test_a_masked_word_does_not_move_the_others(name: str) -> None:
    family, tally = FAMILIES[name], Tally()
    answers, probe = prompts_of(family)
    rows = torch.tensor([[0, 0]])
    rotary = family.own_model().model.language_model.rotary_emb
    with rotary.register_forward_pre_hook(
        lambda module, args, named: tally.seen.append(named.get("position_ids", args[-1])), with_kwargs=True
    ):
        for kept in (torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.bool)):
            Evaluator(family.own_model(), answers.predict).plain(probe, Query(rows, {"text": kept}))
    assert torch.equal(tally.seen[0], tally.seen[1])


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_segments_are_words_of_the_question(family: Family) -> None:
    answers, probe = prompts_of(family)
    answered = answers.texts(probe_of(family, single_questions(family))).answered
    last = family.name == "PaliGemma"  # a line break ends its prompts
    wanted = [words + last * [asked.split()[-1].strip("{}")] for words, (asked, _) in zip(WORDS, ASKED, strict=True)]
    for found in (probe, answered):
        text = text_of(found)
        assert [text.names(example) for example in range(probe.size)] == [list(filter(None, one)) for one in wanted]


def test_tokens_around_tiles_are_cut_short_in_figures() -> None:
    _, probe = prompts_of(FAMILIES["SmolVLM"])
    (axes,) = Figure().subplots(1, 1, squeeze=False)[0]
    text_of(probe).draw(axes, 2)
    drawn = " ".join(one.get_text() for one in axes.texts).split()
    block = ["<fake_token_around_image>", "<row_1_col_1>", "...", "<fake_token_around_image>", BLANK]
    assert sorted(drawn) == sorted([*block, "is", "this"])


def by_mask() -> nn.Module:
    """Return a LLaVA whose language model learns positions that it counts by the mask."""
    given = {"vocab_size": TEXT["vocab_size"], "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24}
    text = tf.OPTConfig(**given, num_hidden_layers=2, num_attention_heads=2, pad_token_id=0, bos_token_id=1)
    config = _llava().config
    config.text_config = text
    return tf.LlavaForConditionalGeneration(config)


@torch.no_grad()
def test_learned_positions_stay_too() -> None:
    family = replace(FAMILIES["LLaVA"], name="counting", model=by_mask)
    answers, probe = prompts_of(family)
    kept = torch.tensor([[True, False, True, True, True]])
    found = Evaluator(family.own_model(), answers.predict).plain(probe, Query(torch.tensor([[1, 0]]), {"text": kept}))
    batch = family.batch([Question(ASKED[0][0], [family.item(1)])])
    hidden, positions = batch["attention_mask"].clone(), torch.arange(batch["input_ids"].shape[1])[None]
    hidden[batch["input_ids"] == VOCABULARY["is"]] = 0
    wanted = family.own_model()(**batch | {"attention_mask": hidden, "position_ids": positions}).logits[:, -1]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-6)


def test_own_answers_are_found_behind_masked_words() -> None:
    family = FAMILIES["LLaVA"]
    answers, _ = prompts_of(family)
    texts = answers.texts(probe_of(family, single_questions(family)))
    probe = replace(texts.answered, segments={"text": text_of(texts.answered).segments})
    kept = torch.tensor([[True, False, True, True, True]])
    evaluator = Evaluator(family.own_model(), OwnAnswers(answers.language, answers.finder))
    found = evaluator.plain(probe, Query(torch.tensor([[1, 0]]), {"text": kept}))
    (token,) = texts.answers[0]
    wanted = slow_logits(family, 1, 0, ["is"]).log_softmax(0)[token]
    torch.testing.assert_close(found, wanted.view(1, 1), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2-VL"])
@torch.no_grad()
def test_whole_answers_stand_behind_masked_words(name: str) -> None:
    family, answer = FAMILIES[name], "red blue"
    answers, probe = prompts_of(family, "left")
    ids = tuple(family.own_processor("left").tokenizer(answer)["input_ids"])
    beside = {path: 1 if path == "attention_mask" else 0 for path in answers.language.by_token.values()}
    whole = WholeAnswers(answers.language, answers.finder, (ids,), beside)
    kept = torch.tensor([[True, False, True, True, True]] * 2)
    found = Evaluator(family.own_model(), whole).plain(probe, Query(torch.tensor([[1, 0], [0, 3]]), {"text": kept}))
    batch = family.batch([Question(ASKED[0][0], [family.item(1)], answer)])
    positions, mask = unmasked_positions(family, batch), batch["attention_mask"].clone()
    mask[batch["input_ids"] == VOCABULARY["is"]] = 0
    given = {name: value for name, value in batch.items() if name != "labels"}
    logits = family.own_model()(**given | positions | {"attention_mask": mask}).logits[0]
    places = (batch["labels"][0] >= 0).nonzero()[:, 0]
    wanted = logits[places - 1].log_softmax(1)[torch.arange(2), torch.tensor(ids)].mean()
    torch.testing.assert_close(found[0], wanted.view(1), rtol=1e-4, atol=2e-6)


class Model(LightningModule):
    """What a user trains."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.model, self.tokenizer = family.own_model(), family.own_processor("right").tokenizer


COLOURS = ["red", "green", "blue"]


def question(family: Family, number: int) -> Question:
    """Return a question about one picture, or about two where the number is a multiple of 3."""
    rest = COLOURS[number % 3 :] + COLOURS[: number % 3]
    items = [family.item(number), family.item(number + 1)][: 1 + (number % 3 == 0)]
    words = [" ".join(["{}"] * len(items)), "what is the", *rest, ["two", "how many"][number % 2], "this"]
    return Question(" ".join(words), items, COLOURS[number // 2 % 3])


METHODS = ("dime", "importance", "cross_modal")
STAGES = ("representation", "prediction")
EXPLAINED = ("LLaVA", "Qwen2-VL")


def report(family: Family) -> ShareReport:
    """Return explanations of questions about one picture or sound and about two, of an untrained model."""
    media, text = modalities_of(family)
    named = {media: Modality(family.media, max_segments=4), text: Modality("input_ids", max_segments=6)}
    methods = [DIME(num_examples=3), UnimodalImportance(num_examples=3), CrossModalInteraction(num_examples=3)]
    stages = [MultimodalRepresentation(features_shown=2), MultimodalPrediction(num_examples=2)]
    batch = family.batch([question(family, number) for number in range(36)])
    given = {"num_examples": 24, "group_size": 4, "explainers": [*methods, *stages], "seed": 1}
    return explain(Model(family), [batch], modalities=named, **given)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_all_methods_explain(family: Family) -> None:
    found, media = report(family), next(iter(modalities_of(family)))
    assert set(found.results) == {*METHODS, *STAGES}
    assert {name: len(found.results[name].examples) for name in METHODS} == dict.fromkeys(METHODS, 3)
    assert "never masked" not in found.notes
    for example in found.results["cross_modal"].examples:
        (pair,) = example.outputs[0].pairs
        assert (pair.first, pair.second) == (media, "text")
        assert pair.weights.shape[1] == 6
        assert pair.has_effect
    for example in found.results["importance"].examples:
        parts = example.outputs[0].parts
        assert {name: (part.method, part.reason) for name, part in parts.items()} == dict.fromkeys(
            (media, "text"), ("integrated_gradients", "")
        )


@pytest.mark.parametrize("name", EXPLAINED)
@torch.no_grad()
def test_parts_of_pictures_and_words_are_masked_at_once(name: str) -> None:
    family = FAMILIES[name]
    answers, probe = prompts_of(family)
    image = modality_types_of(replace(probe, schema=replace(probe.schema, modalities=few_parts(probe))))["image"]
    probe = replace(probe, segments={**probe.segments, "image": image.segments})
    words, parts = torch.tensor([[True, False, True, True, True]]), torch.tensor([[True, False]])
    query = Query(torch.tensor([[1, 0]]), {"text": words, "image": parts})
    found = Evaluator(family.own_model(), answers.predict).plain(probe, query)
    batch = family.batch([Question(ASKED[0][0], [family.item(1)])])
    pixels, own = batch["pixel_values"].clone(), family.batch(single_questions(family))["pixel_values"].double()
    if name == "LLaVA":
        pixels[0, :, :4, 4:] = own.mean((0, 2, 3)).float()[:, None, None]  # the second of 2 x 2 cells
    else:
        pixels[4:8] = own.mean(0).float()  # the second token
    positions, mask = unmasked_positions(family, batch), batch["attention_mask"].clone()
    mask[batch["input_ids"] == VOCABULARY["is"]] = 0
    wanted = family.own_model()(**batch | positions | {"attention_mask": mask, "pixel_values": pixels}).logits[:, -1]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-6)


def few_parts(probe: Probe) -> dict[str, Modality]:
    """Return modalities whose pictures have up to 4 segments."""
    return {**probe.schema.modalities, "image": replace(probe.schema.modalities["image"], max_segments=4)}


def test_donors_hold_as_many_pictures() -> None:
    family = FAMILIES["LLaVA"]
    asked = [Question(" is ".join(["{}"] * count) + " red two", [family.item(0)] * count) for count in [1, 2] * 5]
    probe = replace(probe_of(family, asked), groups=torch.tensor([[0, 2], [1, 3], [4, 6], [5, 7]]))
    context = ProbeContext(probe, "multiclass", GridDesign(2), range(10))
    for example in range(10):
        donors = DIME(donors=3).partners(context, example, 9)
        assert donors.shape == (3, 2)
        assert bool((probe.kinds[donors] == probe.kinds[example]).all())
        assert bool((probe.kinds[context.group(example)[0]] == probe.kinds[example]).all())


def test_an_example_without_its_like_is_not_explained() -> None:
    family = FAMILIES["LLaVA"]
    asked = [Question(" is ".join(["{}"] * count) + " red two", [family.item(0)] * count) for count in (1, 1, 2)]
    probe = replace(probe_of(family, asked), groups=torch.tensor([[0, 1]]))
    with pytest.raises(RuntimeError, match="no recombined example has as many pictures or sounds as example 2"):
        ProbeContext(probe, "multiclass", GridDesign(2), range(3)).group(2)
