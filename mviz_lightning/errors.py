"""What the package raises and warns with."""


class ConfigurationError(ValueError):
    """The monitor was asked for something that this model or this data cannot give.

    The message names the argument, what was found, what is allowed and what to do next.
    """


class MonitorWarning(UserWarning):
    """Something cost a result or needs the user's eye; the training itself is untouched."""


class CollapseWarning(MonitorWarning):
    """The model does not use a modality that carries information."""
