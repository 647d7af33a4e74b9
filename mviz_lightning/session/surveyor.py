"""Ask for the rows of a survey, on all processes together, and have them explained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.engine.checks import usable
from mviz_lightning.engine.derivative import DerivativeRequest, derive
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.features import find_layer, require_layer, with_features
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Derivative, Query, join
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.engine.second_order import curve
from mviz_lightning.errors import ConfigurationError, describe_error, message_of
from mviz_lightning.explainers.base import ProbeContext
from mviz_lightning.explainers.survey import Fallback, Request, Responses, Result, Survey
from mviz_lightning.functional.outputs import levelled

STRAIGHT = "all second derivatives are 0: the network is made of straight pieces (ReLU), or the two never meet"

TRIED = 4
"""Rows on which the last linear layer is looked for."""


@dataclass
class Surveyor:
    """Conducts surveys, again and again.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Asks the model.
        ranks: The processes that share the rows.
        outputs: How many the model has.
        memory: Name of a survey -> what it remembers of its last time.
    """

    probe_context: ProbeContext
    evaluator: Evaluator
    ranks: Ranks
    outputs: int
    memory: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _featured: dict[str, Evaluator] = field(default_factory=dict)

    def conduct(
        self, survey: Survey, examples: Sequence[int], budget: int | None = None, moment: tuple[int, int] = (0, 0)
    ) -> tuple[Result | None, list[str]]:
        """Conduct a survey; all ranks get the same.

        Args:
            survey: Which.
            examples: That it looks at closer.
            budget: Rows at the most.
            moment: Epoch and step of the training.

        Returns:
            What it found, and why it found nothing.
        """
        with self.ranks.raise_on_all_ranks():
            asked = survey.plan(self.probe_context, examples)
            rows = asked_rows(asked)
            evaluator = self._evaluator_of(survey)
        if budget is not None and rows > budget:
            return None, [f"{survey.name} was left out: it takes {rows} rows, and the budget has {budget} more"]
        own = self.memory.get(survey.name, {})
        responses = replace(self._answers(evaluator, asked), memory=own, memories=self.memory, moment=moment)
        result, closer, notes = self._explained(survey, examples, responses)
        if closer:
            more = self._answers(evaluator, Request(closer))
            with self.ranks.raise_on_all_ranks():
                result = survey.refine(self.probe_context, result, more)
        self.memory[survey.name] = result.memory
        return result, notes

    def _explained(
        self, survey: Survey, examples: Sequence[int], responses: Responses
    ) -> tuple[Result, Sequence[Query], list[str]]:
        """Have a survey explain and look closer; where it fails with what is remembered, as if it were the first."""
        try:
            with self.ranks.raise_on_all_ranks():
                result = survey.explain(self.probe_context, examples, responses)
                return result, survey.closer(self.probe_context, result), []
        except Exception as error:  # on all ranks or on none
            if not responses.memories:
                raise
            reason = describe_error(error)
        result, closer, _ = self._explained(survey, examples, replace(responses, memory={}, memories={}))
        # A damaged checkpoint is remembered too.
        return result, closer, [f"{survey.name} left out what was remembered of runs before, and failed on: {reason}"]

    def _answers(self, evaluator: Evaluator, asked: Request) -> Responses:
        found, places = self._evaluate(evaluator, _queries(asked))
        features, outputs = found.tensor_split([found.shape[1] - self.outputs], 1)
        own, tried = places[: len(asked.queries)], iter(places[len(asked.queries) :])
        derivatives: list[Tensor] = []
        instead: dict[int, Fallback] = {}
        for number, derivative in enumerate(asked.derivatives):
            if isinstance(derivative, DerivativeRequest):
                response = self._attempt(evaluator, derivative, outputs[next(tried)], features.shape[1])
            else:
                response = self._derive(evaluator, derivative)
            if isinstance(response, Fallback):
                instead[number], response = response, torch.empty(len(derivative.rows), 0)
            derivatives.append(response)
        given = [features[place] for place in own] if features.shape[1] else []
        return Responses([outputs[place] for place in own], given, derivatives, instead=instead)

    def _attempt(
        self, evaluator: Evaluator, attempt: DerivativeRequest, outputs: Tensor, offset: int
    ) -> Tensor | Fallback:
        """Derive; where that fails, on all processes alike, evaluate what was asked for instead."""
        with self.ranks.raise_on_all_ranks():
            derivative, place = attempt.chosen(outputs, offset)
        try:
            return self._derive(evaluator, derivative)[place]
        except Exception as error:  # on all ranks or on none
            reason = self.ranks.gather(message_of(error))[0]
        found, places = self._evaluate(evaluator, attempt.instead)
        return Fallback(reason, [found[place, -self.outputs :] for place in places])

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
        with self.ranks.raise_on_all_ranks():
            found = self._usable(evaluator(self.probe_context.probe, [distinct[padded]], len(padded))[0])
        return torch.cat(self.ranks.gather(found[:own])), places

    def _usable(self, found: Tensor) -> Tensor:
        """Return ``(R, F + C)`` features and outputs, all finite, on the CPU."""
        features, outputs = found.tensor_split([found.shape[1] - self.outputs], 1)
        return usable(torch.cat([features, levelled(outputs, self.probe_context.task)], 1)).cpu()

    def _derive(self, evaluator: Evaluator, derivative: Derivative) -> Tensor:
        own, padded = self._shared(len(derivative.rows))
        part = replace(derivative, rows=derivative.rows[padded], outputs=derivative.outputs[padded])
        with self.ranks.raise_on_all_ranks():
            found = (curve if part.against else derive)(evaluator, self.probe_context.probe, part)
            found = usable(found, f"the derivatives by {part.modality!r}")
        everything = torch.cat(self.ranks.gather(found[:own]))
        if derivative.against and not everything.any():
            raise RuntimeError(STRAIGHT)
        return everything

    def _shared(self, count: int) -> tuple[int, Tensor]:
        """Return how many rows are this process's, and which it evaluates: all processes equally many."""
        everything = torch.arange(count)
        return len(self.ranks.share(everything)), self.ranks.padded_share(everything)

    @property
    def _few(self) -> Query:
        return Query.aligned(
            torch.arange(min(TRIED, self.probe_context.probe.size)), len(self.probe_context.probe.layout.names)
        )

    def _evaluator_of(self, survey: Survey) -> Evaluator:
        """Return the evaluator that gives what a survey asks for, the same one every time."""
        if not survey.needs_features:
            return self.evaluator
        if survey.name not in self._featured:
            self._featured[survey.name] = self._with_features(survey.layer)
        return self._featured[survey.name]

    def _with_features(self, layer: str | None) -> Evaluator:
        evaluator, probe = self.evaluator, self.probe_context.probe
        if evaluator.all_pairs is not None:
            raise ConfigurationError("a model that scores all pairs has no fused features; leave this explainer out.")
        if layer is None:
            with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
                batch = probe.batch(self._few.sources, {}, evaluator.device)
                layer = find_layer(evaluator.module, evaluator.predict, batch)
        require_layer(evaluator.module, layer)
        # With its own search for what can be reused: the features are outputs too.
        predict = with_features(evaluator.predict, layer)
        found = replace(evaluator, predict=predict, rows=0, _plan=None, _planned=False)
        with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
            plan = found.plan_for(probe)
        # A layer inside of what is replayed would not be called.
        hidden = plan is not None and any(layer.startswith(f"{name}.") for name in plan.modules)
        return replace(found, reuse=found.reuse and not hidden)


def asked_rows(asked: Request) -> int:
    """Return how many rows are evaluated at the most."""
    queries = _queries(asked)
    plain = len(join(queries)[0]) if queries else 0
    return (
        plain
        + asked.closer
        + sum(
            found.most_rows if isinstance(found, DerivativeRequest) else len(found.rows) * found.steps
            for found in asked.derivatives
        )
    )


def _queries(asked: Request) -> list[Query]:
    """Return all that is asked for, and the rows whose outputs choose what is derived."""
    return [*asked.queries, *(found.rows for found in asked.derivatives if isinstance(found, DerivativeRequest))]
