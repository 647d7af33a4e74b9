"""Scores of several pairs of modalities, each of all pairs of examples, from one forward."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.joint_outputs import JointPredict, own_call
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_outputs import scores
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.row_runs import RowRun


@dataclass
class JointGrids:
    """Scores all pairs of some examples for every head when one of them needs it, and keeps the scores of the others.

    Attributes:
        predict: Head -> its ``(B, B)`` scores, in one forward.
        failed: Whether they could not be computed together; then each head is evaluated alone.
    """

    predict: JointPredict
    failed: bool = False
    _of: tuple[Probe, Tensor] | None = None
    _kept: dict[str, Tensor] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop all scores: the weights change, or no head will need them."""
        self._of, self._kept = None, {}

    def take(self, name: str, evaluator: Evaluator, probe: Probe, examples: Tensor) -> Tensor | None:
        """Return the ``(D, D)`` scores of a head for all pairs of ``(D,)`` examples, and drop them; None on failure."""
        if not self._holds(name, probe, examples) and not self.failed:
            self._evaluate(evaluator, probe, examples)
        return self._kept.pop(name, None)

    def _holds(self, name: str, probe: Probe, examples: Tensor) -> bool:
        if self._of is None or name not in self._kept:
            return False
        before, kept = self._of
        return torch.equal(kept, examples) and before.has_leaves_of(probe)

    def _evaluate(self, evaluator: Evaluator, probe: Probe, examples: Tensor) -> None:
        self.forget()
        rows = Query.aligned(examples, len(probe.schema.names))
        try:
            found = self.predict(evaluator.module, probe.batch(rows.sources, {}, evaluator.device))
            self._kept = {name: scores(grid).detach() for name, grid in found.items()}
            self._of = probe, examples
        except Exception as error:  # from now on each head is evaluated alone, so that a failing head costs only itself
            if ran_out(error):
                raise
            self.failed = True


@dataclass
class PairEvaluator(Evaluator):
    """Evaluates one of several pairs of modalities; scores of all pairs that another head has computed cost no forward.

    Attributes:
        name: Name of the head.
        own: The head's own call for the scores of all pairs.
        grids: The scores of all heads; None evaluates the head alone.
    """

    name: str = ""
    own: Any = None
    grids: JointGrids | None = None

    @classmethod
    def of(cls, evaluator: Evaluator, name: str, grids: JointGrids | None) -> "PairEvaluator":
        """Return an evaluator that shares forwards with the other pairs."""
        given = {name: value for name, value in vars(evaluator).items() if name not in ("name", "own", "grids")}
        return cls(**given, name=name, own=evaluator.all_pairs, grids=grids)

    def _rows_of_all_pairs(self, probe: Probe, run: RowRun) -> Tensor:
        examples, shared = run.distinct.sources[:, 0], self.all_pairs is self.own and not run.distinct.masks
        aligned = shared and bool((run.distinct.sources == examples.unsqueeze(1)).all())
        grid = self.grids.take(self.name, self, probe, examples) if self.grids is not None and aligned else None
        return super()._rows_of_all_pairs(probe, run) if grid is None else run.pairs_of(grid)


@dataclass(frozen=True)
class OrientedGrids:
    """Scores of all pairs, turned so that the first modality of each head is in the rows.

    Attributes:
        predict: Head -> its scores, as the model returns them.
        turned: Head -> whether its scores have the second modality in the rows.
    """

    predict: JointPredict
    turned: Mapping[str, bool]

    def __call__(self, module: Any, batch: Any) -> dict[str, Tensor]:
        """Return head -> ``(B, B)``."""
        found = self.predict(module, batch)
        return {name: grid.T if self.turned[name] else grid for name, grid in found.items()}


def with_grids(
    evaluators: Mapping[str, Evaluator], predict: JointPredict, calls: Mapping[str, Any]
) -> tuple[dict[str, Evaluator], JointGrids]:
    """Return evaluators that share their forwards, and the scores that they share.

    Args:
        evaluators: Head -> its evaluator, each of scores of all pairs.
        predict: Computes the scores of all heads in one forward.
        calls: Head -> its own call of the model.
    """
    turned = {name: own_call(one.all_pairs) is not calls[name] for name, one in evaluators.items()}
    grids = JointGrids(OrientedGrids(predict, turned))
    return {name: PairEvaluator.of(one, name, grids) for name, one in evaluators.items()}, grids
