"""Trainings of language models as people write them, with everything attached: none changes by a bit."""

import pytest

pytest.importorskip("transformers")

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from language_models.families import FAMILIES, Family, Question
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)

NAMED = {"image": "pixel_values", "text": "input_ids"}

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip

WORDS = ("{} what is the colour of this", "{} how many", "what colour {} is the answer")
ANSWERS = ("red", "green", "blue", "two", "three")

STAGES = (DIME, UnimodalImportance, CrossModalInteraction, MultimodalRepresentation, MultimodalPrediction)

LOGGED = {
    "agreement", "score", "emap_gap", "interaction", "total/image", "total/text", "flips/image", "perceptual/text",
    "collapse/image", "importance/share/image", "cross_modal/total/image+text", "representation/multimodal",
    "prediction/fidelity", "rows", "seconds",
}  # fmt: skip


class FineTuned(LightningModule):
    """A language model in an attribute, whose loss the model computes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.model(**batch).loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.model(**batch).loss, batch_size=8)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW((one for one in self.parameters() if one.requires_grad), lr=3e-3)


def with_lora(model: nn.Module) -> nn.Module:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


def as_it_is(model: nn.Module) -> nn.Module:
    return model


@cache
def questions(family: Family, count: int) -> list[Question]:
    return [Question(WORDS[k % 3], [family.item(k)], ANSWERS[k % 5]) for k in range(count)]


def fitted(
    family: Family, adapted: Callable[[nn.Module], nn.Module], callbacks: Sequence[Callback], folder: Path
) -> tuple[dict[str, Tensor], set[str]]:
    """Return the weights after two epochs, and the keys that can be monitored."""
    seed_everything(1, verbose=False)
    module = FineTuned(adapted(family.model()))
    trainer = Trainer(max_epochs=2, callbacks=list(callbacks), default_root_dir=folder, **QUIET)
    given: dict[str, Any] = {"batch_size": 8, "collate_fn": family.batch}
    asked = questions(family, 40)
    trainer.fit(module, DataLoader(asked, shuffle=True, **given), DataLoader(asked, **given))
    return module.state_dict(), set(trainer.callback_metrics)


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [as_it_is, with_lora], ids=["whole", "LoRA"])
@pytest.mark.parametrize("name", ["LLaVA", "Qwen2-VL"])
def test_a_fine_tuning_with_everything_attached_ends_with_the_same_bits(
    name: str, adapted: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    family = FAMILIES[name]
    monitor = MultimodalMonitor(NAMED, explainers=[stage() for stage in STAGES], num_examples=16, group_size=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plain, _ = fitted(family, adapted, [], tmp_path / "plain")
        found, keys = fitted(family, adapted, [monitor, UnimodalCollapse()], tmp_path / "monitored")
    assert plain.keys() == found.keys()
    assert [key for key, weight in plain.items() if not torch.equal(weight, found[key])] == []
    assert {f"mviz/{key}" for key in LOGGED} <= keys
    assert [row.values["agreement"] for row in monitor.history] == [1, 1]
    said = Counter(str(one.message) for one in caught if issubclass(one.category, MonitorWarning))
    assert not [text for text, times in said.items() if times > 1]
    assert not [text for text in said if "failed" in text]
