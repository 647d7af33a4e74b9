"""Helpers for tests of modality types: build one, check its segments, rasterise its drawing, find colours in it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mviz_lightning.batch import Modality, Segments
from mviz_lightning.modalities import modality_type_of


def made(values: Any, *, others: Any = None, **options: Any) -> Any:
    """Return the modality type of a leaf with the path x, on its examples."""
    modality = Modality("x", **options)
    return modality_type_of(modality, values)(modality, {"x": values, **(others or {})}, "x")


def assert_cut(modality_type: Any) -> None:
    """Check that every segment masks its own entries only, and that up to ``max_segments`` are numbered from 0 on."""
    segments, leaf = modality_type.segments, modality_type.leaves[modality_type.segments.leaf]
    assert isinstance(segments, Segments)
    index = segments.index.expand(len(leaf), *segments.index.shape[1:])
    # Entries as they are nowhere else, so that every change shows.
    values = torch.arange(leaf.numel(), dtype=torch.float64).view(leaf.shape) + 1000
    for example in range(len(leaf)):
        count = segments.count(example)
        present = index[example].unique().tolist()
        assert [segment for segment in present if segment >= 0] == list(range(count))
        assert count <= modality_type.modality.max_segments
        assert len(modality_type.names(example)) == len(modality_type.names(example, inputs=False)) == count
        for segment in range(count):
            kept = torch.arange(count)[None] != segment
            masked = segments.mask(values[[example]], kept, torch.tensor([example]))[0]
            belongs = index[example] == segment if masked.dim() else (index[example] == segment).squeeze()
            assert torch.equal(masked != values[example], belongs.expand_as(masked))


def drawn(modality_type: Any, weights: Any = None, *, inputs: bool = True, width: int = 195) -> npt.NDArray[np.uint8]:
    """Return a panel as pixels ``(H, W, 3)``: the input, or the weights if given, on a colour scale from -1 to 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    aspect = modality_type.aspect(0, inputs=inputs or weights is None)
    figure = Figure(figsize=(width / 100, width * aspect / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if weights is None:
        modality_type.draw(axes, 0)
    else:
        modality_type.paint(axes, 0, np.asarray(weights), ScalarMappable(Normalize(-1, 1), "RdBu_r"), inputs=inputs)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[..., :3]


RED, BLUE = (103, 0, 31), (5, 48, 97)
"""Colours of the weights 1 and -1."""


def where(pixels: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of all pixels of a colour, as fractions of the panel."""
    rows, columns = (np.abs(pixels.astype(int) - colour).max(-1) <= 2).nonzero()
    assert len(rows), f"nothing has the colour {colour}"
    height, width = pixels.shape[:2]
    return columns.min() / width, (columns.max() + 1) / width, rows.min() / height, (rows.max() + 1) / height
