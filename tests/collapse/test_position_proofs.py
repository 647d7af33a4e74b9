"""What raw inputs tell of labels at positions: whole examples are held out, and what is around a position is read."""

from collections.abc import Callable

import pytest
import torch
from collapse.test_raw_input_proof import probe
from torch import Tensor
from torch.nn import functional

from mviz_lightning import Modality
from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.collapse.position_inputs import Shown, axis_of_positions, position_inputs
from mviz_lightning.collapse.proofs import proofs_from
from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.sinks.records import State

SIZE = 16
COUNT = 80

Maps = dict[str, Tensor]

Planted = Callable[[torch.Generator, int], tuple[Maps, Tensor]]


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def smooth(generator: torch.Generator, count: int) -> Tensor:
    """Return maps ``(N, H, W)`` whose neighbouring pixels are alike."""
    return functional.interpolate(normal(generator, count, 1, 3, 3), size=(SIZE, SIZE), mode="bicubic")[:, 0]


def classes_of(values: Tensor) -> Tensor:
    return torch.bucketize(values, torch.tensor([-0.4, 0.4]))


def beyond(generator: torch.Generator, count: int) -> tuple[Maps, Tensor]:
    """Radar decides one half of the map, and optical the other, pixel by pixel: shares of classes hardly vary."""
    optical, radar = normal(generator, 2, count, SIZE, SIZE)
    left = torch.arange(SIZE) < SIZE // 2
    return {"optical": optical[:, None], "radar": radar[:, None]}, classes_of(torch.where(left, radar, optical))


def redundant(generator: torch.Generator, count: int) -> tuple[Maps, Tensor]:
    """Both see the ground, the optical sensor less clearly."""
    ground = smooth(generator, count)
    optical = ground + 0.3 * normal(generator, *ground.shape)
    return {"optical": optical[:, None], "radar": ground[:, None]}, classes_of(ground)


def nothing(generator: torch.Generator, count: int) -> tuple[Maps, Tensor]:
    """The optical sensor sees clouds."""
    ground = smooth(generator, count)
    return {"optical": smooth(generator, count)[:, None], "radar": ground[:, None]}, classes_of(ground)


def same_in_all(generator: torch.Generator, count: int) -> tuple[Maps, Tensor]:
    """The label follows from where a position lies; so does the optical picture, up to its noise."""
    found, labels = nothing(generator, count)
    slope = torch.linspace(-1, 1, SIZE).expand(count, 1, SIZE, SIZE)
    return {**found, "optical": slope + 0.01 * normal(generator, *slope.shape)}, classes_of(0 * labels + slope[:, 0])


def one_label_each(generator: torch.Generator, count: int) -> tuple[Maps, Tensor]:
    """All pixels of an example have one label, and one colour that tells which example it is."""
    maps = {
        name: normal(generator, count, 1, 1, 1).expand(count, 1, SIZE, SIZE).clone() for name in ("optical", "radar")
    }
    return maps, classes_of(normal(generator, count, 1, 1)).expand(count, SIZE, SIZE)


def states(planted: Planted, seed: int, count: int = COUNT) -> dict[str, State]:
    """Return what each modality would be called if the model did not use it."""
    leaves, labels = planted(torch.Generator().manual_seed(seed), count)
    found = PositionLabels(labels.flatten(1), tuple(labels.shape[1:]), 3)
    examples = Probe(
        BatchSchema.learn(leaves, {name: Modality(name) for name in leaves}),
        leaves,
        torch.zeros(0, 4, dtype=torch.long),
        by_position=found,
    )
    places = torch.rand(count, labels[0].numel(), generator=torch.Generator().manual_seed(99)).argsort(1)[:, :16]
    proofs = proofs_from(position_inputs(examples, places, found.at(places), "multiclass", 3, seed))
    return {name: CollapseRule()._state(name, proofs.alone.get(name), proofs.beyond.get(name)) for name in leaves}


SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(6)]


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mviz_lightning.collapse.position_inputs.ROWS", 160)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_tells_of_half_the_pixels_is_collapsed_where_it_is_not_used(seed: int) -> None:
    assert states(beyond, seed) == {"optical": State.COLLAPSED, "radar": State.COLLAPSED}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_other_tells_too_is_redundant(seed: int) -> None:
    assert states(redundant, seed)["optical"] is State.REDUNDANT


@pytest.mark.parametrize("seed", SEEDS)
def test_what_tells_nothing_is_unused(seed: int) -> None:
    assert states(nothing, seed)["optical"] is State.UNUSED


@pytest.mark.parametrize("seed", SEEDS)
def test_where_a_position_lies_is_nothing_that_a_modality_tells(seed: int) -> None:
    assert states(same_in_all, seed)["optical"] is State.UNUSED


@pytest.mark.parametrize("seed", SEEDS)
def test_positions_of_one_example_are_no_proof(seed: int) -> None:
    """The colour tells which example it is, and with it the label of its other pixels, but none of another example."""
    assert set(states(one_label_each, seed).values()) == {State.UNUSED}


def test_a_sequence_of_tokens_tells_of_its_own_tags() -> None:
    generator = torch.Generator().manual_seed(0)
    words, table = torch.randint(9, (COUNT, 12), generator=generator), normal(generator, COUNT, 3)
    tags = torch.randint(3, (9,), generator=generator)[words]
    found = {"words": words, "table": table}, tags
    assert states(lambda *_: found, 0) == {"words": State.COLLAPSED, "table": State.UNUSED}


def test_a_table_tells_of_some_positions_of_a_map() -> None:
    generator = torch.Generator().manual_seed(0)
    table, ground = normal(generator, COUNT, 3), normal(generator, COUNT, SIZE, SIZE)
    left = torch.arange(SIZE) < SIZE // 2
    land = classes_of(torch.where(left, table[:, :1, None].expand_as(ground), ground))
    found = {"table": table, "radar": ground[:, None]}, land
    assert states(lambda *_: found, 0)["table"] is State.COLLAPSED


@pytest.mark.parametrize(
    ("shape", "lattice", "expected"),
    [
        ((5, 3, 8, 6), (8, 6), 2),
        ((5, 8, 6, 3), (8, 6), 1),
        ((5, 3, 16, 12), (8, 6), 2),  # outputs at half the resolution
        ((5, 3, 4, 3), (8, 6), 2),
        ((5, 3, 16, 6), (8, 6), None),
        ((5, 12), (12,), 1),
        ((5, 12, 4), (12,), 1),
        ((5, 24, 4), (12,), None),
        ((5, 1, 8, 6), (1, 8, 6), 2),
        ((5, 4), (8, 6), None),
    ],
)
def test_axes_of_a_leaf_along_which_positions_lie(
    shape: tuple[int, ...], lattice: tuple[int, ...], expected: int | None
) -> None:
    assert axis_of_positions(shape, lattice) == expected


def test_windows_are_those_of_the_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = normal(generator, 7, 2, 8, 6)
    maps[2, 1, 3, 3] = float("nan")
    examples, places = torch.tensor([0, 2, 2, 6]), torch.tensor([0, 10, 11, 7])  # of maps half as large
    found = Shown(probe({"optical": maps}), examples, places, (4, 3)).numbers("optical")
    few = maps[[0, 2, 6]].double()
    usual = few.nanmean(0)
    assert found is not None
    for row, (example, place) in enumerate(zip(examples.tolist(), places.tolist(), strict=True)):
        expected = []
        y, x = (int(2 * (at + 0.5)) for at in divmod(place, 3))
        for reach in (0, 1, 8):
            for channel in range(2):
                window = [
                    float(maps[example, channel, i, j].double() - usual[channel, i, j])
                    for i in range(8)
                    for j in range(6)
                    if abs(i - y) <= reach and abs(j - x) <= reach
                ]
                real = [value for value in window if value == value]  # noqa: PLR0124 - NaN
                expected.append(sum(real) / len(real) if real else float("nan"))
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5, nan_ok=True)
