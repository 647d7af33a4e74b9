"""What a model tells: its placeholders, its own way of being called, and whether rebuilt rows get along with it."""

import pytest

pytest.importorskip("transformers")

import warnings
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.own_model import OwnModel, own_batch
from language_models.rebuilding import (
    all_pairs,
    differences,
    logits,
    modalities_of,
    probe_of,
    single_questions,
)
from language_models.tokens import VOCABULARY, tokenizer
from torch import Tensor, nn

from mviz_lightning import explain
from mviz_lightning.batch import BatchSchema, Modality, Probe, parse_modalities
from mviz_lightning.batch.few_examples import first_examples
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.item_tokens import ItemTokenCounter
from mviz_lightning.engine.language_model import find_language_model, last_positions
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.engine.rebuilt_rows import check_rebuilt_rows
from mviz_lightning.errors import ConfigurationError, NotMeasurableError

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)


class Wrapped(nn.Module):
    """What a user has around a model: an attribute, and a tokenizer beside it."""

    def __init__(self, model: nn.Module, words: Any = None) -> None:
        super().__init__()
        self.model, self.words = model, words

    def forward(self, batch: Any) -> Tensor:
        return self.model(**batch)


def evaluator_of(model: nn.Module) -> Evaluator:
    """Return the evaluator of the logits behind each text of a model of one's own."""

    def last(module: nn.Module, batch: Any) -> Tensor:
        found = module(batch["input_ids"], batch["image"], batch["mask"])
        return found[torch.arange(len(found)), batch["mask"].sum(1) - 1]

    return Evaluator(model, last)


OWN_TEXTS = [[2, 1, 1, 1, 3], [1, 1, 1, 4, 5, 6], [7, 8, 1, 1, 1]]


def own_probe(model: nn.Module, batch: Any) -> Probe:
    modalities = parse_modalities({"image": "image", "text": "input_ids"})
    schema = BatchSchema.learn(batch, modalities, None, placeholder_tokens(model, modalities))
    return first_examples(schema, batch, 8)


@EVERY
def test_placeholders_are_read_from_the_configs_of_submodules(family: Family) -> None:
    processor = family.own_processor("right")
    module = Wrapped(family.own_model(), processor)
    found = placeholder_tokens(module, {"text": Modality("input_ids")})
    token = getattr(processor, "image_token", None) or processor.audio_token
    assert processor.tokenizer.convert_tokens_to_ids(token) in found.ids
    assert found.special >= {VOCABULARY["<pad>"], VOCABULARY["<row_1_col_1>"]}
    assert found.blank == {VOCABULARY["\n"]}
    assert found == placeholder_tokens(family.own_model(), modalities_of(family))
    if "Qwen" in family.name and "Audio" not in family.name:
        assert found.edges == {VOCABULARY["<|vision_start|>"], VOCABULARY["<|vision_end|>"]}


def test_no_tokens_are_read_of_models_without_placeholders() -> None:
    assert placeholder_tokens(nn.Linear(2, 2), {}).ids == frozenset()
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(image_token_id=3, video_token_id=None, image_token_index=4)
    assert placeholder_tokens(model, {}).kinds == {"image": (3, 4)}


def test_a_model_of_ones_own_that_follows_the_convention_is_rebuilt_and_checked() -> None:
    model, pictures = OwnModel(), torch.randn(3, 4)
    batch = own_batch(OWN_TEXTS, pictures)
    probe = own_probe(model, batch)
    assert probe.schema.values == {"image": ["image"], "text": ["input_ids", "mask"]}
    for i, j in all_pairs(probe):
        built = probe.batch(torch.tensor([[i, j]]), {})
        assert differences(built, own_batch([OWN_TEXTS[j]], pictures[[i]])) == []
    check_rebuilt_rows(evaluator_of(model), probe)


def test_items_that_were_dealt_wrongly_are_refused_before_the_training() -> None:
    model = OwnModel()
    # A picture takes 3 placeholders, and two pictures stand side by side; they are dealt out as 2, 4, 3 and 3 of 12.
    batch = own_batch([[1, 1, 2], [1, 1, 1, 1, 1, 1, 1, 3], [1, 1, 1, 4]], torch.randn(4, 4))
    batch["image_sizes"] = torch.arange(8).view(4, 2)
    modalities = parse_modalities({"image": "image", "text": "input_ids"})
    tokens = placeholder_tokens(model, modalities)
    schema = BatchSchema.learn(batch, modalities, None, tokens, lambda _, __: [2, 4, 3, 3])
    assert len(model(batch["input_ids"], batch["image"], batch["mask"])) == 3  # the totals of the batch do fit
    with pytest.raises(NotMeasurableError, match=r"does not fit its items \(ValueError: placeholders and"):
        check_rebuilt_rows(evaluator_of(model), first_examples(schema, batch, 8))


class Neighbours(OwnModel):
    """A row's logits depend on the number of rows."""

    def forward(self, input_ids: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        return super().forward(input_ids, image, mask) * len(input_ids)


def test_rows_that_give_other_logits_alone_are_refused() -> None:
    model = Neighbours()
    probe = own_probe(model, own_batch(OWN_TEXTS, torch.randn(3, 4)))
    with pytest.raises(NotMeasurableError, match="other outputs alone than in a batch"):
        check_rebuilt_rows(evaluator_of(model), probe)


@pytest.mark.long
@EVERY
def test_every_family_passes_the_checks_before_the_training(family: Family) -> None:
    probe = probe_of(family, single_questions(family), "left")
    model = Wrapped(family.own_model())
    found = find_language_model(model, probe.schema)
    assert found.module is family.own_model()
    check_rebuilt_rows(Evaluator(model, lambda outer, batch: answer_logits(outer.model, batch)), probe)
    batch = probe.batch(torch.tensor([[0, 1], [2, 3]]), {})
    with torch.no_grad():
        last = found.logits(batch, torch.tensor([batch["input_ids"].shape[1] - 1]))[:, 0]
    for row, own in zip(last, logits(family, batch), strict=True):
        torch.testing.assert_close(row, own[-1])
    assert last_positions(found.own_tokens(batch)).tolist() == [batch["input_ids"].shape[1] - 1] * 2


@pytest.mark.slow
def test_adapters_around_a_model_change_nothing() -> None:
    peft = pytest.importorskip("peft")
    family = FAMILIES["LLaVA"]
    base = family.model().eval()
    adapters = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries themselves
        wrapped = peft.get_peft_model(base, adapters).eval()
    module = Wrapped(wrapped, tokenizer())
    questions, modalities = single_questions(family), parse_modalities({"image": "pixel_values", "text": "input_ids"})
    batch = family.batch(questions)
    schema = BatchSchema.learn(batch, modalities, None, placeholder_tokens(module, modalities))
    probe = first_examples(schema, batch, 4)
    check_rebuilt_rows(Evaluator(module, lambda outer, batch: answer_logits(outer.model, batch)), probe)
    found = find_language_model(module, schema)
    with torch.no_grad():
        built = found.logits(probe.batch(torch.tensor([[0, 1]]), {}))
        own = wrapped(**family.batch([Question(questions[1].words, questions[0].items, questions[1].answer)])).logits
    torch.testing.assert_close(built, own, rtol=0, atol=2e-7)


def test_tiles_need_the_tokenizer_that_tells_their_wrappers() -> None:
    family = FAMILIES["SmolVLM"]
    batch = family.batch(single_questions(family))
    modalities = parse_modalities({"image": "pixel_values", "text": "input_ids"})
    tokens = placeholder_tokens(family.own_model(), modalities)
    assert tokens.special == frozenset()
    with pytest.raises(ConfigurationError, match=r"give the tokenizer.*Modality\('input_ids', decode=tokenizer\)"):
        BatchSchema.learn(batch, modalities, None, tokens)


def answer_logits(module: nn.Module, batch: Any) -> Tensor:
    """Return the logits of four words behind each text, whose last token is an answer of one word."""
    given = {name: value for name, value in batch.items() if name != "labels"}
    own = batch["attention_mask"].bool()
    found = module(**given).logits
    return found[torch.arange(len(own)), own.shape[1] - 1 - own.flip(1).long().argmax(1)][:, 30:34]


def shares(module: nn.Module, batch: Any, modalities: Any, predict: Any) -> dict[str, float]:
    """Return the shares of 8 examples in two groups."""
    found = explain(
        module, [batch], modalities=modalities, predict=predict, task="multiclass", num_examples=8, group_size=4
    )
    return {name: value for name, value in found.values.items() if "/" in name}


@pytest.mark.slow
def test_shares_are_those_of_the_processors_own_batches() -> None:
    family = FAMILIES["LLaVA-NeXT"]
    words = [
        "{} what is",
        "how many {} two",
        "the {} is this",
        "this {} two three",
        "{} red",
        "blue {} of",
        "{} of",
        "{}",
    ]
    questions = [Question(words[k], [family.item(k)], "red") for k in range(8)]
    pairs = [[Question(one.words, other.items, "red") for one in questions] for other in questions]
    with torch.no_grad():
        table = torch.stack([answer_logits(family.own_model(), family.batch(row)) for row in pairs])
    index = torch.arange(8.0).unsqueeze(1)

    def looked_up(module: nn.Module, batch: Any) -> Tensor:
        return table[batch["image"][:, 0].long(), batch["text"][:, 0].long()]

    named = {"image": "pixel_values", "text": "input_ids"}
    found = shares(family.own_model(), family.batch(questions), named, answer_logits)
    wanted = shares(nn.Linear(1, 1), {"image": index, "text": index}, ["image", "text"], looked_up)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, abs=1e-4)
    assert found["total/image"] > 0.001


def test_a_sharded_model_is_not_asked_how_many_tokens_a_picture_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["LLaVA-NeXT"]
    batch, model = family.batch(single_questions(family)), family.own_model()
    counter, leaves = (
        ItemTokenCounter(model, nullcontext),
        {name: batch[name] for name in ("pixel_values", "image_sizes")},
    )
    assert counter("image", leaves) == (batch["input_ids"] == VOCABULARY["<image>"]).sum(1).tolist()
    monkeypatch.setattr(next(model.parameters()), "placements", (), raising=False)
    assert counter("image", leaves) is None
