"""Small models with a step of the user's own, to observe."""

from collections.abc import Callable
from typing import Any

import torch
from helpers.batches import floats, integers
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe, parse_modalities
from mviz_lightning.batch.few_examples import first_examples
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.settling import ObservedModel, settle
from mviz_lightning.observation.step_record import StepRecord

MODALITIES = {"image": "image", "text": "text"}


class TwoNets(nn.Module):
    """Two linear encoders whose outputs are multiplied; its step is a function."""

    def __init__(self, step: Callable[[Any, Any], Any], outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_net, self.text_net = nn.Linear(4, outputs), nn.Linear(3, outputs)
        self.alpha, self.step = 2.0, step

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image_net(image) * self.text_net(text) + self.image_net(image)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.step(self, batch)


def batch(count: int = 20, **more: Any) -> dict[str, Any]:
    """Return a batch of image, text, and labels ``y`` from 0 to 4."""
    leaves = {"image": floats(count, 4, seed=1), "text": floats(count, 3, seed=2), "y": integers(5, count, seed=3)}
    return leaves | more


def record_of(module: nn.Module, data: Any) -> StepRecord:
    """Return what one call of the module's step shows."""
    recorder = StepRecorder(module, data, schema_of(data))
    with isolated(module), recorder.watching():
        module.validation_step(data, 0)  # type: ignore[operator]
    return recorder.record


def schema_of(data: Any) -> BatchSchema:
    return BatchSchema.learn(data, parse_modalities(MODALITIES))


def trial_of(data: Any) -> Probe:
    return first_examples(schema_of(data), data, 16)


def observed(module: nn.Module, data: Any, target: str | None = None) -> ObservedModel:
    """Return what the observation of a module's step settles on."""
    trial = trial_of(data)
    seen = ObservedStep("validation_step", record_of(module, data))
    found = settle(seen, module, trial, lambda predict: Evaluator(module, predict), target)
    assert found is not None
    return found
