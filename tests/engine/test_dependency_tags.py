"""Tags of tensors of which parts are different leaves, against an independent truth: gradients, element by element."""

from functools import reduce
from typing import Any

import pytest
import torch
from helpers.batches import floats
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mviz_lightning.engine.dependency_tags import DependencyMode
from mviz_lightning.engine.dependency_trace import _Tracer
from mviz_lightning.engine.element_tags import ElementDependencyMode
from mviz_lightning.engine.module_calls import wrapped_calls

RGB, DEPTH, TEXT = 1, 2, 4
IMAGE = floats(5, 4, 6, 6)
"""Three channels of colour, one of depth."""


def of_depth(tensor: Tensor) -> Tensor:
    """Return which entries are of the last channel."""
    return (torch.arange(tensor.shape[1]) == 3).view(-1, *[1] * (tensor.dim() - 2))


def marked(tensor: Tensor, untracked: int = 0) -> ElementDependencyMode:
    mode = ElementDependencyMode(untracked)
    mode.mark_part(tensor, ~of_depth(tensor), RGB)
    mode.mark_part(tensor, of_depth(tensor), DEPTH)
    return mode


def tags(function: Any, *others: Tensor) -> int:
    """Return the tags of what a function makes of the image, and of other tensors that are TEXT."""
    image = IMAGE.clone()
    mode = marked(image)
    for other in others:
        mode.mark(other, TEXT)
    with mode:
        return mode.of(function(image, *others))


CUTS = {
    "both": (lambda image: image, RGB | DEPTH),
    "slice": (lambda image: image[:, :3], RGB),
    "the other slice": (lambda image: image[:, 3:], DEPTH),
    "one channel": (lambda image: image[:, 3], DEPTH),
    "slice over both": (lambda image: image[:, 2:], RGB | DEPTH),
    "every third": (lambda image: image[:, ::3], RGB | DEPTH),
    "every other": (lambda image: image[:, 1::2], RGB | DEPTH),
    "every other of colour": (lambda image: image[:, :3:2], RGB),
    "narrow": (lambda image: image.narrow(1, 3, 1), DEPTH),
    "split": (lambda image: image.split([3, 1], 1)[0], RGB),
    "second of split": (lambda image: image.split([3, 1], 1)[1], DEPTH),
    "chunk": (lambda image: image.chunk(4, 1)[3], DEPTH),
    "unbind": (lambda image: torch.stack(image.unbind(1)[:3], 1), RGB),
    "permuted": (lambda image: image.permute(0, 2, 3, 1)[..., :3], RGB),
    "permuted, copied": (lambda image: image.permute(0, 2, 3, 1).contiguous()[..., 3], DEPTH),
    "reshaped": (lambda image: image.reshape(5, -1)[:, :108], RGB),
    "reshaped copy": (lambda image: image.permute(0, 2, 3, 1).reshape(5, -1, 4)[..., 3:], DEPTH),
    "flattened, one too many": (lambda image: image.flatten(1)[:, :109], RGB | DEPTH),
    "list": (lambda image: image[:, [0, 2]], RGB),
    "list over both": (lambda image: image[:, [0, 3]], RGB | DEPTH),
    "list, then slice": (lambda image: image[:, [3, 0]][:, :1], DEPTH),
    "booleans": (lambda image: image[:, torch.tensor([False, False, False, True])], DEPTH),
    "index_select": (lambda image: image.index_select(1, torch.tensor([3, 3])), DEPTH),
    "gather": (lambda image: image.gather(1, torch.full((5, 1, 6, 6), 3)), DEPTH),
    "take": (lambda image: image.take(torch.tensor([0, 1, 107])), RGB),
    "masked_select": (lambda image: image.masked_select(torch.arange(4).view(4, 1, 1) > 2), DEPTH),
    "flip": (lambda image: image.flip(1)[:, :1], DEPTH),
    "roll": (lambda image: image.roll(1, 1)[:, :1], DEPTH),
    "repeat": (lambda image: image.repeat(1, 2, 1, 1)[:, 4:7], RGB),
    "expand": (lambda image: image[:, 3:].expand(-1, 3, -1, -1), DEPTH),
    "clone": (lambda image: image.clone()[:, 3], DEPTH),
    "channels last": (lambda image: image.contiguous(memory_format=torch.channels_last)[:, 3], DEPTH),
    "double": (lambda image: image.double()[:, :3], RGB),
    "half and back": (lambda image: image.half().float()[:, 3], DEPTH),
    "unfold": (lambda image: image.unfold(2, 2, 2)[:, :3], RGB),
    "pixel_unshuffle": (lambda image: nn.functional.pixel_unshuffle(image, 2)[:, :12], RGB),
    "cat": (lambda image: torch.cat([image[:, 3:], image[:, :3]], 1)[:, :1], DEPTH),
    "cat with nothing": (lambda image: torch.cat([image, torch.ones(5, 2, 6, 6)], 1)[:, 3:], DEPTH),
    "stack": (lambda image: torch.stack([image[:, 0], image[:, 3]])[1], DEPTH),
    "detach": (lambda image: image.detach()[:, 3], DEPTH),
    "conjugate": (lambda image: image.to(torch.complex64).conj()[:, 3], DEPTH),
    "normalised": (lambda image: ((image - torch.ones(4, 1, 1)) / 2)[:, 3], DEPTH),
    "normalised in place": (lambda image: image.sub_(1).div_(torch.full((4, 1, 1), 2.0))[:, 3], DEPTH),
    "squared": (lambda image: (image * image)[:, 3], DEPTH),
    "filled": (lambda image: image.where(~image.isnan(), 0)[:, :3], RGB),
    "multiplied by one channel": (lambda image: (image * image[:, :1])[:, 3], RGB | DEPTH),
    "multiplied by depth": (lambda image: (image * image[:, 3:])[:, :3], RGB | DEPTH),
    "mean over channels": (lambda image: image.mean(1), RGB | DEPTH),
    "mean over pixels": (lambda image: image[:, :3].mean((2, 3)), RGB),
    "mean before the slice": (lambda image: image.mean((2, 3))[:, :3], RGB | DEPTH),
    "convolution": (lambda image: nn.functional.conv2d(image[:, 3:], torch.ones(1, 1, 3, 3)), DEPTH),
    "written over": (lambda image: image[:, :3].copy_(image[:, 3:])[:, 0], RGB | DEPTH),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_part_has_the_tags_of_its_own_elements(cut: str) -> None:
    function, expected = CUTS[cut]
    assert tags(function) == expected


def gradient_tags(function: Any) -> int:
    """Return which channels have a derivative."""
    image = IMAGE.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(function(image).abs().sum(), image)
    reached = gradient.ne(0)
    return RGB * bool(reached[:, :3].any()) | DEPTH * bool(reached[:, 3:].any())


NO_DERIVATIVE = {"mean before the slice", "normalised in place", "written over", "detach"}
"""Cuts whose parts a trace does not tell apart, and cuts that cannot be derived."""


@pytest.mark.parametrize("cut", sorted(CUTS.keys() - NO_DERIVATIVE))
def test_tags_are_those_of_the_derivative(cut: str) -> None:
    function, expected = CUTS[cut]
    assert gradient_tags(function) == expected


@pytest.mark.parametrize("cut", sorted(CUTS.keys() - {"normalised in place", "written over"}))
def test_tags_of_a_part_are_followed_under_autograd_too(cut: str) -> None:
    image = IMAGE.clone().requires_grad_()
    mode = marked(image)
    with torch.enable_grad(), mode:
        found = mode.of(CUTS[cut][0](image))
    assert found == CUTS[cut][1]


STEPS = [
    lambda image: image[:, 1:],
    lambda image: image[:, ::2],
    lambda image: image[:, [0, -1]],
    lambda image: image[:, -1:].expand(-1, 3, -1, -1),
    lambda image: image.flip(1),
    lambda image: image.roll(1, 1),
    lambda image: image.transpose(1, 2),
    lambda image: image.permute(0, 3, 1, 2).contiguous(),
    lambda image: image.reshape(5, -1, 2, 1),
    lambda image: image.repeat(1, 2, 1, 1),
    lambda image: torch.cat([image, image[:, :1] * 2], 1),
    lambda image: torch.stack(image.unbind(1)[::-1], 1),
    lambda image: image.gather(1, torch.arange(image.shape[1]).flip(0).view(1, -1, 1, 1).expand(image.shape)),
    lambda image: image + image.roll(1, 1),
    lambda image: image.double().tanh(),
    lambda image: image.where(image > -9, 0),
    lambda image: image.mean(2, keepdim=True).expand_as(image),
]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5))
def test_tags_of_any_row_of_steps_hold_all_that_has_a_derivative(steps: list[Any]) -> None:
    def made(image: Tensor) -> Tensor:
        return reduce(lambda found, step: step(found), steps, image)

    image = IMAGE.clone()
    mode = marked(image)
    with mode:
        found = [mode.of(part) for part in made(image).unbind(1)]
    expected = [gradient_tags(lambda image, k=k: made(image)[:, k]) for k in range(len(found))]
    assert all(tags & reached == reached for tags, reached in zip(found, expected, strict=True))
    if STEPS[-1] not in steps:
        assert found == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda image, text: torch.cat([image, text.view(5, 1, 6, 6)], 1)[:, :3], RGB),
        (lambda image, text: torch.cat([image, text.view(5, 1, 6, 6)], 1)[:, 3:], DEPTH | TEXT),
        (lambda image, text: torch.cat([image, text.view(5, 1, 6, 6)], 1)[:, 4:], TEXT),
        (lambda image, text: (image * text.view(5, 1, 6, 6))[:, 3], DEPTH | TEXT),
        (lambda image, text: image.index_select(2, text[0, :1].long() % 6)[:, 3], DEPTH | TEXT),
        (lambda image, text: image[:, :3].add_(text.view(5, 1, 6, 6)), RGB | TEXT),
        (lambda image, text: image.mul_(text.view(5, 1, 6, 6))[:, 3], DEPTH | TEXT),
        (lambda image, text: text.view(5, 1, 6, 6).mul_(image[:, 3:]), DEPTH | TEXT),
    ],
)
def test_a_part_beside_another_leaf(function: Any, expected: int) -> None:
    assert tags(function, IMAGE[:, :1].abs().flatten(1).clone()) == expected


def test_what_is_written_in_place_belongs_to_the_whole_tensor() -> None:
    def write(image: Tensor, text: Tensor) -> Tensor:
        image[:, :3] = text.view(5, 1, 6, 6)
        return image[:, 3]

    assert tags(write, IMAGE[:, :1].flatten(1).clone()) & (DEPTH | TEXT) == DEPTH | TEXT


def test_a_view_of_other_elements_depends_on_all_of_them() -> None:
    pairs = torch.complex(IMAGE, IMAGE)
    mode = marked(pairs)
    with mode:
        assert mode.of(torch.view_as_real(pairs)[:, 3]) == RGB | DEPTH
        assert mode.of(torch.view_as_real(pairs)[:, 3] * 2) == RGB | DEPTH
        assert mode.of(pairs[:, 3]) == DEPTH


def test_parts_of_an_expanded_or_overlapping_tensor_are_not_told_apart() -> None:
    expanded, windows = torch.ones(1, 4).expand(5, 4), torch.ones(1, 6).unfold(1, 3, 1)
    assert marked(expanded).of(expanded[:, 3]) == RGB | DEPTH
    mode = marked(windows)
    assert [mode.of(part) for part in windows.unbind(1)] == [RGB | DEPTH] * 4


def test_views_of_one_storage_are_marked_one_by_one() -> None:
    image, mode = IMAGE.clone(), ElementDependencyMode()
    mode.mark_part(image[:, :3], torch.tensor(True), RGB)
    mode.mark_part(image[:, 3:], torch.tensor(True), DEPTH)
    with mode:
        parts = image, image[:, :3], image[:, 3], image[:, [0, 1]]
        assert [mode.of(part) for part in parts] == [RGB | DEPTH, RGB, DEPTH, RGB]


def test_a_mark_of_the_whole_replaces_those_of_parts() -> None:
    image = IMAGE.clone()
    mode = marked(image)
    mode.mark(image, TEXT)
    assert mode.of(image[:, 3]) == TEXT


def test_more_sets_than_a_whole_number_has_bits() -> None:
    """Tags beyond 64 bits come from other leaves and from replayed calls."""
    image, far = IMAGE.clone(), IMAGE[:, :1].clone()
    mode = marked(image)
    mode.mark(far, 1 << 70)
    with mode, mode.inside_call(1 << 90):
        assert mode.of(torch.cat([image, far], 1)[:, 4:]) == 1 << 70 | 1 << 90
        assert mode.of((image * far)[:, 3]) == DEPTH | 1 << 70 | 1 << 90


def test_a_view_made_inside_a_replayed_call_has_the_tag_of_the_call() -> None:
    image = IMAGE.clone()
    mode = marked(image)
    with mode, mode.inside_call(TEXT):
        kept = image[:, 3]
    assert mode.of(kept) == DEPTH | TEXT


def test_operations_on_numbers_are_not_reported() -> None:
    image, heard = IMAGE.clone(), []
    mode = marked(image, untracked=1 << 10)
    mode.listeners.append(lambda given, func, *_: heard.append((given, str(func))))
    with mode:
        mode.of([image[:, 3], image])
        image.clone()
    assert heard == [
        (frozenset({RGB | DEPTH}), "aten.select.int"),
        (frozenset({RGB | DEPTH}), "aten.clone.default"),
    ]


def test_without_parts_no_element_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("mviz_lightning.engine.element_numbers._seen_by", fails)
    monkeypatch.setattr(ElementDependencyMode, "_union", fails)
    found = []
    for mode in (DependencyMode(), ElementDependencyMode()):
        image = IMAGE.clone()
        mode.mark(image, RGB)
        with mode:
            found.append(mode.of(image.mul_(2).flatten(1)[:, [0, 3]].clone() + 1))
    assert found == [RGB, RGB]


class Fusion(nn.Module):
    """Encodes colour and depth of one tensor apart."""

    def __init__(self, cut: Any) -> None:
        super().__init__()
        self.rgb, self.depth = (
            nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
            nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
        )
        self.head, self.cut = nn.Linear(6, 2), cut

    def forward(self, image: Tensor) -> Tensor:
        rgb, depth = self.cut(image)
        return self.head(torch.cat([self.rgb(rgb), self.depth(depth)], 1))


@pytest.mark.parametrize(
    "cut",
    [
        lambda image: (image[:, :3], image[:, 3:]),
        lambda image: image.split([3, 1], 1),
        lambda image: (image[:, [0, 1, 2]], image[:, [3]]),
        lambda image: (((image - 1) / 2)[:, :3], image[:, 3:].log1p()),
    ],
)
def test_encoders_of_slices_are_given_and_see_one_modality_each(cut: Any) -> None:
    module, image = Fusion(cut), IMAGE.clone()
    module(image)
    tracer = _Tracer((), 0, 3)
    tracer.mark(module, {"rgb": [(image, ~of_depth(image))], "depth": [(image, of_depth(image))]}, 0)
    with torch.no_grad(), wrapped_calls(module, tracer.wrap), tracer.mode:
        found = tracer.result(module(image))
    seen = {key[0]: (frame.inputs, frame.seen, frame.tags) for key, frame in found.frames.items()}
    assert seen["rgb"] == (RGB, RGB, RGB)
    assert seen["depth"] == (DEPTH, DEPTH, DEPTH)
    assert seen["head"] == (RGB | DEPTH,) * 3
    assert found.outputs == RGB | DEPTH
