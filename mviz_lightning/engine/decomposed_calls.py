"""Evaluators that return the quantity to decompose (logits) in place of a model's probabilities."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import scores
from mviz_lightning.engine.output_reader import ROW_READER, OutputReader
from mviz_lightning.engine.probability_outputs import Reading, decomposed, head_in
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.shared_noise import SharedNoise
from mviz_lightning.functional import Task


def with_decomposed(evaluator: Evaluator, task: Task, reading: Reading | None, outputs: int = 1) -> Evaluator:
    """Return an evaluator that returns the quantity to decompose.

    Args:
        evaluator: Runs the model.
        task: What the outputs stand for.
        reading: How the outputs are read; None leaves the evaluator as it is.
        outputs: Number of outputs of one prediction, C.
    """
    if reading is None:
        return evaluator
    if evaluator.reader is not ROW_READER:  # the outputs are converted after reading: a map has no row of probabilities
        reader = DecomposedReader(evaluator.reader, task, reading, outputs)
        return replace(evaluator, reader=reader, head=head_in(reading))
    pairs = None if evaluator.all_pairs is None else DecomposedCall(evaluator.all_pairs, task, reading)
    return replace(
        evaluator, predict=DecomposedCall(evaluator.predict, task, reading), all_pairs=pairs, head=head_in(reading)
    )


def without_logits(evaluator: Evaluator) -> Evaluator:
    """Return an evaluator of the model's own outputs.

    Near 0 and 1, logits differ by much more than rounding even where the probabilities do not.

    Args:
        evaluator: An evaluator, perhaps of :func:`with_decomposed`.
    """
    plain = {name: getattr(evaluator, name) for name in ("predict", "all_pairs")}
    plain = {name: _undecomposed(call) for name, call in plain.items()}
    return replace(evaluator, head=None, reader=own_reader(evaluator.reader), **plain)


def own_reader(reader: OutputReader) -> OutputReader:
    """Return the reader of the model's own outputs."""
    return reader.reader if isinstance(reader, DecomposedReader) else reader


def _undecomposed(call: Any) -> Any:
    if isinstance(call, SharedNoise):
        return replace(call, predict=_undecomposed(call.predict))
    return call.predict if isinstance(call, DecomposedCall) else call


def called_by(evaluator: Evaluator, predict: Predict) -> Evaluator:
    """Return an evaluator that calls the model in another way, and converts its outputs as before."""
    before = evaluator.predict
    call = replace(before, predict=predict) if isinstance(before, DecomposedCall) else predict
    return replace(evaluator, predict=call, all_pairs=None)


def read_by(evaluator: Evaluator, reader: OutputReader) -> Evaluator:
    """Return an evaluator that reads outputs in another way, and converts them as before."""
    before = evaluator.reader
    return replace(evaluator, reader=replace(before, reader=reader) if isinstance(before, DecomposedReader) else reader)


@dataclass(frozen=True)
class DecomposedReader:
    """Reads the quantity to decompose in place of the probabilities that another reader reads."""

    reader: OutputReader
    task: Task
    reading: Reading
    outputs: int

    def __call__(self, outputs: Any, rows: Query) -> Tensor:
        """Return ``(R, P * C)``."""
        return self.of_rows(self.reader(outputs, rows))

    def of_rows(self, outputs: Tensor) -> Tensor:
        """Return the quantity to decompose for ``(R, P * C)`` outputs that the other reader read."""
        return self.of(outputs.view(len(outputs), -1, self.outputs)).flatten(1)

    def of(self, outputs: Tensor) -> Tensor:
        """Return the quantity to decompose for ``(..., C)`` outputs."""
        return decomposed(outputs, self.task, self.reading)


@dataclass(frozen=True)
class DecomposedCall:
    """A call that returns the quantity to decompose in place of the probabilities that another call returns."""

    predict: Predict
    task: Task
    reading: Reading

    def __call__(self, module: nn.Module, batch: Any) -> Tensor:
        """Return ``(R, C)``."""
        return self.of(scores(self.predict(module, batch)))

    def of(self, outputs: Tensor) -> Tensor:
        """Return the quantity to decompose for ``(R, C)`` outputs that the other call returned."""
        return decomposed(outputs, self.task, self.reading)
