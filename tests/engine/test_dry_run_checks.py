"""Whether rows can be recombined at all, found out before anything is believed."""

import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.batches import (
    FAMILIES,
    LateFusion,
    ModelCase,
    OnBatch,
    call_forward,
    call_named,
    clip,
    clip_model,
    integers,
    pair_batch,
    probe_of,
    seeded,
)
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine import Evaluator
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.dry_run_checks import check_independence, try_segments, warn_of_stray_leaves
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.row_independence import TRIAL_EXAMPLES, trial_rows

ON_BATCH = ModelCall("forward(batch=batch)", call_forward, "batch")
SYSTEM = random.SystemRandom()
CHUNKS = [2, 3, 4, 8, 10, 16, 128]


def checked(
    module: nn.Module, batch: Any, predict: Callable[[Any, Any], Any] = call_named, chunk_size: int = 128
) -> Tensor:
    return check_independence(Evaluator(module, predict, chunk_size), probe_of(batch))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_models_that_work_row_by_row_pass(family: Callable[..., ModelCase]) -> None:
    case = family(16)
    probe = probe_of(case.batch, case.modalities, case.target)
    call = choose_call(case.module.eval(), probe.schema, case.batch, case.predict)
    evaluator = Evaluator(case.module, call.predict)
    outputs = check_independence(evaluator, probe)
    assert outputs.shape == (16, case.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_stray_leaves(evaluator, probe, outputs, call)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 40])
def test_outputs_are_those_of_the_trial_rows(count: int) -> None:
    batch = pair_batch(count)
    outputs, rows = checked(seeded(LateFusion), batch), trial_rows(probe_of(batch))
    assert len(rows) == min(count, TRIAL_EXAMPLES)
    expected = seeded(LateFusion)(batch["image"], batch["text"]).detach()[rows]
    torch.testing.assert_close(outputs[: len(rows)], expected)


def test_trial_rows_are_spread_over_the_examples_in_groups() -> None:
    rows = trial_rows(probe_of(pair_batch(400)))
    assert len(rows.unique()) == TRIAL_EXAMPLES
    assert torch.equal(rows, rows.sort().values)
    assert set((rows // 100).tolist()) == {0, 1, 2, 3}
    drawn = replace(probe_of(pair_batch(400)), groups=torch.arange(300, 340).view(2, 20))
    assert set(trial_rows(drawn).tolist()) < set(range(300, 340))


class Normalised(nn.Module):
    """BatchNorm that uses the statistics of the batch in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.net = LateFusion()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.norm.train()
        return self.net(self.norm(image), text)


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_batch_statistics_in_evaluation_mode_are_refused(chunk_size: int) -> None:
    with pytest.raises(ConfigurationError, match=r"gave other outputs .*BatchNorm that uses batch statistics"):
        checked(seeded(Normalised), pair_batch(16), chunk_size=chunk_size)


@pytest.mark.parametrize("offset", [200.0, -200.0, 1e4])
@pytest.mark.parametrize("chunk_size", [4, 128])
def test_batch_statistics_are_refused_beside_an_offset(offset: float, chunk_size: int) -> None:
    net = seeded(Normalised)
    module = OnBatch(lambda _, batch: net(batch["image"], batch["text"]) + offset)
    with pytest.raises(ConfigurationError, match=r"without 8 of the others .*BatchNorm that uses batch statistics"):
        checked(module, pair_batch(16), call_forward, chunk_size)


@pytest.mark.parametrize("offset", [200.0, -1e4])
def test_models_that_work_row_by_row_pass_beside_an_offset(offset: float) -> None:
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 512), nn.Tanh(), nn.Linear(512, 3)))
    checked(OnBatch(lambda _, batch: 1e-3 * net(batch["image"]) + offset), pair_batch(16), call_forward)
    nn.init.zeros_(net[2].weight)
    checked(OnBatch(lambda _, batch: net(batch["image"]) + offset), pair_batch(16), call_forward)


def test_batch_norm_in_evaluation_mode_passes() -> None:
    module = OnBatch(lambda self, batch: self.norm(batch["image"]), norm=nn.BatchNorm1d(4))
    checked(module, pair_batch(16), call_forward)


@pytest.mark.parametrize("count", [2, 3, 4, 8, 16])
def test_scores_of_all_pairs_are_refused(count: int) -> None:
    module = OnBatch(lambda _, batch: batch["image"][:, :3] @ batch["text"].T)
    with pytest.raises(
        ConfigurationError,
        match=r"outputs are \(\d+, \d+\) for \d+ examples and .*compares every example of the batch with every other.*"
        r"Pass predict=, a function .* that returns the scores of the aligned pairs, scores.diagonal\(\)\[:, None\]",
    ):
        checked(module, pair_batch(count), call_forward)


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_scores_of_all_pairs_are_refused_whatever_the_chunks(chunk_size: int) -> None:
    module = OnBatch(lambda _, batch: batch["image"][:, :3] @ batch["text"].T)
    with pytest.raises(ConfigurationError):
        checked(module, pair_batch(16), call_forward, chunk_size)


def test_scores_of_all_pairs_of_clip_are_refused_and_their_diagonal_passes() -> None:
    case = clip(8)
    module = seeded(clip_model)
    probe = probe_of(case.batch, case.modalities)

    def all_pairs(model: nn.Module, batch: Any) -> Tensor:
        return model(**batch).logits_per_image

    with pytest.raises(ConfigurationError, match=r"outputs are \(8, 8\) for 8 examples and \(4, 4\) for 4"):
        check_independence(Evaluator(module, all_pairs), probe)
    aligned = Evaluator(module, lambda model, batch: all_pairs(model, batch).diagonal()[:, None])
    assert check_independence(aligned, probe).shape == (8, 1)


@pytest.mark.parametrize("chunk_size", CHUNKS)
def test_attention_over_the_batch_is_refused(chunk_size: int) -> None:
    module = OnBatch(lambda _, batch: (batch["image"] @ batch["image"].T).softmax(1) @ batch["image"])
    with pytest.raises(ConfigurationError, match=r"examples of a batch influence one another"):
        checked(module, pair_batch(16), call_forward, chunk_size)


@pytest.mark.parametrize(
    "sample",
    [
        lambda values: values + torch.tensor(SYSTEM.normalvariate(0, 0.05)),
        lambda values: values * SYSTEM.uniform(0.5, 2),
    ],
    ids=["added", "scaled"],
)
@pytest.mark.parametrize("count", [1, 4, 16])
def test_sampling_that_no_seed_repeats_is_refused(sample: Callable[[Tensor], Tensor], count: int) -> None:
    module = OnBatch(lambda _, batch: sample(batch["image"]))
    with pytest.raises(
        ConfigurationError, match=r"when evaluated again .*: the model draws random numbers in evaluation mode"
    ):
        checked(module, pair_batch(count), call_forward)


def carrying(self: OnBatch, batch: Any) -> Tensor:
    """Go on from the batch before, as recurrent models do that are fed one long series in pieces."""
    self.state = batch["image"] + getattr(self, "state", 0)
    return self.state


def cached(self: OnBatch, batch: Any) -> Tensor:
    """Compute something once that is another in every batch."""
    self.found = getattr(self, "found", batch["image"])
    return self.found + batch["text"][:, :1]


@pytest.mark.parametrize("function", [carrying, cached])
def test_what_one_forward_keeps_for_the_next_is_refused(function: Callable[[Any, Any], Tensor]) -> None:
    with pytest.raises(ConfigurationError, match="outputs after another forward .*: the model stores state"):
        checked(OnBatch(function), pair_batch(16), call_forward)


def test_constants_that_are_kept_pass() -> None:
    def scaled(self: OnBatch, batch: Any) -> Tensor:
        self.scale = getattr(self, "scale", torch.tensor(2.0))
        return self.scale * batch["image"]

    checked(OnBatch(scaled), pair_batch(16), call_forward)


def test_dropout_that_knows_evaluation_mode_passes() -> None:
    module = OnBatch(lambda self, batch: self.drop(batch["image"]), drop=nn.Dropout(0.5))
    checked(module, pair_batch(16), call_forward)


def test_the_message_says_how_large_the_difference_was() -> None:
    module = OnBatch(lambda _, batch: batch["image"] - batch["image"][:1])
    with pytest.raises(
        ConfigurationError,
        match=r"in reverse order \(largest difference [\d.]+ of the outputs' spread over 16 examples\)",
    ):
        checked(module, pair_batch(16), call_forward)


def test_rounding_is_tolerated() -> None:
    module = OnBatch(lambda _, batch: 100 + batch["image"] + 1e-3 * batch["image"].mean())
    checked(module, pair_batch(16), call_forward)


def test_outputs_that_are_not_finite_compare_with_nothing() -> None:
    module = OnBatch(lambda _, batch: batch["image"] / 0 * 0)
    assert checked(module, pair_batch(16), call_forward).isnan().all()


def strays(
    function: Callable[[Any], Tensor], batch: Any, target: str | None = None
) -> tuple[Evaluator, Probe, Tensor, ModelCall]:
    evaluator = Evaluator(OnBatch(lambda _, given: function(given)), call_forward)
    probe = probe_of(batch, target=target)
    return evaluator, probe, check_independence(evaluator, probe), ON_BATCH


BATCH = {**pair_batch(16), "id": torch.arange(16), "weight": integers(9, 16, seed=4)}


def test_a_label_that_forward_reads_is_named() -> None:
    found = strays(lambda batch: batch["image"] + batch["labels"][:, None], BATCH)
    with pytest.warns(
        MonitorWarning,
        match=r"the outputs depend on 'labels', which belongs to no modality and is swapped together with 'image'. A "
        r"traced forward shows that 'labels' acts with 'image'. Pass modalities=\{.image.: \[.image., .labels.\]",
    ) as caught:
        warn_of_stray_leaves(*found)
    assert len(caught) == 1


def test_several_leaves_are_named_in_one_warning() -> None:
    found = strays(lambda batch: batch["image"] * batch["id"][:, None] + batch["weight"][:, None], BATCH)
    with pytest.warns(
        MonitorWarning, match=r"depend on 'id', 'weight', which belong to no modality and are swapped together"
    ) as caught:
        warn_of_stray_leaves(*found)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda batch: batch["image"],
        lambda batch: batch["image"] + 0 * batch["id"][:, None],
        lambda batch: batch["image"] / 0 * 0,
    ],
    ids=["unused", "without effect", "not finite"],
)
def test_leaves_without_effect_are_not_named(function: Callable[[Any], Tensor]) -> None:
    found = strays(function, BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_stray_leaves(*found)


def test_a_stray_leaf_is_named_beside_an_offset() -> None:
    found = strays(lambda batch: 200 + batch["image"] + 0.01 * batch["weight"][:, None], BATCH)
    with pytest.warns(MonitorWarning, match="the outputs depend on 'weight'"):
        warn_of_stray_leaves(*found)


@pytest.mark.parametrize("few", [1, 50])
def test_a_stray_leaf_that_few_examples_have_is_named(few: int) -> None:
    """No sample of 16 examples need hold one of the few; then it is swapped with one outside."""
    batch = {**pair_batch(200), "id": (torch.arange(200) // few == 2).float()}
    found = strays(lambda given: given["image"] + given["id"][:, None], batch)
    with pytest.warns(MonitorWarning, match="the outputs depend on 'id'"):
        warn_of_stray_leaves(*found)


def test_leaves_are_named_once() -> None:
    named: set[str] = set()
    with pytest.warns(MonitorWarning, match="the outputs depend on 'id', which"):
        warn_of_stray_leaves(*strays(lambda batch: batch["image"] + batch["id"][:, None], BATCH), named)
    found = strays(lambda batch: batch["image"] + batch["id"][:, None] * batch["weight"][:, None], BATCH)
    with pytest.warns(MonitorWarning, match="the outputs depend on 'weight', which"):
        warn_of_stray_leaves(*found, named)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_stray_leaves(*found, named)


def test_leaves_of_modalities_are_never_strays() -> None:
    evaluator = Evaluator(OnBatch(lambda _, batch: batch["image"] + batch["id"][:, None]), call_forward)
    probe = probe_of(BATCH, {"image": ["image", "id"], "text": "text"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_stray_leaves(evaluator, probe, check_independence(evaluator, probe), ON_BATCH)


def test_a_stray_list_of_strings_is_named() -> None:
    batch = {**pair_batch(8), "name": [f"{k}" for k in range(8)]}
    found = strays(lambda given: given["image"] + torch.tensor([float(name) for name in given["name"]])[:, None], batch)
    with pytest.warns(MonitorWarning, match="depend on 'name'"):
        warn_of_stray_leaves(*found)


def test_a_stray_of_a_single_example_cannot_be_seen() -> None:
    found = strays(lambda batch: batch["image"] + batch["id"][:, None], {**pair_batch(1), "id": torch.tensor([3])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_stray_leaves(*found)


class AllButZeros(LateFusion):
    """Fails where an image is all zeros, as a model does that divides by the mean."""

    error: Exception = ValueError("no zeros, please")

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        if not image.any():
            raise self.error
        return super().forward(image, text)


def mask_image(module: nn.Module, chunk_size: Any = 128) -> None:
    probe = probe_of(pair_batch(8))
    segments = {"image": Segments("image", torch.arange(4).unsqueeze(0))}
    try_segments(Evaluator(module, call_named, chunk_size), probe, segments)


def test_a_model_that_cannot_be_masked_is_the_users_to_mend() -> None:
    with pytest.raises(ConfigurationError, match=r"'image' are masked \(ValueError: no zeros.*baseline="):
        mask_image(seeded(AllButZeros))


@pytest.mark.slow
def test_memory_that_runs_out_is_not_blamed_on_the_masks() -> None:
    module = seeded(AllButZeros)
    module.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        mask_image(module)


def test_an_error_of_our_own_is_not_blamed_on_the_model() -> None:
    with pytest.raises(TypeError):
        mask_image(seeded(LateFusion), chunk_size=None)
