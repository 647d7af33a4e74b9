"""The error analysis as lines of ``explanations.jsonl``."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.error_analysis.result import Case, ClassErrors, ErrorResult
from mviz_lightning.explainers.kept import KeepingContext

if TYPE_CHECKING:
    from mviz_lightning.plotting.labels import Labels


def error_lines(result: ErrorResult, context: KeepingContext) -> Iterator[Mapping[str, Any]]:
    """Yield the counts of all decisions, and a line for each shown case."""
    yield {
        "result": "errors",
        "counts": result.counts,
        "classes": [vars(one) | {"name": class_name(one, context.labels)} for one in result.classes],
        "history": result.history,
    }
    for listed, cases in (("worst", result.worst), ("rescued", result.rescued)):
        for case in cases:
            yield {"result": "errors", "list": listed, **_case(case, context)}


def _case(case: Case, context: KeepingContext) -> dict[str, Any]:
    return {
        **context.example(case),
        **context.output(case.output),
        "alone": case.alone,
        "alone_name": context.labels.outcome(case.alone),
        "value": case.value,
        "uc": case.unimodal,
        "mi": case.interaction,
        "error": case.error,
        "category": case.category,
        "loss": case.loss,
    }


def class_name(found: ClassErrors, labels: "Labels") -> str:
    """Return the name of a class, an output or a quarter of the targets."""
    if found.between is not None:
        return f"{found.between[0]:.3g} to {found.between[1]:.3g}"
    return labels.outcome(found.index) if labels.task in ("multiclass", "binary") else labels.output(found.index)
