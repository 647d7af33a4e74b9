"""Images: a grid of patches, or superpixels."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional.rounding import ROUNDED
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.typical_values import fill
from mviz_lightning.modalities.views import picture_view
from mviz_lightning.plotting.numbered_cells import cells_aspect, draw_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

CHANNEL_COUNTS = (1, 3, 4)
"""Sizes of an axis that can be the channel axis: grey, RGB, RGBA."""

SMOOTHING = 0.7
"""Standard deviation in pixels of the blur before superpixels are computed. Without it, noise merges objects with their
ground; from 0.85 on, superpixels miss sharp edges by a pixel."""


class Image(ModalityType):
    """Images ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)`` with any number of channels.

    A segment is a patch of a grid, or a superpixel (``Modality(superpixels=True)``). Figures show 1 channel as grey, 3
    or 4 channels as colours, and any other number of channels as their mean. Images of several sizes are each divided
    and drawn in their own size; padding belongs to no segment.
    """

    name = "image"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return whether a leaf is a tensor with four axes."""
        return isinstance(values, Tensor) and values.dim() == 4

    def cut(self) -> Segments:
        """Divide the images into a grid of patches, or each image into its own superpixels."""
        values = self.values
        if not isinstance(values, Tensor) or values.dim() not in (3, 4):
            raise ConfigurationError(
                f"kind='image' of {self.path!r}: expected (N, C, H, W), (N, H, W, C) or (N, H, W); found "
                f"{tuple(getattr(values, 'shape', ()))}."
            )
        self._denormalised(self._channels_first[:1, :, :1, :1].flatten(0, 1).float())  # raises early for a wrong mean=
        index = self._placed(self._superpixels if self.modality.superpixels else self._patches)
        return Segments(self.path, index if values.dim() == 3 else index.unsqueeze(self._channel_axis), self._fill())

    @cached_property
    def _channel_axis(self) -> int:
        """The channel axis of the leaf: 1 or 3."""
        shape = self.values.shape
        return 3 if shape[3] in CHANNEL_COUNTS and shape[1] not in CHANNEL_COUNTS else 1

    @cached_property
    def _channels_first(self) -> Tensor:
        values: Tensor = self.values
        return values.unsqueeze(1) if values.dim() == 3 else values.movedim(self._channel_axis, 1)

    @cached_property
    def _real(self) -> Tensor | None:
        """``(N, H, W)`` True at pixels that are not padding; None if no pixel is known to be padding."""
        mask, size = self.mask, self._channels_first.shape[2:]
        if mask is not None and mask.shape[1:] == size:
            return mask
        if self.own is None:
            return None
        return self.own if self.own.dim() == 3 else self.own.any(self._channel_axis)

    def _area(self, example: int) -> tuple[slice, slice]:
        """Return the rows and columns of an image without its padding; all of them if all pixels are padding."""
        if self._real is None or not self._real[example].any():
            return slice(None), slice(None)
        real = self._real[example]
        first, last = real.nonzero().amin(0).tolist(), real.nonzero().amax(0).tolist()
        return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1)

    def _size(self, example: int) -> tuple[int, int]:
        """Return height and width of an image without its padding."""
        height, width = self._channels_first[example, 0][self._area(example)].shape
        return height, width

    def _placed(self, segments_of: Callable[[int], Tensor]) -> Tensor:
        """Return the segment of every pixel, ``(N or 1, H, W)``, from the segments of each image without padding."""
        if self._real is None and not self.modality.superpixels:
            return segments_of(0).unsqueeze(0)
        images = self._channels_first
        index = torch.full((len(images), *images.shape[2:]), -1)
        for example, placed in enumerate(index):
            placed[self._area(example)] = segments_of(example)
        return index

    def _patches(self, example: int) -> Tensor:
        """Return the patch of every pixel of an image, ``(h, w)``."""
        (height, width), (rows, columns) = self._size(example), self._grid(example)
        return blocks(height, rows)[:, None] * columns + blocks(width, columns)

    def _grid(self, example: int) -> tuple[int, int]:
        """Return rows and columns of the grid of patches of an image."""
        return grid(*self._size(example), self.modality.max_segments)

    def _superpixels(self, example: int) -> Tensor:
        """Return the superpixel of every pixel of an image, ``(h, w)``."""
        try:
            from skimage.segmentation import slic
        except ImportError:
            raise ConfigurationError(
                f"superpixels=True of {self.path!r} needs scikit-image; pip install 'mviz-lightning[superpixels]'."
            ) from None
        index = slic(self.pixels(example), n_segments=self.modality.max_segments, sigma=SMOOTHING, start_label=0)
        # SLIC may return a few more superpixels than requested.
        return torch.from_numpy(index).long().clamp(max=self.modality.max_segments - 1)

    def _fill(self) -> Tensor:
        if self.modality.baseline == "blur":
            return self._blurred()
        dims = [0, 1, 2, 3]
        dims.remove(self._channel_axis if self.values.dim() == 4 else 3)
        real = self._real
        counted = real if real is None or self.values.dim() == 3 else real.unsqueeze(self._channel_axis)
        return fill(self, self.values, dims[: self.values.dim()], counted)

    def _blurred(self) -> Tensor:
        """Return blurred images: means over squares of 1/8 of the shorter side, interpolated."""
        images = self._channels_first.float()
        size = max(1, min(images.shape[2:]) // 8)
        small = avg_pool2d(images, size)
        blurred = interpolate(small, size=images.shape[2:], mode="bilinear", align_corners=False)
        axis = self._channel_axis if self.values.dim() == 4 else 1
        restored = blurred.squeeze(1) if self.values.dim() == 3 else blurred.movedim(1, axis)
        return restored.to(self.values.dtype)

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return an image without its padding for display, ``(h, w, 3)`` in 0..255.

        ``Modality(mean=..., std=...)`` reverse the normalisation. Without them, values outside 0..1 are rescaled to
        0..1.
        """
        rows, columns = self._area(example)
        return self._as_pixels(self._channels_first[example, :, rows, columns])

    def _as_pixels(self, image: Tensor) -> npt.NDArray[np.uint8]:
        """Return ``(H, W, 3)`` in 0..255 for an image ``(C, H, W)``."""
        image = self._denormalised(image.float().nan_to_num())
        colours = image[:3] if len(image) in (3, 4) else image.mean(0, keepdim=True).expand(3, -1, -1)
        shown: npt.NDArray[np.uint8] = np.rint(colours.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
        return shown

    def _as_pixels_together(self, images: Sequence[Tensor]) -> list[npt.NDArray[np.uint8]]:
        """Return ``(h, w, 3)`` in 0..255 for each image ``(C, h, w)``, with one contrast for all."""
        if not images:
            return []
        colours = self._as_pixels(torch.cat([image.flatten(1) for image in images], 1).unsqueeze(1))[0]
        ends = np.cumsum([image[0].numel() for image in images])[:-1]
        parts = zip(np.split(colours, ends), images, strict=True)
        return [part.reshape(*image.shape[1:], 3) for part, image in parts]

    def _denormalised(self, image: Tensor) -> Tensor:
        """Return an image ``(C, H, W)`` without its normalisation: mostly in 0..1."""
        mean, std = (_per_channel(value, len(image)) for value in (self.modality.mean, self.modality.std))
        if mean is not None or std is not None:
            return image * (1 if std is None else std) + (0 if mean is None else mean)
        if self.values.dtype == torch.uint8:
            return image / 255
        low, high = image.min(), image.max()
        rounding = ROUNDED * torch.finfo(image.dtype).eps  # error of resizing or blending
        if low >= -rounding and high <= 1 + rounding:
            return image
        return (image - low) / (high - low).clamp(min=1e-12)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Return the row and column of every patch, counted from 1 at the top left."""
        if self.modality.superpixels:
            return [f"superpixel {segment + 1}" for segment in range(self.segments.count(example))]
        rows, columns = self._grid(example)
        return [f"row {row + 1}, col {column + 1}" for row in range(rows) for column in range(columns)]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width of the images."""
        if self.modality.superpixels and not inputs:
            return cells_aspect(self.segments.count(example))
        height, width = self._size(example)
        return height / width

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the image."""
        axes.imshow(self.pixels(example), interpolation="nearest")

    def view(self, example: int, *, inputs: bool = True) -> dict[str, Any]:
        """Return the picture and its segments; with ``inputs=False``, no outlines of superpixels."""
        if self.modality.superpixels and not inputs:
            return {"view": "list"}
        return picture_view(self._index(example), self.pixels(example) if inputs else None)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw weights as colours over a grey image; with ``inputs=False``, superpixels become numbered cells."""
        if self.modality.superpixels and not inputs:
            draw_cells(axes, len(weights), range(len(weights)), colours.to_rgba(weights))
            return
        index = self._index(example)
        painted = np.asarray(colours.to_rgba(weights, bytes=True)).reshape(-1, 4)[:, :3]
        grey = self.pixels(example).mean(-1, keepdims=True) if inputs else np.full((*index.shape, 1), 255.0)
        picture = np.full((*index.shape, 3), 255, np.uint8)
        picture[index >= 0] = blend(painted[index[index >= 0]], grey[index >= 0])
        axes.imshow(picture, interpolation="nearest")

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return the segment of every pixel of the drawing, ``(h, w)``; -1 for pixels without a segment."""
        index = cast("Segments", self.segments).index
        row = index[example if len(index) > 1 else 0]
        shown = (row.squeeze(self._channel_axis - 1) if row.dim() == 3 else row)[self._area(example)]
        pixels: npt.NDArray[Any] = shown.numpy()
        return pixels


def grid(height: int, width: int, segments: int) -> tuple[int, int]:
    """Return rows and columns of a grid of up to ``segments`` nearly square patches."""
    rows = max(1, min(height, segments, round(math.sqrt(segments * height / width))))
    return rows, max(1, min(width, segments // rows))


def blend(painted: npt.NDArray[Any], grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Multiply colours by a grey image; black keeps 45 % of a colour, so that weights stay visible.

    Args:
        painted: ``(..., 3)`` colours in 0..255.
        grey: ``(..., 1)`` in 0..255.

    Returns:
        ``(..., 3)`` in 0..255.
    """
    shade = 0.45 + 0.55 * grey / 255
    tinted: npt.NDArray[np.uint8] = (painted * shade).round().astype(np.uint8)
    return tinted


def _per_channel(value: Any, channels: int) -> Tensor | None:
    """Return ``mean`` or ``std`` as ``(1 or C, 1, 1)``."""
    if value is None:
        return None
    given = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(given) not in (1, channels):
        raise ConfigurationError(
            f"mean= or std= has {len(given)} values, the images have {channels} channels; give one value or {channels}."
        )
    return given.view(-1, 1, 1)
