"""Derivatives by a modality's entries, against one row at a time by hand and against known answers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.batches import floats, integers, probe_of, seeded
from helpers.tally import Tally
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine.derivative import Points, _Derivation, derive
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.engine.second_order import second_derivatives

COUNT, HIGH = 10, 12
BATCH = {"image": floats(COUNT, 4), "text": integers(HIGH - 1, COUNT, 3) + 1}
BASELINE = torch.tensor([[0.5, -1.0, 0.0, 2.0]])


class Words(nn.Module):
    """A sum of embeddings behind a bend; counts the rows that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.seen = nn.Embedding(HIGH, 5), Tally()

    def forward(self, text: Tensor) -> Tensor:
        self.seen.seen.append(len(text))
        return self.words(text).sum(1).tanh()


class Late(nn.Module):
    """``forward(image, text)``, smooth, with interactions."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Sequential(nn.Linear(4, 5), nn.Tanh()), Words()
        self.head = nn.Linear(5, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        left, right = self.image(image), self.text(text)
        return self.head(left * right + left + right)


def probe(batch: Any = BATCH) -> Probe:
    found = probe_of(batch)
    segments = {
        "image": Segments("image", torch.tensor([[0, 1, 2, 3]]), BASELINE),
        "text": Segments("text", torch.tensor([[0, 1, 2]]), 0),
    }
    return Probe(found.schema, found.leaves, found.groups, segments)


def evaluator(module: nn.Module, **options: Any) -> Evaluator:
    return Evaluator(module, lambda module, batch: module(batch["image"], batch["text"]), **options)


def asked(modality: str, steps: int = 1, rows: int = 24) -> Derivative:
    return Derivative(Query(integers(COUNT, rows, 2)), integers(3, rows, seed=4), modality, steps)


def by_hand(module: Late, wanted: Derivative) -> Tensor:
    """One row and one step at a time."""
    found = []
    for (i, j), output in zip(wanted.rows.sources.tolist(), wanted.outputs.tolist(), strict=True):
        image, embedded = BATCH["image"][i], module.text.words.weight[BATCH["text"][j]].detach()
        without = BASELINE[0] if wanted.modality == "image" else module.text.words.weight[0].detach().expand(3, 5)
        whole = image if wanted.modality == "image" else embedded
        total = torch.zeros_like(whole)
        for step in range(wanted.steps):
            middle = (step + 0.5) / wanted.steps
            share, weight = (1.0, 1.0) if wanted.steps == 1 else (middle**2, 2 * middle)
            point = (without + share * (whole - without)).detach().requires_grad_()
            left, right = (point, embedded) if wanted.modality == "image" else (image, point)
            left, right = module.image(left[None]), right.sum(0).tanh()[None]
            module.head(left * right + left + right)[0, output].backward()
            assert point.grad is not None
            total += weight * point.grad * (whole - without)
        part = total.detach() / wanted.steps
        found.append(part if wanted.modality == "image" else part.sum(-1))
    module.zero_grad()
    return torch.stack(found)


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_derivatives_are_those_of_one_row_at_a_time(modality: str, steps: int, *, reuse: bool) -> None:
    module, wanted = seeded(Late), asked(modality, steps)
    asking = evaluator(module, reuse=reuse, chunk_size=7)
    found = derive(asking, probe(), wanted)
    torch.testing.assert_close(found, by_hand(module, wanted), rtol=1e-4, atol=1e-6)
    assert asking.reuse is reuse
    assert asking.rows == 24 * steps


def counted_points(monkeypatch: pytest.MonkeyPatch, method: str) -> list[int]:
    """Return the numbers of points with which a method will be called."""
    counts, original = list[int](), getattr(_Derivation, method)

    def counting(self: Any, points: Points, *given: Any) -> Tensor:
        counts.append(len(points))
        return original(self, points, *given)

    monkeypatch.setattr(_Derivation, method, counting)
    return counts


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_of_large_inputs_few_points_and_few_derivatives_are_held_at_once(
    modality: str, monkeypatch: pytest.MonkeyPatch, *, reuse: bool
) -> None:
    row = {"image": 4 * 4, "text": 3 * 8}[modality]  # bytes of the entries of one row
    width = {"image": 1, "text": 5}[modality]
    monkeypatch.setattr("mviz_lightning.engine.derivative.POINTS_BYTES", 20 * row * width)
    monkeypatch.setattr("mviz_lightning.engine.derivative.DERIVATIVE_BYTES", 3 * 8 * row)
    held, at_once = counted_points(monkeypatch, "at"), counted_points(monkeypatch, "_forward")
    module, wanted = seeded(Late), asked(modality, steps=8)
    found = derive(evaluator(module, reuse=reuse, chunk_size=128), probe(), wanted)
    torch.testing.assert_close(found, by_hand(module, wanted), rtol=1e-4, atol=1e-6)
    assert held[:8] == [3 * 8] * 8
    assert max(at_once) == 20 if reuse else 16


@pytest.mark.parametrize("modality", ["image", "text"])
def test_integrated_gradients_add_up_to_what_the_whole_modality_changes(modality: str) -> None:
    module, wanted = seeded(Late), asked(modality, 64)
    asking, segments = evaluator(module), {"image": 4, "text": 3}[modality]
    found = derive(asking, probe(), wanted).flatten(1).sum(1)
    masked = Query(wanted.rows.sources, {modality: torch.zeros(24, segments, dtype=torch.bool)})
    whole, without = (
        asking.plain(probe(), rows).gather(1, wanted.outputs[:, None])[:, 0] for rows in (wanted.rows, masked)
    )
    torch.testing.assert_close(found, whole - without, rtol=1e-3, atol=1e-4)


def test_a_linear_model_gives_its_weights_times_the_distance_from_the_baseline() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.tensor([[1.0, -2.0, 3.0, 0.0]]))

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return (image * self.weights).sum(1) + text.sum(1)

    wanted = Derivative(Query.aligned(torch.arange(COUNT), 2), torch.zeros(COUNT, dtype=torch.long), "image")
    found = derive(evaluator(Linear()), probe(), wanted)
    torch.testing.assert_close(found, (BATCH["image"] - BASELINE) * torch.tensor([1.0, -2.0, 3.0, 0.0]))


class Filled(Late):
    """Fills missing values in by itself."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return super().forward(image.nan_to_num(0.25), text)


def with_gaps() -> tuple[Any, Tensor]:
    """Return the batch without some of its values, and where they are missing."""
    missing = integers(4, COUNT, 4, seed=9) == 0
    return {**BATCH, "image": BATCH["image"].masked_fill(missing, torch.nan)}, missing


@pytest.mark.parametrize("steps", [1, 5])
def test_missing_values_that_the_model_fills_in_count_for_nothing(steps: int) -> None:
    batch, missing = with_gaps()
    wanted = asked("image", steps)
    found = derive(evaluator(seeded(Filled)), probe(batch), wanted)
    filled = probe({**batch, "image": batch["image"].nan_to_num(0.25)})
    absent = missing[wanted.rows.sources[:, 0]]
    assert bool((found[absent] == 0).all())
    if steps == 1:
        torch.testing.assert_close(found[~absent], derive(evaluator(seeded(Late)), filled, wanted)[~absent])
    assert bool(found[~absent].isfinite().all())


def test_second_derivatives_leave_missing_values_out() -> None:
    batch, missing = with_gaps()
    wanted = replace(asked("image"), against="text")
    found = second_derivatives(evaluator(seeded(Filled)), probe(batch), wanted)
    filled = probe({**batch, "image": batch["image"].nan_to_num(0.25)})
    absent = missing[wanted.rows.sources[:, 0]]
    assert bool((found[absent] == 0).all())
    torch.testing.assert_close(found[~absent], second_derivatives(evaluator(seeded(Late)), filled, wanted)[~absent])


def test_the_other_modality_is_encoded_once_for_all_steps() -> None:
    module = seeded(Late)
    rows = Query(torch.arange(2).repeat_interleave(2).unsqueeze(1).expand(-1, 2))
    asking = evaluator(module)
    derive(asking, probe(), Derivative(rows, torch.zeros(4, dtype=torch.long), "image", 32))
    seen = module.text.seen.seen
    seen.clear()
    derive(asking, probe(), Derivative(rows, torch.zeros(4, dtype=torch.long), "image", 32))
    assert sum(seen) < 64 < 4 * 32  # the check's rows, the input point's and two distinct ones


def test_tokens_that_an_attention_mask_hides_stand_for_nothing() -> None:
    batch = {"image": floats(COUNT, 4), "text": {"ids": BATCH["text"], "mask": torch.ones(COUNT, 3, dtype=torch.long)}}
    found = probe_of(batch, {"image": "image", "text": ["text.ids", "text.mask"]})
    segments = {"text": Segments("text.mask", torch.tensor([[0, 1, 2]]), 0)}
    there = Probe(found.schema, found.leaves, found.groups, segments)

    def predict(module: Any, batch: Any) -> Tensor:
        hidden = module.words(batch["text"]["ids"]) * batch["text"]["mask"].unsqueeze(-1)
        return hidden.sum((1, 2)).unsqueeze(1) * batch["image"].sum(1, keepdim=True)

    module = seeded(Words)
    wanted = Derivative(Query.aligned(torch.arange(4), 2), torch.zeros(4, dtype=torch.long), "text")
    expected = module.words.weight[BATCH["text"][:4]].sum(-1) * batch["image"][:4].sum(1, keepdim=True)
    torch.testing.assert_close(derive(Evaluator(module, predict), there, wanted), expected.detach())


class Recurrent(Late):
    """Reads the words by an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = nn.LSTM(5, 5, batch_first=True)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.image(image) * self.reads(self.text.words(text))[0][:, -1])


@pytest.fixture
def conv_in_full_precision() -> Iterator[None]:
    """Choose the precision of convolutions by the name of the operation; that of recurrent layers stays TF32."""
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, "ieee"
    yield
    conv.fp32_precision = before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="PyTorch before 2.9 has one precision for all")
@pytest.mark.usefixtures("conv_in_full_precision")
def test_recurrent_layers_are_derived_without_cudnn_whatever_the_precision_of_its_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enabled, lstm = [], torch._VF.lstm
    monkeypatch.setattr(torch._VF, "lstm", lambda *given: enabled.append(torch.backends.cudnn.enabled) or lstm(*given))
    found = derive(evaluator(seeded(Recurrent)), probe(), asked("text"))
    assert found.abs().max() > 0
    assert set(enabled) == {False}
    assert torch.backends.cudnn.enabled
    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.rnn.fp32_precision) == ("ieee", "tf32")


def test_the_model_is_left_as_it_was_and_inference_mode_is_no_obstacle() -> None:
    module, wanted = seeded(Late).train(), asked("image", 3)
    module(BATCH["image"], BATCH["text"]).sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    copies = [None if gradient is None else gradient.clone() for gradient in gradients]
    expected = derive(evaluator(module), probe(), wanted)
    with torch.inference_mode():
        found = derive(evaluator(module), probe(), wanted)
    torch.testing.assert_close(found, expected)
    assert module.training
    for parameter, gradient, copy in zip(module.parameters(), gradients, copies, strict=True):
        assert parameter.grad is gradient
        assert copy is None or torch.equal(gradient, copy)


@pytest.mark.parametrize("detaching", [lambda net: lambda x: net(x).detach(), lambda net: torch.no_grad()(net)])
def test_a_modality_that_no_gradient_reaches_is_said_so(detaching: Any) -> None:
    module = seeded(Late)

    def predict(module: Any, batch: Any) -> Tensor:
        return module.head(detaching(module.image)(batch["image"]) + module.text(batch["text"]))

    with pytest.raises(RuntimeError, match="no gradient of the outputs reaches 'image'.*occlusion"):
        derive(Evaluator(module, predict), probe(), asked("image"))


def test_tokens_without_an_embedding_layer_are_refused() -> None:
    def predict(_: Any, batch: Any) -> Tensor:
        return batch["image"].sum(1) + nn.functional.one_hot(batch["text"], HIGH).float().sum((1, 2))

    with pytest.raises(ConfigurationError, match=r"modalities\['text'\].*no nn.Embedding.*occlusion"):
        derive(Evaluator(nn.Linear(1, 1), predict), probe(), asked("text"))


def test_tokens_that_are_looked_up_in_another_shape_are_said_so() -> None:
    class Trimming(Late):
        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return super().forward(image, text[:, : 5 - len(text)])

    with pytest.raises(RuntimeError, match="looks tokens up in another shape"):
        derive(evaluator(seeded(Trimming)), probe(), asked("text", 1, rows=3))


def test_weights_of_inference_mode_are_named() -> None:
    with torch.inference_mode():
        module = seeded(Late)
    with pytest.raises(RuntimeError, match="image.0.weight.*made in inference mode"):
        derive(evaluator(module), probe(), asked("image"))


def test_encodings_that_hide_another_modality_are_found_out() -> None:
    class Spying(nn.Module):
        """The words' encoder, bent by what left torch's sight of the image."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.note = Words(), Tally()

        def forward(self, text: Tensor) -> Tensor:
            return self.net(text) * torch.tensor(self.note.seen, dtype=torch.float32).view(-1, 1)

    class Model(Late):
        def __init__(self) -> None:
            super().__init__()
            self.text = Spying()  # type: ignore[assignment]

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            self.text.note.seen = [float(found) for found in image.detach().exp().sum(1)]  # type: ignore[attr-defined]
            return super().forward(image, text)

    module, wanted = seeded(Model), asked("image", 8, rows=48)
    asking = evaluator(module)
    with pytest.warns(MonitorWarning, match="cannot be reused"):
        found = derive(asking, probe(), wanted)
    assert not asking.reuse
    torch.testing.assert_close(found, derive(evaluator(module, reuse=False), probe(), wanted))


def test_steps_are_squares_of_the_middles_of_equal_parts() -> None:
    points = Points.of(Derivative(Query.aligned(torch.arange(2), 2), torch.tensor([0, 1]), "image", 4))
    assert points.shares.tolist() == pytest.approx([0.125**2, 0.375**2, 0.625**2, 0.875**2] * 2)
    assert points.rows.sources[:, 0].tolist() == [0] * 4 + [1] * 4
    assert points.outputs.tolist() == [0] * 4 + [1] * 4
    assert Points.of(Derivative(Query.aligned(torch.arange(2), 2), torch.tensor([0, 1]), "image")).shares.tolist() == [
        1,
        1,
    ]
