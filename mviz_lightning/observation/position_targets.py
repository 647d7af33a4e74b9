"""The step's own labels of every position, and one label for each example."""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.padding import real_along
from mviz_lightning.batch.position_labels import IGNORED, PositionLabels, compact, example_labels
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.functional import Task
from mviz_lightning.functional.targets import LIKELY, without_ignored
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.targets import ObservedTarget


@dataclass(frozen=True)
class Positions:
    """Where outputs have positions, and the labels of the positions.

    Attributes:
        axes: Where positions and classes are in the outputs.
        shape: Shape of the outputs of a batch.
        target: The labels.
        label_axes: Where positions and classes are in the labels.
        task: What the outputs of a position stand for; None where it is not known.
        ignored: Target value of a position without a label, in addition to -100 and NaN.
    """

    axes: PositionAxes
    shape: tuple[int, ...]
    target: ObservedTarget
    label_axes: PositionAxes
    task: Task | None
    ignored: int = IGNORED

    @property
    def outputs(self) -> int:
        """Number of outputs of a position, C."""
        return self.axes.outputs(self.shape)

    def labelled(self, probe: Probe, module: nn.Module) -> Probe:
        """Return a probe with the labels of every position; padding has none."""
        padded, shapes = replace(probe, own_shapes=False), list[tuple[int, ...]]()
        task = self.task or ("multiclass" if self.outputs > 1 else "binary")
        form = partial(_formed, axes=self.label_axes, task=task, outputs=self.outputs, shapes=shapes)
        labels = self.target.of(module, padded, lambda found: form(without_ignored(found, self.ignored)))
        lattice, count = self.axes.lattice(self.shape), labels.shape[1]
        # The loss may get all positions along one axis, and the examples of a probe may be padded further.
        fits = math.prod(lattice) == count
        found = PositionLabels(labels, lattice if fits else self.label_axes.lattice(shapes[0]), self.outputs)
        path = self.target.path
        found = _without_padding(replace(found, carrier=_carrier(probe, found)), probe, path)
        schema = replace(probe.schema, target=path)
        return replace(probe, schema=schema, by_position=found, labels=example_labels(found, task))


def observed_positions(head: ObservedHead, target: ObservedTarget | None) -> Positions | None:
    """Return the positions of scores, as the step shows them; None where an example has one row.

    Raises:
        RuntimeError: The target has no entry for each position.
    """
    if head.axes is None or target is None:
        return None
    label_axes = head.event.target[head.target].axes
    if label_axes is None:
        raise RuntimeError(f"the target of {head.event.name} has no entry for each position of an example.")
    return Positions(head.axes, head.root.shape, target, label_axes, head.task, head.event.ignored)


def _formed(target: Tensor, axes: PositionAxes, task: Task, outputs: int, shapes: list[tuple[int, ...]]) -> Tensor:
    """Return targets as ``(n, L)`` or ``(n, L, C)`` labels in the stored form; append their shape to ``shapes``."""
    shapes.append(tuple(target.shape))
    found = axes.whole(target)
    several = found.shape[-1] > 1
    if task == "regression":
        return found.float() if several or outputs > 1 else found.float().squeeze(-1)
    if task == "multiclass":
        known = found.isfinite().all(-1) & (found != IGNORED).all(-1)
        classes = found.argmax(-1) if several else found.squeeze(-1).nan_to_num(IGNORED)
        return compact(classes.long().where(known, IGNORED), outputs)
    decided = (found >= LIKELY).to(torch.int8).where(found.isfinite() & (found != IGNORED), IGNORED)
    return decided if outputs > 1 else decided.squeeze(-1)


def _carrier(probe: Probe, found: PositionLabels) -> int | None:
    """Return the modality whose padding decides which positions an example has; None for maps and equal lengths."""
    if len(found.lattice) > 1:
        return None
    fits = [m for m, name in enumerate(probe.schema.names) if _real(probe, name, found.lattice[0]) is not None]
    return fits[0] if fits else None


def _real(probe: Probe, name: str, length: int) -> Tensor | None:
    """Return ``(N, T)`` bool, the real entries of a modality along its positions; None where nothing is padded."""
    return real_along(probe.real_entries(name), length)


def _without_padding(found: PositionLabels, probe: Probe, path: str | None) -> PositionLabels:
    """Remove the labels of positions that are padding, of the labels' own leaf or of the modality that carries them."""
    real = torch.ones(found.labels.shape[:2], dtype=torch.bool)
    own = None if path is None else probe.own_entries(path)
    if own is not None and own[0].numel() == real.shape[1]:
        real &= own.flatten(1)
    carried = None if found.carrier is None else _real(probe, probe.schema.names[found.carrier], found.lattice[0])
    real = real if carried is None else real & carried
    nothing = torch.nan if found.labels.is_floating_point() else IGNORED
    shape = (*real.shape, *[1] * (found.labels.dim() - 2))
    return replace(found, labels=found.labels.masked_fill(~real.view(shape), nothing))
