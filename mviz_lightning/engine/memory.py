"""Recognise errors about memory that ran out, on any device, and free a GPU's memory after one."""

import gc

import torch

from mviz_lightning.errors import message_of

SAID = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # on Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED.",  # https://github.com/pytorch/pytorch/issues/4107
    "CUSOLVER_STATUS_ALLOC_FAILED",
)
"""Parts of the messages of errors about memory that ran out: on a device, or inside one of NVIDIA's libraries."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error means that memory ran out."""
    message = message_of(error)
    return isinstance(error, RuntimeError) and any(part in message for part in SAID)


def free_gpu_memory() -> None:
    """Collect garbage and return the cached blocks of a CUDA device; do nothing without one."""
    gc.collect()
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:  # it may itself need memory
        if not ran_out(error):
            raise
