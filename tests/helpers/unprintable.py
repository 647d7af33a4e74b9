"""Errors whose message cannot be turned into text."""


class UnprintableError(Exception):
    """Fails when it is printed, in every way."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class UnprintableRuntimeError(UnprintableError, RuntimeError):
    """The same, of the kind that is asked whether memory ran out."""


class NumericError(RuntimeError):
    """Prints as a number, which Python refuses."""

    def __str__(self) -> str:
        return 7  # noqa: PLE0307 - that is the point


class Words(str):
    """A text that cannot be formatted, and that other processes do not know."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise ValueError(spec)

    def __reduce__(self) -> tuple:
        raise ValueError("stays here")


class WordyError(RuntimeError):
    """Prints as a text of its own kind."""

    def __str__(self) -> str:
        return Words("in words of its own")


UNPRINTABLE = "UnprintableError: (its message cannot be printed: __str__ raises ValueError)"
