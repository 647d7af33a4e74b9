"""What a model returned: the tensor that is read as its scores, and what else there is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree

NAMED = 6
"""Other outputs that a message names; models that return all hidden states have dozens."""


@dataclass(frozen=True)
class Output:
    """One tensor that a model returned.

    Attributes:
        code: Python expression from what was returned to it: ``[1]["hidden"]``.
        keys: The same way, as keys.
        shape: Of the tensor.
    """

    code: str
    keys: tree.Keys
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.code} {self.shape}"

    def of(self, predict: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return the call that gives this output alone."""
        return lambda module, batch: tree.get(predict(module, batch), self.keys)


@dataclass(frozen=True)
class Returned:
    """What is read of a model's outputs, and what is not.

    Attributes:
        taken: Python expression from what was returned to the scores: nothing, ``[0]``, ``["logits"]``.
        shape: Of the scores.
        others: The other tensors with one entry for each example.
    """

    taken: str = ""
    shape: tuple[int, ...] = ()
    others: tuple[Output, ...] = ()

    @classmethod
    def of(cls, outputs: Any, scores: Tensor) -> "Returned":
        """Describe the outputs of which these ``(B, C)`` are the scores."""
        taken, found = located(outputs)
        tensors = [(keys, node) for keys, node in tree.nodes(outputs) if isinstance(node, Tensor) and node is not found]
        others = [
            Output(tree.code(outputs, keys), keys, tuple(node.shape))
            for keys, node in tensors
            if node.is_floating_point() and node.dim() and len(node) == len(scores)
        ]
        return cls(taken, tuple(found.shape), tuple(others))

    @property
    def guessed(self) -> bool:
        """Whether the scores were told from other outputs by nothing but their place."""
        return self.taken.startswith("[0]") and bool(self.others)

    @property
    def scores(self) -> str:
        """What is read, in words."""
        return f"{self.taken} {self.shape}".lstrip()

    @property
    def rest(self) -> str:
        """The other outputs in words."""
        more = len(self.others) - NAMED
        return ", ".join(map(str, self.others[:NAMED])) + (f" and {more} more" if more > 0 else "")


NOTHING = Returned()
"""Of a call that was not tried yet."""


def located(outputs: Any) -> tuple[str, Any]:
    """Return the way to what is read as the scores, as Python code, and what stands there."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return '["logits"]', outputs["logits"]
    if hasattr(outputs, "logits"):
        return ".logits", outputs.logits
    if isinstance(outputs, tuple | list) and outputs:
        way, found = located(outputs[0])
        return f"[0]{way}", found
    return "", outputs
