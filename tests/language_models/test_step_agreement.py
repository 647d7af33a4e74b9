"""Answers as the monitor reads them are compared with the user's own logits at every validation."""

import pytest

pytest.importorskip("transformers")

from dataclasses import dataclass
from typing import Any

import torch
from language_models.trained import Answering, batch_of, new_model, rows_of
from torch import Tensor, nn

from mviz_lightning.batch import parse_modalities
from mviz_lightning.session.agreement_check import WithheldError
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

NAMED = {"image": "pixel_values", "text": "input_ids"}

FEW: dict[str, Any] = {"num_examples": 16, "group_size": 4, "seed": 3}


class Two(nn.Module):
    """What a user trains, beside another model."""

    def __init__(self) -> None:
        super().__init__()
        self.model = new_model()
        torch.manual_seed(9)
        self.other = type(self.model)(self.model.config).eval()


@dataclass
class Step:
    """A step of the user's own.

    Attributes:
        net: Name of the model that it calls.
        scale: What it multiplies pixels with, an attribute of no module.
        noise: Standard deviation of what it adds to them.
    """

    net: str = "model"
    scale: float = 1.0
    noise: float = 0.0

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        pictures = batch["pixel_values"]
        if self.scale != 1:
            pictures = pictures * self.scale
        if self.noise:
            pictures = pictures + self.noise * torch.randn_like(pictures)
        return getattr(module, self.net)(**{**batch, "pixel_values": pictures}).loss


def some(side: str = "right", of: str = "questions") -> dict[str, Tensor]:
    """Return every third question, or what else there is."""
    whole = batch_of(side, of)
    return rows_of(whole, torch.arange(0, len(whole["input_ids"]), 3)[:24])


def prepared(module: nn.Module, step: Step, side: str = "right", of: str = "questions") -> Session:
    session = Session(SessionConfig(parse_modalities(NAMED), **FEW))
    session.meet(module)
    session.collect(some(side, of), range)
    session.dry_run(module, step=step)
    session.complete()
    return session


def stepped(session: Session, module: nn.Module, step: Step, batch: dict[str, Tensor]) -> None:
    """Run a step on a batch as a validation does."""
    session.watch_outputs(module, batch)
    with torch.no_grad():
        step(module, batch)
    session.release()


@pytest.mark.parametrize(
    ("of", "side", "read"),
    [
        ("questions", "left", "first token"),
        pytest.param("sentences", "right", "whole answers", marks=pytest.mark.slow),
        pytest.param("captions", "left", "own answer", marks=pytest.mark.slow),
    ],
)
def test_the_steps_own_logits_say_what_the_monitor_reads(of: str, side: str, read: str) -> None:
    module, step = Answering().eval(), Step()
    session = prepared(module, step, side, of)
    assert "agreement" in session.keys
    stepped(session, module, step, some(side, of))
    assert session._own_outputs._rows.shape[0] == 8
    assert session.run().values["agreement"] == 1
    assert read in "".join(session.remarks.pop_lines())


@pytest.mark.slow
def test_without_a_watched_batch_the_step_is_replayed_on_the_fixed_examples() -> None:
    module = Answering().eval()
    assert prepared(module, Step()).run().values["agreement"] == 1


@pytest.mark.slow
def test_a_constant_of_the_step_that_changes_is_followed() -> None:
    module, step = Answering().eval(), Step()
    session = prepared(module, step)
    step.scale = -5.0
    stepped(session, module, step, some())
    found, wanted = session.run().values, prepared(module, step).run().values
    assert found["agreement"] == 1
    assert found["total/image"] == pytest.approx(wanted["total/image"], rel=1e-5)


@pytest.mark.slow
def test_shares_of_other_logits_than_the_steps_own_are_withheld() -> None:
    module, step = Answering().eval(), Step()
    session = prepared(module, step)
    step.noise = 5.0
    stepped(session, module, step, some())
    with pytest.raises(WithheldError, match=r"of 8 examples \(largest difference .* so the shares are withheld"):
        session.run()


@pytest.mark.slow
def test_a_step_that_calls_another_model_from_now_on_is_followed() -> None:
    module, step = Two().eval(), Step()
    session = prepared(module, step)
    first = session.run().values
    step.net = "other"
    stepped(session, module, step, some())
    found, wanted = session.run().values, prepared(module, step).run().values
    assert found["agreement"] == 1
    assert found["total/image"] == pytest.approx(wanted["total/image"], rel=1e-5)
    assert found["total/image"] != pytest.approx(first["total/image"], rel=1e-2)
    assert "the step computes its scores in another way than before" in "".join(session.remarks.pop_lines())


@pytest.mark.slow
def test_a_step_that_shows_no_logits_is_named() -> None:
    module = Answering().eval()
    session = prepared(module, lambda module, batch: None)
    assert "agreement" not in session.run().values
    assert "agreement" not in session.keys
    assert "no module returns logits of every token to <lambda>" in "".join(session.remarks.pop_lines())


def sentences_with(further: int) -> dict[str, Tensor]:
    """Return sentences of which some labels are those of further answers behind the first."""
    batch = some(of="sentences")
    last = (batch["labels"] != -100).long().cumsum(1).argmax(1)
    rows = torch.arange(len(last))
    for row, place in zip(rows[:further], last[:further] - 1, strict=True):
        batch["labels"][row, place] = -100  # "answer", a gap, and "red": two answers
    return batch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("further", "factor", "said"),
    [(0, 1.0, ""), (24, 1.0, "it includes 8 labelled tokens after the first answers"), (0, 3.0, "label smoothing")],
)
def test_a_loss_of_other_tokens_than_the_answers_that_are_read_is_named(further: int, factor: float, said: str) -> None:
    def reweighted(_: nn.Module, args: Any, found: Any) -> None:
        if found.loss is not None:
            found["loss"] = factor * found.loss

    module = Answering().eval()
    module.model.register_forward_hook(reweighted)
    session = Session(SessionConfig(parse_modalities(NAMED), **FEW))
    session.meet(module)
    session.collect(sentences_with(further), range)
    session.dry_run(module, step=Step())
    session.complete()
    lines = "".join(session.remarks.pop_lines())
    assert "likelihood" in lines
    assert (said in lines) if said else ("the loss of your step" not in lines)
