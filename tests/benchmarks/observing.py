"""What it costs to observe the user's own step, to compare outputs with it, and to replay it.

    python tests/benchmarks/observing.py [--repeats 15]

Prints medians of ratios of times that were taken in turn, in one process, inside a validation of a Trainer. The models
have random weights.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning.batch import BatchSchema, Probe, parse_modalities
from mviz_lightning.batch.few_examples import first_examples
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Query
from mviz_lightning.functional import design
from mviz_lightning.observation.events import OBSERVED_ROWS
from mviz_lightning.observation.heads import heads_of
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.own_outputs import OwnOutputs
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.settling import ObservedModel, settle
from mviz_lightning.observation.ways import Way, replay_way, ways_of
from mviz_lightning.session.agreement_check import AgreementCheck
from mviz_lightning.session.tried_model import TriedModel

BATCH, EXAMPLES, GROUP = 128, 128, 16
"""Rows of a batch; examples of a run, and how many are recombined with one another, at the defaults."""

WIDTH, WORDS, LENGTH, CLASSES = 192, 5000, 12, 10

STEP = "validation_step"

Action = Callable[[], float]
"""Does something once and returns the seconds that count."""


class Classifier(LightningModule):
    """A model of an image and a text, with the validation step that most people write."""

    def training_step(self, batch: Any) -> Tensor:
        image, text, label = batch
        return nn.functional.cross_entropy(self(image, text), label)

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch[0]))


class MLPs(Classifier):
    """A network of two layers for each modality, joined by a third."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = (self._encoder(inputs) for inputs in (3 * 32 * 32, LENGTH * 64))
        self.words = nn.Embedding(WORDS, 64)
        self.head = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))

    def _encoder(self, inputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.cat([self.image(image), self.text(self.words(text))], 1))
        return outputs


class Transformers(Classifier):
    """Four transformer layers over the words, and two over words and patches together."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.words = nn.Conv2d(3, WIDTH, 16, stride=16), nn.Embedding(WORDS, WIDTH)
        self.text, self.both = self._layers(4), self._layers(2)
        self.head = nn.Linear(WIDTH, CLASSES)

    def _layers(self, count: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
        return nn.TransformerEncoder(layer, count)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).mT
        outputs: Tensor = self.head(self.both(torch.cat([patches, self.text(self.words(text))], 1)).mean(1))
        return outputs


@dataclass
class Stopwatch:
    """Adds up the seconds of the blocks that it times."""

    seconds: float = 0.0
    _started: float = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def timed(action: Callable[[], Any]) -> Action:
    """Return an action of which all counts."""

    def seconds() -> float:
        stopwatch = Stopwatch()
        with stopwatch:
            action()
        return stopwatch.seconds

    return seconds


def paired(actions: Sequence[Action], repeats: int) -> list[list[float]]:
    """Return each action's seconds, taken in turn, after a first turn that does not count."""
    turns = [[action() for action in actions] for _ in range(repeats + 1)]
    return [list(times) for times in zip(*turns[1:], strict=True)]


def ratio(times: Sequence[float], against: Sequence[float]) -> str:
    """Return the median ratio with its quartiles."""
    ratios = [one / other for one, other in zip(times, against, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


class Timing(Callback):
    """Times a model beside its own validation step, at the first batch of a validation.

    Attributes:
        repeats: Number of turns.
        lines: What was measured, for people.
    """

    def __init__(self, repeats: int) -> None:
        self.repeats, self.lines = repeats, list[str]()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time everything."""
        bench = Bench.of(pl_module, batch)
        self.lines += [*bench.beside_a_step(self.repeats), *bench.of_a_run(max(3, self.repeats // 3))]


@dataclass(frozen=True)
class Bench:
    """A model whose step was observed on a batch."""

    module: LightningModule
    batch: Any
    trial: Probe
    seen: ObservedStep
    model: ObservedModel

    @classmethod
    def of(cls, module: LightningModule, batch: Any) -> "Bench":
        """Observe a model's step."""
        schema = BatchSchema.learn(batch, parse_modalities({"image": "0", "text": "1"}))
        trial = first_examples(schema, batch, OBSERVED_ROWS)
        seen = ObservedStep(STEP, _observed(module, batch, schema).record)
        model = settle(seen, module, trial, lambda predict: Evaluator(module, predict, reuse=False))
        assert model is not None
        assert model.way.name == "forward"
        return cls(module, batch, trial, seen, model)

    def step(self) -> None:
        """Run the step as the Trainer does."""
        self.module.validation_step(self.batch)

    def settle(self) -> None:
        """Derive heads, target and task, and compare the call with the step's own scores."""
        settle(self.seen, self.module, self.trial, lambda predict: Evaluator(self.module, predict, reuse=False))

    def derive(self) -> None:
        """The same without the comparison."""
        assert self.seen.record is not None
        head = heads_of(self.seen.record)[0]
        list(ways_of(head, self.seen.record, self.module, STEP))

    def agree(self) -> float:
        """Keep 8 rows of the step's own outputs and compare the monitor's with them; return the seconds beside it."""
        own, stopwatch = OwnOutputs(), Stopwatch()
        way = self.model.way
        tried = TriedModel(self._evaluator(way, reuse=True), way.call, CLASSES, "", 1.0, self.model)
        with stopwatch:
            own.watch(self.module, way, self.batch, self.trial.schema)
        self.step()
        with stopwatch:
            own.release()
            found = AgreementCheck.of(own, self.trial, "multiclass", Ranks()).check(tried)
        assert found is not None
        assert found.holds
        return stopwatch.seconds

    def _evaluator(self, way: Way, *, reuse: bool) -> Evaluator:
        return Evaluator(self.module, way.call.predict, BATCH, nullcontext, reuse=reuse)

    def beside_a_step(self, repeats: int) -> list[str]:
        """Time what happens once in the sanity check, and once at every validation, against one validation batch."""
        observe = timed(lambda: _observed(self.module, self.batch, self.trial.schema))
        actions = [timed(self.step), observe, timed(self.derive), timed(self.settle), self.agree]
        with isolated(self.module):
            step, observed, derived, settled, agreed = paired(actions, repeats)
        return [
            f"one validation batch of {BATCH}: {1000 * statistics.median(step):.1f} ms",
            f"observed step / plain step: {ratio(observed, step)}",
            f"heads, target, task and call derived / plain step: {ratio(derived, step)}",
            f"the same with the native check / plain step: {ratio(settled, step)}",
            f"agreement of 8 rows / plain step: {ratio(agreed, step)}",
        ]

    def of_a_run(self, repeats: int) -> list[str]:
        """Time the rows of one run by a replay of the step, way (c), against the model's own call, way (a)."""
        groups = torch.arange(EXAMPLES).view(-1, GROUP)
        examples = first_examples(self.trial.schema, self.batch, EXAMPLES)
        rows = Query(groups[:, design(2, GROUP).tuples].flatten(0, 1))
        assert self.seen.record is not None
        replay = replay_way(self.model.head, self.seen.record, STEP)
        evaluators = [self._evaluator(way, reuse=on) for on in (False, True) for way in (self.model.way, replay)]
        actions = [timed(partial(each, examples, [rows])) for each in evaluators]
        plain, replayed, reused, replayed_reused = paired(actions, repeats)
        given_up = "" if all(each.reuse for each in evaluators[2:]) else ", which was given up"
        return [
            f"{len(rows):,} rows, way (c) / way (a), every row evaluated: {ratio(replayed, plain)}",
            f"{len(rows):,} rows, way (c) / way (a), encodings reused{given_up}: {ratio(replayed_reused, reused)}",
        ]


def _observed(module: LightningModule, batch: Any, schema: BatchSchema) -> StepRecorder:
    """Observe one call of the step."""
    recorder = StepRecorder(module, batch, schema)
    with recorder.watching():
        module.validation_step(batch)
    return recorder


def measured(module: Classifier, repeats: int) -> list[str]:
    """Return what a model's validation took, in words."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(BATCH, 3, 32, 32, generator=generator)
    text = torch.randint(1, WORDS, (BATCH, LENGTH), generator=generator)
    label = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    timing = Timing(repeats)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, callbacks=[timing], **quiet)  # type: ignore[arg-type]
    loader = DataLoader(TensorDataset(image, text, label), batch_size=BATCH)
    trainer.validate(module, loader, verbose=False)
    return timing.lines


def main() -> None:
    """Print the figures of both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for make in (MLPs, Transformers):
        torch.manual_seed(0)
        module = make()
        print(f"{make.__name__}, {sum(weight.numel() for weight in module.parameters()) / 1e6:.1f} million parameters")
        for line in measured(module, repeats):
            print(f"  {line}")


if __name__ == "__main__":
    main()
