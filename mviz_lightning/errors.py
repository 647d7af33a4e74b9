"""What the package raises and warns with."""


class ConfigurationError(ValueError):
    """The monitor was asked for something that this model or this data cannot give.

    The message names the argument, what was found, what is allowed and what to do next.
    """


class MonitorWarning(UserWarning):
    """Something cost a result or needs the user's eye; the training itself is untouched."""


class CollapseWarning(MonitorWarning):
    """The model does not use a modality that carries information."""


def describe_error(error: BaseException) -> str:
    """Return an error's type and message: the only way in which the package turns an error into text."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """Return an error's message as plain text that every encoding and every process takes.

    A user's error may fail to print, and would fail again wherever it is reported: in front of a collective call that
    the other processes wait in, or in the handler that was to save the training.
    """
    try:
        # Of the plain type: what __str__ returns may be a subclass with methods of its own.
        return str.encode(str(error), "utf-8", "backslashreplace").decode()
    except Exception as failure:
        return f"(its message cannot be printed: __str__ raises {type(failure).__name__})"
