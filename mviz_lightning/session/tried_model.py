"""The result of the dry run: the call of a model, and the type of its outputs."""

from dataclasses import dataclass

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.functional import Task
from mviz_lightning.observation.answering_call import ReadCall
from mviz_lightning.observation.own_outputs import Watched
from mviz_lightning.observation.position_targets import Positions
from mviz_lightning.observation.settling import ObservedModel


@dataclass(frozen=True)
class TriedModel:
    """A model that passed the dry run.

    Attributes:
        evaluator: Evaluates the model on rows.
        call: The call of the model.
        outputs: Number of outputs of one example, C.
        reused: Submodules that run once for every distinct input, as text.
        fusion_share: Work of a row with replayed encodings, as a fraction of a plain row's work.
        observed: What the user's own step showed; None if nothing was observed.
        read: The call in the user's own step whose logits answers are compared with; None if there is none.
        positions: The positions of the outputs, with their labels; None if an example has one row of scores.
    """

    evaluator: Evaluator
    call: ModelCall
    outputs: int
    reused: str
    fusion_share: float = 1.0
    observed: ObservedModel | None = None
    positions: Positions | None = None
    read: ReadCall | None = None

    @property
    def path(self) -> str | None:
        """Path of the leaf that the labels are made from, if the user's own step shows one."""
        return None if self.observed is None else self.observed.path

    @property
    def compared_call(self) -> Watched | None:
        """The call in the user's own step whose outputs are compared; None if none is known."""
        return self.read if self.observed is None else self.observed.way

    @property
    def line(self) -> str:
        """What the user's own step showed about the call, for the log; ``""`` if nothing was observed."""
        if self.read is not None:
            return f"{self.read.reading.reader.language.call}, up to the answers"
        return "" if self.observed is None else self.observed.line

    @property
    def axes(self) -> PositionAxes | None:
        """Where positions and classes are in the outputs; None if an example has one row of scores."""
        return None if self.positions is None else self.positions.axes

    @property
    def facts(self) -> tuple[int, Task | None, bool]:
        """Number of outputs; the task, and whether there are labels, as the user's own step shows them."""
        observed = self.observed
        if observed is None:
            return self.outputs, None, False
        return self.outputs, observed.task, observed.target is not None
