"""Explanations of outputs with positions: a region of an example, and maps of where each modality matters."""

import pytest
import torch
from helpers.mapped import SIZE, Halves, NotingRanking, drawn, loader, maps, step_of
from torch import Tensor

from mviz_lightning import ConfigurationError, explain
from mviz_lightning.explainers import DIME, CrossModalInteraction, PositionEffects, UnimodalImportance
from mviz_lightning.session.explain import ShareReport

GIVEN = {"modalities": {"optical": "optical", "radar": "radar"}, "num_examples": 32, "group_size": 8}


def report(*explainers, model=None, batch=None, **given) -> ShareReport:
    found = maps(32) if batch is None else batch
    return explain(model or Halves(), loader(found), step=step_of(), explainers=explainers, **(GIVEN | given))


def region_outputs(batch: dict[str, Tensor], example: int, mask: Tensor, radar: int | None = None) -> Tensor:
    """Return the mean centred logits over a mask, of an example with the radar of another."""
    with torch.no_grad():
        other = example if radar is None else radar
        logits = Halves(mixed=0.5)(batch["optical"][[example]], batch["radar"][[other]])[0].double()
    return (logits - logits.mean(0))[:, mask].mean(1)


@pytest.mark.parametrize(
    ("region", "mask"),
    [
        (2, lambda labels: labels == 2),
        ((1, 4), lambda labels: torch.zeros(SIZE, SIZE).index_put((torch.tensor(1), torch.tensor(4)), torch.ones(()))),
        ((slice(0, 2), slice(0, 3)), lambda labels: torch.ones(SIZE, SIZE).tril(0) * 0 + _box()),
        (lambda labels: labels > 0, lambda labels: labels > 0),
    ],
    ids=["class", "position", "box", "function"],
)
def test_dime_explains_the_mean_over_the_region(region, mask):
    batch, model = maps(32), Halves(mixed=0.5)
    found = report(DIME(num_examples=2, donors=3, masks=16), model=model, batch=batch, region=region)
    for one in found.explanations["dime"]:
        expected = region_outputs(batch, one.position, mask(batch["mask"][one.position]).bool())
        for output in one.outputs:
            assert output.value == pytest.approx(float(expected[output.output]), abs=1e-5)
            assert output.unimodal + output.interaction == pytest.approx(output.value, abs=1e-6)


def _box() -> Tensor:
    return torch.zeros(SIZE, SIZE).index_fill(0, torch.arange(2), 1.0) * (torch.arange(SIZE) < 3)


def test_a_box_on_the_left_is_explained_by_the_radar_alone():
    dime = DIME(num_examples=1, masks=1024, donors=2)  # so many masks that the surrogate is nearly exact
    found = report(dime, region=(slice(0, 3), slice(0, 3)))
    for one in found.explanations["dime"]:
        for output in one.outputs:
            assert abs(output.interaction) < 1e-6
            assert float(output.parts["optical"].unimodal.abs().max()) < 1e-6
            weights = output.parts["radar"].unimodal.view(SIZE, SIZE)
            assert float(weights[3:].abs().max()) < 0.02 * float(weights[:3, :3].abs().max())


def test_every_stage_runs_and_every_picture_names_the_region():
    methods = [DIME(num_examples=1), UnimodalImportance(num_examples=1), CrossModalInteraction(num_examples=1)]
    found = report(*methods, region=1, class_names=["road", "field", "water"])
    captions, regions = drawn(found, *methods)
    assert len(captions) == len(regions) == len(methods)
    for caption, (words,) in zip(captions.values(), regions.values(), strict=True):
        assert f", {words}: predicted" in caption
        assert words.startswith("class 1 (field), ")
        assert words.endswith(" positions")


def test_the_most_frequent_class_of_an_example_but_the_background_is_explained():
    batch = maps(32)
    batch["mask"][:] = 0
    batch["mask"][:, 0, :3], batch["mask"][:16, 1, 0] = 2, 1
    found = report(DIME(num_examples=2, donors=2, masks=8), batch=batch)
    assert {one.target for one in found.explanations["dime"]} == {2}


@pytest.mark.parametrize("region", [(9, 0), "lake", 7, (1,), 2.5])
def test_a_region_that_is_none_is_refused_with_what_is_allowed(region):
    with pytest.raises(ConfigurationError, match=r"region=.*\(6, 6\).*0 to 2.*allowed are"):
        report(DIME(), region=region)


def test_maps_and_regions_are_those_of_the_heads_that_have_positions():
    batch = maps(16)
    batch["kind"] = batch["mask"].flatten(1).mode(1).values

    def predict(module, given):
        found = module(given["optical"], given["radar"])
        return {"kind": found.mean((2, 3)), "mask": found}

    methods = [DIME(num_examples=1, donors=3, masks=16), PositionEffects(num_examples=1)]
    target = {"kind": "kind", "mask": "mask"}
    given = {"modalities": ["optical", "radar"], "num_examples": 16, "group_size": 8, "region": 1}
    found = explain(Halves(), [batch], predict=predict, target=target, explainers=methods, **given)
    assert list(found.results) == ["dime"]
    assert list(found.heads["mask"].results) == ["dime", "position_effects"]


def test_maps_of_effects_are_those_of_a_slow_loop_and_show_which_half_needs_which_sensor():
    batch, model = maps(32), Halves(mixed=0.3)
    noting = NotingRanking()
    result = report(PositionEffects(num_examples=2), noting, model=model, batch=batch).results["position_effects"]
    for one in result.effects:
        group = next(group for group in noting.groups if one.position in group)
        assert torch.allclose(one.effects, slow_effects(batch, model, one.position, group), atol=1e-6)
        assert torch.equal(one.labels, batch["mask"][one.position])
    pure = report(PositionEffects(num_examples=2), batch=batch).results["position_effects"]
    for one in pure.effects:
        optical, radar = one.effects
        assert float(optical[:, : SIZE // 2].abs().max()) == 0 == float(radar[:, SIZE // 2 :].abs().max())
    assert pure.values["largest/radar"] == pytest.approx(0.5)


def slow_effects(batch: dict[str, Tensor], model: Halves, example: int, group: list[int]) -> Tensor:
    def outputs(optical: int, radar: int) -> Tensor:
        with torch.no_grad():
            logits = model(batch["optical"][[optical]], batch["radar"][[radar]])[0].double()
        return logits - logits.mean(0)

    real = torch.stack([outputs(i, i) for i in group])
    variance = sum(float(real[:, c, y, x].var()) for c in range(3) for y in range(SIZE) for x in range(SIZE))
    own, others = outputs(example, example), [i for i in group if i != example]
    both = ([outputs(j, example) for j in others], [outputs(example, j) for j in others])
    found = [sum((one - own).square().sum(0) for one in swapped) / len(others) / 2 for swapped in both]
    return torch.stack(found) / (variance / SIZE**2)
