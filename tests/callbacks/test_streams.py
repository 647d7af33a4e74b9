"""Validation loaders that are no plain loader of a data set: the shares are those of a plain twin."""

import itertools
import warnings

import pytest
import torch
from helpers.few import few
from helpers.streams import LIMITS, REPEATING, REPEATING_LIMITS, STREAMS, Endless, Stream, Wrapper, data, first_ones
from helpers.toy import Toy, examples, loader, monitor, trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning.errors import ConfigurationError, MonitorWarning

COST = ("seconds", "rows", "overhead")
ALL = {"target": None, "num_examples": 64, "reference": 200}


def fitted(folder, validation, *, model=Toy, settings=None, training=None, **more):
    """Return the monitor after one epoch with a validation loader."""
    torch.manual_seed(0)
    watch = monitor(**(ALL | (settings or {})))
    trainer(folder, watch, max_epochs=1, **more).fit(model(), training or loader(), validation)
    return watch


def values(watch):
    return {key: value for key, value in watch.history[-1].values.items() if key not in COST}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    found = values(fitted(tmp_path_factory.mktemp("plain"), DataLoader(data(), 16)))
    assert found["agreement"] == 1
    assert 0.1 < found["contribution/image"] < 0.9
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_the_shares_of_a_plain_loader(tmp_path, plain, name):
    watch = fitted(tmp_path, STREAMS[name](), limit_val_batches=LIMITS.get(name, 1.0))
    assert values(watch) == pytest.approx(plain, abs=1e-6)
    assert watch.history[-1].note == ""
    assert sorted(watch._run.session.positions) == list(range(64))


@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATING)
def test_examples_that_a_loader_repeats_count_once(tmp_path, name):
    limit = REPEATING_LIMITS.get(name)
    twin = first_ones(itertools.islice(REPEATING[name](), limit))
    expected = values(fitted(tmp_path, twin))
    watch = fitted(tmp_path, REPEATING[name](), limit_val_batches=limit or 1.0, num_sanity_val_steps=0)
    assert values(watch) == pytest.approx(expected, abs=1e-6)
    probe = watch._run.session.probe
    assert len(torch.unique(probe.leaves["0"], dim=0)) == probe.size == len(twin.dataset)
    assert "sampled validation examples repeat others and count once" in watch.history[-1].note


def test_equal_examples_of_discrete_columns_are_no_repeats(tmp_path):
    """Of two columns of four values, different examples are equal; no column identifies an example."""
    tables = [torch.randint(4, (64, 1), generator=torch.Generator().manual_seed(k)).float() for k in range(2)]
    found = DataLoader(TensorDataset(*tables, examples(64, seed=1).tensors[2]), 16)
    watch = fitted(tmp_path, found, model=lambda: Toy((1, 1)), training=found)
    assert watch._run.session.probe.size == 64
    assert watch.history[-1].note == ""


class Squeezing(Toy):
    """Squeezes its one output, so that the scores of one example have no dimension."""

    def __init__(self) -> None:
        super().__init__(outputs=1)

    def validation_step(self, batch, _, dataloader_idx=0):
        scores = self(*batch[:2]).squeeze()
        self.log("val_loss", functional.mse_loss(scores, batch[2].float().squeeze()), batch_size=len(batch[0]))


class OneHot(Toy):
    """Learns classes by a binary cross-entropy of one-hot labels."""

    def validation_step(self, batch, _, dataloader_idx=0):
        hot = functional.one_hot(batch[2], 3).float()
        loss = functional.binary_cross_entropy_with_logits(self(*batch[:2]), hot)
        self.log("val_loss", loss, batch_size=len(batch[0]))


@pytest.mark.long
@pytest.mark.parametrize(("model", "task"), [(Squeezing, "regression"), (OneHot, "multiclass")])
def test_batches_of_one_tell_the_same_as_larger_ones(tmp_path, model, task):
    expected = fitted(tmp_path, DataLoader(data(), 16), model=model)
    watch = fitted(tmp_path, DataLoader(data(), 1), model=model)
    assert watch._run.session.task == expected._run.session.task == task
    assert values(watch) == pytest.approx(values(expected), abs=1e-6)


class FirstRow(Toy):
    """Reads the first example of a batch alone."""

    def validation_step(self, batch, _, dataloader_idx=0):
        scores = self(batch[0][0][None], batch[1][0][None])
        self.log("val_loss", functional.cross_entropy(scores, batch[2]), batch_size=1)


def test_a_step_for_batches_of_one_alone_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ConfigurationError, match=r"returned 1 rows of scores for 2 examples.*Pass predict="):
        fitted(tmp_path, DataLoader(data(), 1), model=FirstRow)


class ByName(Toy):
    """Reads a dict."""

    def validation_step(self, batch, _, dataloader_idx=0):
        loss = functional.cross_entropy(self(batch["0"], batch["1"]), batch["2"])
        self.log("val_loss", loss, batch_size=len(batch["0"]))


def test_keys_may_change_their_order(tmp_path, plain):
    named = [dict(zip("012", batch, strict=True)) for batch in DataLoader(data(), 16)]
    batches = [dict(reversed(batch.items())) if k % 2 else batch for k, batch in enumerate(named)]
    found = values(fitted(tmp_path, Wrapper(batches), model=ByName))
    assert found == pytest.approx(plain, abs=1e-6)


@pytest.mark.slow
def test_a_fraction_of_the_batches_is_read(tmp_path):
    half = TensorDataset(*(leaf[:32] for leaf in data().tensors))
    expected = values(fitted(tmp_path, DataLoader(half, 16)))
    watch = fitted(tmp_path, DataLoader(data(), 16), limit_val_batches=0.5)
    assert values(watch) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_a_shuffled_loader_keeps_the_examples_of_its_first_pass(tmp_path):
    torch.manual_seed(0)
    watch = monitor(**ALL)
    trainer(tmp_path, watch, max_epochs=2).fit(Toy(), loader(), DataLoader(data(), 16, shuffle=True))
    leaves = watch._run.session.probe.leaves["0"]
    assert torch.equal(torch.unique(leaves, dim=0), torch.unique(data().tensors[0], dim=0))
    assert [row.values["agreement"] for row in watch.history] == [1.0, 1.0]
    assert [row.note for row in watch.history] == ["", ""]


class TwoStreams(Toy):
    """Reads the examples of the one loader, and regularises on those of the other, where there are any."""

    def validation_step(self, batch, _, dataloader_idx=0):
        if batch["a"] is not None:
            loss = self.loss(batch["a"])
            extra = 0 if batch["b"] is None else self(*batch["b"][:2]).square().mean()
            self.log("val_loss", loss + extra, batch_size=len(batch["a"][0]), add_dataloader_idx=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "other"),
    [("min_size", 64), ("min_size", 80), ("max_size", 64), ("max_size", 80), ("max_size_cycle", 80)],
)
def test_loaders_are_combined(tmp_path, plain, mode, other):
    combined = CombinedLoader({"a": DataLoader(data(), 16), "b": DataLoader(data(other), 16)}, mode)
    where = {"modalities": {"image": "a.0", "text": "a.1"}}
    watch = fitted(tmp_path, combined, model=TwoStreams, settings=where)
    assert values(watch) == pytest.approx(plain, abs=1e-6)
    assert watch._run.session.probe.size == 64


def two_loaders(kind):
    if kind == "list":
        return [DataLoader(data(48), 16), DataLoader(data(), 16)]
    return CombinedLoader({"a": DataLoader(data(48), 16), "b": DataLoader(data(), 16)}, "sequential")


@pytest.mark.parametrize("kind", few(["list", "combined"]))
def test_the_second_of_two_loaders_is_measured(tmp_path, plain, kind):
    found = values(fitted(tmp_path, two_loaders(kind), settings={"dataloader_idx": 1}))
    assert found == pytest.approx(plain, abs=1e-6)


def test_a_loader_without_batches_costs_the_measurement_and_not_the_training(tmp_path):
    with pytest.warns(MonitorWarning, match="A loader needs examples, and it must start anew at each validation"):
        watch = fitted(tmp_path, DataLoader(Stream([]), 16))
    assert watch.history[-1].values == {}
    assert "no validation batch came" in watch.history[-1].note


def test_a_loader_that_is_empty_in_the_sanity_check_alone_is_read_later(tmp_path, plain):
    batches = list(DataLoader(data(), 16))

    class Warming:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(batches if self.passes > 1 else [])

    found = values(fitted(tmp_path, Warming()))
    assert found == pytest.approx(plain, abs=1e-6)


def test_a_generator_is_measured_as_far_as_it_goes(tmp_path):
    def batches():
        yield from DataLoader(data(), 16)

    torch.manual_seed(0)
    watch = monitor(**ALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonitorWarning)
        trainer(tmp_path, watch, max_epochs=2).fit(Toy(), loader(), batches())
    # The sanity check used two of its four batches up, and the second validation gets none.
    assert sorted(watch._run.session.positions) == list(range(32))
    assert [row.values["score"] > 0 for row in watch.history] == [True, True]


@pytest.mark.slow
def test_an_endless_stream_that_is_cut_off_before_it_starts_over_has_no_repeats(tmp_path):
    watch = fitted(tmp_path, DataLoader(Endless(data()), 16), limit_val_batches=3)
    assert watch._run.session.probe.size == 48
    said = "num_examples=64: the validation set has 48 examples, and 48 of them are recombined"
    assert watch.history[-1].note == said
