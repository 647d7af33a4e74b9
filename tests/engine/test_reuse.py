"""Encodings are run once for every distinct input, exactly or not at all."""

import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import FAMILIES, LateFusion, OnBatch, floats, integers, probe_of, seeded
from helpers.tally import Tally
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from mviz_lightning import ConfigurationError, MonitorWarning
from mviz_lightning.batch import Segments
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.dry_run_checks import reused
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.recording import Recording
from mviz_lightning.engine.reuse_report import fusion_share
from mviz_lightning.engine.row_runs import row_runs

COUNT = 12
GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))
BATCH = {"image": floats(COUNT, 4), "text": floats(COUNT, 3, seed=1)}


class Counted(nn.Module):
    """Counts the rows that it sees."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, Tally()

    @property
    def rows(self) -> list[int]:
        return self.seen.seen

    def forward(self, *inputs: Tensor) -> Tensor:
        self.rows.append(len(inputs[0]))
        return self.net(*inputs)


class Late(nn.Module):
    """``forward(image, text)``; the encoders' outputs meet in a function of one's own."""

    def __init__(self, fuse: Any = torch.mul, image: nn.Module | None = None, text: nn.Module | None = None) -> None:
        super().__init__()
        self.image = image or nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.text = text or nn.Sequential(nn.Linear(3, 6), nn.Tanh())
        self.fuse = fuse

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.fuse(self.image(image), self.text(text))


def evaluator(module: nn.Module, **options: Any) -> Evaluator:
    return Evaluator(module, lambda module, batch: module(batch["image"], batch["text"]), **options)


def evaluated(module: nn.Module, batch: Any = BATCH, **options: Any) -> tuple[Evaluator, Tensor, Tensor]:
    """Return an evaluator after a grid, the grid's outputs, and those of plain forwards."""
    asking, probe = evaluator(module, **options), probe_of(batch)
    return asking, asking(probe, [GRID])[0], asking.plain(probe, GRID)


def assert_exact(module: nn.Module, *names: str, **options: Any) -> None:
    """The named modules are replayed, and outputs are those of plain forwards."""
    asking, found, plain = evaluated(module, **options)
    assert asking.reuse
    assert set(asking._plan.modules if asking._plan else ()) == set(names)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_of_models_is_answered_as_by_plain_forwards(family: Any) -> None:
    case = family(COUNT)
    probe = probe_of(case.batch, case.modalities, case.target)
    modalities = len(probe.schema.names)
    some = Query.aligned(torch.arange(4), modalities).sources
    call = choose_call(case.module, probe.schema, probe.batch(some, {}), case.predict)
    asking = Evaluator(case.module, call.predict)
    query = GRID if modalities == 2 else Query(integers(COUNT, 400, modalities))
    found = asking(probe, [query])[0]
    assert asking.reuse
    assert asking._plan is not None
    torch.testing.assert_close(found, asking.plain(probe, query), rtol=1e-4, atol=1e-6)


def test_encoders_see_every_example_once() -> None:
    image, text = Counted(nn.Linear(4, 6)), Counted(nn.Linear(3, 6))
    asking = evaluator(Late(image=image, text=text))
    probe = probe_of(BATCH)
    asking(probe, [GRID])
    image.rows.clear()
    text.rows.clear()
    asking(probe, [GRID])
    assert text.rows == image.rows
    assert image.rows == [COUNT, 16]  # 16 rows are recomputed plainly


def test_on_a_cpu_encoders_run_on_as_few_rows_at_a_time_as_its_caches_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = nn.Sequential(nn.Linear(4, 1000), nn.Tanh(), nn.Linear(1000, 6))  # 4,000 bytes a row
    image = Counted(wide)
    asking, probe = evaluator(Late(image=image)), probe_of(BATCH)
    expected = asking(probe, [GRID])[0]
    monkeypatch.setattr("mviz_lightning.engine.evaluator.FEWEST_ROWS", 3)
    # 12 encodings, then 16 rows that are recomputed plainly; never a single row.
    for cache, sizes in ((4000 * 12, [12, 12, 4]), (4000 * 5, [5, 5, 2, 5, 5, 6]), (1, [3, 3, 3, 3, 3, 3, 3, 3, 4])):
        image.rows.clear()
        monkeypatch.setattr("mviz_lightning.engine.evaluator.CPU_CACHE", cache)
        torch.testing.assert_close(asking(probe, [GRID])[0], expected)
        assert image.rows == sizes


def test_without_reuse_every_row_is_evaluated() -> None:
    image = Counted(nn.Linear(4, 6))
    evaluator(Late(image=image), reuse=False)(probe_of(BATCH), [GRID])
    assert sum(image.rows) == len(GRID)


def test_the_largest_modules_of_one_modality_are_replayed() -> None:
    assert_exact(seeded(LateFusion), "image_net", "text_net")


def test_what_is_reused_is_said_in_words() -> None:
    many = nn.Module()
    many.parts = nn.ModuleList(nn.Linear(4, 6) for _ in range(8))
    many.forward = lambda image: torch.stack([part(image) for part in many.parts]).sum(0)
    mixing = Late(fuse=lambda image, text: image + text, image=many)
    mixing.forward = lambda image, text: sum(part(image) for part in many.parts) + mixing.text(text)
    probe = probe_of(BATCH)
    assert reused(evaluator(Late()), probe) == "image, text"
    assert reused(evaluator(mixing), probe) == ", ".join(f"image.parts.{k}" for k in range(6)) + " and 3 more"
    assert reused(evaluator(Late(), reuse=False), probe) == "nothing (reuse=False)"
    everything = evaluator(nn.Identity(), all_pairs=lambda module, batch: batch["image"] @ batch["text"].T)
    assert reused(everything, probe) == "all of it"
    whole = Late(fuse=nn.Identity())
    whole.forward = lambda image, text: image[:, :3] * text
    assert reused(evaluator(whole), probe) == "nothing, since no submodule depends on one modality alone in the trace"


def test_masked_inputs_are_inputs_of_their_own() -> None:
    probe, module = probe_of(BATCH), Late()
    segments = {
        "image": Segments("image", torch.tensor([[0, 0, 1, 1]])),
        "text": Segments("text", torch.tensor([[0, 1, 2]]), 7.0),
    }
    probe = type(probe)(probe.schema, probe.leaves, probe.groups, segments)
    query = Query(
        integers(COUNT, 600, 2), {"image": integers(2, 600, 2).bool(), "text": integers(2, 600, 3, seed=3).bool()}
    )
    asking = evaluator(module)
    found = asking(probe, [query])[0]
    assert asking.reuse
    assert asking._plan is not None
    torch.testing.assert_close(found, asking.plain(probe, query))


class NumpyFusion(nn.Module):
    """Leaves torch where modalities meet."""

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return torch.from_numpy(image.numpy() * text.numpy())


def test_a_fusion_in_numpy_is_exact() -> None:
    assert_exact(Late(NumpyFusion()), "image", "text")


class NumpyEncoder(nn.Module):
    """Hides the image from view, and hands it on with the text's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 6)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(torch.from_numpy(image.numpy().copy()))


ESCAPES: dict[str, Any] = {
    "numpy": lambda found: torch.from_numpy(found.numpy().copy()),
    "array": lambda found: torch.as_tensor(np.asarray(found).copy()),
    "dlpack": lambda found: torch.from_numpy(np.from_dlpack(found).copy()),
    "list": lambda found: torch.tensor(found.tolist()),
    "numbers": lambda found: torch.tensor([[float(number) for number in row] for row in found]),
}


class HiddenInText(nn.Module):
    """The text's encoder takes the image along behind torch's back: wrong if it is replayed by the text alone."""

    def __init__(self, offset: float = 0.0, *, escape: str = "numpy", seen: bool = False) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 6), nn.Linear(9, 6)
        self.offset, self.escape, self.seen = offset, ESCAPES[escape], seen

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        hidden = self.escape(self.image(image))
        found = self.text(torch.cat([text, hidden], 1)) + self.offset
        return found + image[:, :1] if self.seen else found


def test_an_encoder_that_goes_through_numpy_is_replayed_for_what_it_was_given() -> None:
    assert_exact(Late(image=NumpyEncoder()), "image", "text")


def assert_dropped(module: nn.Module, dropped: list[str], replayed: list[str], reason: str) -> None:
    """Some modules are replayed no longer, which is said once, and others are; the outputs are those of plain rows."""
    asking, probe = evaluator(module), probe_of(BATCH)
    said = f"encodings of {', '.join(dropped)} cannot be reused, so they are computed for every row.*: {reason}"
    with pytest.warns(MonitorWarning, match=said) as caught:
        found = asking(probe, [GRID])[0]
    assert len(caught) == 1
    assert asking.reuse
    assert (asking._plan.modules if asking._plan else []) == replayed
    torch.testing.assert_close(found, asking.plain(probe, GRID), rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(asking(probe, [GRID])[0], found)


@pytest.mark.parametrize("escape", ESCAPES)
def test_what_comes_from_outside_of_torch_is_taken_to_hold_what_vanished(escape: str) -> None:
    assert_exact(HiddenInText(escape=escape), "image")


@pytest.mark.parametrize("escape", [name for name in ESCAPES if name != "numbers"])
def test_what_leaves_torch_beside_a_visible_way_is_followed(escape: str) -> None:
    assert_exact(HiddenInText(escape=escape, seen=True), "image")


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_single_numbers_that_leave_torch_beside_a_visible_way_are_found_out(offset: float) -> None:
    assert_dropped(HiddenInText(offset, escape="numbers", seen=True), ["text"], ["image"], "replayed rows differ from")


class Flagging(nn.Module):
    """Looks at the words in Python, for one text of all; the encoder sees them too."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        first = float(BATCH["text"][5, 0])
        flags = torch.tensor([[5.0 if row[0] == first else 0.0] for row in text.tolist()])
        return self.head(self.image(image) * self.text(text)) + flags


def test_what_python_reads_of_few_rows_is_exact() -> None:
    # Sixteen rows that are recomputed would notice it in three runs of four.
    assert_exact(Flagging(), "image", "text")


class OutputReading(nn.Module):
    """Counts letters of strings, which torch does not see, beside a large offset."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.head = nn.Linear(4, 6), nn.Linear(7, 2)

    def forward(self, image: Tensor, text: list[str]) -> Tensor:
        length = torch.tensor([[float(len(words))] for words in text])
        return self.head(torch.cat([self.image(image), 0.1 * length], 1)) + 1e4


def test_strings_that_a_model_reads_are_seen_by_what_follows() -> None:
    batch = {"image": BATCH["image"], "text": ["a" * (1 + 3 * k) for k in range(COUNT)]}
    asking, found, plain = evaluated(OutputReading(), batch)
    assert asking.reuse
    assert asking._plan is not None
    assert asking._plan.modules == ["image"]
    torch.testing.assert_close(found, plain)


def never_the_same(count: int) -> Tensor:
    """Return ``(count, 1)`` random numbers that no seed repeats."""
    return torch.tensor([[random.SystemRandom().random()] for _ in range(count)])


class Sampling(nn.Module):
    """Draws random numbers in evaluation mode, as many as there are rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 6)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image) + never_the_same(len(image))


def test_of_a_model_that_samples_the_replay_is_not_to_blame() -> None:
    asking, probe = evaluator(Late(image=Sampling())), probe_of(BATCH)
    with pytest.raises(
        ConfigurationError, match="when evaluated again .*: the model draws random numbers in evaluation mode"
    ):
        asking(probe, [GRID])
    assert asking.reuse


class TrainedNorm(nn.Module):
    """BatchNorm that stays in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4, affine=False)

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.batch_norm(image, None, None, training=True).repeat(1, 2)[:, :6]


def test_of_batch_statistics_the_replay_is_not_to_blame() -> None:
    asking, probe = evaluator(Late(image=TrainedNorm())), probe_of(BATCH)
    with pytest.raises(ConfigurationError, match="in other batches .*: examples of a batch influence one another"):
        asking(probe, [GRID])
    assert asking.reuse


def edit_in_place(image: Tensor, text: Tensor) -> Tensor:
    return image.mul_(text).add_(1)


def test_encodings_that_are_edited_in_place_are_exact() -> None:
    assert_exact(Late(edit_in_place), "image", "text")


class InPlace(nn.Module):
    """Works on its argument; what it returns is thrown away."""

    def forward(self, values: Tensor) -> None:
        values.tanh_()


class Discarding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.activate = nn.Linear(4, 6), nn.Linear(3, 6), InPlace()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        left = self.image(image)
        self.activate(left)
        return left * self.text(text)


def test_modules_that_change_their_argument_run_on_every_row() -> None:
    assert_exact(Discarding(), "image", "text")


class Keeping(nn.Module):
    """Keeps what it returned, for others to read."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.net, self.found = nn.Linear(inputs, 6), torch.zeros(0)

    def forward(self, values: Tensor) -> Tensor:
        self.found = self.net(values)
        return self.found


class Read(nn.Module):
    """Reads what encoders keep rather than what they return."""

    def __init__(self, *, hooks: bool = False) -> None:
        super().__init__()
        self.image, self.text, self.hooks = Keeping(4), Keeping(3), hooks
        self.found: dict[str, Tensor] = {}
        for name in ("image", "text"):
            net = self.get_submodule(name).net
            net.register_forward_hook(lambda _, __, found, name=name: self.found.update({name: found}))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.image(image)
        self.text(text)
        return self.found["image"] * self.found["text"] if self.hooks else self.image.found * self.text.found


@pytest.mark.parametrize("hooks", [True, False])
def test_calls_that_leave_something_behind_run_on_every_row(*, hooks: bool) -> None:
    assert_exact(Read(hooks=hooks), "image.net", "text.net")


class Counting(nn.Module):
    """Returns how large its batch is, too."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.net = nn.Linear(inputs, 6)

    def forward(self, values: Tensor) -> tuple[Tensor, int]:
        return self.net(values), len(values)


def test_calls_that_return_the_size_of_their_batch_run_on_every_row() -> None:
    def fuse(image: tuple[Tensor, int], text: tuple[Tensor, int]) -> Tensor:
        return (image[0] * text[0]).view(image[1], -1)

    assert_exact(Late(fuse, Counting(4), Counting(3)), "image.net", "text.net")


class Wrong(nn.Module):
    """As many rows as the first call was given: what Python alone knows is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.rows = nn.Linear(4, 6), Tally()

    def forward(self, image: Tensor) -> Tensor:
        self.rows.seen = [len(image)]
        return self.net(image)


def test_a_replay_with_too_few_rows_costs_the_module_that_it_concerns() -> None:
    image = Wrong()
    fused = Late(lambda left, right: (left * right)[: image.rows.seen[0]], image)
    assert_dropped(fused, ["image"], ["image.net", "text"], "the model returned 12 rows of scores")


class Marking(nn.Module):
    """An encoder that marks the tensor that it returns, which the fusion asks for."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, 6), nn.Tanh())

    def forward(self, values: Tensor) -> Tensor:
        found = self.net(values)
        found.marked = True
        return found


@pytest.mark.parametrize("which", ["image", "text", "one", "both"])
def test_modules_whose_outputs_cannot_be_copied_run_on_every_row(which: str) -> None:
    def fuse(left: Tensor, right: Tensor) -> Tensor:
        marks = [hasattr(found, "marked") for found in (left, right)]
        assert {"image": marks[0], "text": marks[1], "one": any(marks), "both": all(marks)}[which]
        return left * right

    inner = {"image": ("image.net", "text"), "text": ("image", "text.net")}
    assert_exact(Late(fuse, Marking(4), Marking(3)), *inner.get(which, ("image.net", "text.net")))


class Noting(nn.Module):
    """An encoder that notes, where no trace looks, that it ran; the fusion strikes the note out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.notes = inner, Tally()

    def forward(self, values: Tensor) -> Tensor:
        self.notes.seen.append(1)
        return self.inner(values)


def test_a_replay_that_raises_costs_the_module_that_it_concerns() -> None:
    image = Noting(nn.Linear(4, 6))

    def fuse(left: Tensor, right: Tensor) -> Tensor:
        image.notes.seen.pop()
        return left * right

    assert_dropped(Late(fuse, image), ["image"], ["image.inner", "text"], "pop from empty list")


def test_modules_that_fail_only_together_are_dropped_together() -> None:
    image, text = Noting(nn.Linear(4, 6)), Noting(nn.Linear(3, 6))

    def fuse(left: Tensor, right: Tensor) -> Tensor:
        noted = [found.notes.seen for found in (image, text) if found.notes.seen]
        assert noted
        for notes in noted:
            notes.pop()
        return left * right

    assert_dropped(Late(fuse, image, text), ["image", "text"], ["image.inner", "text.inner"], "assert")


def test_of_modules_inside_one_another_two_are_tried() -> None:
    outer = Noting(nn.Sequential(Noting(nn.Sequential(Noting(nn.Linear(4, 6))))))
    noting = [child for child in outer.modules() if isinstance(child, Noting)]

    def fuse(left: Tensor, right: Tensor) -> Tensor:
        for child in noting:
            child.notes.seen.pop()
        return left * right

    asking, probe = evaluator(Late(fuse, outer)), probe_of(BATCH)
    with pytest.warns(MonitorWarning, match="encodings of") as caught:
        found = asking(probe, [GRID])[0]
    starts = [str(one.message).partition(" cannot be reused, so they are computed")[0] for one in caught]
    assert starts == ["encodings of image", "encodings of image.inner"]
    assert asking.reuse
    assert asking._plan.modules == ["text"]
    torch.testing.assert_close(found, asking.plain(probe, GRID), rtol=1e-5, atol=1e-6)


def test_an_error_of_the_model_itself_costs_no_reuse() -> None:
    broken = [False]

    def fuse(left: Tensor, right: Tensor) -> Tensor:
        if broken[0]:
            raise ArithmeticError("no such luck")
        return left * right

    asking, probe = evaluator(Late(fuse)), probe_of(BATCH)
    expected = asking(probe, [GRID])[0]
    broken[0] = True
    with pytest.raises(ArithmeticError, match="no such luck"):
        asking(probe, [GRID])
    broken[0] = False
    torch.testing.assert_close(asking(probe, [GRID])[0], expected)
    assert asking._plan.modules == ["image", "text"]


class Boxed(nn.Module):
    """Returns its encoding in a container, beside an empty one."""

    def __init__(self, inputs: int, box: Any) -> None:
        super().__init__()
        self.net, self.box = nn.Linear(inputs, 6), box

    def forward(self, values: Tensor) -> Any:
        return self.box(self.net(values))


def assign(found: Any, key: Any) -> Tensor:
    """Assign a projection into the container that an encoder returned, as LLaVA does."""
    found[key] = found[key] * 2
    return found[key]


def append(found: list[Any]) -> Tensor:
    found.append(len(found))
    return found[0] * found[-1]


def collect(found: dict[str, Any]) -> Tensor:
    found["layers"].append(found["features"])
    found["layers"].extend(found["features"].split(1))  # as many as there are rows
    return found["layers"][0] * len([one for one in found["layers"] if one.shape == found["features"].shape])


ASSIGNED = {
    "into a dict": (lambda found: {"features": found}, lambda found: assign(found, "features")),
    "into a list": (lambda found: [found], lambda found: assign(found, 0)),
    "to the end of a list": (lambda found: [found], append),
    "into a list in a dict": (lambda found: {"features": found, "layers": []}, collect),
    "another key": (lambda found: {"features": found}, lambda found: found.setdefault("pooled", found["features"] + 1)),
}


@pytest.mark.parametrize(("box", "use"), ASSIGNED.values(), ids=ASSIGNED.keys())
def test_containers_into_which_the_caller_assigns_are_replayed_as_they_were_returned(box: Any, use: Any) -> None:
    module = Late(lambda left, right: use(left) * use(right), Boxed(4, box), Boxed(3, box))
    assert_exact(module, "image", "text", chunk_size=16)


def llava() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=8, patch_size=4)
    text = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=40)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=39, image_seq_length=4)
    return LlavaForConditionalGeneration(config).eval()


def test_the_image_encoder_of_llava_is_reused() -> None:
    """Its own forward assigns projected features into the container that the encoder returned."""
    tokens = integers(38, COUNT, 10)
    tokens[:, 1:5] = 39  # where the image stands
    probe = probe_of({"image": floats(COUNT, 3, 8, 8), "text": tokens})

    def last(module: nn.Module, batch: Any) -> Tensor:
        return module(pixel_values=batch["image"], input_ids=batch["text"]).logits[:, -1]

    asking = Evaluator(seeded(llava), last)
    found = asking(probe, [GRID])[0]
    assert asking.reuse
    assert {"model.vision_tower", "model.multi_modal_projector"} <= set(asking._plan.modules)
    torch.testing.assert_close(found, asking.plain(probe, GRID), rtol=1e-5, atol=1e-6)


class Unrolled(nn.Module):
    """Calls a cell as often as the longest text of a batch needs."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.cell = nn.Linear(4, 6), nn.GRUCell(1, 6)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        state, lengths = torch.zeros(len(text), 6), 1 + (text[:, 0] > 0) + (text[:, 1] > 0)
        for step in range(int(lengths.max())):
            state = torch.where((step < lengths).unsqueeze(1), self.cell(text[:, step : step + 1], state), state)
        return self.image(image) * state


def test_calls_that_some_inputs_do_without_are_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_exact(Unrolled(), "image", "cell")
    # Encoded three at a time, the texts do not all meet the same calls.
    monkeypatch.setattr("mviz_lightning.engine.evaluator.CPU_CACHE", 1)
    monkeypatch.setattr("mviz_lightning.engine.evaluator.FEWEST_ROWS", 3)
    text = floats(COUNT, 3, seed=1).abs() * torch.tensor([1, -1, -1]).where(torch.arange(COUNT)[:, None] >= 6, 1)
    asking, probe = evaluator(Unrolled()), probe_of({**BATCH, "text": text})
    with pytest.warns(MonitorWarning, match=r"encodings of cell .*: call \d of 'cell' is not made with every input"):
        found = asking(probe, [GRID])[0]
    assert asking._plan.modules == ["image"]
    torch.testing.assert_close(found, asking.plain(probe, GRID), rtol=1e-5, atol=1e-6)


def test_a_small_output_is_checked_beside_a_large_one() -> None:
    class Sizes(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([1e4 * image, image + never_the_same(len(image))], 1)

    # Only the small outputs are drawn anew.
    asking, probe = evaluator(Late(lambda image, text: image * text[:, :1], Sizes())), probe_of(BATCH)
    with pytest.raises(
        ConfigurationError, match="when evaluated again .*: the model draws random numbers in evaluation mode"
    ):
        asking(probe, [GRID])


def ran_out() -> RuntimeError:
    return RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_memory_that_runs_out_while_tracing_costs_reuse_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ran_out()

    monkeypatch.setattr("mviz_lightning.engine.evaluator.find_plan", fails)
    asking, found, plain = evaluated(Late())
    assert asking._plan is None
    torch.testing.assert_close(found, plain)


def test_memory_that_runs_out_for_recordings_makes_chunks_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Recording.close

    def limited(self: Recording, count: int) -> None:
        if count > 7:
            raise ran_out()
        close(self, count)

    monkeypatch.setattr(Recording, "close", limited)
    asking, found, plain = evaluated(Late())
    assert asking.reuse
    assert asking.chunk_size == 6
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


class Siamese(nn.Module):
    """One encoder for both modalities, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.widen = nn.Linear(4, 6), nn.Linear(3, 4)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.encoder(image) * self.encoder(self.widen(text))


def test_a_shared_encoder_is_replayed_for_each_of_its_calls() -> None:
    assert_exact(Siamese(), "encoder", "widen")


class Nested(nn.Module):
    """The same layer inside an encoder and outside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.image, self.text = nn.Sequential(self.layer, nn.Tanh()), nn.Linear(3, 4)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.image(image) * self.layer(self.text(text))


def test_a_layer_that_is_called_inside_an_encoder_too_is_not_confused() -> None:
    assert_exact(Nested(), "image", "text")


class SequenceFirst(nn.Module):
    """An RNN over ``(T, B, D)`` with hidden states ``(1, B, H)``."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = nn.GRU(1, 5), nn.Linear(4, 5)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        steps, last = self.text(text.T.unsqueeze(-1))
        return self.image(image) * (steps.mean(0) + last[0])


def test_sequences_first_are_replayed_along_their_batch_dimension() -> None:
    assert_exact(SequenceFirst(), "text", "image")


class Attending(nn.Module):
    """A transformer encoder, whose fast path makes nested tensors."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.text, self.image = nn.TransformerEncoder(layer, 1), nn.Linear(4, 4)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        steps = text.unsqueeze(-1).expand(-1, -1, 4)
        return self.image(image) * self.text(steps, src_key_padding_mask=text < -1).mean(1)


def test_the_fast_path_of_attention_is_no_obstacle() -> None:
    assert_exact(Attending(), "text", "image")


def test_compiled_encoders_are_replayed() -> None:
    module = Late()
    module.image.compile(backend="eager")
    assert_exact(module, "image", "text")


def test_a_model_of_functions_alone_is_evaluated_plainly() -> None:
    module = OnBatch(lambda _, batch: batch["image"][:, :1] * batch["text"][:, :1])
    asking = Evaluator(module, lambda module, batch: module(batch))
    probe = probe_of(BATCH)
    torch.testing.assert_close(asking(probe, [GRID])[0], asking.plain(probe, GRID))
    assert asking._plan is None


def test_the_model_is_left_as_it_was() -> None:
    module = Late()
    before = [dict(vars(child)) for child in module.modules()]
    evaluated(module)
    after = [dict(vars(child)) for child in module.modules()]
    assert [list(found) for found in before] == [list(found) for found in after]
    assert not any("forward" in found for found in after)


@pytest.mark.parametrize("limit", [2, 5, 100])
def test_slices_hold_few_distinct_inputs_and_all_rows(limit: int) -> None:
    query = Query(integers(7, 90, 2), {"text": integers(2, 90, 2, seed=5).bool()})
    done = 0
    for part in row_runs(query, ["image", "text"], limit):
        rows = query[part.rows]
        assert part.rows.start == done
        done = part.rows.stop
        assert len(part.distinct) <= limit
        for m, name in enumerate(["image", "text"]):
            place = part.index[:, m]
            assert torch.equal(part.distinct.sources[place, m], rows.sources[:, m])
            if name in rows.masks:
                assert torch.equal(part.distinct.masks[name][place], rows.masks[name])
    assert done == len(query)


def test_memory_for_encodings_is_that_of_a_chunk() -> None:
    image = Counted(nn.Linear(4, 6))
    asking = evaluator(Late(image=image), chunk_size=4)
    found = asking(probe_of(BATCH), [GRID])[0]
    assert asking.reuse
    assert max(image.rows) <= 6  # of the trace; 4 of a chunk
    torch.testing.assert_close(found, asking.plain(probe_of(BATCH), GRID))


class Wordy(nn.Module):
    """``forward(text)``; returns every step of a recurrent layer beside the last, and few read the former."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.LSTM(1, 6, batch_first=True)

    def forward(self, text: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.net(text.unsqueeze(-1))


@pytest.mark.parametrize("everything", [True, False])
def test_what_nobody_reads_of_an_encoding_is_not_replayed(*, everything: bool) -> None:
    def fuse(image: Tensor, text: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        steps, (last, _) = text
        return image * (steps.sum(1) if everything else last[-1])

    asking, found, plain = evaluated(Late(fuse, text=Wordy()))
    assert asking._plan is not None
    used = asking._plan.used["text", 0]
    assert used == ({(0,)} if everything else {(1, 0)})
    torch.testing.assert_close(found, plain)


def test_what_only_decides_on_the_way_is_replayed_too() -> None:
    def fuse(image: Tensor, text: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        steps, (last, _) = text
        return image * last[-1] * (2 if bool(steps.sum() > -1e9) else 1)

    asking, found, plain = evaluated(Late(fuse, text=Wordy()))
    assert asking._plan is not None
    assert {(0,), (1, 0)} == asking._plan.used["text", 0]
    torch.testing.assert_close(found, plain)


def test_the_fusions_share_of_the_work_is_counted() -> None:
    class Heavy(nn.Module):
        """Two encoders to 1024 features, a head of ``width`` outputs."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.image, self.text = nn.Linear(4, 1024), nn.Linear(3, 1024)
            self.head = nn.Linear(1024, width)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return self.head(self.image(image) + self.text(text))

    for width in (1, 100):
        # Multiplications, and what is read and written; weights once for six rows.
        encoders = 2 * 7 * 1024 + 2 * 1024 + 7 + 9 * 1024 / 6
        head = 2 * 1024 * width + 1024 + width + 1025 * width / 6
        taken, added = 4 * 1024, 3 * 1024
        expected = (taken + added + head) / (encoders + added + head)
        assert fusion_share(evaluator(Heavy(width)), probe_of(BATCH)) == pytest.approx(expected, rel=0.01)
    assert fusion_share(evaluator(Heavy(1), reuse=False), probe_of(BATCH)) == 1
    assert fusion_share(evaluator(OnBatch(lambda _, batch: batch["image"])), probe_of(BATCH)) == 1
