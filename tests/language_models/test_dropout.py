"""ModalityDropout hides the pictures or the words of texts with placeholders, and the model still runs."""

import pytest

pytest.importorskip("transformers")

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from helpers.few import spread
from helpers.toy import trainer
from language_models.families import FAMILIES, Family
from language_models.rebuilding import modalities_of, single_questions
from language_models.tokens import VOCABULARY
from language_models.trained import loader, trained
from torch import Tensor

from mviz_lightning import ConfigurationError, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import Alarms, ModalityDropout
from mviz_lightning.engine.placeholder_tokens import placeholder_tokens
from mviz_lightning.errors import CollapseWarning
from mviz_lightning.sinks.records import State

EVERY = pytest.mark.parametrize("family", spread(FAMILIES.values(), 2), ids=lambda family: family.name)

WORDS = ["is", "the", "colour", "of", "many", "red", "what", "this", "two"]
"""The words of the questions."""


def dropped(family: Family, batch: dict[str, Any], silent: str) -> dict[str, Tensor]:
    """Return a batch whose other modality is hidden in all examples."""
    modalities, model = modalities_of(family), family.own_model()
    tokens = placeholder_tokens(model, modalities)
    standing = Alarms(SimpleNamespace(), model, modalities, [silent], tokens=tokens)
    return ModalityDropout(1.0).change_batch(batch, standing, 0)


def changed(batch: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    return [name for name in batch if not torch.equal(batch[name], found[name])]


@EVERY
@torch.no_grad()
def test_hidden_items_are_nearly_zero_and_keep_their_places(family: Family) -> None:
    batch = dict(family.batch(single_questions(family)))
    found = dropped(family, batch, "text")
    assert changed(batch, found) == [family.media]
    assert float(found[family.media].abs().max()) < 1e-30
    assert torch.equal(found[family.media] == 0, batch[family.media] == 0)
    assert family.own_model()(**found).loss.isfinite()


@EVERY
@torch.no_grad()
def test_hidden_words_leave_placeholders_and_answers(family: Family) -> None:
    batch = dict(family.batch(single_questions(family)))
    found = dropped(family, batch, "audio" if family.media == "input_features" else "image")
    assert changed(batch, found) == ["input_ids"]
    moved = found["input_ids"] != batch["input_ids"]
    assert moved.any(1).all()
    assert set(found["input_ids"][moved].tolist()) == {VOCABULARY["<pad>"]}
    assert set(batch["input_ids"][moved].tolist()) <= {VOCABULARY[word] for word in WORDS}
    assert not bool((moved & (batch["labels"] != -100)).any())
    assert family.own_model()(**found).loss.isfinite()


def test_answers_that_nothing_marks_are_not_hidden() -> None:
    family = FAMILIES["LLaVA"]
    batch = {name: leaf for name, leaf in family.batch(single_questions(family)).items() if name != "labels"}
    with pytest.raises(
        ConfigurationError, match="the start of the answers in 'text' is unknown, and answers must not be"
    ):
        dropped(family, batch, "image")


@pytest.mark.slow
def test_words_are_hidden_in_a_training_while_the_picture_is_collapsed(tmp_path: Path) -> None:
    module, seen = trained(200, blind=True), []
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)  # it stays blind
    watch = MultimodalMonitor({"image": "pixel_values", "text": "input_ids"}, num_examples=32)
    chosen = trainer(tmp_path, watch, UnimodalCollapse(ModalityDropout(1.0)), max_epochs=3)

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        if torch.is_grad_enabled():  # in a training step
            hidden = (given["input_ids"] == VOCABULARY["<pad>"]) & given["attention_mask"].bool()
            seen.append((chosen.current_epoch, bool(hidden.any()), bool(hidden[given["labels"] != -100].any())))

    with module.model.register_forward_pre_hook(note, with_kwargs=True), pytest.warns(CollapseWarning, match="image"):
        chosen.fit(module, loader(), loader())
    states = [row.values["collapse/image"] for row in watch.history]
    assert states == [State.USED, State.COLLAPSED, State.COLLAPSED]  # the first check waits for another
    assert [words for epoch, words, _ in seen if epoch < 2] == [False] * 12
    assert [words for epoch, words, _ in seen if epoch == 2] == [True] * 6
    assert not any(answer for *_, answer in seen)
