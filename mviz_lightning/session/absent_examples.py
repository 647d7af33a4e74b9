"""The fixed examples without some modalities; absence has the same form as in the user's own data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.lacking import none_at, probe_lacking
from mviz_lightning.batch.padding import collate, own_bounds
from mviz_lightning.batch.presence import Gap
from mviz_lightning.batch.probe import NO_GROUPS
from mviz_lightning.batch.reservoir import Example
from mviz_lightning.engine.query import Query
from mviz_lightning.session.presence_tally import PresenceCounts


@dataclass(frozen=True)
class AbsentExamples:
    """The fixed examples, followed by examples that provide the leaves of an absent modality.

    Attributes:
        probe: The fixed examples, then one example for each modality in ``donors``.
        donors: Modality -> index of an example that lacks it; its leaves replace the modality's leaves.
        gaps: Modality -> the form in which it is missing in whole batches.
    """

    probe: Probe
    donors: Mapping[str, int]
    gaps: Mapping[str, Sequence[Gap]]

    @classmethod
    def of(cls, schema: BatchSchema, rows: Sequence[Example], counts: PresenceCounts) -> "AbsentExamples":
        """Join examples.

        Args:
            schema: The batch's schema, with masks as they are read.
            rows: The fixed examples.
            counts: The result of a pass over the data: which examples lack which modalities.
        """
        everyone = [*rows, *({**rows[0], **leaves} for leaves in counts.donors.values())]
        probe = Probe(schema, collate(schema, everyone), NO_GROUPS, bounds=own_bounds(schema, everyone))
        return cls(probe, {name: len(rows) + place for place, name in enumerate(counts.donors)}, counts.gaps)

    def part(self, examples: Sequence[int]) -> "AbsentExamples":
        """Return the same object for some of the fixed examples."""
        probe = self.probe.part(torch.tensor([*examples, *self.donors.values()]))
        return replace(self, probe=probe, donors={name: len(examples) + k for k, name in enumerate(self.donors)})

    def with_shapes_of(self, probe: Probe) -> "AbsentExamples":
        """Return the same object, evaluated in the shapes of the fixed examples."""
        return replace(self, probe=replace(self.probe, own_shapes=probe.own_shapes))

    def lacking(self, absent: Sequence[str]) -> Probe:
        """Return a probe whose batches lack modalities; those with a donor stay in it, and :meth:`rows` replaces them.

        Raises:
            ConfigurationError: A modality shares its node with another one.
        """
        modalities = self.probe.schema.modalities
        gaps = {name: self.gaps.get(name) or none_at(modalities[name]) for name in absent if name not in self.donors}
        return probe_lacking(self.probe, gaps)

    def rows(self, examples: Tensor, absent: Sequence[str]) -> Query:
        """Return the rows of examples ``(R,)``, with absent modalities taken from donors."""
        columns = [
            torch.full_like(examples, self.donors[name]) if name in absent and name in self.donors else examples
            for name in self.probe.schema.names
        ]
        return Query(torch.stack(columns, 1))
