"""Recognise errors about memory that ran out, on any device, and free a GPU's memory after one."""

from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error

from mviz_lightning.errors import message_of

free_gpu_memory = garbage_collection_cuda
"""Collect garbage and return the cached blocks of a CUDA device; do nothing without one."""


SAID = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED")
"""Parts of messages of such errors: of the devices, and of NVIDIA's libraries without memory to work in."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    Lightning's check recognises errors of CPUs, and some of CUDA.
    """
    message = message_of(error)
    said = any(part in message for part in SAID)
    # Lightning's check fails on an error whose argument is not a string.
    return isinstance(error, RuntimeError) and (said or is_oom_error(RuntimeError(message)))
