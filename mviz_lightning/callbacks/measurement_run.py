"""One run of a session: measure and explain, within the time budget; after a failure, only its result is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mviz_lightning.callbacks.error_policy import ErrorPolicy, is_misconfigured
from mviz_lightning.callbacks.lightning_packages import rank_zero_info
from mviz_lightning.callbacks.time_budget import SHARES, TimeBudget
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explainer
from mviz_lightning.explainers.contribution_shares.patterns import PatternScore
from mviz_lightning.session.agreement_check import WithheldError
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.session.session import Measurement, Session
from mviz_lightning.sinks.records import of_head, of_heads

HIGH = 0.10
"""Share of the time above which a run counts as expensive."""

LASTING, NOTICED = 3, 10.0
"""``LASTING`` expensive runs in a row, of more than ``NOTICED`` seconds together, give a warning."""


@dataclass(frozen=True)
class RunResult:
    """Result of one run.

    Attributes:
        values: Name without prefix -> value; empty when the run failed.
        note: Remarks for a reader of the history.
        explained: Name of every applied method -> its result; for a further head, the name begins with the head's name.
        put_off: Whether the time budget put the run off.
        evidence: Name -> further value for the alarm.
        advice: Advice on the number of examples for narrower intervals.
        patterns: Head -> its scores by pattern of presence, with ``absence=True``; ``""`` is the main head.
        heads: The further heads that were measured: their values and evidence begin with their names.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    explained: Mapping[str, MethodRun] = field(default_factory=dict)
    put_off: bool = False
    evidence: Mapping[str, float] = field(default_factory=dict)
    advice: str = ""
    patterns: Mapping[str, Sequence[PatternScore]] = field(default_factory=dict)
    heads: Sequence[str] = ()


@dataclass
class MeasurementRun:
    """Runs a session; what fails on one process counts as failed on all.

    Attributes:
        session: The session.
        error_policy: Decides whether a failure becomes a warning or ends the training.
        time_budget: Decides whether there is time.
    """

    session: Session
    error_policy: ErrorPolicy
    time_budget: TimeBudget = field(default_factory=TimeBudget)
    _expensive: list[float] = field(default_factory=list)

    def finish_dry_run(self, unknown: str) -> str:
        """End the sanity check: drop what it collected, and raise on all processes what failed on one.

        Args:
            unknown: Message if the loader does not exist; ``""`` if it exists.

        Returns:
            The reason why the model cannot be measured in this training; ``""`` if it can.
        """
        try:
            if unknown:
                raise ConfigurationError(unknown)  # noqa: TRY301 - handled like all other reasons
            self.session.check(complete=False)
            self.session.remarks.say(self._tried(), noted=False)
        except Exception as error:
            failure = self.error_policy.absorb(error, fatal=is_misconfigured(error))
            self.error_policy.warn(f"the monitor is off, since the model could not be tried. {failure}")
            return failure
        finally:
            self.session.begin()
            self._log()
        return ""

    def _tried(self) -> str:
        """Return a line about the call of the model; ``""`` if it was not tried on this process."""
        return self.session.call and (
            f"the model is called as {self.session.call}. Run once per distinct input, not once per row: "
            f"{self.session.reused}"
        )

    def attempt(self, methods: Sequence[Explainer], *, early: bool, moment: tuple[int, int] = (0, 0)) -> RunResult:
        """Measure the model, then apply methods, as far as the time budget allows.

        Args:
            methods: The methods that are due.
            early: Whether the training has not begun yet.
            moment: Epoch and step of the training.
        """
        if not self._allows(SHARES):
            return RunResult(note=self.session.pop_notes(), put_off=True)
        dry_run_done = any(self.session.ranks.gather(self.session.dry_run_done))  # all raise, or none
        try:
            with self.time_budget.timed(SHARES):
                self.session.complete()
                measured = {"": self.session.run()} | self.session.run_heads(self._failed_head)
        except WithheldError as error:
            self.error_policy.warn(str(error))
            return RunResult(note=str(error))
        except Exception as error:
            # A wrong configuration ends the training only before its first step, not an hour later.
            fatal = is_misconfigured(error) and not dry_run_done and early
            failure = self.error_policy.absorb(error, fatal=fatal)
            self.error_policy.warn(
                f"a run failed; EarlyStopping and ModelCheckpoint get a placeholder value at this validation. {failure}"
            )
            return RunResult(note=failure)
        finally:
            self._log()
        return self._completed(measured, methods, moment)

    def _failed_head(self, name: str, error: Exception) -> None:
        """Note that a further head could not be measured."""
        self._note(f"head {name} could not be measured: {self.error_policy.absorb(error)}")

    def _note(self, failure: str) -> None:
        self.error_policy.warn(failure)
        self.session.remarks.note(failure)

    def _completed(
        self, measured: Mapping[str, Measurement], methods: Sequence[Explainer], moment: tuple[int, int]
    ) -> RunResult:
        """Apply the methods for which there is time, and count the cost of the whole run.

        Args:
            measured: Head -> its measurement; ``""`` is the main head.
            methods: The methods that are due.
            moment: Epoch and step of the training.
        """
        due, spent = (method for method in methods if self._allows(method.name)), sum(m.rows for m in measured.values())
        explained = self._apply(due, moment, spent, measured)
        rows = spent + sum(found.rows for found in explained.values())
        values = of_heads({head: one.values for head, one in measured.items()}) | _values_of(explained)
        found = RunResult(values | self._cost(rows), self.session.pop_notes(), explained)
        evidence, advice = of_heads({head: one.evidence for head, one in measured.items()}), measured[""].advice
        patterns = {head: one.patterns for head, one in measured.items() if one.patterns}
        heads = [head for head in measured if head]
        return replace(found, evidence=evidence, advice=advice, patterns=patterns, heads=heads)

    def explain(self, methods: Sequence[Explainer], moment: tuple[int, int] = (0, 0)) -> RunResult:
        """Explain the present model after a run; the time budget is not checked.

        Args:
            methods: The methods to apply.
            moment: Epoch and step of the training.
        """
        explained = self._apply(methods, moment, 0, ["", *self.session.heads])
        return RunResult(_values_of(explained), self.session.pop_notes(), explained)

    def _log(self) -> None:
        for line in self.session.remarks.pop_lines():
            rank_zero_info(line)

    def _allows(self, work: str) -> bool:
        """Return whether there is time; each process has its own clock, and the first process decides."""
        if self.time_budget.limit is None:
            return True
        allowed = self.session.ranks.gather(self.time_budget.allows(work))[0]
        self.session.remarks.note(*filter(None, [self.time_budget.settle(work, allowed=allowed)]))
        return allowed

    def _apply(
        self, methods: Iterable[Explainer], moment: tuple[int, int], spent: int, heads: Iterable[str]
    ) -> dict[str, MethodRun]:
        """Apply methods one after the other, each with the remaining rows of the budget.

        A method is applied to all heads before the next method, because its rows are the same for all heads.
        """
        explained: dict[str, MethodRun] = {}
        for method in methods:
            with self.time_budget.timed(method.name):
                found = [self._applied(method, moment, spent, head) for head in heads]
            self.session.forget_outputs()
            explained |= {of_head(one.head, method.name): one for one in found if one is not None}
            spent += sum(one.rows for one in found if one is not None)
        return explained

    def _applied(self, method: Explainer, moment: tuple[int, int], spent: int, head: str) -> MethodRun | None:
        session = self.session.heads[head] if head else self.session
        if not session.explains(method):
            return None
        try:
            return session.explain(method, spent, moment)
        except Exception as error:
            self._note(f"{of_head(head, method.name)} failed: {self.error_policy.absorb(error)}")
            return None

    def _cost(self, rows: int) -> dict[str, float]:
        seconds, overhead = self.time_budget.lap()
        expensive = overhead > HIGH and self.time_budget.limit is None  # with a limit, the user has decided
        self._expensive = [*self._expensive, seconds] if expensive else []
        if len(self._expensive) >= LASTING and sum(self._expensive) > NOTICED:
            self.error_policy.warn(
                f"{len(self._expensive)} runs in a row took more than {HIGH:.0%} of the time; they take less with a "
                "larger every_n_validations=, the monitor's or explainers', a smaller num_examples= or budget=, or "
                "max_overhead=."
            )
            self._expensive = []
        return {"seconds": seconds, "rows": float(rows), "overhead": overhead}


def _values_of(explained: Mapping[str, MethodRun]) -> dict[str, float]:
    """Return the scalars of all results, each under the name of its method."""
    return {
        f"{name}/{key}": value
        for name, found in explained.items()
        if found.result is not None
        for key, value in found.result.values.items()
    }
