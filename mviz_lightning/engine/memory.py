"""Memory that runs out, on whatever device."""

from lightning.pytorch.utilities.memory import is_oom_error

from mviz_lightning.errors import message_of


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says so; Lightning knows CUDA's, cuDNN's and CPUs', not AMD's, Apple's and Intel's."""
    message = message_of(error)
    # Lightning fails at an error whose argument is no text.
    return isinstance(error, RuntimeError) and (is_oom_error(RuntimeError(message)) or "out of memory" in message)
