"""The scores that the user's own step computes at a validation, for a comparison with the monitor's."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe
from mviz_lightning.batch.few_examples import whole_examples
from mviz_lightning.batch.presence import complete_examples
from mviz_lightning.engine.agreement import NOISE_EXPLAINS, deviation, deviation_beyond_noise, tolerance
from mviz_lightning.engine.muted_step import StopStep
from mviz_lightning.functional import Task

COMPARED_ROWS = 8
"""Number of rows that are compared at every validation."""

DIFFERING = 0.01
"""Largest share of rows with other predictions that still counts as agreement."""

UNHOOKED = (torch.jit.ScriptModule, nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
"""Modules that take no hook, or that leave their fast path if hooked: this changes the user's outputs in last bits."""


@dataclass(frozen=True)
class Agreement:
    """The difference between the monitor's outputs and the user's own.

    Attributes:
        rows: Number of rows compared.
        predictions: Share of the rows with the same prediction.
        deviation: Largest difference, as a multiple of the spread of the user's own outputs.
        allowed: Largest deviation that counts as agreement.
    """

    rows: int
    predictions: float
    deviation: float
    allowed: float

    def __str__(self) -> str:
        return (
            f"the model's own predictions and the monitor's agree in {self.predictions:.0%} of {self.rows} examples "
            f"(largest difference {self.deviation:.2g} of the outputs' spread)"
        )

    @property
    def holds(self) -> bool:
        """Whether the outputs are the same, up to rounding."""
        return self.deviation <= self.allowed and self.predictions >= 1 - DIFFERING

    @classmethod
    def of(cls, own: Tensor, found: Tensor, task: Task) -> "Agreement":
        """Compare ``(R, C)`` outputs of the same rows.

        Args:
            own: The user's own.
            found: The monitor's.
            task: What they stand for.
        """
        own, found = own.detach().cpu(), found.detach().cpu().to(own.dtype)
        size, allowed = deviation(own, found), tolerance(own)
        if task == "regression":
            same = 1.0 if size <= allowed else 0.0
        elif own.shape[1] == 1:
            same = float(((own > 0) == (found > 0)).double().mean())
        else:
            same = float((own.argmax(1) == found.argmax(1)).double().mean())
        return cls(len(own), same, size, allowed)

    @classmethod
    def with_noise(cls, own: Tensor, draws: Tensor, task: Task) -> "Agreement":
        """Compare outputs of a model that samples; differences that its noise explains do not count.

        Args:
            own: ``(R, C)`` the user's own; each row has its own noise.
            draws: ``(K, R, C)`` the monitor's, of K draws of the noise.
            task: What they stand for.
        """
        own, draws = own.detach().cpu().double(), draws.detach().cpu().double()
        size, allowed = deviation_beyond_noise(own, draws), tolerance(own)
        mean, noise = draws.mean(0), NOISE_EXPLAINS * draws.std(0)
        if task == "regression":
            same = torch.tensor(size <= allowed)
        elif own.shape[1] == 1:
            same = ((own > 0) == (mean > 0)) | (mean.abs() <= noise)
        else:
            chosen = own.argmax(1, keepdim=True)
            same = (mean + noise).gather(1, chosen) >= (mean - noise).amax(1, keepdim=True)
        return cls(len(own), float(same.double().mean()), size, allowed)


class Watched(Protocol):
    """A module's call in the user's own step whose outputs are compared."""

    @property
    def watched(self) -> str | None:
        """Name of the module; None if there is none."""

    @property
    def ordinal(self) -> int:
        """Number of the module's calls in the step before this one."""

    def reading_of(self, batch: Any, examples: Probe, rows: Tensor) -> Callable[[Any], Tensor | None]:
        """Return a function that reads ``(R, C)`` outputs of rows from what the module returns; None if there are none.

        Args:
            batch: The batch, before the step.
            examples: Copies of the rows.
            rows: ``(R,)`` their positions in the batch.
        """


class OwnOutputs:
    """Keeps some rows of what one submodule returns in the user's own step, for one batch at a time."""

    def __init__(self) -> None:
        self._probe: Probe | None = None
        self._rows: Tensor | None = None
        self._handle: Any = None

    @property
    def watched(self) -> bool:
        """Whether a batch was watched whose rows were not taken yet."""
        return self._probe is not None

    def forget(self) -> None:
        """Drop what was kept of an earlier batch."""
        self._probe, self._rows = None, None

    def watch(self, module: nn.Module, call: Watched, batch: Any, schema: BatchSchema, *, stop: bool = False) -> None:
        """Watch the submodule in the step that gets this batch next, if some example has all modalities.

        Args:
            module: The user's model.
            call: The call that computes the scores.
            batch: The batch.
            schema: Where the modalities are in it.
            stop: Whether the step is a replay, which ends with the call.
        """
        self.release()
        self.forget()
        rows = complete_examples(schema, schema.leaves(batch))[:COMPARED_ROWS]
        if not len(rows):
            return
        self._probe = whole_examples(schema, batch, COMPARED_ROWS)
        child = None if call.watched is None else module.get_submodule(call.watched)
        if child is None or not (stop or may_be_hooked(child, module)):
            return
        read, calls, ordinal = call.reading_of(batch, self._probe, rows), itertools.count(), call.ordinal

        def keep(_module: nn.Module, _args: Any, outputs: Any) -> None:
            if next(calls) != ordinal:
                return
            with suppress(Exception), torch.inference_mode(False), torch.no_grad():  # must not stop the user's own step
                self._rows = read(outputs)
            if stop:
                raise StopStep

        self._handle = child.register_forward_hook(keep)

    def release(self) -> None:
        """Remove the hook."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.remove()

    def take(self) -> tuple[Probe | None, Tensor | None]:
        """Return the examples and the user's own ``(R, C)`` outputs, and forget both; None where they are not known."""
        found, self._probe, self._rows = (self._probe, self._rows), None, None
        return found


def may_be_hooked(child: nn.Module, module: nn.Module) -> bool:
    """Return whether a hook on a submodule leaves the user's outputs as they are."""
    return not isinstance(child, UNHOOKED) and not is_compiled(module)


def is_compiled(module: nn.Module) -> bool:
    """Return whether a model is compiled: a hook would make it compile again."""
    compiled = ("_compiled_call_impl", "_compiler_ctx")
    return any(
        type(child).__name__ == "OptimizedModule" or any(vars(child).get(name) is not None for name in compiled)
        for child in module.modules()
    )
