"""The message where no call of the model returns scores: what came, what is allowed, and a line to paste."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from mviz_lightning.batch.discovery import describe_leaves
from mviz_lightning.engine.argument import Argument
from mviz_lightning.engine.call_trial import CallTrial, FailedCall
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.model_outputs import by_likelihood, describe_outputs, locate_scores, other_outputs
from mviz_lightning.engine.output_names import is_floating, returned_heads
from mviz_lightning.engine.positions import Shape
from mviz_lightning.engine.rebuilt_rows import moving_positions
from mviz_lightning.engine.submodule_calls import has_forward

TEMPLATE, NO_FORWARD = "Put the call of your validation_step", "Add a method forward(self, batch)"
"""Beginnings of advice that names only the kind of call that is needed, without a line that works as it is."""

RESIZED = {4: "bilinear", 5: "trilinear"}
"""Number of axes of the scores -> mode of interpolation to the resolution of the labels."""


def is_template(message: str) -> bool:
    """Return whether a message of :func:`failure_message` shows no line that works when pasted."""
    return TEMPLATE in message or NO_FORWARD in message


def failure_message(trial: CallTrial, failures: Sequence[FailedCall], children: Sequence[ModelCall]) -> str:
    """Return the message: what is wrong, and what to write.

    Args:
        trial: The model and the examples.
        failures: The calls that were tried.
        children: Calls of submodules that return scores.
    """
    about_outputs = (_message_of_outputs(trial, failure) for failure in failures if failure.outputs is not None)
    message = next(filter(None, about_outputs), "")
    if message:
        return message
    if unwritten(trial.module, failures) and all(failure.called_forward for failure in failures):
        return _advice_without_forward(trial.module, children)
    headless = not has_forward(trial.module)
    advice = _advice_without_forward(trial.module, children) if headless else _call_advice(trial, failures)
    tried = "".join(f"\n  {failure}" for failure in failures)
    return (
        f"no call of {type(trial.module).__name__} returned scores. Tried:{tried}\n"
        f"on a batch with the leaves {describe_leaves(trial.batch)}. {advice}"
    )


def unwritten(module: nn.Module, failures: Sequence[FailedCall]) -> bool:
    """Return whether the user wrote no ``forward``, or every call of it raised ``NotImplementedError``."""
    return not has_forward(module) or (bool(failures) and all(failure.unwritten for failure in failures))


def _message_of_outputs(trial: CallTrial, failure: FailedCall) -> str:
    """Return the message about what a call returned; empty if nothing in the outputs can be proposed."""
    heads = returned_heads(failure.outputs)
    if heads:
        return f"{failure.reason}. Only one head can be explained at a time. {failure.call.remedy(heads[0])}"
    return trial.features(failure.call, failure.outputs) or _misplaced(trial, failure) or _of_positions(trial, failure)


def _misplaced(trial: CallTrial, failure: FailedCall) -> str:
    """Return the message about scores that are not in the expected place, but beside a loss for example."""
    size = trial.schema.size(trial.schema.leaves(trial.batch))
    others = by_likelihood(other_outputs(failure.outputs, size))
    if not others:
        return ""
    place, _ = locate_scores(failure.outputs)
    wrong = f"{place} is not one row of scores per example" if place else 'It has no entry "logits"'
    choice = f"If {others[0].code} is not the scores, write another place. " if len(others) > 1 else ""
    advice = failure.call.remedy(others[0].code)
    return f"the model returned {describe_outputs(failure.outputs)}. {wrong}. {choice}{advice}"


def _of_positions(trial: CallTrial, failure: FailedCall) -> str:
    """Return the message about outputs with scores at each position of an example, of a text or a picture."""
    place, found = locate_scores(failure.outputs)
    if not is_floating(found):
        return ""
    moving = moving_positions(trial.schema.interleaving)
    if moving:
        return f"{failure.reason}: {moving}"
    labels = _labels_of_positions(trial, failure, place, tuple(found.shape))
    if labels:
        return f"{failure.reason}, or one for each label of an example. {labels}"
    if found.dim() > 3:
        return f"{failure.reason}. To average over the positions, {failure.call.advice(f'{place}.flatten(2).mean(2)')}."
    return (
        f"{failure.reason}. To average over the positions, write .mean(1) in place of [:, -1]. To read the last one, "
        f"{failure.call.advice(f'{place}[:, -1]')}."
    )


def _labels_of_positions(trial: CallTrial, failure: FailedCall, place: str, shape: Shape) -> str:
    """Return advice on the leaf with the positions' labels: its path, or how to resize the scores to its shape."""
    leaves = trial.schema.leaves(trial.batch)
    shapes = {path: tuple(leaves[path].shape) for path in trial.schema.unowned if isinstance(leaves[path], Tensor)}
    fitting = [path for path, labels in shapes.items() if replace(trial.labels, labels=labels).axes(shape) is not None]
    if fitting and trial.labels.labels is None:
        return f"To measure each position, pass target={fitting[0]!r}, the path of their labels."
    other = [path for path, labels in shapes.items() if len(labels) == len(shape) - 1 and len(shape) in RESIZED]
    path = next((path for path in other if path == trial.schema.target), next(iter(other), None))
    if path is None:
        return ""
    size = f"{trial.schema.code(trial.schema.keys[path])}.shape[1:]"
    scores = f'torch.nn.functional.interpolate(outputs{place}, size={size}, mode="{RESIZED[len(shape)]}")'
    advice = failure.call.computing(scores)
    return f"The labels {path!r} have shape {shapes[path]}: to give each a score, {advice}, and target={path!r}."


def _call_advice(trial: CallTrial, failures: Sequence[FailedCall]) -> str:
    """Return what to write if no call returns scores: a call that works, in place of the user's; else a template."""
    own = all(failure.call.arguments is None for failure in failures)
    working = [call for call in candidate_calls(trial.module, trial.schema) if own and trial.works(call)]
    if working:
        return f"A call that works is {working[0].description}: leave predict= out, or {working[0].advice()}."
    return (
        f"{TEMPLATE}, which returns a (batch, outputs) tensor of logits or values, in place of the one in this line, "
        f"and pass predict=lambda module, batch: module({_arguments(trial, failures)})."
    )


def _arguments(trial: CallTrial, failures: Sequence[FailedCall]) -> str:
    """Return arguments to propose: those of a call that returned, else those that fit ``forward``, else modalities."""
    schema = trial.schema
    returned = [failure.call for failure in failures if failure.outputs is not None]
    written = [call.arguments for call in [*returned, *candidate_calls(trial.module, schema)] if call.arguments]
    values = (Argument.of_leaf(schema, paths[0]).code(schema) for paths in schema.values.values())
    return written[0] if written else ", ".join(values)


def _advice_without_forward(module: nn.Module, children: Sequence[ModelCall]) -> str:
    """Propose the call of a submodule that returns scores; if none does, name the submodules.

    The call returns everything that the submodule returns. Once it is tried, a message names the output that is read.
    """
    names = ", ".join(name for name, _ in module.named_children())
    missing = f"{type(module).__name__} has no forward; its submodules are: {names or 'none'}."
    if children:
        called = children[0].description.partition(".")[0]
        return f"{missing} To call {called}, {children[0].advice()}."
    return (
        f"{missing} {NO_FORWARD} to it, or pass predict=, a function that takes (module, batch), "
        "makes the calls of your validation_step and returns a (batch, outputs) tensor."
    )
