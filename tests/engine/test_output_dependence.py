"""Which of several outputs is read, and what is said where a modality does not reach it."""

import re
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.batches import FAMILIES, Example, ModelCase, OnBatch, floats, integers, pair_batch, probe_of
from torch import Tensor, nn

from mviz_lightning import MonitorWarning, explain
from mviz_lightning.engine import Evaluator
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.dry_run_checks import warn_of_outputs
from mviz_lightning.engine.model_outputs import ModelOutputs, scores

BATCH = pair_batch(20)
TABLE = floats(4, 3, seed=7)


def heads(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores of the image, of the text, and of both."""
    image, text = batch["image"] @ TABLE, batch["text"].clone()
    return image, text, image * text


def said(module: nn.Module, batch: Any = BATCH, modalities: Any = ("image", "text"), predict: Any = None) -> str:
    """Return the one warning of what is read; nothing where there is none."""
    return said_and_logged(module, batch, modalities, predict)[0]


def said_and_logged(
    module: nn.Module, batch: Any = BATCH, modalities: Any = ("image", "text"), predict: Any = None
) -> tuple[str, str]:
    """Return the one warning of what is read, and the line for the log."""
    probe = probe_of(batch, modalities)
    call = choose_call(module.eval(), probe.schema, batch, predict)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = warn_of_outputs(Evaluator(module, call.predict), probe, call)
    assert len(caught) <= 1
    return str(caught[0].message) if caught else "", line


def pasted(message: str) -> Any:
    """Return the function that the message proposes, as Python reads it."""
    return eval(re.search(r"predict=(lambda .*?)\.(?: |$)", message).group(1))  # noqa: S307 - it is our own


def on_batch(function: Any) -> OnBatch:
    return OnBatch(lambda _, batch: function(batch))


CONTAINERS = {
    "tuple": (tuple, "[0]", "[2]"),
    "list": (list, "[0]", "[2]"),
    "nested": (lambda found: (found[:2], {"fused": found[2]}), "[0][0]", '[1]["fused"]'),
    "logits beside others": (lambda found: {"logits": found[0], "fused": found[2]}, '["logits"]', '["fused"]'),
}


@pytest.mark.parametrize(("make", "taken", "better"), CONTAINERS.values(), ids=CONTAINERS.keys())
def test_a_modality_that_does_not_reach_the_output_is_named_with_an_output_that_all_reach(make, taken, better):
    message = said(on_batch(lambda batch: make(heads(batch))))
    assert message.startswith("swapping 'text' among 16 examples leaves the scores bit-identical. ")
    assert f"{taken} (20, 3) of what the model returns is read as the scores, and not " in message
    assert f"{better} (20, 3)" in message
    assert message.endswith(f"pass predict=lambda module, batch: module(batch){better}.")
    module = on_batch(lambda batch: make(heads(batch)))
    assert torch.equal(pasted(message)(module, BATCH), heads(BATCH)[2])
    assert said(module, predict=pasted(message)) == ""


def test_the_advice_measures_what_both_modalities_reach():
    class Heads(nn.Module):
        def forward(self, image, text):
            return heads({"image": image, "text": text})

    settings = {"modalities": ["image", "text"], "target": "labels", "num_examples": 32, "group_size": 8}
    batch = pair_batch(32)
    with pytest.warns(MonitorWarning, match="swapping 'text' among 16 examples") as caught:
        wrong = explain(Heads(), [batch], **settings).values
    line = 'predict=lambda module, batch: module(image=batch["image"], text=batch["text"])[2].'
    assert len(caught) == 1
    assert str(caught[0].message).endswith(line)
    found = explain(Heads(), [batch], predict=pasted(line), **settings).values
    fused = explain(on_batch(lambda given: heads(given)[2]), [batch], **settings).values
    assert wrong["total/text"] == pytest.approx(0, abs=1e-12)
    assert {k: v for k, v in found.items() if k != "seconds"} == {k: v for k, v in fused.items() if k != "seconds"}
    assert found["total/text"] > 0.3


@pytest.mark.parametrize(
    ("batch", "modalities", "call"),
    [
        ((BATCH["image"], BATCH["text"]), ["0", "1"], "module(batch[0], batch[1])"),
        (
            {"x": {"image": BATCH["image"]}, "text": BATCH["text"]},
            ["x.image", "text"],
            'module(batch["x"]["image"], batch["text"])',
        ),
        (Example(BATCH["image"], BATCH["text"], BATCH["labels"]), ["image", "text"], "module(batch.image, batch.text)"),
    ],
    ids=["tuple", "nested", "dataclass"],
)
@pytest.mark.filterwarnings("ignore:the parameters of forward have other names")
def test_the_line_to_paste_reads_any_batch(batch, modalities, call):
    class Positional(nn.Module):
        def forward(self, *values):
            image, text, *_ = values
            return heads({"image": image, "text": text})

    message = said(Positional(), batch, modalities)
    assert f"predict=lambda module, batch: {call}[2]." in message
    assert torch.equal(pasted(message)(Positional(), batch), heads(BATCH)[2])


def test_without_another_output_the_call_is_doubted():
    message = said(on_batch(lambda batch: batch["image"] @ TABLE))
    assert message == (
        "swapping 'text' among 16 examples leaves the scores bit-identical. The model is called as "
        "forward(batch=batch) and returns no other scores. If your validation_step calls it differently, replace this "
        "call by yours: pass predict=lambda module, batch: module(batch)."
    )


def test_of_ones_own_predict_another_return_value_is_asked_for():
    message = said(on_batch(heads), predict=lambda module, batch: module(batch))
    assert message.endswith(
        "To choose an output yourself, return outputs[2] from the function that you pass as predict=."
    )


class Headless(nn.Module):
    """No forward; a submodule that returns features of the image before the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.net = OnBatch(lambda _, batch: (batch["image"] @ TABLE, heads(batch)[2]), part=nn.Linear(1, 1))


def test_the_call_of_a_submodule_leaves_the_choice_of_an_output_open():
    message = said(Headless())
    assert "[0] (20, 3) of what the model returns is read as the scores, and not [1] (20, 3)." in message
    assert message.endswith("pass predict=lambda module, batch: module.net(batch)[1].")
    assert torch.equal(pasted(message)(Headless(), BATCH), heads(BATCH)[2])


class Gated(nn.Module):
    """Flamingo's gate: closed at initialisation, so that the image changes no bit yet."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return text + self.gate.tanh() * (image @ TABLE)


class Constant(nn.Module):
    """A head that is 0 at initialisation, beside its hidden features."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        hidden = text + image @ TABLE
        return self.head(hidden), hidden


HEALTHY = {
    "a gate that is still closed": (Gated(), BATCH),
    "a head that is still 0, of several outputs": (Constant(), BATCH),
    "a modality that is constant here": (on_batch(lambda b: heads(b)[2]), BATCH | {"text": torch.ones(20, 3)}),
    "a single example": (on_batch(lambda b: heads(b)[2]), pair_batch(1)),
    "a constant that decides by a branch": (
        on_batch(lambda b: b["image"] * (2 if bool(b["text"].sum() > 0) else 1)),
        BATCH | {"text": torch.ones(20, 3)},
    ),
    "a constant by way of NumPy": (
        on_batch(lambda b: b["image"] @ TABLE + torch.from_numpy(b["text"].numpy() * 2)),
        BATCH | {"text": torch.ones(20, 3)},
    ),
    "constant words": (
        on_batch(lambda b: b["image"] @ TABLE * len(b["text"][0])),
        BATCH | {"text": ["word"] * 20},
    ),
    "by way of NumPy": (on_batch(lambda b: b["image"] @ TABLE + torch.from_numpy(b["text"].numpy() * 2)), BATCH),
    "decides by a branch": (on_batch(lambda b: b["image"] * (1 + (b["text"][:, :1] > 0))), BATCH),
    "not finite": (on_batch(lambda b: b["image"] / 0 * 0), BATCH),
    "the whole of several": (on_batch(lambda b: heads(b)[::-1]), BATCH),
}


@pytest.mark.parametrize(("module", "batch"), HEALTHY.values(), ids=HEALTHY.keys())
def test_healthy_models_are_not_warned_of(module, batch):
    assert said(module, batch) == ""


@pytest.mark.parametrize(
    "batch", [BATCH | {"text": torch.ones(20, 3)}, pair_batch(1)], ids=["constant", "a single example"]
)
def test_a_modality_that_cannot_be_swapped_is_named_if_no_operation_leads_from_it_to_the_output(batch):
    message = said(on_batch(lambda given: heads(given)[::2]), batch)
    assert message.startswith("no operation leads from 'text' to the scores. [0] ")
    assert message.endswith("pass predict=lambda module, batch: module(batch)[1].")


def test_only_few_examples_that_differ_are_enough_to_swap():
    text = torch.ones(200, 3)
    text[-1] = 2
    message = said(on_batch(lambda given: given["image"] @ TABLE), pair_batch(200) | {"text": text})
    assert message.startswith("swapping 'text' among 16 examples leaves the scores bit-identical.")


@pytest.mark.parametrize("name", ["a gate that is still closed", "a head that is still 0, of several outputs"])
def test_once_a_model_is_trained_weights_that_are_still_0_are_no_excuse(name):
    (module, batch), named = HEALTHY[name], set()
    probe = probe_of(batch)
    call = choose_call(module.eval(), probe.schema, batch, None)
    silent = "'image'" if isinstance(module, Gated) else "'image' or 'text'"
    with pytest.warns(MonitorWarning, match=f"swapping {silent} among 16 examples leaves the scores bit-identical"):
        warn_of_outputs(Evaluator(module, call.predict), probe, call, named, trained=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_outputs(Evaluator(module, call.predict), probe, call, named, trained=True)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_every_family_of_models_is_reached_by_all_modalities(family):
    case: ModelCase = family(16)
    assert said(case.module, case.batch, case.modalities, case.predict) == ""


def test_examples_that_differ_in_the_mask_alone_prove_something():
    batch = BATCH | {"text": torch.ones(20, 3), "mask": integers(2, 20, 3)}
    message = said(on_batch(lambda given: given["image"] @ TABLE), batch, {"image": "image", "text": ["text", "mask"]})
    assert "swapping 'text'" in message


def test_which_output_is_read_is_a_line_for_the_log():
    warned, line = said_and_logged(on_batch(lambda batch: (heads(batch)[2], floats(20, 9))))
    assert warned == ""
    assert line == (
        "[0] (20, 3) of what the model returns is read as the scores, and not [1] (20, 9). To "
        "choose an output yourself, pass predict=lambda module, batch: module(batch)[0]."
    )


@pytest.mark.parametrize(
    "outputs",
    [
        heads(BATCH)[2],
        (heads(BATCH)[2],),
        [heads(BATCH)[2], "hidden"],
        (heads(BATCH)[2], torch.tensor(0.5), BATCH["labels"]),
    ],
    ids=["a tensor", "a tuple of one", "beside a word", "beside a loss and integers"],
)
def test_where_there_is_nothing_to_choose_nothing_is_guessed(outputs):
    assert not ModelOutputs.of(outputs).guessed


def test_of_dozens_of_outputs_six_are_named():
    outputs = (floats(5, 2), tuple(floats(5, 2, seed=k) for k in range(12)))
    found = ModelOutputs.of(outputs)
    assert found.rest.startswith("[1][0] (5, 2), [1][1] (5, 2)")
    assert found.rest.endswith("[1][5] (5, 2) and 6 more")


@pytest.mark.parametrize(
    ("outputs", "taken"),
    [
        (floats(5, 2), ""),
        ((floats(5, 2), 1), "[0]"),
        ([SimpleNamespace(logits=floats(5, 2))], "[0].logits"),
        ({"logits": floats(5, 2)}, '["logits"]'),
        (({"logits": floats(5, 2)},), '[0]["logits"]'),
    ],
)
def test_the_way_to_the_scores_is_python(outputs, taken):
    assert ModelOutputs.of(outputs).taken == taken
    assert eval(f"outputs{taken}", {"outputs": outputs}) is scores(outputs)  # noqa: S307
