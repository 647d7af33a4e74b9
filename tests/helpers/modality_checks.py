"""What tests of kinds share: make them, check how they are cut, look at what they draw."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mviz_lightning.batch import Modality, Segments
from mviz_lightning.modalities import modality_type_of


def made(values: Any, *, others: Any = None, **said: Any) -> Any:
    """Return the kind of a leaf that is called x."""
    modality = Modality("x", **said)
    return modality_type_of(modality, values)(modality, {"x": values, **(others or {})}, "x")


def assert_cut(kind: Any) -> None:
    """Every unit masks its entries and nothing else; units are numbered from 0 on, and not too many."""
    segments, leaf = kind.segments, kind.leaves[kind.segments.leaf]
    assert isinstance(segments, Segments)
    index = segments.index.expand(len(leaf), *segments.index.shape[1:])
    # Entries as they are nowhere else, so that every change shows.
    values = torch.arange(leaf.numel(), dtype=torch.float64).view(leaf.shape) + 1000
    for example in range(len(leaf)):
        count = segments.count(example)
        present = index[example].unique().tolist()
        assert [unit for unit in present if unit >= 0] == list(range(count))
        assert count <= kind.modality.max_segments
        assert len(kind.names(example)) == len(kind.names(example, inputs=False)) == count
        for unit in range(count):
            kept = torch.arange(count)[None] != unit
            masked = segments.mask(values[[example]], kept, torch.tensor([example]))[0]
            belongs = index[example] == unit if masked.dim() else (index[example] == unit).squeeze()
            assert torch.equal(masked != values[example], belongs.expand_as(masked))


def drawn(kind: Any, weights: Any = None, *, inputs: bool = True, width: int = 195) -> npt.NDArray[np.uint8]:
    """Return the pixels of a panel: the input, or the weights where there are some; colours end at -1 and 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, width * kind.aspect(0) / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if weights is None:
        kind.draw(axes, 0)
    else:
        kind.paint(axes, 0, np.asarray(weights), ScalarMappable(Normalize(-1, 1), "RdBu_r"), inputs=inputs)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


RED, BLUE = (103, 0, 31), (5, 48, 97)
"""The ends of the colours."""


def where(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of what has a colour, as parts of the panel."""
    rows, columns = (np.abs(pixels.astype(int) - colour).max(-1) <= 2).nonzero()
    assert len(rows), f"nothing has the colour {colour}"
    height, width = pixels.shape[:2]
    return columns.min() / width, (columns.max() + 1) / width, rows.min() / height, (rows.max() + 1) / height
