"""A module in one style, with the truth about it written by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lightning.pytorch import LightningModule
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One module, its batches, and what the monitor has to find.

    Attributes:
        name: Name of the case; unique.
        style: Family of the case, a row of the summary.
        module: Makes the module; random numbers are seeded.
        batches: Makes several batches in the user's own structure.
        modalities: Argument of the monitor, the only one.
        scores: ``(module, batch) -> (B, C)`` or ``(B,)`` logits or values, on any batch of that structure; of outputs
            with positions ``(B, C, *positions)``; None where no scores can be right.
        target: ``batch -> (B, ...)`` what the loss compares with; None where there are no labels.
        task: What the outputs stand for; None where it is not compared.
        expect: ``"right"``, or the way in which the monitor may decline: it asks for an argument, or it refuses.
        others: Number of further heads that the monitor has to name.
        trainer: Further arguments of the Trainer.
        entry: Method of the Trainer: ``"fit"``, ``"validate"`` or ``"test"``.
        loaders: Makes the validation loaders out of the batches; None for one loader.
        by_position: Path of the labels, where each position of an example has one.
        drawn: ``(module, batch, outputs) -> (B, C)`` scores with the noise that all rows of outputs share; None where
            no noise is drawn. ``scores`` then are those of some draw.
        tolerance: Largest deviation of the outputs, relative to the largest one where that is above 1.
    """

    name: str
    style: str
    module: Callable[[], LightningModule]
    batches: Callable[[], list[Any]]
    modalities: Mapping[str, Any]
    scores: Callable[[Any, Any], Tensor] | None
    target: Callable[[Any], Tensor] | None
    task: str | None
    expect: Literal["right", "ask", "refuse"] = "right"
    others: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)
    entry: Literal["fit", "validate", "test"] = "fit"
    loaders: Callable[[list[Any]], Any] | None = None
    by_position: str | None = None
    drawn: Callable[[Any, Any, Tensor], Tensor] | None = None
    tolerance: float = 1e-4


Verdict: TypeAlias = Literal["right", "asked", "refused", "incomplete", "wrong", "died"]


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: The case.
        verdict: ``"right"``; ``"asked"`` for an argument or ``"refused"``, by an error or by turning itself off;
            ``"incomplete"`` if labels or further heads alone were not found; ``"wrong"`` if it ran and differs from
            the truth; ``"died"`` if the training ended with an error that is not the monitor's.
        why: What differs, or the first line of the message.
        way: How the outputs are got: ``"forward"``, ``"inner call"``, ``"replay"`` or ``"guessed"``.
        task: The task that the monitor found.
        code: The outputs, in words or code.
        message: The whole message of an ``"asked"`` or ``"refused"`` case.
    """

    case: Case
    verdict: Verdict
    why: str = ""
    way: str = ""
    task: str = ""
    code: str = ""
    message: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the case allows this: it may always be right, and decline where no answer or no sure one exists."""
        return self.verdict == "right" or (self.verdict in ("asked", "refused") and self.case.expect != "right")
