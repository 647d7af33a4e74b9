"""Models with an output at every position: maps, volumes, tokens and time steps, and what is known of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from helpers.batches import floats, integers
from outputs.truth import Score, f1, jaccard, r2
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    interpolate,
    l1_loss,
    mse_loss,
)
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassJaccardIndex

from mviz_lightning import Modality
from mviz_lightning.functional import Task

NUMBER = 16
"""Examples that are recombined: all of the validation data."""

SMALL = {"num_examples": NUMBER, "group_size": 8, "reference": NUMBER}
SENSORS = {"radar": "radar", "optical": "optical"}
HEIGHT, WIDTH, CLASSES = 2, 4, 3


class Pixels(nn.Module):
    """Scores of every pixel from two sensors, which add up and multiply. In float64, so that sums agree to 1e-12."""

    def __init__(self) -> None:
        super().__init__()
        self.radar, self.optical = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.kind, self.aux = nn.Conv2d(4, CLASSES, 1), nn.Conv2d(4, CLASSES, 1)
        self.one, self.shade = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 1, 1)
        self.double()

    def both(self, radar: Tensor, optical: Tensor) -> Tensor:
        left, right = torch.tanh(self.radar(radar)), torch.tanh(self.optical(optical))
        return left + right + 4 * left * right


class Steps(nn.Module):
    """Scores of every time step, or token, from a sequence and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.series = nn.Embedding(12, 4), nn.Linear(3, 4)
        self.table = nn.Linear(5, 4)
        self.kind, self.one = nn.Linear(4, CLASSES), nn.Linear(4, 1)
        self.places = nn.Parameter(torch.randn(8, 4))
        self.double()

    def both(self, sequence: Tensor, table: Tensor) -> Tensor:
        """Return ``(B, T, 4)``; each step knows its own entry and its place."""
        encoded = self.words(sequence) if sequence.dim() == 2 else self.series(sequence)
        left = torch.tanh(encoded + self.places[: encoded.shape[1]])
        right = torch.tanh(self.table(table)).unsqueeze(1)
        return left + right + 4 * left * right


class Volumes(nn.Module):
    """Scores of every voxel from two scans."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(1, 3, 3, padding=1)
        self.double()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        left, right = self.first(first), self.second(second)
        return left + right + left * right


@dataclass(frozen=True)
class PositionsKind:
    """A step whose scores have positions.

    Attributes:
        step: (module, batch) -> loss.
        maps: (network, first, second) -> scores ``(B, C, *positions)``.
        labels: Entry of the data: ``(B, *positions)``, or ``(B, C, *positions)``.
        net: The network.
        task: What the scores stand for.
        score: Outputs ``(n, C)`` and labels of all labelled positions -> what is right; None where
            each step is an output of its own.
        inputs: Entries of the two modalities.
        modalities: The monitor's argument.
        forward: (network, first, second) -> what the module returns; the scores by default.
        further: Prefix of a further head -> its maps.
        further_task: What the scores of further heads stand for; None for the task of the main head.
        exact: How far the shares may be from those of all positions; those of a sample are noisy.
        expects: How a warning begins that is right.
        metrics: The user's metrics.
        options: Arguments of the monitor.
        buckets: Whether the examples of a batch have one length, which no mask tells.
        scaled: Whether each position is an output of its own, in units of its target's standard deviation.
    """

    step: Callable[[Any, Any], Tensor]
    maps: Callable[[Any, Tensor, Tensor], Tensor]
    labels: str
    net: Callable[[], nn.Module] = Pixels
    task: Task = "multiclass"
    score: Score | None = jaccard
    inputs: tuple[str, str] = ("radar", "optical")
    modalities: Any = field(default_factory=lambda: SENSORS)
    forward: Any = None
    further: Mapping[str, Callable[[Any, Tensor, Tensor], Tensor]] = field(default_factory=dict)
    further_task: Task | None = None
    exact: float = 1e-6
    expects: str = ""
    metrics: Callable[[], Mapping[str, nn.Module]] = dict
    options: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False
    buckets: bool = False


@dataclass(frozen=True)
class Rows(Dataset[Any]):
    """Examples of which each batch is padded to its longest."""

    entries: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.entries["table"])

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {name: values[place] for name, values in self.entries.items()}


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Return a batch whose words are padded to the longest of its own, with a mask."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    lengths = batch["length"].tolist()
    for name, padding in {"words": 0, "tags": -100, "marked": 0}.items():
        cut = [row[:length] for row, length in zip(batch[name], lengths, strict=True)]
        batch[name] = pad_sequence(cut, True, padding)
    batch["mask"] = (torch.arange(max(lengths)) < batch["length"].unsqueeze(1)).long()
    return batch


def data(seed: int = 0, number: int = NUMBER, *, buckets: bool = False) -> dict[str, Tensor]:
    """Return two sensors, a table, words, series, volumes, and the labels of all kinds."""
    radar, optical = (floats(number, c, HEIGHT, WIDTH, seed=seed + c).double() for c in (2, 3))
    table, series = floats(number, 5, seed=seed + 4).double(), floats(number, 6, 3, seed=seed + 5).double()
    lengths = 2 + integers(5, number, seed=seed + 6)
    lengths[::5] = 6
    lengths = torch.where(torch.arange(number) % 16 < 8, 4, 6) if buckets else lengths
    kept = torch.arange(6) < lengths.unsqueeze(1)
    words = (3 + integers(9, number, 6, seed=seed + 7)) * kept
    kind = (radar[:, 0] > 0).long() + (optical[:, 0] > 0).long()
    holes = kind.clone()
    holes[integers(4, *kind.shape, seed=seed + 8) == 0] = -100
    tags = ((words + (table[:, :1] > 0)) % CLASSES).masked_fill(~kept, -100)
    marked = ((words + (table[:, :1] > 0)) % 2).double()
    relevant = (series[..., 0] + table[:, :1] > 0).double()
    return {
        "radar": radar, "optical": optical, "table": table, "series": series, "words": words, "length": lengths,
        "kind": kind, "holes": holes,
        "void": holes.masked_fill(holes < 0, 255), "tags": tags, "full_tags": (words + (table[:, :1] > 0)) % CLASSES,
        "marked": marked, "known_marks": marked.masked_fill(~kept, -100),
        "mask": kept.long(), "mask_map": (radar[:, :1] + optical[:, :1] > 0).double(),
        "label_maps": (radar[:, [0, 0, 1]] + optical > 0).double(), "depth": radar[:, :1] + optical[:, 1:2],
        "relevant": relevant, "kept": relevant.masked_fill(~kept, -100), "next": series[..., 1] + table[:, 1:2],
        "first": floats(number, 1, 2, 2, 2, seed=seed + 9).double(),
        "second": floats(number, 1, 2, 2, 2, seed=seed + 10).double(),
        "organ": integers(3, number, 2, 2, 2, seed=seed + 11),
        "large": kind.repeat_interleave(2, 1).repeat_interleave(2, 2),
    }  # fmt: skip


def loaders(cut: bool = False, buckets: bool = False) -> tuple[DataLoader[Any], DataLoader[Any]]:
    chosen = {"collate_fn": collate} if cut else {}
    return tuple(DataLoader(Rows(data(seed, buckets=buckets)), 8, **chosen) for seed in (100, 0))  # type: ignore[return-value]


def called(module: Any, batch: Any, names: tuple[str, str] = ("radar", "optical")) -> Any:
    return module(*(batch[name] for name in names))


def pixels(net: Pixels, radar: Tensor, optical: Tensor) -> Tensor:
    found: Tensor = net.kind(net.both(radar, optical))
    return found


def halves(net: Pixels, radar: Tensor, optical: Tensor) -> Tensor:
    """The radar decides the left half of the picture, and the optical sensor the right one."""
    left, right = net.kind(torch.tanh(net.radar(radar))), net.kind(torch.tanh(net.optical(optical)))
    return torch.cat([left[..., : WIDTH // 2], right[..., WIDTH // 2 :]], -1)


def segmented(module: Any, batch: Any, labels: str = "kind") -> Tensor:
    return cross_entropy(called(module, batch), batch[labels])


def out_and_aux(module: Any, batch: Any) -> Tensor:
    found = called(module, batch)
    return cross_entropy(found["out"], batch["kind"]) + 0.4 * cross_entropy(found["aux"], batch["kind"])


def radar_alone(net: Pixels, radar: Tensor, optical: Tensor) -> Tensor:
    found: Tensor = net.aux(torch.tanh(net.radar(radar)))
    return found


def one_map(net: Pixels, radar: Tensor, optical: Tensor) -> Tensor:
    found: Tensor = net.one(net.both(radar, optical))
    return found


def with_iou(module: Any, batch: Any) -> Tensor:
    found = called(module, batch)
    module.iou(found, batch["kind"])
    return cross_entropy(found, batch["kind"])


def tagged(net: Steps, sequence: Tensor, table: Tensor) -> Tensor:
    """Return ``(B, T, C)``."""
    found: Tensor = net.kind(net.both(sequence, table))
    return found


def classes_first(net: Steps, sequence: Tensor, table: Tensor) -> Tensor:
    return tagged(net, sequence, table).transpose(1, 2)


NO_MASK = {"text": "words", "table": "table"}
TEXT = {"text": Modality("words", mask="mask"), "table": "table"}
WORDS, SERIES = ("words", "table"), ("series", "table")


def token_loss(module: Any, batch: Any) -> Tensor:
    return cross_entropy(called(module, batch, WORDS).transpose(1, 2), batch["tags"], ignore_index=-100)


def flat_loss(module: Any, batch: Any) -> Tensor:
    return cross_entropy(called(module, batch, WORDS).flatten(0, 1), batch["tags"].flatten())


def viewed_loss(module: Any, batch: Any) -> Tensor:
    return cross_entropy(called(module, batch, WORDS).view(-1, CLASSES), batch["tags"].view(-1), ignore_index=-100)


def channels_last(module: Any, batch: Any) -> Tensor:
    return cross_entropy(called(module, batch).permute(0, 3, 1, 2), batch["kind"])


def masked_loss(module: Any, batch: Any) -> Tensor:
    """One yes or no at each step; padding has no weight."""
    found = called(module, batch, SERIES)
    lost = binary_cross_entropy_with_logits(found, batch["relevant"], reduction="none")
    return (lost * batch["mask"]).sum() / batch["mask"].sum()


def picked_loss(module: Any, batch: Any) -> Tensor:
    """One yes or no at each step; padded steps are not picked."""
    kept = batch["mask"].bool()
    return binary_cross_entropy_with_logits(called(module, batch, SERIES)[kept], batch["relevant"][kept])


def each_step(net: Steps, sequence: Tensor, table: Tensor) -> Tensor:
    return net.one(net.both(sequence, table)).squeeze(2)  # type: ignore[no-any-return]


def upsampled(module: Any, batch: Any) -> Tensor:
    return cross_entropy(interpolate(called(module, batch), scale_factor=2, mode="nearest"), batch["large"])


def upsampled_to_labels(module: Any, batch: Any) -> Tensor:
    """As models of segmentation do whose scores have a quarter of the labels' resolution."""
    return cross_entropy(smooth(called(module, batch), batch["large"].shape[-2:]), batch["large"])


def smooth(scores: Tensor, size: Any = (2 * HEIGHT, 2 * WIDTH)) -> Tensor:
    return interpolate(scores, size=size, mode="bilinear", align_corners=False)


def labels_taken_down(module: Any, batch: Any) -> Tensor:
    scores = called(module, batch)
    labels = interpolate(batch["large"].unsqueeze(1).float(), size=scores.shape[-2:], mode="nearest")
    return cross_entropy(scores, labels.squeeze(1).long())


def larger(net: Pixels, radar: Tensor, optical: Tensor) -> Tensor:
    return pixels(net, radar, optical).repeat_interleave(2, 2).repeat_interleave(2, 3)


def both_maps(module: Any, batch: Any) -> dict[str, Tensor]:
    found = called(module, batch)
    return {"kind": found, "depth": module.net.one(module.net.both(batch["radar"], batch["optical"]))}


def unseen(module: Any, batch: Any, names: tuple[str, str] = ("radar", "optical")) -> Tensor:
    """A loss that compares nothing with labels, so that only arguments tell what is measured."""
    return called(module, batch, names).square().mean()


def tag_scores(module: Any, batch: Any) -> Tensor:
    return called(module, batch, WORDS)  # type: ignore[no-any-return]


def given(predict: Any, target: Any, **more: Any) -> dict[str, Any]:
    """Return arguments that say what is measured."""
    return {"predict": predict, "target": target, **more}


GIVEN: dict[str, PositionsKind] = {
    "predict= of maps": PositionsKind(unseen, pixels, "kind", options=given(called, "kind")),
    "predict= of maps, some void": PositionsKind(unseen, pixels, "holes", options=given(called, "holes"), exact=0.1),
    "predict= of binary maps": PositionsKind(
        unseen, one_map, "mask_map", task="binary", options=given(called, "mask_map")
    ),
    "predict= of label maps": PositionsKind(
        unseen, pixels, "label_maps", task="multilabel", options=given(called, "label_maps")
    ),
    "predict= of depth": PositionsKind(
        unseen, one_map, "depth", task="regression", score=r2, options=given(called, "depth")
    ),
    "predict= of two maps": PositionsKind(
        unseen, pixels, "kind", options=given(both_maps, {"kind": "kind", "depth": "depth"}),
        further={"depth": one_map}, further_task="regression",
    ),
    "predict= of maps, void is 255": PositionsKind(
        lambda module, batch: cross_entropy(called(module, batch), batch["void"], ignore_index=255), pixels, "holes",
        exact=0.1, options=given(called, "void"),
    ),
    "target= alone": PositionsKind(
        unseen, pixels, "kind", options={"target": "kind"}, expects="the parameters of forward have other names"
    ),
}  # fmt: skip
"""Outputs that no loss tells about: the labels that the user names have their positions."""

KINDS: dict[str, PositionsKind] = {
    **GIVEN,
    "two sensors": PositionsKind(segmented, pixels, "kind"),
    "a sensor for each half": PositionsKind(segmented, halves, "kind"),
    "out and aux": PositionsKind(
        out_and_aux, pixels, "kind", further={"aux": radar_alone},
        forward=lambda net, *inputs: {"out": pixels(net, *inputs), "aux": radar_alone(net, *inputs)},
    ),
    "with void, 255": PositionsKind(
        lambda module, batch: cross_entropy(called(module, batch), batch["void"], ignore_index=255), pixels, "holes",
        exact=0.1,
    ),
    "with void": PositionsKind(partial(segmented, labels="holes"), pixels, "holes", exact=0.1),
    "binary mask": PositionsKind(
        lambda module, batch: binary_cross_entropy_with_logits(called(module, batch), batch["mask_map"]),
        one_map, "mask_map", task="binary",
    ),
    "binary mask without a channel": PositionsKind(
        lambda module, batch: binary_cross_entropy_with_logits(
            called(module, batch).squeeze(1), batch["mask_map"][:, 0]
        ),
        one_map, "mask_map", task="binary",
    ),
    "label maps": PositionsKind(
        lambda module, batch: binary_cross_entropy_with_logits(called(module, batch), batch["label_maps"]),
        pixels, "label_maps", task="multilabel",
    ),
    "depth": PositionsKind(
        lambda module, batch: l1_loss(called(module, batch), batch["depth"]), one_map, "depth", task="regression",
        score=r2,
    ),
    "the user's own mIoU": PositionsKind(
        with_iou, pixels, "kind", metrics=lambda: {"iou": MulticlassJaccardIndex(CLASSES)}
    ),
    "channels last": PositionsKind(
        channels_last, pixels, "kind", forward=lambda net, *inputs: pixels(net, *inputs).permute(0, 2, 3, 1)
    ),
    "upsampled in the step": PositionsKind(upsampled, larger, "large", forward=pixels),
    "upsampled to the labels": PositionsKind(
        upsampled_to_labels, lambda *given: smooth(pixels(*given)), "large", forward=pixels
    ),
    "labels taken down": PositionsKind(labels_taken_down, pixels, "kind"),
    "volume": PositionsKind(
        lambda module, batch: cross_entropy(called(module, batch, ("first", "second")), batch["organ"]),
        Volumes.forward, "organ", net=Volumes, inputs=("first", "second"),
        modalities={"first": "first", "second": "second"},
    ),
    "tokens": PositionsKind(
        token_loss, classes_first, "tags", net=Steps, score=f1, inputs=WORDS, modalities=TEXT, forward=tagged,
        exact=0.05,
    ),
    "tokens, flattened": PositionsKind(
        flat_loss, classes_first, "tags", net=Steps, score=f1, inputs=WORDS, modalities=TEXT, forward=tagged, exact=0.05
    ),
    "tokens, viewed": PositionsKind(
        viewed_loss, classes_first, "tags", net=Steps, score=f1, inputs=WORDS, modalities=TEXT, forward=tagged,
        exact=0.05,
    ),
    "yes or no at each step, padding without weight": PositionsKind(
        masked_loss, lambda *given: each_step(*given).unsqueeze(1), "relevant", net=Steps, inputs=SERIES, score=None,
        modalities={"series": "series", "table": "table"}, forward=each_step, task="binary", exact=0.1,
    ),
    "yes or no at each step, padding left out": PositionsKind(
        picked_loss, lambda *given: each_step(*given).unsqueeze(1), "kept", net=Steps, inputs=SERIES, score=f1,
        modalities={"series": "series", "table": "table"}, forward=each_step, task="binary", exact=0.1,
    ),
    "forecast": PositionsKind(
        lambda module, batch: mse_loss(called(module, batch, SERIES), batch["next"]),
        lambda *given: each_step(*given).unsqueeze(1), "next", net=Steps, inputs=SERIES,
        modalities={"series": "series", "table": "table"}, forward=each_step, task="regression", score=None,
        scaled=True,
    ),
}  # fmt: skip
"""Models with an output at every position."""

of_words = partial(PositionsKind, net=Steps, score=f1, inputs=WORDS, exact=0.05)
tagging = partial(of_words, maps=classes_first, labels="tags", forward=tagged)
marking = partial(
    of_words,
    maps=lambda *inputs: each_step(*inputs).unsqueeze(1),
    labels="known_marks",
    forward=each_step,
    task="binary",
    modalities=NO_MASK,
    buckets=True,
)


def unseen_words(module, batch):
    return unseen(module, batch, WORDS)


def marked_loss(module, batch):
    return binary_cross_entropy_with_logits(called(module, batch, WORDS), batch["marked"])


PADDED = {
    "ragged tokens": tagging(token_loss, modalities=TEXT),
    "ragged tokens, flattened": tagging(flat_loss, modalities=TEXT),
    "predict= of ragged tokens": tagging(unseen_words, modalities=TEXT, options=given(tag_scores, "tags")),
    "predict= of tokens in batches of one length": tagging(
        unseen_words, modalities=NO_MASK, options=given(tag_scores, "tags"), buckets=True
    ),
    "tokens in batches of one length": tagging(token_loss, modalities=NO_MASK, buckets=True),
    "yes or no for each token, in batches of one length": marking(marked_loss),
    "predict= of a yes or no for each token": marking(unseen_words, options=given(tag_scores, "marked")),
}
"""Models whose batches are padded to the longest text of their own."""

FAST = {
    "predict= of maps", "yes or no for each token, in batches of one length", "two sensors", "out and aux",
    "with void, 255", "upsampled in the step", "volume", "tokens, flattened",
    "yes or no at each step, padding left out", "ragged tokens",
}  # fmt: skip
"""One of each family."""
