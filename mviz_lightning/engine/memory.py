"""Errors that say that memory ran out, on any device, and how to free a GPU's memory after one."""

from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error

from mviz_lightning.errors import message_of

free_gpu_memory = garbage_collection_cuda
"""Collect garbage and return the cached blocks of a CUDA device; do nothing without one."""


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out.

    Lightning recognises the messages of CUDA, cuDNN and CPUs, but not those of AMD, Apple and Intel devices.
    """
    message = message_of(error)
    # Lightning's check fails on an error whose argument is not a string.
    return isinstance(error, RuntimeError) and (is_oom_error(RuntimeError(message)) or "out of memory" in message)
