"""Stages of regions: each half of a picture has its planted sensor, every example a region of its own; slow loops."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.mapped import SIZE, NotingRanking, drawn, maps, step_of
from reference.errors import sorted_out
from reference.slow import main_effects, unimodal_contribution
from torch import nn

from mviz_lightning import explain
from mviz_lightning.explainers import (
    DIME,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
)

NAMES = ["road", "field", "water"]
LEFT = (torch.arange(SIZE) < SIZE // 2).expand(SIZE, SIZE)


def half(labels):
    """Return the left half of an example whose first pixel is a road, the right half of any other."""
    return LEFT if labels[0, 0] == 0 else ~LEFT


class Fused(nn.Module):
    """Radar decides on the left, the optical sensor on the right; ``mixed`` adds their product on the right."""

    def __init__(self, mixed=0.0):
        super().__init__()
        self.head, self.mixed = nn.Conv2d(4, 3, 1), mixed
        with torch.no_grad():
            weight = torch.randn(3, 1, 1, 1, generator=torch.Generator().manual_seed(1))
            self.head.weight.copy_(weight * torch.tensor([1.0, 0, 0, 1]).view(-1, 1, 1))

    def features(self, optical, radar):
        """Return what decides, either sensor, and their product."""
        product = self.mixed * radar * optical * ~LEFT[0]
        return torch.cat([torch.where(LEFT[0], radar, optical), radar, optical, product], 1)

    def forward(self, optical, radar):
        return self.head(self.features(optical, radar))


SENSORS = {"optical": "optical", "radar": "radar"}
BATCH = maps(32)
GROUPS = {"num_examples": 32, "group_size": 8}


METHODS = [
    ErrorAnalysis(num_examples=32),
    NotingRanking(),
    MultimodalRepresentation(features_shown=1, examples_shown=1),
    MultimodalPrediction(num_examples=1),
    DIME(num_examples=1, donors=2, masks=8),
]


def stages(mixed, **given):
    chosen = {"explainers": METHODS, "class_names": NAMES, "region": half} | GROUPS | given
    return explain(Fused(mixed), [BATCH], modalities=SENSORS, step=step_of(), **chosen)


@pytest.fixture(scope="module")
def additive():
    return stages(0.0)


@pytest.fixture(scope="module")
def mixed():
    return stages(2.0)


@pytest.fixture(scope="module")
def loops(mixed):
    """Return every example with the outputs of its group's pairs in its own region, its place there and its label."""
    return list(each(Fused(2.0), METHODS[1].groups))


def each(model, groups):
    for group in groups:
        maps_of_pairs = pairs(model, group)
        for place, example in enumerate(group):
            labels = BATCH["mask"][example]
            region = half(labels)
            yield example, maps_of_pairs[..., region].mean(-1), place, int(labels[region].mode().values)


def pairs(model, group):
    """Return ``(g, g, C, H, W)``: centred logits of the optical picture of one example and the radar of another."""
    found = np.zeros((len(group), len(group), 3, SIZE, SIZE))
    for j, optical in enumerate(group):
        for k, radar in enumerate(group):
            with torch.no_grad():
                logits = model(BATCH["optical"][[optical]], BATCH["radar"][[radar]])[0].double()
            found[j, k] = (logits - logits.mean(0)).numpy()
    return found


def test_the_ranking_names_the_sensor_of_the_half_in_which_the_region_lies(additive):
    ranked = additive.results["ranking"].ranked
    assert len(ranked) == 32
    drivers = {one.position: one.driver for one in ranked}
    right = {k: "radar only" if half(BATCH["mask"][k]) is LEFT else "optical only" for k in range(32)}
    assert drivers == right
    assert Counter(right.values()) == {"radar only": 9, "optical only": 23}


def test_effects_of_an_example_are_those_of_loops_in_its_own_region(mixed, loops):
    ranked = {one.position: one for one in mixed.results["ranking"].ranked}
    for example, grid, place, _ in loops:
        one = ranked[example]
        assert one.output == int(grid[place, place].argmax())
        values = grid[..., one.output]
        assert one.value == pytest.approx(values[place, place], abs=1e-5)
        effects = main_effects(values, ~np.eye(len(grid), dtype=bool))[:, place]
        assert [one.effects["optical"], one.effects["radar"]] == pytest.approx(effects.tolist(), abs=1e-5)


def test_decisions_on_regions_are_sorted_as_by_loops(mixed, loops):
    counts = Counter()
    for _, grid, place, label in loops:
        truth = [label] * len(grid)
        counts[sorted_out(grid, truth, "multiclass")[place][0]] += 1
    result = mixed.results["errors"]
    assert {name: count for name, count in result.counts.items() if count} == counts
    assert len(counts) > 2


def test_cases_are_split_as_by_loops_and_interact_on_the_right_alone(mixed, loops):
    result = mixed.results["errors"]
    cases = {one.position: one for one in (*result.worst, *result.rescued)}
    lefts = 0
    for example, grid, place, label in loops:
        if (one := cases.get(example)) is None:
            continue
        alone = unimodal_contribution(grid)[place, label]
        assert (one.output, one.target) == (label, label)
        assert one.value == pytest.approx(grid[place, place, label], abs=1e-5)
        assert one.unimodal == pytest.approx(alone, abs=1e-5)
        on_the_left = half(BATCH["mask"][example]) is LEFT
        lefts += on_the_left
        assert (abs(one.interaction) < 1e-6) == on_the_left
    assert 0 < lefts < len(cases)


def test_features_follow_the_sensor_that_they_are_made_of(additive):
    result = stages(2.0, region=lambda labels: LEFT).results["representation"]
    assert result.kinds.tolist() == [1, 1, 0, -1]  # on the left, what decides is the radar, and the product is 0
    assert torch.allclose(result.shares[[0, 2]], torch.tensor([[0.0, 1, 0], [1, 0, 0]]).double(), atol=1e-6)
    assert additive.results["representation"].kinds.tolist()[:3] == [2, 1, 0]  # in both halves, both decide


def test_the_sparse_model_gets_means_of_features_over_the_regions(mixed):
    result, model = mixed.results["prediction"], Fused(2.0)
    pooled = [
        model.features(BATCH["optical"][[k]], BATCH["radar"][[k]])[0][:, half(BATCH["mask"][k])].mean(1).tolist()
        for k in range(32)
    ]
    assert result.features == 4
    for number, strongest in result.activating.items():
        order = sorted(range(32), key=lambda k: -pooled[k][number])
        assert [one.position for one in strongest] == order[: len(strongest)]
    assert result.values["fidelity"] >= 0.9
    assert set(result.activating) <= {0, 3}  # the head ignores the others


def few(report):
    """Return a report with one case of the error analysis, which is drawn faster."""
    errors = report.results["errors"]
    return replace(report, results={**report.results, "errors": replace(errors, worst=errors.worst[:1], rescued=())})


def test_pictures_and_lists_of_decisions_name_the_regions(mixed):
    captions, regions = drawn(few(mixed), METHODS[0], METHODS[1])
    assert " of 32 regions are wrong" in captions["errors/classes"]
    assert regions == {key: {"a mask of 18 positions"} for key in ("errors/examples", "ranking/examples")}


@pytest.mark.slow
def test_pictures_and_lists_of_all_stages_name_the_regions(mixed):
    captions, regions = drawn(few(mixed), *METHODS)
    for name in ("dime", "prediction"):
        (caption,) = (words for key, words in captions.items() if key.startswith(f"{name}/example"))
        assert ", a mask of 18 positions: predicted" in caption
    assert captions["representation/overview"].endswith("in the regions of the examples")
    listing = ("dime/examples", "errors/examples", "ranking/examples", "prediction/examples")
    assert regions == {key: {"a mask of 18 positions"} for key in listing}
