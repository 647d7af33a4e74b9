"""Lines of ``explanations.jsonl`` as explainers write them, drawn from a seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from helpers.stored_inputs import StoredInput
from numpy.random import Generator

Line = dict[str, Any]

CATEGORIES = ("right", "rescued", "spoiled", "unrepaired", "misled")
FEATURES = 24


def rounded(values: Any) -> Any:
    """Return numbers with 6 significant digits, in nested lists."""
    if isinstance(values, np.ndarray | list | tuple):
        return [rounded(value) for value in values]
    return float(f"{float(values):.6g}")


@dataclass(frozen=True)
class StoredCase:
    """An example of a stored run, with what decides how its explanations look."""

    id: str
    inputs: Mapping[str, StoredInput]
    target: int
    interacts: float
    """Part of the output that only the combination explains, in 0..1."""
    learns_at: float
    """Progress of the training at which the model gets it right."""


@dataclass(frozen=True)
class Moment:
    """One check of a stored run."""

    stage: str
    epoch: int
    step: int
    progress: float
    """How far the model has learned, in 0..1."""
    used: Mapping[str, float]
    """Modality -> how much the model uses it, in 0..1."""
    class_names: Sequence[str]
    head: str = ""

    def name(self, index: int) -> str:
        return self.class_names[index]

    def predicted(self, case: StoredCase) -> int:
        right = self.progress >= case.learns_at
        return case.target if right else (case.target + 1) % len(self.class_names)

    def common(self, method: str, example: StoredCase | None, **more: Any) -> Line:
        """Return the fields that all lines have."""
        line = {"method": method, "result": method, "stage": self.stage, "epoch": self.epoch, "step": self.step}
        line |= {"head": self.head, "example": None if example is None else example.id}
        if example is not None:
            made, true = self.predicted(example), example.target
            line |= {"predicted": made, "predicted_name": self.name(made), "target": true}
            line |= {"target_name": self.name(true), "probability": rounded(0.4 + 0.59 * self.progress)}
        return {**line, **more}

    def outputs(self, case: StoredCase) -> list[tuple[int, str]]:
        """Return the explained outputs with their roles."""
        made = self.predicted(case)
        if made == case.target:
            return [(made, "true and predicted")]
        return [(case.target, "true"), (made, "predicted")]

    def weights(self, case: StoredCase, modality: str, random: Generator, scale: float) -> np.ndarray:
        """Return a weight a segment, large where the shape is."""
        salience = case.inputs[modality].salience
        noise = random.normal(0, 0.04, len(salience))
        size = scale * self.progress * self.used[modality]
        return size * (salience * 1.2 - 0.12 + noise) / max(1, np.sqrt(len(salience)) / 3)


def dime(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    for case in cases:
        for output, role in now.outputs(case):
            sign = 1 if output == case.target else -0.5
            value = sign * 9 * now.progress + float(random.normal(0, 0.2))
            mi = value * case.interacts
            weights = {}
            for name in case.inputs:
                uc = now.weights(case, name, random, sign * 6 * (1 - case.interacts))
                both = now.weights(case, name, random, sign * 6 * case.interacts)
                r2 = rounded(random.uniform((0.3, 0.1), (0.95, 0.8)))
                weights[name] = {"uc": rounded(uc), "mi": rounded(both), "uc_r2": r2[0], "mi_r2": r2[1]}
            yield now.common(
                "dime",
                case,
                output=output,
                output_name=now.name(output),
                role=role,
                value=rounded(value),
                uc=rounded(value - mi),
                mi=rounded(mi),
                error=rounded(0.05 + 0.02 * abs(value)),
                weights=weights,
            )


def importance(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    for case in cases:
        for output, role in now.outputs(case):
            weights = {}
            for name in case.inputs:
                found = now.weights(case, name, random, 6)
                weights[name] = {
                    "weights": rounded(found),
                    "change": rounded(found.sum()),
                    "method": "integrated gradients",
                    "reason": "the model has gradients to its inputs",
                    "r2": None,
                    "floor": rounded(0.01),
                }
            yield now.common(
                "importance",
                case,
                output=output,
                output_name=now.name(output),
                role=role,
                value=rounded(9 * now.progress),
                weights=weights,
            )


def cross_modal(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    for case in cases:
        for output, role in now.outputs(case)[:1]:
            pairs = []
            for first, second in combinations(case.inputs, 2):
                a, b = (case.inputs[name].salience for name in (first, second))
                used = min(now.used[first], now.used[second])
                matrix = now.progress * used * (np.outer(a, b) - 0.2) + random.normal(0, 0.02, (len(a), len(b)))
                pairs.append(
                    {
                        "first": first,
                        "second": second,
                        "weights": rounded(matrix),
                        "method": "masked corners",
                        "corners": 4,
                        "reason": "of few segments",
                        "floor": rounded(0.05),
                    }
                )
            yield now.common(
                "cross_modal",
                case,
                output=output,
                output_name=now.name(output),
                role=role,
                value=rounded(9 * now.progress),
                pairs=pairs[:6],
            )


def _concept(kind: str, value: Any, name: str) -> Line:
    source = "label" if kind == "class" else "text"
    found = {"kind": kind, "source": source, "value": value, "name": name, "hits": 9, "drawn": 12, "having": 31}
    return found | {"total": 128, "q": 0.003}


def representation(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    names = list(cases[0].inputs)
    shares = random.dirichlet(np.full(len(names) + 1, 0.5), FEATURES)
    kinds = [
        names[int(share[:-1].argmax())] if share.max() > 0.7 and share[-1] < 0.5 else "multimodal" for share in shares
    ]
    kinds[-1] = "constant"
    for feature in range(4):
        shown = [
            {
                "example": case.id,
                "activation": rounded(2.5 - 0.3 * rank + random.uniform(0, 0.2)),
                "target_name": now.name(case.target),
            }
            for rank, case in enumerate(cases[feature : feature + 3] or cases[:1])
        ]
        parts = {name: rounded(now.weights(cases[0], name, random, 1)) for name in names}
        yield now.common(
            "representation",
            None,
            feature=feature * 3,
            kind=kinds[feature * 3],
            shares=rounded(shares[feature * 3]),
            low=rounded(shares[feature * 3] * 0.8),
            high=rounded(np.minimum(1, shares[feature * 3] * 1.2 + 0.02)),
            deviation=rounded(random.uniform(0.5, 2)),
            overlap=rounded(random.uniform(0, 1)),
            examples=shown,
            concepts=[_concept("class", cases[0].target, now.name(cases[0].target)), _concept("word", "red", "red")],
            parts=parts,
        )
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    yield now.common(
        "representation",
        None,
        feature=None,
        counts=counts,
        all_shares=rounded(shares),
        total=FEATURES,
        layer="fusion.3",
        unfused=False,
    )


def prediction(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    classes = len(now.class_names)
    chosen = [int(f) for f in random.choice(FEATURES, 8, replace=False)]
    weights = [
        [feature, output, rounded(random.normal(0, 1))]
        for output in range(classes)
        for feature in random.permutation(chosen)[:3].tolist()
    ]
    for case in cases:
        output = now.predicted(case)
        own = [(feature, weight) for feature, of, weight in weights if of == output]
        effects = []
        for feature, weight in own:
            activation = rounded(random.uniform(0, 3))
            effects.append(
                {
                    "feature": feature,
                    "weight": weight,
                    "activation": activation,
                    "effect": rounded(weight * activation),
                }
            )
        yield now.common(
            "prediction",
            case,
            output=output,
            output_name=now.name(output),
            effects=effects,
            agrees=bool(random.random() < 0.8),
        )
    yield now.common(
        "prediction",
        None,
        features=FEATURES,
        constant=1,
        penalty=rounded(0.013),
        held_out=64,
        non_zero=len(weights),
        weights=weights,
        outputs={str(index): name for index, name in enumerate(now.class_names)},
        activating={str(feature): [case.id for case in cases[:3]] for feature in chosen},
    )


def errors(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    lists = {
        "worst": [c for c in cases if now.predicted(c) != c.target],
        "rescued": [c for c in cases if c.interacts > 0.5],
    }
    for which, listed in lists.items():
        for case in listed[:6]:
            output = now.predicted(case)
            value = 5 * now.progress
            alone = (case.target + 2) % len(now.class_names)
            category = "rescued" if which == "rescued" else CATEGORIES[2 + int(random.integers(3))]
            yield now.common(
                "errors",
                case,
                list=which,
                alone=alone,
                alone_name=now.name(alone),
                output=output,
                output_name=now.name(output),
                value=rounded(value),
                uc=rounded(value * (1 - case.interacts)),
                mi=rounded(value * case.interacts),
                error=rounded(0.2),
                category=category,
                loss=rounded(random.uniform(0.5, 4)),
            )
    counts = [int(n) for n in random.multinomial(128, [0.7, 0.05, 0.08, 0.1, 0.07])]
    classes = []
    for index, name in enumerate(now.class_names):
        split = [int(n) for n in random.multinomial(128 // len(now.class_names), [0.7, 0.05, 0.08, 0.1, 0.07])]
        classes.append(
            {"index": index, "name": name, "counts": dict(zip(CATEGORIES, split, strict=True)), "between": None}
        )
    found = dict(zip(CATEGORIES, counts, strict=True))
    history = [[epoch, (epoch + 1) * 38, found] for epoch in range(now.epoch + 1)]
    yield now.common("errors", None, counts=found, classes=classes, history=history[-12:])


def ranking(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    for case in cases:
        parts = {name: now.used[name] * (1 - case.interacts) * now.progress * 5 for name in case.inputs}
        interaction = case.interacts * 5 * now.progress
        driver = "interaction" if interaction > max(parts.values()) else max(parts, key=lambda name: parts[name])
        yield now.common(
            "ranking",
            case,
            output=now.predicted(case),
            output_name=now.name(now.predicted(case)),
            effects={name: rounded(size) for name, size in parts.items()},
            errors={name: rounded(0.1) for name in parts},
            interaction=rounded(interaction),
            interaction_error=rounded(0.15),
            driver=driver,
            sureness=rounded(random.uniform(0.5, 6)),
        )


def positions(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    for case in cases[:3]:
        effects = [np.abs(random.normal(0, 1, (8, 8))) * now.used[name] for name in case.inputs]
        labels = random.integers(0, len(now.class_names), (8, 8))
        yield now.common(
            "positions",
            case,
            modalities=list(case.inputs),
            shape=[8, 8],
            effects=[rounded(effect.ravel()) for effect in effects],
            labels=labels.ravel().tolist(),
            decisions=labels.ravel().tolist(),
        )


def other(cases: Sequence[StoredCase], now: Moment, random: Generator) -> Iterator[Line]:
    """An explainer of the user's own."""
    for case in cases[:2]:
        yield now.common("my_own", case, temperature=rounded(random.uniform(0, 1)), notes=["plain", "data"]) | {
            "result": "other"
        }


EXPLAINERS: dict[str, Callable[[Sequence[StoredCase], Moment, Generator], Iterator[Line]]] = {
    "dime": dime,
    "importance": importance,
    "cross_modal": cross_modal,
    "representation": representation,
    "prediction": prediction,
    "errors": errors,
    "ranking": ranking,
    "positions": positions,
    "other": other,
}
