"""What explanations of regions are: those of a plain model that returns the mean over the region."""

import numpy as np
import pytest
import torch
from batches.measuring import weights
from helpers.batches import floats, integers
from outputs.heads import Model
from outputs.positions import SENSORS, SMALL, Pixels, PositionsKind, called, pixels, segmented
from outputs.watching import attempted, names, watched
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, StackDataset

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.explainers import DIME, PositionEffects

SIZE = 8
BOX = torch.zeros(SIZE, SIZE, dtype=torch.bool)
BOX[1:4, 2:] = True
POINT = torch.zeros(SIZE, SIZE, dtype=torch.bool)
POINT[5, 3] = True
SCATTERED = integers(3, SIZE, SIZE, seed=3) == 0
EVERYWHERE = torch.ones(SIZE, SIZE, dtype=torch.bool)
REGIONS = {
    "a box": ((slice(1, 4), slice(2, None)), BOX),
    "a position": ((5, 3), POINT),
    "a mask": (lambda labels: SCATTERED, SCATTERED),
    "all positions": (None, EVERYWHERE),
}


def batches(plain=False):
    """Return examples whose labels are the same everywhere, so that both models draw the same groups."""
    radar, optical = (floats(16, c, SIZE, SIZE, seed=c).double() for c in (2, 3))
    kind = (radar.mean((1, 2, 3)) > 0).long() + (optical.mean((1, 2, 3)) > 0).long()
    labels = kind if plain else kind.view(-1, 1, 1).expand(-1, SIZE, SIZE).clone()
    return [{"radar": radar[s : s + 8], "optical": optical[s : s + 8], "kind": labels[s : s + 8]} for s in (0, 8)]


def explained(kind, data, **options):
    dime = DIME(num_examples=2, donors=3, masks=12)
    given = {"modalities": SENSORS, "step": "validation_step", "explainers": [dime]}
    return explain(Model(kind, Pixels), data, num_examples=16, group_size=8, **given, **options)


SEGMENTED = PositionsKind(segmented, pixels, "kind")


def over(mask):
    """Return a plain kind whose scores are the means over a mask."""
    return PositionsKind(
        lambda module, batch: cross_entropy(called(module, batch), batch["kind"]),
        lambda net, *inputs: pixels(net, *inputs)[:, :, mask].mean(-1),
        "kind",
    )


def same(found, right):
    assert found.keys() == right.keys()
    assert len({place for place, *_ in right}) == 2
    for key, value in right.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("name", names(REGIONS, {"a box", "a position"}))
def test_dime_of_a_region_is_that_of_a_plain_model_of_its_mean(name):
    region, mask = REGIONS[name]
    found = explained(SEGMENTED, batches(), region=region)
    right = explained(over(mask), batches(plain=True))
    same(weights(found.explanations["dime"]), weights(right.explanations["dime"]))


def several():
    """Return examples with three classes in each picture."""
    data = batches()
    for batch in data:
        batch["kind"] = (batch["radar"][:, 0] > 0).long() + (batch["optical"][:, 0] > 0).long()
    return data


def test_a_class_is_the_mask_of_its_label():
    found = explained(SEGMENTED, several(), region=1)
    same(
        weights(found.explanations["dime"]),
        weights(explained(SEGMENTED, several(), region=lambda labels: labels == 1).explanations["dime"]),
    )


def test_a_class_can_be_named():
    names = ["land", "water", "cloud"]
    found = explained(SEGMENTED, several(), region="water", class_names=names)
    right = explained(SEGMENTED, several(), region=1, class_names=names)
    same(weights(found.explanations["dime"]), weights(right.explanations["dime"]))


@pytest.mark.parametrize(
    "region", [7, -1, "sea", (SIZE, 0), (slice(2, 2), slice(0, 3)), (1, 2, 3), 0.5, lambda labels: labels[0] == 1]
)
def test_regions_that_do_not_exist_are_refused_with_those_that_do(region):
    with pytest.raises(ConfigurationError, match="region="):
        explained(SEGMENTED, several(), region=region, class_names=["land", "water", "cloud"])


def test_a_region_of_a_model_without_positions_is_refused():
    with pytest.raises(ConfigurationError, match="region="):
        explained(over(BOX), batches(plain=True), region=1)


def loaders_of(data):
    loader = DataLoader(StackDataset(**{name: torch.cat([batch[name] for batch in data]) for name in data[0]}), 8)
    return loader, loader


@pytest.mark.parametrize(
    ("plain", "options", "said"),
    [
        (False, {"region": "sea"}, "region='sea': outputs have positions"),
        (False, {"region": (SIZE, 0)}, "region=(8, 0): outputs have positions"),
        (False, {"region": lambda labels: labels[0]}, "region= returned (8,)"),
        (True, {"region": 1}, "region=1: the outputs have no positions"),
        (True, {"explainers": [PositionEffects()]}, "explainers=[PositionEffects()]: the outputs have no positions"),
    ],
    ids=["a name", "a position", "a function", "a region of none", "maps of none"],
)
def test_what_cannot_be_explained_of_positions_ends_the_training_before_it_begins(tmp_path, plain, options, said):
    module = Model(over(BOX) if plain else SEGMENTED, Pixels)
    found, ended = attempted(module, loaders_of(batches(plain)), SENSORS, tmp_path, **SMALL, **options)
    assert found is None
    assert said in ended


class KeptMaps(PositionEffects):
    """Keeps the maps that it would draw."""

    found = ()

    def draw(self, result, drawing, when):
        type(self).found = result.effects
        return []


def test_maps_of_effects_are_those_of_loops_over_donors_and_positions(tmp_path):
    data = several()
    given = loaders_of(data), SENSORS, tmp_path
    found = watched(Model(SEGMENTED, Pixels), *given, explainers=[KeptMaps(16)], **SMALL)
    grid = centred_scores(found.module.net, data)
    maps = {one.position: one.effects.numpy() for one in KeptMaps.found}
    assert len(maps) == 16
    for group in found.groups.tolist():
        variance = np.var([grid[i, i] for i in group], axis=0, ddof=1).sum(0).mean()
        for i in group:
            others = [j for j in group if j != i]
            swapped = [[grid[j, i] for j in others], [grid[i, j] for j in others]]
            right = [np.mean([((grid[i, i] - one) ** 2).sum(0) / 2 for one in each], 0) / variance for each in swapped]
            np.testing.assert_allclose(maps[i], right, atol=1e-9)
    largest = np.mean([maps[i][0] > maps[i][1] for i in maps])
    assert found.values["position_effects/largest/radar"] == pytest.approx(largest)


def centred_scores(net, data):
    """Return ``(N, N, C, H, W)``: the radar of one example and the optical picture of another."""
    radar, optical = (torch.cat([batch[name] for batch in data]) for name in SENSORS)
    with torch.no_grad():
        rows = [pixels(net, radar[i : i + 1].expand_as(radar), optical).numpy() for i in range(len(radar))]
    grid = np.array(rows)
    return grid - grid.mean(2, keepdims=True)
