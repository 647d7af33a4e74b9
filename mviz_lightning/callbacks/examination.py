"""One run of a study, and what it costs when it fails."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lightning.pytorch.utilities import rank_zero_info

from mviz_lightning.callbacks.warner import Warner
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explainer, Explanation
from mviz_lightning.study import Study

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
        explained: Name of every method whose turn it was -> its explanations.
    """

    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    explained: dict[str, Sequence[Explanation]] = field(default_factory=dict)


@dataclass
class Examination:
    """Runs a study; a failure costs what failed, on all ranks alike.

    Attributes:
        study: What is run.
        warner: Says what failed.
        pictures: Returns, once, the seconds that pictures took.
    """

    study: Study
    warner: Warner
    pictures: Callable[[], float]
    _clock: float = field(default_factory=time.perf_counter)
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
            rank_zero_info(f"MultimodalMonitor: the model is called as {self.study.call}")
        except Exception as error:
            if isinstance(error, ConfigurationError) or self.warner.on_error == "raise":
                raise
            failure = f"{type(error).__name__}: {error}"
            self.warner.warn(f"the monitor is off, since the model could not be tried. {failure}")
            return failure
        finally:
            self.study.begin()
        return ""

    def attempt(self, explainers: Sequence[Explainer], *, early: bool) -> Findings:
        """Measure the model, and explain it where it could be measured.

        Args:
            explainers: Whose turn it is.
            early: Whether the training has not begun.
        """
        rehearsed = any(self.study.ranks.gather(self.study.rehearsed))  # or one rank would raise and others wait
        try:
            self.study.complete()
            measured = self.study.run()
        except Exception as error:
            # Before the training is the time to hear of a wrong configuration; an hour into it is not.
            early = isinstance(error, ConfigurationError) and not rehearsed and early
            if early or self.warner.on_error == "raise":
                raise
            failure = f"{type(error).__name__}: {error}"
            self.warner.warn(f"a run failed; callbacks that monitor a share see a stand-in. {failure}")
            return Findings(note=failure)
        seconds, rows = measured.seconds, measured.rows
        findings = Findings()
        for explainer in explainers:
            cost = self._explain(explainer, findings, rows)
            seconds, rows = seconds + cost[0], rows + cost[1]
        findings.values = measured.values | self._cost(seconds + self.pictures(), rows)
        findings.note = self.study.pop_notes()
        return findings

    def explain(self, explainers: Sequence[Explainer]) -> Findings:
        """Explain the model as it is now, behind a run."""
        findings = Findings()
        for explainer in explainers:
            self._explain(explainer, findings)
        findings.note = self.study.pop_notes()
        return findings

    def _explain(self, explainer: Explainer, findings: Findings, spent: int = 0) -> tuple[float, int]:
        """Add a method's explanations; return seconds and rows."""
        try:
            found = self.study.explain(explainer, spent)
        except Exception as error:
            if self.warner.on_error == "raise":
                raise
            failure = f"{explainer.name} failed: {type(error).__name__}: {error}"
            self.warner.warn(failure)
            self.study.notes.append(failure)
            return 0.0, 0
        findings.explained[explainer.name] = found.explanations
        return found.seconds, found.rows

    def _cost(self, seconds: float, rows: int) -> dict[str, float]:
        now = time.perf_counter()
        overhead = min(1.0, seconds / (now - self._clock))
        self._clock = now
        self._dear = [*self._dear, seconds] if overhead > HIGH else []
        if len(self._dear) >= LASTING and sum(self._dear) > NOTICED:
            self.warner.warn(
                f"{len(self._dear)} runs in a row took more than {HIGH:.0%} of the time; they take less with a larger "
                "every_n_validations=, the monitor's or explainers', a smaller num_examples= or budget=."
            )
            self._dear = []
        return {"seconds": seconds, "rows": float(rows), "overhead": overhead}
