"""Shares of the likelihood of each example's own answer, and its loss when a modality is swapped."""

from dataclasses import dataclass

from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.batch.probe import Probe
from mviz_lightning.explainers.contribution_shares.explainer import Shares
from mviz_lightning.metrics.own_answers import OwnAnswerLoss


@dataclass(frozen=True)
class AnswerShares(Shares):
    """Shares of the mean log-likelihood per token of the own answer, which is part of the text.

    Attributes:
        text: Name of the modality of the text; swapping it also swaps the answer.
    """

    text: str = ""

    def metrics(
        self, probe: Probe, outputs: Tensor, groups: Tensor, left_out: Tensor | None = None, *, sync: bool = False
    ) -> list[Metric]:
        """Return the metrics of :meth:`Shares.metrics`, and a metric of the answers' losses.

        Args:
            probe: The examples.
            outputs: ``(G * T, 1)`` mean log-likelihoods of the rows of :meth:`plan`.
            groups: ``(G', g)`` the counted groups: the first ones of the planned groups.
            left_out: None: there are no classes.
            sync: Whether ``compute`` gathers from all processes.
        """
        found = super().metrics(probe, outputs, groups, left_out, sync=sync)
        swapped = {place: name for place, name in enumerate(self.modalities) if name != self.text}
        loss = OwnAnswerLoss(swapped, self.design, sync_on_compute=sync).to(outputs.device)
        loss.update(self._by_group(outputs)[: len(groups)])
        return [*found, loss]
