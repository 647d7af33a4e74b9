"""The runs of the monitor, in order: what is printed, drawn, judged and kept in checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.explainers.contribution_shares.subset_tables import with_subset_tables
from mviz_lightning.explainers.contribution_shares.tables import history_table
from mviz_lightning.sinks.records import RunRecord


class History(Sequence[RunRecord]):
    """The runs of a training, oldest first; prints as a table.

    Args:
        modalities: Names, in declared order.

    Attributes:
        score_reference: What the scores of these runs are measured against; None until an alarm has measured it.
        advice: How many examples narrower intervals than those of the last run need.
        encoders: Modality -> names of the model's submodules that serve it alone; empty until an alarm asks for them.
    """

    def __init__(self, modalities: Sequence[str]) -> None:
        self.modalities = list(modalities)
        self.score_reference: ScoreReference | None = None
        self.advice = ""
        self.encoders: dict[str, list[str]] = {}
        self._rows: list[RunRecord] = []

    def add(self, row: RunRecord) -> None:
        """Append a run."""
        self._rows.append(row)

    def measure_against(self, score_reference: ScoreReference | None) -> None:
        """Keep what the scores are measured against from now on; None where the examples are others."""
        self.score_reference = score_reference

    def keep_encoders(self, encoders: Mapping[str, Sequence[str]]) -> None:
        """Keep the encoders of the model that is trained; a training that resumes with an alarm needs them at once."""
        self.encoders = {name: list(parts) for name, parts in encoders.items()}

    def advise(self, advice: str) -> None:
        """Keep how many examples narrower intervals than those of the last run need; it ends the printed table."""
        self.advice = advice

    def clear(self) -> None:
        """Remove all runs: another training begins."""
        self._rows, self.score_reference, self.encoders, self.advice = [], None, {}, ""

    @property
    def fitted(self) -> list[RunRecord]:
        """The runs during fit that gave values: the points of the curves."""
        return [row for row in self._rows if row.phase == "fit" and row.values]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self._rows)

    def __str__(self) -> str:
        last = next((row.values for row in reversed(self._rows) if row.values), {})
        tables = with_subset_tables(history_table(self._rows, self.modalities), last, self.modalities)
        return "\n".join(filter(None, (tables, self.advice)))

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        score_reference = None if self.score_reference is None else self.score_reference.state()
        encoders = {"encoders": self.encoders} if self.encoders else {}
        return {"rows": [row.state() for row in self._rows], "yardstick": score_reference, **encoders}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the runs of a checkpoint; damaged runs are left out, and entries of other versions ignored."""
        saved = Saved.of(state)
        self._rows = saved["rows"].every(RunRecord)
        self.score_reference = saved["yardstick"].read(ScoreReference | None)
        self.encoders = saved["encoders"].read(dict[str, list[str]], {}) if saved.holds("encoders") else {}
