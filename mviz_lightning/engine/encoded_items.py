"""Encode each item of a language model once, for all texts that it is combined with, where rows are not packed.

The model's own method that encodes the items of a batch, ``get_image_features`` for example, runs for one row with each
item. In all other rows its recorded results are returned, joined in the order of the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.item_tokens import encoders_of
from mviz_lightning.engine.language_model import LanguageModel
from mviz_lightning.engine.packed_evaluation import InPacks, PackedReader
from mviz_lightning.engine.query import Query, row_numbers
from mviz_lightning.engine.row_runs import WORTHWHILE, input_numbers

Encode: TypeAlias = Callable[..., Any]
"""Encodes all items of a batch."""

LAYERS = "deepstack_features"
"""Attribute of an encoding that holds one entry for each layer; ``pooler_output`` holds the features of the items."""


@dataclass(frozen=True)
class ItemEncoder:
    """A method of a model that encodes all items of a batch.

    Attributes:
        holder: The submodule that has it.
        name: Its name.
        modality: Position of the modality of the items.
    """

    holder: nn.Module
    name: str
    modality: int

    @contextmanager
    def replaced(self, wrap: Callable[[Encode], Encode]) -> Iterator[None]:
        """Inside the block, replace the method by the function that ``wrap`` makes from it."""
        attributes = vars(self.holder)
        before = {name: one for name, one in attributes.items() if name == self.name}
        attributes[self.name] = wrap(getattr(self.holder, self.name))
        try:
            yield
        finally:
            del attributes[self.name]
            attributes.update(before)


def item_encoders(language: LanguageModel) -> list[ItemEncoder]:
    """Return the innermost method that encodes the items of each modality; modalities without one are left out."""
    names, arguments = language.schema.names, {path: name for name, path in language.taken.items()}
    items = {name: arguments.get(paths[0], "") for name, paths in language.interleaving.media.items()}
    methods = {name: encoders_of(language.module, argument) for name, argument in items.items()}
    return [ItemEncoder(*found[-1], names.index(name)) for name, found in methods.items() if found]


class ItemEncodings:
    """The results of a model's encoders for single items.

    Args:
        encoders: E encoders.
    """

    def __init__(self, encoders: Sequence[ItemEncoder]) -> None:
        self._encoders = encoders
        self._known: list[dict[int, Any]] = [{} for _ in encoders]

    def know(self, items: Sequence[int]) -> bool:
        """Return whether each encoder has already encoded its item, which is given by its number."""
        return all(item in known for known, item in zip(self._known, items, strict=True))

    @contextmanager
    def recorded(self, items: Sequence[int]) -> Iterator[None]:
        """Record what the encoders return inside the block, which evaluates one row with these items."""

        def noting(known: dict[int, Any], item: int) -> Callable[[Encode], Encode]:
            def wrap(encode: Encode) -> Encode:
                def note(*args: Any, **given: Any) -> Any:
                    if item not in known:
                        known[item] = encode(*args, **given)
                    return known[item]

                return note

            return wrap

        wraps = [noting(known, item) for known, item in zip(self._known, items, strict=True)]
        with _all_replaced(self._encoders, wraps):
            yield

    @contextmanager
    def replayed(self, items: Tensor) -> Iterator[None]:
        """Return recorded results from the encoders, for the items ``(R, E)`` of the R rows in the block."""
        columns = zip(self._known, items.T.tolist(), strict=True)
        found = [_joined([known[item] for item in column]) for known, column in columns]
        with _all_replaced(self._encoders, [_returning(one) for one in found]):
            yield


class WithItemsEncoded(InPacks):
    """Evaluates rows of a language model whose items are encoded once each.

    Attributes:
        module: The user's model.
        item_methods: Names of the methods that were called once for each item so far; None where that failed.
    """

    module: nn.Module
    item_methods: Sequence[str] | None

    @property
    def device(self) -> torch.device:
        """The model's device."""
        raise NotImplementedError

    def by_shape(self, shapes: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a function on the numbers of all rows, by shape and by chunk; results are in the rows' order."""
        raise NotImplementedError

    def plan_for(self, probe: Probe) -> object | None:
        """Return the plan for replaying submodules, which is preferred; None if nothing can be replayed."""
        raise NotImplementedError

    def with_items_encoded(self, probe: Probe, query: Query) -> Tensor | None:
        """Return ``(R, C)`` outputs of rows, each item encoded once; None where that fails or saves nothing."""
        reader, allowed = self.predict, self.reuse and not self.sharded and self.item_methods is not None
        if not allowed or query.read is not None or not isinstance(reader, PackedReader):
            return None
        encoders = item_encoders(reader.language)
        items = input_numbers(query, probe.schema.names)[:, [encoder.modality for encoder in encoders]]
        if not encoders or WORTHWHILE * len(items.unique(dim=0)) > len(items):
            return None
        return self.unless_it_fails(
            ("encodings of items", "they are computed for every row"),
            lambda: self.evaluated(probe, lambda: self._encoding_once(probe, query, items, encoders)),
            self._give_up_encodings,
        )

    def _give_up_encodings(self) -> None:
        self.item_methods = None

    def _encoding_once(
        self, probe: Probe, query: Query, items: Tensor, encoders: Sequence[ItemEncoder]
    ) -> Tensor | None:
        """Return the outputs of rows.

        Args:
            probe: The examples.
            query: R rows.
            items: ``(R, E)`` the item of each encoder; equal items have equal numbers.
            encoders: E encoders.
        """
        if self.plan_for(probe) is not None:
            return None
        order = row_numbers(items.unbind(1)).argsort(stable=True)
        given, own, shapes = query[order], items[order], probe.shapes_of(query.sources[order])
        found = self.by_shape(shapes, lambda rows: self._chunk(probe, given[rows], own[rows], encoders))
        outputs = found[order.argsort().to(found.device)]
        self.check(probe, query, outputs)
        self.item_methods = [encoder.name for encoder in encoders]
        return outputs

    def _chunk(self, probe: Probe, query: Query, items: Tensor, encoders: Sequence[ItemEncoder]) -> Tensor:
        """Return the outputs of rows: the first row with each item alone, then all others together."""
        encodings, outputs = ItemEncodings(encoders), {}
        for row, own in enumerate(items.tolist()):
            if not encodings.know(own):
                with encodings.recorded(own):
                    outputs[row] = self._as_they_are(probe, query[row : row + 1])
        others = [row for row in range(len(query)) if row not in outputs]
        if others:
            with encodings.replayed(items[others]):
                found = self._as_they_are(probe, query[torch.tensor(others)])
            outputs |= dict(zip(others, torch.split(found, 1), strict=True))
        return torch.cat([outputs[row] for row in range(len(query))])

    def _as_they_are(self, probe: Probe, query: Query) -> Tensor:
        """Return the outputs of rows in one forward; a single row is not doubled: each item is encoded once."""
        batch = probe.batch(query.sources, query.masks, self.device)
        found: Tensor = self.predict(self.module, batch)
        return found.detach()


@contextmanager
def _all_replaced(encoders: Sequence[ItemEncoder], wraps: Sequence[Callable[[Encode], Encode]]) -> Iterator[None]:
    with ExitStack() as stack:
        for encoder, wrap in zip(encoders, wraps, strict=True):
            stack.enter_context(encoder.replaced(wrap))
        yield


def _returning(found: Any) -> Callable[[Encode], Encode]:
    return lambda _: lambda *_, **__: found


def _joined(encodings: Sequence[Any]) -> Any:
    """Return the encodings of several rows' items as one encoding.

    An encoding is a tensor ``(n, L, d)`` or ``(L, d)``, or a list with a tensor ``(L, d)`` for each item. It may also
    be an object that holds one of these, and possibly one more for each layer.
    """
    first = encodings[0]
    if isinstance(first, Tensor):
        return torch.cat(list(encodings))
    if isinstance(first, list | tuple):
        return [item for found in encodings for item in found]
    pooled = _joined([found.pooler_output for found in encodings])
    layers = zip(*(getattr(found, LAYERS, None) or () for found in encodings), strict=True)
    deep = [_joined(layer) for layer in layers]
    return type(first)(pooler_output=pooled, **({LAYERS: deep} if deep else {}))
