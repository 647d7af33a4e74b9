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
    """Tell whether this process holds only a part of the weights, also while it has gathered all of them."""
    return bool(sharded_parts(module)) or any(hasattr(one, "placements") for one in module.parameters())


def sharded_parts(module: nn.Module) -> list[nn.Module]:
    """Return the submodules whose weights FSDP2 gathers for each forward, the model itself among them."""
    return [part for part in module.modules() if hasattr(part, "unshard") and hasattr(part, "reshard")]


AMPERE = 8
"""Compute capability of the first GPUs that know TF32."""


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Run what cuDNN would compute with PyTorch's own kernels inside the block.

    ``torch.backends.cudnn.flags`` would also set the precision of float32, and raises where the user chose it by
    operation (``torch.backends.cudnn.conv.fp32_precision``).
    """
    enabled = torch.backends.cudnn.enabled
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_cudnn_enabled(enabled)


def product_type() -> torch.dtype | None:
    """Return the type that has the precision of float32 products on the GPU in use; None where it is the full one.

    By default NVIDIA's GPUs since Ampere round what convolutions and recurrent layers multiply to TF32, whose fraction
    has as many bits as that of float16. Which kernel runs depends on the number of rows, and not all of them round.
    """
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if not started or torch.cuda.get_device_capability()[0] < AMPERE:
        return None
    return torch.float16 if "tf32" in _precisions_of_products() else None


def _precisions_of_products() -> set[str]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):
        return {one.fp32_precision for one in (cudnn.conv, cudnn.rnn, matmul)}
    return {"tf32"} if cudnn.allow_tf32 or matmul.allow_tf32 else set()  # PyTorch before 2.9
