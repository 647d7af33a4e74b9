"""Does what a message offers to paste work? The arguments are read from the message, and the case is run again."""

import ast
import re
from typing import Any

import torch
from benchmarks.observation.case import Outcome
from benchmarks.observation.harness import run

ARGUMENT = re.compile(r"\b(predict|target|task)=")


def offered(message: str) -> dict[str, Any]:
    """Return argument -> value for the arguments that a message writes out; of several values the first."""
    found: dict[str, Any] = {}
    for match in ARGUMENT.finditer(message):
        code = _expression(message[match.end() :])
        if code and match[1] not in found:
            found[match[1]] = eval(code, {"torch": torch})  # noqa: S307 - the message is our own
    return found


def _expression(text: str) -> str:
    """Return the longest beginning of a text that is a string or a lambda; ``""`` if there is none."""
    line = text.partition("\n")[0]
    for end in range(len(line), 0, -1):
        try:
            body = ast.parse(line[:end].rstrip(), mode="eval").body
        except (SyntaxError, ValueError):
            continue
        if isinstance(body, ast.Lambda) or (isinstance(body, ast.Constant) and isinstance(body.value, str)):
            return line[:end].rstrip()
    return ""


def run_pasted(outcome: Outcome) -> Outcome | None:
    """Run a case again with what its message offers; None if it offers nothing.

    A second message may offer more, such as the task once the outputs are known; what it offers is pasted too.
    """
    arguments: dict[str, Any] = {}
    while outcome.message and (more := {**arguments, **offered(outcome.message)}).keys() != arguments.keys():
        arguments = more
        outcome = run(outcome.case, **arguments)
    return outcome if arguments else None
