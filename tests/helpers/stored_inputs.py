"""Examples of stored runs, drawn from a seed: their views, the names of their segments, and where their shapes are."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {"red": "#d22f27", "green": "#5c9e31", "blue": "#1e50a0", "orange": "#f1892a", "purple": "#8967aa"}
SIZE, CELLS = 96, 6
"""Pixels a side of a drawn picture, and cells of its grid a side."""


@dataclass(frozen=True)
class StoredInput:
    """One modality of one example: what a run keeps of it, and how much each segment is part of the shape."""

    kind: str
    baseline: str
    segments: list[str]
    view: dict[str, Any]
    hidden: dict[str, Any]
    """The view without inputs."""
    hidden_segments: list[str]
    salience: np.ndarray
    """``(U,)`` in 0..1."""

    def plain(self, *, show: bool) -> dict[str, Any]:
        view, names = (self.view, self.segments) if show else (self.hidden, self.hidden_segments)
        return {"kind": self.kind, "baseline": self.baseline, "segments": names, "view": view}


@dataclass(frozen=True)
class Drawn:
    """A shape that an example shows: every modality tells of it."""

    shape: str
    colour: str
    centre: tuple[float, float]
    radius: float

    def outline(self) -> list[tuple[float, float]]:
        """Corners of the shape in pixels."""
        corners = {"square": 4, "triangle": 3, "star": 10, "cross": 12, "circle": 48}[self.shape]
        angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
        radii = np.full(corners, self.radius)
        if self.shape == "star":
            radii[1::2] *= 0.45
        if self.shape == "cross":
            radii = self.radius * np.array([1, 1, 0.5] * 4)
            angles = np.arange(12) * np.pi / 6 + np.pi / 12
        if self.shape == "square":
            angles = angles + np.pi / 4
        x, y = self.centre
        return [(float(x + r * np.cos(a)), float(y + r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]

    def picture(self) -> Image.Image:
        image = Image.new("RGB", (SIZE, SIZE), "#f4efe6")
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, SIZE * 0.72, SIZE, SIZE), fill="#cfd8c4")
        draw.polygon(self.outline(), fill=COLOURS[self.colour], outline="black")
        return image

    def coverage(self) -> np.ndarray:
        """Pixels of the shape, ``(SIZE, SIZE)`` in 0..1."""
        mask = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(mask).polygon(self.outline(), fill=255)
        return np.asarray(mask) / 255


def drawn(random: Generator) -> Drawn:
    shape, colour = str(random.choice(SHAPES)), str(random.choice(list(COLOURS)))
    x, y = random.uniform(0.35, 0.65, 2) * SIZE
    return Drawn(shape, colour, (float(x), float(y)), float(random.uniform(0.2, 0.33) * SIZE))


def webp(image: Image.Image) -> str:
    data = BytesIO()
    image.save(data, "WEBP", lossless=True)
    return base64.b64encode(data.getvalue()).decode()


def _image(what: Drawn, random: Generator) -> StoredInput:
    cells = what.coverage().reshape(CELLS, SIZE // CELLS, CELLS, SIZE // CELLS).mean((1, 3)).ravel()
    names = [f"row {row + 1}, col {column + 1}" for row in range(CELLS) for column in range(CELLS)]
    view = {"view": "picture", "size": [SIZE, SIZE], "grid": [CELLS, CELLS]}
    return StoredInput("image", "blurred", names, {**view, "webp": webp(what.picture())}, view, names, cells)


def _regions(what: Drawn, random: Generator) -> StoredInput:
    """A shape in two halves, sky and ground; pixels of the border belong to no segment."""
    rows, columns = np.indices((SIZE, SIZE))
    index = np.where(rows < SIZE * 0.72, 0, 1)
    inside = what.coverage() > 0
    index[inside] = np.where(columns[inside] < what.centre[0], 2, 3)
    index[:2] = index[-2:] = -1
    names = ["sky", "ground", f"left half of the {what.shape}", f"right half of the {what.shape}"]
    view = {"view": "picture", "size": [SIZE, SIZE], "index": run_lengths(index.ravel())}
    salience = np.array([0.05, 0.05, 1, 0.7])
    hidden = [f"region {number + 1}" for number in range(4)]
    return StoredInput("regions", "mean colour", names, {**view, "webp": webp(what.picture())}, view, hidden, salience)


def run_lengths(index: np.ndarray) -> list[list[int]]:
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
    lengths = np.diff(starts, append=len(index))
    return [[int(index[start]), int(length)] for start, length in zip(starts, lengths, strict=True)]


def _text(what: Drawn, random: Generator) -> StoredInput:
    words = [str(random.choice(["a", "the", "one"])), what.colour, what.shape]
    if random.random() < 0.5:
        words += ["on", "green", "ground"]
    salience = np.array([{what.shape: 1.0, what.colour: 0.4}.get(word, 0.05) for word in words])
    hidden = [f"word {number + 1}" for number in range(len(words))]
    return StoredInput("text", "word removed", words, {"view": "words"}, {"view": "words"}, hidden, salience)


def _tabular(what: Drawn, random: Generator) -> StoredInput:
    names = ["radius [mm]", "corners", "colour", "weight [g]"]
    values = [f"{what.radius:.1f}", str(len(what.outline())), what.colour, f"{what.radius**2 * 0.31:.4g}"]
    salience = np.array([0.2, 1.0, 0.3, 0.1])
    view = {"view": "values"}
    return StoredInput("tabular", "values of other examples", names, {**view, "values": values}, view, names, salience)


def _lines(what: Drawn, random: Generator) -> StoredInput:
    time = np.linspace(0, 3.2, 160)
    pulse = np.exp(-(((time - 0.8 - SHAPES.index(what.shape) * 0.4) / 0.15) ** 2))
    channels = [pulse + random.normal(0, 0.05, 160), np.sin(time * 6) * 0.4 + random.normal(0, 0.05, 160)]
    spans = [[channel, start / 8, (start + 1) / 8] for channel in range(2) for start in range(8)]
    names = [f"ch {int(channel) + 1}, {start * 3.2:.1f}-{stop * 3.2:.1f} s" for channel, start, stop in spans]
    salience = np.array(
        [pulse[int(start * 160) : int(stop * 160)].mean() * (channel == 0) for channel, start, stop in spans]
    )
    view = {"view": "lines", "channels": ["ch 1", "ch 2"], "spans": spans, "x": "time [s]", "length": 3.2}
    shown = {**view, "values": [[float(f"{value:.4g}") for value in channel] for channel in channels]}
    return StoredInput("series", "mean of the channel", names, shown, view, names, salience)


def _graph(what: Drawn, random: Generator) -> StoredInput:
    count = {"circle": 8, "square": 4, "triangle": 3, "star": 5, "cross": 6}[what.shape]
    angles = np.arange(count) * 2 * np.pi / count
    nodes = [[round(float(0.5 + 0.4 * np.cos(a)), 4), round(float(0.5 + 0.4 * np.sin(a)), 4)] for a in angles]
    edges = [[node, (node + 1) % count] for node in range(count)]
    names = [f"node {node}" for node in range(count)]
    view = {"view": "graph", "nodes": nodes, "edges": edges, "segment": list(range(count))}
    return StoredInput("graph", "mean features", names, view, view, names, random.uniform(0, 1, count))


def _boxes(what: Drawn, random: Generator) -> StoredInput:
    (x, y), r = what.centre, what.radius
    boxes = [[x - r, y - r, x + r, y + r], [0, SIZE * 0.72, SIZE, SIZE], [2, 2, 20, 20]]
    view = {"view": "boxes", "size": [SIZE, SIZE], "boxes": [[round(float(side), 2) for side in box] for box in boxes]}
    names = [what.shape, "ground", "corner"]
    hidden = [f"box {number + 1}" for number in range(3)]
    shown = {**view, "webp": webp(what.picture())}
    return StoredInput("boxes", "box removed", names, shown, view, hidden, np.array([1, 0.1, 0.02]))


def _list(what: Drawn, random: Generator) -> StoredInput:
    names = [f"token {number}" for number in range(5)]
    return StoredInput("tensor", "zeros", names, {"view": "list"}, {"view": "list"}, names, random.uniform(0, 1, 5))


KINDS: dict[str, Callable[[Drawn, Generator], StoredInput]] = {
    "image": _image,
    "regions": _regions,
    "text": _text,
    "tabular": _tabular,
    "lines": _lines,
    "graph": _graph,
    "boxes": _boxes,
    "list": _list,
}


def stored_input(kind: str, what: Drawn, random: Generator, words: Sequence[str] = ()) -> StoredInput:
    """Return one modality of an example; `words` stand for the names of its segments, as far as they go."""
    made = KINDS[kind](what, random)
    for number, word in enumerate(words[: len(made.segments)]):
        made.segments[number] = word
    return made
