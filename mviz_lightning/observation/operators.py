"""How Python writes the operations of tensors that have an operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operator:
    """An operator of Python.

    Attributes:
        symbol: How it is written.
        binds: Its precedence: of two operators, the one with the larger number is evaluated first.
        reversed: Whether the operation's second argument stands on the left.
    """

    symbol: str
    binds: int
    reversed: bool = False

    def ordered(self, operands: Sequence[Any]) -> Sequence[Any]:
        """Return the operands from left to right."""
        return operands[::-1] if self.reversed else operands


ATOM = 9
"""Precedence of names, calls and indices, which never need parentheses."""

COMPARISON, BITWISE, SUM, PRODUCT, SIGN, POWER = 1, 2, 3, 4, 5, 6

PLAIN = {
    "add": Operator("+", SUM),
    "sub": Operator("-", SUM),
    "mul": Operator("*", PRODUCT),
    "div": Operator("/", PRODUCT),
    "truediv": Operator("/", PRODUCT),
    "matmul": Operator("@", PRODUCT),
    "mod": Operator("%", PRODUCT),
    "floordiv": Operator("//", PRODUCT),
    "pow": Operator("**", POWER),
    "and": Operator("&", BITWISE),
    "or": Operator("|", BITWISE),
}
"""Operators with a reversed form: name of the operation -> how Python writes it."""

OPERATORS = {
    **PLAIN,
    **{f"r{name}": Operator(one.symbol, one.binds, reversed=True) for name, one in PLAIN.items()},
    "eq": Operator("==", COMPARISON),
    "ne": Operator("!=", COMPARISON),
    "gt": Operator(">", COMPARISON),
    "ge": Operator(">=", COMPARISON),
    "lt": Operator("<", COMPARISON),
    "le": Operator("<=", COMPARISON),
}
"""Name of an operation of two operands -> how Python writes it."""

UNARY = {"neg": Operator("-", SIGN), "invert": Operator("~", SIGN)}
"""Name of an operation of one operand -> how Python writes it."""


def enclosed(spelled: tuple[str, int], least: int) -> str:
    """Return code, in parentheses if its precedence is below ``least``."""
    code, binds = spelled
    return code if binds >= least else f"({code})"


def pure(name: str) -> str:
    """Return the name of the operation behind an in-place operation or a method of Python's: ``sub``."""
    if name.startswith("__"):
        bare = name.strip("_")
        return bare[1:] if bare.startswith("i") and bare[1:] in PLAIN else bare
    return name.removesuffix("_")
