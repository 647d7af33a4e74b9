"""Find the modules that make a replay fail; all others are still replayed."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.memory import ran_out
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.recording import MissingCallsError
from mviz_lightning.engine.replay_check import Difference
from mviz_lightning.engine.reuse_plan import Plan
from mviz_lightning.engine.row_runs import row_runs
from mviz_lightning.errors import message_of, warn_user

if TYPE_CHECKING:
    from mviz_lightning.engine.evaluator import Evaluator

RETRIES = 2
"""Number of times that a failed replay is tried again with other modules."""


def failed_modules(evaluator: "Evaluator", plan: Plan, probe: Probe, query: Query, failure: Exception) -> list[str]:
    """Return the modules whose replay fails or gives other outputs than plain forwards.

    Each is tried alone, on some of the rows.

    Args:
        evaluator: Runs the model.
        plan: The plan that failed.
        probe: The examples.
        query: The rows.
        failure: The error of the replay.

    Returns:
        Their names; those of all modules if none fails alone.

    Raises:
        Exception: The model's own error, where plain rows fail too.
    """
    if isinstance(failure, MissingCallsError):
        return failure.modules
    run = next(run for run in row_runs(query, probe.schema.names, evaluator.chunk_size) if run.worthwhile)
    rows = query[run.rows][: evaluator.chunk_size]
    expected = evaluator.plain_draw(probe, rows)

    def replay(part: Plan) -> Tensor:
        with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
            recording = evaluator.record(part, probe, run.distinct)
            return evaluator.replay(part, recording, probe, rows, run.index[: len(rows)])

    def works(part: Plan) -> bool:
        found = _found_unless_it_fails(lambda: replay(part))
        return found is not None and Difference.of(expected, found, evaluator.head, evaluator.computed_in).excess <= 1

    failed = [name for name in plan.modules if not works(plan.alone(name, probe.schema.owners))]
    return failed or plan.modules


def dropped_with(module: nn.Module, failed: Iterable[str], failure: Exception, dropped: Iterable[str]) -> set[str]:
    """Return the modules that are not tried again.

    The modules inside a failed one may be replayed in its place. They are not tried if the failed one is itself inside
    one that failed before, or is not called with every input.

    Args:
        module: The model.
        failed: Names of the modules that failed.
        failure: What happened.
        dropped: Names of modules that failed before.
    """
    whole = {name for name in failed if isinstance(failure, MissingCallsError) or _is_inside(name, dropped)}
    return {*failed, *(name for name, _ in module.named_modules() if _is_inside(name, whole))}


def _is_inside(name: str, others: Iterable[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in others)


def _found_unless_it_fails(action: Callable[[], Tensor]) -> Tensor | None:
    try:
        return action()
    except Exception as error:
        if ran_out(error):
            raise
        return None


def warn_of_failure(what: str, cost: str, error: Exception) -> None:
    """Warn that something cannot be reused.

    Args:
        what: What cannot be reused.
        cost: What is done instead.
        error: Why.
    """
    reason = message_of(error).rstrip(".")
    text = f"{what} cannot be reused, so {cost}, which takes longer: {reason}. Pass reuse=False to skip the attempt."
    warn_user(text)
