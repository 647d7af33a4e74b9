"""Models that return the features of each modality; the user's step computes the scores from them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.model_outputs import Output, describe_outputs, row_outputs
from mviz_lightning.engine.trial_swaps import changed


def features_message(
    call: ModelCall, schema: BatchSchema, outputs: Any, swapped: Callable[[Sequence[str]], Any]
) -> str:
    """Return the message about outputs that are the features of each modality: what is wrong, and what to write.

    Features are two matrices of the same shape: each changes with one modality alone, and no other output changes with
    both. Single numbers beside them that change with neither modality are the scale and the bias of their similarities.

    Args:
        call: The call of the model.
        schema: Where the modalities are in the batch.
        outputs: What the call returned.
        swapped: Returns the outputs if every example has the leaves at some paths of another example.

    Returns:
        The message; empty if the outputs are anything else.
    """
    rows = [output for output in row_outputs(outputs) if len(output.shape) == 2]
    if len(schema.names) != 2 or len({output.shape for output in rows}) == len(rows):
        return ""
    swaps = [swapped(paths) for paths in ([], *schema.values.values())]
    first, second, both = (
        [output for output in rows if [changed(swaps[0], swap, output.keys) for swap in swaps[1:]] == changes]
        for changes in ([True, False], [False, True], [True, True])
    )
    pairs = [(left, right) for left in first for right in second if left.shape == right.shape]
    fused = [output for output in both if not output.is_feature]
    return _message(call, schema, outputs, pairs[0], _constants(swaps)) if pairs and not fused else ""


def _constants(swaps: Sequence[Any]) -> list[str]:
    """Return the code of up to two numbers that no modality changes: first a scale, then a bias."""
    numbers = [keys for keys, node in tree.nodes(swaps[0]) if isinstance(node, Tensor) and node.dim() == 0]
    still = [keys for keys in numbers if not any(changed(swaps[0], swap, keys) for swap in swaps[1:])]
    return [tree.code(swaps[0], keys) for keys in still][:2]


def _message(
    call: ModelCall, schema: BatchSchema, outputs: Any, pair: tuple[Output, Output], constants: Sequence[str]
) -> str:
    left, right = pair
    scale = "".join(f"outputs{code} * " for code in constants[:1])
    bias = "".join(f" + outputs{code}" for code in constants[1:])
    similarity = call.computing(f"{scale}outputs{left.code} @ outputs{right.code}.T{bias}")
    one, other = schema.names
    return (
        f"the model returned {describe_outputs(outputs)}. {left.code} changes with {one!r} alone and {right.code} with "
        f"{other!r} alone, so neither is the scores. If your validation_step adds them, write + in place of @ and "
        f"leave out .T. If they are features whose similarity is the score, {similarity}."
    )
