"""One run of a study, and what it costs when it fails."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning.pytorch.utilities import rank_zero_info

from mviz_lightning.callbacks.pace import SHARES, Pace
from mviz_lightning.callbacks.warner import Warner
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Method
from mviz_lightning.methods import Explained
from mviz_lightning.study import Measurement, Study

HIGH = 0.10
"""Share of the time that runs may take."""

LASTING, NOTICED = 3, 10.0
"""Dearer runs in a row, and their seconds together, from which on that is worth a word."""


@dataclass
class Findings:
    """What one run found.

    Attributes:
        values: By name, without prefix; empty when the run failed.
        note: What a reader of the history has to know.
        explained: Name of every method that was applied -> what it found.
        put_off: Whether there was no time for the run.
    """

    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    explained: dict[str, Explained] = field(default_factory=dict)
    put_off: bool = False


@dataclass
class Examination:
    """Runs a study; a failure costs what failed, on all ranks alike.

    Attributes:
        study: What is run.
        warner: Says what failed.
        pace: Tells whether there is time.
    """

    study: Study
    warner: Warner
    pace: Pace = field(default_factory=Pace)
    _dear: list[float] = field(default_factory=list)

    def finish_rehearsal(self, missing: str) -> str:
        """Forget what the sanity check collected, and raise on all ranks what failed on one.

        Args:
            missing: What to say where no batch was rehearsed.

        Returns:
            Why the model cannot be studied in this training; nothing where it can.
        """
        try:
            self.study.check(missing, any)
            rank_zero_info(
                f"MultimodalMonitor: the model is called as {self.study.call}. Run once for every distinct input and "
                f"used again in all rows: {self.study.reused}"
            )
        except Exception as error:
            failure = self.warner.absorb(error, fatal=isinstance(error, ConfigurationError))
            self.warner.warn(f"the monitor is off, since the model could not be tried. {failure}")
            return failure
        finally:
            self.study.begin()
        return ""

    def attempt(self, methods: Sequence[Method], *, early: bool) -> Findings:
        """Measure the model, and apply methods where it could be measured, as far as there is time.

        Args:
            methods: Whose turn it is.
            early: Whether the training has not begun.
        """
        if not self._allows(SHARES):
            return Findings(note=self.study.pop_notes(), put_off=True)
        rehearsed = any(self.study.ranks.gather(self.study.rehearsed))  # or one rank would raise and others wait
        try:
            with self.pace.timed(SHARES):
                self.study.complete()
                measured = self.study.run()
        except Exception as error:
            # Before the training is the time to hear of a wrong configuration; an hour into it is not.
            fatal = isinstance(error, ConfigurationError) and not rehearsed and early
            failure = self.warner.absorb(error, fatal=fatal)
            self.warner.warn(f"a run failed; callbacks that monitor a share see a stand-in. {failure}")
            return Findings(note=failure)
        return self._completed(measured, methods)

    def _completed(self, measured: Measurement, methods: Sequence[Method]) -> Findings:
        """Apply the methods that there is time for, and count what all of it cost."""
        findings, rows = Findings(measured.values), measured.rows
        for method in methods:
            if self._allows(method.name):
                rows += self._apply(method, findings, rows)
        findings.values |= self._cost(rows)
        findings.note = self.study.pop_notes()
        return findings

    def explain(self, methods: Sequence[Method]) -> Findings:
        """Explain the model as it is now, behind a run."""
        findings = Findings()
        for method in methods:
            self._apply(method, findings)
        findings.note = self.study.pop_notes()
        return findings

    def _allows(self, work: str) -> bool:
        """Tell whether there is time; processes have clocks of their own, and the first one's counts."""
        if self.pace.limit is None:
            return True
        allowed = self.study.ranks.gather(self.pace.allows(work))[0]
        self.study.notes += filter(None, [self.pace.settle(work, allowed=allowed)])
        return allowed

    def _apply(self, method: Method, findings: Findings, spent: int = 0) -> int:
        """Add what a method finds; return the rows it took."""
        try:
            with self.pace.timed(method.name):
                found = self.study.explain(method, spent)
        except Exception as error:
            failure = f"{method.name} failed: {self.warner.absorb(error)}"
            self.warner.warn(failure)
            self.study.notes.append(failure)
            return 0
        findings.explained[method.name] = found
        if found.finding is not None:
            findings.values |= {f"{method.name}/{key}": value for key, value in found.finding.values.items()}
        return found.rows

    def _cost(self, rows: int) -> dict[str, float]:
        seconds, overhead = self.pace.lap()
        dear = overhead > HIGH and self.pace.limit is None  # who set a limit has chosen
        self._dear = [*self._dear, seconds] if dear else []
        if len(self._dear) >= LASTING and sum(self._dear) > NOTICED:
            self.warner.warn(
                f"{len(self._dear)} runs in a row took more than {HIGH:.0%} of the time; they take less with a larger "
                "every_n_validations=, the monitor's or explainers', a smaller num_examples= or budget=, or "
                "max_overhead=."
            )
            self._dear = []
        return {"seconds": seconds, "rows": float(rows), "overhead": overhead}
