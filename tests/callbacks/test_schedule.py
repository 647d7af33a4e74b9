"""What is due when, said once, kept in a history, and what a failure costs."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from helpers.batches import floats, same
from session.test_session import through_a_checkpoint

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.measurement_run import MeasurementRun
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.callbacks.time_budget import TimeBudget
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.explainers import DIME, Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.dime.result import DIMEResult
from mviz_lightning.session.explanation_history import Entry, ExplanationHistory, TimedResult
from mviz_lightning.session.remarks import Remarks
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.session.session import Measurement

# -- Schedule ----------------------------------------------------------------------------------------------------------


def explainer(every: int, name: str = "dime") -> DIME:
    return DIME(every_n_validations=every, name=name)


def validate(schedule: Schedule) -> list[str] | None:
    """Count a validation as the monitor does: what is explained then; None where nothing is measured."""
    if not schedule.count():
        return None
    names = [explainer.name for explainer in schedule.due()]
    schedule.explained(names, schedule.validations)
    return names


def turns(every: int, explained_every: int, validations: int) -> list[int]:
    schedule = Schedule(every, 1, [explainer(explained_every)])
    return [number for number in range(1, validations + 1) if validate(schedule)]


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_the_first_validation_and_every_nth_are_measured_and_drawn(every: int) -> None:
    measuring, drawing = Schedule(every, 1, []), Schedule(1, every, [])
    expected = [number % every == 0 for number in range(11)]

    assert [measuring.count() for _ in range(11)] == expected
    assert [drawing.count() and drawing.draws for _ in range(11)] == expected


@pytest.mark.parametrize(
    ("every", "explained_every", "expected"),
    [
        (1, 1, [*range(1, 11)]),
        (1, 4, [1, 5, 9]),
        (2, 3, [1, 5, 7]),  # 4 comes at 5, 7 in its own turn, 10 after the end
        (3, 2, [1, 4, 7, 10]),
        (4, 5, [1, 9]),  # 6 comes at 9
        (5, 3, [1, 6]),
    ],
)
def test_overdue_turns_come_with_the_next_measured_validation(every, explained_every, expected: list[int]) -> None:
    assert turns(every, explained_every, 10) == expected


def test_each_method_has_its_own_turns() -> None:
    schedule = Schedule(1, 1, [explainer(2, "a"), explainer(3, "b")])

    assert [validate(schedule) for _ in range(7)] == [["a", "b"], [], ["a"], ["b"], ["a"], [], ["a", "b"]]


def test_a_turn_that_was_not_taken_stays_due() -> None:
    schedule = Schedule(1, 1, [explainer(3)])
    for _ in range(2):
        schedule.count()
        assert len(schedule.due()) == 1
    schedule.explained(["dime"], schedule.validations)
    assert schedule.due() == []
    assert [validate(schedule) for _ in range(5)] == [[], ["dime"], [], [], ["dime"]]


def test_at_the_end_come_those_that_have_not_seen_the_model_as_it_is() -> None:
    schedule = Schedule(1, 1, [explainer(2, "a"), explainer(3, "b")])
    for _ in range(3):
        validate(schedule)

    assert [method.name for method in schedule.unfinished(schedule.validations)] == ["b"]
    schedule.explained(["b"], schedule.validations)
    assert schedule.unfinished(schedule.validations) == []
    assert len(schedule.unfinished(schedule.validations + 1)) == 2  # the training went on behind the last validation


def test_a_state_goes_on_where_it_was_written() -> None:
    methods = [explainer(2, "a"), explainer(3, "b")]
    first, second = Schedule(2, 3, methods), Schedule(2, 3, methods)
    for _ in range(4):
        validate(first)
    state = through_a_checkpoint(first.state())
    second.load(state)

    assert [validate(second) for _ in range(8)] == [validate(first) for _ in range(8)]
    assert state == {"validations": 4, "overdue": False, "explained": {"a": 3, "b": 1}, "steps": {"a": 3, "b": 1}}


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_was_put_off_is_due_until_it_is_made_and_then_in_its_turn(resumed: bool) -> None:
    schedule, found = Schedule(4, 1, []), []
    for number in range(1, 14):
        if schedule.count():
            found.append(number)
            schedule.overdue = number in {5, 6}  # put off
        if resumed:
            state, schedule = through_a_checkpoint(schedule.state()), Schedule(4, 1, [])
            schedule.load(state)
    assert found == [1, 5, 6, 7, 9, 13]


def test_another_training_begins_with_everything_due() -> None:
    schedule = Schedule(2, 1, [explainer(5)])
    for _ in range(4):
        validate(schedule)
    schedule.clear()

    assert schedule.state() == {"validations": 0, "overdue": False, "explained": {}, "steps": {}}
    assert validate(schedule) == ["dime"]


def test_impossible_cadences_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^every_n_validations=0: give 1 or more\.$"):
        Schedule(0, 1, [])
    with pytest.raises(ConfigurationError, match=r"^pictures_every_n_validations=0: give 1 or more\.$"):
        Schedule(1, 0, [])


# -- Error policy ------------------------------------------------------------------------------------------------------


def heard(act: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    assert all(issubclass(one.category, MonitorWarning) for one in found)
    return [str(one.message) for one in found]


def fail() -> None:
    raise OSError("disk full")


def test_a_thing_is_said_once_in_a_training() -> None:
    error_policy = ErrorPolicy()

    assert heard(lambda: [error_policy.warn(message) for message in "abab"]) == [
        "MultimodalMonitor: a",
        "MultimodalMonitor: b",
    ]
    assert heard(lambda: ErrorPolicy(speaker="Who").warn("a")) == ["Who: a"]


def test_what_may_fail_without_harm_warns_or_raises_as_asked() -> None:
    expected = ["MultimodalMonitor: a result could not be written or read: OSError: disk full"]

    assert heard(lambda: [ErrorPolicy("warn").guard(fail)]) == expected
    assert heard(lambda: ErrorPolicy("raise").guard(fail, always_warn=True)) == expected
    with pytest.raises(OSError, match="disk full"):
        ErrorPolicy("raise").guard(fail)
    with pytest.raises(ConfigurationError, match=r"^on_error='ignore': choose 'warn' or 'raise'\.$"):
        ErrorPolicy("ignore")


def test_a_warning_that_is_an_error_or_cannot_be_shown_is_logged(
    logged_warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ["MultimodalMonitor: a result could not be written or read: OSError: disk full"]

    assert ErrorPolicy().guard(fail, "kept") == "kept"  # pytest makes warnings errors
    assert logged_warnings == expected
    monkeypatch.setattr(warnings, "showwarning", lambda *_: fail())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert ErrorPolicy().guard(fail, "kept") == "kept"
    assert logged_warnings == 2 * expected
    logged_warnings.clear()


@pytest.mark.parametrize("name", ["describe_error", "warn_user"])
def test_an_error_that_cannot_be_told_ends_no_training_and_leaves_its_type_in_the_log(
    logged_warnings: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"mviz_lightning.callbacks.error_policy.{name}", lambda *_: fail())

    assert ErrorPolicy().guard(fail, "kept") == "kept"
    assert logged_warnings == [
        "MultimodalMonitor: a result could not be written or read: OSError, whose warning cannot be shown"
    ]
    logged_warnings.clear()
    with pytest.raises(OSError, match="disk full"):
        ErrorPolicy("raise").guard(fail)


def test_an_error_that_passes_two_guards_is_told_once() -> None:
    policy = ErrorPolicy()
    error = OSError("disk full")

    def fails() -> None:
        raise error

    assert len(heard(lambda: [policy.guard(fails, failed="one"), policy.guard(fails, failed="two")])) == 1
    assert len(heard(lambda: policy.guard(fail, failed="two"))) == 1


def test_errors_that_differ_in_a_number_alone_are_told_a_few_times() -> None:
    policy = ErrorPolicy()

    def fails(number: int) -> None:
        raise OSError(f"file {number}")

    said = heard(lambda: [policy.guard(partial(fails, number), failed="a hook failed") for number in range(20)])
    assert said == [f"MultimodalMonitor: a hook failed: OSError: file {number}" for number in range(3)]
    assert heard(lambda: policy.guard(fail, failed="another hook failed")) == [
        "MultimodalMonitor: another hook failed: OSError: disk full"
    ]


def test_what_the_user_gave_may_raise_through_all_guards() -> None:
    policy = ErrorPolicy()

    with pytest.raises(OSError, match="disk full"):
        policy.guard(lambda: policy.guard(lambda: policy.unguarded(fail)))


# -- Explanation history -----------------------------------------------------------------------------------------------


def explanation(position: int, value: float = 1.0) -> Explanation:
    part = Attribution(floats(3, seed=position), floats(3, seed=position + 1), 0.5, 0.25)
    output = OutputExplanation(2, "true", value, 0.75 * value, 0.25 * value, {"image": part})
    return Explanation(position // 10, position, 2, [1, 2], 0.9, [output], "a note")


def entry(epoch: int, step: int, positions: Sequence[int] = (10, 30), name: str = "dime") -> Entry:
    return Entry(name, "fit", epoch, step, [explanation(position, float(step)) for position in positions])


def timed(epoch: int, step: int, stage: str = "fit") -> TimedResult:
    found = entry(epoch, step).explanations
    return TimedResult(DIME(), DIMEResult(examples=found), stage, epoch, step)


def test_only_what_was_found_during_fit_is_kept() -> None:
    explanation_history = ExplanationHistory()
    for stage in ("validate", "fit", "test"):
        explanation_history.add(timed(0, 5, stage))

    assert same(explanation_history.entries, [entry(0, 5)])
    assert [timed(0, 5, stage).when for stage in ("fit", "test")] == ["epoch 0 (step 5)", "test"]
    explanation_history.clear()
    assert explanation_history.moments_by_example() == {}


def test_a_film_for_each_method_and_example_in_order() -> None:
    explanation_history = ExplanationHistory([entry(0, 5), entry(0, 5, [30], "other"), entry(2, 15, [30, 50])])
    by_example = explanation_history.moments_by_example()

    assert set(by_example) == {("dime", 10), ("dime", 30), ("dime", 50), ("other", 30)}
    assert [(moment.label, moment.place) for moment in by_example["dime", 30]] == [("epoch 0", 0), ("epoch 2", 2)]
    assert [moment.output.value for moment in by_example["dime", 30]] == [5.0, 15.0]
    assert [moment.label for moment in by_example["dime", 50]] == ["epoch 2"]


def test_several_moments_of_an_epoch_are_told_apart_by_their_steps() -> None:
    by_example = ExplanationHistory(
        [entry(0, 5), entry(0, 10), entry(1, 15), entry(1, 15, [30], "other")]
    ).moments_by_example()

    assert [moment.place for moment in by_example["dime", 10]] == [5, 10, 15]
    assert [moment.label for moment in by_example["other", 30]] == ["step 15"]


def test_an_album_survives_a_checkpoint() -> None:
    first, second = ExplanationHistory([entry(0, 5), entry(1, 10, [30], "other")]), ExplanationHistory([entry(9, 9)])
    second.load(through_a_checkpoint(first.state()))

    assert same(second.entries, first.entries)
    assert same(second.state(), first.state())
    second.add(timed(2, 15))
    assert [len(explanation_history.entries) for explanation_history in (first, second)] == [2, 3]


# -- Measurement run ---------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Stands still but when it is told otherwise."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Pretended:
    """A session without a model, whose work takes what the test says."""

    fails: dict[str, Exception] = field(default_factory=dict)
    dry_run_done: bool = False
    prices: dict[str, float] = field(default_factory=lambda: {"run": 0.25, "a": 0.125, "b": 0.125})
    clock: Clock = field(default_factory=Clock)
    remarks: Remarks = field(default_factory=Remarks)
    ranks: Ranks = field(default_factory=Ranks)
    heads: dict[str, Any] = field(default_factory=dict)

    def run_heads(self, failed: Any) -> dict[str, Measurement]:
        return {}

    def forget_outputs(self) -> None:
        pass

    def step(self, name: str) -> None:
        self.clock.now += self.prices.get(name, 0.0)
        if name in self.fails:
            raise self.fails[name]

    def complete(self) -> None:
        self.step("complete")

    def run(self) -> Measurement:
        self.step("run")
        return Measurement({"interaction": 0.5}, 100, 0.0, 0.0)

    def explains(self, method: DIME) -> bool:
        return True

    def explain(self, method: DIME, spent: int = 0, moment: tuple[int, int] = (0, 0)) -> MethodRun:
        self.step(method.name)
        self.remarks.note(f"{method.name} was made")
        return MethodRun(method, DIMEResult(examples=[explanation(10)]), 30)

    def pop_notes(self) -> str:
        return self.remarks.pop_notes()


A, B, C = (explainer(1, name) for name in "abc")


def measurement_run(on_error: Any = "warn", *, dry_run_done: bool = False, **fails: Exception) -> MeasurementRun:
    session = Pretended(fails, dry_run_done)
    return MeasurementRun(session, ErrorPolicy(on_error), TimeBudget(None, session.clock))


def test_a_run_and_its_explanations_are_found_and_paid_for() -> None:
    found = measurement_run().attempt([A, B], early=False)

    assert list(found.explained) == ["a", "b"]
    assert found.note == "a was made; b was made"
    assert found.values == {"interaction": 0.5, "seconds": 0.5, "rows": 160.0, "overhead": 1.0}


def test_the_overhead_is_the_share_of_the_time_since_the_last_run() -> None:
    found = measurement_run(b=ValueError("no"))
    found.attempt([], early=False)
    found.time_budget.clock.now += 99
    with found.time_budget.timed("a", more=True):  # pictures of the run before
        found.time_budget.clock.now += 0.5
    values = heard_values(found, [A, B])
    assert values["seconds"] == 1.0  # what failed took its time too
    assert values["overhead"] == pytest.approx(1 / 100)
    assert found.attempt([A], early=False).values["overhead"] == 1.0


def heard_values(found: MeasurementRun, methods: Sequence[DIME]) -> dict[str, float]:
    with pytest.warns(MonitorWarning, match="b failed"):
        return found.attempt(methods, early=False).values


@pytest.mark.parametrize("again", ["attempt", "explain"])
def test_a_method_that_fails_costs_itself_alone(again: str) -> None:
    found, results = measurement_run(b=ValueError("no")), []
    act = (lambda: found.explain([A, B, C])) if again == "explain" else lambda: found.attempt([A, B, C], early=True)

    assert heard(lambda: results.append(act())) == ["MultimodalMonitor: b failed: ValueError: no"]
    assert list(results[0].explained) == ["a", "c"]
    assert results[0].note == "a was made; b failed: ValueError: no; c was made"
    assert results[0].values.get("rows") == (160.0 if again == "attempt" else None)
    assert heard(act) == []


@pytest.mark.parametrize("step", ["complete", "run"])
def test_a_run_that_fails_is_noted_and_nothing_is_explained(step: str) -> None:
    found, results = measurement_run(**{step: OSError("no")}), []

    (said,) = heard(lambda: results.append(found.attempt([A], early=True)))
    assert said.startswith("MultimodalMonitor: a run failed;")
    assert (results[0].values, results[0].note, results[0].explained) == ({}, "OSError: no", {})


@pytest.mark.parametrize("step", ["complete", "run", "a"])
def test_failures_are_raised_where_that_is_asked(step: str) -> None:
    with pytest.raises(OSError, match="no"):
        measurement_run("raise", **{step: OSError("no")}).attempt([A], early=False)


@pytest.mark.parametrize(("early", "dry_run_done"), [(True, False), (True, True), (False, False)])
def test_a_wrong_configuration_is_raised_before_the_training_alone(early: bool, dry_run_done: bool) -> None:
    found = measurement_run(dry_run_done=dry_run_done, complete=ConfigurationError("no"))
    if early and not dry_run_done:
        with pytest.raises(ConfigurationError, match="no"):
            found.attempt([], early=early)
    else:
        assert len(heard(lambda: found.attempt([], early=early))) == 1
