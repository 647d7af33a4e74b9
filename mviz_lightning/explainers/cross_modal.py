"""Cross-modal interactions, the second stage of MultiViz (Liang et al. 2023): which units act together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor

from mviz_lightning.batch import Units
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.derivative import Attempt
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.arguments import require_least, require_outputs
from mviz_lightning.explainers.asking import STRINGS
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.explanation import Explanation
from mviz_lightning.explainers.interplay import CrossModalFinding, ExampleInterplay, Interplay, OutputInterplay
from mviz_lightning.explainers.outcome import Outcome, outcome
from mviz_lightning.explainers.survey import Answers, Asked, Survey
from mviz_lightning.functional import largest
from mviz_lightning.functional.interactions import mixed_differences, pair_masks
from mviz_lightning.functional.surrogate import rounding

How = Literal["difference", "second_order"]


@dataclass(frozen=True)
class _Pair:
    """Two modalities whose units may act together."""

    subject: Subject
    first: str
    second: str

    @property
    def derivable(self) -> bool:
        return all(isinstance(self.subject.probe.units[name], Units) for name in (self.first, self.second))

    def counts(self, example: int) -> tuple[int, int]:
        """Return how many units an example has of each."""
        units = self.subject.probe.units
        return units[self.first].count(example), units[self.second].count(example)

    def masked(self, example: int) -> Query:
        """Ask for the example with none or one unit of each masked."""
        kept = dict(zip((self.first, self.second), pair_masks(*self.counts(example)), strict=True))
        rows = torch.full((len(kept[self.first]),), example)
        return Query(Query.aligned(rows, len(self.subject.probe.layout.names)).sources, kept)


@dataclass(frozen=True, kw_only=True)
class CrossModalInteraction(Survey):
    """Which units of two modalities act together on a logit of an example: a word and the patches it is about.

    For units u of one modality and v of another, all else as it is:

    - ``"difference"``: ``f(x) - f(x without u) - f(x without v) + f(x without both)``; works for every model.
    - ``"second_order"``: the second derivative by how much is there of u and of v, ``(x_u - baseline) H (x_v -
      baseline)`` (MultiViz, section 3.2, with the sign of the output's change instead of that of u's importance, so
      that it is the same from both sides). It looks at next to no change of the inputs. Networks of straight pieces
      (ReLU) have none; then, and where a modality cannot be derived, the difference is taken instead, and said.

    On a bilinear model the two are the same. In scenes with a question, the strongest patch of a word lies on the
    object that it is about more often by the difference (``tests/benchmarks/pointing.py``).

    Rows it asks for, for each example and pair of modalities with U and V units: ``(1 + U) * (1 + V)``, with U + V
    encodings where they are reused; by second derivatives about ``min(U, V)`` for each output.

    It logs ``total/<a>+<b>``, the sum of absolute weights over all pairs of units, averaged over the examples.

    Args:
        num_examples: Examples that are drawn, the same through the training; 0 for those alone that are pinned.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        method: One of the above.
        units: Modality -> names or numbers (from 0) of units whose maps are drawn, ``{"text": ["red"]}``; by default
            those that act together most.
        top_units: How many those are.
        outputs: Indices of the outputs to explain, the first of which counts for the totals; the predicted class by
            default, the strongest label, or the first value.
        name: Of its scalars and pictures.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    method: How = "difference"
    units: Mapping[str, Sequence[int | str]] | None = None
    top_units: int = 2
    outputs: Sequence[int] | None = None
    name: str = "cross_modal"

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1, "top_units": 1})
        if self.method not in get_args(How):
            raise ConfigurationError(
                f"CrossModalInteraction(method={self.method!r}): say one of {', '.join(get_args(How))}."
            )
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "CrossModalInteraction(outputs=[]): name outputs, or leave it out to explain what was predicted."
            )

        strings = [name for name, units in (self.units or {}).items() if isinstance(units, str)]
        if strings:
            name = strings[0]
            raise ConfigurationError(
                f"CrossModalInteraction(units={dict(self.units or {})}): give a list of names or numbers, "
                f"{{{name!r}: [{(self.units or {})[name]!r}]}}."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, subject: Subject, examples: Sequence[int]) -> Asked:
        """Ask for the examples as they are, then for masks or second derivatives of every pair of modalities."""
        if not examples:
            return Asked()
        queries, attempts = [self._aligned(subject, examples)], []
        for pair in self._pairs(subject):
            masked = [pair.masked(example) for example in examples]
            if self._derives(pair):
                attempts.append(self._attempt(pair, examples, masked))
            else:
                queries += masked
        return Asked(queries, attempts)

    def explain(self, subject: Subject, examples: Sequence[int], answers: Answers) -> CrossModalFinding:
        """Bring the answers into matrices of units."""
        if not examples:
            return CrossModalFinding()
        whole = [row.double() for row in answers.outputs[0]]
        found = dict(zip(examples, whole, strict=True))
        precision, answered = rounding(answers.outputs[0].dtype), self._answered(subject, examples, answers)
        evidence = [self._evidence(pair, found, precision, *answer) for pair, answer in answered]
        drawn = [self._of_example(subject, example, found[example], evidence) for example in examples]
        return CrossModalFinding(
            values=_totals(drawn), examples=drawn, units=self.units or {}, top_units=self.top_units
        )

    def _pairs(self, subject: Subject) -> list[_Pair]:
        """Return all pairs of modalities.

        Raises:
            ConfigurationError: A modality that ``units`` names is none of them.
        """
        unknown = sorted(set(self.units or ()) - set(subject.probe.units))
        if unknown:
            raise ConfigurationError(
                f"CrossModalInteraction(units=...): there is no modality {unknown[0]!r}; name one of "
                f"{', '.join(subject.probe.units)}."
            )
        return [_Pair(subject, *names) for names in combinations(subject.probe.units, 2)]

    def _derives(self, pair: _Pair) -> bool:
        return self.method == "second_order" and pair.derivable

    @staticmethod
    def _aligned(subject: Subject, examples: Sequence[int]) -> Query:
        return Query.aligned(torch.tensor(examples, dtype=torch.long), len(subject.probe.layout.names))

    def _attempt(self, pair: _Pair, examples: Sequence[int], instead: Sequence[Query]) -> Attempt:
        """Ask for the second derivatives of every output of every example."""
        count = len(set(self.outputs or (0,)))
        rows = [example for example in examples for _ in range(count)]

        def choose(outputs: Tensor) -> Tensor:
            chosen = [
                list(self._outcome(pair.subject, example, row).roles)[k % count]
                for k, (example, row) in enumerate(zip(rows, outputs, strict=True))
            ]
            return torch.tensor(chosen, dtype=torch.long)

        steps = max((min(pair.counts(example)) for example in examples), default=1)
        return Attempt(
            rows=self._aligned(pair.subject, rows),
            modality=pair.first,
            against=pair.second,
            steps=max(1, steps),
            choose=choose,
            instead=instead,
        )

    def _outcome(self, subject: Subject, example: int, outputs: Tensor) -> Outcome:
        """Read an example's outputs, ``(C,)``; its roles are the outputs that are explained."""
        found = outcome(outputs, subject.label(example), subject.task)
        if self.outputs is not None:
            return replace(found, roles=dict.fromkeys(self.outputs, "output"))
        return replace(found, roles=dict([list(found.roles.items())[-1]]))  # the predicted one is the last

    def _answered(
        self, subject: Subject, examples: Sequence[int], answers: Answers
    ) -> Iterator[tuple[_Pair, tuple[Sequence[Tensor], Tensor | None, str]]]:
        """Yield for every pair its masks' outputs or its second derivatives, in the order they were asked for."""
        masked, attempts = iter(answers.outputs[1:]), iter(enumerate(answers.derivatives))
        for pair in self._pairs(subject):
            if not self._derives(pair):
                reason = STRINGS if self.method == "second_order" else ""
                yield pair, ([next(masked) for _ in examples], None, reason)
                continue
            place, derived = next(attempts)
            failed = answers.instead.get(place)
            yield pair, ((), derived, "") if failed is None else (failed.outputs, None, failed.reason)

    def _evidence(
        self,
        pair: _Pair,
        whole: Mapping[int, Tensor],
        precision: float,
        masked: Sequence[Tensor],
        derived: Tensor | None,
        reason: str,
    ) -> dict[tuple[int, int], Interplay]:
        """Return example and output -> what the units of a pair add to it."""
        found = {}
        given = iter(()) if derived is None else iter(derived.double())
        for k, (example, outputs) in enumerate(whole.items()):
            counts = pair.counts(example)
            roles = list(self._outcome(pair.subject, example, outputs).roles)
            if derived is None:
                matrices = mixed_differences(masked[k][:, roles], *counts).unbind(-1)
            else:
                matrices = tuple(next(given)[: counts[0], : counts[1]] for _ in roles)
            method = "difference" if derived is None else self.method
            floor = 0.0 if method == "second_order" else precision * largest(outputs, pair.subject.task)
            for output, matrix in zip(roles, matrices, strict=True):
                found[example, output] = Interplay(pair.first, pair.second, matrix, method, reason, floor)
        return found

    def _of_example(
        self,
        subject: Subject,
        example: int,
        outputs: Tensor,
        evidence: Sequence[Mapping[tuple[int, int], Interplay]],
    ) -> ExampleInterplay:
        said = self._outcome(subject, example, outputs)
        about = Explanation(example, subject.positions[example], said.predicted, said.target, said.probability, [])
        explained = [
            OutputInterplay(output, role, float(outputs[output]), [found[example, output] for found in evidence])
            for output, role in said.roles.items()
        ]
        return ExampleInterplay(about, explained)


def _totals(examples: Sequence[ExampleInterplay]) -> dict[str, float]:
    """Return how much the units of each pair add together, for the first output, averaged over examples.

    Rounding of thousands of pairs of units would add up.
    """
    sums: dict[str, list[float]] = {}
    for found in examples:
        for pair in found.outputs[0].pairs:
            total = float(pair.weights.abs().sum()) if pair.has_effect else 0.0
            sums.setdefault(f"total/{pair.first}+{pair.second}", []).append(total)
    return {name: sum(values) / len(values) for name, values in sums.items()}
