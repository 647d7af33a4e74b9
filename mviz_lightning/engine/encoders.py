"""Find the submodules that serve one modality alone: every use of their parameters depends on this modality only."""

from torch import nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.dependency_tags import Tags
from mviz_lightning.engine.dependency_trace import Trace
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.reuse_plan import TRACED_ROWS, modality_masks, trace_followed


def find_encoders(evaluator: Evaluator, probe: Probe) -> dict[str, list[str]]:
    """Trace a forward of a few rows, and return the largest submodules that serve one modality alone.

    Unlike the modules of a reuse plan, they need not be replayable. A parameter that is used in several places (tied
    weights) counts for all of them. A submodule that is not called itself counts with its parent.

    Args:
        evaluator: Runs the model.
        probe: At least 6 examples. With fewer, or if processes share the weights, nothing is found.

    Returns:
        Modality -> names of submodules, for modalities that have some.
    """
    if probe.size < max(TRACED_ROWS) or evaluator.sharded:
        return {}
    with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
        trace, _ = trace_followed(evaluator.module, evaluator.predict, probe, evaluator.device)
    masks = modality_masks(probe)
    tags = _tags_by_parameter(evaluator.module, trace)
    found = {}
    for name, mask in zip(probe.schema.names, masks, strict=True):
        own = {one for one, seen in tags.items() if seen and not seen & ~mask}
        if modules := _largest(evaluator.module, own):
            found[name] = modules
    return found


def _tags_by_parameter(module: nn.Module, trace: Trace) -> dict[nn.Parameter, Tags]:
    """Return, for each parameter, what the calls that use it depend on."""
    by_module: dict[str, Tags] = {"": trace.outputs}
    for (name, _), frame in trace.frames.items():
        by_module[name] = by_module.get(name, 0) | frame.inputs | frame.seen | frame.tags
    tags: dict[nn.Parameter, Tags] = {}
    for name, child in module.named_modules():  # parents come first
        by_module[name] = by_module.get(name) or by_module[name.rpartition(".")[0]]
        for parameter in child.parameters(recurse=False):
            tags[parameter] = tags.get(parameter, 0) | by_module[name]
    return tags


def _largest(module: nn.Module, own: set[nn.Parameter], name: str = "") -> list[str]:
    """Return the names of the largest submodules whose parameters are all in ``own``."""
    held = list(module.parameters())
    if name and held and own.issuperset(held):
        return [name]
    below = ((f"{name}.{part}" if name else part, child) for part, child in module.named_children())
    return [found for part, child in below for found in _largest(child, own, part)]
