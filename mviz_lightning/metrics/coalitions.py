"""Shapley values of modalities and InterSHAP as metrics."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import Task, decomposable, intershap, jackknife, shapley_interactions, shapley_shares
from mviz_lightning.functional.coalition_designs import BUDGET, CoalitionDesign, coalition_design, full_coalition_design
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.functional.outputs import largest_output
from mviz_lightning.functional.prediction_values import of_prediction, prediction_scores
from mviz_lightning.functional.rounding import ROUNDED
from mviz_lightning.metrics.plottable import Plottable


def rounding_floor_of(outputs: Tensor, task: Task) -> float:
    """Return the largest size of differences of ``(R, C)`` outputs that may be rounding of their number type."""
    return ROUNDED * torch.finfo(outputs.dtype).eps * largest_output(outputs, task)


def beyond(values: Tensor, floor: float) -> Tensor:
    """Return values with 0 in place of rounding, because ratios of rounding have no meaning."""
    return values.where(values.abs() > floor, 0.0)


class _CoalitionMetric(Plottable, Metric):
    """A statistic of the mean over examples, with an interval over groups."""

    full_state_update = False
    is_differentiable = False
    design: CoalitionDesign
    groups: list[Tensor]

    def __init__(self, modalities: Sequence[str], *, task: Task, scale: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modalities = tuple(modalities)
        self.task: Task = task
        self.scale = scale
        self.add_state("groups", default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor) -> None:
        """Add groups.

        Args:
            outputs: ``(G, T, C)`` logits or values of the design's T tuples in G groups.

        Raises:
            ValueError: The shape of the outputs does not match the design's tuples.
        """
        if outputs.dim() != 3 or outputs.shape[1] != len(self.design.tuples):
            raise ValueError(
                f"outputs have the shape {tuple(outputs.shape)}; expected (groups, {len(self.design.tuples)}, "
                "outputs): evaluate the model on metric.design.tuples in each group."
            )
        for group in outputs:
            self.groups.append(self._of_group(group).flatten().unsqueeze(0))
        if not len(outputs):
            self.groups.append(outputs.new_zeros(0, self._width(outputs.shape[-1]), dtype=torch.float64))

    def compute(self) -> dict[str, Tensor]:
        """Return values with their 95 % intervals, by the names under which they are logged."""
        groups = self.groups if isinstance(self.groups, Tensor) else torch.cat(self.groups)
        values: dict[str, Tensor] = {}
        for name, value, low, high in zip(self._names, *jackknife(groups, self._statistic), strict=True):
            values |= {name: value, bound_name(name, "low"): low, bound_name(name, "high"): high}
        return values

    @property
    def _names(self) -> list[str]:
        """Names of the values, in order."""
        raise NotImplementedError

    def _of_group(self, outputs: Tensor) -> Tensor:
        """Return the statistics of one group's ``(T, C)`` outputs that are averaged over groups."""
        raise NotImplementedError

    def _width(self, outputs: int) -> int:
        """Return the number of values of :meth:`_of_group`, from the model's number of outputs."""
        raise NotImplementedError

    def _statistic(self, mean: Tensor) -> Tensor:
        """Return ``(..., K)`` values from means over groups ``(..., S)``."""
        raise NotImplementedError


class ModalityShapley(_CoalitionMetric):
    """Share of every modality in the absolute Shapley values of logits; absent modalities come from other examples.

    The mean over examples of ``|phi_m|``, as a fraction of the sum over modalities. The formulas are in
    :func:`mviz_lightning.functional.shapley_shares` and :func:`~mviz_lightning.functional.modality_shapley`. The
    explained output is the centred logit of the predicted class, the logit of the strongest label, or all values of a
    regression. Absent modalities come from other examples of the group. Do not compare the shares with Shapley values
    whose absent modalities are masked with zeros.

    Evaluate the model on ``metric.design.tuples`` (``(T, M)`` positions in a group of ``group_size`` examples; for two
    modalities the grid of :class:`ContributionShares`), group after group.

    Args:
        modalities: Names, two or more.
        task: Type of the prediction task; multiclass logits are centred over the classes.
        group_size: Number of examples that are recombined with one another.
        scale: Standard deviations of several regression targets.
        budget: Number of rows per example; with many modalities, orders are sampled to stay within it.
        exact: Whether to evaluate all coalitions even beyond the budget; InterSHAP needs all.
        seed: Seed of the design.
        kwargs: Arguments of every torchmetrics metric.

    Example:
        >>> import torch
        >>> metric = ModalityShapley(["x", "y"], task="regression", group_size=16)
        >>> x, y = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
        >>> rows, columns = metric.design.tuples.T
        >>> metric.update((x[:, rows] * y[:, columns]).unsqueeze(-1))  # 8 groups of a pure interaction
        >>> bool(metric.compute()["shapley/x"].sub(0.5).abs() < 0.1)
        True
    """

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        group_size: int = 16,
        scale: Tensor | None = None,
        budget: int = BUDGET,
        exact: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(modalities, task=task, scale=scale, **kwargs)
        make = full_coalition_design if exact else coalition_design
        self.design = make(len(self.modalities), group_size, budget=budget, seed=seed)

    @property
    def _names(self) -> list[str]:
        return [f"shapley/{name}" for name in self.modalities]

    def _of_group(self, outputs: Tensor) -> Tensor:
        values = decomposable(outputs, self.task, self.scale)
        phi = of_prediction(self.design.shapley(values), self.design.own(values), self.task).mean(-3)
        return beyond(phi, rounding_floor_of(outputs, self.task)).abs().sum(-1).mean(0)

    def _width(self, outputs: int) -> int:
        return len(self.modalities)

    def _statistic(self, mean: Tensor) -> Tensor:
        return shapley_shares(mean)


class InterSHAP(_CoalitionMetric):
    """Share of cross-modal interactions in what the modalities add to a prediction (Wenderoth et al., AAAI 2025).

    The paper's global score: :func:`mviz_lightning.functional.intershap` of the mean matrix of all examples. The
    explained output is the softmax probability of the predicted class, or the probability of the strongest label. The
    paper has no regression; here the sign of a regression value is positive in the direction in which the prediction
    differs from the group's mean. Absent modalities come from other examples of the group. Do not compare it with
    ``interaction`` of :class:`ContributionShares`, nor with values whose absent modalities are zeros or means.

    Evaluate the model on ``metric.design.tuples`` (``(T, M)`` positions in a group of ``group_size`` examples; for two
    modalities the grid of :class:`ContributionShares`), group after group.

    Args:
        modalities: Names, two to eight: all coalitions are evaluated.
        task: Type of the prediction task.
        group_size: Examples recombined with one another.
        scale: Standard deviations of several regression targets.
        budget: Largest number of rows per example; not used for two modalities.
        seed: Seed of the design.
        kwargs: Arguments of every torchmetrics metric.

    Example:
        >>> import torch
        >>> metric = InterSHAP(["x", "y"], task="regression", group_size=16)
        >>> x, y = torch.randn(2, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> rows, columns = metric.design.tuples.T
        >>> metric.update((x[:, rows] + y[:, columns]).unsqueeze(-1))  # 8 groups, additive
        >>> round(float(metric.compute()["intershap"]), 6)
        0.0
    """

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        group_size: int = 16,
        scale: Tensor | None = None,
        budget: int = BUDGET,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(modalities, task=task, scale=scale, **kwargs)
        self._valued = full_coalition_design(len(self.modalities), group_size, budget=budget, seed=seed)
        self.design = self._valued

    @property
    def _names(self) -> list[str]:
        return ["intershap"]

    def _of_group(self, outputs: Tensor) -> Tensor:
        scores = prediction_scores(outputs, self.task, self.scale)
        values = of_prediction(self._valued.values(scores), self.design.own(scores), self.task)
        floor = max(rounding_floor_of(outputs, self.task), rounding_floor_of(scores, "regression"))
        return beyond(shapley_interactions(values.mean(-3)), floor).mean(0)

    def _width(self, outputs: int) -> int:
        return len(self.modalities) ** 2 * (outputs if self.task == "regression" else 1)

    def _statistic(self, mean: Tensor) -> Tensor:
        count = len(self.modalities)
        return intershap(mean.reshape(*mean.shape[:-1], count, count, -1)).unsqueeze(-1)
