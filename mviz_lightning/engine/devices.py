"""Where a model's weights are: on which device, and whether each process holds only a part of them."""

from itertools import chain

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """Return a model's device; the CPU if it has no parameters and no buffers."""
    tensor = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def is_sharded(module: nn.Module) -> bool:
    """Tell whether this process holds only a part of the weights, also while it has gathered all of them."""
    return bool(sharded_parts(module)) or any(hasattr(one, "placements") for one in module.parameters())


def sharded_parts(module: nn.Module) -> list[nn.Module]:
    """Return the submodules whose weights FSDP2 gathers for each forward, the model itself among them."""
    return [part for part in module.modules() if hasattr(part, "unshard") and hasattr(part, "reshard")]
