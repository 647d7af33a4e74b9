"""Stray leaves: leaves of the batch that belong to no modality and yet change the outputs."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mviz_lightning.batch.modality import modalities_code
from mviz_lightning.batch.probe import Probe
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.output_dependence import interacting_modalities, trace_forward
from mviz_lightning.engine.row_independence import TRIAL_EXAMPLES, evaluate_aligned, live_columns, outputs_agree
from mviz_lightning.errors import MonitorWarning


def warn_of_stray_leaves(evaluator: Evaluator, probe: Probe, outputs: Tensor) -> None:
    """Warn if leaves that belong to no modality change the outputs when they are swapped among examples.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        outputs: ``(R, C)`` outputs of its first rows, not recombined.
    """
    if not bool(live_columns(outputs)[0].isfinite().all()):
        return
    rows = torch.arange(min(TRIAL_EXAMPLES, probe.size))
    strays = [
        path
        for path in probe.schema.unowned
        if not outputs_agree(outputs[: len(rows)], evaluate_aligned(evaluator, _with_swapped(probe, path), rows))
    ]
    if strays:
        warnings.warn(_stray_message(evaluator, probe, strays), MonitorWarning, stacklevel=2)


def _stray_message(evaluator: Evaluator, probe: Probe, strays: Sequence[str]) -> str:
    """Return the warning, with the ``modalities=`` in which every stray leaf travels with the modality it acts with."""
    schema, found = probe.schema, trace_forward(evaluator, probe)
    partners = {path: interacting_modalities(found, schema, path) for path in strays}
    clear = {path: names[0] for path, names in partners.items() if len(names) == 1}
    unclear = {path: names for path, names in partners.items() if len(names) > 1}
    choices = list(dict.fromkeys(name for names in unclear.values() for name in names)) or [""]
    lines = [modalities_code(schema.modalities, _given(clear | dict.fromkeys(unclear, choice))) for choice in choices]
    shown = [f"{path!r} acts with {name!r}" for path, name in clear.items()]
    hidden = [f"{path!r} acts with {' or '.join(map(repr, names))}" for path, names in unclear.items()]
    facts = [f"A traced forward shows that {', '.join(shown)}."] if shown else []
    keeps = " Replace every ... by the value that you pass now." if any("=..." in line for line in lines) else ""
    facts += [f"A traced forward does not show whether {', '.join(hidden)}."] if hidden else []
    return (
        f"the outputs depend on {', '.join(map(repr, strays))}, which belongs to no modality and travels with "
        f"{schema.names[0]!r}. {' '.join(facts)} Pass {', or '.join(lines)}.{keeps}"
    )


def _given(owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Return modality -> the further paths that it gets."""
    return {name: [path for path, owner in owners.items() if owner == name] for name in owners.values()}


def _with_swapped(probe: Probe, path: str) -> Probe:
    rolled = torch.arange(probe.size).roll(1)
    return Probe(probe.schema, {**probe.leaves, path: take_examples(probe.leaves[path], rolled)}, probe.groups)
