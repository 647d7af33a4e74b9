"""Evaluations in which rows that share an item are packed into one row, where that is exact and saves work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.agreement import DisagreementError
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.memory import free_gpu_memory
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.packed_rows import PackedRow, packs, token_counts
from mviz_lightning.engine.packing_gate import reason_against_packing
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.replay_failures import warn_of_failure

T = TypeVar("T")

WORTHWHILE = 2
"""Smallest number of tokens of the plain rows for each token of the packed rows; below, packing does not pay."""

SAID = "each item with the tokens before it; the texts that follow it are packed into one row"

LINE = (
    "rows that share an item are packed: {computed} of {asked} tokens were computed so far, besides a few rows that "
    "are evaluated unpacked as a check"
)


@runtime_checkable
class PackedReader(Protocol):
    """A call of a language model that can also return its outputs for packed rows."""

    @property
    def language(self) -> LanguageModel:
        """The model."""

    @property
    def branches(self) -> int:
        """Number of branches of a packed row for each row."""

    def of_rows(self, row: PackedRow) -> Tensor:
        """Return ``(R, C)`` outputs of the R rows of a packed row."""


@dataclass
class Packing:
    """Whether rows of a model can be packed, and what that saved.

    Attributes:
        closed: Why rows are not packed; ``""`` if they can be, None before it is tried.
        computed: Number of tokens of the packed rows so far.
        asked: Number of tokens of the same rows without packing.
    """

    closed: str | None = None
    computed: int = 0
    asked: int = 0

    @property
    def said(self) -> str:
        """What runs once for several rows, in words; ``""`` if no rows were packed."""
        return SAID if self.asked and not self.closed else ""

    @property
    def line(self) -> str:
        """What packing saved, for the log; ``""`` if no rows were packed."""
        return self.said and LINE.format(computed=self.computed, asked=self.asked)

    def close(self, reason: str) -> None:
        """Set why rows are not packed from now on; ``""`` if they can be."""
        self.closed = reason

    def count(self, computed: int, asked: int) -> None:
        """Add tokens."""
        self.computed, self.asked = self.computed + computed, self.asked + asked


class InPacks:
    """Evaluates rows that share an item as one row.

    Attributes:
        predict: Calls the model; rows are packed where it is a :class:`PackedReader`.
        precision: Makes the context under which the trainer calls the model, autocast for example.
        reuse: Whether a result may be computed once for several rows.
        packing: Whether rows are packed, and what that saved.
    """

    predict: Predict
    precision: ContextFactory
    reuse: bool
    packing: Packing

    @property
    def computed_in(self) -> torch.dtype | None:
        """The type in which a language model computes the logits for its score; None for other models."""
        if not isinstance(self.predict, PackedReader):
            return None
        with self.precision():
            return self.predict.language.number_type

    @property
    def sharded(self) -> bool:
        """Whether all processes must run equally many forwards."""
        raise NotImplementedError

    def evaluated(self, probe: Probe, evaluate: Callable[[], T]) -> T:
        """Return the result of a function that runs the model, isolated."""
        raise NotImplementedError

    def check(self, probe: Probe, query: Query, outputs: Tensor) -> None:
        """Recompute some rows plainly; raise an error if they differ."""
        raise NotImplementedError

    def packed(self, probe: Probe, query: Query) -> Tensor | None:
        """Return ``(R, C)`` outputs of distinct rows, those that share an item packed; None where nothing is packed."""
        reader, allowed = self.predict, self.reuse and not self.sharded and not self.packing.closed
        if not allowed or query.read is not None or not isinstance(reader, PackedReader):
            return None
        return self.unless_it_fails(
            ("items in front of several texts", "they are computed for every text"),
            lambda: self.evaluated(probe, lambda: self._packed(reader, probe, query)),
            lambda: self.packing.close("it failed"),
        )

    def unless_it_fails(
        self, said: tuple[str, str], evaluate: Callable[[], T | None], give_up: Callable[[], None]
    ) -> T | None:
        """Return the result of a function; None where it fails, after a warning.

        Args:
            said: What cannot be reused then, and what is done instead, as text.
            evaluate: The function.
            give_up: Prevents further attempts.

        Raises:
            DisagreementError: Plain rows do not agree among themselves.
        """
        try:
            return evaluate()
        except DisagreementError:
            raise
        except Exception as error:
            give_up()
            warn_of_failure(*said, error)
        free_gpu_memory()  # outside the handler, whose traceback keeps the rows' memory
        return None

    def _packed(self, reader: PackedReader, probe: Probe, query: Query) -> Tensor | None:
        language = reader.language
        found = packs(language, probe, query, reader.branches)
        computed, asked = token_counts(probe.tokens(query.sources, {})[0], found, reader.branches)
        if WORTHWHILE * computed > asked:
            return None
        if self.packing.closed is None:
            self.packing.close(reason_against_packing(language, probe, query))
        if self.packing.closed:
            return None
        parts = [reader.of_rows(PackedRow.of(language, probe, query[rows])).detach() for rows in found]
        outputs = torch.cat(parts)[torch.cat(found).argsort().to(parts[0].device)]
        self.check(probe, query, outputs)
        self.packing.count(computed, asked)
        return outputs
