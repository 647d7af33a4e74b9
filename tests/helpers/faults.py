"""Random faults: an error in place of one call of a function of the package, and perhaps another soon after it.

A trace function of Python raises them. So nothing is replaced, and any call can fail: of methods, closures, properties,
and of generators where they go on.
"""

import contextlib
import errno
import functools
import inspect
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

from helpers.unprintable import NumericError, UnprintableError, UnprintableRuntimeError, WordyError

import mviz_lightning
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.observation.recorder import StepRecorder

PACKAGE = str(Path(mviz_lightning.__file__).parent)

Calls: TypeAlias = Mapping[CodeType, int]
"""Function -> number of its calls that may fail."""


class FullDiskError(OSError):
    """No space is left on the device."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


ERRORS = (
    RuntimeError,
    KeyError,
    MemoryError,
    RecursionError,
    StopIteration,
    AssertionError,
    FullDiskError,
    MonitorWarning,
    UnprintableError,
    UnprintableRuntimeError,
    NumericError,
    WordyError,
)
"""Kinds of errors: of a bug, of the machine, of warnings that are errors, and some that cannot be printed."""

LONGEST = 30
"""Largest number of calls from one error to another: telling an error takes fewer."""

GUARDS = frozenset({ErrorPolicy.guard.__code__, StepRecorder._recorded.__code__})
"""Functions that let no error of ours out."""

TRANSPARENT = (contextlib.__file__, functools.__file__, "<string>")
"""Files of functions that the package calls to be called back."""


def may_fail(frame: FrameType) -> bool:
    """Return whether an error in place of this call has to be borne.

    Not so of a call by the trainer, PyTorch or the user's own code, nor of a guard that such a call begins with: only
    the trainer could catch it. Generator expressions are left out, since Python may close them at any time, and
    generators that get an error: a trace function that raises then ends them without their ``finally``.
    """
    if not _is_own(frame) or frame.f_code.co_name == "<genexpr>" or _may_get_an_error(frame):
        return False
    caller = _caller(frame)
    if caller is not None and _is_own(caller) and frame.f_code not in GUARDS:
        return True
    while caller is not None and caller.f_code not in GUARDS:
        caller = _caller(caller)
    return caller is not None


def _may_get_an_error(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & inspect.CO_GENERATOR) and sys.exc_info()[0] is not None


def _caller(frame: FrameType) -> FrameType | None:
    caller = frame.f_back
    while caller is not None and caller.f_code.co_filename in TRANSPARENT:
        caller = caller.f_back
    return caller


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)


def calls_of(run: Callable[[], Any]) -> Calls:
    """Return the calls that something makes and that may fail."""
    found: Counter[CodeType] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        found[frame.f_code] += may_fail(frame)

    with _traced(count):
        run()
    return +found


@contextmanager
def _traced(trace: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@dataclass
class Fault:
    """An error in place of one call of one function, and perhaps another in place of a later call of any function.

    Attributes:
        function: The function.
        call: Number of the call, from 1.
        error: What it raises.
        later: Number of calls from there to the second error; 0 for none.
        hits: Names of the functions that raised.
    """

    function: CodeType
    call: int
    error: type[BaseException]
    later: int = 0
    hits: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        place = Path(self.function.co_filename).relative_to(PACKAGE)
        second = f", then in {self.hits[1]}" if len(self.hits) > 1 else ""
        return f"{self.error.__name__} in call {self.call} of {place}:{self.function.co_firstlineno}{second}"

    @contextmanager
    def injected(self) -> Iterator[None]:
        """Raise the errors in the block. Python forgets a trace function that raises, so the second is a profiler's."""
        with _traced(self._after(self.call, lambda frame: frame.f_code is self.function, self.later)):
            try:
                yield
            finally:
                sys.setprofile(None)

    def _after(self, left: int, counts: Callable[[FrameType], bool], later: int) -> Callable[..., None]:
        """Return what raises the error at a call, and arranges for the second one ``later`` calls later."""

        def trace(frame: FrameType, event: str, _: Any) -> None:
            nonlocal left
            if event != "call" or not counts(frame) or not may_fail(frame):
                return
            left -= 1
            if left == 0:
                self.hits.append(frame.f_code.co_name)
                sys.setprofile(self._after(later, _is_own, 0) if later else None)
                raise self.error

        # What raises stands for a line of the package: errors tell by their last line whose they are.
        trace.__code__ = trace.__code__.replace(co_filename=str(Path(PACKAGE) / "injected.py"))
        return trace


def random_fault(calls: Calls, seed: int) -> Fault:
    """Return a random fault: all functions are equally likely, and all calls of one; every second fault is double."""
    draw = random.Random(seed)
    function = draw.choice(sorted(calls, key=lambda code: (code.co_filename, code.co_firstlineno, code.co_name)))
    call, error = draw.randint(1, calls[function]), draw.choice(ERRORS)
    return Fault(function, call, error, draw.choice([0, draw.randint(1, LONGEST)]))
