"""Ask for the rows of a survey, on all processes together, and have them explained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.checks import usable
from mviz_lightning.evaluation.derivative import derive
from mviz_lightning.evaluation.evaluator import Evaluator
from mviz_lightning.evaluation.features import find_layer, require_layer, with_features
from mviz_lightning.evaluation.isolation import isolated
from mviz_lightning.evaluation.query import Derivative, Query, join
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.survey import Answers, Asked, Finding, Survey
from mviz_lightning.ranks import Ranks

TRIED = 4
"""Rows on which the last linear layer is looked for."""


@dataclass
class Surveyor:
    """Conducts surveys, again and again.

    Attributes:
        subject: The fixed examples and how their outputs are read.
        evaluator: Asks the model.
        ranks: The processes that share the rows.
        outputs: How many the model has.
        memory: Name of a survey -> what it remembers of its last time.
    """

    subject: Subject
    evaluator: Evaluator
    ranks: Ranks
    outputs: int
    memory: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _featured: dict[str, Evaluator] = field(default_factory=dict)

    def conduct(
        self, survey: Survey, examples: Sequence[int], budget: int | None = None
    ) -> tuple[Finding | None, list[str]]:
        """Conduct a survey; all ranks get the same.

        Args:
            survey: Which.
            examples: That it looks at closer.
            budget: Rows at the most.

        Returns:
            What it found, and why it found nothing.
        """
        with self.ranks.heard_by_all():
            asked = survey.plan(self.subject, examples)
            rows = asked_rows(asked)
            evaluator = self._evaluator_of(survey)
        if budget is not None and rows > budget:
            return None, [f"{survey.name} was left out: it takes {rows} rows, and the budget has {budget} more"]
        found, places = self._evaluate(evaluator, asked.queries)
        derivatives = [self._derive(evaluator, derivative) for derivative in asked.derivatives]
        with self.ranks.heard_by_all():
            features, outputs = found.tensor_split([found.shape[1] - self.outputs], 1)
            answers = Answers(
                [outputs[place] for place in places],
                [features[place] for place in places] if survey.features else [],
                derivatives,
                self.memory.get(survey.name, {}),
            )
            finding = survey.explain(self.subject, examples, answers)
        self.memory[survey.name] = finding.memory
        return finding, []

    @property
    def rows(self) -> int:
        """Rows that evaluators of features have evaluated."""
        return sum(evaluator.rows for evaluator in self._featured.values())

    def _evaluate(self, evaluator: Evaluator, queries: Sequence[Query]) -> tuple[Tensor, list[Tensor]]:
        """Share the distinct rows among all processes; all get the outputs of all, and where each query's stand."""
        if not queries:
            return torch.empty(0, self.outputs), []
        distinct, places = join(queries)
        own, padded = self._shared(len(distinct))
        with self.ranks.heard_by_all():
            found = usable(evaluator(self.subject.probe, [distinct[padded]], len(padded))[0]).cpu()
        return torch.cat(self.ranks.gather(found[:own])), places

    def _derive(self, evaluator: Evaluator, derivative: Derivative) -> Tensor:
        own, padded = self._shared(len(derivative.rows))
        part = replace(derivative, rows=derivative.rows[padded], outputs=derivative.outputs[padded])
        with self.ranks.heard_by_all():
            found = usable(derive(evaluator, self.subject.probe, part))
        return torch.cat(self.ranks.gather(found[:own]))

    def _shared(self, count: int) -> tuple[int, Tensor]:
        """Return how many rows are this process's, and which it evaluates: all processes equally many."""
        everything = torch.arange(count)
        return len(self.ranks.share(everything)), self.ranks.padded_share(everything)

    @property
    def _few(self) -> Query:
        return Query.aligned(torch.arange(min(TRIED, self.subject.probe.size)), len(self.subject.probe.layout.names))

    def _evaluator_of(self, survey: Survey) -> Evaluator:
        """Return the evaluator that gives what a survey asks for, the same one every time."""
        if not survey.features:
            return self.evaluator
        if survey.name not in self._featured:
            self._featured[survey.name] = self._with_features(survey.layer)
        return self._featured[survey.name]

    def _with_features(self, layer: str | None) -> Evaluator:
        evaluator, probe = self.evaluator, self.subject.probe
        if evaluator.all_pairs is not None:
            raise ConfigurationError("a model that scores all pairs has no fused features; leave this explainer out.")
        if layer is None:
            with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
                batch = probe.batch(self._few.sources, {}, evaluator.device)
                layer = find_layer(evaluator.module, evaluator.predict, batch)
        require_layer(evaluator.module, layer)
        # With its own search for what can be reused: the features are outputs too.
        return replace(evaluator, predict=with_features(evaluator.predict, layer), rows=0, _plan=None, _planned=False)


def asked_rows(asked: Asked) -> int:
    """Return how many rows are evaluated."""
    plain = len(join(asked.queries)[0]) if asked.queries else 0
    return plain + sum(len(derivative.rows) * derivative.steps for derivative in asked.derivatives)
