"""Outputs with positions: shares at a sample of positions, the score of all of them, regions that are explained."""

import pytest
import torch
from helpers.mapped import SIZE, Halves, loader, maps, slow_components, step_of
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_jaccard_index

from mviz_lightning import ConfigurationError, explain

SENSORS = {"optical": "optical", "radar": "radar"}


def measured(batch: dict[str, Tensor], model: nn.Module | None = None, **given) -> dict[str, float]:
    step = given.pop("step", step_of())
    return explain(model or Halves(), loader(batch), modalities=SENSORS, step=step, **given).values


def test_each_half_of_a_map_needs_its_own_sensor():
    values = measured(maps(128))
    assert values["contribution/optical"] + values["contribution/radar"] == pytest.approx(1, abs=0.03)
    assert values["contribution/optical"] == pytest.approx(0.5, abs=0.1)
    assert abs(values["interaction"]) < 0.02
    one = maps(128)
    one["mask"][:, :, : SIZE // 2] = -100  # the radar's half has no labels
    with pytest.warns(UserWarning, match="swapping 'radar'"):
        alone = measured(one)
    assert alone["total/optical"] == pytest.approx(1, abs=0.01)
    assert abs(alone["total/radar"]) < 1e-6


def test_the_score_is_that_of_all_labelled_positions_of_the_recombined_examples():
    batch = maps(64)
    batch["mask"][:, 0] = -100
    values = measured(batch, num_examples=64, group_size=16)
    outputs = Halves()(batch["optical"], batch["radar"])
    expected = multiclass_jaccard_index(outputs, batch["mask"], 3, average="macro", ignore_index=-100)
    assert values["score"] == pytest.approx(float(expected), abs=1e-6)
    assert values["emap_score"] == values["score"] - values["emap_gap"]


def test_one_position_is_one_row_of_scores_bit_for_bit():
    batch = maps(64)
    single = {name: leaf[..., 2:3, 2:3] for name, leaf in batch.items()}
    plain = {name: leaf[..., 2, 2] for name, leaf in batch.items()}

    def rows(module: nn.Module, given: dict[str, Tensor]) -> Tensor:
        optical, radar = (given[name].view(-1, 1, 1, 1) for name in SENSORS)
        return functional.cross_entropy(module(optical, radar).flatten(1), given["mask"])

    given = {"num_examples": 64, "group_size": 16}
    model = Halves(mixed=0.7)
    left, right = measured(single, model, **given), measured(plain, model, step=rows, **given)
    scores = {"score", "emap_score", "emap_gap", "emap_gap_low", "emap_gap_high"}
    scores |= {f"perceptual/{name}" for name in SENSORS}  # another score: mean IoU
    assert {name: left[name] for name in left.keys() - scores} == {name: right[name] for name in right.keys() - scores}


@pytest.mark.long
@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: functional.cross_entropy(z.permute(0, 2, 3, 1).reshape(-1, 3), y.reshape(-1)),
        lambda z, y: functional.cross_entropy(z.flatten(2), y.flatten(1)),
        lambda z, y: functional.cross_entropy(z.movedim(1, -1)[y >= 0], y[y >= 0]),
        lambda z, y: functional.nll_loss(z.log_softmax(1), y),
        lambda z, y: -z.log_softmax(1).gather(1, y.clamp(min=0).unsqueeze(1)).mean(),
    ],
    ids=["flattened", "one axis of positions", "picked by a mask", "log-probabilities", "by hand"],
)
def test_however_the_loss_is_written_the_positions_are_the_same(loss):
    batch = maps(32)
    given = {"num_examples": 32, "group_size": 8}
    expected = measured(batch, **given)
    assert measured(batch, step=step_of(loss), **given) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_shares_of_a_sample_are_unbiased_over_all_labelled_positions():
    batch, model = maps(12, seed=3), Halves(mixed=0.7)
    batch["mask"][:6, :, 4:] = -100
    batch["mask"][2] = -100
    optical, radar = batch["optical"], batch["radar"]
    with torch.no_grad():
        grid = torch.stack([model(optical[i].expand(12, -1, -1, -1), radar) for i in range(12)])
    centred = (grid - grid.mean(2, keepdim=True)).flatten(3).transpose(2, 3)
    given = {"num_examples": 12, "group_size": 6, "positions": 8}
    found, groups = _components_of(batch, model, given, seeds=60)
    expected = slow_components(centred, groups, (batch["mask"] >= 0).flatten(1))
    reference = torch.stack([expected[0], *expected[1]])
    error = found.std(0) / len(found) ** 0.5
    assert bool(((found.mean(0) - reference).abs() <= 3 * error).all())


def _components_of(batch: dict[str, Tensor], model: nn.Module, given: dict, seeds: int):
    """Return ``(seeds, 3)`` variance and total effects of samples with other seeds, and the groups, which stay."""
    from mviz_lightning.functional import decomposable, design
    from mviz_lightning.functional.position_sampling import lattice_places

    groups = torch.arange(12).view(2, 6)
    labels, plan = batch["mask"].flatten(1), design(2, 6)
    optical, radar = batch["optical"], batch["radar"]
    found = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for group in groups:
            places = lattice_places(labels[group], labels[group] >= 0, given["positions"], generator)
            rows = group[plan.tuples]
            with torch.no_grad():
                outputs = model(optical[rows[:, 0]], radar[rows[:, 1]]).flatten(2)[..., places].permute(2, 0, 1)
            parts.append(plan.components(decomposable(outputs, "multiclass")).mean(0))
        weights = torch.tensor([float((labels[group] >= 0).sum()) for group in groups]).double()
        mean = (torch.stack(parts) * weights.unsqueeze(1)).sum(0) / weights.sum()
        found.append(torch.stack([mean[0], mean[3], mean[4]]))
    return torch.stack(found), groups.tolist()


def test_too_few_positions_are_refused():
    with pytest.raises(ConfigurationError, match=r"positions=0"):
        measured(maps(32), positions=0)


def test_raw_inputs_prove_a_modality_that_tells_how_much_of_each_class_there_is(monkeypatch):
    monkeypatch.setattr("mviz_lightning.collapse.position_inputs.ROWS", 160)
    from mviz_lightning.batch import parse_modalities
    from mviz_lightning.session.config import SessionConfig
    from mviz_lightning.session.session import Session

    generator = torch.Generator().manual_seed(0)
    optical, radar = torch.randn(2, 96, 1, SIZE, SIZE, generator=generator)
    optical += 2 * torch.randn(96, 1, 1, 1, generator=generator)  # a bright scene holds more of class 1
    batch = {"optical": optical, "radar": radar, "mask": (optical[:, 0] > 0).long()}
    session = Session(SessionConfig(parse_modalities(SENSORS), num_examples=96, group_size=8))
    model = Halves(classes=2, mixed=0.5)
    for place, part in enumerate(loader(batch)):
        session.collect(part, lambda count, start=32 * place: range(start, start + count))
        session.dry_run(model, step=step_of())
    session.complete()
    session.run()
    alone = session.fit_proofs().alone
    assert alone["optical"].explained > 0.5
    assert alone["radar"].explained < 0.1
    assert session.score_reference().chance < 0.6 < session.score_reference().perfect == 1
