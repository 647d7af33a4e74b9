"""Explain single examples, the same ones run after run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query, join
from mviz_lightning.engine.ranks import Ranks
from mviz_lightning.errors import message_of
from mviz_lightning.explainers import Explainer, Explanation, Method, ProbeContext
from mviz_lightning.explainers.outcome import spread


@dataclass(frozen=True)
class SelectedExamples:
    """Which examples were chosen for what was asked.

    Attributes:
        positions: In the data set.
        pin: As it was asked.
        num_examples: As it was asked.
    """

    positions: list[int]
    pin: list[int]
    num_examples: int


@dataclass
class ExampleSelection:
    """Chooses an explainer's examples once, asks for their rows, and has the outputs explained.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Asks the model.
        ranks: The processes that share the examples.
        pin: Positions in the data set of examples that are explained in any case.
        chosen: Name of an explainer -> its examples.
    """

    probe_context: ProbeContext
    evaluator: Evaluator
    ranks: Ranks
    pin: Sequence[int] = ()
    chosen: dict[str, SelectedExamples] = field(default_factory=dict)

    def explain(
        self, explainer: Explainer, own: Tensor | None, budget: int | None = None
    ) -> tuple[list[Explanation], list[str]]:
        """Explain; all ranks get the same.

        Args:
            explainer: The method.
            own: ``(K, C)`` outputs of this process's share of the groups' examples, of which some are chosen.
            budget: Rows at the most; the examples that were chosen last are left out beyond it.

        Returns:
            Explanations in the order of the choice, and what went wrong with single examples.
        """
        chosen = self.examples(explainer, own)
        with self.ranks.raise_on_all_ranks():
            count = len(chosen) if budget is None else self._affordable(explainer, chosen, budget)
        examples = torch.tensor(chosen[:count], dtype=torch.long)
        mine, padded = self.ranks.share(examples), self.ranks.padded_share(examples)
        with self.ranks.raise_on_all_ranks():
            plans = [explainer.plan(self.probe_context, int(example)) for example in padded]
            rows = len(join([query for plan in plans for query in plan])[0]) if plans else 0
        at_least = max(self.ranks.gather(rows))
        with self.ranks.raise_on_all_ranks():
            responses = self._answers(plans, at_least)
            found = [self._explained(explainer, int(i), response) for i, response in zip(mine, responses, strict=False)]
        everything = [result for results in self.ranks.gather(found) for result in results]
        explanations = [result for result in everything if isinstance(result, Explanation)]
        notes = [result for result in everything if isinstance(result, str)]
        if count < len(chosen):
            left_out = f"{len(chosen) - count} of {len(chosen)} examples were left out"
            notes.append(f"{explainer.name}: {left_out}, since the budget has {budget} more rows")
        return explanations, notes

    def _affordable(self, explainer: Explainer, examples: Sequence[int], budget: int) -> int:
        """Return how many of the examples, from the first on, a budget of rows allows."""
        queries: list[Query] = []
        for count, example in enumerate(examples):
            queries += explainer.plan(self.probe_context, example)
            if len(join(queries)[0]) > budget:
                return count
        return len(examples)

    def examples(self, explainer: Method, own: Tensor | None) -> list[int]:
        """Return the examples that were chosen once, as long as the same is asked for."""
        places = {position: example for example, position in enumerate(self.probe_context.positions)}
        known, pin = self.chosen.get(explainer.name), list(self.pin)
        asked = known is not None and (known.pin, known.num_examples) == (pin, explainer.num_examples)
        if known is None or not asked or not set(known.positions) <= places.keys():
            positions = [self.probe_context.positions[example] for example in self._choose(explainer, own)]
            known = self.chosen[explainer.name] = SelectedExamples(positions, pin, explainer.num_examples)
        return [places[position] for position in known.positions]

    def _answers(self, plans: Sequence[Sequence[Query]], at_least: int) -> list[list[Tensor]]:
        """Evaluate the rows of all examples at once."""
        if not plans:
            return []
        outputs = iter(self.evaluator(self.probe_context.probe, [query for plan in plans for query in plan], at_least))
        return [[next(outputs) for _ in plan] for plan in plans]

    def _explained(self, explainer: Explainer, example: int, responses: Sequence[Tensor]) -> Explanation | str:
        """Return an explanation; of an example that cannot be explained, the reason."""
        try:
            return explainer.explain(self.probe_context, example, responses)
        except RuntimeError as error:
            return f"{explainer.name}: {message_of(error)}"

    def _choose(self, explainer: Method, own: Tensor | None) -> list[int]:
        """Take the pinned examples, then those of all classes in turn, mistakes first."""
        positions = {position: example for example, position in enumerate(self.probe_context.positions)}
        pinned = [positions[position] for position in dict.fromkeys(self.pin) if position in positions]
        outputs = torch.cat(
            [part for part in self.ranks.gather(None if own is None else own.cpu()) if part is not None]
        )
        examples, target = self.probe_context.probe.groups.flatten(), self.probe_context.target
        labels = None if target is None else target[examples]
        spreading = spread(outputs, labels, examples, self.probe_context.task, len(examples))
        others = [example for example in spreading if example not in pinned]
        return pinned + others[: max(0, explainer.num_examples - len(pinned))]
