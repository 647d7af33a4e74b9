"""Explain single examples independently: each process plans, evaluates and explains its share of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.progress import tell_planned
from mviz_lightning.engine.query import Query, join
from mviz_lightning.errors import ConfigurationError, message_of
from mviz_lightning.explainers import Explainer, ProbeContext, Responses, Result

OUTPUT_BYTES = 256 * 2**20
"""Largest size of the outputs in memory at once, in bytes: 256 MiB. A single example may exceed it.

With 3,129 classes, 4 examples of 49 patches and 20 words have 400 MB.
"""

FLOAT_BYTES = 4
"""Bytes of one output in float32."""


@dataclass(frozen=True)
class DealtExamples:
    """Runs an explainer with ``one_by_one``; all processes get the results of all examples.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Evaluates outputs, or features and outputs.
        ranks: The processes that share the examples.
        outputs: Number of outputs of the model, C.
    """

    probe_context: ProbeContext
    evaluator: Evaluator
    ranks: Ranks
    outputs: int

    def run(
        self, explainer: Explainer, examples: Sequence[int], budget: int | None, known: Responses
    ) -> tuple[Result, list[str]]:
        """Explain as many examples as the budget allows, from the first on.

        Args:
            explainer: The method.
            examples: Indices of the examples.
            budget: Largest number of rows; None for no limit.
            known: The part of the responses that needs no model: memory and moment.

        Returns:
            The joined result, and a note for each example that failed and for those that the budget left out.
        """
        with self.ranks.raise_on_all_ranks():
            count = len(examples) if budget is None else self._affordable(explainer, examples, budget)
        kept = torch.tensor(examples[:count], dtype=torch.long)
        mine, padded = self.ranks.share(kept), self.ranks.padded_share(kept)
        with self.ranks.raise_on_all_ranks():
            plans = [self._plan(explainer, example) for example in padded.tolist()]
            rows = [_rows([plan]) for plan in plans]
        blocks = self._blocks([max(found) for found in zip(*self.ranks.gather(rows), strict=True)])
        largest = [max(self.ranks.gather(_rows(plans[block]))) for block in blocks]
        tell_planned(sum(largest), len(rows))
        results, notes = [], []
        for block, at_least in zip(blocks, largest, strict=True):
            with self.ranks.raise_on_all_ranks():
                responses = self._responses(plans[block], at_least, known)
                for example, response in zip(mine[block].tolist(), responses, strict=False):
                    try:
                        results.append(explainer.explain(self.probe_context, [example], response))
                    except RuntimeError as error:
                        notes.append(f"{explainer.name}: {message_of(error)}")
        shares = self.ranks.gather((results, notes))
        notes = [note for _, share in shares for note in share]
        if count < len(examples):
            left_out = f"{len(examples) - count} of {len(examples)} examples were left out"
            notes.append(f"{explainer.name}: {left_out}, since the budget has {budget} more rows")
        with self.ranks.raise_on_all_ranks():
            return explainer.join([result for share, _ in shares for result in share]), notes

    def _plan(self, explainer: Explainer, example: int) -> Sequence[Query]:
        request = explainer.plan(self.probe_context, [example])
        if request.derivatives or request.second_round_rows:
            raise ConfigurationError(
                f"{explainer.name}: an explainer with one_by_one=True requests derivatives or a second round; return "
                "Request(queries) from plan(), or set one_by_one=False."
            )
        return request.queries

    def _affordable(self, explainer: Explainer, examples: Sequence[int], budget: int) -> int:
        """Return how many of the examples, from the first on, a budget of rows allows."""
        plans: list[Sequence[Query]] = []
        for count, example in enumerate(examples):
            plans.append(self._plan(explainer, example))
            if sum(_rows(plans[block]) for block in self._blocks([_rows([plan]) for plan in plans])) > budget:
                return count
        return len(examples)

    def _blocks(self, rows: Sequence[int]) -> list[slice]:
        """Divide the examples into blocks, as slices; the outputs of a block are in memory at once.

        Args:
            rows: Number of rows of each example; the same on all processes.
        """
        most, firsts, held = OUTPUT_BYTES // (FLOAT_BYTES * self.outputs), list[int](), 0
        for place, count in enumerate(rows):
            held += count
            if not firsts or held > most:
                firsts, held = [*firsts, place], count
        return [slice(first, last) for first, last in pairwise([*firsts, len(rows)])]

    def _responses(self, plans: Sequence[Sequence[Query]], at_least: int, known: Responses) -> list[Responses]:
        """Evaluate the rows of some examples at once."""
        if not any(plans):
            return [known for _ in plans]
        found = iter(self.evaluator(self.probe_context.probe, [query for plan in plans for query in plan], at_least))
        return [self._response([next(found) for _ in plan], known) for plan in plans]

    def _response(self, found: Sequence[torch.Tensor], known: Responses) -> Responses:
        split = [rows.tensor_split([rows.shape[1] - self.outputs], 1) for rows in found]
        features = [part for part, _ in split if part.shape[1]]
        return replace(known, outputs=[outputs for _, outputs in split], features=features)


def _rows(plans: Sequence[Sequence[Query]]) -> int:
    """Return the number of distinct rows of some examples."""
    queries = [query for plan in plans for query in plan]
    return len(join(queries)[0]) if queries else 0
