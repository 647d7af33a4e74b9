"""Which curves of a monitor belong into one diagram."""

from collections.abc import Sequence

from mviz_lightning.explainers.contribution_shares.subset_keys import subset_charts
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.sinks.records import Chart, Dashboard


def dashboard(name: str, modalities: Sequence[str], keys: Sequence[str]) -> Dashboard:
    """Arrange the scalars of a monitor.

    Args:
        name: Prefix of its keys.
        modalities: Names, in declared order.
        keys: Names of the values it logs, without prefix.
    """
    together = [key for key in keys if key.partition("/")[0] == "interaction"]
    totals = [f"total/{modality}" for modality in modalities]
    charts = [
        Chart("alone and in interaction", [*(f"contribution/{modality}" for modality in modalities), *together]),
        Chart("total effects", totals),
        *(
            Chart(f"{key} with 95 %", [key, bound_name(key, "low"), bound_name(key, "high")], band=True)
            for key in totals
        ),
    ]
    if "score" in keys:
        charts.append(Chart("score, and that of unimodal contributions alone", ["score", "emap_score"]))
        charts.append(Chart("score lost when swapped", [f"perceptual/{modality}" for modality in modalities]))
    without = [key for key in keys if key.partition("/")[0] == "score_without"]
    charts += [Chart("score, and that without a modality", ["score", *without])] if without else []
    shapley = [f"shapley/{modality}" for modality in modalities]
    charts += [Chart("Shapley shares", shapley)] if set(shapley) <= set(keys) else []
    charts += [Chart("InterSHAP", ["intershap"])] if "intershap" in keys else []
    charts += subset_charts(modalities, keys)
    states = [f"collapse/{modality}" for modality in modalities]
    if set(states) <= set(keys):
        charts.append(Chart("0 used, 1 unused, 2 collapsed, 3 redundant", states))
    return Dashboard(name, [Chart(c.title, [f"{name}/{key}" for key in c.keys], c.band) for c in charts])
