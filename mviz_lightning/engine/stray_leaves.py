"""Stray leaves: leaves of the batch that belong to no modality and yet change the outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from mviz_lightning.batch.modality_code import modalities_code
from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.leaf_swaps import leaf_matters
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.output_dependence import interacting_modalities, trace_forward
from mviz_lightning.engine.row_independence import evaluate_as_computed, trial_rows
from mviz_lightning.engine.stray_evidence import described_modality
from mviz_lightning.errors import warn_user


def warn_of_stray_leaves(
    evaluator: Evaluator, probe: Probe, outputs: Tensor, call: ModelCall, named: set[str] | None = None
) -> None:
    """Warn if leaves that belong to no modality change the outputs when they are swapped among examples.

    If the labels change them, the outputs may be the loss: the warning then proposes another output, and no modality.

    Args:
        evaluator: Runs the model.
        probe: Some examples.
        outputs: ``(R, C)`` outputs of :func:`trial_rows`, not recombined.
        call: The call of the model, with what it returned.
        named: Modalities and leaves that earlier warnings named; they are left out here, and newly named ones are
            added.
    """
    told = set() if named is None else named
    found = [path for path in probe.schema.unowned if leaf_matters(evaluator, probe, path, outputs)]
    found = [path for path in found if f"leaf {path}" not in told]
    told.update(f"leaf {path}" for path in found)
    strays = [path for path in found if path not in probe.schema.labels]
    if len(strays) < len(found):
        warn_user(_target_message(evaluator, probe, call))
    if strays:
        warn_user(_stray_message(evaluator, probe, strays))


def _target_message(evaluator: Evaluator, probe: Probe, call: ModelCall) -> str:
    """Return the warning about scores that depend on the labels, with the output to read instead, if there is one."""
    output = _output_without(evaluator, probe, call, str(probe.schema.target))
    advice = call.remedy(output) if output else "Return the scores from predict=, a function (module, batch) -> scores."
    return (
        f"the scores depend on the label ({probe.schema.target!r}, the target=): what is read as the scores may be the "
        f"loss. {advice}"
    )


def _output_without(evaluator: Evaluator, probe: Probe, call: ModelCall, path: str) -> str:
    """Return the code of the first other output, one row per example, that a leaf does not change; else ``""``."""
    for output in call.outputs.rows:
        picked = replace(evaluator, predict=output.of(call.predict))
        # Where weights are sharded, all processes must run equally many forwards: the first output is taken without a
        # trial.
        if evaluator.sharded or not leaf_matters(
            picked, probe, path, evaluate_as_computed(picked, probe, trial_rows(probe))
        ):
            return output.code
    return ""


def _stray_message(evaluator: Evaluator, probe: Probe, strays: Sequence[str]) -> str:
    """Return the warning, with the ``modalities=`` in which every stray leaf belongs to the modality it acts with."""
    schema, found = probe.schema, trace_forward(evaluator, probe)
    written = {schema.written(path): path for path in strays}
    partners = {name: interacting_modalities(found, schema, path) for name, path in written.items()}
    told = {name: described_modality(probe, written[name], names) for name, names in partners.items()}
    described = {path: found for path, found in told.items() if found is not None and [found[0]] != partners[path]}
    traced = {path: names[0] for path, names in partners.items() if len(names) == 1 and path not in described}
    clear = traced | {path: name for path, (name, _) in described.items()}
    unclear = {path: names for path, names in partners.items() if path not in clear}
    choices = list(dict.fromkeys(name for names in unclear.values() for name in names)) or [""]
    lines = [modalities_code(schema.modalities, _given(clear | dict.fromkeys(unclear, choice))) for choice in choices]
    shown = [f"{path!r} acts with {name!r}" for path, name in traced.items()]
    seen = [fact for _, fact in described.values()]
    hidden = [f"{path!r} acts with {' or '.join(map(repr, names))}" for path, names in unclear.items()]
    facts = [f"A traced forward shows that {', '.join(shown)}."] if shown else []
    keeps = " Replace every ... by the value that you pass now." if any("=..." in line for line in lines) else ""
    facts += [f"In the batch, {', '.join(seen)}."] if seen else []
    facts += [f"A traced forward does not show whether {', '.join(hidden)}."] if hidden else []
    verbs = ("belongs", "travels") if len(strays) == 1 else ("belong", "travel")
    return (
        f"the outputs depend on {', '.join(map(repr, written))}, which {verbs[0]} to no modality and {verbs[1]} with "
        f"{schema.names[0]!r}. {' '.join(facts)} Pass {', or '.join(lines)}.{keeps}"
    )


def _given(owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Return modality -> the paths that it gets in addition."""
    return {name: [path for path, owner in owners.items() if owner == name] for name in owners.values()}
