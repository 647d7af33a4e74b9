"""The fixed examples: a sample of one pass over the data, or those of a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mviz_lightning.batch import BatchSchema, Probe, Reservoir
from mviz_lightning.batch.few_examples import with_masks_told
from mviz_lightning.batch.groups import draw_groups_of_kinds, largest_size
from mviz_lightning.batch.padding import collate, own_bounds, told_by_examples
from mviz_lightning.batch.probe import NO_GROUPS, fingerprint, strings_of
from mviz_lightning.batch.repeats import first_occurrences
from mviz_lightning.batch.reservoir import Example, lowest
from mviz_lightning.batch.rows import largest_bytes
from mviz_lightning.batch.unreadable import joinable
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import NotMeasurableError, warn_user
from mviz_lightning.functional.designs import smallest_group
from mviz_lightning.session.absent_examples import AbsentExamples
from mviz_lightning.session.batch_reader import BatchReader
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.grouping import Grouping
from mviz_lightning.session.presence_tally import ObservedBatch, PresenceCounts, with_counts
from mviz_lightning.session.sampling_notes import sampling_notes
from mviz_lightning.session.saved_probe import Collected, SavedProbe

REFERENCE_BYTES = 256 * 2**20
"""Largest memory of the reference set, in bytes: 256 MiB.

If examples are larger, fewer are kept, but as many as the probe needs.
"""

CHANGED = "the validation set or its order changed since the checkpoint"
DAMAGED = "the checkpoint's record of its examples is damaged"
LARGER = "Raise limit_val_batches or enlarge the validation set."


@dataclass
class ProbeSampler:
    """Samples the batches of a pass, and draws the probe from the sample.

    Attributes:
        config: The configuration of the measurement.
        saved: The probe of the checkpoint that was loaded.
        available: Number of validation examples, if all of them were kept; None if there may be more.
    """

    config: SessionConfig
    saved: SavedProbe = field(default_factory=SavedProbe)
    available: int | None = None
    reader: BatchReader = field(init=False)
    counts: PresenceCounts = field(default_factory=PresenceCounts)
    _reservoir: Reservoir | None = None
    _labelled: Callable[[Probe], Probe] | None = None
    _label_path: str | None = None
    _label_names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.reader = BatchReader(self.config.modalities, self.config.target, self.config.absence)

    @property
    def schema(self) -> BatchSchema | None:
        """The batch's schema; None before the first batch that has all modalities."""
        return self.reader.schema

    def begin(self) -> None:
        """Begin a pass over the data; the sample of an earlier pass that was interrupted is dropped."""
        self._reservoir, self._label_names = None, set()
        self.reader.begin()

    def label_by(self, labelled: Callable[[Probe], Probe], path: str | None) -> None:
        """Label the examples by a function from now on, since their labels are not a leaf that the user named.

        Args:
            labelled: Gives a probe its labels.
            path: Path of the only leaf that they are made from; None if there are several, or none is known.
        """
        self._labelled, self._label_path = labelled, path

    def keep(self, observed: ObservedBatch, positions: Sequence[int | None]) -> None:
        """Count the examples of a batch, and consider those that have all modalities for the sample.

        Args:
            observed: The batch.
            positions: Position of each example in the data set; None for one that occurs twice.
        """
        self.reader.tally.count(observed, positions, frozenset(self.config.pin))
        if self.schema is None:
            return
        self.reader.tally.keep_donors(self.schema, observed, positions)
        labels = observed.leaves.get(self.schema.target or "")
        self._label_names.update(strings_of(labels) or ())  # from all batches: a sample may lack a class
        complete = zip(positions, observed.complete.tolist(), strict=True)
        usable = [position if whole else None for position, whole in complete]
        if any(observed.complete):
            self._sampled(self.schema, observed.leaves).add(self.schema, observed.leaves, usable)

    def _sampled(self, schema: BatchSchema, leaves: Mapping[str, Any]) -> Reservoir:
        if self._reservoir is None:
            self._reservoir = self._new_reservoir(self._capacity(schema, leaves))
        return self._reservoir

    def _new_reservoir(self, capacity: int) -> Reservoir:
        return Reservoir(capacity, self.config.seed, frozenset(self.config.pin))

    def _capacity(self, schema: BatchSchema, leaves: Mapping[str, Any]) -> int:
        example = sum(map(largest_bytes, leaves.values()))
        fitting = int(REFERENCE_BYTES / max(1.0, example))
        return max(self.config.examples, min(self.config.reference, fitting))

    def draw(self, ranks: Ranks, fusion_share: float = 1.0) -> Collected:
        """Draw the probe from what all processes have sampled; all get the same.

        Args:
            ranks: The processes.
            fusion_share: Work of a row with replayed encodings, as a fraction of a plain row's.

        Raises:
            NotMeasurableError: There are too few examples.
        """
        sampled, rows = self._gathered(ranks)
        with ranks.raise_on_all_ranks(), joinable(rows.values()):
            chosen = self._once_each(sampled, rows)
        wanted = chosen + sorted(set(self.config.pin) - set(chosen))
        positions, pool = [position for position in wanted if position in rows], len(chosen)
        fusion_share = max(ranks.gather(fusion_share))
        names = sorted(set().union(*ranks.gather(self._label_names)))
        self.counts = self.reader.tally.counts(ranks)
        with ranks.raise_on_all_ranks(), joinable(rows.values()):
            everyone = [rows[position] for position in positions]
            probe, digest = self._joined(everyone, pool, fusion_share)
            absent = AbsentExamples.of(probe.schema, everyone, self.counts) if self.config.absence else None
        probe = replace(probe, label_names=names)
        self._reservoir = None
        collected = self._compared(probe, positions, pool, digest)
        notes = sampling_notes(probe, pool, len(sampled), self.config.num_examples)
        return replace(collected, notes=[*notes, *collected.notes], absent=absent)

    def _gathered(self, ranks: Ranks) -> tuple[list[int], dict[int, Example]]:
        """Return the positions of the sample, and the rows of the sample and of the pinned examples."""
        capacity = max(ranks.gather(0 if self._reservoir is None else self._reservoir.capacity))
        reservoir = self._reservoir or self._new_reservoir(capacity)
        seen = [position for found in ranks.gather(reservoir.positions()) for position in found]
        chosen = lowest(self.config.seed, seen, capacity)
        self.available = len(chosen) if len(chosen) < capacity else None
        wanted = [*chosen, *sorted(set(self.config.pin) - set(chosen))]
        return chosen, {place: row for found in ranks.gather(reservoir.rows(wanted)) for place, row in found.items()}

    def _once_each(self, sampled: list[int], rows: Mapping[int, Example]) -> list[int]:
        """Return the positions without those of repeated examples, if enough for two groups are left."""
        if self.schema is None:
            return sampled
        found = first_occurrences(self.schema, [rows[place] for place in sampled], self._label_leaves(self.schema))
        chosen = [sampled[index] for index in found]
        if len(chosen) < 2 * self.config.base_grouping.size:
            return sampled
        self.available = None if self.available is None else len(chosen)
        return chosen

    def _label_leaves(self, schema: BatchSchema) -> list[str]:
        """Return the paths of the leaves that labels are made from; if unknown, of all outside the modalities."""
        path = schema.target or self._label_path
        return schema.unowned if path is None and self._labelled is not None else [] if path is None else [path]

    def _joined(self, rows: Sequence[Example], pool: int, fusion_share: float) -> tuple[Probe, str]:
        if self.schema is None:
            raise RuntimeError("no batch was collected.")
        grouping = self._grouping(pool, fusion_share)  # fails if there are too few examples to join
        # Pinned examples are not part of what is measured; a long one would pad all others.
        schema = told_by_examples(self.schema, rows[:pool])
        leaves = collate(schema, rows)
        digest = fingerprint(leaves if len(rows) == pool else collate(schema, rows[:pool]))
        probe = Probe(schema, leaves, NO_GROUPS, bounds=own_bounds(schema, rows))
        return self._grouped(probe, pool, grouping), digest

    def _compared(self, probe: Probe, positions: Sequence[int], pool: int, digest: str) -> Collected:
        """Compare a drawn probe with the checkpoint and with the configuration."""
        incomplete = [place for place in self.counts.incomplete if place not in positions]
        missing = sorted(set(self.config.pin) - set(positions) - set(incomplete))
        notes = [f"pin={missing}: the validation set has no such example"] if missing else []
        notes += [f"pin={incomplete}: not explained, since a modality is missing"] if incomplete else []
        before = self.saved.drawn
        renewed = before is not None and before.fingerprint != digest
        if before is not None and renewed:
            notes.append(f"probe drawn anew: {CHANGED if before.fingerprint else DAMAGED}")
        restored = before is not None and not renewed
        return Collected(probe, positions, pool, digest, restored=restored, renewed=renewed, notes=notes)

    def restore(self) -> Collected | None:
        """Return the examples of the checkpoint if they fit the batches; otherwise None."""
        # Replacements for absent modalities are found only in a whole pass over the data.
        if self.schema is None or self.config.absence:
            return None
        whole = self.saved.usable(self.schema, self.config.pin)
        if whole is None or self.saved.drawn is None:
            return None
        kept = Probe(self.schema, whole.leaves, NO_GROUPS, bounds=whole.bounds, own_shapes=whole.own_shapes)
        probe = self._grouped(with_masks_told(kept), whole.pool, self._grouping(whole.pool, 1.0))
        probe = replace(probe, label_names=whole.label_names)
        same = torch.equal(probe.groups, whole.groups)
        if self.config.target is None and probe.groups.shape == whole.groups.shape:
            # They were drawn in proportion to labels that only the user's step computes, which has not run yet.
            probe, same = replace(probe, groups=whole.groups), True
        notes = [] if same else ["groups drawn anew: the configuration changed since the checkpoint"]
        digest = self.saved.drawn.fingerprint
        return Collected(probe, list(whole.positions), whole.pool, digest, restored=True, notes=notes)

    def without(self, collected: Collected, examples: Sequence[int], fusion_share: float) -> Collected | None:
        """Return the fixed examples without some, in newly drawn groups; None if too few would be left.

        Args:
            collected: The fixed examples.
            examples: The examples to leave out, as indices of the fixed ones.
            fusion_share: As for :meth:`draw`.
        """
        probe, left = collected.probe, set(examples)
        kept = [example for example in range(probe.size) if example not in left]
        pool = sum(example < collected.pool for example in kept)
        if pool < 2 * smallest_group(len(self.config.modalities)):
            return None
        rest = self._grouped(probe.part(torch.tensor(kept)), pool, self._grouping(pool, fusion_share))
        return replace(collected.part(kept), probe=rest, pool=pool)

    def _grouped(self, probe: Probe, pool: int, grouping: Grouping) -> Probe:
        """Draw the groups from the examples of the pool."""
        if self._labelled is not None and probe.labels is None:
            probe = self._labelled(probe)
        kinds = probe.kinds[:pool].tolist()
        grouping = self._within(kinds, grouping)
        target, examples = probe.target, self.config.affordable_groups(grouping) * grouping.size
        labels = None if target is None else target[:pool]
        groups = draw_groups_of_kinds(kinds, labels, examples, grouping.size, self.config.seed)
        return replace(probe, groups=groups)

    def _within(self, kinds: Sequence[int], grouping: Grouping) -> Grouping:
        """Return groups small enough that two can be filled, each with texts of equally many items.

        Raises:
            NotMeasurableError: There are too few such texts.
        """
        least = smallest_group(len(self.config.modalities))
        size = largest_size(kinds, grouping.size, least)
        if not size:
            larger = LARGER if self.available is not None else f"Raise num_examples={self.config.examples}."
            raise NotMeasurableError(
                "texts are recombined only with texts of equally many items, and of "
                f"{len(kinds)} validation examples too few share a number of items for two groups of {least}. {larger}"
            )
        return Grouping(grouping.examples, size)

    def _grouping(self, pool: int, fusion_share: float) -> Grouping:
        """Return the groups for a pool of examples: larger ones if they are cheap, or were so in the checkpoint.

        Raises:
            NotMeasurableError: The pool is too small for two groups.
        """
        if self.saved.group_size:
            fusion_share = float(self.saved.group_size <= self.config.group)
        grown = self.config.grouping(fusion_share)
        grouping = grown if pool >= grown.examples else self.config.base_grouping
        return grouping if pool >= 2 * grouping.size else self._reduced(grouping, pool)

    def _reduced(self, grouping: Grouping, pool: int) -> Grouping:
        least = smallest_group(len(self.config.modalities))
        if pool < 2 * least:
            error = NotMeasurableError(
                f"{pool} validation examples were seen; contribution shares of {len(self.config.modalities)} "
                f"modalities need {2 * least} or more. {LARGER}"
            )
            raise with_counts(error, self.counts)
        size = max(least, pool // 2)
        warn_user(
            f"{pool} validation examples are fewer than two groups of group_size={grouping.size}; groups "
            f"of {size} are used and intervals will be wide. Enlarge the validation set or set group_size={size}."
        )
        return Grouping(grouping.examples, size)

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the probe of a checkpoint; it is used once a first batch shows the schema."""
        self.saved = SavedProbe.of(state)
