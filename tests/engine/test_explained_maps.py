"""Outputs and features of the regions of a group, against loops; the layer of the features; slices of volumes."""

import pytest
import torch
from helpers.batches import probe_of
from helpers.mapped import SIZE, Halves, maps
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mviz_lightning import ConfigurationError
from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.batch.position_labels import PositionLabels
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.explained_maps import ExplainedMaps
from mviz_lightning.engine.feature_maps import find_map_layer, with_feature_maps
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.engine.query import Query

SENSORS = {"optical": "optical", "radar": "radar"}


class Coarse(nn.Module):
    """Scores of every second pixel, as large as the picture after interpolation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(2, 5, 2, stride=2), nn.Conv2d(5, 3, 1)

    def forward(self, optical: Tensor, radar: Tensor) -> Tensor:
        found = self.head(torch.relu(self.stem(torch.cat([optical, radar], 1))))
        return interpolate(found, size=(SIZE, SIZE), mode="nearest")


def predict(module, batch):
    return module(batch["optical"], batch["radar"])


def test_rows_are_read_in_the_regions_of_all_members_of_their_group():
    batch, model, groups = maps(10), Coarse(), torch.tensor([[0, 3, 5], [8, 2, 1]])
    regions = ExplainedRegions.of(PositionLabels(batch["mask"].flatten(1), (SIZE, SIZE), 3), 2, "multiclass")
    explained = ExplainedMaps(PositionAxes(1), regions)
    one = explained.featured_evaluator(explained.region_evaluator(Evaluator(model, predict, chunk_size=4)), "head")
    rows = torch.cat([torch.cartesian_prod(group, group) for group in groups] + [torch.tensor([[7, 7]])])
    (found,) = explained.group_evaluator(one, groups)(probe_of(batch, SENSORS, "mask"), [Query(rows)])
    assert found.shape == (19, 3 * 5 + 3 * 3)
    features, outputs = found[:, :15].view(19, 3, 5), found[:, 15:].view(19, 3, 3)
    for k, (optical, radar) in enumerate(rows.tolist()):
        fused = torch.relu(model.stem(torch.cat([batch["optical"][[optical]], batch["radar"][[radar]]], 1)))
        fine = interpolate(fused, size=(SIZE, SIZE), mode="nearest")[0]
        members = [7, 7, 7] if optical == 7 else groups[k // 9].tolist()
        for place, member in enumerate(members):
            mask = batch["mask"][member] == 2
            torch.testing.assert_close(features[k, place], fine[:, mask].mean(1), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(outputs[k, place], model.head(fine)[:, mask].mean(1), rtol=1e-5, atol=1e-6)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


def test_the_layer_of_the_features_is_the_last_that_returns_a_vector_for_each_position():
    batch = maps(4)
    assert find_map_layer(Coarse(), predict, batch, PositionAxes(1)) == "head"
    assert find_map_layer(Tokens(), lambda module, x: module(x), torch.randn(2, 5, 4), PositionAxes(2)) == "head"
    with pytest.raises(ConfigurationError, match=r"Halves calls no linear layer or convolution .* Pass layer="):
        find_map_layer(Halves(), predict, batch, PositionAxes(1))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE**2, 3 * SIZE**2), nn.Unflatten(1, (3, SIZE, SIZE)))
    call = with_feature_maps(lambda module, x: module(x), "1", PositionAxes(1))
    with pytest.raises(ConfigurationError, match=r"layer='1' is given \(2, 72\) .* name a submodule whose input has 2"):
        call(flat, torch.randn(2, 2, SIZE, SIZE))


def test_the_slice_of_a_volume_is_the_middle_one_through_the_region():
    labels = torch.zeros(3, 5, 4, 4, dtype=torch.long)
    labels[0, [0, 3, 4], 1, 2] = 1
    labels[1, 2:4, 0] = 1
    regions = ExplainedRegions.of(PositionLabels(labels.flatten(1), (5, 4, 4), 2), 1, "multiclass", ["air", "bone"])
    assert [regions.slice_of(example) for example in range(3)] == [(3,), (2,), (2,)]
    assert regions.words(1) == "class 1 (bone), 8 positions, slice 3 of 5"
    assert regions.words(2) == "all 80 positions with a label, slice 3 of 5"
    assert torch.equal(regions.picture(0), labels[0, 3] == 1)
    explained = ExplainedMaps(PositionAxes(1), regions)
    assert explained.shape == (4, 4)
    numbers = torch.arange(80).view(5, 4, 4)
    assert torch.equal(explained.places, torch.stack([numbers[at].flatten() for at in (3, 2, 2)]))
