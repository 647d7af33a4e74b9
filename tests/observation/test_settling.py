"""From one call of a step to the call of the model, the scores, the target and the task."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.batches import floats
from helpers.steps import TwoNets, batch, observed
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning.engine.agreement import deviation_beyond_noise
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.errors import ConfigurationError, NotMeasurableError
from mviz_lightning.observation.heads import heads_of


def expected(module: Any, data: Any) -> Tensor:
    """Return the model's own scores."""
    with torch.no_grad():
        return module(data["image"], data["text"])


def scores_of(found: Any, module: Any, data: Any) -> Tensor:
    with torch.no_grad():
        return found.way.call.predict(module, dict(data)).detach()


def labels_of(found: Any, module: Any, data: Any) -> Tensor:
    return found.target.compute(module, dict(data))


def other() -> dict[str, Any]:
    """Return other examples than those of the observed batch, and fewer."""
    return {"image": floats(7, 4, seed=11), "text": floats(7, 3, seed=12), "y": torch.tensor([4, 0, 1, 2, 3, 3, 1])}


def run(step: Callable[[Any, Any], Any], outputs: int = 5, **more: Any) -> tuple[Any, TwoNets]:
    module = TwoNets(step, outputs)
    return observed(module, batch(**more)), module


STEPS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "forward": (lambda m, b: functional.cross_entropy(m(b["image"], b["text"]), b["y"]), "forward"),
    "named": (lambda m, b: functional.cross_entropy(m(text=b["text"], image=b["image"]), b["y"]), "forward"),
    "a loss module": (lambda m, b: nn.CrossEntropyLoss()(m(b["image"], b["text"]), b["y"]), "forward"),
    "forward without call": (
        lambda m, b: functional.cross_entropy(m.forward(b["image"], b["text"]), b["y"]),
        "forward",
    ),
    "encoders": (
        lambda m, b: functional.cross_entropy(
            m.image_net(b["image"]) * m.text_net(b["text"]) + m.image_net(b["image"]), b["y"]
        ),
        "call",
    ),
    "log-probabilities": (
        lambda m, b: functional.nll_loss(m(b["image"], b["text"]).log_softmax(1), b["y"]),
        "forward",
    ),
    "looked up": (
        lambda m, b: -m(b["image"], b["text"]).log_softmax(1).gather(1, b["y"][:, None]).mean(),
        "forward",
    ),
    "only an accuracy": (lambda m, b: (m(b["image"], b["text"]).argmax(1) == b["y"]).float().mean(), "forward"),
    "rows that a mask picks": (
        lambda m, b: functional.cross_entropy(m(b["image"], b["text"])[b["y"] > 0], b["y"][b["y"] > 0]),
        "forward",
    ),
    "numbers that left PyTorch": (
        lambda m, b: functional.cross_entropy(m(b["image"] * 1.0, b["text"]) * float(b["y"].max() > -1), b["y"]),
        "replay",
    ),
}


@pytest.mark.parametrize(("step", "way"), STEPS.values(), ids=STEPS)
def test_scores_and_target_of_other_examples_are_the_steps_own(step: Callable[[Any, Any], Any], way: str) -> None:
    found, module = run(step)

    assert found.way.name == way
    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))
    known = torch.ones(7, dtype=torch.bool) if found.target.known is None else found.target.known(module, other())
    assert torch.equal(labels_of(found, module, other()).flatten()[known], other()["y"][known])


def test_rows_that_the_step_leaves_out_have_no_label() -> None:
    found, module = run(STEPS["rows that a mask picks"][0])
    data = batch()

    from helpers.steps import trial_of  # the probe of the same examples

    labels = found.target.of(module, trial_of(data))

    assert torch.equal(labels, torch.where(data["y"][:16] > 0, data["y"][:16], -100))


def test_a_temperature_stays_with_the_scores() -> None:
    found, module = run(lambda m, b: functional.cross_entropy(m(b["image"], b["text"]) / 0.5, b["y"]))

    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()) / 0.5)


def test_a_prior_that_is_added_belongs_to_the_scores() -> None:
    prior = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    found, module = run(lambda m, b: functional.cross_entropy(m(b["image"], b["text"]) + prior, b["y"]))

    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()) + prior)


def test_a_number_that_a_schedule_changes_is_read_anew() -> None:
    found, module = run(lambda m, b: functional.cross_entropy(m(b["image"], b["text"]) * m.alpha, b["y"]))
    module.alpha = 5.0

    assert found.way.name == "replay"
    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()) * 5)


def test_a_target_that_the_step_computes_is_computed_for_other_examples() -> None:
    found, module = run(lambda m, b: functional.cross_entropy(m(b["image"], b["text"]), (b["y"] + 1) % 5))

    assert torch.equal(labels_of(found, module, other()), (other()["y"] + 1) % 5)
    assert found.target.path == "y"


def test_a_target_made_outside_pytorch_is_that_of_a_replay() -> None:
    def step(m: Any, b: Any) -> Tensor:
        y = torch.tensor([int(value) for value in b["y"].tolist()])
        return functional.cross_entropy(m(b["image"], b["text"]), y)

    found, module = run(step)

    assert torch.equal(labels_of(found, module, other()), other()["y"])


TASKS: list[tuple[int, Callable[[Tensor, Any], Any], str]] = [
    (5, lambda z, b: functional.cross_entropy(z, b["y"]), "multiclass"),
    (5, lambda z, b: functional.cross_entropy(z, functional.one_hot(b["y"], 5).float() * 0.9 + 0.02), "multiclass"),
    (1, lambda z, b: functional.binary_cross_entropy_with_logits(z.squeeze(1), (b["y"] > 2).float()), "binary"),
    (1, lambda z, b: functional.binary_cross_entropy(z.sigmoid().squeeze(1), (b["y"] > 2).float()), "binary"),
    (
        5,
        lambda z, b: functional.binary_cross_entropy_with_logits(z, (b["y"][:, None] > torch.arange(5)).float()),
        "multilabel",
    ),
    (
        5,
        lambda z, b: functional.binary_cross_entropy_with_logits(z, functional.one_hot(b["y"], 5).float()),
        "multiclass",
    ),
    (1, lambda z, b: functional.mse_loss(z.squeeze(1), b["y"].float()), "regression"),
]


@pytest.mark.parametrize(("outputs", "loss", "task"), TASKS)
def test_the_loss_tells_the_task(outputs: int, loss: Callable[[Tensor, Any], Any], task: str) -> None:
    found, module = run(lambda m, b: loss(m(b["image"], b["text"]), b), outputs)

    assert found.task == task
    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))


def test_two_losses_on_one_head_are_one_head() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        return functional.cross_entropy(z, b["y"]) + functional.multi_margin_loss(z, b["y"])

    found, _ = run(step)

    assert list(found.further) == []


def test_sums_of_one_output_are_one_head() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z, y = m(b["image"], b["text"]), (b["y"][:, None] > torch.arange(5)).float()
        return -(functional.logsigmoid(z) * y + (functional.logsigmoid(z) - z) * (1 - y)).mean()

    found, module = run(step)

    assert list(found.further) == []
    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))


def test_columns_from_which_one_value_is_taken_off_are_quantiles() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        errors = torch.stack([b["y"] - z[:, column] for column in range(3)])
        return torch.maximum(0.9 * errors, -0.1 * errors).mean()

    found, module = run(step, outputs=3)

    assert found.task == "regression"
    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))


def test_signed_scores_of_all_pairs_are_a_contrast() -> None:
    def step(m: Any, b: Any) -> Tensor:
        grid = m.image_net(b["image"]) @ m.text_net(b["text"]).T - 1
        return -functional.logsigmoid((2 * torch.eye(len(grid)) - 1) * grid).sum()

    found, module = run(step)
    data = other()

    assert found.head.contrastive
    assert found.target is None
    with torch.no_grad():
        grid = module.image_net(data["image"]) @ module.text_net(data["text"]).T - 1
    torch.testing.assert_close(scores_of(found, module, data), grid)


def test_of_several_contrasts_the_first_grid_counts() -> None:
    def step(m: Any, b: Any) -> Tensor:
        image, text, both = m.image_net(b["image"]), m.text_net(b["text"]), m(b["image"], b["text"])
        own = torch.arange(len(image))
        return functional.cross_entropy(image @ text.T, own) + functional.cross_entropy(text @ both.T, own)

    found, module = run(step)
    data = other()

    assert len(found.further) == 1
    with torch.no_grad():
        grid = module.image_net(data["image"]) @ module.text_net(data["text"]).T
    torch.testing.assert_close(scores_of(found, module, data), grid)


def test_the_head_of_all_modalities_is_the_main_one() -> None:
    def step(m: Any, b: Any) -> Tensor:
        alone = functional.cross_entropy(m.image_net(b["image"]), b["y"])
        return alone + functional.cross_entropy(m(b["image"], b["text"]), b["y"])

    found, module = run(step)

    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))
    assert list(found.further) == ["image_net"]


def test_two_heads_for_one_label_are_asked_about() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        deeper = m.image_net(b["image"]) + m.text_net(b["text"])
        return functional.cross_entropy(z, b["y"]) + functional.cross_entropy(deeper, b["y"])

    with pytest.raises(ConfigurationError, match="it is unclear which one is the prediction"):
        run(step)


def test_a_constant_of_the_labels_shape_is_no_label() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        real = m.image_net(b["image"]) + m.text_net(b["text"])
        smooth = torch.full_like(b["y"].float(), 0.9)
        adversarial = functional.binary_cross_entropy_with_logits(real[:, 0], smooth)
        return functional.cross_entropy(z, b["y"]) + adversarial

    found, module = run(step)

    torch.testing.assert_close(scores_of(found, module, other()), expected(module, other()))


def test_of_scores_for_every_position_the_axis_of_the_classes_is_known() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"]).unsqueeze(2).expand(-1, -1, 4).clone()
        return functional.cross_entropy(z, b["y"][:, None].expand(-1, 4))

    found, *_ = run(step)
    assert found.head.axes == PositionAxes(1)
    assert found.task == "multiclass"


def test_a_reconstruction_is_no_label() -> None:
    with pytest.raises(ConfigurationError, match="modalities= names"):
        run(lambda m, b: functional.mse_loss(m(b["image"], b["text"]), b["image"]), 4)


def test_scores_that_no_seed_repeats_are_refused_with_the_measured_difference() -> None:
    def step(m: Any, b: Any) -> Tensor:
        noise = torch.tensor([[random.SystemRandom().gauss(0, 1)] for _ in b["y"]])
        return functional.cross_entropy(m(b["image"], b["text"]) + noise.expand(-1, 5) * torch.arange(5), b["y"])

    with pytest.raises(NotMeasurableError, match="largest difference"):
        run(step)


@pytest.mark.parametrize("size", [0.1, 3.0])
def test_sampled_scores_are_those_of_the_step_if_the_noise_explains_the_difference(size: float) -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        return functional.cross_entropy(z + size * torch.randn_like(z), b["y"])

    found, module = run(step)
    torch.manual_seed(0)
    runs = torch.stack([scores_of(found, module, other()) for _ in range(200)])
    assert found.way.name == "call"
    torch.testing.assert_close(runs.std(0).mean(), torch.tensor(size), rtol=0.1, atol=0)


def test_other_scores_are_not_taken_for_noise() -> None:
    """Of 16 rows and 5 outputs, scores that are shifted by 5 spreads of the noise are not the step's own."""
    own, draws = torch.randn(16, 5), torch.randn(8, 16, 5) + 5
    assert deviation_beyond_noise(own, draws) > 1
    assert deviation_beyond_noise(own, draws - 5) == 0


def test_scores_computed_from_their_target_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="computed from the labels"):
        run(lambda m, b: functional.cross_entropy(m(b["image"], b["text"]) + b["y"][:, None], b["y"]))


def test_named_labels_choose_the_head() -> None:
    def step(m: Any, b: Any) -> Tensor:
        z = m(b["image"], b["text"])
        return functional.cross_entropy(z, b["y"]) + functional.cross_entropy(z.flip(1), b["z"])

    module = TwoNets(step)
    found = observed(module, batch(z=torch.arange(20) % 5), "z")

    assert found.target.path == "z"


def test_a_step_without_scores_has_no_heads() -> None:
    from helpers.steps import record_of

    module = TwoNets(lambda m, b: m(b["image"], b["text"]).mean())

    assert heads_of(record_of(module, batch())) == []
