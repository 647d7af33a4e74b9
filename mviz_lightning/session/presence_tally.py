"""Count the examples with each pattern of modalities over a pass, and keep the form in which modalities are absent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Modality
from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.batch.presence import Gap
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.batch.rows import kept_copy
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.session.shared_start import NO_BATCH, NoBatchError

Pattern: TypeAlias = tuple[str, ...]
"""Names of the modalities that an example has, in declared order."""

MORE_BATCHES = 4
"""Factor by which a message proposes to increase the number of batches of the sanity check."""


@dataclass(frozen=True)
class ObservedBatch:
    """The content of a batch.

    Attributes:
        leaves: Path -> leaf, for the leaves that the batch has; empty before a batch had all modalities.
        present: ``(B, M)`` bool, True where an example has a modality.
    """

    leaves: Mapping[str, Any]
    present: Tensor

    @property
    def count(self) -> int:
        """Number of examples, B."""
        return len(self.present)

    @property
    def complete(self) -> Tensor:
        """``(B,)`` bool, True at examples that have all modalities."""
        return self.present.all(1)


@dataclass(frozen=True)
class PresenceCounts:
    """The result of one pass over all data, the same on all processes.

    Attributes:
        names: Names of the modalities.
        patterns: Modalities that an example has -> number of such examples.
        gaps: Modality -> how whole batches lack it; without an entry if none does.
        donors: Modality -> its leaves in an example that lacks it, from a batch that has these leaves.
        incomplete: Positions of pinned examples that lack a modality.
    """

    names: Sequence[str] = ()
    patterns: Mapping[Pattern, int] = field(default_factory=dict)
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)
    donors: Mapping[str, Example] = field(default_factory=dict)
    incomplete: Sequence[int] = ()

    @property
    def total(self) -> int:
        """Number of examples."""
        return sum(self.patterns.values())

    @property
    def complete(self) -> int:
        """Number of examples that have all modalities."""
        return self.patterns.get(tuple(self.names), 0)

    def having(self, name: str) -> int:
        """Return the number of examples that have a modality."""
        return sum(count for pattern, count in self.patterns.items() if name in pattern)

    @property
    def words(self) -> str:
        """Number of examples with each modality that some examples lack: ``612 of 1,000 examples have audio``."""
        rare = [name for name in self.names if self.having(name) < self.total]
        if not rare:
            return ""
        first, *others = (f"{self.having(name):,}{{}} have {name}" for name in rare)
        whole = [f"{self.complete:,} have all"] if others else []
        return ", ".join([first.format(f" of {self.total:,} examples"), *(one.format("") for one in others), *whole])

    @property
    def line(self) -> str:
        """One line for the log; ``""`` if all examples have all modalities."""
        meaning = "shares and explanations are those of examples that have all modalities"
        return f"{self.words}; {meaning}" if self.words else ""


@dataclass
class PresenceTally:
    """Counts the examples of one pass on one process.

    Attributes:
        modalities: Name -> modality.
        donors_wanted: Whether examples that lack a modality are kept, one for each.
    """

    modalities: Mapping[str, Modality]
    donors_wanted: bool = False
    _patterns: Counter[Pattern] = field(default_factory=Counter)
    _gaps: dict[str, Sequence[Gap]] = field(default_factory=dict)
    _donors: dict[str, tuple[int, Example]] = field(default_factory=dict)
    _incomplete: list[int] = field(default_factory=list)
    _batches: int = 0
    _missing: dict[str, tuple[str, str]] = field(default_factory=dict)
    _leaves: str = ""

    def see(self, batch: Any, gaps: Mapping[str, Sequence[Gap]]) -> None:
        """Note which modalities a whole batch lacks."""
        for name, found in gaps.items():
            self._gaps.setdefault(name, found)
        missing = {
            gap.path: (name, gap.path) for name, found in gaps.items() for gap in found if self._may_be_wrong(name, gap)
        }
        self._missing = {path: of for path, of in missing.items() if not self._batches or path in self._missing}
        self._batches += 1
        if self._missing:
            self._leaves = describe_leaves(batch)

    def _may_be_wrong(self, name: str, gap: Gap) -> bool:
        """Return whether a key that no batch has may be a wrong path: nothing declares that it may be missing."""
        present = self.modalities[name].present
        return gap.missing and present in (None, gap.path)

    def count(self, observed: ObservedBatch, positions: Sequence[int | None], pinned: frozenset[int]) -> None:
        """Count the examples of a batch.

        Args:
            observed: The batch.
            positions: Position of each example in the data set; None for one that was counted already.
            pinned: Positions of the examples that the user requested.
        """
        names = list(self.modalities)
        for row, position in zip(observed.present.tolist(), positions, strict=True):
            if position is not None:
                self._patterns[tuple(name for name, has in zip(names, row, strict=True) if has)] += 1
                self._incomplete += [position] if position in pinned and not all(row) else []

    def keep_donors(self, schema: BatchSchema, observed: ObservedBatch, positions: Sequence[int | None]) -> None:
        """Keep, for each modality, the leaves of the first example of the data set that lacks it; none by default."""
        readable = schema.owners.keys() <= observed.leaves.keys()
        for name, present in zip(
            self.modalities, observed.present.T.tolist() if self.donors_wanted else (), strict=False
        ):
            places = [(at, row) for row, at in enumerate(positions) if at is not None and not present[row]]
            if not readable or not places or (name in self._donors and self._donors[name][0] < min(places)[0]):
                continue
            position, row = min(places)
            own = {path: kept_copy(observed.leaves[path], torch.tensor([row])) for path in schema.values[name]}
            self._donors[name] = position, own

    def counts(self, ranks: Ranks) -> PresenceCounts:
        """Return what all processes have counted; all of them must call this."""
        parts = ranks.gather((self._patterns, self._gaps, self._donors, self._incomplete))
        patterns = sum((part[0] for part in parts), Counter[Pattern]())
        gaps = {name: found for part in reversed(parts) for name, found in part[1].items()}
        donors = sorted((found for part in parts for found in part[2].items()), key=lambda one: -one[1][0])
        incomplete = sorted(position for part in parts for position in part[3])
        first = {name: example for name, (_, example) in donors}
        return PresenceCounts(list(self.modalities), patterns, gaps, first, incomplete)

    def require(self, ranks: Ranks, *, final: bool) -> None:
        """Raise, on all processes alike, why nothing could be learned from the batches, unless later ones may help.

        Args:
            ranks: The processes, all of which must call this.
            final: Whether a result is due before any further batch.

        Raises:
            ConfigurationError: A key is missing in all batches.
            NoBatchError: No batch came, or none had all modalities, and no further ones follow.
        """
        counts, told = self.counts(ranks), ranks.gather((self._batches, self._missing, self._leaves))
        seen = [one for one in told if one[0]]
        first = seen[0][1] if seen else {}
        wrong = [found for path, found in first.items() if all(path in one[1] for one in seen)]
        if wrong:
            raise ConfigurationError(self._wrong_path(*wrong[0], sum(one[0] for one in seen), seen[0][2]))
        if final:
            raise NoBatchError(NO_BATCH if counts.complete or not seen else _none_complete(counts))

    @property
    def waits(self) -> str:
        """One line for the log if batches came and none had all modalities; else ``""``."""
        if not self._batches:
            return ""
        return (
            f"none of {self._batches} batch(es) of the sanity check has all of {', '.join(self.modalities)}; the model "
            "is tried in the first validation that has such a batch"
        )

    def _wrong_path(self, name: str, path: str, batches: int, leaves: str) -> str:
        more = f"Trainer(num_sanity_val_steps={MORE_BATCHES * batches})"
        present = f'{{"{name}": Modality("{self.modalities[name].values}", present="has_{name}")}}'
        return (
            f"modalities[{name!r}]: no leaf {path!r} in the batch; leaves found: {leaves}. It is in none of {batches} "
            f"batch(es) so far. Correct the path; or, if only these batches lack it, check more with {more}, or name "
            f"the leaf that marks the examples that have it: modalities={present}."
        )


def _none_complete(counts: PresenceCounts) -> str:
    return (
        f"modalities: none of {counts.total:,} validation examples has all of {', '.join(counts.names)} "
        f"({counts.words or 'no example was counted'}); shares compare modalities of the same examples. Add validation "
        "examples that have all of them, or leave a modality out of modalities=."
    )


def with_counts(error: ConfigurationError, counts: PresenceCounts) -> ConfigurationError:
    """Return an error about too few examples that also gives the number of examples that lack a modality."""
    return type(error)(f"{error} {counts.line[:1].upper()}{counts.line[1:]}.") if counts.line else error
