"""One call of the model that returns the scores of several heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from mviz_lightning.observation.recipe import Evaluation
from mviz_lightning.observation.ways import ReplayedStep, Way, averaged, replay, scores_by


@dataclass(frozen=True)
class JointCall:
    """Computes the scores of several heads together: recipes share their calls, and the other heads share one replay.

    Attributes:
        ways: Head -> how its scores are computed alone. All were observed in one call of the step.
    """

    ways: Mapping[str, Way]

    def __call__(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return head -> its scores of the examples of a batch, in the order of the heads."""
        found = self._by_recipes(module, batch) | self._by_replay(module, batch)
        return {name: found[name] for name in self.ways}

    def _by_recipes(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        recipes = {name: (way.recipe, way.views) for name, way in self.ways.items() if way.recipe is not None}
        run: Evaluation | None = None
        found = {}
        for name, (recipe, views) in recipes.items():
            run = Evaluation(module, batch, recipe.size(batch)) if run is None else run
            compute = averaged(lambda *_, step=recipe.step, run=run: step(run), views)
            found[name] = scores_by(compute)(module, batch)
        return found

    def _by_replay(self, module: nn.Module, batch: Any) -> dict[str, Tensor]:
        if not self._replayed:
            return {}
        first: ReplayedStep = next(iter(self._replayed.values()))
        wanted: Sequence[Any] = list(dict.fromkeys(one.wanted for one in self._replayed.values()))
        given = replay(first.step, first.schema, wanted, module, batch)
        read = {name: one.read(given[one.wanted])[0] for name, one in self._replayed.items()}
        return {name: scores_by(lambda *_, scores=scores: scores)(module, batch) for name, scores in read.items()}

    @cached_property
    def _replayed(self) -> dict[str, ReplayedStep]:
        return {name: way.replayed for name, way in self.ways.items() if way.replayed is not None}
