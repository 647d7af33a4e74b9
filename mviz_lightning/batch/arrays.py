"""NumPy arrays and PIL pictures: converted to tensors, and back."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Modes of PIL pictures that are converted to tensors, with their numbers of channels."""

NUMERIC = "biufc"
"""Kinds of NumPy element types that tensors support: booleans, whole, real and complex numbers."""


def as_tensor(value: Any) -> Any:
    """Return an array as a tensor of the same content; any other value unchanged.

    Args:
        value: A NumPy array ``(...)``, a PIL picture (becomes ``(C, H, W)`` uint8), or anything else.
    """
    if isinstance(value, np.ndarray | np.number) and _has_tensors(value.dtype):
        return torch.tensor(value) if _is_fixed(value) else torch.from_numpy(value)
    if isinstance(value, Image.Image) and value.mode in CHANNELS:
        pixels = torch.tensor(np.asarray(value))
        return pixels.reshape(*pixels.shape[:2], CHANNELS[value.mode]).permute(2, 0, 1)
    return value


def as_before(tensor: Any, exemplar: Any) -> Any:
    """Convert a tensor to the type of an exemplar: the reverse of :func:`as_tensor`.

    Args:
        tensor: A result of :func:`as_tensor`, possibly with other content.
        exemplar: A value that :func:`as_tensor` converted.
    """
    if not isinstance(tensor, Tensor) or as_tensor(exemplar) is exemplar:
        return tensor
    found = tensor.detach().cpu().numpy()
    if isinstance(exemplar, Image.Image):
        pixels = np.moveaxis(found, 0, -1)
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels))
    return exemplar.dtype.type(found) if isinstance(exemplar, np.number) else found


def empty_like(exemplar: Any) -> Any:
    """Return an empty array of the type of an exemplar; any other value unchanged."""
    if isinstance(exemplar, Tensor):
        return torch.empty((0,) if exemplar.dim() else (), dtype=exemplar.dtype)
    if isinstance(exemplar, np.ndarray):
        return np.empty(0, exemplar.dtype)
    return Image.new(exemplar.mode, (1, 1)) if isinstance(exemplar, Image.Image) else exemplar


def _has_tensors(dtype: np.dtype[Any]) -> bool:
    """Return whether PyTorch has this element type; it has no long doubles and no non-native byte orders."""
    return dtype.kind in NUMERIC and dtype.isnative and dtype.itemsize <= (16 if dtype.kind == "c" else 8)


def _is_fixed(array: Any) -> bool:
    """Return whether a tensor cannot share an array's memory: a scalar, a read-only or a reversed array."""
    return isinstance(array, np.number) or not array.flags.writeable or any(step < 0 for step in array.strides)
