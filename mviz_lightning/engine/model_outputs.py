"""What a model returned: the tensor that is read as its scores, and the other outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.rows import describe_leaf, plain_tensors
from mviz_lightning.errors import ConfigurationError

LISTED_OUTPUTS = 6
"""Largest number of outputs that a message lists: models that return all hidden states have dozens."""


def scores(outputs: Any) -> Tensor:
    """Return the scores, logits or predicted values, in what a model returned.

    Args:
        outputs: A tensor, an object with ``.logits``, a mapping with ``"logits"``, or a tuple or list that starts with
            one of these.

    Returns:
        ``(B, C)`` floating-point; scores of shape ``(B,)`` become ``(B, 1)``.

    Raises:
        ConfigurationError: There is no such tensor, or it has more than two dimensions.
    """
    found = plain_tensors(locate_scores(outputs)[1])
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.dim() == 0:
        raise ConfigurationError(
            f"the model returned {describe_outputs(outputs)}; allowed are floating-point scores (batch, outputs), "
            'an object with .logits, a mapping with "logits", or a tuple that starts with the scores. Pass '
            "predict=, a function (module, batch) -> (batch, outputs) tensor, to pick them."
        )
    if found.dim() > 2:
        raise ConfigurationError(
            f"the model returned scores of shape {tuple(found.shape)}; allowed is one row of scores per example, "
            "(batch, outputs). Pass predict=, a function (module, batch) -> (batch, outputs) tensor, to choose a "
            "position or to average over positions."
        )
    return found if found.dim() == 2 else found.unsqueeze(1)


@dataclass(frozen=True)
class Output:
    """One tensor that a model returned.

    Attributes:
        code: Python code from what the model returned to the tensor: ``[1]["hidden"]``.
        keys: The same path as keys: ``(1, "hidden")``.
        shape: The tensor's shape.
    """

    code: str
    keys: tree.Keys
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.code} {self.shape}"

    def of(self, predict: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Return a call of the model that returns this tensor alone."""
        return lambda module, batch: tree.get(predict(module, batch), self.keys)


@dataclass(frozen=True)
class ModelOutputs:
    """Which of a model's outputs is read as the scores, and which are not.

    Attributes:
        taken: Python code from what the model returned to the scores: ``""``, ``[0]``, ``["logits"]``.
        shape: The scores' shape.
        others: The other floating-point tensors with one entry per example.
    """

    taken: str = ""
    shape: tuple[int, ...] = ()
    others: tuple[Output, ...] = ()

    @classmethod
    def of(cls, outputs: Any) -> "ModelOutputs":
        """Describe what a model returned.

        Raises:
            ConfigurationError: It holds no scores; see :func:`scores`.
        """
        size = len(scores(outputs))
        taken, found = locate_scores(outputs)
        return cls(taken, tuple(found.shape), tuple(other_outputs(outputs, size)))

    @property
    def rows(self) -> list[Output]:
        """The other outputs that hold one number or one row per example."""
        return [output for output in self.others if len(output.shape) <= 2]

    @property
    def guessed(self) -> bool:
        """Whether the scores were chosen among several outputs only because they come first."""
        return self.taken.startswith("[0]") and bool(self.others)

    @property
    def chosen(self) -> str:
        """The scores' place and shape, for messages: ``[0] (16, 3)``."""
        return f"{self.taken} {self.shape}".lstrip()

    @property
    def rest(self) -> str:
        """The other outputs' places and shapes, for messages."""
        return _listed(self.others)


NO_OUTPUTS = ModelOutputs()
"""The outputs of a call that was not tried yet."""


def other_outputs(outputs: Any, size: int) -> list[Output]:
    """Return the floating-point tensors, but the scores, with one entry for each of ``size`` examples."""
    _, taken = locate_scores(outputs)
    return [
        Output(tree.code(outputs, keys), keys, tuple(node.shape))
        for keys, node in tree.nodes(outputs)
        if isinstance(node, Tensor) and node is not taken and node.is_floating_point()
        if node.dim() and len(node) == size
    ]


def describe_outputs(outputs: Any) -> str:
    """Return what a model returned, for messages: ``a tuple: [0] (), [1] (16, 3)``."""
    kind = type(outputs).__name__
    if isinstance(outputs, Tensor):
        return f"a {str(outputs.dtype).removeprefix('torch.')} tensor of shape {tuple(outputs.shape)}"
    nodes = [(keys, node) for keys, node in tree.nodes(outputs) if keys and not tree.children(node)]
    if nodes:
        return f"a {kind}: " + _listed([f"{tree.code(outputs, keys)} {describe_leaf(node)}" for keys, node in nodes])
    return f"a {describe_leaf(outputs)}" if isinstance(outputs, Mapping | tuple | list) else repr(kind)


def _listed(entries: Sequence[Any]) -> str:
    more = len(entries) - LISTED_OUTPUTS
    return ", ".join(map(str, entries[:LISTED_OUTPUTS])) + (f" and {more} more" if more > 0 else "")


def locate_scores(outputs: Any) -> tuple[str, Any]:
    """Return where the scores are in what a model returned, as Python code, and what is there."""
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return '["logits"]', outputs["logits"]
    if hasattr(outputs, "logits"):
        return ".logits", outputs.logits
    if isinstance(outputs, tuple | list) and outputs:
        way, found = locate_scores(outputs[0])
        return f"[0]{way}", found
    return "", outputs


def require_a_row_each(outputs: Tensor, examples: int) -> None:
    """Check that a model returned one row of scores per example.

    Raises:
        ConfigurationError: It did not.
    """
    if len(outputs) != examples:
        raise ConfigurationError(
            f"the model returned {len(outputs)} rows of scores for {examples} examples; allowed is one row per "
            "example. Pass predict=, a function (module, batch) -> (batch, outputs) tensor, that returns such rows."
        )
