"""Regions: features of boxes in an image (from a detector, for example); every region is a segment."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation, Segments
from mviz_lightning.batch.masking import joined
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.image import Image
from mviz_lightning.modalities.step_leaf import masked_with, most_frequent_entry
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.modalities.views import LONGEST, kept_size, webp
from mviz_lightning.plotting.canvas import colour_limit
from mviz_lightning.plotting.numbered_cells import cells_aspect, draw_cells
from mviz_lightning.plotting.text_fitting import text_colour_on, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

MAX_NUMBERED = 6
"""Largest number of boxes with a number; more numbers would overlap."""

OUTLINE_COLOUR = "#E69F00"
"""Colour of the outlines of boxes over the input (orange)."""


class Regions(ModalityType):
    """Features of regions ``(N, R, ...)``, with or without boxes.

    Every region is a segment. If there are more than ``max_segments`` regions, the regions with the largest boxes are
    segments (without boxes, the first regions, because detectors sort by confidence). The others are never masked.
    Further leaves of the modality with one entry per region, for example scores and classes, are masked with it.
    """

    name = "regions"

    def cut(self) -> Segmentation:
        """Make every region a segment, up to ``max_segments``."""
        values = self.values
        if not isinstance(values, Tensor) or values.dim() < 3:
            raise ConfigurationError(
                f"kind='regions' of {self.path!r}: expected (N, R, D); found "
                f"{tuple(getattr(values, 'shape', ())) or type(values).__name__}."
            )
        self._check_boxes()
        chosen = self._chosen
        index = (chosen.cumsum(1) - 1).where(chosen, -1)
        further = {path: leaf for path, leaf in self.companions.items() if self._describes_regions(path, leaf)}
        return joined([self._part(path, leaf, index) for path, leaf in {self.path: values, **further}.items()])

    def _describes_regions(self, path: str, leaf: Any) -> bool:
        """Return whether a further leaf describes the regions (scores, classes) and is masked; boxes are not masked."""
        return path != self.modality.boxes and masked_with(leaf, 1, self.values.shape[1])

    def _part(self, path: str, leaf: Tensor, index: Tensor) -> Segments:
        ones = [1] * (leaf.dim() - 2)
        real = torch.ones(1, leaf.shape[1], dtype=torch.bool) if self._real is None else self._real
        if leaf.is_floating_point() or path == self.path:
            filling = fill(self, leaf, [0, 1], real.view(*real.shape, *ones))
        else:
            filling = most_frequent_entry(leaf, 1, real)
        return Segments(path, index.view(*index.shape, *ones), filling)

    def _check_boxes(self) -> None:
        for path in (self.modality.boxes, self.modality.picture):
            if path is not None and path not in self.leaves:
                raise ConfigurationError(
                    f"{path!r}, a leaf that the regions {self.path!r} name, is missing; found {', '.join(self.leaves)}."
                )
        wanted = (*self.values.shape[:2], 4)
        if self._boxes is not None and self._boxes.shape != wanted:
            raise ConfigurationError(
                f"boxes={self.modality.boxes!r} of {self.path!r}: expected {wanted}, the corners x0, y0, x1, y1; found "
                f"{tuple(self._boxes.shape)}."
            )

    @cached_property
    def _boxes(self) -> Tensor | None:
        """``(N, R, 4)``: corners x0, y0, x1, y1, in 0..1 or pixels."""
        return None if self.modality.boxes is None else torch.as_tensor(self.leaves[self.modality.boxes])

    @cached_property
    def _real(self) -> Tensor | None:
        """``(N, R)`` False at padding."""
        return self.real_entries()

    @cached_property
    def _chosen(self) -> Tensor:
        """``(N or 1, R)`` True at regions that are segments."""
        regions, segments = self.values.shape[1], self.modality.max_segments
        real = torch.ones(1, regions, dtype=torch.bool) if self._real is None else self._real
        if regions <= segments:
            return real
        area = _area(self._boxes) if self._boxes is not None else torch.zeros(real.shape)
        # Padding sorts after all boxes; boxes of equal area keep their order.
        order = area.where(real, -1).argsort(stable=True, dim=1, descending=True)[:, :segments]
        return torch.zeros(area.shape, dtype=torch.bool).scatter(1, order, value=True) & real

    def _regions(self, example: int) -> list[int]:
        """Return the region of every segment of an example."""
        regions: list[int] = self._chosen[example if len(self._chosen) > 1 else 0].nonzero()[:, 0].tolist()
        return regions

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the number of every region: its position in the leaf, from 1."""
        return [f"region {region + 1}" for region in self._regions(example)]

    @cached_property
    def _picture(self) -> Image | None:
        path = self.modality.picture
        if path is None:
            return None
        plain = replace(self.modality, values=path, mask=None, padding_mask=None, baseline="zero", superpixels=False)
        return Image(plain, self.leaves, path)

    @cached_property
    def _canvas(self) -> tuple[float, float]:
        """Width and height of the image in pixels; without an image, the extent of the boxes."""
        if self._picture is not None:
            height, width = self._picture.pixels(0).shape[:2]
            return float(width), float(height)
        if self._boxes is None or self._is_relative:
            return 1.0, 1.0
        width, height = self._boxes[..., 2:].flatten(0, 1).amax(0).clamp(min=1).tolist()
        return width, height

    @cached_property
    def _is_relative(self) -> bool:
        """Whether corners are fractions of the image."""
        return self._boxes is not None and bool((self._boxes <= 1.0001).all())

    def _corners(self, example: int) -> npt.NDArray[Any]:
        """Return the boxes of an example's segments, ``(segments, 4)`` in pixels."""
        boxes = torch.zeros(0, 4) if self._boxes is None else self._boxes[example][self._regions(example)]
        scale = (*self._canvas, *self._canvas) if self._is_relative else (1, 1, 1, 1)
        corners: npt.NDArray[Any] = boxes.double().numpy() * scale
        return corners

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the boxes, in pixels of the stored picture; only names without boxes, or if inputs are hidden."""
        if self._boxes is None or not inputs:
            return {"view": "list"}
        width, height = self._canvas
        enlarged = 1.0 if self._picture is not None else LONGEST / max(width, height)  # boxes alone have no pixels
        size = kept_size(height * enlarged, width * enlarged)
        scale = (size[1] / width, size[0] / height)
        picture = {} if self._picture is None else {"webp": webp(self._picture.pixels(example), size)}
        return {"view": "boxes", "size": list(size), "boxes": self._corners(example) * (*scale, *scale), **picture}

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the image, or of the strip of numbered cells."""
        if self._boxes is None or not inputs:
            return cells_aspect(int(self.values.shape[1]))
        width, height = self._canvas
        return height / width

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the boxes on the image; without boxes, cells whose brightness is the norm of the region's features."""
        if self._boxes is None:
            sizes = self.values[example].float().nan_to_num().flatten(1).norm(dim=1)[self._regions(example)]
            shades = (sizes / sizes.max().clamp(min=1e-12)).numpy() if len(sizes) else sizes.numpy()
            self._draw_cells(axes, example, np.stack([shades, shades, shades], 1))
            return
        self._draw_canvas(axes, example, 1.0)
        corners = self._corners(example)
        faces = np.tile((0.0, 0.0, 0.0, 0.0), (len(corners), 1))
        self._draw_boxes(axes, example, np.argsort(-_area(torch.from_numpy(corners)).numpy()), faces, OUTLINE_COLOUR)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw coloured boxes, the strongest on top; with ``inputs=False``, draw cells: boxes reveal positions."""
        faces = colours.to_rgba(weights)
        if self._boxes is None or not inputs:
            self._draw_cells(axes, example, faces)
            return
        self._draw_canvas(axes, example, 0.5)
        strength = np.clip(np.abs(weights) / colour_limit(colours, weights), 0, 1)
        faces[:, 3] = 0.1 + 0.75 * strength
        self._draw_boxes(axes, example, np.argsort(strength, kind="stable"), faces, None)

    def _draw_canvas(self, axes: "Axes", example: int, strength: float) -> None:
        width, height = self._canvas
        axes.set(xlim=(0, width), ylim=(height, 0))
        if self._picture is None:
            axes.set_facecolor("#f2f2f2")
            return
        pixels = self._picture.pixels(example)
        if strength < 1:
            # Grey, so that only weights have colours.
            grey = 255 - strength * (255 - pixels.mean(-1, keepdims=True))
            pixels = np.repeat(grey, 3, -1).astype(np.uint8)
        axes.imshow(pixels, extent=(0, width, height, 0), aspect="auto")

    def _draw_boxes(self, axes: "Axes", example: int, order: npt.NDArray[Any], faces: Any, edge: str | None) -> None:
        """Draw boxes, the last of the order on top; the topmost ``MAX_NUMBERED`` have a number."""
        from matplotlib.patches import Rectangle

        corners, regions = self._corners(example), self._regions(example)
        for place, segment in enumerate(order.tolist()):
            x0, y0, x1, y1 = corners[segment].tolist()
            line = edge or (*faces[segment][:3], 1.0)
            # Weak regions have pale outlines, because many strong outlines would hide the image.
            outline = edge or (*faces[segment][:3], min(2 * faces[segment][3], 1.0))
            style = {"facecolor": faces[segment], "edgecolor": outline, "zorder": 2 + place}
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **style))
            if place >= len(order) - MAX_NUMBERED:
                x, y = max(x0, 0), max(y0, 0)
                colour = "black" if edge else text_colour_on(line)
                write(axes, x, y, f"{regions[segment] + 1}", va="top", color=colour, back=line, zorder=3 + place)

    def _draw_cells(self, axes: "Axes", example: int, faces: npt.NDArray[Any]) -> None:
        """Draw a cell for every region; regions that are segments have a number."""
        draw_cells(axes, self.values.shape[1], self._regions(example), faces)


def _area(boxes: Tensor) -> Tensor:
    """Return the areas ``(...)`` of boxes ``(..., 4)``."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).double().prod(-1)
