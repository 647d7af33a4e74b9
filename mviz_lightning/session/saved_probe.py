"""The fixed examples in a checkpoint: how they are written, and how they are read back."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.probe import fingerprint, plain_bytes
from mviz_lightning.batch.rows import example_count, kept_copy, take_examples
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.session.absent_examples import AbsentExamples


@dataclass(frozen=True)
class Collected:
    """The fixed examples of one validation set, drawn from a pass over the data or restored from a checkpoint.

    Attributes:
        probe: The examples and their groups.
        positions: Position of each example in the data set.
        pool: Number of examples, from the first on, from which groups are drawn; pinned ones come after them.
        digest: Fingerprint of the pool.
        restored: Whether the examples are those of the checkpoint.
        renewed: Whether a checkpoint was loaded and the examples are others.
        notes: Notes for a reader of the history.
        absent: The same examples, with replacements for absent modalities; None if these are not requested.
        uncut: The examples with the answers in their texts, which a checkpoint keeps; None if nothing was cut off.
    """

    probe: Probe
    positions: Sequence[int]
    pool: int
    digest: str
    restored: bool = False
    renewed: bool = False
    notes: Sequence[str] = ()
    absent: AbsentExamples | None = None
    uncut: Probe | None = None

    @property
    def kept(self) -> Probe:
        """The examples as the batches held them."""
        return self.uncut or self.probe

    def part(self, examples: Sequence[int]) -> "Collected":
        """Return some examples, with the probe as it is."""
        positions = [self.positions[example] for example in examples]
        absent = None if self.absent is None else self.absent.part(examples)
        uncut = None if self.uncut is None else self.uncut.part(torch.tensor(examples))
        return replace(self, positions=positions, absent=absent, uncut=uncut)

    def state(self, limit: int) -> dict[str, Any]:
        """Return plain types, for checkpoints: all examples up to ``limit`` bytes, beyond it their digest alone."""
        state: dict[str, Any] = {"fingerprint": self.digest, "group_size": self.probe.groups.shape[1]}
        if plain_bytes(self.kept.leaves) <= limit:
            state |= {"leaves": dict(self.kept.leaves), "groups": self.probe.groups}
            state |= {"positions": list(self.positions), "pool": self.pool}
            state |= {"label_names": list(self.probe.label_names), "bounds": dict(self.kept.bounds)}
            state |= {"own_shapes": self.probe.own_shapes, "content": self._content}
        return state

    @cached_property
    def _content(self) -> str:
        probe = self.probe
        leaves, bounds = self.kept.leaves, self.kept.bounds
        return content_of(leaves, probe.groups, self.positions, self.pool, probe.label_names, bounds)


def content_of(
    leaves: Mapping[str, Any],
    groups: Tensor,
    positions: Sequence[int],
    pool: int,
    label_names: Sequence[str],
    bounds: Mapping[str, Tensor],
) -> str:
    """Return a digest of all that a checkpoint holds of the examples; it shows whether they are the saved ones.

    Args:
        leaves: Path -> leaf of all examples.
        groups: ``(G, g)`` examples that are recombined with one another.
        positions: Position of each example in the data set.
        pool: Number of examples, from the first on, from which groups are drawn.
        label_names: All labels of the validation set, where they are strings.
        bounds: Path -> where the examples' own entries are in a padded leaf.
    """
    whole = fingerprint(leaves), groups.tolist(), list(positions), pool, list(label_names), fingerprint(bounds)
    return fingerprint({"examples": [str(whole)]})


@dataclass(frozen=True)
class Drawn:
    """The part of a probe that every checkpoint holds.

    Attributes:
        fingerprint: Digest of the examples that groups are drawn from.
        group_size: Number of examples in a group.
    """

    fingerprint: str
    group_size: int


@dataclass(frozen=True)
class Whole:
    """The part of a probe that a checkpoint also holds if the examples are small enough.

    Attributes:
        leaves: Path -> leaf of all examples.
        groups: ``(G, g)`` long: examples of the pool that are recombined with one another.
        positions: Position of each example in the data set.
        pool: Number of examples, from the first on, from which groups are drawn.
        label_names: All labels of the validation set, where they are strings.
        bounds: Path of a padded leaf -> ``(N, D, 2)`` where the examples' own entries are in it.
        own_shapes: Whether the examples were evaluated in their own shapes.
        content: Digest of all fields above except ``own_shapes``. If an older version saved less, the examples are
            drawn again.

    Raises:
        ValueError: The entries do not fit together.
    """

    leaves: dict[str, Any]
    groups: Tensor
    positions: list[int]
    pool: int
    label_names: list[str]
    bounds: dict[str, Tensor]
    own_shapes: bool
    content: str

    def __post_init__(self) -> None:
        if any(example_count(leaf) != len(self.positions) for leaf in self.leaves.values()):
            raise ValueError(f"the leaves hold other numbers of examples than the {len(self.positions)} positions")
        if not 0 < self.pool <= len(self.positions):
            raise ValueError(f"pool={self.pool} of {len(self.positions)} examples")
        if not self._grouped():
            raise ValueError("the groups are not rows of indices of the examples")
        if self.content != content_of(
            self.leaves, self.groups, self.positions, self.pool, self.label_names, self.bounds
        ):
            raise ValueError("the examples are not those that were saved")

    def _grouped(self) -> bool:
        groups = self.groups
        rows = groups.dtype == torch.long and groups.dim() == 2 and groups.numel() > 0
        return rows and bool(((groups >= 0) & (groups < len(self.positions))).all())


OTHERS = (
    "measured on the examples of the checkpoint, because other examples would break the curves: the validation set, "
    "its order or its random changes differ"
)

ENOUGH = 8
"""Number of equal examples after which no more are compared."""


@dataclass
class RestoredExamples:
    """Checks whether the loader still gives the examples of a checkpoint, which are measured in either case.

    Attributes:
        whole: The examples of the checkpoint; None if there are none to compare, and once enough were compared.
    """

    whole: Whole | None = None
    _compared: int = 0

    @property
    def compared_on(self) -> bool:
        """Whether further batches are compared."""
        return self.whole is not None

    def compare(self, leaves: Mapping[str, Any], positions: Sequence[int | None]) -> str:
        """Compare the examples of a batch with those of the checkpoint at the same positions.

        Args:
            leaves: Path -> leaf of the batch.
            positions: Position of each example in the data set; None for one that occurs twice.

        Returns:
            A line about differences, once; ``""`` otherwise.
        """
        whole, told = self.whole, ""
        if whole is not None:
            places = {position: example for example, position in enumerate(whole.positions)}
            shared = [(row, places[place]) for row, place in enumerate(positions) if place in places]
            told = "" if all(_same_example(leaves, row, whole.leaves, example) for row, example in shared) else OTHERS
            self._compared += len(shared)
        if told or self._compared >= ENOUGH:
            self.whole = None
        return told


def _same_example(batch: Mapping[str, Any], row: int, saved: Mapping[str, Any], example: int) -> bool:
    """Return whether two examples are equal in all leaves of equal shape; a padded leaf may have another shape."""
    with suppress(Exception):  # leaves that cannot be compared count as equal
        paths = batch.keys() & saved.keys()
        now = {path: kept_copy(batch[path], torch.tensor([row])) for path in paths}
        before = {path: take_examples(saved[path], torch.tensor([example])) for path in paths}
        alike = [path for path in paths if _shape(now[path]) == _shape(before[path])]
        return fingerprint({path: now[path] for path in alike}) == fingerprint({path: before[path] for path in alike})
    return True


def _shape(leaf: Any) -> Any:
    return getattr(leaf, "shape", None)


LOST = Drawn("", 0)
"""Replaces a record of the probe that is damaged in the checkpoint."""

WHOLE = [entry.name for entry in fields(Whole)]
PARTS = [entry.name for entry in (*fields(Drawn), *fields(Whole))]


@dataclass(frozen=True)
class SavedProbe:
    """The probe of a checkpoint.

    Attributes:
        drawn: Which examples were drawn; None without a checkpoint, ``LOST`` where it is damaged.
        whole: The examples themselves; None if the checkpoint has only their digest, or they are damaged.
    """

    drawn: Drawn | None = None
    whole: Whole | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any] | Saved) -> "SavedProbe":
        """Read a checkpoint's state. Damaged examples are left out, or all of it where the digest is damaged too."""
        saved = Saved.of(state)
        if isinstance(saved.value, Mapping) and not saved.holds(*PARTS):
            return cls()
        drawn = saved.read(Drawn, LOST)
        return cls(drawn, saved.read(Whole) if drawn is not LOST and saved.holds(*WHOLE) else None)

    def state(self) -> dict[str, Any]:
        """Return plain types again, for a checkpoint that is written before the first batch."""
        return {} if self.drawn is None else vars(self.drawn) | ({} if self.whole is None else vars(self.whole))

    def usable(self, schema: BatchSchema, pin: Sequence[int]) -> Whole | None:
        """Return the examples if they have the leaves of this schema and hold all pinned ones; otherwise None."""
        whole = self.whole
        fits = whole is not None and bool(whole.leaves) and set(whole.leaves) == set(schema.owners)
        return whole if whole is not None and fits and set(pin) <= set(whole.positions) else None

    @property
    def group_size(self) -> int:
        """Number of examples in a group; 0 where the checkpoint does not hold it."""
        return 0 if self.drawn is None else self.drawn.group_size
