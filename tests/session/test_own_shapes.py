"""A session whose examples have different shapes: from the first run over a later change to a checkpoint."""

from typing import Any

import pytest
import torch
from helpers.batches import call_forward, floats, integers, seeded
from session.test_example_selection import on_ranks
from session.test_session import LARGE, completed, config, through_a_checkpoint
from torch import Tensor, nn

from mviz_lightning.batch import Modality
from mviz_lightning.explainers import DIME
from mviz_lightning.session.session import Session

COUNT = 48


class Steps(nn.Module):
    """Reads the sum of a series, or its last step, and a vector."""

    def __init__(self, *, last: bool = True) -> None:
        super().__init__()
        self.net, self.head, self.last = nn.Linear(3, 4), nn.Linear(6, 3), last

    def forward(self, batch: Any) -> Tensor:
        series = batch["series"]
        read = self.net(series[:, -1]) if self.last else self.net(series.sum(1))
        return self.head(torch.cat([read.tanh() * (1 + batch["other"][:, :1]), batch["other"]], 1))


def passed() -> list[tuple[Any, list[int]]]:
    """Return batches of 4 examples, each of another length; nothing is padded."""
    return [
        (
            {
                "series": floats(4, 1 + start % 5, 3, seed=start),
                "other": floats(4, 2, seed=100 + start),
                "label": integers(3, 4, seed=200 + start),
            },
            list(range(start, start + 4)),
        )
        for start in range(0, COUNT, 4)
    ]


SETTINGS = config(
    ["series", "other"],
    target="label",
    explainers=[DIME(masks=6)],
    reference=COUNT,
    num_examples=COUNT,
    predict=call_forward,
)


def ready(module: nn.Module, state: Any = None) -> Session:
    if state is None:
        return completed(SETTINGS, module, passed())
    found = Session(SETTINGS)
    found.load(through_a_checkpoint(state))
    for batch, places in passed():
        found.collect(batch, lambda _, places=places: places)
        found.dry_run(module)
    found.complete()
    return found


def own_score(module: nn.Module) -> float:
    right = [module(batch).argmax(1) == batch["label"] for batch, _ in passed()]
    return float(torch.cat(right).double().mean())


def test_the_score_is_that_of_examples_that_are_never_padded() -> None:
    module = seeded(Steps)
    found = ready(module)
    assert found.run().values["score"] == pytest.approx(own_score(module))
    assert found.probe.own_shapes
    assert "examples are evaluated in groups of equal shape" in found.pop_notes()


def test_a_checkpoint_holds_the_shapes() -> None:
    module = seeded(Steps)
    first = ready(module)
    before = first.run().values
    again = ready(module, first.state(LARGE))
    assert again.probe.own_shapes
    assert torch.equal(again.probe.bounds["series"], first.probe.bounds["series"])
    assert again.run().values == before
    assert again.pop_notes() == ""
    damaged = first.state(LARGE)
    damaged["bounds"] = {"series": damaged["bounds"]["series"].clamp(min=1)}
    assert ready(module, damaged).run().values == before  # drawn anew


@pytest.mark.parametrize("missing", [["bounds", "own_shapes"], ["label_names"]])
def test_examples_are_drawn_anew_from_a_checkpoint_of_a_version_that_wrote_less(missing: list[str]) -> None:
    module = seeded(Steps)
    first = ready(module)
    state = {key: entry for key, entry in first.state(LARGE).items() if key not in missing}
    again = ready(module, state)
    assert torch.equal(again.probe.bounds["series"], first.probe.bounds["series"])
    assert again.positions == first.positions
    assert again.run().values["score"] == pytest.approx(own_score(module))


def test_examples_that_padding_changes_only_later_leave_it_then_and_stay_the_ones_explained() -> None:
    module = seeded(lambda: Steps(last=False))
    found, dime = ready(module), SETTINGS.explainers[0]
    found.run()
    assert not found.probe.own_shapes
    before = [one.position for one in found.explain(dime).result.examples]
    module.last = True
    assert found.run().values["score"] == pytest.approx(own_score(module))
    assert found.probe.own_shapes
    after = found.explain(dime).result.examples
    assert [one.position for one in after] == before
    for one in after:
        batch = passed()[one.position // 4][0]
        logits = module(batch)[one.position % 4].detach()
        assert one.outputs[0].value == pytest.approx(float((logits - logits.mean())[one.outputs[0].output]), abs=1e-5)


def test_all_processes_leave_padding_together() -> None:
    def act(ranks: Any) -> Any:
        module = seeded(Steps)
        found = Session(SETTINGS, ranks)
        for number, (batch, places) in enumerate(passed()):
            if number % ranks.count == ranks.rank:
                found.collect(batch, lambda _, places=places: places)
                found.dry_run(module)
        found.complete()
        found.run()
        return found.probe.own_shapes

    assert on_ranks(2, act) == [True, True]


def test_a_mask_that_is_read_the_other_way_round_is_said_in_one_line() -> None:
    class Masked(Steps):
        def forward(self, batch: Any) -> Tensor:
            real = ~batch["padding"].unsqueeze(2)
            return super().forward(batch | {"series": batch["series"] * real})

    def padded(batch: Any) -> Any:
        series = batch["series"].clone()
        series[:2, -1] = 0
        padding = torch.zeros(series.shape[:2], dtype=torch.bool)
        padding[:2, -1] = True
        return batch | {"series": series, "padding": padding}

    modalities = {"series": Modality("series", mask="padding"), "other": "other"}
    settings = config(modalities, target="label", reference=COUNT, num_examples=COUNT, predict=call_forward)
    batches = [(padded(batch), places) for batch, places in passed() if batch["series"].shape[1] > 2]
    found = completed(settings, seeded(lambda: Masked(last=False)), batches)
    lines = [line for line in found.remarks.pop_lines() if "padding" in line]
    assert len(lines) == 1
    assert "the mask 'padding' of series is read as a padding mask (True at padding" in lines[0]
    assert found.probe.schema.modalities["series"].padding_mask == "padding"
    found.run()
    assert not found.probe.own_shapes
