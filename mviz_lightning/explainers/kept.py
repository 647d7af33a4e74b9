"""Results as lines of ``explanations.jsonl``: common fields of all methods, and the format for users' methods."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from mviz_lightning.explainers.found import Result
from mviz_lightning.sinks.plain import plain_data
from mviz_lightning.sinks.records import PredictionRecord

if TYPE_CHECKING:
    from mviz_lightning.plotting.labels import Labels

MOST_NUMBERS = 20_000
"""Largest number of entries of a stored array of a user's method; for a larger one only its shape is stored."""


class ShownExample(Protocol):
    """An example that a result refers to."""

    @property
    def example(self) -> int:
        """Index among the fixed examples."""

    @property
    def position(self) -> int:
        """Index in the validation set."""

    @property
    def target(self) -> Any:
        """Class, list of labels or value; None if it is unknown."""


@dataclass(frozen=True)
class KeepingContext:
    """The names of classes and ids of examples for lines.

    Attributes:
        labels: Names of classes and outputs.
        identify: Example -> its id in ``examples.jsonl``; the call stores the example there.
        show_inputs: Whether lines may contain parts of inputs, such as words.
    """

    labels: "Labels"
    identify: Callable[[ShownExample], str]
    show_inputs: bool = True

    def example(self, record: PredictionRecord) -> dict[str, Any]:
        """Return the fields of an example: its id, prediction and target."""
        labels, note = self.labels, getattr(record, "note", "")
        region = {} if labels.region is None else {"region": labels.region(record.example)}
        return {
            "example": self.identify(record),
            "predicted": record.predicted,
            "predicted_name": labels.outcome(record.predicted),
            "target": record.target,
            "target_name": self.target_name(record),
            "probability": record.probability,
            **region,
            **({"note": note} if note else {}),
        }

    def target_name(self, record: ShownExample) -> str | None:
        """Return the name of an example's target; None if unknown."""
        return None if record.target is None else self.labels.outcome(record.target)

    def explained(self, examples: Iterable[Any]) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield the common fields of each explained output of examples with ``outputs``, and the output."""
        for one in examples:
            example = self.example(one)
            for output in one.outputs:
                told = {"role": output.role, "value": output.value}
                yield {**example, **self.output(output.output), **told}, output

    def output(self, index: int) -> dict[str, Any]:
        """Return the fields of an output: its index and its name."""
        return {"output": index, "output_name": self.labels.output(index)}


def lines_of_fields(result: Result, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield one line with all fields of a user's method's result, but without its scalars and memory.

    If inputs may not be shown, it has no fields, because these may contain words or pixels.
    """
    named = {one.name for one in fields(result)} - {"values", "memory", "examples"} if context.show_inputs else set()
    kept = {name: getattr(result, name) for name in sorted(named) if not name.startswith("_")}
    shown = [context.example(one) for one in result.examples]
    yield {"result": "other", "example": None, "fields": plain_data(kept, most=MOST_NUMBERS), "examples": shown}
