"""The runs of the monitor, in order: what is printed, drawn, judged and kept in checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.explainers.contribution_shares.subset_tables import with_subset_tables
from mviz_lightning.explainers.contribution_shares.tables import history_table
from mviz_lightning.notebook.displayed import Displayed
from mviz_lightning.sinks.plain import plain_data
from mviz_lightning.sinks.records import RunRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


class History(Displayed, Sequence[RunRecord]):
    """The runs of a training, oldest first; prints as a table.

    Args:
        modalities: Names, in declared order.

    Attributes:
        score_references: Head -> the reference for its scores, once an alarm has measured it; ``""`` is the main head.
        main_head: Name of the main head; ``""`` for a model with one head.
        advice: Advice on the number of examples for narrower intervals than those of the last run.
        encoders: Modality -> names of the model's submodules that depend on it alone; empty until an alarm needs them.
        tells_training: Whether the earlier runs of the next run's training are known; if not, it is judged alone.
    """

    def __init__(self, modalities: Sequence[str]) -> None:
        self.modalities = list(modalities)
        self.score_references: dict[str, ScoreReference] = {}
        self.advice, self.main_head = "", ""
        self.encoders: dict[str, list[str]] = {}
        self._rows: list[RunRecord] = []
        self._past: list[RunRecord] | None = None
        self.tells_training = True

    def add(self, row: RunRecord) -> None:
        """Append a run."""
        self._rows.append(row)

    @property
    def score_reference(self) -> ScoreReference | None:
        """The reference for the scores of the main head; None until an alarm has measured it."""
        return self.score_references.get("")

    def measure_against(self, score_references: Mapping[str, ScoreReference]) -> None:
        """Keep the references for the scores of each head from now on; pass an empty one if the examples changed."""
        self.score_references = dict(score_references)

    @property
    def heads(self) -> list[str]:
        """The further heads that some run measured, in the order of their first run."""
        return list(dict.fromkeys(head for row in self._rows for head in row.heads))

    def name_main_head(self, name: str) -> None:
        """Name the main head of a model with several, for tables and pictures."""
        self.main_head = name

    def keep_encoders(self, encoders: Mapping[str, Sequence[str]]) -> None:
        """Keep the encoders of the model in training; a training that resumes during an alarm needs them at once."""
        self.encoders = {name: list(parts) for name, parts in encoders.items()}

    def advise(self, advice: str) -> None:
        """Keep the advice on the number of examples for narrower intervals; it ends the printed table."""
        self.advice = advice

    def clear(self) -> None:
        """Remove all runs: another training begins."""
        self._rows, self.score_references, self.encoders, self.advice = [], {}, {}, ""
        self._past, self.tells_training = None, True

    def judge_alone(self) -> None:
        """Let the next run be judged alone, because the earlier runs of its training are unknown."""
        self._past, self.tells_training, self.score_references = [], False, {}

    def look_back(self, training: "History", step: int) -> None:
        """Let the next run be judged by the earlier runs of its training, which are not part of this history.

        Args:
            training: Runs of the training, and what its scores are measured against.
            step: Step of the next run.
        """
        self._past, self.tells_training = [row for row in training.fitted if row.step < step], True
        self.score_references, self.encoders = dict(training.score_references), dict(training.encoders)

    def judged_before(self, head: str) -> list[RunRecord]:
        """Return the earlier runs of the next run's training, with the values of one head; an alarm uses them."""
        if self._past is None:
            return self.fitted_of(head)
        return [found for found in (row.of_head(head) for row in self._past) if found.values]

    @property
    def fitted(self) -> list[RunRecord]:
        """The runs during fit that gave values: the points of the curves."""
        return [row for row in self._rows if row.phase == "fit" and row.values]

    def fitted_of(self, head: str) -> list[RunRecord]:
        """Return :attr:`fitted` for one head, with its values under their plain names; ``""`` is the main head."""
        return [found for found in (row.of_head(head) for row in self.fitted) if found.values]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self._rows)

    def __str__(self) -> str:
        further = [f"\nhead {head}\n{self._tables(head)}" for head in self.heads]
        main = f"head {self.main_head}" if further and self.main_head else ""
        return "\n".join(filter(None, (main, self._tables(""), *further, self.advice)))

    def __repr__(self) -> str:
        count = len(self._rows)
        last = f", the last at epoch {self._rows[-1].epoch} (step {self._rows[-1].step})" if self._rows else ""
        return f"History({self.modalities}: {count} {'run' if count == 1 else 'runs'}{last})"

    def _card(self) -> "Card":
        from mviz_lightning.session.card import training_card

        return training_card(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the modalities and all runs as plain data, which ``json.dumps`` takes; NaN becomes None."""
        runs = [plain_data(row.state()) for row in self._rows]
        return {"modalities": list(self.modalities), "main_head": self.main_head, "runs": runs}

    def _tables(self, head: str) -> str:
        rows = [replace(row.of_head(head), note="" if head else row.note) for row in self._rows]
        rows = [row for row in rows if row.values] if head else rows
        last = next((row.values for row in reversed(rows) if row.values), {})
        return with_subset_tables(history_table(rows, self.modalities), last, self.modalities)

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        score_reference = None if self.score_reference is None else self.score_reference.state()
        encoders = {"encoders": self.encoders} if self.encoders else {}
        heads = {head: found.state() for head, found in self.score_references.items() if head}
        further = {"yardsticks": heads} if heads else {}
        return {"rows": [row.state() for row in self._rows], "yardstick": score_reference, **encoders, **further}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the runs of a checkpoint; damaged runs are left out, and entries of other versions ignored."""
        saved = Saved.of(state)
        self._rows = saved["rows"].every(RunRecord)
        main = saved["yardstick"].read(ScoreReference | None)
        further = saved["yardsticks"].named(ScoreReference) if saved.holds("yardsticks") else {}
        self.score_references = ({} if main is None else {"": main}) | further
        self.encoders = saved["encoders"].read(dict[str, list[str]], {}) if saved.holds("encoders") else {}
