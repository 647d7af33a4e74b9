"""Contribution shares as a metric."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.functional import Deletions, Design, Task, contribution_shares, decomposable, design
from mviz_lightning.metrics.plottable import Plottable


class ContributionShares(Plottable, Metric):
    """Shares of the outputs' variance that each modality and their interactions explain (Sobol' indices, Sobol' 1993).

    The formula is in :func:`mviz_lightning.functional.contribution_shares`. Evaluate the model on
    ``metric.design.tuples`` (``(T, M)`` positions in a group of ``group_size`` examples; for two modalities the full
    grid, row by row), group after group.

    Args:
        modalities: Names, two or more.
        task: Type of the prediction task; multiclass logits are centred over the classes.
        group_size: Number of examples that are recombined with one another.
        pairs: Whether to compute the shares of pairs; by default for three and four modalities.
        scale: Standard deviations of several regression targets.
        positions: Number of positions of an example, P, if outputs are ``(G, T, P * C)``, one position after another.
            Shares are then means over the positions.
        seed: Seed of the design.
        kwargs: Arguments of every torchmetrics metric.

    Example:
        >>> import torch
        >>> metric = ContributionShares(["x", "y"], task="regression", group_size=16)
        >>> x, y = torch.randn(2, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> rows, columns = metric.design.tuples.T
        >>> metric.update((x[:, rows] + y[:, columns]).unsqueeze(-1))  # 8 groups
        >>> round(float(metric.compute()["interaction"]), 6)
        0.0
    """

    full_state_update = False
    is_differentiable = False
    components: list[Tensor]
    without: list[Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        *,
        task: Task,
        group_size: int = 16,
        pairs: bool | None = None,
        scale: Tensor | None = None,
        positions: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.modalities = tuple(modalities)
        self.task: Task = task
        self.scale, self.positions = scale, positions
        self.design: Design = design(len(self.modalities), group_size, pairs=pairs, seed=seed)
        for state in ("components", "without"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor) -> None:
        """Add groups.

        Args:
            outputs: ``(G, T, C)``, or ``(G, T, P * C)``, logits or values of the design's T tuples in G groups.

        Raises:
            ValueError: The shape of the outputs does not match the design's tuples.
        """
        if outputs.dim() != 3 or outputs.shape[1] != len(self.design.tuples):
            raise ValueError(
                f"outputs of shape {tuple(outputs.shape)}: expected are (groups, {len(self.design.tuples)}, outputs), "
                "the outputs of metric.design.tuples in each group."
            )
        # Group by group: half-splits of all groups at once would take over ten times the memory of the outputs.
        for group in outputs:
            by_position = group.reshape(len(group), self.positions, -1)
            scaled = decomposable(by_position, self.task, self.scale).flatten(-2).unsqueeze(0)
            self.components.append(self.design.components(scaled))
            self.without.append(self.design.without_each(scaled))
        if not len(outputs):
            self.components.append(outputs.new_zeros(0, self._width, dtype=torch.float64))
            self.without.append(outputs.new_zeros(0, self.design.size, self._width, dtype=torch.float64))

    @property
    def _width(self) -> int:
        return 2 + 2 * len(self.modalities) + len(self.design.pairs)

    def compute(self) -> dict[str, Tensor]:
        """Return the shares with their intervals, by the names under which they are logged."""
        components, without = (
            state if isinstance(state, Tensor) else torch.cat(state) for state in (self.components, self.without)
        )
        deletions = Deletions(without, self.design.inflation)
        return contribution_shares(components, self.modalities, self.design.pairs, deletions)
