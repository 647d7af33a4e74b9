"""Forwards of a model whose weights are divided among processes: all run equally many, also if one fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from mviz_lightning.engine.devices import sharded_parts
from mviz_lightning.engine.processes import Ranks

T = TypeVar("T")


@dataclass
class ShardedForwards:
    """Runs forwards on all processes together; a forward that fails on any process fails on all.

    A forward of FSDP2 gathers the weights of one part after the other, and each gathering waits for all processes. A
    process whose forward fails, mostly for lack of memory, takes part in the gatherings that the others still wait for.
    Tensor parallelism divides single layers, which exchange activations. A failed process cannot take part in that
    exchange, so the others end at the timeout of the process group.
    """

    _order: list[nn.Module] = field(default_factory=list)

    def run(self, module: nn.Module, forward: Callable[[], T]) -> T:
        """Return what a forward returns.

        Args:
            module: The model; all processes must call this.
            forward: Runs it, equally often on each process.

        Raises:
            Exception: The forward failed, here or elsewhere, as of :meth:`Ranks.raise_on_all_ranks`.
        """
        parts = sharded_parts(module)
        try:
            with Ranks.all().raise_on_all_ranks(), self._gathered_by_all(parts):
                return forward()
        except Exception:
            for part in parts:
                _shard_again(part)
            raise

    @contextmanager
    def _gathered_by_all(self, parts: list[nn.Module]) -> Iterator[None]:
        """If the block fails, gather the parts that the same forward gathers on the other processes."""
        entered: list[nn.Module] = []
        hooks = [part.register_forward_pre_hook(lambda part, _: entered.append(part)) for part in parts]
        try:
            yield
            self._order = entered
        except Exception:
            for part in (self._order or parts)[len(entered) :]:
                _call(part, "unshard")
                _call(part, "reshard")
            raise
        finally:
            for hook in hooks:
                hook.remove()


def _shard_again(part: nn.Module) -> None:
    """Bring a part into the state before any forward: some processes finished the failed forward, others did not."""
    with suppress(Exception):  # only the outermost part has this method, which is new in torch 2.13
        _call(part, "reset_iter_state")
    _call(part, "reshard")


def _call(part: Any, method: str) -> None:
    getattr(part, method)()
