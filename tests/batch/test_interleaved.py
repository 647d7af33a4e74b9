"""Texts with placeholders, in batches made by hand: blocks, items dealt to rows, padding, and what is refused."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality, Probe, parse_modalities
from mviz_lightning.batch.few_examples import whole_examples
from mviz_lightning.batch.groups import draw_groups, draw_groups_of_kinds, largest_size
from mviz_lightning.batch.interleaved.blocks import Block, BlockFinder
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.interleaved.wording import interleaving_line
from mviz_lightning.batch.later_batches import settled
from mviz_lightning.errors import ConfigurationError, NotMeasurableError

X, BEGIN, END, NEWLINE, SPECIAL = 9, 7, 8, 5, 6
TOKENS = PlaceholderTokens({"image": (X,)}, special=frozenset({BEGIN, END, SPECIAL}), blank=frozenset({NEWLINE}))
NAMED = {"image": "pixel_values", "text": "input_ids"}


def padded(texts: Sequence[Sequence[int]], *, in_front: bool = False, pad: int = 0) -> dict[str, Tensor]:
    """Return ids and mask of texts."""
    longest = max(map(len, texts))
    missing = [[0] * (longest - len(text)) for text in texts]
    own = [[1] * len(text) for text in texts]
    ids = [
        [pad] * len(gap) + [*text] if in_front else [*text] + [pad] * len(gap)
        for text, gap in zip(texts, missing, strict=True)
    ]
    mask = [gap + one if in_front else one + gap for one, gap in zip(own, missing, strict=True)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def items(count: int, *shape: int) -> Tensor:
    """Return items that all differ and are nowhere 0."""
    return torch.arange(1.0, count + 1).view(-1, *[1] * len(shape)).expand(count, *shape).clone()


def batch_of(texts: Sequence[Sequence[int]], count: int, **further: Tensor) -> dict[str, Tensor]:
    """Return a batch of texts and so many pictures."""
    return {**padded(texts), "pixel_values": items(count, 3, 2, 2), **further}


def learn(batch: Mapping[str, Any], tokens: PlaceholderTokens = TOKENS, ask: Any = None, **named: Any) -> BatchSchema:
    return BatchSchema.learn(batch, parse_modalities({**NAMED, **named}), None, tokens, ask)


def dealt(batch: Mapping[str, Any], ask: Any = None) -> list[int]:
    """Return how many items each row gets."""
    schema = learn(batch, ask=ask)
    return [len(own) for own in schema.leaves(batch)["pixel_values"]]


def probe_of(batch: Mapping[str, Any], **named: Any) -> Probe:
    return whole_examples(learn(batch, **named), batch, 16)


@pytest.mark.parametrize(
    ("ids", "blocks"),
    [
        ([1, X, X, 2], [(1, 3)]),
        ([X, 1, X], [(0, 1), (2, 3)]),
        ([1, BEGIN, X, END, 2], [(1, 4)]),
        ([BEGIN, X, END, BEGIN, X, END, 2], [(0, 6)]),
        ([1, BEGIN, X, NEWLINE, BEGIN, X, END, NEWLINE, 2], [(1, 7)]),
        ([X, NEWLINE, X], [(0, 1), (2, 3)]),
        ([BEGIN, X, END, NEWLINE, BEGIN, X, END], [(0, 3), (4, 7)]),
        ([1, 2, BEGIN], []),
    ],
)
def test_a_block_is_a_stretch_of_placeholders_and_wrappers(ids: list[int], blocks: list[tuple[int, int]]) -> None:
    finder = BlockFinder({"image": (X,)}, frozenset({BEGIN, END}), frozenset({NEWLINE}))
    assert finder.blocks(torch.tensor(ids)) == [Block("image", *span) for span in blocks]


def test_blocks_of_two_modalities_part_in_the_middle_of_their_wrappers() -> None:
    finder = BlockFinder({"image": (X,), "video": (4,)}, frozenset({BEGIN, END}))
    ids = torch.tensor([BEGIN, X, END, BEGIN, 4, END, 1, 4])
    assert finder.blocks(ids) == [Block("image", 0, 3), Block("video", 3, 6), Block("video", 7, 8)]


def test_special_tokens_that_stand_elsewhere_too_are_no_wrappers() -> None:
    texts = [torch.tensor(text) for text in ([SPECIAL, BEGIN, X, END, 1], [1, SPECIAL, 2, BEGIN, X, END])]
    finder = BlockFinder({"image": (X,)}).told_by(texts, frozenset({BEGIN, END, SPECIAL, 3}))
    assert finder.wrappers == {BEGIN, END}


def test_each_row_with_placeholders_has_one_item_where_there_are_as_many() -> None:
    assert dealt(batch_of([[1, X, X], [X, 2], [3]], 2)) == [1, 1, 0]


def test_as_many_items_as_rows_are_not_one_a_row_where_a_text_has_none() -> None:
    assert dealt(batch_of([[1, X, X], [X, 2, X], [3]], 3)) == [1, 2, 0]


def test_entries_of_rows_are_those_that_are_empty_where_a_text_has_no_item() -> None:
    batch = batch_of([[1, X, X, 2, X], [X, 2], [3]], 3)
    batch["pixel_values"][2] = 0
    assert dealt(batch) == [1, 1, 0]  # the last entry is nothing but padding


def test_items_of_a_grid_fill_the_placeholders_of_a_row() -> None:
    grid = torch.tensor([[1, 2, 2], [1, 2, 4], [1, 4, 4]])
    batch = {**padded([[1, X, X, X], [2, X, X, X, X]]), "pixel_values": items(28, 6), "image_grid_thw": grid}
    schema = learn(batch)
    assert [len(own) for own in schema.leaves(batch)["pixel_values"]] == [12, 16]
    assert schema.values["image"] == ["pixel_values", "image_grid_thw"]


def test_equal_items_would_be_dealt_wrongly_so_the_model_is_asked() -> None:
    batch = batch_of([[X] * 8, [X] * 4], 3, image_sizes=torch.tensor([[8, 1], [2, 1], [2, 1]]))
    assert dealt(batch) == [2, 1]  # of items of 4 placeholders each
    asked: list[str] = []

    def ask(modality: str, leaves: Mapping[str, Any]) -> list[int]:
        asked.append(modality)
        assert list(leaves) == ["pixel_values", "image_sizes"]
        return [8, 2, 2]

    assert dealt(batch, ask) == [1, 2]
    schema = learn(batch, ask=ask)
    again = batch_of([[X] * 10, [X] * 2], 3, image_sizes=torch.tensor([[2, 1], [8, 1], [2, 1]]))
    later = settled(schema, again, ask)
    assert [len(own) for own in later.leaves(again)["pixel_values"]] == [2, 1]
    assert asked == ["image", "image"]  # sizes that were told once are not asked for again


def test_items_that_fill_no_row_are_refused() -> None:
    with pytest.raises(
        NotMeasurableError, match=r"3 items do not fit the 7 placeholders.*\[5, 2\] by row.*truncation=False"
    ):
        dealt(batch_of([[X] * 5, [X] * 2], 3))


@pytest.mark.parametrize("in_front", [True, False])
def test_rows_are_padded_as_the_users_own_batches_are(in_front: bool) -> None:
    texts = [[1, X, 2, 3], [X, X, 4], [5, X, 3, 2, 1, 3]]
    batch = {**padded(texts, in_front=in_front, pad=3), "pixel_values": items(3, 2)}
    batch["labels"] = torch.where(batch["attention_mask"] == 1, batch["input_ids"], -100)
    probe = probe_of(batch)
    assert probe.leaves["input_ids"].tolist()[1] == [X, X, 4, 0, 0, 0]
    built = probe.batch(torch.tensor([[1, 0], [0, 1], [2, 1]]), {})
    want = padded([[1, X, X, 2, 3], [X, 4], [X, 4]], in_front=in_front, pad=3)
    assert torch.equal(built["input_ids"], want["input_ids"])
    assert torch.equal(built["attention_mask"], want["attention_mask"])
    assert torch.equal(built["labels"], torch.where(want["attention_mask"] == 1, want["input_ids"], -100))
    assert built["pixel_values"][:, 0].tolist() == [2, 1, 3]


def test_padding_is_learned_from_the_first_batch_that_shows_some() -> None:
    schema = learn(batch_of([[1, X], [X, 2]], 2))
    later = {**padded([[1, X, 4], [X, 2]], in_front=True, pad=6), "pixel_values": items(2, 3, 2, 2)}
    leaves = settled(schema, later).leaves(later)
    assert torch.equal(settled(schema, later).build(leaves)["input_ids"], later["input_ids"])


def test_two_media_follow_their_own_sources() -> None:
    tokens = PlaceholderTokens({"image": (X,), "audio": (4,)})
    batch = {**padded([[1, X, 4], [4, 4, 2, X, X], [X, 3, 4]]), "pixel_values": items(3, 2)}
    batch["input_features"] = 10 * items(3, 5)
    batch["feature_attention_mask"] = torch.ones(3, 5, dtype=torch.long)
    named = {"audio": "input_features"}
    schema = BatchSchema.learn(batch, parse_modalities({**NAMED, **named}), None, tokens)
    probe = whole_examples(schema, batch, 3)
    assert schema.names == ["image", "text", "audio"]
    assert schema.values["audio"] == ["input_features", "feature_attention_mask"]  # in the shape of the ids by chance
    built = probe.batch(torch.tensor([[1, 0, 2], [2, 1, 0]]), {})
    assert built["input_ids"].tolist() == [[1, X, X, 4], [4, 2, X, 0]]
    assert built["pixel_values"][:, 0].tolist() == [2, 3]
    assert built["input_features"][:, 0].tolist() == [30, 10]


def test_placeholders_that_the_user_names_count() -> None:
    batch = batch_of([[1, X, 2], [X, X, 3]], 2)
    schema = BatchSchema.learn(
        batch, parse_modalities({**NAMED, "text": Modality("input_ids", placeholders={"image": X})})
    )
    assert schema.interleaving is not None
    assert schema.interleaving.media == {"image": ("pixel_values",)}
    wrong = Modality("input_ids", placeholders={"image": [44, 45]})
    with pytest.raises(ConfigurationError, match=r"'input_ids' holds none of placeholders=.*44, 45"):
        BatchSchema.learn(batch, parse_modalities({**NAMED, "text": wrong}))
    with pytest.raises(ConfigurationError, match=r"placeholders='image'.*for example \{\"image\": 32000\}"):
        Modality("input_ids", placeholders="image")


def test_what_was_found_is_said_in_one_line() -> None:
    labels = torch.tensor([[-100, -100, 3], [-100, -100, 2]])
    batch = batch_of([[BEGIN, X, 3], [BEGIN, X, 2]], 2, labels=labels, image_sizes=torch.ones(2, 2).long())
    assert interleaving_line(probe_of(batch).schema) == (
        "recombined texts get the placeholders of each item's own example in 'input_ids' (with 1 kind of tokens around "
        "them); recombined with each image: 'pixel_values', 'image_sizes'; per token: 'input_ids', 'attention_mask', "
        "'labels', not padded so far; answers begin where 'labels' stops being -100"
    )


ROWS = [[1, X, 2], [X, 3]]
TWO_MASKS = {"prompt_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]), "input_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_mask": torch.tensor([[1, 0, 1], [1, 1, 0]])}, "1 placeholder token.* are hidden by the mask"),
        (
            {"attention_mask": torch.tensor([[0, 1, 1], [1, 1, 0]])},
            "pads some rows on the left and others on the right",
        ),
        ({"attention_mask": torch.ones(2, 1, 3, 3)}, r"'attention_mask' \(2, 1, 3, 3\).*give a mask \(B, T\)"),
        ({"position_ids": torch.tensor([[0, 1, 2], [0, 1, 2]])}, "'position_ids' contains positions.*Remove it"),
        ({"position_ids": torch.tensor([[0, 1, 0], [0, 1, 2]])}, "'position_ids' contains packed samples"),
        ({"attention_mask": torch.tensor([[1, 1, 2], [1, 1, 0]])}, "'attention_mask' contains packed samples"),
        ({"inputs_embeds": torch.ones(2, 3, 4)}, r"'inputs_embeds' \(2, 3, 4\) has no entry for each"),
        ({"crossings": torch.ones(5, 4)}, r"'crossings' \(5, 4\) has no entry.*Add it to its modality"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(change: dict[str, Tensor], said: str) -> None:
    with pytest.raises((ConfigurationError, NotMeasurableError), match=said):
        learn({**batch_of(ROWS, 2), **change})


def test_a_hole_between_tokens_is_refused() -> None:
    batch = batch_of([[X, 1, 2, 3], [X, 3]], 2)
    batch["attention_mask"][0, 2] = 0
    with pytest.raises(NotMeasurableError, match="'attention_mask' is 0 between the tokens of a row"):
        learn(batch)


def test_placeholders_of_what_no_modality_holds_are_refused() -> None:
    tokens = PlaceholderTokens({"image": (X,), "video": (2,)})
    with pytest.raises(ConfigurationError, match=r"placeholders of video \(id 2\), but modalities=\['image', 'text'\]"):
        learn(batch_of(ROWS, 2), tokens)


def test_two_possible_masks_are_refused() -> None:
    batch = {name: one for name, one in batch_of(ROWS, 2).items() if name != "attention_mask"}
    with pytest.raises(ConfigurationError, match="'prompt_mask' and 'input_mask' could both be the mask"):
        learn({**batch, **TWO_MASKS})


def test_texts_of_several_lengths_need_a_mask() -> None:
    batch = {"input_ids": torch.tensor([[1, X, 2], [X, X, 3]]), "pixel_values": items(2, 2)}
    probe = probe_of(batch)
    assert probe.batch(torch.tensor([[1, 0]]), {})["input_ids"].tolist() == [[1, X, X, 2]]
    with pytest.raises(NotMeasurableError, match='2 to 4 tokens.*mask="attention_mask"'):
        probe.batch(torch.tensor([[1, 0], [0, 1]]), {})


def test_groups_hold_one_kind_and_kinds_get_groups_in_proportion() -> None:
    kinds = [0, 1, 0, 0, 2, 1, 0, 0, 1, 0, 0, 1, 0, 0]
    groups = draw_groups_of_kinds(kinds, None, 100, 4, 0)
    assert [{kinds[place] for place in group} for group in groups.tolist()] == [{0}, {0}, {1}]
    assert len(set(groups.flatten().tolist())) == 12
    assert len(draw_groups_of_kinds(kinds, None, 8, 4, 0)) == 2
    assert largest_size(kinds, 16, 2) == 4
    assert largest_size([0, 1, 2], 16, 2) == 0


def test_groups_of_one_kind_are_those_without_kinds() -> None:
    target = torch.arange(40) % 3
    assert torch.equal(draw_groups_of_kinds([5] * 40, target, 32, 8, 3), draw_groups(target, 40, 32, 8, 3))


def test_a_picture_that_no_modality_names_is_refused() -> None:
    batch = {**batch_of(ROWS, 2), "table": torch.randn(2, 5)}
    with pytest.raises(ConfigurationError, match=r"placeholders of image \(id 9\), but modalities=\['table', 'text'\]"):
        BatchSchema.learn(batch, parse_modalities({"table": "table", "text": "input_ids"}), None, TOKENS)


def test_leaves_of_other_names_and_further_modalities_are_left_alone() -> None:
    tokens = PlaceholderTokens({"image": (X,)})
    batch = {**padded(ROWS), "scan": items(2, 4), "table": 7 * items(2, 5), "label": torch.tensor([3, 4])}
    named = parse_modalities({"table": "table", "image": "scan", "text": "input_ids"})
    probe = whole_examples(BatchSchema.learn(batch, named, None, tokens), batch, 2)
    built = probe.batch(torch.tensor([[0, 1, 0], [1, 0, 1]]), {})
    assert built["scan"][:, 0].tolist() == [2, 1]
    assert built["table"][:, 0].tolist() == [7, 14]
    assert built["label"].tolist() == [3, 4]
    assert probe.schema.values["image"] == ["scan"]


def test_items_may_lie_in_a_container_or_in_a_list_of_each_example() -> None:
    texts = padded([[1, X, 2], [X, X, 3], [4]])
    inside = {**texts, "vision": {"pixel_values": items(3, 2), "image_sizes": torch.tensor([[1, 1], [2, 1], [3, 1]])}}
    schema = learn(inside, image="vision")
    assert schema.values["image"] == ["vision.pixel_values", "vision.image_sizes"]
    assert [len(own) for own in schema.leaves(inside)["vision.pixel_values"]] == [1, 2, 0]
    listed = {**texts, "pixel_values": [items(1, 2), 5 * items(2, 2), items(0, 2)]}
    probe = probe_of(listed)
    assert probe.size == 2
    built = probe.batch(torch.tensor([[1, 0]]), {})
    assert built["input_ids"].tolist() == [[1, X, X, 2]]
    assert torch.equal(built["pixel_values"][0], 5 * items(2, 2))


def test_a_schema_travels_to_other_processes_without_its_modalities() -> None:
    probe = probe_of(batch_of([[BEGIN, X, 3], [BEGIN, X, 2, 4]], 2))
    sent = pickle.loads(pickle.dumps(replace(probe.schema, modalities={})))  # noqa: S301 - of our own
    again = sent.declared_as(parse_modalities(NAMED))
    assert again.modalities == probe.schema.modalities
    assert again.interleaving == probe.schema.interleaving
