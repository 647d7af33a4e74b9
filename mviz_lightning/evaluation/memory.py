"""Memory that runs out, on whatever device."""

from lightning.pytorch.utilities.memory import is_oom_error


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says so; Lightning knows CUDA's, cuDNN's and CPUs', not AMD's, Apple's and Intel's."""
    return is_oom_error(error) or (isinstance(error, RuntimeError) and "out of memory" in str(error))
