"""Unimodal importance, the first stage of MultiViz (Liang et al. 2023): which units of each modality matter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.entrance import OTHERWISE
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.arguments import require_least, require_outputs
from mviz_lightning.explainers.asking import STRINGS, Asking, Outputs, Weights
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.explanation import Explanation
from mviz_lightning.explainers.outcome import Outcome, outcome
from mviz_lightning.explainers.survey import Answers, Asked, Survey
from mviz_lightning.explainers.unit_weights import ExampleImportance, ImportanceFinding, OutputImportance, Part
from mviz_lightning.functional import largest
from mviz_lightning.functional.surrogate import rounding

NUM_TOTALS = {"gradient": 64, "integrated_gradients": 32, "occlusion": 16, "lime": 8, "shap": 8}
"""Method -> examples of which totals are the mean, by default: the dearer an example, the fewer."""

LAST = -1
"""Of an example's roles: the predicted class."""


@dataclass(frozen=True)
class _Evidence:
    """What is known of one modality, and how."""

    asking: Asking
    weights: Weights
    without: Outputs
    rounding: float

    def part(self, example: int, output: int, outputs: Tensor) -> Part:
        """Return what the units add to one of an example's ``(C,)`` outputs."""
        change = float(outputs[output] - self.without[example][output])
        found, floor = self.weights[example, output], self.rounding * largest(outputs, self.asking.subject.task)
        r2 = None if found.r2 is None else float(found.r2)
        return Part(found.weights, change, self.asking.method, self.asking.reason, r2, floor)


@dataclass(frozen=True, kw_only=True)
class UnimodalImportance(Survey):
    """Which units of each modality matter for one logit of an example, and how much each modality matters on the whole.

    All methods explain ``f(x) - f(x with all units of the modality masked)``, the other modalities as they are:

    - ``"integrated_gradients"``: derivatives on the straight way between the two (Sundararajan et al. 2017); they add
      up to it but for the steps' error. Of tokens that an attention mask hides the way leads to embeddings of 0, the
      mask as it is: where that is something else (transformers), ``gap/<m>`` says so; take Shapley values there.
    - ``"gradient"``: the derivative at x times the way; exact for what is linear.
    - ``"occlusion"``: what is lost where a unit is masked alone; nothing where two units say the same.
    - ``"lime"``: the weights of a linear surrogate on random masks (Ribeiro et al. 2016), as in DIME.
    - ``"shap"``: Shapley values (Lundberg and Lee 2017), exact where all masks are evaluated; they always add up.

    In images, the parts that methods with masks name change the output more when they go, Shapley values most
    (``tests/benchmarks/faithfulness.py``); they ask for more rows.

    Rows it asks for, of E examples with K outputs each and T for totals: gradient methods ``steps * (E K + T)`` for
    each modality, the others one for each mask and example: U, ``max(64, 4 U)``, ``max(128, 16 U)``. A modality that
    cannot be derived (texts as strings, tokens without an embedding layer, a detached encoder) is occluded instead.

    It logs for each modality ``total/<m>``, the sum over units of absolute weights for the predicted class, averaged
    over examples; ``share/<m>``, its part of all totals; and ``gap/<m>``, how far weights are from adding up.

    Args:
        num_examples: Examples that are drawn, the same through the training.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        method: One of the above.
        steps: Points on the way, for integrated gradients.
        samples: Masks for each example and modality, for LIME and Shapley values.
        outputs: Indices of the outputs to explain, the first of which counts for the totals; by default the true and
            the predicted class, the strongest label and the strongest true one, or the first value.
        name: Of its scalars and pictures.
        num_totals: Examples of which totals are the mean: 64 for the gradient, 32 for integrated gradients, 16 for
            occlusion and 8 for LIME and Shapley values by default; 0 for no totals.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    method: Literal["gradient", "integrated_gradients", "occlusion", "lime", "shap"] = "integrated_gradients"
    steps: int = 16
    samples: int | None = None
    outputs: Sequence[int] | None = None
    name: str = "importance"
    num_totals: int | None = None

    def __post_init__(self) -> None:
        least = {"num_examples": 0, "every_n_validations": 1, "steps": 1, "samples": 2, "num_totals": 0}
        require_least(self, least)
        if self.method not in NUM_TOTALS:
            raise ConfigurationError(f"UnimodalImportance(method={self.method!r}): say one of {', '.join(NUM_TOTALS)}.")
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "UnimodalImportance(outputs=[]): name outputs, or leave it out to explain what was predicted."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, subject: Subject, examples: Sequence[int]) -> Asked:
        """Ask for the examples as they are and without each modality, then for derivatives or for masks."""
        askings = self._askings(subject, examples)
        whole = self._whole(subject, askings)
        if not len(whole):
            return Asked()
        queries, attempts = [whole, *(asking.without(whole) for asking in askings)], []
        for asking in askings:
            if asking.derives:
                attempts.append(asking.attempt(self._occluding(asking, examples).masked()))
            else:
                queries += asking.masked()
        return Asked(queries, attempts)

    def explain(self, subject: Subject, examples: Sequence[int], answers: Answers) -> ImportanceFinding:
        """Bring all answers to units, and sum them up."""
        askings = self._askings(subject, examples)
        everyone = self._whole(subject, askings).sources[:, 0].tolist()
        if not everyone:
            return ImportanceFinding()
        whole, *rest = (
            dict(zip(everyone, answer.double(), strict=True)) for answer in answers.outputs[: 1 + len(askings)]
        )
        evidence = dict(self._evidence(askings, examples, whole, rest, answers))
        found = [self._of_example(subject, example, whole[example], evidence) for example in examples]
        return ImportanceFinding(values=self._values(subject, whole, evidence), examples=found)

    def _askings(self, subject: Subject, examples: Sequence[int]) -> list[Asking]:
        """Return what is asked of every modality."""

        def roles(example: int, outputs: Tensor) -> list[int]:
            return list(self._outcome(subject, example, outputs).roles)

        askings = []
        for name in subject.probe.units:
            cases = self._cases(subject, examples, self.method)
            asking = Asking(subject, name, self.method, cases, roles, self.steps, self.samples)
            strings = asking.derives and not asking.has_entries
            askings.append(self._occluding(asking, examples, STRINGS) if strings else asking)
        return askings

    def _occluding(self, asking: Asking, examples: Sequence[int], reason: str = "") -> Asking:
        return asking.occluding(reason, self._cases(asking.subject, examples, "occlusion"))

    def _totals(self, subject: Subject, method: str) -> list[int]:
        """Return the examples that totals are the mean of: from all groups in turn, which are alike."""
        count = NUM_TOTALS[method] if self.num_totals is None else self.num_totals
        found: list[int] = subject.probe.groups.T.flatten()[:count].tolist()
        return found

    @property
    def _counted(self) -> int:
        """Place of the role that counts for totals."""
        return LAST if self.outputs is None else 0

    def _cases(self, subject: Subject, examples: Sequence[int], method: str) -> list[tuple[int, int]]:
        """Return examples with one of their roles each: for totals one, of those to look at closer all."""
        two = subject.task in ("multiclass", "multilabel")
        roles = range(1 + two if self.outputs is None else len(self.outputs))
        totals = [(example, self._counted) for example in self._totals(subject, method)]
        return [*totals, *((example, role) for example in examples for role in roles)]

    def _whole(self, subject: Subject, askings: Sequence[Asking]) -> Query:
        """Ask for everyone as they are."""
        everyone = list(dict.fromkeys(example for asking in askings for example in asking.examples))
        return Query.aligned(torch.tensor(everyone, dtype=torch.long), len(subject.probe.layout.names))

    def _outcome(self, subject: Subject, example: int, outputs: Tensor) -> Outcome:
        """Read an example's outputs, ``(C,)``; its roles are the outputs that are explained."""
        found = outcome(outputs, subject.label(example), subject.task)
        return found if self.outputs is None else replace(found, roles=dict.fromkeys(self.outputs, "output"))

    def _evidence(
        self,
        askings: Sequence[Asking],
        examples: Sequence[int],
        whole: Outputs,
        rest: Sequence[Outputs],
        answers: Answers,
    ) -> Iterator[tuple[str, _Evidence]]:
        """Read the answers in the order in which they were asked for."""
        masked, attempts = iter(answers.outputs[1 + len(askings) :]), iter(enumerate(answers.derivatives))
        for asking, without in zip(askings, rest, strict=True):
            place, entries = next(attempts) if asking.derives else (LAST, None)
            failed = answers.instead.get(place)
            used = asking if failed is None else self._occluding(asking, examples, _told(failed.reason))
            if entries is not None and failed is None:
                weights = used.of_entries(entries, whole)
            else:
                given = failed.outputs if failed else [next(masked) for _ in used.examples]
                weights = used.of_masks(given, whole, without)
            yield used.name, _Evidence(used, weights, without, rounding(answers.outputs[0].dtype))

    def _of_example(
        self, subject: Subject, example: int, outputs: Tensor, evidence: Mapping[str, _Evidence]
    ) -> ExampleImportance:
        found = self._outcome(subject, example, outputs)
        about = Explanation(example, subject.positions[example], found.predicted, found.target, found.probability, [])
        explained = []
        for output, role in found.roles.items():
            parts = {name: known.part(example, output, outputs) for name, known in evidence.items()}
            explained.append(OutputImportance(output, role, float(outputs[output]), parts))
        return ExampleImportance(about, explained)

    def _values(self, subject: Subject, whole: Outputs, evidence: Mapping[str, _Evidence]) -> dict[str, float]:
        """Return totals, shares and gaps; nothing without examples for them."""
        totals, gaps = {}, {}
        for name, known in evidence.items():
            parts = []
            for example in self._totals(subject, known.asking.method):
                output = list(self._outcome(subject, example, whole[example]).roles)[self._counted]
                parts.append(known.part(example, output, whole[example]))
            if parts:
                totals[name] = sum(float(part.weights.abs().sum()) for part in parts if part.has_effect) / len(parts)
                gaps[f"gap/{name}"] = sum(part.gap for part in parts) / len(parts)
        everything = sum(totals.values())
        shares = {f"share/{name}": total / everything if everything else 0.0 for name, total in totals.items()}
        return {f"total/{name}": total for name, total in totals.items()} | shares | gaps


def _told(error: str) -> str:
    """Return why nothing could be derived, without the advice that was followed."""
    return error.removesuffix(OTHERWISE).rstrip(" .")
