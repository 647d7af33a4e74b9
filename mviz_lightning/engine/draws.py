"""Evaluations of a model that may sample: every row gets the same noise, and outputs are averaged over draws."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import reduce
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.generators import Generators
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.shared_noise import SharedNoise, shares_noise

T = TypeVar("T")

ContextFactory: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes the context under which the model is called, autocast for example."""


class InDraws:
    """Runs evaluations in isolation; if the model samples, all rows get the same noise, which can be repeated.

    Attributes:
        module: The user's model.
        predict: Calls the model.
        all_pairs: The call that returns the scores of all pairs, if there is one.
        precision: Makes the context under which the trainer calls the model, autocast for example.
        seed: Seed of the random numbers that a forward may draw.
        draws: Number of seeds over which the outputs are averaged.
    """

    module: nn.Module
    predict: Predict
    all_pairs: Predict | None
    precision: ContextFactory
    seed: int
    draws: int

    @property
    def noisy(self) -> bool:
        """Whether the model was observed to draw random numbers; all rows of a forward then get the same noise."""
        return shares_noise(self.predict)

    def evaluated(self, probe: Probe, evaluate: Callable[[], T]) -> T:
        """Return the result of a function that runs the model, isolated.

        If the model draws random numbers, the function is called again: from then on, all rows of a forward get the
        same noise.
        """
        with isolated(self.module, seed=self.seed) as generators, self.precision():
            try:
                found = evaluate()
            except Exception:
                if not self._shares_noise(generators, probe):
                    raise
            else:
                if not self._shares_noise(generators, probe):
                    return found
            return evaluate()

    def _shares_noise(self, generators: Generators, probe: Probe) -> bool:
        """If random numbers were drawn without sharing, share the noise from now on. Return whether this was so."""
        if not generators.moved or isinstance(self.predict, SharedNoise):
            return False
        given = self.module, probe, device_of(self.module)
        self.predict = SharedNoise.of(self.predict, *given)
        if self.all_pairs and not shares_noise(self.all_pairs):
            self.all_pairs = SharedNoise.of(self.all_pairs, *given)
        self.forget_plan()
        generators.reset()
        return True

    def forget_plan(self) -> None:
        """Search again for what can be replayed: the model is called in another way."""
        raise NotImplementedError

    def averaged(self, evaluate: Callable[[], Tensor]) -> Tensor:
        """Return the mean over all draws of the result of a function that evaluates rows with :attr:`seed`."""
        total = reduce(torch.add, self.each_draw(self.draws, evaluate))
        return total if self.draws == 1 else total / self.draws

    def each_draw(self, count: int, evaluate: Callable[[], T]) -> Iterator[T]:
        """Yield the result of a function for each of ``count`` seeds, beginning with the object's own."""
        first = self.seed
        try:
            for draw in range(count):
                self.seed = first + draw
                yield evaluate()
        finally:
            self.seed = first
