"""Models that draw random numbers: all rows of a forward get the same noise, so outputs depend on the row alone."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import FAMILIES, OnBatch, call_forward, floats, pair_batch, probe_of
from helpers.few import few, spread
from torch import Tensor, nn
from torch.distributions import Categorical, Dirichlet, Gamma, Normal, StudentT
from torch.nn import functional

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import Segments
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.derivative import derive
from mviz_lightning.engine.dry_run_checks import check_independence
from mviz_lightning.engine.noise_spread import noise_line, noise_spread
from mviz_lightning.engine.query import Derivative
from mviz_lightning.engine.second_order import second_derivatives

COUNT = 12
BATCH = {"image": floats(COUNT, 4), "text": floats(COUNT, 3, seed=1)}
PROBE = probe_of(BATCH)
GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
ALIGNED = Query.aligned(torch.arange(COUNT), 2)


def called(module: Any, batch: Any) -> Tensor:
    return module(batch["image"], batch["text"])


def repeated(values: Tensor) -> Tensor:
    return values.unsqueeze(0).expand(3, -1, -1)


def summed(values: Tensor) -> Tensor:
    return values.float().sum(1, keepdim=True)


def attended(values: Tensor) -> Tensor:
    keys = torch.stack([values, 2 * values, values - 1], 1)
    return functional.scaled_dot_product_attention(values[:, None], keys, keys, dropout_p=0.5)[:, 0]


SAMPLED: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: functional.dropout(x, 0.5, training=True),
    "dropout as on a GPU": lambda x: torch.native_dropout(x, 0.5, True)[0],
    "dropped channels": lambda x: functional.dropout1d(x.unsqueeze(2).expand(-1, -1, 3), training=True).sum(2),
    "alpha dropout": lambda x: functional.alpha_dropout(x, 0.3, training=True),
    "attention with dropout": attended,
    "noise like the input": lambda x: x + torch.randn_like(x),
    "noise of a size": lambda x: x + torch.randn(x.shape),
    "noise drawn in place": lambda x: x + torch.empty(len(x), 1).uniform_() + torch.empty(len(x), 4).exponential_(),
    "dropped rows": lambda x: x * torch.bernoulli(torch.full((len(x), 1), 0.5)),
    "stochastic depth": lambda x: x + x.new_empty((len(x), 1)).bernoulli_(0.5),
    "Bernoulli of the row": lambda x: x + torch.bernoulli(x.sigmoid()),
    "categories of the row": lambda x: x + summed(torch.multinomial(x.softmax(1), 2)),
    "categories with replacement": lambda x: x + summed(torch.multinomial(x.softmax(1), 5, replacement=True)),
    "a category": lambda x: x + Categorical(logits=x).sample()[:, None],
    "Poisson of the row": lambda x: x + torch.poisson(x.exp()),
    "Gamma of the row": lambda x: x + Gamma(x.exp(), 1.0).rsample(),
    "Dirichlet of the row": lambda x: Dirichlet(x.exp()).rsample(),
    "Student of the row": lambda x: StudentT(3 + x.exp()).rsample(),
    "normal of the row": lambda x: Normal(x, x.exp()).rsample(),
    "normal with one spread": lambda x: torch.normal(x, 1.0),
    "Gumbel softmax": lambda x: x + functional.gumbel_softmax(x, hard=True),
    "leaky slopes": lambda x: functional.rrelu(x, training=True),
    "time first": lambda x: (repeated(x) + torch.randn(3, len(x), 4)).mean(0),
    "frames of rows in one dimension": lambda x: (
        (x.repeat_interleave(3, 0) + torch.randn(3 * len(x), 4)).view(len(x), 3, 4).mean(1)
    ),
    "row by row": lambda x: torch.stack([one + torch.randn(one.shape) for one in x]),
    "whole numbers": lambda x: x + torch.randint(0, 9, x.shape) + torch.empty(x.shape).random_(5),
    "noise of weights": lambda x: x @ torch.randn(4, COUNT),
    "a permutation of features": lambda x: x[:, torch.randperm(4)],
    "a generator of the moment": lambda x: (
        x + torch.randn(x.shape, generator=torch.Generator().manual_seed(random.randrange(99)))
    ),
    "a number of NumPy": lambda x: x * np.random.uniform(0.5, 2),
    "a number of Python": lambda x: x * random.uniform(0.5, 2),
}


def sampling(name: str) -> OnBatch:
    return OnBatch(lambda _, batch: SAMPLED[name](batch["image"]))


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("count", [1, 16])
def test_outputs_of_a_model_that_samples_depend_on_the_row_alone(name: str, count: int) -> None:
    probe = probe_of(pair_batch(count))
    evaluator = Evaluator(sampling(name), call_forward)
    check_independence(evaluator, probe)
    whole, alone = Query.aligned(torch.arange(count), 2), Query.aligned(torch.arange(1), 2)
    found = evaluator.plain(probe, whole)
    assert evaluator.noisy
    torch.testing.assert_close(evaluator.plain(probe, alone), found[:1])
    torch.testing.assert_close(replace(evaluator, chunk_size=5).plain(probe, whole), found)
    assert any(not torch.equal(replace(evaluator, seed=seed).plain(probe, whole), found) for seed in range(1, 9))


FINITE = [name for name in SAMPLED if name != "Student of the row"]
"""Those of finite kurtosis."""


@pytest.mark.parametrize("name", spread(FINITE, 3))
def test_samples_have_the_distribution_that_the_operation_has(name: str) -> None:
    """Of one row, over many seeds: mean and spread are those of plain calls, each with noise of its own."""
    row, draws = BATCH["image"][:1], 200
    probe, module = probe_of({name: leaf[:1] for name, leaf in BATCH.items()}), sampling(name)
    evaluator = Evaluator(module, call_forward)
    found = torch.stack(
        list(evaluator.each_draw(draws, lambda: evaluator.plain(probe, Query.aligned(torch.tensor([0]), 2))[0]))
    )
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.cat([SAMPLED[name](row) for _ in range(draws)])
    error = (found.std(0) ** 2 / draws + expected.std(0) ** 2 / draws).sqrt()
    assert bool(((found.mean(0) - expected.mean(0)).abs() <= 5 * error + 1e-6).all())
    torch.testing.assert_close(found.std(0), expected.std(0), rtol=0.3, atol=1e-6)


@pytest.mark.parametrize("name", ["noise of a size", "dropout", "normal of the row", "dropped rows"])
def test_columns_of_a_row_have_noise_of_their_own(name: str) -> None:
    probe = probe_of({**BATCH, "image": torch.ones(COUNT, 4)})
    evaluator = Evaluator(sampling(name), call_forward)
    draws = torch.stack(list(evaluator.each_draw(150, lambda: evaluator.plain(probe, ALIGNED)[0]))).double()
    correlation = torch.corrcoef(draws.T)[0, 1].abs()
    assert correlation > 0.99 if name == "dropped rows" else correlation < 0.4


def test_a_model_that_draws_nothing_is_called_as_it_is() -> None:
    evaluator = Evaluator(OnBatch(lambda _, batch: batch["image"]), call_forward)
    evaluator.plain(PROBE, ALIGNED)
    assert evaluator.predict is call_forward
    assert not evaluator.noisy


class Additive(nn.Module):
    """Two encoders whose outputs are added, with noise of both kinds; there is no interaction at fixed noise."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        found = self.image(image) + self.text(text)
        return found + torch.randn_like(found)


class Scaled(Additive):
    """The noise scales what the image adds: y = (1 + e) a(image) + b(text)."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return (1 + torch.randn(len(image), 1)) * self.image(image) + self.text(text)


def centred(grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of a ``(N, N, C)`` grid that depend on the first, on the second, and on both, centred."""
    mean = grid.mean((0, 1), keepdim=True)
    rows, columns = grid.mean(1, keepdim=True) - mean, grid.mean(0, keepdim=True) - mean
    return rows, columns, grid - mean - rows - columns


@pytest.mark.parametrize("model", [Additive, Scaled])
@pytest.mark.parametrize("reuse", [True, False])
def test_an_additive_model_with_noise_has_no_interaction(model: type[Additive], reuse: bool) -> None:
    torch.manual_seed(0)
    module = model().double()
    probe = probe_of({name: leaf.double() for name, leaf in BATCH.items()})
    grid = Evaluator(module, called, reuse=reuse)(probe, [GRID])[0].view(COUNT, COUNT, 3)
    assert float(centred(grid)[2].abs().max()) < 1e-9


def test_noise_that_scales_a_modality_scales_what_it_contributes() -> None:
    """Known value: with noise e the image contributes (1 + e)^2 times the variance that it has without noise."""
    torch.manual_seed(0)
    module = Scaled()
    evaluator = Evaluator(module, called)
    grid = evaluator(PROBE, [GRID])[0].view(COUNT, COUNT, 3)
    still = module.image(BATCH["image"]).detach()
    found = centred(grid)[0].flatten(0, 1).var(0) / still.var(0)
    one = evaluator.plain(PROBE, ALIGNED)[0] - module.text(BATCH["text"][0]).detach()
    scale = float((one / still[0])[0])
    torch.testing.assert_close(found, torch.full((3,), scale**2), rtol=1e-3, atol=1e-4)


class Latent(nn.Module):
    """A variational fusion: both encoders sample, and so does what fuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = Sampler(4), Sampler(3)
        self.fusion, self.head = Sampler(6), nn.Linear(6, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.head(self.fusion(self.image(image) * self.text(text)))


class Sampler(nn.Module):
    """Mean and spread of a normal distribution, of which one sample is returned (reparameterised)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(width, 6), nn.Linear(width, 6)

    def forward(self, values: Tensor) -> Tensor:
        mean = torch.tanh(self.mean(values))
        return mean + (self.spread(values) / 2).exp() * torch.randn_like(mean)


def test_replayed_encodings_hold_the_noise_that_plain_rows_get() -> None:
    torch.manual_seed(0)
    evaluator = Evaluator(Latent(), called)
    found = evaluator(PROBE, [GRID])[0]
    assert evaluator.reuse
    assert evaluator._plan is not None
    assert evaluator._plan.modules == ["image", "text"]
    torch.testing.assert_close(found, Evaluator(evaluator.module, called, reuse=False)(PROBE, [GRID])[0])


def slow_mean(module: nn.Module, sources: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard error of plain forwards of single rows, each with other noise."""
    found = []
    with torch.no_grad():
        for seed in range(draws):
            torch.manual_seed(10_000 + seed)
            found.append(torch.cat([module(BATCH["image"][[i]], BATCH["text"][[j]]) for i, j in sources.tolist()]))
    runs = torch.stack(found)
    return runs.mean(0), runs.std(0) / draws**0.5


@pytest.mark.slow
@pytest.mark.parametrize("model", few([Latent, Scaled]))
def test_outputs_over_many_draws_are_the_mean_of_single_rows(model: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module, rows = model().eval(), GRID[torch.arange(0, len(GRID), 29)]
    expected, error = slow_mean(module, rows.sources, 300)
    evaluator = Evaluator(module, called, draws=300)
    found = evaluator(PROBE, [rows])[0]
    assert bool(((found - expected).abs() <= 5 * (2 * error**2).sqrt() + 1e-6).all())
    assert evaluator.rows == 300 * len(rows)


def test_draws_are_averaged_one_by_one() -> None:
    torch.manual_seed(0)
    module = Latent()
    single = [Evaluator(module, called, seed=seed).plain(PROBE, ALIGNED) for seed in range(5, 8)]
    averaged = Evaluator(module, called, seed=5, draws=3)
    torch.testing.assert_close(averaged.plain(PROBE, ALIGNED), torch.stack(single).mean(0))
    torch.testing.assert_close(averaged(PROBE, [ALIGNED])[0], torch.stack(single).mean(0))
    assert averaged.seed == 5


def segments(index: Tensor, leaf: str) -> Segments:
    return Segments(leaf, index.unsqueeze(0), torch.zeros(1, len(index)))


CUT = replace(PROBE, segments={"image": segments(torch.arange(4), "image"), "text": segments(torch.arange(3), "text")})


def test_masks_leave_the_noise_as_it_is() -> None:
    """Known value: with noise that is added, a masked image changes the outputs by what the image adds."""
    torch.manual_seed(0)
    module = Additive()
    evaluator = Evaluator(module, called)
    masks = {"image": torch.zeros(COUNT, 4, dtype=torch.bool)}
    whole, masked = evaluator(CUT, [ALIGNED, replace(ALIGNED, masks=masks)])
    added = module.image(BATCH["image"]) - module.image(torch.zeros(COUNT, 4))
    torch.testing.assert_close(whole - masked, added.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("draws", [1, 4])
def test_derivatives_are_those_of_the_mean_over_the_draws(draws: int) -> None:
    """Known value: the derivative of (1 + e) a(x) along the straight line from 0 to x is (1 + e) W x."""
    torch.manual_seed(0)
    module = Scaled()
    evaluator = Evaluator(module, called, draws=draws)
    found = evaluator.plain(CUT, ALIGNED)
    text = module.text(BATCH["text"]).detach()
    scale = ((found - text) / module.image(BATCH["image"]).detach())[0, 0]
    derived = derive(evaluator, CUT, Derivative(ALIGNED, torch.zeros(COUNT, dtype=torch.long), "image", 4))
    torch.testing.assert_close(derived, scale * module.image.weight[0].detach() * BATCH["image"], rtol=1e-4, atol=1e-5)


class Product(Additive):
    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return (1 + torch.randn(len(image), 1)) * self.image(image) * self.text(text)


def test_second_derivatives_are_those_at_fixed_noise() -> None:
    torch.manual_seed(0)
    module = Product()
    evaluator = Evaluator(module, called)
    found = evaluator.plain(CUT, ALIGNED)
    a, b = module.image(BATCH["image"]).detach(), module.text(BATCH["text"]).detach()
    scale = (found / (a * b))[0, 0]
    request = Derivative(ALIGNED, torch.zeros(COUNT, dtype=torch.long), "image", 1, "text")
    by_image = module.image.weight[0].detach() * BATCH["image"]
    by_text = module.text.weight[0].detach() * BATCH["text"]
    expected = scale * by_image[:, :, None] * by_text[:, None, :]
    torch.testing.assert_close(second_derivatives(evaluator, CUT, request), expected, rtol=1e-4, atol=1e-5)


class Holding(nn.Module):
    """Draws from generators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.of_torch = torch.Generator().manual_seed(7)
        self.of_numpy, self.of_python = np.random.default_rng(7), random.Random(7)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        noise = torch.randn(image.shape, generator=self.of_torch)
        return image + noise * (1 + self.of_python.random()) + float(self.of_numpy.normal())


def test_generators_of_the_model_are_reset_for_every_forward_and_restored() -> None:
    module = Holding()
    before = module.of_torch.get_state(), module.of_numpy.bit_generator.state, module.of_python.getstate()
    evaluator = Evaluator(module, called)
    found = check_independence(evaluator, PROBE)
    assert torch.equal(evaluator.plain(PROBE, ALIGNED), found)
    assert evaluator.noisy
    assert torch.equal(module.of_torch.get_state(), before[0])
    assert (module.of_numpy.bit_generator.state, module.of_python.getstate()) == before[1:]


def test_a_generator_that_the_model_does_not_hold_goes_on_elsewhere_as_it_did() -> None:
    """A constant seed makes the noise of every forward the same: it is no noise, and is left as it is."""

    def seeded(_: Any, batch: Any) -> Tensor:
        return batch["image"] + torch.randn(4, generator=torch.Generator().manual_seed(3))

    evaluator = Evaluator(OnBatch(seeded), call_forward)
    expected = BATCH["image"] + torch.randn(4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(evaluator.plain(PROBE, ALIGNED), expected)


@torch.jit.script
def scripted(values: Tensor) -> Tensor:
    return values + torch.randn_like(values)


def test_noise_of_scripted_functions_is_shared_too() -> None:
    evaluator = Evaluator(OnBatch(lambda _, batch: scripted(batch["image"])), call_forward)
    for _ in range(3):  # the first calls are profiled, later ones optimised
        check_independence(evaluator, PROBE)


def by_place(scale: float) -> OnBatch:
    """Noise that NumPy draws for each row."""
    return OnBatch(lambda _, batch: batch["image"] + scale * torch.from_numpy(np.random.randn(*batch["image"].shape)))


@pytest.mark.slow
def test_noise_that_depends_on_the_place_is_refused_with_the_number_of_draws_that_helps() -> None:
    with pytest.raises(
        ConfigurationError, match=r"largest difference 0\.\d+ of .* its position in the batch"
    ) as refused:
        check_independence(Evaluator(by_place(0.05), call_forward), PROBE)
    draws = int(str(refused.value).split("pass draws=")[1].split(",")[0])
    evaluator = Evaluator(by_place(0.05), call_forward, draws=draws)
    found = check_independence(evaluator, PROBE)
    assert not evaluator.reuse  # a replay would be other noise
    assert float((found - BATCH["image"][: len(found)]).abs().max()) < 5 * 0.05 / draws**0.5


def test_noise_that_no_reasonable_number_of_draws_averages_out_is_refused_without_one() -> None:
    with pytest.raises(ConfigurationError, match="largest difference") as refused:
        check_independence(Evaluator(by_place(5.0), call_forward), PROBE)
    assert "draws=" not in str(refused.value)


def test_batch_statistics_of_a_model_that_samples_are_refused() -> None:
    module = OnBatch(lambda _, batch: functional.dropout(batch["image"] - batch["image"].mean(0), training=True))
    with pytest.raises(ConfigurationError, match="examples of a batch influence one another"):
        check_independence(Evaluator(module, call_forward), PROBE)


def test_the_spread_of_the_noise_is_measured() -> None:
    """Known value: outputs of spread 1 with added noise of spread 0.5."""
    image = floats(400, 1, seed=4)
    probe = probe_of({"image": (image - image.mean()) / image.std(), "text": floats(400, 3)})
    module = OnBatch(lambda _, batch: batch["image"] + 0.5 * torch.randn_like(batch["image"]))
    evaluator = Evaluator(module, call_forward)
    sizes = [noise_spread(replace(evaluator, seed=seed), probe) for seed in range(0, 240, 8)]
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(0.5, rel=0.25)  # 16 rows tell their spread roughly
    assert "vary by 50.0% of their spread" in noise_line(0.5, 1)
    assert "averaged over 8 draws" in noise_line(0.5, 8)


def test_patches_that_a_vision_transformer_samples_are_the_same_in_every_row() -> None:
    """ViLT keeps a random half of the patches, drawn for each picture by itself."""
    case = FAMILIES["ViLT"](8)
    case.module.config.max_image_length = 2
    probe = probe_of(case.batch, case.modalities, case.target)
    call = choose_call(case.module.eval(), probe.schema, case.batch, case.predict)
    evaluator = Evaluator(case.module, call.predict)
    aligned = Query.aligned(torch.arange(8), len(probe.schema.names))
    found = evaluator.plain(probe, aligned)
    assert evaluator.noisy
    check_independence(evaluator, probe)
    torch.testing.assert_close(evaluator.plain(probe, aligned[torch.arange(8).flip(0)]).flip(0), found)
    assert not torch.allclose(replace(evaluator, seed=1).plain(probe, aligned), found, rtol=1e-3)
