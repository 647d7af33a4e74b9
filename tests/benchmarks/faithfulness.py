"""Deletion and insertion: do the parts that an explanation names drive the prediction, and what does it cost to know?

    PYTHONPATH=tests:examples python tests/benchmarks/faithfulness.py [--epochs 8] [--examples 32]

The OpenMoji example is trained. For emojis of the validation set that it gets right, the logit of the predicted class
is explained, one modality at a time, the other one as it is, by the methods of ``UnimodalImportance`` and by Captum's
own on the same units (49 patches, which become the mean colour; words, which are left out): integrated gradients with
as many steps, input x gradient (from the baseline), feature ablation, KernelSHAP and LIME with as many masks and
otherwise Captum's settings.

- **Deletion**: units are masked one by one, the one that raises the logit most first (Petsiuk et al. 2018). The area
  below the softmax probability of the predicted class over the share of masked units, by trapezoids; the lower the
  better.
- **Insertion**: all units are masked, then they come back in the same order. The higher the better.
- **Logit**: the area below the logit in insertion less that in deletion, as a share of what the modality changes in
  all, |f(x) - f(x without it)|, summed over examples. It has no ceiling; random orders are about 0.

Behind each a standard error over examples, of the difference from the random order of the same examples. Seconds are
processor time of explaining both modalities of all examples, on one thread; Captum is called as its documentation does,
one example at a time with 64 masks a forward.

Takes about four minutes on a free core. Prints a table and asserts nothing.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import openmoji
import torch
from benchmarks.dime_synthetic import context_of
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, KernelShap, Lime
from lightning import Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from mviz_lightning import Modality
from mviz_lightning.batch import Segments
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.explainers import ProbeContext
from mviz_lightning.explainers.unimodal_importance.explainer import NUM_TOTALS, UnimodalImportance
from mviz_lightning.functional.segment_attribution import perturbation_masks
from mviz_lightning.session.runner import Runner

STEPS, AT_ONCE, ORDERS = 16, 64, 4
"""Of integrated gradients; masks a forward of Captum's; random orders for each example."""

Maps = Mapping[tuple[int, str], Tensor]
"""Example and modality -> ``(U,)`` what its units add."""

Classifier = openmoji.OpenMojiClassifier


def trained(data: openmoji.OpenMojiData, epochs: int) -> Classifier:
    """Train the example's model, as it is done there."""
    seed_everything(0, verbose=False)
    model = Classifier(len(data.vocabulary.words), len(data.class_names))
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, enable_model_summary=False, **settings)
    trainer.fit(model, DataLoader(data.train, batch_size=32, shuffle=True))
    return model.eval()


def probe_context(data: openmoji.OpenMojiData) -> ProbeContext:
    """Make the validation set the fixed examples."""
    batch = default_collate([data.validation[i] for i in range(len(data.validation))])
    image = Modality("image", mean=data.mean, std=data.std)
    text = Modality("tokens", mask="mask", decode=data.vocabulary.words)
    return context_of(batch, {"image": image, "text": text})


def predict(model: Classifier, batch: Mapping[str, Tensor]) -> Tensor:
    """Call the model."""
    return model(batch["image"], batch["tokens"], batch["mask"])


@dataclass(frozen=True)
class Task:
    """What is explained: the predicted class of some examples, which is the true one too."""

    model: Classifier
    evaluator: Evaluator
    probe_context: ProbeContext
    examples: Sequence[int]

    @classmethod
    def of(cls, model: Classifier, found: ProbeContext, count: int) -> "Task":
        """Take the first examples of two words or more that the model gets right."""
        evaluator, leaves = Evaluator(model, predict), found.probe.leaves
        said = torch.cat(evaluator(found.probe, [Query.aligned(torch.arange(len(found.positions)), 2)])).argmax(1)
        right = (said == leaves["label"]) & (leaves["mask"].sum(1) >= 2)
        return cls(model, evaluator, found, right.nonzero()[:count, 0].tolist())

    def label(self, example: int) -> int:
        """Return the class."""
        return int(self.probe_context.probe.leaves["label"][example])

    def segments(self, name: str) -> Segments:
        """Return the units of a modality."""
        found = self.probe_context.probe.segments[name]
        assert isinstance(found, Segments)
        return found


def ours(method: str, task: Task) -> Maps:
    """Ask the explainer."""
    explainer = UnimodalImportance(method=method, steps=STEPS, num_totals=0)  # type: ignore[arg-type]
    outputs = len(set(task.probe_context.probe.leaves["label"].tolist()))
    result, _ = Runner(task.probe_context, task.evaluator, Ranks(), outputs).explain(explainer, task.examples)
    found = result.examples  # type: ignore[union-attr]
    return {(one.example, name): part.weights for one in found for name, part in one.outputs[0].parts.items()}


class Input:
    """One modality of one example as Captum wants it: a tensor, its baseline, units, and a function of it alone."""

    def __init__(self, task: Task, example: int, name: str, *, embedded: bool = False) -> None:
        leaves, segments = task.probe_context.probe.leaves, task.segments(name)
        self.model, self.example, self.name, self.embedded = task.model, example, name, embedded
        self.image, self.tokens, self.mask = (leaves[key][[example]] for key in ("image", "tokens", "mask"))
        self.target, self.count = task.label(example), segments.count(example)
        index = segments.index if len(segments.index) == 1 else segments.index[[example]]
        if name == "image":
            self.values, baseline = self.image, torch.as_tensor(segments.baseline)
        else:
            embed = task.model.text_encoder.embedding
            self.values, baseline = embed(self.tokens).detach() if embedded else self.mask.float(), torch.zeros(1)
            index = index.unsqueeze(-1) if embedded else index
        self.baseline = baseline.expand_as(self.values).to(self.values)
        # What belongs to no unit (padding) is one more, that changes nothing.
        self.index = index.expand_as(self.values).where(index >= 0, torch.tensor(self.count)).contiguous()

    def __call__(self, values: Tensor) -> Tensor:
        """Return ``(R, C)``."""
        image, tokens, mask = (x.expand(len(values), *x.shape[1:]) for x in (self.image, self.tokens, self.mask))
        if self.name == "image":
            return self.model(values, tokens, mask)
        if not self.embedded:
            return self.model(image, tokens, values)
        encoder, weights = self.model.text_encoder, mask.unsqueeze(-1).float()
        text = (values * weights).sum(1) / weights.sum(1).clamp(min=1)
        assert encoder.embedding.padding_idx == openmoji.PAD
        return self.model.fusion(torch.cat([self.model.image_encoder(image), text], -1))

    def summed(self, entries: Tensor) -> Tensor:
        """Add entries up to units."""
        return torch.stack([entries[self.index == unit].sum() for unit in range(self.count)]).detach()

    def picked(self, entries: Tensor) -> Tensor:
        """Take what all entries of a unit have in common."""
        return torch.stack([entries[self.index == unit][0] for unit in range(self.count)]).detach()

    @property
    def masking(self) -> dict[str, object]:
        """What Captum's methods that mask are told."""
        settings = {"target": self.target, "feature_mask": self.index, "baselines": self.baseline}
        return {**settings, "perturbations_per_eval": AT_ONCE}


def integrated(asked: Input) -> Tensor:
    """Captum's integrated gradients."""
    found = IntegratedGradients(asked).attribute(asked.values, asked.baseline, asked.target, n_steps=STEPS)
    return asked.summed(found)


def times_gradient(asked: Input) -> Tensor:
    """Captum's input x gradient, counted from the baseline."""
    method = InputXGradient(lambda way: asked(asked.baseline + way))
    return asked.summed(method.attribute((asked.values - asked.baseline).requires_grad_(), target=asked.target))


def ablated(asked: Input) -> Tensor:
    """Captum's feature ablation."""
    return asked.picked(FeatureAblation(asked).attribute(asked.values, **asked.masking))


def kernel_shap(asked: Input) -> Tensor:
    """Captum's KernelSHAP."""
    count = max(2, len(perturbation_masks("shap", asked.count)))
    return asked.picked(KernelShap(asked).attribute(asked.values, n_samples=count, **asked.masking))


def lime(asked: Input) -> Tensor:
    """Captum's LIME: the lasso."""
    count = len(perturbation_masks("lime", asked.count))
    return asked.picked(Lime(asked).attribute(asked.values, n_samples=count, **asked.masking))


CAPTUM: dict[str, tuple[Callable[[Input], Tensor], bool]] = {
    "gradient": (times_gradient, True),
    "integrated_gradients": (integrated, True),
    "occlusion": (ablated, False),
    "lime": (lime, False),
    "shap": (kernel_shap, False),
}
"""Our method -> Captum's, and whether it derives by embeddings."""


def captums(method: str, task: Task) -> Maps:
    """Ask Captum, one example and modality after the other."""
    torch.manual_seed(0)
    attribute, derives = CAPTUM[method]
    return {
        (example, name): attribute(Input(task, example, name, embedded=derives and name == "text"))
        for example in task.examples
        for name in ("image", "text")
    }


def at_random(seed: int, task: Task) -> Maps:
    """Draw weights."""
    generator = torch.Generator().manual_seed(seed)
    return {
        (example, name): torch.rand(task.segments(name).count(example), generator=generator)
        for example in task.examples
        for name in ("image", "text")
    }


@dataclass(frozen=True)
class Curves:
    """Areas of every example, ``(E,)`` each."""

    deletion: Tensor
    insertion: Tensor
    logit: Tensor
    change: Tensor


def curves(task: Task, name: str, maps: Maps) -> Curves:
    """Mask one unit after the other, and put one back after the other."""
    queries = []
    for example in task.examples:
        rank = maps[example, name].argsort(descending=True, stable=True).argsort()
        steps = torch.arange(len(rank) + 1).unsqueeze(1)
        rows = Query.aligned(torch.full((2 * len(steps),), example), 2)
        queries.append(Query(rows.sources, {name: torch.cat([rank >= steps, rank < steps])}))
    areas = [
        _areas(response.double(), task.label(example))
        for example, response in zip(task.examples, task.evaluator(task.probe_context.probe, queries), strict=True)
    ]
    return Curves(*torch.tensor(areas).T)


def _areas(outputs: Tensor, label: int) -> tuple[float, ...]:
    """Return areas of both curves, of the logit between them, and what the modality changes."""
    chance, logit = (values[:, label].view(2, -1) for values in (outputs.softmax(1), outputs))
    deletion, insertion = (float(torch.trapezoid(row) / (len(row) - 1)) for row in chance)
    between = torch.trapezoid(logit[1] - logit[0]) / (logit.shape[1] - 1)
    return deletion, insertion, float(between), float((logit[0, 0] - logit[0, -1]).abs())


def row(title: str, found: Sequence[Curves], random: Sequence[Curves], seconds: float | None) -> str:
    """Return a line of the table: image, then text."""
    cells = []
    for own, other in zip(found, random, strict=True):
        for key in ("deletion", "insertion"):
            values, base = getattr(own, key), getattr(other, key)
            cells.append(_with_error(float(values.mean()), (values - base)))
        cells.append(f"{float(own.logit.sum() / own.change.sum()):.2f}")
    return f"| {title} | {' | '.join(cells)} | {'' if seconds is None else f'{seconds:.1f}'} |"


def _with_error(value: float, differences: Tensor) -> str:
    error = float(differences.std() / len(differences) ** 0.5)
    return f"{value:.3f}" + (f" ({error:.3f})" if error else "")


def measure(task: Task) -> None:
    """Print the table."""
    names = ("image", "text")
    drawn = [[curves(task, name, at_random(seed, task)) for seed in range(ORDERS)] for name in names]
    fields = ("deletion", "insertion", "logit", "change")
    random = [Curves(*(torch.stack([getattr(c, f) for c in runs]).mean(0) for f in fields)) for runs in drawn]
    heads = [f"{name}: {column}" for name in names for column in ("deletion", "insertion", "logit")]
    print("| method | " + " | ".join(heads) + " | seconds |\n" + "|---" * (len(heads) + 2) + "|")
    print(row("random order", random, random, None), flush=True)
    for method in NUM_TOTALS:
        for source, explain in (("", partial(ours, method)), (", Captum", partial(captums, method))):
            started = time.process_time()  # of this process alone, however busy the machine
            maps = explain(task)
            took = time.process_time() - started
            print(row(method + source, [curves(task, n, maps) for n in names], random, took), flush=True)


def main() -> None:
    """Train, explain, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--examples", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    openmoji.quiet_console()
    started, data = time.perf_counter(), openmoji.load_data()
    model = trained(data, arguments.epochs)
    task = Task.of(model, probe_context(data), arguments.examples)
    print(f"{len(task.examples)} emojis, trained in {time.perf_counter() - started:.0f} s\n", flush=True)
    measure(task)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
