"""Whether rows can be recombined at all: tried on a few examples before anything is believed."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mviz_lightning.batch import Maskable
from mviz_lightning.batch import leaves as leaf_kinds
from mviz_lightning.batch.modality import spelled
from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.calling import Call
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.reach import acting_with, follow, unreached
from mviz_lightning.engine.reuse import SIZES
from mviz_lightning.errors import ConfigurationError, MonitorWarning, describe_error
from mviz_lightning.functional import masked_classes

ROWS = 16
"""Rows that are tried."""

NAMED = 6
"""Modules that are named at the most."""

MANY = 4096
"""Outputs of a row from which on they take more memory than is cheap."""


def check_independence(evaluator: Evaluator, probe: Probe) -> Tensor:
    """Check that a row's outputs depend on that row alone.

    The same rows are evaluated again, in reverse, without half of them, and behind another forward.

    Returns:
        ``(R, C)`` outputs of the probe's first rows.

    Raises:
        ConfigurationError: They depend on the other rows, on chance, or on forwards before.
    """
    count = min(ROWS, probe.size)
    # With a single example at hand its copies must do.
    rows = torch.arange(max(count, 4)) % count
    half = (len(rows) + 1) // 2
    # In one chunk: smaller ones could hold the same rows in every order.
    evaluator = replace(evaluator, chunk_size=len(rows))
    outputs, reverse, part = (_evaluate(evaluator, probe, order) for order in (rows, rows.flip(0), rows[:half]))
    twice = _evaluate(replace(evaluator, seed=evaluator.seed + 1), probe, torch.cat([rows, rows.flip(0)]))
    again, behind = twice.tensor_split(2)
    if part.shape[1] != outputs.shape[1]:
        raise ConfigurationError(
            f"outputs are {tuple(outputs.shape)} for {len(rows)} examples and {tuple(part.shape)} for {half}: "
            "the model compares every example of the batch with every other. Recombination needs one row of scores "
            "for each example; say predict= to return the scores of the aligned pairs, outputs.diagonal()[:, None]."
        )
    _compare(outputs, again, "evaluated again", "something is sampled in evaluation mode")
    _compare(outputs, reverse.flip(0), "in reverse order", _MIXES)
    _compare(outputs[:half], part, f"without {len(rows) - half} of the others", _MIXES)
    _compare(outputs, behind.flip(0), "behind another forward", "the model keeps something of one forward for the next")
    return outputs


_MIXES = (
    "examples of a batch influence one another (BatchNorm that uses batch statistics in evaluation mode, contrastive "
    "scores, attention over the batch, a table in the batch that happens to have as many rows as the batch)"
)


def warn_of_stray_leaves(evaluator: Evaluator, probe: Probe, outputs: Tensor) -> None:
    """Warn, once, of leaves in no modality that change the outputs when they are swapped.

    Args:
        evaluator: Asks the model.
        probe: Some examples.
        outputs: ``(R, C)`` of its first rows, as they are.
    """
    if not bool(_live(outputs)[0].isfinite().all()):
        return
    rows = torch.arange(min(ROWS, probe.size))
    strays = [
        path
        for path in probe.layout.unowned
        if not _close(outputs[: len(rows)], _evaluate(evaluator, _with_swapped(probe, path), rows))
    ]
    if strays:
        warnings.warn(_stray(evaluator, probe, strays), MonitorWarning, stacklevel=2)


def _stray(evaluator: Evaluator, probe: Probe, strays: Sequence[str]) -> str:
    """Return the warning: what to write so that every stray travels with the modality that it acts with."""
    layout, found = probe.layout, follow(evaluator, probe)
    partners = {path: acting_with(found, layout, path) for path in strays}
    clear = {path: names[0] for path, names in partners.items() if len(names) == 1}
    unclear = {path: names for path, names in partners.items() if len(names) > 1}
    choices = list(dict.fromkeys(name for names in unclear.values() for name in names)) or [""]
    lines = [spelled(layout.modalities, _given(clear | dict.fromkeys(unclear, choice))) for choice in choices]
    shown = [f"{path!r} acts with {name!r}" for path, name in clear.items()]
    hidden = [f"{path!r} acts with {' or '.join(map(repr, names))}" for path, names in unclear.items()]
    facts = [f"A traced forward shows that {', '.join(shown)}."] if shown else []
    keeps = " Where it says ..., write what you pass now." if any("=..." in line for line in lines) else ""
    facts += [f"A traced forward does not show whether {', '.join(hidden)}."] if hidden else []
    return (
        f"the outputs depend on {', '.join(map(repr, strays))}, which belongs to no modality and travels with "
        f"{layout.names[0]!r}. {' '.join(facts)} Say {', or '.join(lines)}.{keeps}"
    )


def _given(owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the paths that every modality gets."""
    return {name: [path for path, owner in owners.items() if owner == name] for name in owners.values()}


def warn_of_outputs(evaluator: Evaluator, probe: Probe, call: Call) -> str:
    """Warn of modalities that do not reach the scores.

    Args:
        evaluator: Asks the model.
        probe: Some examples.
        call: How the model is called, with what it returned.

    Returns:
        A line for the log: which of several outputs is read as the scores; ``""`` where there is nothing to say.
    """
    returned, rows = call.returned, torch.arange(min(ROWS, probe.size))
    unused = unreached(evaluator, probe, rows, guessed=returned.guessed)
    taken = [f"{returned.scores} of what the model returns is read as the scores, and not {returned.rest}."]
    said = taken if returned.others else []
    if unused:
        fact = (
            f"swapping {' or '.join(map(repr, unused))} among {len(rows)} examples changes the scores by nothing, to "
            "the last bit."
        )
        advice = _choice(call, _better(evaluator, probe, rows, call))
        warnings.warn(" ".join([fact, *said, advice]), MonitorWarning, stacklevel=2)
        return ""
    return " ".join([*said, _choice(call, returned.taken)]) if returned.guessed else ""


def _choice(call: Call, output: str) -> str:
    """Return what to write so that this output is read."""
    if output:
        return f"To choose an output yourself, {call.advice(output)}."
    return (
        f"The model is called as {call.description} and returns no other scores; if your validation_step calls it "
        "otherwise, pass that call as predict=."
    )


def _better(evaluator: Evaluator, probe: Probe, rows: Tensor, call: Call) -> str:
    """Return the way to the first other output that all modalities reach, or else to the first other one."""
    flat = [output for output in call.returned.others if len(output.shape) <= 2]
    for output in flat:
        picked = replace(evaluator, predict=output.of(call.predict))
        if not evaluator.sharded and not unreached(picked, probe, rows, guessed=True):
            return output.code
    return flat[0].code if flat else ""


def _with_swapped(probe: Probe, path: str) -> Probe:
    rolled = torch.arange(probe.size).roll(1)
    return Probe(probe.layout, {**probe.leaves, path: leaf_kinds.take(probe.leaves[path], rolled)}, probe.groups)


def _evaluate(evaluator: Evaluator, probe: Probe, rows: Tensor) -> Tensor:
    return evaluator.plain(probe, Query.aligned(rows, len(probe.layout.names)))


def _close(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and _deviation(*_live(left, right)) <= tolerance(left)


def _live(outputs: Tensor, *others: Tensor) -> list[Tensor]:
    """Return the columns of outputs, and of others, that no mask makes so large that nothing else would be seen."""
    live = ~masked_classes(outputs, "multilabel")
    return [columns[:, live] for columns in (outputs, *others)]


def tolerance(outputs: Tensor) -> float:
    """Return by how much the same rows may differ, relative to the largest output: rounding, not influence."""
    return 2e-2 if torch.finfo(outputs.dtype).bits < 32 else 1e-3


def _deviation(left: Tensor, right: Tensor) -> float:
    largest = left.double().abs().max().clamp(min=1e-30)
    return float((left.double() - right.double()).abs().max() / largest)


def _compare(expected: Tensor, found: Tensor, how: str, reason: str) -> None:
    if not bool(_live(expected)[0].isfinite().all()):
        return  # reported where outputs are used: NaN compares with nothing
    if not _close(expected, found):
        raise ConfigurationError(
            f"the same examples gave other outputs when {how} (largest difference "
            f"{_deviation(*_live(expected, found)):.2g} of the largest output): {reason}. "
            "Recombined rows would mean nothing; make the model deterministic and row-wise in evaluation mode, or pass "
            "predict= with a part of it that is."
        )


def try_segments(evaluator: Evaluator, probe: Probe, segments: Mapping[str, Maskable]) -> None:
    """Try the model with all units of one modality masked.

    Raises:
        ConfigurationError: It cannot bear that.
    """
    rows = Query.aligned(torch.arange(min(ROWS, probe.size)), len(probe.layout.names))
    masked = replace(probe, segments=segments)
    for name, found in segments.items():
        most = max(found.count(example) for example in range(len(rows)))
        try:
            evaluator.plain(masked, replace(rows, masks={name: torch.zeros(len(rows), most, dtype=torch.bool)}))
        except Exception as error:
            raise ConfigurationError(
                f"the model fails where all parts of {name!r} are masked ({describe_error(error)}); say what a "
                f"masked part turns into, Modality({probe.layout.modalities[name].values!r}, baseline=...)."
            ) from error


def try_reuse(evaluator: Evaluator, probe: Probe) -> float:
    """Return what is left of a row's work where encodings are reused, once a first grid has shown that they can be.

    Returns:
        A share; 1 where there is no reuse, and where a row has so many outputs that they are what counts.
    """
    everyone = torch.arange(probe.size)
    if probe.size < max(SIZES):
        return 1.0
    pairs = torch.cartesian_prod(everyone, everyone)
    rest = pairs[:, -1:].expand(-1, len(probe.layout.names) - 2)
    outputs = evaluator(probe, [Query(torch.cat([pairs, rest], 1))])[0]
    return evaluator.fusion_share(probe) if outputs.shape[1] <= MANY else 1.0


def reused(evaluator: Evaluator, probe: Probe) -> str:
    """Say in words what is run once for every distinct input of a modality, instead of for every row."""
    if not evaluator.reuse or evaluator.all_pairs is not None:
        return "all of it" if evaluator.reuse else "nothing, as reuse=False asks for"
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        plan = evaluator.plan_for(probe)
    if plan is None:
        return "nothing, since no submodule was seen to depend on one modality alone"
    named, more = plan.modules[:NAMED], len(plan.modules) - NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def usable(outputs: Tensor, what: str = "the model's outputs") -> Tensor:
    """Return ``(R, ...)`` that are all finite, on a device that knows float64.

    Args:
        outputs: Of the model, or its derivatives.
        what: They are.

    Raises:
        RuntimeError: Some are NaN or infinite.
    """
    broken = int((~outputs.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise RuntimeError(
            f"{broken} of {len(outputs)} rows of {what} are NaN or infinite; look at the loss, the "
            "learning rate and the precision."
        )
    return outputs.cpu() if outputs.device.type == "mps" else outputs
