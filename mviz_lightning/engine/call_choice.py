"""Find out how the user's model is called, without the user's code where that is possible."""

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from mviz_lightning.batch.schema import BatchSchema
from mviz_lightning.engine.call_advice import failure_message, is_template, unwritten
from mviz_lightning.engine.call_trial import CallTrial, FailedCall
from mviz_lightning.engine.forward_arguments import candidate_calls, label_paths
from mviz_lightning.engine.model_call import ModelCall, Predict
from mviz_lightning.engine.positions import NO_LABELS, LabelShapes
from mviz_lightning.engine.submodule_calls import child_calls
from mviz_lightning.errors import ConfigurationError, NotMeasurableError, warn_user


def choose_call(
    module: nn.Module,
    schema: BatchSchema,
    batch: Any,
    predict: Predict | None,
    called: Container[str] | None = None,
    picked: Callable[[Predict], Predict] | None = None,
    labels: LabelShapes = NO_LABELS,
) -> ModelCall:
    """Return the first call for which the model returns scores.

    Scores that change with the labels are accepted only if no other call works and the model gets the whole batch. If
    ``forward`` is not written and only one child returns scores, that child is called.

    Args:
        module: The model.
        schema: Where the modalities are in the batch.
        batch: A few examples.
        predict: The user's own call; the only one that is tried if it is given.
        called: Names of the submodules that may replace the model, judging by the user's own step; None where they are
            not known.
        picked: Turns a call into one that returns a single head; None where the model has one head.
        labels: Shapes of labels, images and masks; they decide whether outputs have positions.

    Raises:
        ConfigurationError: No call works; the message contains what to write.
    """
    trial = CallTrial(module, schema, batch, labels)
    own = predict is not None
    calls = candidate_calls(module, schema) if predict is None else [ModelCall("predict(module, batch)", predict)]
    if picked is not None:
        calls = [replace(call, predict=picked(call.predict)) for call in calls]
    found, failures = _first(trial, calls, own=own)
    children: list[ModelCall] = []
    if found is None and unwritten(module, failures):
        children = list(child_calls(module, schema, trial.works, called))
        found = _only(trial, children) if predict is None else None
    if found is None:
        text = failure_message(trial, failures, children)
        # The user can correct a call of their own. Otherwise the message may name only the kind of call that is needed.
        raise (NotMeasurableError if predict is None and is_template(text) else ConfigurationError)(text)
    message = trial.features(found) if found.outputs.guessed else ""
    if message:
        raise ConfigurationError(message)
    _warn_of_order(found)
    return found


def _first(
    trial: CallTrial, calls: Sequence[ModelCall], *, own: bool = False
) -> tuple[ModelCall | None, list[FailedCall]]:
    """Return the first call that works, if one does, and the calls that do not."""
    failures, reading = [], []
    for call in calls:
        found = trial.attempt(call)
        if isinstance(found, FailedCall):
            failures.append(found)
        elif own or not trial.reads_labels(found):
            return found, failures
        else:
            reading.append(found)
    whole = [call for call in reading if call.whole]
    labels = " and ".join(map(repr, label_paths(trial.schema)))
    failures += [FailedCall(call, f"the scores change with {labels}, the labels") for call in reading]
    return next(iter(whole), None), failures


def _only(trial: CallTrial, children: Sequence[ModelCall]) -> ModelCall | None:
    """Return the call of the only child that returns scores, with a line for the log; None if there are several."""
    if len(children) != 1:
        return None
    (call,) = children
    return replace(
        call, remark=f"{type(trial.module).__name__} has no forward; its submodule is called: {call.description}"
    )


def _warn_of_order(call: ModelCall) -> None:
    """Warn if the leaves of a mapping are matched by order: parameters may get the wrong leaves."""
    if call.by_order and any(isinstance(key, str) for argument in call.passed for key in argument.keys[:1]):
        warn_user(
            "the parameters of forward have other names than the modalities and the leaves of the batch, so leaves "
            f"are passed in the order in which modalities were declared: {call.description}. "
            f"If this order is wrong, give the arguments in your model's order: {call.advice()}."
        )
