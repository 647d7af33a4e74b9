"""The user's own step of a language model: how it tells the call, and how its logits are compared."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from language_models.families import FAMILIES, Family
from language_models.rebuilding import all_pairs, logits, rows_of, single_questions
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.batch.few_examples import whole_examples
from mviz_lightning.engine.answer_outputs import AnswerReading, FirstTokens, OwnAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.item_tokens import ItemTokenCounter
from mviz_lightning.engine.language_model import LanguageModel, find_language_model
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.errors import NotMeasurableError
from mviz_lightning.observation.answering_call import AnsweringCall, ReadCall, answering_call
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.session.answer_agreement import settled_language
from mviz_lightning.session.answer_scores import languages_of

Batch = dict[str, Any]

LLAVA, QWEN = FAMILIES["LLaVA"], FAMILIES["Qwen2-VL"]

LIMIT = 2e-6
"""Largest difference of logits, as a fraction of the largest."""

NAMES = {"pixel_values": "images", "input_ids": "tokens", "attention_mask": "mask"}
"""Other names of leaves."""


class Holder(nn.Module):
    """What a user trains: a model in an attribute, beside a buffer and another model."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.model, self.other = family.own_model(), family.model().eval().requires_grad_(requires_grad=False)
        self.register_buffer("mean", torch.tensor(0.4))


def renamed(batch: Mapping[str, Any]) -> Batch:
    return {NAMES.get(name, name): value for name, value in batch.items()}


def named(batch: Mapping[str, Any]) -> Batch:
    back = {value: name for name, value in NAMES.items()}
    return {back.get(name, name): value for name, value in batch.items()}


def normalised(module: Holder, batch: Batch) -> Batch:
    return {**batch, "pixel_values": (batch["pixel_values"] - module.mean) / 0.5}


def hand_written(found: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(found[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def plain(module: Holder, batch: Batch) -> Tensor:
    return module.model(**batch).loss


def normalising(module: Holder, batch: Batch) -> Tensor:
    return module.model(**normalised(module, batch)).loss


def renaming(module: Holder, batch: Batch) -> Tensor:
    return module.model(**named(batch)).loss


def dropping(module: Holder, batch: Batch) -> Tensor:
    return module.model(**{name: value for name, value in batch.items() if name != "attention_mask"}).loss


def with_constant(module: Holder, batch: Batch) -> Tensor:
    return module.model(**batch, vision_feature_layer=-2).loss


def without_names(module: Holder, batch: Batch) -> Tensor:
    return module.model(batch["input_ids"], batch["pixel_values"], batch["attention_mask"], labels=batch["labels"])[0]


def by_hand(module: Holder, batch: Batch) -> Tensor:
    labels = batch.pop("labels")
    return hand_written(module.model(**batch).logits, labels)


def as_a_tuple(module: Holder, batch: Batch) -> Tensor:
    return module.model(**batch, return_dict=False)[0]


def copying(module: Holder, batch: Batch) -> Tensor:
    return module.model(**{name: value.clone() for name, value in batch.items()}).loss


def asking_another_first(module: Holder, batch: Batch) -> Tensor:
    with torch.no_grad():
        teacher = module.other(**batch).logits
    return module.model(**batch).loss + 0 * teacher.sum()


def asking_another_last(module: Holder, batch: Batch) -> Tensor:
    loss = module.model(**batch).loss
    with torch.no_grad():
        return loss + 0 * module.other(**{name: one for name, one in batch.items() if name != "labels"}).logits.sum()


def in_parts(module: Holder, batch: Batch) -> Tensor:
    hidden = module.model.model(**{name: value for name, value in batch.items() if name != "labels"})[0]
    return hand_written(module.model.lm_head(hidden), batch["labels"])


def of_embeddings(module: Holder, batch: Batch, scale: float = 1.0) -> Tensor:
    model, ids = module.model, batch["input_ids"]
    embedded, items = model.get_input_embeddings()(ids), model.get_image_features(batch["pixel_values"]).pooler_output
    mask = (ids == model.config.image_token_id).unsqueeze(-1).expand_as(embedded)
    embedded = embedded.masked_scatter(mask, scale * torch.cat(list(items)))
    return model(inputs_embeds=embedded, attention_mask=batch["attention_mask"], labels=batch["labels"]).loss


def of_other_embeddings(module: Holder, batch: Batch) -> Tensor:
    return of_embeddings(module, batch, -3.0)


def sampling(module: Holder, batch: Batch) -> Tensor:
    noisy = batch["pixel_values"] + 5 * torch.randn_like(batch["pixel_values"])
    return module.model(**{**batch, "pixel_values": noisy}).loss


def generating(module: Holder, batch: Batch) -> Tensor:
    given = {name: value for name, value in batch.items() if name != "labels"}
    return module.model.generate(**given, max_new_tokens=1, do_sample=False, pad_token_id=0)


def silent(module: Holder, batch: Batch) -> None:
    pass


@cache
def probe_for(family: Family, side: str = "right", rename: Callable[[Mapping[str, Any]], Batch] = dict) -> Probe:
    batch = rename(family.batch(single_questions(family), side))
    image, ids, mask = (name if name in batch else NAMES[name] for name in NAMES)
    modalities = {"image": Modality(image), "text": Modality(ids, mask=mask)}
    model = family.own_model()
    given = placeholder_tokens(model, modalities), ItemTokenCounter(model, nullcontext)
    return whole_examples(BatchSchema.learn(batch, modalities, None, *given), batch, 4)


@cache
def seen_call(family: Family, step: Callable[[Holder, Batch], Any], side: str = "right") -> AnsweringCall | None:
    module, probe = holder(family), probe_for(family, side, rename_of(step))
    return answering_call(ObservedStep.replayed(module, step, probe, nullcontext), module)


def rename_of(step: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Batch]:
    return renamed if step is renaming else dict


@cache
def holder(family: Family) -> Holder:
    torch.manual_seed(1)
    return Holder(family).eval()


def rebuilt(language: LanguageModel, probe: Probe) -> list[Tensor]:
    """Return the logits of all recombined rows at their own tokens."""
    batch = probe.batch(rows_of(all_pairs(probe)), {})
    found = language.logits(batch)
    return [row[own] for row, own in zip(found, language.own_tokens(batch), strict=True)]


def expected(family: Family, probe: Probe, change: Callable[[Holder, Batch], Batch]) -> list[Tensor]:
    """Return the same of a model that is given what the step gives it."""
    return logits(family, change(holder(family), named(probe.batch(rows_of(all_pairs(probe)), {}))))


STEPS = [
    (LLAVA, plain, None),
    (QWEN, plain, None),
    (LLAVA, normalising, normalised),
    (QWEN, normalising, normalised),
    (LLAVA, renaming, None),
    (QWEN, renaming, None),
    (LLAVA, without_names, None),
    (LLAVA, by_hand, None),
    (LLAVA, as_a_tuple, None),
    (LLAVA, copying, None),
    (LLAVA, asking_another_first, None),
    (LLAVA, asking_another_last, None),
]


@pytest.mark.long
@torch.no_grad()
@pytest.mark.parametrize(("family", "step", "change"), STEPS, ids=lambda one: getattr(one, "__name__", ""))
def test_recombined_rows_are_given_to_the_model_as_the_step_gives_its_own(
    family: Family, step: Any, change: Any
) -> None:
    probe, call = probe_for(family, rename=rename_of(step)), seen_call(family, step)
    assert call is not None
    assert call.language is not None
    assert call.watched == "model"
    wanted = expected(family, probe, change or (lambda module, batch: batch))
    for found, own in zip(rebuilt(call.language, probe), wanted, strict=True):
        torch.testing.assert_close(found, own, rtol=0, atol=LIMIT * float(own.abs().max()))


def test_what_the_step_drops_or_adds_is_dropped_and_added() -> None:
    probe = probe_for(LLAVA)
    dropped, added = (seen_call(LLAVA, step).language for step in (dropping, with_constant))
    batch = probe.batch(rows_of(all_pairs(probe)), {})
    assert dropped.arguments(batch).keys() == {"input_ids", "pixel_values", "use_cache"}
    assert added.arguments(batch)["vision_feature_layer"] == -2
    assert "labels" not in added.arguments(batch)


def test_the_call_says_what_comes_from_the_step() -> None:
    made, replayed = seen_call(LLAVA, normalising).language.call, seen_call(LLAVA, of_embeddings).replayed.call
    name = "LlavaForConditionalGeneration"
    assert made == f"{name}(input_ids, attention_mask, pixel_values), pixel_values from your step"
    assert replayed.startswith(f"{name}(attention_mask, inputs_embeds), attention_mask and inputs_embeds from a replay")
    assert replayed.endswith("replay of of_embeddings without logging")


def test_arguments_made_from_tokens_are_not_packed() -> None:
    assert seen_call(LLAVA, copying).language.given.retold
    assert not seen_call(LLAVA, normalising).language.given.retold


@pytest.mark.parametrize("step", [generating, silent], ids=lambda step: step.__name__)
def test_a_step_without_logits_of_every_token_shows_no_call(step: Any) -> None:
    assert seen_call(LLAVA, step) is None


def readings(language: LanguageModel) -> dict[str, AnswerReading]:
    """Return what is read of answers: first tokens of prompts, and the likelihood of own answers."""
    finder = finder_in(language.schema)

    def of_texts(name: str) -> Callable[[Probe], Any]:
        return lambda probe: getattr(AnsweredTexts(probe, finder), name)

    usable = of_texts("usable")
    return {
        "first": AnswerReading(FirstTokens(language), of_texts("prompted"), usable),
        "own": AnswerReading(OwnAnswers(language, finder), of_texts("answered"), usable),
    }


@pytest.mark.long
@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("step", [plain, in_parts], ids=lambda step: step.__name__)
def test_the_steps_own_logits_are_read_where_the_score_reads_its_own(step: Any, side: str) -> None:
    probe, module = probe_for(LLAVA, side), holder(LLAVA)
    call, language = seen_call(LLAVA, step, side), find_language_model(module, probe.schema)
    batch = LLAVA.batch(single_questions(LLAVA), side)
    found, labels = module.model(**batch).logits[:, :-1], batch["labels"][:, 1:]
    wanted = {
        "first": torch.stack([row[int((own != -100).nonzero()[0])] for row, own in zip(found, labels, strict=True)]),
        "own": torch.stack([-cross_entropy(*one, ignore_index=-100) for one in zip(found, labels, strict=True)])[
            :, None
        ],
    }
    for name, reading in readings(language).items():
        own = ReadCall(call, reading).replayed(module, probe, nullcontext)
        torch.testing.assert_close(own, wanted[name], rtol=1e-5, atol=1e-6)


def settled(step: Any) -> LanguageModel:
    probe, module, call = probe_for(LLAVA), holder(LLAVA), seen_call(LLAVA, step)
    ways = languages_of(module, probe.schema, call)
    return settled_language(call, ways, lambda way: readings(way)["first"], probe, lambda one: Evaluator(module, one))


@pytest.mark.parametrize("step", [in_parts, of_embeddings], ids=lambda step: step.__name__)
def test_a_step_that_does_by_parts_what_the_model_does_agrees(step: Any) -> None:
    assert settled(step).given is None


@pytest.mark.slow
@torch.no_grad()
def test_embeddings_that_the_step_makes_in_its_own_way_are_made_in_a_replay() -> None:
    probe, language = probe_for(LLAVA), settled(of_other_embeddings)
    batch, module = probe.batch(rows_of(all_pairs(probe)), {}), holder(LLAVA)
    assert language.given.retold
    wanted = []
    with module.model.register_forward_hook(lambda _, args, found: wanted.append(found.logits)):
        of_other_embeddings(module, batch)
    torch.testing.assert_close(language.logits(batch), wanted[0])
    assert not torch.allclose(language.logits(batch), find_language_model(module, probe.schema).logits(batch))


def test_a_step_whose_logits_cannot_be_computed_again_is_refused() -> None:
    said = r"the logits that sampling computes at the answers.*largest difference is \d.*predict="
    with pytest.raises(NotMeasurableError, match=f"(?s){said}"):
        settled(sampling)
