"""DIME's explanation of single predictions, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mviz_lightning.checkpoint.saved import build
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.origin import FromMethod
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class Attribution(Brief):
    """The weights of one modality's segments for an output.

    Attributes:
        unimodal: ``(U,)`` weights for its unimodal contribution (UC).
        interaction: ``(U,)`` weights for its multimodal interaction (MI). UC and MI add up to the weights of LIME.
        unimodal_r2: Leave-one-out R² of the UC surrogate; NaN if the segments have no effect.
        interaction_r2: Leave-one-out R² of the MI surrogate; NaN if the segments have no effect.
    """

    unimodal: Tensor
    interaction: Tensor
    unimodal_r2: float
    interaction_r2: float

    def __post_init__(self) -> None:
        if self.unimodal.shape != self.interaction.shape:
            shapes = f"{tuple(self.unimodal.shape)} and {tuple(self.interaction.shape)}"
            raise ValueError(f"unimodal and interaction have the shapes {shapes}; both are (U,)")

    def times(self, unit: float) -> "Attribution":
        """Return the weights in another unit."""
        return replace(self, unimodal=unit * self.unimodal, interaction=unit * self.interaction)


@dataclass(frozen=True)
class OutputExplanation(Brief):
    """The explanation of one output.

    Attributes:
        output: Index of the output.
        role: ``"true"`` or ``"predicted"`` class, both at once, or ``"output"``.
        value: The output. For mutually exclusive classes it is centred over the classes; a regression value is in its
            own unit.
        unimodal: Unimodal contribution (UC).
        interaction: Multimodal interaction (MI); UC and MI add up to the value.
        parts: Modality -> weights of its segments.
        error: Standard error of UC and of MI, from the donors; None in explanations of older checkpoints.
    """

    output: int
    role: str
    value: float
    unimodal: float
    interaction: float
    parts: Mapping[str, Attribution]
    error: float | None = None

    def times(self, unit: float) -> "OutputExplanation":
        """Return the explanation in another unit."""
        return replace(
            self,
            value=unit * self.value,
            unimodal=unit * self.unimodal,
            interaction=unit * self.interaction,
            parts={name: part.times(unit) for name, part in self.parts.items()},
            error=None if self.error is None else abs(unit) * self.error,
        )


@dataclass(frozen=True)
class Explanation(FromMethod, PredictionRecord):
    """One example's explanation at one time of the training: its prediction, and its explained outputs.

    Attributes:
        outputs: The explained outputs; the first one is drawn over the epochs.
        note: A note for the reader.
    """

    outputs: Sequence[OutputExplanation]
    note: str = ""

    def state(self) -> dict[str, Any]:
        """Return plain types, for checkpoints."""
        state = asdict(replace(self, _origin=None))
        return {name: value for name, value in state.items() if name != "_origin"}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Explanation":
        """Return the explanation that :meth:`state` wrote."""
        found: Explanation = build(cls, state, "explanation")
        return found

    @property
    def _picture_name(self) -> str:
        return f"example_{self.position}"

    def _card(self) -> "Card":
        from mviz_lightning.explainers.dime.card import explanation_card

        return explanation_card(self)


@dataclass(frozen=True, kw_only=True)
class DIMEResult(Result):
    """DIME's explanations.

    Attributes:
        examples: The explained examples, in the order in which they were selected.
    """

    examples: Sequence[Explanation] = ()

    def _card(self) -> "Card":
        from mviz_lightning.explainers.dime.card import dime_card

        return dime_card(self)


@dataclass(frozen=True)
class Moment(Brief):
    """One example's explanation, and its position on the x-axis of the training.

    Attributes:
        label: Epoch or step in words.
        place: Epoch or step.
        explanation: The explanation.
    """

    label: str
    place: float
    explanation: Explanation

    @property
    def output(self) -> OutputExplanation:
        """The output that is drawn over the epochs."""
        return self.explanation.outputs[0]
