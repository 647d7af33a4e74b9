"""Which examples are explained, the same ones by all processes, time and again."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, call_named, floats, probe_of, seeded
from session import test_session as sessions
from session.test_session import LARGE, Meeting, ThreadRanks
from torch import Tensor, nn

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import Segments
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.engine.processes import OtherRankError, Ranks
from mviz_lightning.explainers import DIME, Explainer, Explanation, ProbeContext, Request, Responses, Result
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.functional import Task, design
from mviz_lightning.session.example_selection import classes_in_turn
from mviz_lightning.session.runner import Runner
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import Record

# -- Which outputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "outputs", "target", "expected"),
    [
        ("multiclass", [0.0, 2, 1], None, (1, None, {1: "predicted"})),
        ("multiclass", [0.0, 2, 1], [1], (1, 1, {1: "true and predicted"})),
        ("multiclass", [0.0, 2, 1], 2, (1, 2, {2: "true", 1: "predicted"})),
        ("binary", [0.4], [0], (1, 0, {0: "output"})),
        ("binary", [-0.4], None, (0, None, {0: "output"})),
        ("multilabel", [0.1, -3, 2], [1, 1, 0], ([0, 2], [0, 1], {0: "true", 2: "predicted"})),
        ("multilabel", [0.1, -3, 2], [0, 1, 1], ([0, 2], [1, 2], {2: "true and predicted"})),
        ("multilabel", [-1.0, -3, -2], [0, 0, 0], ([], [], {0: "predicted"})),
        ("multilabel", [-1.0, -3, 2], None, ([2], None, {2: "predicted"})),
        ("regression", [7.0], 3.0, (7.0, 3.0, {0: "output"})),
        ("regression", [7.0, 8.0], [1, 2], ([7.0, 8.0], [1.0, 2.0], {0: "output"})),
    ],
)
def test_what_was_said_and_what_is_true_tell_the_outputs_to_explain(
    task: Task, outputs: Any, target: Any, expected: tuple[Any, Any, dict[int, str]]
) -> None:
    found = outcome(torch.tensor(outputs), None if target is None else torch.tensor(target), task)

    assert (found.predicted, found.target, found.roles) == expected
    assert list(found.roles) == list(expected[2])  # the first is followed


@pytest.mark.parametrize(
    ("task", "outputs"), [("multiclass", [0.4, 0]), ("binary", [-0.4]), ("multilabel", [-1.0, 0.4])]
)
def test_the_probability_is_that_of_what_was_predicted(task: Task, outputs: list[float]) -> None:
    assert outcome(torch.tensor(outputs), None, task).probability == pytest.approx(1 / (1 + math.exp(-0.4)))


# -- Which examples ----------------------------------------------------------------------------------------------------

CLASSES = [0, 0, 0, 1, 1, 2]
SAID = [0, 1, 0, 1, 0, 2]  # wrong at 1 and at 4
LOGITS = torch.tensor([[1.0], [-1], [2], [-2], [3]])


@pytest.mark.parametrize(
    ("task", "outputs", "target", "expected"),
    [
        ("multiclass", torch.eye(3)[SAID], torch.tensor(CLASSES), [1, 4, 5, 0, 3, 2]),
        ("multiclass", torch.eye(3)[SAID], torch.tensor(CLASSES).unsqueeze(1), [1, 4, 5, 0, 3, 2]),
        ("multiclass", torch.eye(3)[SAID], None, [0, 1, 5, 2, 3, 4]),
        ("binary", LOGITS, torch.tensor([1, 1, 1, 0, 0]), [1, 4, 0, 3, 2]),
        ("binary", LOGITS, torch.tensor([[1.0], [1], [1], [0], [0]]), [1, 4, 0, 3, 2]),
        ("binary", LOGITS, None, [0, 1, 2, 3, 4]),
        ("multilabel", torch.eye(3)[[0, 1, 2, 1]] - 0.5, torch.eye(3)[[0, 0, 2, 1]].long(), [1, 2, 3, 0]),
        ("multilabel", torch.eye(3)[[0, 1, 1, 2]] - 0.5, None, [0, 1, 3, 2]),
        ("regression", torch.tensor([[0.0], [1], [12], [3], [14], [5]]), torch.arange(6.0), [2, 4, 0, 5, 1, 3]),
        ("regression", torch.tensor([[3.0, 3], [2, 2], [1, 1], [0, 0]]), None, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_examples_come_from_all_classes_in_turn_mistakes_first(
    task: Task, outputs: Tensor, target: Tensor | None, expected: list[int]
) -> None:
    examples = torch.arange(len(outputs)) + 50

    assert classes_in_turn(outputs, target, examples, task, len(outputs)) == [50 + k for k in expected]
    assert classes_in_turn(outputs, target, examples, task, 2) == [50 + k for k in expected[:2]]
    assert classes_in_turn(outputs, target, examples, task, 0) == []


# -- Explained by one process and by several ---------------------------------------------------------------------------

COUNT = 12
LABELS = torch.tensor([0, 1, 2] * 4)


class Recording(Evaluator):
    """Evaluates without isolating the model, which is no business of threads, and counts what it evaluates."""

    def _evaluate(self, probe: Any, query: Query) -> Tensor:
        self.counted_rows = getattr(self, "counted_rows", 0) + len(query)
        with torch.no_grad():
            return self._plain(probe, query)


@dataclass(frozen=True)
class Toy(Explainer):
    """Asks for the more rows the higher an example's number; fails for some."""

    num_examples: int = 3
    name: str = "toy"
    every_n_validations: int = 1
    fails: Sequence[int] = ()
    refuses: Sequence[int] = ()
    one_by_one = True

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        (example,) = examples
        if example in self.refuses:
            raise ConfigurationError(f"no plan for {example}")
        partners = torch.arange(1 + example)
        own = Query.aligned(torch.tensor([example]), 2)
        return Request([own, Query(torch.stack([partners.clamp(max=0) + example, partners], 1))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> Result:
        (example,) = examples
        if example in self.fails:
            raise RuntimeError(f"cannot explain {example}")
        own, others = responses.outputs
        assert len(others) == 1 + example
        assert torch.equal(own[0], others[-1])
        predicted = round(float(others.sum()), 6)
        return Result(examples=[Explanation(example, probe_context.positions[example], predicted, None, None, [])])

    def draw(self, result: Result, *_: object) -> Sequence[Record]:
        return ()


def world() -> ProbeContext:
    batch = {"image": floats(COUNT, 4).double(), "text": floats(COUNT, 3, seed=1).double(), "labels": LABELS}
    segments = {
        "image": Segments("image", torch.arange(4).unsqueeze(0)),
        "text": Segments("text", torch.tensor([[0, 1, 1]])),
    }
    probe = replace(probe_of(batch, target="labels"), segments=segments, groups=torch.arange(10).view(2, 5))
    return ProbeContext(probe, "multiclass", design(2, 5), [100 + k for k in range(COUNT)])


MODULE = seeded(LateFusion).double()  # made here, since threads share the random state


class Explaining(Runner):
    """A runner whose results are the explanations."""

    def explained(self, explainer: Explainer, own: Tensor | None) -> tuple[list[Explanation], list[str]]:
        found = self.run(explainer, own)
        return list(found.result.examples), list(found.notes)


def selection(ranks: Ranks | None = None, pin: Sequence[int] = ()) -> Explaining:
    return Explaining(world(), Recording(MODULE, call_named), ranks or Ranks(), 3, pin)


SAYS_1 = torch.eye(3)[[1] * 10]
"""Outputs of the groups' examples: all of class 1."""


def examples(found: Sequence[Explanation]) -> list[int]:
    return [explanation.example for explanation in found]


def test_examples_are_chosen_once_and_kept() -> None:
    found = selection()
    first, notes = found.explained(Toy(), SAYS_1)
    again, _ = found.explained(Toy(), torch.eye(3)[LABELS[:10]])

    assert examples(first) == examples(again) == [0, 2, 1]
    assert found.state.chosen["toy"].positions == [100, 102, 101]
    assert notes == []
    assert examples(found.explained(Toy(), None)[0]) == [0, 2, 1]
    assert examples(found.explained(Toy(name="other"), torch.eye(3)[LABELS[:10]])[0]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("pin", "count", "expected"),
    [
        ([111, 102], 4, [11, 2, 0, 1]),
        ([111, 102, 105], 2, [11, 2, 5]),
        ([111], 0, [11]),
        ([7, 103], 2, [3, 0]),
        ([], 0, []),
        ([], 99, [0, 2, 1, 3, 5, 4, 6, 8, 7, 9]),
        ([104, 104], 2, [4, 0]),
    ],
)
def test_pinned_examples_come_first(pin: list[int], count: int, expected: list[int]) -> None:
    assert examples(selection(pin=pin).explained(Toy(count), SAYS_1)[0]) == expected


def test_one_example_that_fails_costs_no_other() -> None:
    found, notes = selection().explained(Toy(4, fails=[2]), SAYS_1)
    assert examples(found) == [0, 1, 3]
    assert notes == ["toy: cannot explain 2"]


def on_ranks(count: int, act: Callable[[Ranks], Any]) -> list[Any]:
    meeting, results = Meeting(count), [None] * count

    def run(rank: int) -> None:
        try:
            results[rank] = act(ThreadRanks(rank, count, meeting))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def share_of(ranks: Ranks, outputs: Tensor = SAYS_1) -> Tensor:
    return ranks.share(outputs.view(2, 5, 3)).flatten(0, 1)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7])
def test_all_processes_get_what_one_gets_and_evaluate_equally_many_rows(processes: int, count: int) -> None:
    inquiries = {}

    def act(ranks: Ranks) -> Any:
        inquiries[ranks.rank] = selection(ranks, pin=[111])
        return inquiries[ranks.rank].explained(Toy(count, fails=[2]), share_of(ranks))

    expected = selection(pin=[111]).explained(Toy(count, fails=[2]), SAYS_1)
    assert on_ranks(processes, act) == [expected] * processes
    rows = {getattr(found.evaluators.evaluator, "counted_rows", 0) for found in inquiries.values()}
    assert len(rows) == 1
    assert rows.pop() > 0


def numbers(found: Sequence[Explanation]) -> list[float]:
    outputs = [output for explanation in found for output in explanation.outputs]
    parts = [part for output in outputs for part in output.parts.values()]
    weights = torch.cat([weights for part in parts for weights in (part.unimodal, part.interaction)])
    return [*weights.tolist(), *(value for output in outputs for value in (output.value, output.unimodal))]


@pytest.mark.parametrize("processes", [2, 4])
def test_dime_on_several_processes_is_that_of_one(processes: int) -> None:
    expected, _ = selection(pin=[111]).explained(DIME(num_examples=5), SAYS_1)
    assert len(expected) == 5

    act = lambda ranks: selection(ranks, pin=[111]).explained(DIME(num_examples=5), share_of(ranks))[0]
    for found in on_ranks(processes, act):
        assert examples(found) == examples(expected)
        assert numbers(found) == pytest.approx(numbers(expected), abs=1e-12)


def test_what_fails_on_one_process_fails_on_all() -> None:
    refused, heard = on_ranks(2, lambda ranks: selection(ranks).explained(Toy(4, refuses=[0]), share_of(ranks)))
    assert isinstance(refused, ConfigurationError)
    assert str(heard) == "rank 0 failed: ConfigurationError: no plan for 0"

    def with_a_broken_model(ranks: Ranks) -> Any:
        found = selection(ranks)
        found.evaluators.evaluator.module = nn.Identity() if ranks.rank else found.evaluators.evaluator.module
        return found.explained(Toy(4), share_of(ranks))

    heard, broken = on_ranks(2, with_a_broken_model)
    assert isinstance(heard, OtherRankError)
    assert isinstance(broken, TypeError)


# -- Kept with a checkpoint --------------------------------------------------------------------------------------------


def session(pin: Sequence[int] = (), state: Any = None, *, turned: bool = False, images: int = 1) -> Session:
    """A session that has run, of one of two models; from a checkpoint where there is one."""
    module = seeded(lambda: LateFusion(outputs=3), 5 if turned else 0)
    found = Session(sessions.config(target="multiclass", explainers=[DIME(masks=4)], pin=pin, reference=30))
    if state is not None:
        found.load(sessions.through_a_checkpoint(state))
    sessions.collected(found, module, sessions.batches(sessions.data() | {"image": floats(48, 4, seed=images)}))
    found.complete()
    found.run()
    return found


def positions(found: Session) -> list[int]:
    return [explanation.position for explanation in found.explain(found.config.explainers[0]).result.examples]


@pytest.mark.slow
def test_a_restored_study_explains_the_same_examples() -> None:
    first = session()
    before = positions(first)
    assert len(set(before)) == 4
    assert positions(session(turned=True)) != before
    assert all(positions(session(state=first.state(limit), turned=True)) == before for limit in (LARGE, 0))


def test_a_state_is_saved_again_with_what_was_chosen() -> None:
    first = session()
    assert "chosen" not in first.state(LARGE)
    assert positions(first) == first.state(0)["chosen"]["dime"]["positions"]
    assert session(state=first.state(LARGE), turned=True).state(0)["chosen"] == first.state(0)["chosen"]


def test_examples_that_are_drawn_anew_are_chosen_anew() -> None:
    first = session()
    positions(first)
    found = session(state=first.state(LARGE) | {"leaves": {}}, turned=True, images=77)
    assert positions(found) == positions(session(turned=True, images=77))
