"""One example whose outputs are NaN or infinite costs itself, on all processes alike, and not the measurement."""

import math
import warnings
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, OnBatch, floats, integers, seeded
from session.test_example_selection import on_ranks
from session.test_session import COUNT, LARGE, batches, collected, completed, config, data, model, through_a_checkpoint
from session.test_targets import STAGES
from torch import Tensor, nn

from mviz_lightning import explain
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.session.broken_examples import broken_examples, left_out
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

NAN, INF = float("nan"), float("inf")
TWO = ["image", "text"]
SETTINGS = {"target": "multiclass", "reference": 30}


class Normalised(nn.Module):
    """Divides an image by its length, as many models do: an image of zeros gives NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seeded(lambda: LateFusion(outputs=3))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.body(image / image.norm(dim=1, keepdim=True), text)


def examples(broken: int, value: float, *, name: str = "image") -> dict[str, Tensor]:
    found = data()
    # An example that is nothing but NaN lacks the modality.
    found[name][broken, : 1 if math.isnan(value) else None] = value
    return found


def measured(module: nn.Module, given: dict[str, Tensor], **options: Any) -> Session:
    found = completed_with(config(**(SETTINGS | options)), module, given)
    found.run()
    return found


def completed_with(settings: SessionConfig, module: nn.Module, given: dict[str, Tensor], state: Any = None) -> Session:
    found = Session(settings)
    if state is not None:
        found.load(through_a_checkpoint(state))
    collected(found, module, batches(given))
    found.complete()
    return found


def grouped(**options: Any) -> list[int]:
    """Return the positions of the examples that are recombined where none is broken."""
    found = completed(config(**(SETTINGS | options)), model(TWO, 3))
    return [found.positions[example] for example in found.probe.groups.flatten().tolist()]  # type: ignore[union-attr]


IN_A_GROUP = grouped()[3]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", TWO)
def test_one_broken_example_leaves_and_another_takes_its_place(name: str, value: float) -> None:
    module = OnBatch(lambda _, batch: batch["image"][:, :3] + batch["text"])
    found = measured(module, examples(IN_A_GROUP, value, name=name))

    assert IN_A_GROUP not in found.positions
    assert found.probe is not None
    assert found.probe.groups.shape == (2, 12)
    assert len(found.positions) == 29
    notes = found.pop_notes()
    assert "1 validation example(s) left out of all measurements, because their outputs are NaN or infinite: " in notes
    assert f": {IN_A_GROUP}." in notes


@pytest.mark.parametrize("broken", grouped(reference=COUNT)[:3])
def test_what_is_measured_is_what_a_set_without_it_gives(broken: int) -> None:
    module, given = model(TWO, 3), examples(broken, NAN)
    found = measured(module, given, reference=COUNT)
    rest = [place for place in range(COUNT) if place != broken]
    expected = Session(config(target="multiclass", reference=COUNT))
    collected(expected, module, batches(data(), order=rest))
    expected.complete()

    assert found.positions == expected.positions
    assert torch.equal(found.probe.groups, expected.probe.groups)  # type: ignore[union-attr]
    assert found.run().values == expected.run().values


def test_an_input_of_zeros_that_is_divided_by_its_length_is_one() -> None:
    found = measured(Normalised(), examples(IN_A_GROUP, 0.0))

    assert IN_A_GROUP not in found.positions


@pytest.mark.slow
def test_a_replacement_that_is_broken_too_is_not_taken() -> None:
    given = examples(IN_A_GROUP, NAN)
    everyone = completed(config(**SETTINGS), model(TWO, 3)).positions
    spare = [place for place in everyone if place not in grouped()][:3]
    given["text"][spare, 0] = NAN
    found = measured(model(TWO, 3), given)

    assert not {IN_A_GROUP, *spare} & set(found.positions)
    assert found.pop_notes().startswith("4 validation example(s) left out")


def test_every_stage_runs_beside_a_broken_example_of_the_reference_set() -> None:
    given = {"image": floats(96, 4, seed=1), "text": floats(96, 3, seed=2), "labels": integers(3, 96, seed=3)}
    given["image"][5, 0] = NAN
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain(
            seeded(lambda: LateFusion(outputs=3)), [given], modalities=TWO, target="labels", num_examples=64,
            explainers=STAGES, pin=[5],
        )  # fmt: skip

    assert set(found.results) == {"dime", "importance", "cross_modal", "errors", "prediction", "representation"}
    assert "NaN or infinite: 5." in found.notes


def test_the_dry_run_checks_the_others(caplog: Any) -> None:
    # Beside NaN no comparison would tell that rows influence one another.
    module = OnBatch(lambda _, batch: batch["image"][:, :3] + batch["text"].nan_to_num().mean(0))
    found = Session(config(target="multiclass"))
    given = examples(2, NAN)
    found.collect(batches(given)[0][0], lambda count: range(count))
    found.dry_run(module)
    with pytest.raises(ValueError, match="the same examples gave other outputs"):
        found.check()


@pytest.mark.parametrize("broken", [COUNT, COUNT - 12])
def test_a_model_that_is_broken_for_most_fails_as_before_and_recovers(broken: int) -> None:
    module = model(TWO, 3)
    given = data()
    given["text"][:broken] += 1000

    class Sick(nn.Module):
        sick = True

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            outputs = module(image, text.clamp(max=5))
            return outputs.where((text[:, :1] < 500) | (not self.sick), NAN)

    sick = Sick()
    found = completed_with(config(**SETTINGS), sick, given)
    with pytest.raises(RuntimeError, match="rows of the model's outputs are NaN or infinite; look at the loss"):
        found.run()
    assert len(found.positions) == 30
    sick.sick = False
    with warnings.catch_warnings():  # the text of so many examples is the same once it is clamped
        warnings.filterwarnings("ignore", "swapping 'text'")
        found.run()
    assert len(found.positions) == 30


def test_recombined_rows_that_are_broken_alone_fail_as_before() -> None:
    def mixed(_: Any, batch: Any) -> Tensor:
        known = (batch["image"][:, :1] * 1000).round() == (batch["text"][:, :1] * 1000).round()
        return (batch["image"][:, :3] + batch["text"]).where(known, NAN)

    given = data()
    given["text"][:, 0] = given["image"][:, 0]
    found = completed_with(config(**SETTINGS), OnBatch(mixed), given)
    with pytest.raises(RuntimeError, match=r"264 of 288 rows of the model's outputs are NaN or infinite"):
        found.run()


def test_too_few_examples_stay_as_they_are() -> None:
    found = Session(config(target="multiclass", num_examples=8, group_size=4, reference=8))
    given = examples(1, NAN)
    collected(found, model(TWO, 3), batches(given, 8, range(8)))
    found.complete()
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        found.run()


def test_a_checkpoint_holds_the_examples_that_are_left(caplog: Any) -> None:
    given = examples(IN_A_GROUP, NAN)
    first = measured(model(TWO, 3), given)
    second = completed_with(config(**SETTINGS), model(TWO, 3), given, first.state(LARGE))
    assert second.positions == first.positions
    assert second.run().values == first.run().values
    assert second.pop_notes() == ""


def test_a_checkpoint_of_a_digest_alone_leads_to_the_same() -> None:
    given = examples(IN_A_GROUP, NAN)
    first = measured(model(TWO, 3), given)
    first.pop_notes()
    second = completed_with(config(**SETTINGS), model(TWO, 3), given, first.state(0))
    assert second.run().values == first.run().values
    assert second.positions == first.positions
    assert second.pop_notes().startswith("1 validation example(s) left out")


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_processes_find_the_same(processes: int) -> None:
    given = examples(IN_A_GROUP, NAN)
    found = completed_with(config(**SETTINGS), model(TWO, 3), given)
    probe, tried = found.probe, found._tried
    assert probe is not None
    assert tried is not None

    def act(ranks: Ranks) -> list[int]:
        return broken_examples(probe, tried.evaluator, ranks, torch.arange(probe.size), "multiclass")

    expected = [list(found.positions).index(IN_A_GROUP)]
    assert on_ranks(processes, act) == [expected] * processes


def test_masked_classes_are_not_broken() -> None:
    def masked(_: Any, batch: Any) -> Tensor:
        scores = torch.cat([batch["image"][:, :3] + batch["text"], batch["text"]], 1)
        return scores.masked_fill((batch["image"][:, :1] > 0.5) & (torch.arange(6) == 5), -INF)

    found = measured(OnBatch(masked), data() | {"multiclass": integers(5, COUNT, seed=4)})
    assert len(found.positions) == 30
    assert "masked in some rows and left out of the shares: class 5" in found.pop_notes()


def test_many_are_named_by_the_first() -> None:
    assert left_out(range(9)).endswith("NaN or infinite: 0, 1, 2, 3, 4, 5 and 3 more. Look at their inputs")
