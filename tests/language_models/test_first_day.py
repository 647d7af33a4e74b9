"""What users bring on their first day: configurations, batches and answers of many kinds, and what they are told."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from language_models.own_model import NAMED, OwnModel, asked, own_batch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Modality, parse_modalities
from mviz_lightning.batch.answered import AnsweredTexts, finder_in
from mviz_lightning.batch.few_examples import first_examples
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.errors import ConfigurationError, NotMeasurableError
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

BATCHES = [asked(seed) for seed in range(3)]
FEW: dict[str, Any] = {"num_examples": 16, "group_size": 4}


def session_of(batches: Sequence[Any], model: nn.Module | None = None, modalities: Any = NAMED) -> Session:
    """Return a session whose examples are fixed."""
    session, module = Session(SessionConfig(parse_modalities(modalities), **FEW)), model or OwnModel()
    session.meet(module)
    for batch in batches:
        session.collect(batch, lambda count: [None] * count if count == 0 else _next(session, count))
        session.dry_run(module)
        session.raise_failure()
    session.complete()
    return session


def _next(session: Session, count: int) -> range:
    first = getattr(session, "_seen_by_tests", 0)
    session._seen_by_tests = first + count  # type: ignore[attr-defined]
    return range(first, first + count)


def with_start(**given: Any) -> dict[str, Any]:
    return {"image": "image", "text": Modality("input_ids", **given)}


class Slotted:
    """A configuration whose entries are no attributes of the object."""

    __slots__ = ()
    image_token_id = 1


class Round:
    """A configuration that leads back to itself."""

    image_token_id = 1

    @property
    def text_config(self) -> "Round":
        return Round()


@pytest.mark.parametrize(
    "config",
    [
        {"image_token_id": [1]},
        {"image_token_ids": (1,)},
        {"image_token_index": np.int64(1)},
        {"image_token_id": torch.tensor(1)},
        SimpleNamespace(text_config=SimpleNamespace(image_token_id=1)),
        {"vision_config": {"image_token_id": 1}},
        Slotted(),
        Round(),
    ],
)
def test_placeholders_are_found_in_configurations_of_any_form(config: Any) -> None:
    model = nn.Linear(2, 2)
    model.config = config
    assert placeholder_tokens(model, {}).kinds == {"image": (1,)}


def test_no_placeholders_are_what_is_no_whole_number() -> None:
    model = nn.Linear(2, 2)
    model.config = {"image_token_id": None, "video_token_id": "<video>", "audio_token_id": True}
    assert placeholder_tokens(model, {}).kinds == {}


def test_a_model_that_a_list_hides_from_training_tells_its_placeholders() -> None:
    module = nn.Linear(2, 2)
    module.box = [OwnModel()]
    assert placeholder_tokens(module, {}).kinds == {"image": (1,)}
    with pytest.raises(ConfigurationError, match="The language model must be an attribute of the module"):
        session_of(BATCHES, _Around(OwnModel()))


class _Around(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.box = [model]

    def forward(self, batch: Any) -> Tensor:
        return self.box[0](batch["input_ids"], batch["image"], batch["mask"])


def test_placeholders_that_the_user_says_nothing_of_stay() -> None:
    own = PlaceholderTokens({"image": (1, 5), "audio": (2,)})
    assert own.of_modality(Modality("ids", placeholders={"picture": 1})).kinds == {
        "image": (5,),
        "audio": (2,),
        "picture": (1,),
    }
    assert own.of_modality(Modality("ids", placeholders={"image": 7})).kinds == {"image": (7,), "audio": (2,)}


@pytest.mark.parametrize("given", [{"image": True}, {"image": [1, True]}, {"image": 1, "sound": [2, 1]}])
def test_wrong_placeholders_are_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="give the ids of tokens by the name of the modality.*each id once"):
        Modality("input_ids", placeholders=given)


def test_ids_may_be_those_of_numpy_and_torch() -> None:
    given = Modality("ids", placeholders={"image": np.array([1, 2])}, answer_start=torch.tensor([3, 4]))
    assert (given.placeholders, given.answer_start) == ({"image": (1, 2)}, (3, 4))


def test_placeholders_of_an_unknown_modality_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"names 'picture', .* allowed are 'image': placeholders=\{\"image\""):
        session_of(BATCHES, modalities=with_start(placeholders={"picture": 1}))


def without(name: str) -> list[dict[str, Tensor]]:
    return [{key: leaf for key, leaf in batch.items() if key != name} for batch in BATCHES]


def test_texts_without_labels_are_asked_for_them() -> None:
    with pytest.raises(ConfigurationError, match=r"Give labels that are -100 .* answer_start=tokenizer"):
        session_of(without("labels"))


def test_labels_without_ignored_tokens_are_asked_for_the_start_of_answers() -> None:
    whole = [batch | {"labels": batch["input_ids"].clone()} for batch in BATCHES]
    with pytest.raises(ConfigurationError, match="'labels' labels all tokens"):
        session_of(whole)
    told = session_of(whole, modalities=with_start(answer_start=2))
    assert told.class_names == session_of(BATCHES).class_names == ["token 9", "token 10", "token 11"]
    assert torch.equal(told.probe.target, session_of(BATCHES).probe.target)


def test_examples_without_an_answer_or_with_an_item_behind_it_cannot_be_used() -> None:
    texts = [[1, 1, 1, 4, 2, 9], [1, 1, 1, 4, 5, 2], [4, 2, 9, 1, 1, 1]]
    batch = own_batch(texts, torch.randn(3, 4))
    batch["labels"] = torch.tensor([[-100] * 5 + [9], [-100] * 6, [-100, -100, 9, -100, -100, -100]])
    modalities = parse_modalities(NAMED)
    schema = BatchSchema.learn(batch, modalities, None, placeholder_tokens(OwnModel(), modalities))
    assert AnsweredTexts(first_examples(schema, batch, 3), finder_in(schema)).usable.tolist() == [True, False, False]


def test_own_answers_are_measured_without_examples_that_have_none() -> None:
    batches = [asked(seed, answer=4, words=1) for seed in range(3)]
    for batch in batches:
        batch["input_ids"][:, 3] = 4
        batch["labels"][2] = -100
    session = session_of(batches)
    values = session.run().values
    assert np.isfinite(values["nats/image"])
    assert "score" not in values
    said = "".join(session.remarks.pop_lines())
    assert "3 of 24 sampled examples have no answer in 'labels'" in said
    assert "NaN" not in said


def test_a_first_batch_without_answers_is_waited_over() -> None:
    cut = [batch | {"labels": torch.full_like(batch["labels"], -100)} for batch in BATCHES]
    assert session_of([cut[0], *BATCHES[1:]]).class_names == ["token 9", "token 10", "token 11"]
    with pytest.raises(NotMeasurableError, match="'labels' is -100 at all tokens"):
        session_of(cut)


def test_the_same_prompt_and_answer_everywhere_tell_nothing() -> None:
    batches = [asked(seed, words=1) for seed in range(3)]
    for batch in batches:
        batch["input_ids"][:, 3], batch["input_ids"][:, 5] = 4, 9
        batch["labels"][:, 5] = 9
    with pytest.raises(NotMeasurableError, match="the same in nearly all examples.*Measure examples with different"):
        session_of(batches)


class Expanding(OwnModel):
    """Puts three features in the place of one placeholder."""

    def forward(self, input_ids: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        features = self.patches(image).view(len(image), -1, 8)
        return self.head(self.mixed(torch.cat([features, self.words(input_ids)[:, 1:]], 1))[0])


def test_logits_that_are_not_by_token_are_refused() -> None:
    batches = [{key: leaf if key == "image" else leaf[:, 2:] for key, leaf in batch.items()} for batch in BATCHES]
    with pytest.raises(NotMeasurableError, match=r"^the model returns 8 logits per row for 6 tokens"):
        session_of(batches, Expanding())


class Boxed(OwnModel):
    """Takes a leaf beside the modalities."""

    def forward(self, input_ids: Tensor, image: Tensor, mask: Tensor, box: Any = None) -> Tensor:
        found = super().forward(input_ids, image, mask)
        return found if box is None else found + box.sum(1)[:, None, None] * torch.arange(12)


def test_leaves_beside_the_modalities_reach_the_model() -> None:
    batches = [batch | {"box": torch.rand(8, 2)} for batch in BATCHES]
    with pytest.warns(UserWarning, match="the outputs depend on 'box', which belongs to no modality") as warned:
        session_of(batches, Boxed()).run()
    assert len(warned) == 1


def test_lists_beside_the_modalities_that_the_model_takes_are_refused() -> None:
    with pytest.raises(NotMeasurableError, match=r"the model takes 'box', a list .* torch.tensor\(batch\['box'\]\)"):
        session_of([batch | {"box": [0.5] * 9} for batch in BATCHES], Boxed())
    with pytest.raises(ConfigurationError, match=r"'box' is not an array.* torch.tensor\(batch\['box'\]\)"):
        session_of(
            [batch | {"box": [0.5] * 8} for batch in BATCHES],
            modalities={"image": ["image", "box"], "text": "input_ids"},
        )


@pytest.mark.parametrize("name", ["labels", "mask"])
def test_a_later_batch_that_lacks_a_leaf_is_refused_by_name(name: str) -> None:
    with pytest.raises(NotMeasurableError, match=f"a batch has no leaf '{name}', but the first one had"):
        session_of([*BATCHES, without(name)[0]])


def test_a_first_batch_without_items_is_waited_over() -> None:
    texts = [[3, 4, 2, 9], [5, 2, 10]]
    batch = own_batch(texts, torch.zeros(0, 4))
    batch["labels"] = torch.tensor([[-100, -100, -100, 9], [-100, -100, 10, -100]])
    assert session_of([batch, *BATCHES]).class_names == session_of(BATCHES).class_names


def test_masks_that_mark_padding_are_asked_for() -> None:
    marked = [less | {"pad_mask": batch["mask"] == 0} for less, batch in zip(without("mask"), BATCHES, strict=True)]
    with pytest.raises(
        ConfigurationError,
        match=r"looks like a padding mask; give it as one: Modality\('input_ids', padding_mask='pad_mask'\)",
    ):
        session_of(marked)
    with pytest.raises(ConfigurationError, match=r"If it is True at padding, give .* padding_mask='pad_mask'\)"):
        session_of(marked, modalities=with_start(mask="pad_mask"))


@pytest.mark.parametrize("text", ["1", ["1", "2"]], ids=["found", "given"])
def test_the_mask_in_a_tuple_is_known_by_its_values(text: str | list[str]) -> None:
    batch = tuple(BATCHES[0][name] for name in ("image", "input_ids", "mask", "labels"))
    modalities = parse_modalities({"image": "0", "text": text})
    schema = BatchSchema.learn(batch, modalities, None, PlaceholderTokens({"image": (1,)}))
    assert (schema.interleaving.mask, schema.interleaving.labels) == ("2", "3")
    assert (schema.modalities["text"].mask, list(schema.modalities["text"].companions)) == ("2", [])


def test_positions_of_three_axes_are_refused_as_positions() -> None:
    places = torch.arange(9).expand(3, 8, 9)
    with pytest.raises(ConfigurationError, match="'position_ids' contains positions.*Remove it from the batch"):
        session_of([batch | {"position_ids": places[:, :, : batch["mask"].shape[1]]} for batch in BATCHES])


def test_virtual_tokens_in_front_of_the_text_are_refused() -> None:
    model = OwnModel()
    model.peft_config = {"default": SimpleNamespace(is_prompt_learning=True)}
    with pytest.raises(NotMeasurableError, match="virtual tokens in front of the text.*Use LoRA"):
        session_of(BATCHES, model)
