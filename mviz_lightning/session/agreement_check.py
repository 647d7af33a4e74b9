"""Compare the monitor's outputs with the user's own at every run, and follow a step that changes its computation."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from typing_extensions import Self

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import COMPARED_DRAWS
from mviz_lightning.engine.dry_run_checks import check_independence
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.output_reader import ROW_READER
from mviz_lightning.engine.positions import EvenReader
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Query
from mviz_lightning.functional import Task
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.own_outputs import COMPARED_ROWS, Agreement, OwnOutputs
from mviz_lightning.observation.settling import ObservedModel, settle
from mviz_lightning.observation.ways import ReplayedStep
from mviz_lightning.session.tried_model import TriedModel

REPORTED_ROWS = 128
"""Number of rows of a second comparison, made once if the first rows disagree."""


class WithheldError(RuntimeError):
    """The monitor's outputs are not the user's own, so what is computed from them is withheld."""

    def __init__(self, agreement: Agreement) -> None:
        super().__init__(
            f"{agreement}, so the shares are withheld. Pass on_disagreement='log' to log them all the same, or "
            "predict= with the call of your step"
        )
        self.agreement = agreement


@dataclass(frozen=True)
class AgreementCheck:
    """Compares a few rows of the user's own outputs with the monitor's at a run.

    Attributes:
        examples: The examples of these rows.
        rows: ``(R, C)`` the user's own outputs; None if a replay of the step has to compute them.
        task: Type of the prediction task.
        ranks: The processes.
    """

    examples: Probe
    rows: Tensor | None
    task: Task
    ranks: Ranks

    @classmethod
    def of(cls, own: OwnOutputs, probe: Probe, task: Task, ranks: Ranks, shared: Probe | None = None) -> Self:
        """Return a check against the user's own outputs of a validation; without such outputs, on a few fixed examples.

        Args:
            own: The user's own outputs, as far as they are known.
            probe: The fixed examples.
            task: Type of the prediction task.
            ranks: The processes.
            shared: The examples that the main head compares, if this is a further head; None for the main head.
        """
        examples, rows = own.take()
        few = _part(probe, COMPARED_ROWS) if examples is None else examples
        return cls(few if shared is None else shared, rows, task, ranks)

    def check(self, tried: TriedModel) -> Agreement | None:
        """Return the worst agreement of all processes; None if nothing can be compared."""
        found = self.ranks.gather(self.compared(tried, self.examples, self.rows))
        known = [one for one in found if one is not None]
        return max(known, key=lambda one: (not one.holds, one.deviation), default=None)

    def compared(self, tried: TriedModel, examples: Probe, own: Tensor | None) -> Agreement | None:
        """Compare a model's outputs with the user's own; None if nothing can be compared.

        Args:
            tried: The model.
            examples: The examples.
            own: ``(R, C)`` the user's own outputs of them; None if a replay of the step has to compute them.
        """
        return _compared(tried, examples, own, self.task)

    def anew(self, tried: TriedModel, probe: Probe) -> TriedModel | None:
        """Return the model with the call that the step makes now; None if this call is not found.

        Args:
            tried: The model as it was called so far.
            probe: The fixed examples.
        """
        return _observed_anew(tried, probe)

    def follow(self, tried: TriedModel, probe: Probe) -> tuple[TriedModel, Agreement] | None:
        """Observe the step again; return the model with the present call, if this call gives the user's own outputs.

        Args:
            tried: The model as it was called so far.
            probe: The fixed examples, the same on all processes.
        """
        found = self.anew(tried, probe)
        told = all(self.ranks.gather(found is not None))
        agreement = self.check(found) if told and found is not None else None
        return (found, agreement) if found is not None and agreement is not None and agreement.holds else None

    def reported(self, few: Agreement, tried: TriedModel, probe: Probe) -> Agreement:
        """Return the disagreement over up to :data:`REPORTED_ROWS` rows if a replay shows it too; otherwise ``few``."""
        many = self.compared(tried, _part(probe, REPORTED_ROWS), None)
        return few if many is None or many.holds else many


def _compared(tried: TriedModel, examples: Probe, own: Tensor | None, task: Task) -> Agreement | None:
    """Compare a model's outputs with the user's own, or with a replay of the step if those are not known."""
    evaluator, observed = tried.evaluator, tried.observed
    if observed is None or evaluator.all_pairs is not None:
        return None
    try:
        rows = Query.aligned(torch.arange(examples.size), len(examples.schema.names))
        axes = observed.head.axes
        reader = ROW_READER if axes is None else EvenReader(axes)
        once = replace(evaluator, predict=observed.way.call.predict, head=None, reader=reader, draws=1)
        own = _replayed(observed, once, examples, rows) if own is None else own
        own = _by_position(own, observed)
        agreement = Agreement.of(own, _by_position(once.plain(examples, rows), observed), task)
        if once.noisy:  # known only after an evaluation
            draws = once.each_draw(COMPARED_DRAWS, lambda: _by_position(once.plain(examples, rows), observed))
            agreement = Agreement.with_noise(own, torch.stack(list(draws)), task)
        return replace(agreement, rows=len(rows))
    except Exception:  # a step that cannot be replayed shows nothing
        return None


def _by_position(outputs: Tensor, observed: ObservedModel) -> Tensor:
    """Return ``(R, C)`` outputs; where they have positions, each position has its own row."""
    axes = observed.head.axes
    return outputs if axes is None else outputs.view(-1, axes.outputs(observed.head.root.shape))


def _replayed(observed: ObservedModel, evaluator: Evaluator, examples: Probe, rows: Query) -> Tensor:
    replayed = ReplayedStep.of(observed.head, examples.schema, observed.step)
    with evaluator.precision():
        found, _ = replayed(evaluator.module, examples.batch(rows.sources, {}, evaluator.device))
        return evaluator.reader(found, rows)


def _observed_anew(tried: TriedModel, probe: Probe) -> TriedModel | None:
    observed, evaluator = tried.observed, tried.evaluator
    if observed is None:
        return None
    few = _part(probe, 2 * len(probe.schema.names) + 8)

    def evaluator_of(predict: Predict) -> Evaluator:
        return replace(evaluator, predict=predict, reuse=False, head=None)

    try:
        seen = ObservedStep.replayed(evaluator.module, observed.step, few, evaluator.precision)
        found = settle(seen, evaluator.module, few, evaluator_of, observed.path)
        if found is not None:
            check_independence(evaluator_of(found.way.call.predict), few)
    except Exception:
        return None
    if found is None or found.head.root.shape[1:] != observed.head.root.shape[1:]:
        return None
    return replace(tried, evaluator=_fresh(evaluator, found.way.call.predict), observed=found)


def _fresh(evaluator: Evaluator, predict: Predict) -> Evaluator:
    """Return an evaluator of the same model that is called in another way, without the plan for reuse."""
    module: nn.Module = evaluator.module
    given = module, predict, evaluator.chunk_size, evaluator.precision, evaluator.seed, evaluator.reuse
    return Evaluator(*given, draws=evaluator.draws, rows=evaluator.rows)


def _part(probe: Probe, count: int) -> Probe:
    """Return the first examples of a probe that are recombined."""
    rows = probe.groups.flatten()[:count]
    return replace(probe.part(rows), own_shapes=False)
