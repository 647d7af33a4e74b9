"""What really happened in a run, measured apart from the package, and the signals that others would watch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from data import LEAKS, Data
from lightning.pytorch import Callback, LightningModule, Trainer
from model import LateFusion
from sklearn.linear_model import Ridge, RidgeClassifier
from torch import Tensor

EXAMPLES = 1000
DERANGEMENTS = 2
LEARNED, USED, SILENT, MISUSED = 0.05, 0.1, 0.05, 0.3
"""Skill of a model that has learned; reliance on a modality in use, and on a silent one; flips that are misuse."""
INFORMATIVE, ADDS = 0.1, 0.02
"""Skill that raw inputs reach alone, and that a healthy twin loses without them, from which they count."""
COMMON = 0.1
"""Share of the rarer answer, and skill, from which a single label of several is looked at by itself."""


def is_rare(label: Tensor) -> bool:
    """Tell whether labels are so rare that their accuracy is near 1 whatever a model says."""
    return label.dim() > 1 and float(label.float().mean()) < COMMON


def ranked(outputs: Tensor, label: Tensor) -> Tensor:
    """Return ``(N,)`` how far up the true labels of every example rank: 1 where they are all on top."""
    order = outputs.argsort(1, descending=True)
    true = label.gather(1, order).float()
    shares = true.cumsum(1) / torch.arange(1, label.shape[1] + 1)
    return (shares * true).sum(1) / true.sum(1)


def decided(outputs: Tensor, task: str) -> Tensor:
    """Return predictions: classes, labels or values."""
    if task == "multiclass":
        return outputs.argmax(1)
    return outputs.squeeze(-1) if task == "regression" else (outputs > 0).long()


def right(outputs: Tensor, label: Tensor, task: str) -> Tensor:
    """Return ``(N, L)`` how right outputs are, for every label: hits; ranks of rare labels; of values, parts of R2."""
    if task == "regression":
        wrong = (outputs.squeeze(1) - label).square() / label.var(correction=0)
        return (1 - wrong)[:, None]
    if is_rare(label):
        return ranked(outputs, label)[:, None]
    count = len(label)
    return (decided(outputs, task).reshape(count, -1) == label.reshape(count, -1)).float()


def chance(label: Tensor, task: str) -> float:
    """Return the score of the best constant answer."""
    if task == "regression":
        return 0.0
    if is_rare(label):
        return float(ranked(label.mean(0).expand_as(label), label).mean())
    return _usual(label, task)


def _usual(label: Tensor, task: str) -> float:
    """Return the share of hits of the best constant answer."""
    if task == "multiclass":
        return float(label.bincount().max() / len(label))
    share = label.reshape(len(label), -1).mean(0)
    return float(torch.maximum(share, 1 - share).mean())


def sure(base: float, least: float, count: int, limit: float = 0.02) -> float:
    """Return how far above chance a score must be: three standard errors where this is less than the limit."""
    return min(limit * (1 - least), 3 * math.sqrt(max(0.0, base * (1 - base)) / count))


@dataclass
class Truth(Callback):
    """Measures at every validation what swapping does on all validation examples, and what the optimizer sees."""

    data: Data
    seed: int
    epochs: list[dict[str, Any]] = field(default_factory=list)
    _norms: dict[str, list[float]] = field(default_factory=dict)
    _weights: dict[str, Tensor] = field(default_factory=dict)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Collect each encoder's gradient norm."""
        for name, encoder in pl_module.encoders.items():  # type: ignore[union-attr,operator]
            found = [p.grad.norm() for p in encoder.parameters() if p.grad is not None]
            self._norms.setdefault(name, []).append(float(torch.stack(found).norm()) if found else 0.0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure."""
        if trainer.sanity_checking or not isinstance(pl_module, LateFusion):
            return
        part = {name: values[:EXAMPLES] for name, values in self.data.validation.items()}
        truth = measure(pl_module, part, self.data, self.seed + len(self.epochs))
        norms = {name: sum(values) / len(values) for name, values in self._norms.items()}
        signals = {"grad_norm": norms, "val_loss": float(trainer.callback_metrics["val_loss"])}
        signals["update_norm"] = self._updates(pl_module)
        signals["ogm"] = discrepancy(pl_module, part) if pl_module.spec.fusion == "linear" else None
        self.epochs.append({"epoch": trainer.current_epoch, "truth": truth, "signals": signals})
        self._norms = {}

    def _updates(self, module: LateFusion) -> dict[str, float]:
        """Return how far each encoder has moved since the last validation, in lengths of its weights."""
        moved = {}
        for name, encoder in module.encoders.items():
            now = torch.cat([p.detach().flatten() for p in encoder.parameters()])
            before = self._weights.get(name, now)
            self._weights[name] = now.clone()
            moved[name] = float((now - before).norm() / before.norm())
        return moved


@torch.no_grad()
def measure(module: LateFusion, part: Mapping[str, Tensor], data: Data, seed: int) -> dict[str, Any]:
    """Return score, chance, and for every modality its reliance and the predictions that swapping it changes."""
    generator = torch.Generator().manual_seed(seed)
    own, label = module(dict(part)), part["label"]
    base, least = float(right(own, label, data.task).mean()), chance(label, data.task)
    reliance, flips, single = {}, {}, {}
    for name in data.modalities:
        swapped = [module({**part, name: part[name][_derangement(len(label), generator)]}) for _ in range(DERANGEMENTS)]
        lost = base - sum(float(right(one, label, data.task).mean()) for one in swapped) / DERANGEMENTS
        reliance[name] = lost / (base - least) if base - least > sure(base, least, len(label)) else math.nan
        flips[name] = sum(_changed(own, one, data.task) for one in swapped) / DERANGEMENTS
        single[name] = _largest_drop(own, swapped, label) if data.task == "multilabel" else 0.0
    return {"score": base, "chance": least, "reliance": reliance, "flips": flips, "single": single}


def _derangement(count: int, generator: torch.Generator) -> Tensor:
    """Return whom every example gets a modality from: nobody keeps its own."""
    order = torch.randperm(count, generator=generator)
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    return others


def _largest_drop(own: Tensor, swapped: list[Tensor], label: Tensor) -> float:
    """Return the reliance of that one label which relies most, among labels that are not rare and that are learned."""
    share = label.float().mean(0)
    usual = torch.maximum(share, 1 - share)
    hits, *others = (((outputs > 0) == label).float().mean(0) for outputs in (own, *swapped))
    counts = (usual < 1 - COMMON) & (hits - usual > COMMON)
    return float(((hits - sum(others) / len(others)) / (hits - usual))[counts].max()) if bool(counts.any()) else 0.0


def _changed(own: Tensor, swapped: Tensor, task: str) -> float:
    if task == "regression":
        return float((own - swapped).square().mean() / own.var().clamp(min=1e-9) / 2)
    return float((decided(own, task) != decided(swapped, task)).float().mean())


@torch.no_grad()
def discrepancy(module: LateFusion, part: Mapping[str, Tensor]) -> float | None:
    """Return OGM-GE's discrepancy ratio of the weak modality to the others, whose own logits a linear fusion has."""
    if module.task != "multiclass":
        return None
    encoded = module.features(part)
    weights = module.fusion.weight.view(-1, len(module.names), encoded.shape[-1])  # type: ignore[operator,union-attr]
    logits = torch.einsum("bmw,cmw->bmc", encoded, weights) + module.fusion.bias / len(module.names)
    true = logits.softmax(-1).gather(2, part["label"].view(-1, 1, 1).expand(-1, len(module.names), 1)).sum((0, 2))
    return float(true[-1] / true[:-1].mean())


def alone(data: Data) -> dict[str, float]:
    """Return how much of the way from chance to perfection raw inputs go without the model, by scikit-learn."""
    return {name: _alone(data, name) for name in data.modalities}


def _alone(data: Data, name: str) -> float:
    inputs, told = (_raw(part[name], data.train[name]) for part in (data.train, data.validation))
    target, label = data.train["label"], data.validation["label"]
    if data.task == "regression":
        return float(Ridge(10.0).fit(inputs, target).score(told, label))
    columns = target.reshape(len(target), -1).long().T
    predicted = [RidgeClassifier(100.0).fit(inputs, column).predict(told) for column in columns]
    hits = (label.reshape(len(label), -1) == torch.tensor(predicted).T).float().mean()
    least = _usual(label, data.task)
    return float(hits - least) / (1 - least)


def _raw(values: Tensor, training: Tensor) -> Any:
    if values.is_floating_point():
        flat, reference = values.flatten(1), training.flatten(1)
        return ((flat - reference.mean(0)) / reference.std(0).clamp(min=1e-12)).numpy()
    counts = torch.zeros(len(values), int(training.max()) + 1)
    return counts.scatter_add_(1, values.clamp(max=counts.shape[1] - 1), torch.ones(values.shape))[:, 1:].numpy()


def state_at(record: Mapping[str, Any], modality: str, epoch: int = -1) -> str:
    """Return what a modality really is at an epoch.

    ``used``: more than a tenth of the skill rests on it, or of the skill on one label of several; ``misused``:
    predictions rest on it, but no skill, or they are worse for it; ``between``: little skill does; ``unlearned``: there
    is no skill. Where hardly any skill and hardly a prediction rests on it, :func:`silent_state` tells the rest.
    """
    truth = record["epochs"][epoch]["truth"]
    reliance, flips = truth["reliance"][modality], truth["flips"][modality]
    least = sure(truth["score"], truth["chance"], EXAMPLES, LEARNED)
    if math.isnan(reliance) or truth["score"] - truth["chance"] < least:
        return "unlearned"
    if max(reliance, truth.get("single", {}).get(modality, 0.0)) > USED:
        return "used"
    if reliance < SILENT:
        misused = flips > MISUSED or reliance < -SILENT
        return "misused" if misused else silent_state(record, modality)
    return "between"


def silent_state(record: Mapping[str, Any], modality: str) -> str:
    """Return what a modality is that the model does not use, by what it is worth to a healthy twin, and alone.

    ``collapsed``: the twin loses skill without it; ``leaked``: so it would, but the labels are written into another
    modality, which makes up for it; ``redundant``: it tells of the labels, and the twin loses nothing; ``unused``: it
    tells nothing; ``open``: what the twin loses may be nothing, or the modality has no twin.
    """
    worth, told = record.get("worth"), record["alone"][modality] > INFORMATIVE
    if record["recipe"] == "noise" and modality == record["views"][-1]:
        return "unused"
    if worth is None or modality != record["views"][-1]:
        return "open" if told else "unused"
    sure = worth["gain"] > 2 * worth["error"]
    if worth["gain"] > ADDS and sure:
        return "leaked" if record["recipe"] in LEAKS else "collapsed"
    if worth["gain"] > ADDS or (sure and worth["gain"] > ADDS / 2):
        return "open"
    return "redundant" if told else "unused"
