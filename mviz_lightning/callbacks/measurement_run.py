"""One run of a study, and what it costs when it fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning.pytorch.utilities import rank_zero_info

from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.time_budget import SHARES, TimeBudget
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explainer
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.session.session import Measurement, Session

HIGH = 0.10
"""Share of the time that runs may take."""

LASTING, NOTICED = 3, 10.0
"""Dearer runs in a row, and their seconds together, from which on that is worth a word."""


@dataclass
class RunResult:
    """What one run found.

    Attributes:
        values: By name, without prefix; empty when the run failed.
        note: What a reader of the history has to know.
        explained: Name of every method that was applied -> what it found.
        put_off: Whether there was no time for the run.
    """

    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    explained: dict[str, MethodRun] = field(default_factory=dict)
    put_off: bool = False


@dataclass
class MeasurementRun:
    """Runs a study; a failure costs what failed, on all ranks alike.

    Attributes:
        session: What is run.
        error_policy: Says what failed.
        time_budget: Tells whether there is time.
    """

    session: Session
    error_policy: ErrorPolicy
    time_budget: TimeBudget = field(default_factory=TimeBudget)
    _dear: list[float] = field(default_factory=list)

    def finish_dry_run(self, missing: str) -> str:
        """Forget what the sanity check collected, and raise on all ranks what failed on one.

        Args:
            missing: What to say where no batch was rehearsed.

        Returns:
            Why the model cannot be studied in this training; nothing where it can.
        """
        try:
            self.session.check(missing, any)
            rank_zero_info(
                f"MultimodalMonitor: the model is called as {self.session.call}. Run once for every distinct input and "
                f"used again in all rows: {self.session.reused}"
            )
        except Exception as error:
            failure = self.error_policy.absorb(error, fatal=isinstance(error, ConfigurationError))
            self.error_policy.warn(f"the monitor is off, since the model could not be tried. {failure}")
            return failure
        finally:
            self.session.begin()
        return ""

    def attempt(self, methods: Sequence[Explainer], *, early: bool) -> RunResult:
        """Measure the model, and apply methods where it could be measured, as far as there is time.

        Args:
            methods: Whose turn it is.
            early: Whether the training has not begun.
        """
        if not self._allows(SHARES):
            return RunResult(note=self.session.pop_notes(), put_off=True)
        dry_run_done = any(
            self.session.ranks.gather(self.session.dry_run_done)
        )  # or one rank would raise and others wait
        try:
            with self.time_budget.timed(SHARES):
                self.session.complete()
                measured = self.session.run()
        except Exception as error:
            # Before the training is the time to hear of a wrong configuration; an hour into it is not.
            fatal = isinstance(error, ConfigurationError) and not dry_run_done and early
            failure = self.error_policy.absorb(error, fatal=fatal)
            self.error_policy.warn(f"a run failed; callbacks that monitor a share see a stand-in. {failure}")
            return RunResult(note=failure)
        return self._completed(measured, methods)

    def _completed(self, measured: Measurement, methods: Sequence[Explainer]) -> RunResult:
        """Apply the methods that there is time for, and count what all of it cost."""
        results, rows = RunResult(measured.values), measured.rows
        for method in methods:
            if self._allows(method.name):
                rows += self._apply(method, results, rows)
        results.values |= self._cost(rows)
        results.note = self.session.pop_notes()
        return results

    def explain(self, methods: Sequence[Explainer]) -> RunResult:
        """Explain the model as it is now, behind a run."""
        results = RunResult()
        for method in methods:
            self._apply(method, results)
        results.note = self.session.pop_notes()
        return results

    def _allows(self, work: str) -> bool:
        """Tell whether there is time; processes have clocks of their own, and the first one's counts."""
        if self.time_budget.limit is None:
            return True
        allowed = self.session.ranks.gather(self.time_budget.allows(work))[0]
        self.session.notes += filter(None, [self.time_budget.settle(work, allowed=allowed)])
        return allowed

    def _apply(self, method: Explainer, results: RunResult, spent: int = 0) -> int:
        """Add what a method finds; return the rows it took."""
        try:
            with self.time_budget.timed(method.name):
                found = self.session.explain(method, spent)
        except Exception as error:
            failure = f"{method.name} failed: {self.error_policy.absorb(error)}"
            self.error_policy.warn(failure)
            self.session.notes.append(failure)
            return 0
        results.explained[method.name] = found
        if found.result is not None:
            results.values |= {f"{method.name}/{key}": value for key, value in found.result.values.items()}
        return found.rows

    def _cost(self, rows: int) -> dict[str, float]:
        seconds, overhead = self.time_budget.lap()
        dear = overhead > HIGH and self.time_budget.limit is None  # who set a limit has chosen
        self._dear = [*self._dear, seconds] if dear else []
        if len(self._dear) >= LASTING and sum(self._dear) > NOTICED:
            self.error_policy.warn(
                f"{len(self._dear)} runs in a row took more than {HIGH:.0%} of the time; they take less with a larger "
                "every_n_validations=, the monitor's or explainers', a smaller num_examples= or budget=, or "
                "max_overhead=."
            )
            self._dear = []
        return {"seconds": seconds, "rows": float(rows), "overhead": overhead}
