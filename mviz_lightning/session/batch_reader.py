"""Read the batches of a pass: find where the leaves are, and which modalities each example has."""

from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.few_examples import first_examples
from mviz_lightning.batch.interleaved.dealing import ItemTokens
from mviz_lightning.batch.interleaved.placeholders import NO_TOKENS, PlaceholderTokens
from mviz_lightning.batch.later_batches import settled
from mviz_lightning.batch.presence import counted, gaps_of, nodes_of, present_examples, present_in_nodes
from mviz_lightning.batch.rows import example_count
from mviz_lightning.collapse.raw_inputs import require_single
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.item_tokens import ItemTokenCounter
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.engine.row_independence import TRIAL_EXAMPLES
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.session.presence_tally import ObservedBatch, PresenceTally


@dataclass
class BatchReader:
    """Reads the batches of a pass.

    Attributes:
        modalities: Name -> modality.
        target: Path of the labels, if the user gave one.
        donors_wanted: Whether one example that lacks a modality is kept for each modality.
        schema: The batch's schema; None before the first batch that has all modalities.
        trial: Copies of the first complete examples of that batch; None before this batch, and after the examples were
            fixed.
        kin: Path of the leaf with equal values for related examples (kin); None if it is not needed.
        tally: Counts the examples of the pass by the modalities that they have.
        fresh: Whether ``trial`` is from the last batch, and all examples of this batch have all modalities.
        tokens: The placeholder tokens of the model.
        ask: Returns the number of placeholders of each item of a batch; None before :meth:`meet`.
    """

    modalities: Mapping[str, Modality]
    target: str | None = None
    donors_wanted: bool = False
    schema: BatchSchema | None = None
    trial: Probe | None = None
    kin: str | None = None
    fresh: bool = False
    tokens: PlaceholderTokens = NO_TOKENS
    ask: ItemTokens | None = None
    tally: PresenceTally = field(init=False)
    _read: Mapping[str, Modality] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a pass over the data; what an earlier one counted is dropped."""
        self.tally = PresenceTally(self.modalities, self.donors_wanted)

    def meet(self, module: nn.Module, precision: ContextFactory) -> None:
        """Read from a model, once, which tokens of texts are placeholders of other modalities.

        Args:
            module: The user's model.
            precision: Makes the context in which the trainer calls the model.
        """
        if self.ask is None:
            self.tokens = placeholder_tokens(module, self.modalities)
            self.ask = ItemTokenCounter(module, precision)

    def pop_fresh(self) -> bool:
        """Return, once, whether the first examples are from the last batch, whose examples all have all modalities."""
        fresh, self.fresh = self.fresh, False
        return fresh

    def drop_trial(self) -> None:
        """Free the first examples."""
        self.trial = None

    def await_another(self) -> None:
        """Read the next batch as the first one, because no example of the present batch can be used."""
        self.schema = self.trial = None

    def start_from(self, trial: Probe) -> None:
        """Take the first examples of another process, and the schema of its batches."""
        self.schema, self.trial = trial.schema.declared_as(self.modalities), trial
        self._read = trial.schema.modalities
        self._require_kin(self.schema)

    def group_by(self, kin: str | None) -> None:
        """Require the leaf that shows which examples are kin; None requires no leaf.

        Raises:
            ConfigurationError: The batches have no such leaf.
        """
        self.kin = kin
        if self.schema is not None:
            self._require_kin(self.schema)

    def _require_kin(self, schema: BatchSchema) -> None:
        if self.kin is not None and self.kin not in schema.owners:
            raise ConfigurationError(
                f"kin={self.kin!r}: no such leaf with one entry per example in the batch; leaves found: "
                f"{', '.join(schema.paths)}."
            )

    def observe(self, batch: Any) -> ObservedBatch:
        """Return the content of a batch; the schema is learned from the first batch that has all modalities.

        Raises:
            ConfigurationError: The batch has all modalities, but cannot be read.
        """
        known, nodes = self.trial, nodes_of(batch, self.modalities)
        gaps = gaps_of(self.modalities, nodes)
        self.tally.see(batch, gaps)
        if self.schema is None and not gaps:
            self.learn(batch)
        observed = self._whole(batch, self.schema) if self.schema and not gaps else self._part(batch, nodes, gaps)
        self.fresh = self.trial is not known and bool(observed.present.all())
        return observed

    def learn(self, batch: Any) -> None:
        """Take the schema of a batch if some example in it has all modalities.

        Raises:
            ConfigurationError: The batch cannot be read.
        """
        nodes = nodes_of(batch, self.modalities)
        seen = self._raw_presence(nodes)
        empty = any(example_count(nodes.get(one.values)) == 0 for one in self.modalities.values())
        if empty or (len(seen) and not bool(seen.all(1).any())):
            return
        schema = BatchSchema.learn(batch, self.modalities, self.target, self.tokens, self.ask)
        if schema.interleaving is not None and self.donors_wanted:
            raise ConfigurationError(
                "absence=True: the placeholders of an absent modality would stay in the text. Leave absence= out."
            )
        trial = first_examples(schema, batch, TRIAL_EXAMPLES)
        if trial.size:
            self.schema, self.trial, self._read = schema, trial, trial.schema.modalities

    def _raw_presence(self, nodes: Mapping[str, Any]) -> Tensor:
        return present_in_nodes(self.modalities, nodes, counted(self.modalities, nodes, self.target))

    def _whole(self, batch: Any, schema: BatchSchema) -> ObservedBatch:
        self.schema = schema = settled(schema, batch, self.ask)
        self._require_kin(schema)
        leaves = schema.leaves(batch)
        if self.kin is not None:
            require_single(self.kin, leaves[self.kin])
        return self._observed(schema, leaves)

    def _part(self, batch: Any, nodes: Mapping[str, Any], gaps: Container[str]) -> ObservedBatch:
        """Return the contents of a batch that lacks modalities, as far as they can be read."""
        with suppress(Exception):  # a batch that is left out may have any form
            if self.schema is not None:
                owned = {path for name, paths in self.schema.values.items() if name not in gaps for path in paths}
                labels = {self.target} if self.target is not None and nodes.get(self.target) is not None else set()
                return self._observed(self.schema, self.schema.leaves_of(batch, owned | labels))
        return ObservedBatch({}, self._raw_presence(nodes))

    def _observed(self, schema: BatchSchema, leaves: Mapping[str, Any]) -> ObservedBatch:
        # Masks are read as in the first examples: an example that is all padding lacks the modality.
        return ObservedBatch(leaves, present_examples(replace(schema, modalities=self._read), leaves))
