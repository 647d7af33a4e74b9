"""Ask the user's model; nothing else in the package calls it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import torch
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.isolation import isolated
from mviz_lightning.evaluation.prediction import Predict, scores
from mviz_lightning.evaluation.query import Query, join

ContextFactory: TypeAlias = Callable[[], AbstractContextManager[object]]


@dataclass
class Evaluator:
    """Answers queries with plain forwards in chunks.

    Attributes:
        module: The user's model; it is left as it was found.
        predict: How it is called.
        chunk_size: Rows a forward at the most. Halved for good when memory runs out.
        precision: Makes the context under which the trainer calls the model (autocast, say).
        seed: Of random numbers that a forward may draw.
        rows: Distinct rows evaluated so far.
    """

    module: nn.Module
    predict: Predict
    chunk_size: int = 128
    precision: ContextFactory = nullcontext
    seed: int = 0
    rows: int = 0

    def __call__(self, probe: Probe, queries: Sequence[Query], at_least: int = 0) -> list[Tensor]:
        """Answer several queries at once; rows they share are evaluated once.

        Args:
            probe: The examples that the queries name.
            queries: Rows to evaluate, ``R`` of them each.
            at_least: Evaluate so many rows, by repeating one, where all processes must run equally many forwards.

        Returns:
            For each query ``(R, C)`` outputs, on the model's device and in the type the model gave them.

        Raises:
            ConfigurationError: The outputs are not one row of scores for each row asked.
            RuntimeError: Memory ran out at the smallest chunk.
        """
        distinct, answers = join(queries)
        self.rows += len(distinct)
        padded = torch.arange(max(at_least, len(distinct))).clamp(max=len(distinct) - 1)
        outputs = self.plain(probe, distinct[padded])
        return [outputs[answer.to(outputs.device)] for answer in answers]

    def plain(self, probe: Probe, query: Query) -> Tensor:
        """Return the ``(R, C)`` outputs of the rows as they stand, repeats included."""
        with isolated(self.module, seed=self.seed), self.precision():
            return self._in_chunks(probe, query)

    def _in_chunks(self, probe: Probe, query: Query) -> Tensor:
        outputs: list[Tensor] = []
        done = 0
        while done < len(query):
            rows = _next_chunk(len(query) - done, self.chunk_size)
            try:
                outputs.append(self._forward(probe, query[done : done + rows]))
            except RuntimeError as error:
                if not is_oom_error(error) or rows <= 3:
                    raise
                self.chunk_size = max(2, rows // 2)
            else:
                done += rows
                continue
            garbage_collection_cuda()  # outside the handler, whose traceback holds on to the chunk
        return torch.cat(outputs)

    def _forward(self, probe: Probe, query: Query) -> Tensor:
        """Return ``(R, C)``. A single row is doubled: models that squeeze would lose its batch dimension."""
        rows = len(query)
        sources = query.sources.expand(max(rows, 2), -1)
        masks = {name: kept.expand(max(rows, 2), -1) for name, kept in query.masks.items()}
        outputs = scores(self.predict(self.module, probe.batch(sources, masks, device_of(self.module))))
        if len(outputs) != len(sources):
            raise ConfigurationError(
                f"the model returned {len(outputs)} rows of scores for {len(sources)} examples; "
                "expected is one row for each. Say predict= to return such."
            )
        return outputs[:rows].detach()


def _next_chunk(remaining: int, limit: int) -> int:
    """Return how many rows to take: the limit, or one more where a single row would be left over."""
    if remaining <= limit:
        return remaining
    return limit if remaining - limit > 1 else limit + 1


def device_of(module: nn.Module) -> torch.device:
    """Return where a model is."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device
