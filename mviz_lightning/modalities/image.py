"""Images: a grid of patches, or superpixels."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from mviz_lightning.batch import Segments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.functional.variation import ROUNDED
from mviz_lightning.modalities.base import ModalityType, blocks, fill
from mviz_lightning.plotting.cells import cells_aspect, draw_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

CHANNELS = (1, 3, 4)
"""Numbers of channels by which an axis is known for that of the channels."""


class Image(ModalityType):
    """``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``; any number of channels."""

    name = "image"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Tell whether a leaf has four axes."""
        return isinstance(values, Tensor) and values.dim() == 4

    def cut(self) -> Segments:
        """Cut a grid of patches, or superpixels that follow each image."""
        values = self.values
        if not isinstance(values, Tensor) or values.dim() not in (3, 4):
            raise ConfigurationError(
                f"kind='image' of {self.path!r}: expected (N, C, H, W), (N, H, W, C) or (N, H, W); found "
                f"{tuple(getattr(values, 'shape', ()))}."
            )
        index = self._superpixels() if self.modality.superpixels else self._patches()
        return Segments(self.path, index if values.dim() == 3 else index.unsqueeze(self._channel_axis), self._fill())

    @cached_property
    def _channel_axis(self) -> int:
        """Return the axis of the channels: 1 or 3."""
        shape = self.values.shape
        return 3 if shape[3] in CHANNELS and shape[1] not in CHANNELS else 1

    @cached_property
    def _channels_first(self) -> Tensor:
        values: Tensor = self.values
        return values.unsqueeze(1) if values.dim() == 3 else values.movedim(self._channel_axis, 1)

    def _patches(self) -> Tensor:
        """Return ``(1, H, W)``."""
        height, width = self._channels_first.shape[2:]
        rows, columns = self._grid
        return (blocks(height, rows)[:, None] * columns + blocks(width, columns)).unsqueeze(0)

    @cached_property
    def _grid(self) -> tuple[int, int]:
        """Return rows and columns of nearly square patches."""
        height, width = self._channels_first.shape[2:]
        return grid(height, width, self.modality.max_segments)

    def _superpixels(self) -> Tensor:
        """Return ``(N, H, W)``."""
        try:
            from skimage.segmentation import slic
        except ImportError:
            raise ConfigurationError(
                f"superpixels=True of {self.path!r} needs scikit-image; pip install 'mviz-lightning[superpixels]'."
            ) from None
        images = map(self.pixels, range(len(self.values)))
        superpixels_ = [slic(image, n_segments=self.modality.max_segments, start_label=0) for image in images]
        # SLIC may find a few more than asked.
        return torch.from_numpy(np.stack(superpixels_)).long().clamp(max=self.modality.max_segments - 1)

    def _fill(self) -> Tensor:
        if self.modality.baseline == "blur":
            return self._blurred()
        dims = [0, 1, 2, 3]
        dims.remove(self._channel_axis if self.values.dim() == 4 else 3)
        return fill(self, self.values, dims[: self.values.dim()])

    def _blurred(self) -> Tensor:
        """Return the images as means over an eighth of their side."""
        images = self._channels_first.float()
        size = max(1, min(images.shape[2:]) // 8)
        small = avg_pool2d(images, size)
        blurred = interpolate(small, size=images.shape[2:], mode="bilinear", align_corners=False)
        axis = self._channel_axis if self.values.dim() == 4 else 1
        restored = blurred.squeeze(1) if self.values.dim() == 3 else blurred.movedim(1, axis)
        return restored.to(self.values.dtype)

    def pixels(self, example: int) -> npt.NDArray[np.uint8]:
        """Return an image as a person knows it, ``(H, W, 3)``: normalisation undone, contrast stretched if unknown.

        One channel is grey, three or four are colours, any other number is shown as its mean.
        """
        return self._as_pixels(self._channels_first[example])

    def _as_pixels(self, image: Tensor) -> npt.NDArray[np.uint8]:
        """Return ``(H, W, 3)`` of ``(C, H, W)``."""
        image = self._denormalised(image.float().nan_to_num())
        colours = image[:3] if len(image) in (3, 4) else image.mean(0, keepdim=True).expand(3, -1, -1)
        shown: npt.NDArray[np.uint8] = np.rint(colours.permute(1, 2, 0).clamp(0, 1).numpy() * 255).astype(np.uint8)
        return shown

    def _denormalised(self, image: Tensor) -> Tensor:
        """Return ``(C, H, W)`` in 0..1."""
        mean, std = (_per_channel(value, len(image)) for value in (self.modality.mean, self.modality.std))
        if mean is not None or std is not None:
            return image * (1 if std is None else std) + (0 if mean is None else mean)
        if self.values.dtype == torch.uint8:
            return image / 255
        low, high = image.min(), image.max()
        rounding = ROUNDED * torch.finfo(image.dtype).eps  # of an image that was resized or blended, say
        if low >= -rounding and high <= 1 + rounding:
            return image
        return (image - low) / (high - low).clamp(min=1e-12)

    def names(self, example: int, *, inputs: bool = True) -> list[str]:
        """Name patches by row and column, counted from the top left."""
        if self.modality.superpixels:
            return [f"superpixel {segment + 1}" for segment in range(self.segments.count(example))]
        rows, columns = self._grid
        return [f"row {row + 1}, col {column + 1}" for row in range(rows) for column in range(columns)]

    def aspect(self, example: int, *, inputs: bool = True) -> float:
        """Return height over width."""
        if self.modality.superpixels and not inputs:
            return cells_aspect(self.segments.count(example))
        height, width = self._channels_first.shape[2:]
        return height / width

    def draw(self, axes: "Axes", example: int) -> None:
        """Show the image."""
        axes.imshow(self.pixels(example), interpolation="nearest")

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Lay the weights' colours over the image in pale grey; without inputs, superpixels are cells."""
        if self.modality.superpixels and not inputs:
            draw_cells(axes, len(weights), range(len(weights)), colours.to_rgba(weights))
            return
        index = self._index(example)
        painted = np.asarray(colours.to_rgba(weights[index], bytes=True))[..., :3]
        grey = self.pixels(example).mean(-1, keepdims=True) if inputs else np.full((*index.shape, 1), 255.0)
        axes.imshow(blend(painted, grey), interpolation="nearest")

    def _index(self, example: int) -> npt.NDArray[Any]:
        """Return ``(H, W)`` the unit of every pixel."""
        index = self.segments.index  # type: ignore[attr-defined]
        row = index[example if len(index) > 1 else 0]
        pixels: npt.NDArray[Any] = (row.squeeze(self._channel_axis - 1) if row.dim() == 3 else row).numpy()
        return pixels


def grid(height: int, width: int, segments: int) -> tuple[int, int]:
    """Return rows and columns of nearly square patches, ``units`` of them at the most."""
    rows = max(1, min(height, segments, round(math.sqrt(segments * height / width))))
    return rows, max(1, min(width, segments // rows))


def blend(painted: npt.NDArray[Any], grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Tint a picture: multiply colours with a grey that never hides them.

    Args:
        painted: ``(..., 3)`` colours in 0..255.
        grey: ``(..., 1)`` in 0..255.
    """
    shade = 0.45 + 0.55 * grey / 255
    tinted: npt.NDArray[np.uint8] = (painted * shade).round().astype(np.uint8)
    return tinted


def _per_channel(value: Any, channels: int) -> Tensor | None:
    if value is None:
        return None
    given = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(given) not in (1, channels):
        raise ConfigurationError(
            f"mean= or std= has {len(given)} values, the images have {channels} channels; give one value or {channels}."
        )
    return given.view(-1, 1, 1)
