"""Which way round a mask is: told from what stands at its entries, or said by the user."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, learn, probe_of, same
from torch import Tensor

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch import Probe, parse_modalities
from mviz_lightning.batch.few_examples import with_masks_told
from mviz_lightning.batch.modality_code import modalities_code
from mviz_lightning.batch.padding import collate, own_bounds, read_as_padding_masks, with_masks_read
from mviz_lightning.collapse.raw_inputs import _numbers as raw_features
from mviz_lightning.modalities.of_probe import modality_types_of

LENGTHS = [3, 5, 1, 4, 2]
ENDS = (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).float()
"""1 at real entries of five examples."""


def read(values: Any, mask: Tensor, **said: Any) -> Modality:
    """Return the modality as it is read from a batch's examples."""
    given = {"x": Modality("x", **(said or {"mask": "m"})), "other": "other"}
    return with_masks_told(probe_of({"x": values, "m": mask, "other": floats(len(mask), 2)}, given)).schema.modalities[
        "x"
    ]


def queries(keys: Tensor) -> Tensor:
    """Return a mask of a query and a key, causal."""
    return keys[:, None] * torch.ones(5, 5).tril()


IDS = (integers(90, 5, 5) + 10) * ENDS.long() + 7 * (1 - ENDS.long())
STEPS = floats(5, 5, 3) * ENDS[..., None]
PIXELS = ENDS[:, None] * ENDS.flip(0)[:, :, None].clamp(min=0)
FORMS = {
    "ids": (IDS, ENDS),
    "ids, a mask of booleans": (IDS, ENDS.bool()),
    "ids, a mask (N, T, 1)": (IDS, ENDS.unsqueeze(2)),
    "ids, a mask (N, 1, 1, T)": (IDS, ENDS[:, None, None]),
    "steps": (STEPS, ENDS),
    "steps with missing values": (STEPS.where(STEPS < 1, torch.nan), ENDS),
    "padding of NaN": (STEPS.where(ENDS[..., None] > 0, torch.nan), ENDS),
    "videos": (floats(5, 5, 3, 2, 2) * ENDS[:, :, None, None, None], ENDS),
    "pixels": (floats(5, 3, 5, 5) * PIXELS[:, None] + 2, PIXELS),
    "padded on the left": (IDS.flip(1), ENDS.flip(1)),
    "not padded so far": (integers(90, 5, 5), torch.ones(5, 5)),
}


@pytest.mark.parametrize(("values", "mask"), FORMS.values(), ids=FORMS.keys())
def test_a_mask_is_read_the_way_that_its_entries_tell(values: Tensor, mask: Tensor) -> None:
    turned = ~mask if mask.dtype == torch.bool else 1 - mask
    assert read(values, mask) == Modality("x", mask="m")
    assert read(values, turned) == Modality("x", padding_mask="m")


UNDECIDED = {
    "constant values": (torch.ones(5, 5, 3), ENDS),
    "padding that varies": (floats(5, 5, 3), ENDS),
    "one example": (STEPS[:1], 1 - ENDS[:1]),
    "one more example whose padding is a single entry": (STEPS[[0, 3]], 1 - ENDS[[0, 3]]),
    "strings": (["a", "b", "c", "d", "e"], 1 - ENDS),
    "a number for each example": (STEPS, torch.tensor([0.0, 1, 0, 1, 0])),
    "another length": (STEPS, 1 - ENDS[:, :4]),
    "causal": (STEPS, queries(torch.ones(5, 5))),
    "causal, with padding": (STEPS, queries(ENDS)),
}


@pytest.mark.parametrize(("values", "mask"), UNDECIDED.values(), ids=UNDECIDED.keys())
def test_a_mask_that_its_entries_do_not_decide_on_is_read_as_declared(values: Any, mask: Tensor) -> None:
    assert read(values, mask) == Modality("x", mask="m")


def test_few_odd_examples_do_not_outvote_the_others() -> None:
    values, mask = STEPS.repeat(3, 1, 1), 1 - ENDS.repeat(3, 1)
    values[[0, 6]] = 1.0  # constant where the others vary
    mask[0] = 1 - mask[0]
    assert read(values, mask).padding_mask == "m"


def test_a_padding_mask_is_taken_as_it_is_said() -> None:
    assert read(IDS, ENDS, padding_mask="m") == Modality("x", padding_mask="m")


def test_both_masks_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="mask='a', padding_mask='b'.: give one of them"):
        Modality("x", mask="a", padding_mask="b")


def test_a_padding_mask_travels_with_its_modality_and_is_written_as_such() -> None:
    found = parse_modalities({"text": Modality("ids", padding_mask="key_mask", companions=["types"]), "image": "image"})
    assert found["text"].leaves == ["ids", "key_mask", "types"]
    code = modalities_code(found, {"text": ["segment_mask"]})
    again = parse_modalities(eval(code.removeprefix("modalities="), {"Modality": Modality}))  # noqa: S307 - our own code
    assert again["text"].padding_mask == "key_mask"
    assert again["text"].mask is None
    assert again["text"].leaves == ["ids", "key_mask", "types", "segment_mask"]


def rows_of(batches: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{path: leaf[[k]] for path, leaf in batch.items()} for batch in batches for k in range(len(batch["ids"]))]


def text_batch(lengths: Sequence[int], pad: int, *, in_front: bool) -> dict[str, Tensor]:
    place = torch.arange(max(lengths))
    padding = place >= torch.tensor(lengths)[:, None]
    batch = {"ids": torch.where(padding, pad, place + 10), "m": padding, "types": padding.long() * 3}
    turned = {path: leaf.flip(1) for path, leaf in batch.items()} if in_front else batch
    return turned | {"other": floats(len(lengths), 2)}


@pytest.mark.parametrize("in_front", [True, False])
def test_examples_are_padded_as_an_inverted_mask_shows(*, in_front: bool) -> None:
    rows = rows_of([text_batch([1, 4], 7, in_front=in_front), text_batch([6, 2, 3], 7, in_front=in_front)])
    declared = learn(rows[0], {"text": Modality("ids", mask="m", companions=["types"]), "other": "other"})
    schema = with_masks_read(declared, rows)
    leaves, whole = collate(schema, rows), text_batch([1, 4, 6, 2, 3], 7, in_front=in_front)
    assert all(same(leaves[path], whole[path]) for path in ("ids", "m", "types"))
    line = read_as_padding_masks(declared.modalities, schema)
    assert "the mask 'm' of text is read as a padding mask (True at padding" in line
    assert read_as_padding_masks(schema.modalities, schema) == ""


def test_segments_hide_words_with_an_inverted_mask() -> None:
    modality = Modality("ids", mask="m")
    batch = text_batch([3, 2, 4, 1], 7, in_front=False)
    probe = with_masks_told(probe_of(batch, {"text": modality, "other": "other"}))
    text = modality_types_of(probe)["text"]
    assert [text.segments.count(k) for k in range(4)] == [3, 2, 4, 1]
    assert text.segments.leaf == "m"
    assert text.baseline == "left out (attention mask 1)"
    hidden = text.segments.mask(batch["m"][[0]], torch.tensor([[True, False, True]]), torch.tensor([0]))
    assert hidden.tolist() == [[False, True, False, True]]
    assert hidden.dtype == torch.bool


def test_series_end_where_an_inverted_mask_begins() -> None:
    batch = {"x": STEPS, "m": ENDS == 0, "other": floats(5, 2)}
    probe = with_masks_told(probe_of(batch, {"x": Modality("x", mask="m"), "other": "other"}))
    series = modality_types_of(probe)["x"]
    assert [series.segments.count(k) for k in range(5)] == [3 * length for length in LENGTHS]
    assert torch.equal(probe.real_entries("x"), ENDS > 0)


def ragged(leaves: Sequence[Tensor], **said: Any) -> Probe:
    rows = [{"x": leaf.unsqueeze(0), "other": floats(1, 2)} for leaf in leaves]
    schema = learn(rows[0], {"x": Modality("x", **said), "other": "other"})
    return Probe(schema, collate(schema, rows), torch.arange(len(rows))[None], bounds=own_bounds(schema, rows))


@pytest.mark.parametrize("superpixels", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_of_several_sizes_are_divided_each_in_its_own(*, superpixels: bool, channels_last: bool) -> None:
    sizes = [(6, 4), (9, 12), (3, 8)]
    images = [torch.rand(3, *size) for size in sizes]
    given = [image.movedim(0, -1) for image in images] if channels_last else images
    found = modality_types_of(ragged(given, superpixels=superpixels, max_segments=12))["x"]
    for k, (height, width) in enumerate(sizes):
        index = found.segments.index[k].squeeze()
        assert (index[:height, :width] >= 0).all()
        assert (index >= 0).sum() == height * width
        assert index.max() + 1 == found.segments.count(k) == len(found.names(k))
        assert found.pixels(k).shape == (height, width, 3)
        assert found.aspect(k) == height / width
        assert found._index(k).shape == (height, width)
    alone = modality_types_of(ragged([given[0]] * 2, superpixels=superpixels, max_segments=12))["x"]
    assert (found._index(0) == alone._index(0)).all()
    mean = torch.cat([image.flatten(1) for image in images], 1).mean(1)
    torch.testing.assert_close(found.segments.baseline.flatten(), mean)


def test_images_are_divided_where_their_pixel_mask_shows_them() -> None:
    pixels = torch.zeros(2, 8, 8)
    pixels[0, :4], pixels[1, :, 2:] = 1, 1
    batch = {"x": floats(2, 3, 8, 8), "m": pixels, "other": floats(2, 2)}
    found = modality_types_of(probe_of(batch, {"x": Modality("x", mask="m"), "other": "other"}))["x"]
    assert torch.equal(found.segments.index[:, 0] >= 0, pixels > 0)
    assert found.pixels(1).shape == (8, 6, 3)


def test_sequences_without_a_mask_end_where_they_do() -> None:
    steps = modality_types_of(ragged([floats(length, 2) for length in LENGTHS]))["x"]
    assert [steps.segments.count(k) for k in range(5)] == [2 * length for length in LENGTHS]
    words = modality_types_of(ragged([integers(90, length) + 1 for length in LENGTHS]))["x"]
    assert [words.segments.count(k) for k in range(5)] == LENGTHS
    padded = [torch.cat([integers(90, length) + 1, torch.zeros(2, dtype=torch.long)]) for length in LENGTHS]
    known = modality_types_of(ragged(padded, pad_value=0))["x"]
    assert [known.segments.count(k) for k in range(5)] == LENGTHS
    waves = modality_types_of(ragged([floats(100 * length) for length in LENGTHS], kind="audio", sample_rate=100))["x"]
    assert [len(waves.sound(k)) for k in range(5)] == [100 * length for length in LENGTHS]


def test_raw_inputs_are_those_of_real_entries() -> None:
    batch = text_batch([3, 2, 4, 1], 7, in_front=False)
    turned = with_masks_told(probe_of(batch, {"x": Modality("ids", mask="m"), "other": "other"}))
    said = probe_of(batch | {"m": ~batch["m"]}, {"x": Modality("ids", mask="m"), "other": "other"})
    assert torch.equal(raw_features(turned, "x"), raw_features(said, "x"))
    assert raw_features(turned, "x").shape == (4, 4)  # the tokens 10 to 13, and none of the padding
    unpadded = ragged([row[real] for row, real in zip(batch["ids"], ~batch["m"], strict=True)], pad_value=7)
    assert torch.equal(raw_features(unpadded, "x"), raw_features(said, "x"))
