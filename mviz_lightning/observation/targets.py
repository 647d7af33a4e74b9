"""The target that the step compares the scores with, for any examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.query import Query
from mviz_lightning.functional.targets import IGNORED
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.provenance import Node
from mviz_lightning.observation.recipe import RecipeWriter, numbers_of
from mviz_lightning.observation.row_picks import row_mask
from mviz_lightning.observation.spelling import Speller
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.ways import ReplayedStep, StepFunction, averaged, name_of_step

ROWS_AT_ONCE = 64
"""Number of examples whose targets are computed at once."""


@dataclass(frozen=True)
class ObservedTarget:
    """Computes the step's own target for examples of a probe.

    Attributes:
        compute: ``(module, batch) -> (B, ...) target``.
        code: The target as code, to be read by people: ``batch["y"] - 1``.
        path: Path of the leaf that it was made from; None where several were, or none is known.
        known: ``(module, batch) -> (B,)`` bool, the examples that the step scores; None if it scores all.
    """

    compute: Callable[[nn.Module, Any], Tensor]
    code: str
    path: str | None = None
    known: Callable[[nn.Module, Any], Tensor] | None = None

    def of(self, module: nn.Module, probe: Probe, form: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return ``(N, ...)`` targets of a probe's examples, on the CPU; NaN or -100 for ones that the step leaves out.

        Args:
            module: The user's model.
            probe: The examples.
            form: Turns some targets into the form that is kept; by default they stay as they are.
        """
        kept = form or (lambda found: found)
        rows = torch.arange(probe.size)
        starts = range(0, probe.size, ROWS_AT_ONCE)
        return torch.cat([kept(self._rows(module, probe, rows[start : start + ROWS_AT_ONCE])) for start in starts])

    def _rows(self, module: nn.Module, probe: Probe, rows: Tensor) -> Tensor:
        aligned = Query.aligned(rows, len(probe.schema.names))

        def batch() -> Any:
            return probe.batch(aligned.sources, {}, device_of(module))

        target = self.compute(module, batch()).detach().cpu()
        if self.known is None:
            return target
        known = self.known(module, batch()).detach().cpu()
        if known.dtype != torch.bool:  # indices of the rows that are scored
            known = torch.zeros(len(target), dtype=torch.bool).index_fill(0, known.flatten(), value=True)
        known = known if known.dim() <= target.dim() else known.flatten()
        shape = (*known.shape, *[1] * (target.dim() - known.dim()))
        missing = torch.nan if target.is_floating_point() else IGNORED  # for real numbers, -100 is a value
        return torch.where(known.reshape(shape), target, torch.tensor(missing, dtype=target.dtype))


def target_of(head: ObservedHead, record: StepRecord, module: nn.Module, step: StepFunction) -> ObservedTarget:
    """Return how the step's target is computed: from leaves, or by a replay where it was made outside PyTorch.

    Args:
        head: The head whose target it is.
        record: What the step showed.
        module: The user's model.
        step: The step.
    """
    writer = RecipeWriter(record, numbers_of(module), learned=False)
    recipe = next(writer.recipes(head.label), None)
    mask = row_mask(head.event.target, head.target)
    known = None if mask is None else next(writer.recipes(mask), None)
    path, views = _path_of(head.label, record), head.views
    if recipe is None or (mask is not None and known is None):
        return ObservedTarget(
            _replayed(head, record, step), f"what {head.event.name} in {name_of_step(step)} is given", path
        )
    return ObservedTarget(averaged(recipe, views), Speller(record.code, calls=False).tensor(head.label), path, known)


def _replayed(head: ObservedHead, record: StepRecord, step: StepFunction) -> Callable[[nn.Module, Any], Tensor]:
    replayed = ReplayedStep.of(head, record.schema, step)

    def compute(module: nn.Module, batch: Any) -> Tensor:
        _, target = replayed(module, batch)
        if target is None:
            raise RuntimeError(f"{head.event.name} was given no target in a replay of {name_of_step(step)}")
        return target

    return compute


def _path_of(label: Node, record: StepRecord) -> str | None:
    """Return the path of the only leaf that reached a target."""
    paths = [path for path in record.schema.owners if record.tags_of([path]) & label.tags]
    return paths[0] if len(paths) == 1 else None
