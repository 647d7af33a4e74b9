"""What the monitor found, run after run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mviz_lightning.explainers.yardstick import Yardstick
from mviz_lightning.plain import Saved
from mviz_lightning.records import Row
from mviz_lightning.rendering import history_table


class History(Sequence[Row]):
    """The runs of a training, oldest first; prints as a table.

    Args:
        modalities: Names, in declared order.

    Attributes:
        yardstick: What the examples' scores are measured against; None until that was asked for.
    """

    def __init__(self, modalities: Sequence[str]) -> None:
        self.modalities = list(modalities)
        self.yardstick: Yardstick | None = None
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append a run."""
        self._rows.append(row)

    def clear(self) -> None:
        """Forget all runs: another training begins."""
        self._rows, self.yardstick = [], None

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

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        yardstick = None if self.yardstick is None else self.yardstick.state()
        return {"rows": [asdict(row) for row in self._rows], "yardstick": yardstick}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take what a checkpoint holds; what another version knew of rows besides is dropped."""
        saved = Saved.of(state)
        self._rows, self.yardstick = saved["rows"].every(Row), saved["yardstick"].read(Yardstick | None)
