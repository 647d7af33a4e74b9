"""Patches: rows that a grid puts in their places, cells as segments, and the pictures that come out again."""

from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.dime_synthetic import context_of
from helpers.batches import floats
from helpers.modality_checks import RED, assert_cut, drawn, made, where
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mviz_lightning import ConfigurationError, Modality, explain
from mviz_lightning.engine import Evaluator
from mviz_lightning.explainers import DIME, Responses
from mviz_lightning.modalities import Image, Patches, modality_type_of
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.modalities.patch_pixels import PatchFormat

SIDE = 4


def photo(height: int, width: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Return a smooth picture in 0..1, ``(channels, height, width)``."""
    coarse = torch.rand(1, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[0].clamp(0, 1)


def rows_of(frames: Tensor, kind: str = "plain", side: int = SIDE) -> tuple[Tensor, tuple[int, int, int]]:
    """Write frames ``(t, channels, H, W)`` as rows of patches, by loops.

    Returns:
        ``(t * h * w, D)``, and frames, rows and columns of patches. ``doubled`` has each frame twice in a patch,
        ``blocks`` writes 2 x 2 patches one behind another (both as Qwen2-VL does), ``last`` has the channels last.
    """
    times, _, height, width = frames.shape
    h, w = height // side, width // side
    places = [(y, x) for y in range(h) for x in range(w)]
    if kind in {"blocks", "blocks doubled"}:
        places = sorted(places, key=lambda place: (place[0] // 2, place[1] // 2, place[0] % 2, place[1] % 2))
    rows = []
    for frame in frames:
        for y, x in places:
            patch = frame[:, y * side : (y + 1) * side, x * side : (x + 1) * side]
            if kind in {"doubled", "blocks doubled"}:
                patch = torch.stack([patch, patch], 1)
            rows.append((patch.permute(1, 2, 0) if kind == "last" else patch).flatten())
    return torch.stack(rows), (times, h, w)


def kept(*examples: list[tuple[Tensor, tuple[int, ...]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return values ``(N, Lmax, D)``, the mask ``(N, Lmax)`` and the grid ``(N, K, 3)``, padded with 0."""
    joined = [torch.cat([rows for rows, _ in pictures]) for pictures in examples]
    values = torch.zeros(len(joined), max(map(len, joined)), joined[0].shape[1])
    mask = torch.zeros(values.shape[:2], dtype=torch.long)
    grid = torch.zeros(len(joined), max(map(len, examples)), 3, dtype=torch.long)
    for example, (rows, pictures) in enumerate(zip(joined, examples, strict=True)):
        values[example, : len(rows)], mask[example, : len(rows)] = rows, 1
        grid[example, : len(pictures)] = torch.tensor([shape for _, shape in pictures])
    return values, mask, grid


def patches(*examples: list[tuple[Tensor, tuple[int, ...]]], **options: Any) -> Any:
    values, mask, grid = kept(*examples)
    return made(values, others={"m": mask, "g": grid}, mask="m", grid="g", **options)


def shown(picture: Tensor) -> Any:
    return (picture * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["plain", "doubled", "last", "blocks", "blocks doubled"])
def test_the_picture_comes_out_of_its_patches_to_the_pixel(kind: str) -> None:
    one, other = photo(16, 32), photo(24, 8, seed=1)
    found = patches([rows_of(one[None], kind)], [rows_of(other[None], kind)])
    assert isinstance(found, Patches)
    assert np.array_equal(found.pixels(0), shown(one))
    assert np.array_equal(found.pixels(1), shown(other))
    assert found.aspect(0) == 0.5
    assert found.aspect(1) == 3


def test_grey_pictures_come_out_too() -> None:
    one = photo(16, 24, channels=1)
    assert np.array_equal(patches([rows_of(one[None])]).pixels(0), shown(one.expand(3, -1, -1)))


def test_normalisation_is_undone() -> None:
    one = photo(16, 16)
    values = (one - 0.5) / 0.25
    assert np.abs(patches([rows_of(values[None])], mean=0.5, std=0.25).pixels(0).astype(int) - shown(one)).max() <= 1


def test_numbers_that_are_no_pixels_are_shown_as_their_mean() -> None:
    # 48 numbers would make 3 x 4 x 4 pixels.
    rows = torch.randn(12, 48, generator=torch.Generator().manual_seed(0))
    pixels = patches([(rows, (1, 3, 4))]).pixels(0)
    mean = rows.mean(1).view(3, 4)
    expected = (mean - mean.min()) / (mean.max() - mean.min()) * 255
    assert pixels.shape == (3, 4, 3)
    assert np.abs(pixels[..., 0] - expected.numpy()).max() <= 0.51


def test_features_in_blocks_are_put_in_their_places() -> None:
    # Features of 32 numbers that change slowly over the picture, as an encoder's do.
    field = photo(8, 12, channels=32)
    rows, shape = rows_of(field[None], "blocks", side=1)
    mean = field.mean(0)
    expected = (mean - mean.min()) / (mean.max() - mean.min()) * 255
    assert np.abs(patches([(rows, shape)]).pixels(0)[..., 0] - expected.numpy()).max() <= 0.51


@pytest.mark.parametrize("segments", [1, 5, 12, 49, 200])
@pytest.mark.parametrize("kind", ["plain", "blocks"])
def test_cells_cover_every_patch_once_and_no_padding(kind: str, segments: int) -> None:
    pictures = [rows_of(photo(32, 32)[None], kind), rows_of(photo(16, 40, 1)[None], kind)]
    found = patches(pictures, [rows_of(photo(8, 8, 2)[None], kind)], max_segments=segments)
    assert_cut(found)
    assert torch.equal(found.segments.index[..., 0] >= 0, found.leaves["m"].bool())


def test_a_segment_is_a_cell_of_the_grid() -> None:
    found = patches([rows_of(photo(16, 24)[None])], max_segments=6)
    assert found.segments.index[0, :, 0].view(4, 6).tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert found.names(0)[4] == "row 2, col 2"
    blocked = patches([rows_of(photo(16, 24)[None], "blocks")], max_segments=6)
    assert blocked.segments.index[0, :, 0].tolist() == [cell for cell in range(6) for _ in range(4)]


def test_several_pictures_and_frames_have_names() -> None:
    pictures = [rows_of(photo(8, 4)[None]), rows_of(torch.stack([photo(4, 8, k) for k in range(4)]))]
    assert patches(pictures).names(0)[:3] == [
        "picture 1, row 1, col 1",
        "picture 1, row 2, col 1",
        "picture 2, frame 1, row 1, col 1",
    ]
    found = patches(pictures, max_segments=4)
    assert found.names(0, inputs=False) == [
        "picture 1, row 1, col 1",
        "picture 2, frame 2, row 1, col 1",
        "picture 2, frame 4, row 1, col 1",
    ]


def test_more_pictures_than_segments_leave_the_last_ones_together() -> None:
    found = patches([rows_of(photo(4, 4, k)[None]) for k in range(5)], max_segments=3)
    assert found.segments.index[0, :, 0].tolist() == [0, 1, 2, 2, 2]
    assert found.names(0)[2] == "picture 3, row 1, col 1"
    assert drawn(found, [0, 0, 1]).std() > 1


def test_a_masked_cell_becomes_the_mean_patch() -> None:
    values, mask, grid = kept([rows_of(photo(8, 8)[None])], [rows_of(photo(4, 4, 1)[None])])
    found = made(values, others={"m": mask, "g": grid}, mask="m", grid="g")
    keep = torch.tensor([[True, False, True, True], [False, True, True, True]])
    after = found.segments.mask(values, keep, torch.arange(2))
    mean = torch.cat([values[0], values[1, :1]]).mean(0)
    assert torch.allclose(after[0, 1], mean)
    assert torch.allclose(after[1, 0], mean)
    assert torch.equal(after[0, [0, 2, 3]], values[0, [0, 2, 3]])
    assert not after[1, 1:].any()


@pytest.mark.parametrize(
    ("leaf", "grid", "name"),
    [
        ("image_grid_thw", [[1, 2, 3], [1, 3, 2]], "patches"),
        ("grid_hw", [[2, 3], [3, 2]], "patches"),
        ("vision.image_sizes", [[2, 3], [6, 1]], "patches"),
        ("spatial_shapes", [[2, 3], [6, 1]], "patches"),
        ("image_grid_thw", [[[1, 2, 2], [1, 1, 2]], [[1, 2, 3], [0, 0, 0]]], "patches"),
        ("image_grid_thw", [[1, 2, 3], [1, 3, 3]], "series"),
        ("image_sizes", [[224, 336], [336, 224]], "series"),
        ("boxes", [[1, 2, 3], [1, 3, 2]], "series"),
    ],
)
def test_a_companion_that_counts_the_patches_makes_patches(leaf: str, grid: Any, name: str) -> None:
    sizes = torch.tensor(grid)
    node = {"vision": {"image_sizes": sizes}} if "." in leaf else {leaf: sizes}
    batch = {"x": torch.rand(2, 6, 48), **node, "t": torch.rand(2, 3)}
    probe = context_of(batch, {"i": Modality("x", companions=[leaf]), "t": Modality("t")}).probe
    assert modality_types_of(probe)["i"].name == name


def test_padding_counts_for_nothing_in_the_guess() -> None:
    values, mask, grid = kept([rows_of(photo(8, 8)[None])], [rows_of(photo(4, 8, 1)[None])])
    batch = {"x": values, "m": mask, "grid": grid, "t": torch.rand(2, 3)}
    for given, name in (
        (Modality("x", mask="m", companions=["grid"]), "patches"),
        (Modality("x", companions=["grid"]), "series"),
    ):
        probe = context_of(batch, {"i": given, "t": Modality("t")}).probe
        assert modality_types_of(probe)["i"].name == name


def test_a_grid_is_a_leaf_and_decides_the_type() -> None:
    assert Modality("x", grid="g").leaves == ["x", "g"]
    assert modality_type_of(Modality("x", grid="g"), torch.rand(2, 6, 48)) is Patches
    assert modality_type_of(Modality("x", grid="g", kind="image"), torch.rand(2, 6, 48)) is Image


@pytest.mark.parametrize(
    ("values", "grid", "options", "error"),
    [
        (torch.rand(2, 6, 48), None, {}, r"grid='g' of 'x': expected \(N, 2 or 3\).* found no such leaf"),
        (torch.rand(2, 6, 48), torch.ones(2, 4).long(), {}, r"found \(2, 4\)"),
        (torch.rand(2, 6), torch.ones(2, 3).long(), {}, r"kind='patches' of 'x': expected \(N, L, D\); found \(2, 6\)"),
        (
            torch.rand(2, 6, 48),
            torch.tensor([[1, 2, 3], [1, 2, 2]]),
            {},
            "add up to 4 patches in example 1, which has 6 rows",
        ),
        (torch.rand(2, 6, 48), torch.tensor([[1, 2, 3]] * 2), {"superpixels": True}, "superpixels=True of 'x'"),
    ],
)
def test_what_are_no_patches_is_refused(values: Any, grid: Any, options: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        made(values, others={} if grid is None else {"g": grid}, grid="g", **options)


@pytest.mark.parametrize("kind", ["plain", "blocks"])
@pytest.mark.parametrize("inputs", [True, False])
def test_a_cells_colour_is_where_the_cell_is(kind: str, *, inputs: bool) -> None:
    white = 0.999 + 0.001 * photo(16, 24)
    found = patches([rows_of(white[None], kind)], max_segments=6, mean=0, std=1)
    for segment, place in ((1, (1 / 3, 2 / 3, 0, 1 / 2)), (3, (0, 1 / 3, 1 / 2, 1))):
        weights = np.zeros(6)
        weights[segment] = 1
        assert where(drawn(found, weights, inputs=inputs), RED) == pytest.approx(place, abs=0.03)


def test_pictures_stand_side_by_side_each_with_its_own_cells() -> None:
    pictures = [rows_of(photo(16, 16)[None]), rows_of(photo(16, 16, 1)[None])]
    found = patches(pictures, max_segments=8)
    assert found.segments.count(0) == 8
    left, right = found.pixels(0)[:, :16], found.pixels(0)[:, -16:]
    assert np.array_equal(left, shown(photo(16, 16)))
    assert np.array_equal(right, shown(photo(16, 16, 1)))
    assert (found.pixels(0)[:, 16:-16] == 255).all()
    weights = np.zeros(8)
    weights[7] = 1
    assert where(drawn(found, weights, inputs=False), RED) == pytest.approx((0.75, 1, 0.5, 1), abs=0.03)


def test_of_many_frames_the_middle_one_of_every_block_is_shown() -> None:
    frames = torch.stack([photo(16, 16, k) for k in range(9)])
    found = patches([rows_of(frames)], max_segments=3)
    assert found.names(0) == [f"frame {frame}, row 1, col 1" for frame in (2, 5, 8)]
    sheet = found.pixels(0)
    assert np.array_equal(sheet[:16, :16], shown(frames[1]))
    assert np.array_equal(sheet[:16, 17:], shown(frames[4]))
    assert np.array_equal(sheet[17:, :16], shown(frames[7]))


def test_nothing_of_the_pictures_is_seen_where_inputs_are_not_shown() -> None:
    weights = np.linspace(-1, 1, 24)
    one, other = patches([rows_of(photo(16, 24)[None])]), patches([rows_of(photo(16, 24, 5)[None])])
    assert np.array_equal(drawn(one, weights, inputs=False), drawn(other, weights, inputs=False))
    assert one.names(0, inputs=False) == other.names(0, inputs=False)
    assert not np.array_equal(drawn(one, weights), drawn(other, weights))


def test_an_example_without_pictures_is_drawn() -> None:
    values, mask = torch.zeros(1, 4, 48), torch.zeros(1, 4).long()
    found = made(values, others={"m": mask, "g": torch.zeros(1, 1, 3).long()}, mask="m", grid="g")
    assert found.names(0) == []
    assert drawn(found).shape == drawn(found, []).shape == (195, 195, 3)


def test_the_format_puts_rows_in_places_and_back() -> None:
    for merge in (1, 2):
        form = PatchFormat(3, merge=merge)
        rows = torch.arange(2 * 4 * 6)
        assert torch.equal(form.in_rows(form.placed(rows, (2, 4, 6))), rows)


class Brightness(nn.Module):
    """Adds up a number for every patch and every column of a table."""

    def forward(self, batch: Any) -> Tensor:
        return ((batch["x"].sum(2) * batch["m"]).sum(1) + batch["t"].sum(1)).unsqueeze(1)


def test_each_cells_unimodal_contribution_is_what_an_additive_model_adds_for_it() -> None:
    examples = [[rows_of(photo(8, 8 + 4 * (k % 2), k)[None]), rows_of(photo(4, 4, 50 + k)[None])] for k in range(32)]
    values, mask, grid = kept(*examples)
    batch = {"x": values, "m": mask, "image_grid_thw": grid, "t": floats(32, 2)}
    modalities = {"image": Modality("x", mask="m", companions=["image_grid_thw"]), "t": Modality("t")}
    context, dime = context_of(batch, modalities, task="regression"), DIME(masks=10**8)
    evaluator = Evaluator(Brightness(), lambda module, batch: module(batch), chunk_size=4096)

    mean = values[mask.bool()].mean(0).sum()
    for example in range(4):
        responses = evaluator(context.probe, dime.plan(context, [example]).queries)
        part = dime.explain(context, [example], Responses(responses)).examples[0].outputs[0].parts["image"]
        added = values[example].sum(1)[mask[example].bool()] - mean
        assert torch.allclose(part.unimodal.float(), added, atol=1e-3)
        assert float(part.interaction.abs().max()) < 1e-4


class PackedBrightness(nn.Module):
    """Adds up the numbers of an example's pictures, whose patches lie one behind another, and of its table."""

    def forward(self, batch: Any) -> Tensor:
        rows = batch["image_grid_thw"].prod(1)
        if "num_images" in batch:
            rows = torch.stack([one.sum() for one in rows.split(batch["num_images"].tolist())])
        sums = torch.stack([one.sum() for one in batch["pixel_values"].split(rows.tolist())])
        return (sums + batch["tab"].sum(1)).unsqueeze(1)


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [1, 2])
def test_packed_pictures_are_read_explained_and_drawn(pictures: int) -> None:
    examples = [
        [
            rows_of(photo(8, 8 + 8 * ((k + number) % 2), 10 * k + number)[None], "blocks doubled")
            for number in range(1 + k % pictures)
        ]
        for k in range(16)
    ]
    every = [one for example in examples for one in example]
    batch = {
        "pixel_values": torch.cat([rows for rows, _ in every]),
        "image_grid_thw": torch.tensor([shape for _, shape in every]),
        "tab": floats(16, 2),
        "y": floats(16),
    }
    named = ["pixel_values", "image_grid_thw"]
    if pictures > 1:
        batch["num_images"] = torch.tensor([len(example) for example in examples])
        named.append("num_images")
    report = explain(
        PackedBrightness(), [batch], modalities={"image": named, "table": "tab"}, target="y", task="regression",
        predict=lambda module, batch: module(batch), num_examples=16, group_size=8,
        explainers=[DIME(num_examples=2, masks=10**4)],
    )  # fmt: skip
    assert report.values["interaction"] == pytest.approx(0, abs=1e-6)
    found = report._drawing.modality_types["image"]
    assert isinstance(found, Patches)
    for explained in report.explanations["dime"]:
        own = examples[explained.position]
        assert len(explained.outputs[0].parts["image"].unimodal) == sum(len(rows) for rows, _ in own)
        expected = [photo(4 * h, 4 * w, 10 * explained.position + number) for number, (_, (_, h, w)) in enumerate(own)]
        pixels = found.pixels(explained.example)
        assert np.array_equal(pixels[: expected[0].shape[1], : expected[0].shape[2]], shown(expected[0]))
