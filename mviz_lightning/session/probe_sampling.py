"""The fixed examples: drawn from one pass over the data, kept with checkpoints."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe, Reservoir
from mviz_lightning.batch.leaves import example_count
from mviz_lightning.batch.probe import as_labels, collate, draw_groups, fingerprint, first_examples, plain_bytes
from mviz_lightning.batch.reservoir import Example, lowest
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.engine.row_independence import TRIAL_EXAMPLES
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.functional.designs import smallest_group
from mviz_lightning.session.config import SessionConfig

REFERENCE_BYTES = 256 * 2**20
"""Memory for the reference set at the most; beyond it fewer examples than asked are kept, the probe's at least."""

CHANGED = "the validation set or its order changed since the checkpoint"
DAMAGED = "the checkpoint does not tell which examples it was"


@dataclass(frozen=True)
class Drawn:
    """What every checkpoint holds of a probe.

    Attributes:
        fingerprint: Of the examples that are measured.
        group_size: How many are recombined with one another.
    """

    fingerprint: str
    group_size: int


@dataclass(frozen=True)
class Whole:
    """What a checkpoint holds besides, where the examples are small enough.

    Attributes:
        leaves: All examples, by path.
        groups: ``(G, g)`` examples that are recombined with one another.
        positions: Of the examples in the data set.
        pool: How many of them, from the first on, groups are drawn from; pinned ones are behind them.
        content: Digest of the leaves; older versions did not write it.

    Raises:
        ValueError: The parts do not fit one another.
    """

    leaves: dict[str, Any]
    groups: Tensor
    positions: list[int]
    pool: int
    content: str | None = None

    def __post_init__(self) -> None:
        if any(example_count(leaf) != len(self.positions) for leaf in self.leaves.values()):
            raise ValueError(f"the leaves hold other numbers of examples than the {len(self.positions)} positions")
        if not 0 < self.pool <= len(self.positions):
            raise ValueError(f"pool={self.pool} of {len(self.positions)} examples")
        if self.content not in (None, fingerprint(self.leaves)):
            raise ValueError("the examples are not those that were saved")


LOST = Drawn("", 0)
"""Of a checkpoint that does not tell what was drawn."""

WHOLE = [entry.name for entry in fields(Whole)]
PARTS = [entry.name for entry in (*fields(Drawn), *fields(Whole))]


@dataclass
class ProbeSampler:
    """Draws the probe from the batches that pass by.

    Attributes:
        config: What is studied.
        probe: The fixed examples; None until a pass is complete.
        positions: Of the examples in the data set.
        few: Copies of the first batch's first examples, to try the model on; None until then, and once it was tried.
        layout: Where everything lives in a batch; None until the first.
        restored: Whether the examples are those of the checkpoint.
        renewed: Whether they are others than those of the checkpoint.
        fusion_share: Of a plain row's work, what is left where encodings are reused: groups grow where that is little.
        notes: What a reader of the history has to know.
    """

    config: SessionConfig
    probe: Probe | None = None
    positions: list[int] = field(default_factory=list)
    few: Probe | None = None
    layout: BatchSchema | None = None
    restored: bool = False
    renewed: bool = False
    fusion_share: float = 1.0
    notes: list[str] = field(default_factory=list)
    _reservoir: Reservoir | None = None
    _saved: Mapping[str, Any] = field(default_factory=dict)
    _digest: str | None = None
    _content: str | None = None
    _pool: int = 0

    def begin(self) -> None:
        """Begin a pass over the data; what an earlier one that broke off left behind is forgotten."""
        self._reservoir = None

    def add(self, batch: Any, locate: Callable[[int], Sequence[int | None]]) -> int:
        """Consider a batch's examples; return how many there are."""
        if self.layout is None:
            self.layout = BatchSchema.learn(batch, self.config.modalities, self.config.target)
            self.few = first_examples(self.layout, batch, TRIAL_EXAMPLES)
            self._restore(self.layout)
        self.layout = self.layout.settled(batch)
        leaves = self.layout.leaves(batch)
        count = self.layout.size(leaves)
        if self.probe is None:
            if self._reservoir is None:
                self._reservoir = self._new_reservoir(self._capacity(self.layout, leaves))
            self._reservoir.add(self.layout, leaves, locate(count))
        return count

    def _new_reservoir(self, capacity: int) -> Reservoir:
        return Reservoir(capacity, self.config.seed, frozenset(self.config.pin))

    def _capacity(self, layout: BatchSchema, leaves: Mapping[str, Any]) -> int:
        tensors = [leaf for leaf in leaves.values() if isinstance(leaf, Tensor)]
        example = sum(leaf.nbytes for leaf in tensors) / max(1, layout.size(leaves))
        fitting = int(REFERENCE_BYTES / max(1.0, example))
        return max(self.config.examples, min(self.config.reference, fitting))

    def draw(self, ranks: Ranks) -> None:
        """Draw the probe from what the pass showed to all processes; they get the same.

        Raises:
            ConfigurationError: There are too few examples.
        """
        capacity = max(ranks.gather(0 if self._reservoir is None else self._reservoir.capacity))
        reservoir = self._reservoir or self._new_reservoir(capacity)
        seen = [position for found in ranks.gather(reservoir.positions()) for position in found]
        chosen = lowest(self.config.seed, seen, capacity)
        wanted = chosen + sorted(set(self.config.pin) - set(chosen))
        rows = {position: row for found in ranks.gather(reservoir.rows(wanted)) for position, row in found.items()}
        self.positions = [position for position in wanted if position in rows]
        self._pool = len(chosen)
        self._grow(max(ranks.gather(self.fusion_share)))
        with ranks.raise_on_all_ranks():
            self.probe = self._joined(self.layout, [rows[position] for position in self.positions])
        self._reservoir = None
        self._note_breaks()

    def _grow(self, fusion_share: float) -> None:
        """Recombine more examples where that is cheap and there are as many; a checkpoint knows whether it was."""
        if self._saved.get("group_size"):
            fusion_share = float(self._saved["group_size"] <= self.config.group)
        grown = self.config.grown(fusion_share)
        self.config = grown if self._pool >= grown.examples else self.config

    def _joined(self, layout: BatchSchema | None, rows: Sequence[Example]) -> Probe:
        if layout is None:
            raise RuntimeError("no batch was collected.")
        self._group_size()  # before there is nothing to join
        # Pinned examples are no part of what is measured; a long one would pad all others.
        self._digest = fingerprint(collate(layout, rows[: self._pool]))
        return self._grouped(layout, collate(layout, rows))

    def _note_breaks(self) -> None:
        """Note what is not as it was, or not as it was asked for."""
        missing = sorted(set(self.config.pin) - set(self.positions))
        if missing:
            self.notes.append(f"pin={missing}: the validation set has no such example")
        if self._saved:
            self.restored = self._saved["fingerprint"] == self._digest
            self.renewed = not self.restored
            if self.renewed:
                self.notes.append(f"probe drawn anew: {CHANGED if self._saved['fingerprint'] else DAMAGED}")

    def _grouped(self, layout: BatchSchema, leaves: Mapping[str, Any]) -> Probe:
        """Deal the examples of the pool out into groups; pinned ones behind it are no part of the sample."""
        pool, size = self._pool, self._group_size()
        target = None if layout.target is None else as_labels(leaves[layout.target])
        examples = self.config.affordable_groups(size) * size
        groups = draw_groups(None if target is None else target[:pool], pool, examples, size, self.config.seed)
        return Probe(layout, leaves, groups)

    def _group_size(self) -> int:
        examples, least = self._pool, smallest_group(len(self.config.modalities))
        if examples < 2 * least:
            raise ConfigurationError(
                f"{examples} validation examples were seen; contribution shares of {len(self.config.modalities)} "
                f"modalities need {2 * least} or more. Raise limit_val_batches or enlarge the validation set."
            )
        if examples >= 2 * self.config.group:
            return self.config.group
        size = max(least, examples // 2)
        warnings.warn(
            f"{examples} validation examples are fewer than two groups of group_size={self.config.group}; groups "
            f"of {size} are used and intervals will be wide. Enlarge the validation set or set group_size={size}.",
            MonitorWarning,
            stacklevel=2,
        )
        return size

    def state(self, limit: int) -> dict[str, Any]:
        """Return the probe for a checkpoint, in plain types: whole up to ``limit`` bytes, otherwise its digest."""
        if self.probe is None:
            return dict(self._saved)
        state: dict[str, Any] = {"fingerprint": self._digest, "group_size": self.probe.groups.shape[1]}
        if plain_bytes(self.probe.leaves) <= limit:
            state |= {"leaves": dict(self.probe.leaves), "groups": self.probe.groups}
            state |= {"positions": self.positions, "pool": self._pool, "content": self._content_of(self.probe)}
        return state

    def _content_of(self, probe: Probe) -> str:
        """Return a digest of all that is saved of the examples; of the same ones it is made once."""
        if self._content is None:
            self._content = fingerprint(probe.leaves)
        return self._content

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take a probe from a checkpoint; it is used as soon as a first batch shows where its leaves belong.

        What is damaged is drawn anew: the examples alone, or all, where nothing tells any more which they were.
        """
        saved = Saved.of(state)
        if isinstance(saved.value, Mapping) and not saved.holds(*PARTS):
            self._saved = {}
            return
        drawn = saved.read(Drawn, LOST)
        whole = saved.read(Whole) if drawn is not LOST and saved.holds(*WHOLE) else None
        self._saved = vars(drawn) | ({} if whole is None else vars(whole))

    def _restore(self, layout: BatchSchema) -> None:
        leaves, positions = self._saved.get("leaves", {}), self._saved.get("positions", [])
        if not leaves or set(leaves) != set(layout.owners) or not set(self.config.pin) <= set(positions):
            return
        self._pool, self.positions, self.restored = self._saved["pool"], list(positions), True
        self._digest = self._saved["fingerprint"]
        self._grow(self.fusion_share)
        self.probe = self._grouped(layout, leaves)
        if not torch.equal(self.probe.groups, self._saved["groups"]):
            self.notes.append("groups drawn anew: the configuration changed since the checkpoint")
