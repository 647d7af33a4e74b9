"""The fourth stage of MultiViz: the model's predictions as a sparse linear model of its fused features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from mviz_lightning.batch.strata import stratum_order
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.evaluation.query import Query
from mviz_lightning.explainers.base import Subject
from mviz_lightning.explainers.explanation import Explanation
from mviz_lightning.explainers.outcome import outcome
from mviz_lightning.explainers.survey import Answers, Asked, Finding, Survey
from mviz_lightning.functional import Family, SparseLinear, Task, decisions, sparse_linear

FEWEST = 20
"""Examples, of which one half is fitted and the other foretold."""

FAMILIES: dict[Task, Family] = {
    "multiclass": "multinomial",
    "binary": "bernoulli",
    "multilabel": "bernoulli",
    "regression": "gaussian",
}

WEIGHTS = 30
"""Of the sparse model in the table: the strongest."""

BARS = 10
"""Features of an example in its picture at the most."""


@dataclass(frozen=True)
class FeatureEffect:
    """What one feature adds to one output of the sparse model.

    Attributes:
        feature: Its number.
        weight: Of the standardised feature.
        activation: The standardised feature of the example.
    """

    feature: int
    weight: float
    activation: float

    @property
    def effect(self) -> float:
        """Weight x activation."""
        return self.weight * self.activation


@dataclass(frozen=True)
class ExampleFeatures:
    """The features that the sparse model predicts one example from.

    Attributes:
        explanation: Its prediction and label; without attributions.
        output: That is looked at: the predicted one.
        effects: Of the features with a weight, the strongest first.
        agrees: Whether the sparse model predicts the same as the model; None for values.
    """

    explanation: Explanation
    output: int
    effects: Sequence[FeatureEffect]
    agrees: bool | None


@dataclass(frozen=True, kw_only=True)
class PredictionFinding(Finding):
    """A sparse linear model of the model's predictions.

    Attributes:
        features: How many there are, F.
        constant: How many of them do not vary.
        penalty: That was chosen on held-out examples.
        held_out: How many these are.
        non_zero: Output -> its weights other than 0; outputs that do not vary are left out.
        weights: ``(feature, output, weight)``, the strongest first.
        examples: Those looked at closer.
    """

    features: int
    constant: int
    penalty: float
    held_out: int
    non_zero: Mapping[int, int] = field(default_factory=dict)
    weights: Sequence[tuple[int, int, float]] = ()
    examples: Sequence[ExampleFeatures] = ()


@dataclass(frozen=True, kw_only=True)
class MultimodalPrediction(Survey):
    """How few fused features, added up, foretell what the model predicts, and which (MultiViz, stage 4).

    The features, what the last linear layer is given, are standardised on one half of the reference examples, and a
    path of elastic nets (.99 of the penalty on absolute weights) is fitted there to the model's predictions; the other
    half chooses the penalty, the largest within a standard error of the best. A second path is fitted to the labels.
    Costs one forward for each reference example.

    Its scalars: ``fidelity``, the share of held-out examples of which the sparse model predicts what the model
    predicts, and ``fidelity_baseline``, the same of the most frequent prediction; ``sparsity``, the share of weights
    that are 0; with labels ``accuracy``, of the sparse model that is fitted to them, held out. Of labels that do not
    exclude one another each counts; for values, fidelity and accuracy are R2.

    Args:
        num_examples: Examples whose strongest features are drawn, the same through the training.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        layer: Name of the submodule whose input is taken for the features; the last linear layer by default.
        name: Of its scalars and pictures; tells several of them apart.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    layer: str | None = None
    name: str = "prediction"
    features: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        for name, least in (("num_examples", 0), ("every_n_validations", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"MultimodalPrediction({name}={getattr(self, name)}): give {least} or more.")

    def plan(self, subject: Subject, examples: Sequence[int]) -> Asked:
        """Ask for all reference examples as they are."""
        return Asked([Query.aligned(torch.arange(subject.probe.size), len(subject.probe.layout.names))])

    def explain(self, subject: Subject, examples: Sequence[int], answers: Answers) -> Finding:
        """Fit sparse models to predictions and labels."""
        outputs, features = answers.outputs[0].double(), answers.features[0]
        if len(outputs) < FEWEST:
            raise RuntimeError(
                f"{self.name}: {len(outputs)} examples are too few for a sparse model; it takes {FEWEST} or more. "
                "Raise reference= of the monitor, or enlarge the validation set."
            )
        held_out, task = held_out_half(subject, outputs), subject.task
        predicted = targets_of(outputs, None, task)
        model = sparse_linear(features, predicted, held_out, FAMILIES[task])
        values = fidelities(model, features, predicted, held_out, task)
        if subject.probe.target is not None:
            labels = targets_of(outputs, subject.probe.target, task)
            values["accuracy"] = accuracy(features, labels, held_out, task)
        learnt = model.intercept.isfinite().nonzero().flatten().tolist()
        non_zero = {output: int((model.weights[:, output] != 0).sum()) for output in learnt}
        used = sum(non_zero.values()) / max(1, len(model.weights) * len(learnt))
        agreeing = None if task == "regression" else _same(model.scores(features), predicted, task).all(1)
        return PredictionFinding(
            values=values | {"sparsity": 1 - used},
            features=len(model.weights),
            constant=int(model.spread.isinf().sum()),
            penalty=model.penalty,
            held_out=int(held_out.sum()),
            non_zero=non_zero,
            weights=strongest(model.weights),
            examples=[example_features(subject, k, outputs[k], features[k], model, agreeing) for k in examples],
        )


def held_out_half(subject: Subject, outputs: Tensor) -> Tensor:
    """Return ``(N,)`` bool: every second example along the labels, or else along the predictions."""
    key = subject.probe.target
    if key is None:
        key = outputs.argmax(1) if subject.task == "multiclass" else outputs
    generator = torch.Generator().manual_seed(subject.seed)
    order, places = stratum_order(key, len(outputs), generator), torch.arange(len(outputs))
    coins = torch.randint(2, (len(outputs),), generator=generator)
    held_out = torch.zeros(len(outputs), dtype=torch.bool)
    held_out[order] = (places + coins[places // 2]) % 2 == 1
    return held_out


def targets_of(outputs: Tensor, target: Tensor | None, task: Task) -> Tensor:
    """Return ``(N, C)`` what a sparse model is fitted to: classes as one-hot, labels of 0 and 1, values on one scale.

    Args:
        outputs: ``(N, C)`` of the model.
        target: ``(N, ...)`` labels; None for the model's own predictions.
        task: What the outputs stand for.
    """
    if task == "regression":
        values = (outputs if target is None else target.view_as(outputs)).double()
        spread = values.std(0)
        return (values - values.mean(0)) / torch.where(spread > 0, spread, 1.0)
    if target is None:
        return decisions(outputs, task)
    if task == "multiclass":
        return functional.one_hot(target.view(-1).long(), outputs.shape[1]).double()
    return target.view_as(outputs).double()


def fidelities(
    model: SparseLinear, features: Tensor, predicted: Tensor, held_out: Tensor, task: Task
) -> dict[str, float]:
    """Return how well the model's predictions are foretold, beside one constant answer."""
    constant = predicted[~held_out].mean(0) - (0.5 if task in ("binary", "multilabel") else 0.0)
    return {
        "fidelity": agreement(model.scores(features[held_out]), predicted[held_out], task),
        "fidelity_baseline": agreement(constant.expand_as(predicted[held_out]), predicted[held_out], task),
    }


def accuracy(features: Tensor, labels: Tensor, held_out: Tensor, task: Task) -> float:
    """Return how well a sparse model that is fitted to labels foretells held-out ones."""
    model = sparse_linear(features, labels, held_out, FAMILIES[task])
    return agreement(model.scores(features[held_out]), labels[held_out], task)


def agreement(scores: Tensor, targets: Tensor, task: Task) -> float:
    """Return the share of decisions that are the same; R2 for values, averaged over those that vary.

    Args:
        scores: ``(n, C)`` of the sparse model.
        targets: ``(n, C)`` as of :func:`targets_of`.
        task: What they stand for.

    Raises:
        RuntimeError: No value varies.
    """
    if task != "regression":
        return float(_same(scores, targets, task).double().mean())
    around = (targets - targets.mean(0)).square().sum(0)
    if not bool((around > 0).any()):
        raise RuntimeError("values that are the same for all examples cannot be foretold from features.")
    missed = (scores - targets).square().sum(0)
    return float((1 - missed / around)[around > 0].mean())


def _same(scores: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Return ``(n, 1)`` for classes or ``(n, C)`` for labels: whether they are decided alike."""
    if task == "multiclass":
        return (scores.argmax(1) == targets.argmax(1)).unsqueeze(1)
    return decisions(scores, task) == targets


def strongest(weights: Tensor) -> list[tuple[int, int, float]]:
    """Return ``(feature, output, weight)`` of the strongest weights of ``(F, C)``, none of them 0."""
    flat = weights.flatten()
    order = flat.abs().argsort(descending=True, stable=True)[:WEIGHTS].tolist()
    return [(*divmod(place, weights.shape[1]), float(flat[place])) for place in order if flat[place] != 0]


def example_features(
    subject: Subject, example: int, outputs: Tensor, features: Tensor, model: SparseLinear, agreeing: Tensor | None
) -> ExampleFeatures:
    """Rank the features that one example's prediction is made of by |weight x activation|.

    Args:
        subject: The fixed examples.
        example: Which.
        outputs: ``(C,)`` of the model.
        features: ``(F,)``.
        model: The sparse one.
        agreeing: ``(N,)`` whether it decides as the model does.
    """
    target = subject.probe.target
    found = outcome(outputs, None if target is None else target[example], subject.task)
    output = next((output for output, role in found.roles.items() if "predicted" in role), next(iter(found.roles)))
    activations, weights = model.standardised(features.unsqueeze(0))[0], model.weights[:, output]
    order = (weights * activations).abs().argsort(descending=True, stable=True)[:BARS].tolist()
    effects = [FeatureEffect(k, float(weights[k]), float(activations[k])) for k in order if weights[k] != 0]
    about = Explanation(
        example, subject.positions[example], found.predicted, found.target, found.probability, outputs=[]
    )
    return ExampleFeatures(about, output, effects, None if agreeing is None else bool(agreeing[example]))
