"""The device and the processes that hold a model's weights, and the GPU kernels that compute with the weights."""

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
    """Return whether this process holds only a part of the weights, even while all of them are gathered."""
    return bool(sharded_parts(module)) or any(hasattr(one, "placements") for one in module.parameters())


def sharded_parts(module: nn.Module) -> list[nn.Module]:
    """Return the submodules whose weights FSDP2 gathers for each forward, the model itself among them."""
    return [part for part in module.modules() if hasattr(part, "unshard") and hasattr(part, "reshard")]


AMPERE = 8
"""Compute capability of the first GPUs that support TF32."""


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Inside the block, run PyTorch's own kernels in place of cuDNN's.

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
    """Return the type whose precision float32 products have on the GPU in use; None where they have full precision.

    By default, NVIDIA's GPUs since Ampere round the factors of convolutions and recurrent layers to TF32, whose
    fraction has as many bits as float16's. The number of rows decides which kernel runs, and not every kernel rounds.
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
