"""The checks of the dry run, which tries the model on a few examples before anything is measured.

The checks run in this order: rebuilt rows, row independence, modalities that do not change the scores, stray leaves,
masked segments. ``usable`` checks outputs in the dry run and later.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch import Segmentation
from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.output_dependence import modalities_without_effect
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.rebuilt_rows import check_rebuilt_rows
from mviz_lightning.engine.reuse_report import reused, try_reuse
from mviz_lightning.engine.row_independence import TRIAL_EXAMPLES, check_independence, trial_rows
from mviz_lightning.engine.stray_leaves import warn_of_stray_leaves
from mviz_lightning.errors import ConfigurationError, describe_error, raised_here, warn_user

__all__ = [
    "check_independence",
    "check_rows",
    "reused",
    "try_reuse",
    "try_segments",
    "usable",
    "warn_of_outputs",
    "warn_of_stray_leaves",
]


def check_rows(evaluator: Evaluator, probe: Probe, draws: int = 1) -> Tensor:
    """Check that rebuilt rows fit their items, and that rows are independent: :func:`check_independence`."""
    check_rebuilt_rows(evaluator, probe)
    return check_independence(evaluator, probe, draws)


def warn_of_outputs(
    evaluator: Evaluator, probe: Probe, call: ModelCall, named: set[str] | None = None, *, trained: bool = False
) -> str:
    """Warn of modalities that do not change the scores.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        call: The call of the model, with what it returned.
        named: Modalities and leaves that earlier warnings named; they are left out here, and newly named ones are
            added.
        trained: Whether the model is trained.

    Returns:
        A line for the log that names the output that is read as the scores. It is empty if there is one output only, if
        the output is called logits, or if the warning names it.
    """
    returned, rows, told = call.outputs, trial_rows(probe), set() if named is None else named
    facts = modalities_without_effect(evaluator, probe, rows, guessed=returned.guessed, trained=trained)
    unused = {name: fact for name, fact in facts.items() if f"modality {name}" not in told}
    taken = [f"{returned.chosen} of what the model returns is read as the scores, and not {returned.rest}."]
    said = taken if returned.others else []
    if unused:
        told.update(f"modality {name}" for name in unused)
        advice = _output_advice(call, _better_output(evaluator, probe, rows, call))
        warn_user(" ".join([_sentence(unused, len(rows)), *said, advice]))
        return ""
    return " ".join([*said, _output_advice(call, returned.taken)]) if returned.told else ""


def _sentence(facts: Mapping[str, str], count: int) -> str:
    """Return facts in words: each fact once, with the names of its modalities and the number of examples."""
    names = {fact: [repr(name) for name, found in facts.items() if found == fact] for fact in facts.values()}
    return "; ".join(fact.format(" or ".join(found), count) for fact, found in names.items()) + "."


def _output_advice(call: ModelCall, output: str) -> str:
    """Return advice on how to make this output the scores."""
    if call.observed:
        return "Your step computes these scores, so the model does not use this input, or does not use it yet."
    if output:
        return f"To choose an output yourself, {call.advice(output)}."
    return (
        f"The model is called as {call.description} and returns no other scores. If your validation_step calls it "
        f"differently, replace this call by yours: {call.advice()}."
    )


def _better_output(evaluator: Evaluator, probe: Probe, rows: Tensor, call: ModelCall) -> str:
    """Return the code of the first other output that all modalities change; else that of the first other output."""
    flat = call.outputs.rows
    for output in flat:
        picked = replace(evaluator, predict=output.of(call.predict))
        if not evaluator.sharded and not modalities_without_effect(picked, probe, rows, guessed=True):
            return output.code
    return flat[0].code if flat else ""


def try_segments(evaluator: Evaluator, probe: Probe, segments: Mapping[str, Segmentation]) -> None:
    """Try the model with all segments of one modality masked, one modality after another.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        segments: Modality -> its segments.

    Raises:
        ConfigurationError: The model fails. Running out of memory and errors of this package are raised as they are.
    """
    rows = Query.aligned(torch.arange(min(TRIAL_EXAMPLES, probe.size)), len(probe.schema.names))
    masked = replace(probe, segments=segments)
    for name, found in segments.items():
        most = max(found.count(example) for example in range(len(rows)))
        try:
            evaluator.plain(masked, replace(rows, masks={name: torch.zeros(len(rows), most, dtype=torch.bool)}))
        except Exception as error:
            if raised_here(error) or ran_out(error):
                raise
            raise ConfigurationError(
                f"the model fails if all segments of {name!r} are masked ({describe_error(error)}). Pass the value of "
                f"masked segments: Modality({probe.schema.modalities[name].values!r}, baseline=...)."
            ) from error


MODEL_OUTPUTS = "the model's outputs"
"""Name of the scores in errors."""

NOT_FINITE = "are NaN or infinite; look at the loss, the learning rate and the precision"


def usable(outputs: Tensor, what: str = MODEL_OUTPUTS) -> Tensor:
    """Check that outputs are finite, and return them on a device that supports float64.

    Args:
        outputs: ``(R, ...)`` outputs of the model, or its derivatives.
        what: Their name in the error.

    Raises:
        RuntimeError: Some are NaN or infinite.
    """
    broken = outputs[~outputs.isfinite().flatten(1).all(1)]
    if len(broken):
        raise RuntimeError(f"{len(broken)} of {len(outputs)} rows of {what} {NOT_FINITE}.")
    return outputs.cpu() if outputs.device.type == "mps" else outputs
