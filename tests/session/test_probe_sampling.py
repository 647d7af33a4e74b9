"""The fixed examples, and those that are pinned besides."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from helpers.batches import floats, same
from session.test_example_selection import on_ranks, positions, session
from session.test_session import COUNT, LARGE, batches, config, data, through_a_checkpoint
from torch import Tensor

from mviz_lightning.batch.reservoir import priority
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.probe_sampling import ProbeSampler
from mviz_lightning.session.saved_probe import Collected

POOL = 30
ORDER = sorted(range(COUNT), key=lambda position: priority(0, position))
INSIDE, OUTSIDE = sorted(ORDER[:POOL]), sorted(ORDER[POOL:])
"""Positions that a sample of 30 holds, and those that it does not."""
ABSENT = 1000
PINS = [[], [INSIDE[4]], [OUTSIDE[0]], [OUTSIDE[5], INSIDE[0], OUTSIDE[1]], [*OUTSIDE], [ABSENT, OUTSIDE[2]]]


def settings(pin: Sequence[int] = (), **options: Any) -> SessionConfig:
    return config(target="multiclass", reference=POOL, pin=tuple(pin), **options)


def passed(found: ProbeSampler, parts: Sequence[tuple[Any, Sequence[int]]]) -> ProbeSampler:
    found.begin()
    for batch, places in parts:
        found.keep(found.reader.observe(batch), places)
    return found


def collected(pin: Sequence[int] = (), parts: Any = None, state: Any = None, **options: Any) -> Collected:
    """The examples restored from a state where that fits, or drawn from all examples or those given."""
    found = ProbeSampler(settings(pin, **options))
    if state is not None:
        found.load(through_a_checkpoint(state))
    passed(found, parts or batches(data()))
    return found.restore() or found.draw(Ranks())


def known(pin: Sequence[int]) -> list[int]:
    """Positions outside the sample, in the order in which they stand behind it."""
    return sorted(position for position in pin if position in OUTSIDE)


def holds_its_positions(found: Collected, examples: dict[str, Tensor]) -> bool:
    return all(torch.equal(leaf, examples[name][found.positions]) for name, leaf in found.probe.leaves.items())


@pytest.mark.parametrize("pin", PINS)
@pytest.mark.parametrize("size", [1, 7, COUNT])
def test_pinned_examples_stand_behind_the_sample(pin: list[int], size: int) -> None:
    found = collected(pin, batches(data(), size))

    assert found.positions == INSIDE + known(pin)
    assert holds_its_positions(found, data())


@pytest.mark.parametrize("seed", range(3))
def test_pins_are_kept_in_whatever_order_examples_pass(seed: int) -> None:
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed)).tolist()
    found = collected(OUTSIDE, batches(data(), 7, order))

    assert found.positions == INSIDE + OUTSIDE
    assert holds_its_positions(found, data())


@pytest.mark.parametrize("pin", PINS)
def test_pins_are_no_part_of_what_is_measured(pin: list[int]) -> None:
    found, plain = collected(pin), collected()

    assert torch.equal(found.probe.groups, plain.probe.groups)
    assert found.probe.groups.max() < POOL
    assert found.state(0) == plain.state(0)


def ragged() -> dict[str, Tensor]:
    """Examples of which those outside the sample are the longest, in batches padded to their own extent."""
    long = torch.tensor([position in OUTSIDE for position in range(COUNT)])
    mask = (torch.arange(6) < torch.where(long, 6, 4).unsqueeze(1)).long()
    return {
        "text": floats(COUNT, 6) * mask,
        "mask": mask,
        "image": floats(COUNT, 4),
        "multiclass": data()["multiclass"],
    }


def in_short_batches() -> list[tuple[Any, list[int]]]:
    parts = batches(ragged(), 1)
    for batch, _ in parts:
        extent = int(batch["mask"].sum())
        batch["text"], batch["mask"] = batch["text"][:, :extent], batch["mask"][:, :extent]
    return parts


@pytest.mark.parametrize("pin", [[], [INSIDE[3]], [OUTSIDE[0]]], ids=["none", "short", "long"])
def test_the_fingerprint_does_not_know_how_long_pinned_examples_are(pin: list[int]) -> None:
    modalities = {"image": "image", "text": ["text", "mask"]}
    found, plain = (
        ProbeSampler(SessionConfig(config(modalities).modalities, "multiclass", **options))
        for options in ({"pin": pin} | SMALL, SMALL)
    )
    states = [passed(sampler, in_short_batches()).draw(Ranks()).state(0) for sampler in (found, plain)]
    assert states[0] == states[1]


SMALL = {"num_examples": 24, "group_size": 12, "reference": POOL}


@pytest.mark.parametrize(
    ("pin", "missing"), [([], None), ([OUTSIDE[0]], None), ([ABSENT, 3, 999], "[999, 1000]"), ([998], "[998]")]
)
def test_pins_that_no_example_has_are_noted(pin: list[int], missing: str | None) -> None:
    assert collected(pin).notes == ([f"pin={missing}: the validation set has no such example"] if missing else [])


def test_pins_do_not_make_up_for_examples() -> None:
    found = passed(ProbeSampler(settings(range(COUNT))), batches(data(), 2, range(6)))
    with pytest.raises(ConfigurationError, match="^6 validation examples were seen"):
        found.draw(Ranks())


def on_rank(pin: Sequence[int], parts: Sequence[Any]) -> Callable[[Ranks], Collected]:
    """Let every n-th batch pass by on each of n ranks."""

    def act(ranks: Ranks) -> Collected:
        return passed(ProbeSampler(settings(pin)), parts[ranks.rank :: ranks.count]).draw(ranks)

    return act


@pytest.mark.parametrize("pin", PINS)
@pytest.mark.parametrize("processes", [2, 3])
def test_all_processes_get_the_pins_that_any_saw(pin: list[int], processes: int) -> None:
    expected = collected(pin)

    for found in on_ranks(processes, on_rank(pin, batches(data(), 7))):
        assert found.positions == expected.positions
        assert same(dict(found.probe.leaves), dict(expected.probe.leaves))
        assert torch.equal(found.probe.groups, expected.probe.groups)
        assert found.notes == expected.notes
        assert found.state(0) == expected.state(0)


def test_a_pin_that_several_processes_saw_is_there_once() -> None:
    pin = [OUTSIDE[3]]
    twice = [part for part in batches(data(), 7) for _ in range(2)]

    for found in on_ranks(2, on_rank(pin, twice)):
        assert found.positions == INSIDE + pin


def test_a_process_that_saw_nothing_but_the_pin_gives_it() -> None:
    pin = [OUTSIDE[3]]
    rest = batches(data(), COUNT - 1, [position for position in range(COUNT) if position not in pin])

    for found in on_ranks(2, on_rank(pin, [*rest, *batches(data(), 1, pin)])):
        assert found.positions == INSIDE + pin


# -- Checkpoints -------------------------------------------------------------------------------------------------------


def seeing_one_batch(pin: Sequence[int], state: Any) -> Collected | None:
    found = ProbeSampler(settings(pin))
    found.load(through_a_checkpoint(state))
    return passed(found, batches(data())[:1]).restore()


@pytest.mark.parametrize("pin", PINS[:-1])
def test_a_saved_probe_is_restored_with_its_pins(pin: list[int]) -> None:
    first = collected(pin)
    second = seeing_one_batch(pin, first.state(LARGE))

    assert second.restored
    assert second.positions == first.positions
    assert same(dict(second.probe.leaves), dict(first.probe.leaves))
    assert torch.equal(second.probe.groups, first.probe.groups)
    assert same(second.state(LARGE), first.state(LARGE))
    assert second.notes == []


OTHERS = "the examples are not those that were saved"
GROUPS = "the groups are not rows of indices of the examples"
NOT_SAVED: dict[str, tuple[dict[str, Any], str]] = {
    "a smaller pool": ({"pool": 5}, OTHERS),
    "one in the pool": ({"pool": 1}, OTHERS),
    "no pool": ({"pool": 0}, "pool=0 of 31 examples"),
    "a larger pool": ({"pool": 31}, OTHERS),
    "negative positions": ({"positions": [-5] * 31}, OTHERS),
    "other groups": ({"groups": torch.arange(24).reshape(2, 12)}, OTHERS),
    "one group": ({"groups": torch.arange(24)}, GROUPS),
    "no groups": ({"groups": torch.zeros(0, 12, dtype=torch.long)}, GROUPS),
    "groups of flags": ({"groups": torch.ones(2, 12, dtype=torch.bool)}, GROUPS),
    "groups of fractions": ({"groups": torch.ones(2, 12)}, GROUPS),
    "groups of zeros": ({"groups": torch.zeros(2, 12, dtype=torch.long)}, OTHERS),
    "groups beyond the pool": ({"groups": torch.full((2, 12), 30)}, OTHERS),
    "groups beyond the examples": ({"groups": torch.full((2, 12), 31)}, GROUPS),
    "negative groups": ({"groups": torch.full((2, 12), -1)}, GROUPS),
    "no digest": ({"content": "0"}, OTHERS),
}


@pytest.mark.parametrize(("entry", "told"), NOT_SAVED.values(), ids=NOT_SAVED)
def test_what_was_not_saved_is_not_restored_and_the_same_examples_are_drawn(entry: dict[str, Any], told: str) -> None:
    first = collected(OUTSIDE[:1])
    saved = Saved(first.state(LARGE) | entry, "probe")
    found = ProbeSampler(settings(OUTSIDE[:1]))
    found.load(saved)
    assert passed(found, batches(data())).restore() is None
    assert saved.damages == [f"probe ({told})"]

    drawn = found.draw(Ranks())
    assert same(drawn.state(LARGE), first.state(LARGE))
    assert drawn.notes == []


@pytest.mark.parametrize("entry", [{"pool": True}, {"pool": 30.0}, {"positions": [0.5] * 31}, {"groups": [[1]]}])
def test_an_entry_of_another_type_is_not_restored(entry: dict[str, Any]) -> None:
    saved = Saved(collected(OUTSIDE[:1]).state(LARGE) | entry, "probe")
    found = ProbeSampler(settings(OUTSIDE[:1]))
    found.load(saved)
    assert passed(found, batches(data())).restore() is None
    assert "of type" in str(saved.damages)


@pytest.mark.parametrize(("before", "now"), [([], OUTSIDE[:1]), (OUTSIDE[:2], OUTSIDE[1:3]), (INSIDE[:1], OUTSIDE[:1])])
def test_a_probe_that_lacks_a_pin_is_drawn_anew_and_is_the_same_sample(before: list[int], now: list[int]) -> None:
    state = collected(before).state(LARGE)
    assert seeing_one_batch(now, state) is None

    found = collected(now, state=state)
    assert found.positions == INSIDE + now
    assert found.restored
    assert found.notes == []


@pytest.mark.parametrize("now", [[], [INSIDE[2]]])
def test_a_pin_that_is_a_saved_example_needs_no_drawing(now: list[int]) -> None:
    assert seeing_one_batch(now, collected(OUTSIDE[:2]).state(LARGE)).restored


def test_other_examples_are_noted_with_pins_too() -> None:
    state = collected(OUTSIDE[:1]).state(0)
    found = collected(OUTSIDE[:1], batches(data() | {"image": floats(COUNT, 4, seed=99)}), state)

    assert not found.restored
    assert found.notes == ["probe drawn anew: the validation set or its order changed since the checkpoint"]


@pytest.mark.long
@pytest.mark.parametrize("limit", [LARGE, 0])
@pytest.mark.parametrize(
    ("before", "now"),
    [([], INSIDE[:1]), ([], OUTSIDE[:1]), (OUTSIDE[:1], OUTSIDE[1:2]), (OUTSIDE[:2], INSIDE[:1]), (OUTSIDE[:1], [])],
)
def test_pins_that_changed_since_a_checkpoint_are_those_of_now(before: list[int], now: list[int], limit: int) -> None:
    first = session(before)
    assert positions(first)[: len(before)] == before
    found = positions(session(now, first.state(limit)))
    assert found[: len(now)] == now
    assert len(found) == 4
    assert not set(found[1:]) & set(OUTSIDE)
