"""GradientModulation: the paper's coefficient and noise, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mviz_lightning import ConfigurationError
from mviz_lightning.actions import Alarms, GradientModulation
from mviz_lightning.batch import parse_modalities


def alarms(totals, silent=("text",), module=None):
    values = {f"total/{name}": total for name, total in totals.items()}
    encoders = {name: [name] for name in totals}
    return Alarms(
        SimpleNamespace(), module or nn.Identity(), parse_modalities(list(totals)), silent, (), values, encoders
    )


def test_the_coefficient_is_that_of_the_paper():
    found = GradientModulation(0.1).coefficients(alarms({"image": 0.81, "text": 0.01}))
    assert found == {"image": pytest.approx(1 - math.tanh(0.1 * 9)), "text": 1}


def test_of_three_modalities_each_is_compared_with_the_mean_of_the_others():
    found = GradientModulation(0.2).coefficients(alarms({"image": 0.64, "text": 0.01, "sound": 0.49}))
    assert found == {
        "image": pytest.approx(1 - math.tanh(0.2 * math.sqrt(0.64 / 0.25))),
        "text": 1,
        "sound": pytest.approx(1 - math.tanh(0.2 * math.sqrt(0.49 / 0.325))),
    }


def test_nothing_is_held_back_that_does_not_run_ahead_and_nothing_that_is_silent():
    assert set(GradientModulation().coefficients(alarms({"image": 0.3, "text": 0.3})).values()) == {1}
    both = alarms({"image": 0.9, "text": 0.01}, silent=("image", "text"))
    assert set(GradientModulation().coefficients(both).values()) == {1}


def test_where_nothing_runs_ahead_the_alarm_names_no_factor():
    level = alarms({"image": 0.3, "text": 0.3})
    assert GradientModulation().announce(level) == (
        "Until the alarm ends, noise is added to the gradients of the encoders."
    )
    assert GradientModulation(noise=False).announce(level) == ""
    assert GradientModulation(0.1).announce(alarms({"image": 0.81, "text": 0.01})).endswith(": image by 0.28.")


def test_a_total_of_0_or_below_is_no_division_by_0():
    found = GradientModulation(0.1).coefficients(alarms({"image": 0.9, "text": -0.001}))
    assert found["image"] == pytest.approx(1 - math.tanh(0.1 * math.sqrt(0.9 / 0.01)))


def backward(noise=True, number=0, **settings):
    torch.manual_seed(0)
    module = nn.ModuleDict({"image": nn.Linear(200, 50), "text": nn.Linear(200, 50), "head": nn.Linear(50, 2)})
    optimizer = torch.optim.SGD([*module["image"].parameters(), *module["text"].parameters()], lr=0.1)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape) * 0.5 + 1
    before = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    action, state = GradientModulation(0.1, noise=noise, **settings), torch.get_rng_state()
    standing = alarms({"image": 0.81, "text": 0.01}, module=module)
    with action.during_step(optimizer, standing, number):
        after = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    assert torch.equal(state, torch.get_rng_state())
    return before, after, 1 - math.tanh(0.9)


def test_without_noise_gradients_of_the_encoder_that_runs_ahead_are_multiplied():
    before, after, k = backward(noise=False)
    for name, gradient in before.items():
        expected = k * gradient if name.startswith("image") else gradient
        torch.testing.assert_close(after[name], expected, rtol=1e-6, atol=0)


def test_noise_has_the_gradients_own_spread_and_touches_weights_of_encoders_alone():
    before, after, k = backward()
    for name, factor in (("image.weight", k), ("text.weight", 1.0)):
        noise = after[name] - factor * before[name]
        assert abs(float(noise.mean())) < 4 * 0.5 / 100  # of 10,000 entries
        assert float(noise.std()) == pytest.approx(float(before[name].std()), rel=0.04)
    torch.testing.assert_close(after["image.bias"], k * before["image.bias"])
    for name in ("text.bias", "head.weight", "head.bias"):
        assert torch.equal(after[name], before[name])


def test_noise_depends_on_seed_and_step_alone():
    first, again, later, other = (backward(**given)[1] for given in ({}, {}, {"number": 1}, {"seed": 1}))
    assert torch.equal(first["image.weight"], again["image.weight"])
    assert not torch.equal(first["image.weight"], later["image.weight"])
    assert not torch.equal(first["image.weight"], other["image.weight"])
    assert not torch.equal(first["image.weight"] - first["text.weight"], torch.zeros(()))


@pytest.mark.parametrize("alpha", [-1, "x", None])
def test_impossible_strengths_are_refused(alpha):
    with pytest.raises(ConfigurationError, match=r"GradientModulation\(alpha=.*give a number, 0 or more"):
        GradientModulation(alpha)
