"""Rank examples by what drives their predictions, from the recombinations of the shares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query
from mviz_lightning.explainers.argument_checks import require_least
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.example_ranking.kept import ranking_lines
from mviz_lightning.explainers.example_ranking.result import RankedExample, RankingResult
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.explainers.recombinations import Recombinations
from mviz_lightning.functional import Task
from mviz_lightning.functional.example_drivers import example_effects
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext


@dataclass(frozen=True, kw_only=True)
class ExampleRanking(Explainer):
    """Ranks the recombined examples by what drives their predictions, with standard errors.

    One output of every example is split: the centred logit of its predicted class, the likeliest label's logit, or the
    (first) value. ``value = mean + sum of the modalities' effects + MI`` (DIME, Lyu et al. 2022). An example is
    ``"text only"`` if the effect of the text is at least twice as large as all other effects together (root of the sum
    of their squares), ``"interaction"`` if MI is, and ``"mixed"`` if none is. Examples are sorted by sureness, the
    largest first: the distance from another driver in standard errors (delete-one-donor jackknife).

    The effects are relative to the mean over recombined examples, so a modality with average content has no effect. The
    ranking evaluates as many rows as the contribution shares. For outputs with positions, the mean over a region of
    each example is split.

    Args:
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        name: First part of the keys of its scalars and tables. Give each one a different name.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    every_n_validations: int = 5
    name: str = "ranking"
    needs_regions = True

    def __post_init__(self) -> None:
        require_least(self, {"every_n_validations": 1})

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the recombinations of all groups."""
        return Request([Query(probe_context.probe.groups[:, probe_context.design.tuples].flatten(0, 1))])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> RankingResult:
        """Split one output of every example, and sort the examples by the sureness of their driver."""
        groups, rows = probe_context.probe.groups, Recombinations.of(probe_context, responses.outputs[0])
        real, chosen = rows.own, split_output(rows.own, probe_context.task)
        value = rows.value.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
        effects = example_effects(rows.scaled.flatten(2), probe_context.design, rows.columns(chosen))
        parts = (real, chosen, value, *effects)
        each = zip(groups.flatten().tolist(), *(part.flatten(0, 1) for part in parts), strict=True)
        ranked = sorted((_ranked(probe_context, *one) for one in each), key=lambda one: -one.sureness)
        drivers = _driver_names(probe_context)
        return RankingResult(values=_fractions(ranked, drivers), ranked=ranked, drivers=drivers)

    def kept(self, result: RankingResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each of the surest examples."""
        return ranking_lines(result, context)

    def draw(self, result: RankingResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """List the examples."""
        from mviz_lightning.explainers.example_ranking.tables import ranking_table

        return [ranking_table(result, f"{self.name}/examples", drawing, when)]


def split_output(outputs: Tensor, task: Task) -> Tensor:
    """Return ``(...)`` long: the split output of each example.

    Args:
        outputs: ``(..., C)`` outputs of the model.
        task: Type of the prediction task.
    """
    first = torch.zeros(outputs.shape[:-1], dtype=torch.long)
    return outputs.argmax(-1) if task in ("multiclass", "multilabel") else first


def _driver_names(probe_context: ProbeContext) -> list[str]:
    return [*(f"{name} only" for name in probe_context.probe.schema.names), "interaction", "mixed"]


def _fractions(ranked: Sequence[RankedExample], drivers: Sequence[str]) -> dict[str, float]:
    """Return for each driver the fraction of examples that surely have it; all other examples are not sure."""
    found = [one.driver for one in ranked if one.is_sure]
    names = [f"only_{driver.removesuffix(' only')}" if driver.endswith(" only") else driver for driver in drivers]
    return {name: found.count(driver) / len(ranked) for name, driver in zip(names, drivers, strict=True)}


def _ranked(
    probe_context: ProbeContext,
    example: int,
    outputs: Tensor,
    chosen: Tensor,
    value: Tensor,
    effects: Tensor,
    errors: Tensor,
    driver: Tensor,
    sureness: Tensor,
) -> RankedExample:
    """Return one ranked example, in the output's own unit."""
    names, output = probe_context.probe.schema.names, int(chosen)
    unit, said = probe_context.unit(output), outcome(outputs, probe_context.label(example), probe_context.task)
    *alone, interaction = (effects * unit).tolist()
    *alone_errors, interaction_error = (errors * unit).tolist()
    return RankedExample(
        **vars(probe_context.prediction(example, said)),
        output=output,
        value=float(value) * unit,
        effects=dict(zip(names, alone, strict=True)),
        errors=dict(zip(names, alone_errors, strict=True)),
        interaction=interaction,
        interaction_error=interaction_error,
        driver=_driver_names(probe_context)[int(driver)],
        sureness=float(sureness),
    )
