"""Models whose modalities are parts of one tensor: calls, encodings, replays, derivatives, dual encoders."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import strays
from helpers.batches import floats, integers, learn, probe_of, seeded
from helpers.calls import chosen, pasted, refusal
from helpers.tally import Tally
from torch import Tensor, nn

from mviz_lightning.batch import Probe, Segments
from mviz_lightning.engine.derivative import derive
from mviz_lightning.engine.dry_run_checks import reused
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.output_dependence import modalities_without_effect
from mviz_lightning.engine.query import Derivative, Query

COUNT = 12
GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
IMAGE = floats(COUNT, 4, 5, 5)
PARTS = {"rgb": "image[:3]", "depth": "image[3:]"}


class Encoder(nn.Module):
    """A convolution that counts the rows that it sees."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net, self.rows = nn.Conv2d(channels, 6, 3), Tally()

    def forward(self, image: Tensor) -> Tensor:
        self.rows.seen.append(len(image))
        return self.net(image)


class RGBD(nn.Module):
    """Encodes the first three channels and the last apart."""

    def __init__(self, cut: Any = lambda image: (image[:, :3], image[:, 3:])) -> None:
        super().__init__()
        self.rgb, self.depth, self.head, self.cut = Encoder(3), Encoder(1), nn.Linear(6, 2), cut

    def forward(self, image: Tensor) -> Tensor:
        rgb, depth = self.cut(image)
        return self.head((self.rgb(rgb) * self.depth(depth)).mean((2, 3)))


def evaluator(module: nn.Module) -> Evaluator:
    return Evaluator(module.eval(), lambda module, batch: module(batch["image"]))


def assert_replayed(module: nn.Module, *names: str, probe: Probe | None = None, query: Query = GRID) -> None:
    """The named modules are replayed, and outputs are those of plain forwards."""
    asking, probe = evaluator(module), probe_of({"image": IMAGE}, PARTS) if probe is None else probe
    found = asking(probe, [query])[0]
    assert asking.reuse
    assert set(asking._plan.modules if asking._plan else ()) == set(names)
    torch.testing.assert_close(found, asking.plain(probe, query), rtol=1e-5, atol=1e-6)


CUTS = {
    "slices": lambda image: (image[:, :3], image[:, 3:]),
    "split": lambda image: image.split([3, 1], 1),
    "lists": lambda image: (image[:, [0, 1, 2]], image[:, [3]]),
    "normalised, then cut": lambda image: ((image / 2 - torch.ones(4, 1, 1))[:, :3], image.double()[:, 3:].float()),
    "channels last": lambda image: image.to(memory_format=torch.channels_last).split([3, 1], 1),
    "in place": lambda image: (image.sub_(1)[:, :3], image[:, 3:]),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_encoders_of_parts_are_replayed(cut: Any) -> None:
    assert_replayed(seeded(lambda: RGBD(cut)), "rgb", "depth")


def test_an_encoder_that_sees_both_parts_runs_on_every_row() -> None:
    mixed = RGBD(lambda image: (image[:, :3] + image[:, 3:], image[:, 3:]))
    assert_replayed(mixed, "depth")


def test_encoders_of_parts_see_every_example_once() -> None:
    module = seeded(RGBD)
    asking, probe = evaluator(module), probe_of({"image": IMAGE}, PARTS)
    assert reused(asking, probe) == "rgb, depth"
    for encoder in (module.rgb, module.depth):
        encoder.rows.seen.clear()
    asking(probe, [GRID])
    assert module.rgb.rows.seen == module.depth.rows.seen == [COUNT, 16]  # 16 rows are recomputed plainly


def test_masked_parts_are_inputs_of_their_own() -> None:
    probe = probe_of({"image": IMAGE}, PARTS)
    halves = (torch.arange(5) > 2).long().view(1, 1, 5, 1)
    segments = {name: Segments(path, halves, 0.5) for name, path in PARTS.items()}
    some = torch.randint(COUNT, (200, 2), generator=torch.Generator().manual_seed(0))
    masks = {name: floats(200, 2, seed=seed) > 0 for seed, name in enumerate(PARTS)}
    assert_replayed(seeded(RGBD), "rgb", "depth", probe=replace(probe, segments=segments), query=Query(some, masks))


def test_rows_are_those_that_are_built_by_hand() -> None:
    module, probe = seeded(RGBD), probe_of({"image": IMAGE}, PARTS)
    rows = torch.stack([torch.cat([IMAGE[i, :3], IMAGE[j, 3:]]) for i, j in GRID.sources.tolist()])
    with torch.no_grad():
        expected = module(rows)
    torch.testing.assert_close(evaluator(module)(probe, [GRID])[0], expected, rtol=1e-5, atol=1e-6)


class Named(nn.Module):
    """``forward(rgb, depth)``."""

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        return fused(rgb, depth)


class Unnamed(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return fused(left, right)


class Collecting(nn.Module):
    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return fused(inputs["rgb"], inputs["depth"])


class Listing(nn.Module):
    def forward(self, inputs: list[Tensor]) -> Tensor:
        left, right = inputs
        return fused(left, right)


def fused(rgb: Tensor, depth: Tensor) -> Tensor:
    """Return scores of an image in two parts; it would take any two images without an error."""
    return torch.cat([rgb.mean((2, 3)), rgb.mean((2, 3)) * depth.mean((1, 2, 3)).unsqueeze(1)], 1)


CALLS = {
    "by name": (Named(), 'rgb=batch["image"][:, :3], depth=batch["image"][:, 3:]'),
    "by order": (Unnamed(), 'batch["image"][:, :3], batch["image"][:, 3:]'),
    "in a dict": (Collecting(), '{"rgb": batch["image"][:, :3], "depth": batch["image"][:, 3:]}'),
    "in a list": (Listing(), '[batch["image"][:, :3], batch["image"][:, 3:]]'),
}


@pytest.mark.filterwarnings("ignore:the parameters of forward have other names")
@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray], ids=["tensors", "arrays"])
@pytest.mark.parametrize(("module", "arguments"), CALLS.values(), ids=CALLS)
def test_a_model_of_several_parts_is_given_each_part(module: nn.Module, arguments: str, kind: Any) -> None:
    batch = {"image": kind(IMAGE)}
    call = next(call for call in candidate_calls(module, learn(batch, PARTS)) if call.arguments == arguments)
    written = eval(f"lambda module, batch: module({arguments})")  # noqa: S307 - it is our own
    if kind is torch.as_tensor:
        assert chosen(module, batch, PARTS).arguments == arguments
        assert torch.equal(call.predict(module, batch), written(module, batch))
        assert torch.equal(call.predict(module, batch), fused(IMAGE[:, :3], IMAGE[:, 3:]))
    else:
        seen = written(lambda *args, **kwargs: (args, kwargs), batch)
        np.testing.assert_equal(call.predict(lambda *args, **kwargs: (args, kwargs), batch), seen)


def test_a_model_of_the_whole_tensor_is_given_it_once() -> None:
    assert chosen(RGBD(), {"image": IMAGE}, PARTS).arguments == 'image=batch["image"]'
    (unnamed,) = {call.arguments for call in candidate_calls(nn.Flatten(), learn({"image": IMAGE}, PARTS))} & {
        'batch["image"]'
    }
    assert unnamed


def test_a_call_passes_the_modalities_whose_parts_it_passes() -> None:
    class Half(nn.Module):
        def forward(self, rgb: Tensor, other: Tensor | None = None) -> Tensor:
            return rgb

    described = [call.description for call in candidate_calls(Half(), learn({"image": IMAGE}, PARTS))]
    assert "forward(rgb=image[:3])" not in described
    assert "forward(image[:3], image[3:])" in described


def test_examples_in_a_list_are_passed_as_the_list() -> None:
    class Whole(nn.Module):
        def forward(self, rows: list[dict[str, Tensor]]) -> Tensor:
            return torch.stack([torch.cat([row["image"].mean((1, 2)), row["text"]]) for row in rows])

    rows = [{"image": IMAGE[k], "text": IMAGE[k, 0, 0], "label": k % 2} for k in range(COUNT)]
    assert chosen(Whole(), rows).arguments == "batch"
    held = chosen(Whole(), {"rows": rows}, {"image": "rows.image", "text": "rows.text"}, "rows.label")
    assert held.arguments == 'rows=batch["rows"]'


class Towers(nn.Module):
    """Returns the features of either part."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb, self.depth = nn.Linear(3, 5), nn.Linear(1, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        means = image.mean((2, 3))
        return self.rgb(means[:, :3]), self.depth(means[:, 3:])


def test_features_of_either_part_are_asked_for_with_their_similarity() -> None:
    module = seeded(Towers)
    message = refusal(module, {"image": IMAGE}, PARTS)
    assert "[0] changes with 'rgb' alone and [1] changes with 'depth' alone" in message.replace(
        " and [1] with", " and [1] changes with"
    )
    left, right = module(IMAGE)
    torch.testing.assert_close(pasted(message)(module, {"image": IMAGE}), left @ right.T)


STRAYS = {
    "beside its own part": ({"rgb": "image[0]", "depth": "image[3]"}, "image[1:3]", "rgb"),
    "beside the other": ({"depth": "image[3]", "rgb": "image[:2]"}, "image[2]", "rgb"),
    "alone with the first": ({"depth": "image[3]", "table": "table"}, "image[:3]", "depth"),
    "columns of a table": ({"depth": "image", "table": "table[[0, 2]]"}, "table[1]", "table"),
}


@pytest.mark.parametrize(("modalities", "stray", "owner"), STRAYS.values(), ids=STRAYS)
def test_what_is_left_of_a_tensor_is_given_to_the_modality_that_it_acts_with(
    modalities: dict[str, str], stray: str, owner: str
) -> None:
    class WithTable(RGBD):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Linear(3, 2)

        def forward(self, batch: Any) -> Tensor:
            return super().forward(batch["image"]) * self.table(batch["table"]).tanh()

    module, batch = seeded(WithTable), {"image": floats(32, 4, 5, 5), "table": floats(32, 3, seed=1)}
    missing = {"table": "table"} if not any(path.startswith("table") for path in modalities.values()) else {}
    message = strays.warning_of(module, batch, modalities | missing)
    assert f"the outputs depend on {stray!r}" in message
    assert f"{stray!r} acts with {owner!r}" in message
    (advice,) = strays.pasted(message)
    assert stray in advice[owner]
    assert strays.warning_of(module, batch, advice) == ""


def test_a_part_without_effect_is_found() -> None:
    class Blind(RGBD):
        def forward(self, image: Tensor) -> Tensor:
            return self.head(self.rgb(image[:, :3]).mean((2, 3)))

    probe, rows = probe_of({"image": IMAGE}, PARTS), torch.arange(8)
    assert list(modalities_without_effect(evaluator(seeded(Blind)), probe, rows)) == ["depth"]
    assert modalities_without_effect(evaluator(seeded(RGBD)), probe, rows) == {}


def test_an_array_that_is_the_same_in_all_examples_is_not_called_cut_off() -> None:
    """Its tensor is made inside the model, out of sight of a trace."""

    class FromNumpy(nn.Module):
        def forward(self, image: Tensor, table: np.ndarray) -> Tensor:
            return image.mean((2, 3)) * torch.from_numpy(table).sum(1, keepdim=True)

    batch = {"image": IMAGE, "table": np.ones((COUNT, 3), dtype=np.float32)}
    asking = Evaluator(FromNumpy(), lambda module, batch: module(batch["image"], batch["table"]))
    assert modalities_without_effect(asking, probe_of(batch, ["image", "table"]), torch.arange(8)) == {}


class Smooth(nn.Module):
    """Scores of two parts with interactions; the parts are real numbers or tokens."""

    def __init__(self, *, tokens: bool) -> None:
        super().__init__()
        self.left = nn.Embedding(9, 5) if tokens else nn.Linear(1, 5)
        self.right, self.head, self.tokens = nn.Embedding(9, 5) if tokens else nn.Linear(1, 5), nn.Linear(5, 3), tokens

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        pair = (left, right) if self.tokens else (left.unsqueeze(-1), right.unsqueeze(-1))
        one, other = self.left(pair[0]).sum(1).tanh(), self.right(pair[1]).sum(1).tanh()
        return self.head(one * other + one)


@pytest.mark.parametrize("modality", ["left", "right"])
@pytest.mark.parametrize("tokens", [True, False])
def test_derivatives_by_parts_are_those_of_tensors_of_their_own(modality: str, *, tokens: bool) -> None:
    values = integers(8, COUNT, 6) + 1 if tokens else floats(COUNT, 6)
    parts = {"left": "x[:2]", "right": "x[2:]"}
    module, rows = seeded(lambda: Smooth(tokens=tokens)), Query(integers(COUNT, 20, 2))
    found = []
    for batch, paths, predict in (
        ({"x": values}, parts, lambda module, batch: module(batch["x"][:, :2], batch["x"][:, 2:])),
        (
            {"a": values[:, :2], "b": values[:, 2:]},
            {"left": "a", "right": "b"},
            lambda module, batch: module(*batch.values()),
        ),
    ):
        probe, width = probe_of(batch, paths), {"left": 2, "right": 4}[modality]
        segments = {modality: Segments(paths[modality], torch.arange(width).unsqueeze(0), 0)}
        wanted = Derivative(rows, integers(3, 20, seed=4), modality, steps=4)
        found.append(derive(Evaluator(module, predict), replace(probe, segments=segments), wanted))
    assert found[0].shape == (20, width)
    assert found[0].abs().min() > 0
    torch.testing.assert_close(*found)
