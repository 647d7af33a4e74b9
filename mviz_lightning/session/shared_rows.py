"""Evaluate a request on all processes together: each evaluates its share of the rows, all get all responses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mviz_lightning.engine.derivative import DerivativeRequest, derive
from mviz_lightning.engine.dry_run_checks import usable
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.output_dependence import cut_off_modalities
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.progress import tell_planned
from mviz_lightning.engine.query import Derivative, Query, join
from mviz_lightning.engine.second_order import second_derivatives
from mviz_lightning.errors import message_of
from mviz_lightning.errors.arguments import enumerated
from mviz_lightning.explainers import Fallback, ProbeContext, Request, Responses
from mviz_lightning.functional.outputs import levelled

STRAIGHT = (
    "all second derivatives are 0: the network is piecewise linear (ReLU), or no operation combines the two modalities"
)
"""Reason why second derivatives show nothing, for pictures and tables."""


@dataclass(frozen=True)
class SharedRows:
    """Evaluates requests; all processes get the same responses.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Evaluates outputs, or features and outputs.
        ranks: The processes that share the rows.
        outputs: Number of outputs of the model, C.
    """

    probe_context: ProbeContext
    evaluator: Evaluator
    ranks: Ranks
    outputs: int

    def responses(self, request: Request) -> Responses:
        """Return the model's responses.

        Raises:
            RuntimeError: Outputs are not finite, or the model failed; on all processes alike.
        """
        found, places = self._evaluate(queries_of(request))
        features, outputs = self._split(found)
        own, tried = places[: len(request.queries)], iter(places[len(request.queries) :])
        derivatives: list[Tensor] = []
        instead: dict[int, Fallback] = {}
        for number, derivative in enumerate(request.derivatives):
            if isinstance(derivative, DerivativeRequest):
                response = self._attempt(derivative, outputs[next(tried)], features.shape[1])
            else:
                response = self._derive(derivative)
            if isinstance(response, Fallback):
                instead[number], response = response, torch.empty(len(derivative.rows), 0)
            derivatives.append(response)
        given = [features[place] for place in own] if features.shape[1] else []
        return Responses([outputs[place] for place in own], given, derivatives, instead=instead)

    def _attempt(self, attempt: DerivativeRequest, outputs: Tensor, offset: int) -> Tensor | Fallback:
        """Derive; if that fails (on all processes alike), evaluate the queries of the fallback."""
        with self.ranks.raise_on_all_ranks():
            derivative, place = attempt.chosen(outputs, offset)
        try:
            return self._derive(derivative)[place]
        except Exception as error:  # raised on all ranks or on none
            reason = self.ranks.gather(self._independence(derivative) or message_of(error))[0]
        found, places = self._evaluate(attempt.instead)
        return Fallback(reason, [found[place, -self.outputs :] for place in places])

    def _independence(self, derivative: Derivative) -> str:
        """Return a text if outputs do not depend on the derived modality; ``""`` if they may, or nothing shows it."""
        unread = cut_off_modalities(self.evaluator, self.probe_context.probe)
        names = [name for name in (derivative.modality, derivative.against) if name in unread]
        return f"{self.probe_context.called} does not depend on {enumerated(names)}" if names else ""

    def _evaluate(self, queries: Sequence[Query]) -> tuple[Tensor, list[Tensor]]:
        """Return ``(R, F + C)`` of the distinct rows, and for each query the numbers of its rows among them."""
        if not queries:
            return torch.empty(0, self.outputs), []
        distinct, places = join(queries)
        own, padded = self._shared(len(distinct))
        tell_planned(len(padded))
        with self.ranks.raise_on_all_ranks():
            found = self._usable(self.evaluator(self.probe_context.probe, [distinct[padded]], len(padded))[0])
        return torch.cat(self.ranks.gather(found[:own])), places

    def _usable(self, found: Tensor) -> Tensor:
        """Return ``(R, F + C)`` features and outputs, all finite, on the CPU."""
        features, outputs = self._split(found)
        return usable(torch.cat([features, levelled(outputs, self.probe_context.task)], 1)).cpu()

    def _split(self, found: Tensor) -> Sequence[Tensor]:
        """Return ``(R, F)`` features and ``(R, C)`` outputs."""
        return found.tensor_split([found.shape[1] - self.outputs], 1)

    def _derive(self, derivative: Derivative) -> Tensor:
        own, padded = self._shared(len(derivative.rows))
        part = replace(derivative, rows=derivative.rows[padded], outputs=derivative.outputs[padded])
        with self.ranks.raise_on_all_ranks():
            found = (second_derivatives if part.against else derive)(self.evaluator, self.probe_context.probe, part)
            found = usable(found, f"the derivatives by {part.modality!r}")
        everything = torch.cat(self.ranks.gather(found[:own]))
        if derivative.against and not everything.any():
            raise RuntimeError(STRAIGHT)
        return everything

    def _shared(self, count: int) -> tuple[int, Tensor]:
        """Return how many rows belong to this process, and those that it evaluates: equally many on all processes."""
        everything = torch.arange(count)
        return len(self.ranks.share(everything)), self.ranks.padded_share(everything)


def requested_rows(request: Request) -> int:
    """Return the largest number of rows that a request evaluates, its second round included."""
    queries = queries_of(request)
    plain = len(join(queries)[0]) if queries else 0
    derived = (
        found.most_rows if isinstance(found, DerivativeRequest) else len(found.rows) * found.steps
        for found in request.derivatives
    )
    return plain + request.second_round_rows + sum(derived)


def queries_of(request: Request) -> list[Query]:
    """Return all queries, and the rows whose outputs choose what is derived."""
    attempts = (found.rows for found in request.derivatives if isinstance(found, DerivativeRequest))
    return [*request.queries, *attempts]
