"""What a model returned: the tensor that is read as its scores, and the other outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.rows import describe_leaf, plain_tensors
from mviz_lightning.engine.output_names import FEATURE_NAMES, is_floating, named_scores, returned_heads
from mviz_lightning.errors import ConfigurationError

LISTED_OUTPUTS = 6
"""Largest number of outputs that a message lists: models that return all hidden states have dozens."""


def scores(outputs: Any) -> Tensor:
    """Return the scores, logits or predicted values, in what a model returned.

    Args:
        outputs: A tensor; an object or a mapping with a name of
            :data:`~mviz_lightning.engine.output_names.SCORE_NAMES`; or a tuple or list that starts with one of these,
            or with a loss in front of the only one.

    Returns:
        ``(B, C)`` floating-point; scores of shape ``(B,)`` become ``(B, 1)``.

    Raises:
        ConfigurationError: There is no such tensor, or it has more than two dimensions.
    """
    reason, found = unreadable(outputs), _located(outputs)
    if reason:
        task = "choose a position or to average over positions" if is_floating(found) else "pick them"
        raise ConfigurationError(
            f"{reason}. Pass predict=, a function (module, batch) -> (batch, outputs) tensor, to {task}."
        )
    plain: Tensor = plain_tensors(found)
    return plain if plain.dim() == 2 else plain.unsqueeze(1)


def unreadable(outputs: Any) -> str:
    """Return why what a model returned holds no scores; empty if it does."""
    found, heads = _located(outputs), returned_heads(outputs)
    if heads:
        return f"the model returned {describe_outputs(outputs)}: {' and '.join(heads)} are heads of their own"
    if not is_floating(found):
        return (
            f"the model returned {describe_outputs(outputs)}; allowed are floating-point scores (batch, outputs), "
            'an object with .logits, a mapping with "logits", or a tuple that starts with the scores'
        )
    if found.dim() > 2:
        return (
            f"the model returned scores of shape {tuple(found.shape)}; allowed is one row of scores per example, "
            "(batch, outputs)"
        )
    return ""


def _located(outputs: Any) -> Any:
    return locate_scores(outputs)[1]


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

    @property
    def is_feature(self) -> bool:
        """Whether the output's name is that of a feature."""
        return not FEATURE_NAMES.isdisjoint(self.keys)

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
        """Describe what a model returned, which holds scores."""
        taken, found = locate_scores(outputs)
        return cls(taken, tuple(found.shape), tuple(other_outputs(outputs, len(found))))

    @property
    def rows(self) -> list[Output]:
        """The other outputs that hold one number or one row per example."""
        return by_likelihood(self.others)

    @property
    def guessed(self) -> bool:
        """Whether the scores were chosen among several outputs only because of their position."""
        return self.taken[1:2].isdigit() and bool(self.others)

    @property
    def told(self) -> bool:
        """Whether the log names the output that is read: there are several, and this one is not called logits."""
        return self.guessed or (bool(self.others) and not self.taken.endswith((".logits", '["logits"]')))

    @property
    def chosen(self) -> str:
        """The scores' place and shape, for messages: ``[0] (16, 3)``."""
        return f"{self.taken} {self.shape}".lstrip()

    @property
    def rest(self) -> str:
        """The other outputs' places and shapes, for messages."""
        return _listed(self.others)


def by_likelihood(outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs of one number or one row per example; outputs named as features come last."""
    rows = [output for output in outputs if len(output.shape) <= 2]
    return sorted(rows, key=lambda output: output.is_feature)


NO_OUTPUTS = ModelOutputs()
"""The outputs of a call that was not tried yet."""


def other_outputs(outputs: Any, size: int) -> list[Output]:
    """Return the floating-point tensors, but the scores, with one entry for each of ``size`` examples."""
    taken = _located(outputs)
    return [output for output in row_outputs(outputs, size) if tree.get(outputs, output.keys) is not taken]


def row_outputs(outputs: Any, size: int | None = None) -> list[Output]:
    """Return the floating-point tensors with one entry for each of ``size`` examples, or of any number."""
    return [
        Output(tree.code(outputs, keys), keys, tuple(node.shape))
        for keys, node in tree.nodes(outputs)
        if isinstance(node, Tensor) and is_floating(node) and size in (None, len(node))
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
    code, found = named_scores(outputs)
    if code:
        return code, found
    if isinstance(outputs, tuple | list) and outputs:
        place = _place(outputs)
        way, found = locate_scores(outputs[place])
        return f"[{place}]{way}", found
    return "", outputs


def _place(outputs: Sequence[Any]) -> int:
    """Return the index of the scores in a tuple: 0 or, after a loss, the index of the only entry that can be scores."""
    if not is_loss(outputs[0]):
        return 0
    possible = [place for place, entry in enumerate(outputs) if _can_be_scores(_located(entry))]
    return possible[0] if len(possible) == 1 else 0


def is_loss(output: Any) -> bool:
    """Return whether an output can be a loss: one number, or None where no labels were given."""
    return output is None or isinstance(output, float) or (isinstance(output, Tensor) and output.dim() == 0)


def _can_be_scores(found: Any) -> bool:
    return is_floating(found) and found.dim() <= 2


def require_a_row_each(outputs: Tensor, examples: int) -> None:
    """Check that a model returned one row of one score or more per example.

    Raises:
        ConfigurationError: It did not.
    """
    if len(outputs) != examples:
        raise ConfigurationError(
            f"the model returned {len(outputs)} rows of scores for {examples} examples; allowed is one row per "
            "example. Pass predict=, a function (module, batch) -> (batch, outputs) tensor, that returns such rows."
        )
    if 0 in outputs.shape[1:]:
        raise ConfigurationError(
            f"the model returned {tuple(outputs.shape)}, rows without a score; allowed is one score or more per "
            "example. Pass predict=, a function (module, batch) -> (batch, outputs) tensor, that returns such rows."
        )
