"""Shares of the scores of pairs; the model's score is retrieval of pairs within groups."""

from dataclasses import dataclass

from torch import Tensor
from torchmetrics import Metric

from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.repeats import copy_numbers
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.towers import CHANCE, RETRIEVAL
from mviz_lightning.explainers.contribution_shares.explainer import Shares
from mviz_lightning.functional.retrieval import right_pairs
from mviz_lightning.metrics import GroupRetrieval


@dataclass(frozen=True)
class PairShares(Shares):
    """Shares of the score of a pair, and retrieval from the scores of all pairs of a group."""

    def metrics(
        self, probe: Probe, outputs: Tensor, groups: Tensor, left_out: Tensor | None = None, *, sync: bool = False
    ) -> list[Metric]:
        """Return metrics of the outputs, as :meth:`Shares.metrics`; score, flips and losses refer to retrieval.

        Args:
            probe: The examples.
            outputs: ``(G * g * g, 1)`` scores of all pairs of every group.
            groups: ``(G', g)`` the counted groups: the first ones of the planned groups.
            left_out: None: there are no classes.
            sync: Whether ``compute`` gathers from all processes.
        """
        found = super().metrics(probe, outputs, groups, left_out, sync=sync)
        size = self.group_size
        retrieval = GroupRetrieval(self.modalities, sync_on_compute=sync).to(outputs.device)
        scores = self._by_group(outputs)[: len(groups)].view(len(groups), size, size)
        retrieval.update(scores, self._right(probe, groups).to(outputs.device))
        return [*found, retrieval]

    def _right(self, probe: Probe, groups: Tensor) -> Tensor:
        """Return ``(G', g, g)`` bool: True for pairs of one example, and for pairs with a copy of one of its inputs."""
        return right_pairs(*(copy_numbers(probe, name)[groups] for name in self.modalities))

    def score_reference(self, probe: Probe, outputs: int) -> ScoreReference:
        """Return the accuracy of random answers and of right answers, on the recombined examples."""
        return ScoreReference(self._chance(probe), 1.0)

    def evidence(self, probe: Probe, examples: Tensor, outputs: Tensor) -> dict[str, float]:
        """Return an empty dict: an alarm uses the values, and :meth:`facts`."""
        return {}

    def facts(self, probe: Probe) -> dict[str, float]:
        """Return the evidence that the score is retrieval, and the chance level; see ``RunRecord.evidence``."""
        return {RETRIEVAL: 1.0, CHANCE: self._chance(probe)}

    def _chance(self, probe: Probe) -> float:
        return float(self._right(probe, probe.groups).double().mean())
