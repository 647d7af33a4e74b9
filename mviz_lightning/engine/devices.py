"""Where a model's weights are, on which device and in how many processes; and which of its kernels run."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """Return a model's device; the CPU if it has no parameters and no buffers."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def is_sharded(module: nn.Module) -> bool:
    """Tell whether this process holds only a part of the weights."""
    return any(hasattr(parameter, "placements") for parameter in module.parameters())


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Run what cuDNN would compute with PyTorch's own kernels inside the block.

    ``torch.backends.cudnn.flags`` would also set the precision of float32, and raises where the user chose it by
    operation (``torch.backends.cudnn.conv.fp32_precision``).
    """
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled
