"""What the monitor found, run after run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mviz_lightning.records import Row
from mviz_lightning.rendering import history_table


class History(Sequence[Row]):
    """The runs of a training, oldest first; prints as a table.

    Args:
        modalities: Names, in declared order.
    """

    def __init__(self, modalities: Sequence[str]) -> None:
        self.modalities = list(modalities)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a run."""
        self._rows.append(row)

    def clear(self) -> None:
        """Forget all runs: another training begins."""
        self._rows = []

    @property
    def fitted(self) -> list[Row]:
        """The runs during fit that gave values: the curve."""
        return [row for row in self._rows if row.stage == "fit" and row.values]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __str__(self) -> str:
        return history_table(self._rows, self.modalities)

    def state(self) -> list[dict[str, Any]]:
        """Return plain rows, for checkpoints."""
        return [asdict(row) for row in self._rows]

    def load(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Take the rows of a checkpoint; what another version knew besides is dropped."""
        known = {field.name for field in fields(Row)}
        self._rows = [Row(**{name: value for name, value in row.items() if name in known}) for row in state]
