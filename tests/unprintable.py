"""Errors that cannot be turned into text as usual."""


class Unprintable(RuntimeError):
    """Fails when it is printed, in every way."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class Numeric(RuntimeError):
    """Prints as a number, which Python refuses."""

    def __str__(self) -> str:
        return 7


class Words(str):
    """A text that cannot be formatted, and that other processes do not know."""

    def __format__(self, spec: str) -> str:
        raise ValueError(spec)

    def __reduce__(self) -> tuple:
        raise ValueError("stays here")


class Wordy(RuntimeError):
    """Prints as a text of its own kind."""

    def __str__(self) -> str:
        return Words("in words of its own")


UNPRINTABLE = "Unprintable: (its message cannot be printed: __str__ raises ValueError)"
