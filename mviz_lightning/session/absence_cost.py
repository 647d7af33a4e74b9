"""The cost of absent modalities: the score of complete examples that the model gets without them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.engine.decomposed_calls import called_by
from mviz_lightning.engine.dry_run_checks import usable
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import message_of, warn_user
from mviz_lightning.explainers import Shares
from mviz_lightning.explainers.contribution_shares.patterns import PatternScore, score_without
from mviz_lightning.functional.outputs import levelled
from mviz_lightning.observation.ways import ReplayedStep, scores_by
from mviz_lightning.session.absent_examples import AbsentExamples
from mviz_lightning.session.presence_tally import Pattern, PresenceCounts
from mviz_lightning.session.tried_model import TriedModel

FAILED = (
    "absence=True: the model failed on examples without {absent}, so their score is not reported. {reason}. Let the "
    "model and its step accept such a batch, or leave absence= out"
)
"""Warning about a modality without which the model fails; given once for each modality."""


@dataclass(frozen=True)
class AbsenceScores:
    """Result of one evaluation.

    Attributes:
        values: Name of a value without prefix -> score.
        patterns: The scores by pattern of presence.
        rows: Number of rows evaluated, over all processes.
    """

    values: dict[str, float] = field(default_factory=dict)
    patterns: Sequence[PatternScore] = ()
    rows: int = 0


@dataclass(frozen=True)
class AbsenceCost:
    """Evaluates complete examples without some of their modalities.

    Attributes:
        probe: The fixed examples with their labels.
        absent: The same examples, with replacements for absent modalities.
        counts: Number of examples with each pattern of modalities.
        tried: The model.
        shares: Computes the score.
        ranks: The processes that share the examples.
        warned: Modalities without which the model failed; each is named once.
    """

    probe: Probe
    absent: AbsentExamples
    counts: PresenceCounts
    tried: TriedModel
    shares: Shares
    ranks: Ranks
    warned: set[str] = field(default_factory=set)

    def measure(self, full: float, budget: int | None) -> AbsenceScores:
        """Return scores by pattern; a pattern that the model does not accept has none. All processes get the same.

        Args:
            full: The score with all modalities.
            budget: Largest number of rows; None for no limit.
        """
        names, examples, spent = tuple(self.probe.schema.names), self.probe.groups.flatten(), 0
        found: dict[Pattern, float | None] = {names: full}
        patterns = list(_patterns(names, self.counts))
        for pattern in filter(None, patterns):
            if budget is None or spent + len(examples) <= budget:
                spent += len(examples)
                outputs = self._outputs([name for name in names if name not in pattern], examples)
                found[pattern] = None if outputs is None else self.shares.score_of(self.probe, examples, outputs)
        alone = {name: found.get(tuple(one for one in names if one != name)) for name in names}
        values = {score_without(name): score for name, score in alone.items() if score is not None}
        table = [PatternScore(one, self.counts.patterns.get(one, 0), found.get(one)) for one in (names, *patterns)]
        return AbsenceScores(values, table, spent)

    def _outputs(self, absent: Sequence[str], examples: Tensor) -> Tensor | None:
        """Return ``(n, C)`` outputs of examples ``(n,)`` without modalities; None if the model fails, on all processes.

        The user's own step is tried first: it may call the model in another way if a modality is absent.
        """
        reason = ""
        for replayed in (True, False) if self.tried.observed is not None else (False,):
            try:
                return self._evaluated(absent, examples, replayed=replayed)
            except Exception as error:  # raised on all ranks or on none
                reason = reason or message_of(error)
        if not set(absent) <= self.warned:
            self.warned.update(absent)
            warn_user(FAILED.format(absent=" and ".join(absent), reason=reason))
        return None

    def _evaluated(self, absent: Sequence[str], examples: Tensor, *, replayed: bool) -> Tensor:
        own, padded = self.ranks.share(examples), self.ranks.padded_share(examples)
        with self.ranks.raise_on_all_ranks():
            lacking = self.absent.with_shapes_of(self.probe)
            probe = lacking.lacking(absent)
            evaluator = _replaying(self.tried, probe.schema) if replayed else self.tried.evaluator
            outputs = evaluator.plain(probe, lacking.rows(padded, absent))
            outputs = usable(levelled(outputs, self.shares.task))[: len(own)].cpu()
        return torch.cat(self.ranks.gather(outputs))


def _replaying(tried: TriedModel, schema: BatchSchema) -> Evaluator:
    """Return an evaluator that runs the user's own step, which may act differently if a modality is absent."""
    if tried.observed is None:
        return tried.evaluator
    replayed = ReplayedStep.of(tried.observed.head, schema, tried.observed.step)
    return called_by(tried.evaluator, scores_by(lambda module, batch: replayed(module, batch)[0]))


def _patterns(names: Sequence[str], counts: PresenceCounts) -> Iterator[Pattern]:
    """Yield each single absence, then all other patterns of the data, the most frequent first."""
    single = [tuple(one for one in names if one != name) for name in names]
    seen = sorted(counts.patterns, key=lambda pattern: (-counts.patterns[pattern], pattern))
    yield from dict.fromkeys(pattern for pattern in [*single, *seen] if pattern != tuple(names))
