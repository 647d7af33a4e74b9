"""Draw the picture of the guide "Concepts": how recombined outputs are split into two contributions and an interaction.

python tests/benchmarks/decomposition_picture.py [examples/pictures/decomposition.png]

The outputs are those of a known function, ``a + 1.5 b + 0.8 a b``, of six images (a) and six texts (b). A second on a
core.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

IMAGE, TEXT = (1.2, -0.8, 0.4, -1.3, 0.9, -0.4), (-0.6, 1.1, -1.2, 0.5, 1.3, -1.1)
"""What the function reads of each image (a) and of each text (b); chosen so that all three parts are visible."""

EXAMPLES = len(IMAGE)

SIZE = (9.6, 2.9)
"""Inches."""


def outputs() -> NDArray[np.float64]:
    """Return ``(6, 6)``: the output for each image (row) with each text (column)."""
    image, text = np.array(IMAGE)[:, None], np.array(TEXT)
    return image + 1.5 * text + 0.8 * image * text


def parts(found: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the outputs less their mean, and the three parts that add up to them."""
    centred = found - found.mean()
    rows, columns = centred.mean(1, keepdims=True), centred.mean(0, keepdims=True)
    alone = {"image alone": rows + 0 * columns, "text alone": columns + 0 * rows}
    return {"output, mean removed": centred, **alone, "interaction": centred - rows - columns}


def panel(axes: Axes, title: str, values: NDArray[np.float64], share: float, limit: float) -> None:
    """Draw one part, with its share of the variance; squares mark the real pairs."""
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_title(f"{title}\n{share:.2f} of the variance", fontsize=11)
    axes.set_xlabel("text of example")
    axes.set_xticks(range(EXAMPLES), [str(one + 1) for one in range(EXAMPLES)])
    axes.set_yticks(range(EXAMPLES), [str(one + 1) for one in range(EXAMPLES)])
    for one in range(EXAMPLES):
        axes.add_patch(_square(one))


def _square(place: int) -> Rectangle:
    return Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2)


def main() -> None:
    """Draw and save."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/pictures/decomposition.png")
    found = parts(outputs())
    whole = found["output, mean removed"]
    figure = Figure(figsize=SIZE, layout="constrained")
    for number, (title, values) in enumerate(found.items()):
        axes = figure.add_subplot(1, 4, number + 1)
        panel(axes, title, values, float(values.var() / whole.var()), float(np.abs(whole).max()))
        if number == 0:
            axes.set_ylabel("image of example")
    figure.savefig(place, dpi=110)


if __name__ == "__main__":
    main()
