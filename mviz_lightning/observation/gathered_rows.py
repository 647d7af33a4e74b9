"""Rows that a step gathers from all processes, as contrastive steps do: their scores are not from one batch alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist
from torch import Tensor

from mviz_lightning.observation.provenance import Node, Provenance, ancestors
from mviz_lightning.observation.shadows import shadowed


@dataclass(eq=False)
class Gathered(Node):
    """Rows of a tensor of each process."""


@dataclass
class GatheredRows:
    """What the step has gathered so far.

    A contrastive step gathers the embeddings of both modalities to compare them with those of all processes. In their
    place, the similarities of this process's own embeddings are used: the same scores, with fewer candidates.

    Attributes:
        provenance: Where tensors come from.
        own: The tensors of this process that were gathered.
    """

    provenance: Provenance
    own: list[Tensor] = field(default_factory=list)

    def pairs(self, outputs: Any, tensor: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Note a gathered tensor; yield it with each earlier one of as many rows, since the step may compare both."""
        node = self.provenance.of(tensor)
        for part in outputs if isinstance(outputs, list) else [outputs]:
            self.provenance.put(part, Gathered(node.tags, node.learned, tuple(part.shape)))
        yield from ((one, tensor) for one in self.own if one.dim() == tensor.dim() == 2 and one.shape == tensor.shape)
        self.own.append(tensor)

    def reach(self, tensor: Tensor) -> bool:
        """Return whether a tensor is made from gathered rows."""
        return bool(self.own) and any(isinstance(one, Gathered) for one in ancestors(self.provenance.of(tensor)))


GATHER = ("all_gather", "all_gather_into_tensor")
"""Collectives that give every process the rows of all."""


@contextmanager
def noticed(notice: Callable[[Any, Tensor], Any]) -> Iterator[None]:
    """Report what collectives in the block gather, and from which tensor."""

    def noticing(gather: Callable[..., Any]) -> Callable[..., Any]:
        def gathering(outputs: Any, tensor: Tensor, *rest: Any, **named: Any) -> Any:
            work = gather(outputs, tensor, *rest, **named)
            notice(outputs, tensor)
            return work

        return gathering

    with ExitStack() as stack:
        for name in GATHER if dist.is_available() else ():
            stack.enter_context(shadowed(dist, name, noticing))
        yield
