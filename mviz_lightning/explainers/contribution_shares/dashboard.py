"""The curves of a monitor, grouped into diagrams."""

from collections.abc import Iterable, Sequence

from mviz_lightning.explainers.contribution_shares.subset_keys import subset_charts
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.sinks.portable_names import portable_key
from mviz_lightning.sinks.records import Chart, Dashboard

SIDES = {
    "uniformity of the embeddings (0: one point)": "uniformity",
    "effective rank of the embeddings (1: one line)": "effective_rank",
}
"""Title of a diagram of both modalities' embeddings -> the first part of its keys."""


def dashboard(name: str, modalities: Sequence[str], keys: Sequence[str], heads: Iterable[str] = ()) -> Dashboard:
    """Arrange the scalars of a monitor in diagrams.

    Args:
        name: Prefix of its keys.
        modalities: Names, in declared order.
        keys: Names of the logged values, without prefix.
        heads: Names of the further heads; their keys begin with the name.
    """
    charts = _charts(modalities, [key for key in keys if key.partition("/")[0] not in heads])
    for head in heads:
        own = [key.removeprefix(f"{head}/") for key in keys if key.startswith(f"{head}/")]
        charts += [
            Chart(f"{head}: {chart.title}", [f"{head}/{key}" for key in chart.keys], chart.band)
            for chart in _charts(modalities, own)
        ]
    return Dashboard(
        portable_key(name),
        [Chart(c.title, [portable_key(f"{name}/{key}") for key in c.keys], c.band) for c in charts],
    )


def _charts(modalities: Sequence[str], keys: Sequence[str]) -> list[Chart]:
    """Return the diagrams of one head, which may use only some of the modalities."""
    modalities = [modality for modality in modalities if f"total/{modality}" in keys] or modalities
    together = [key for key in keys if key.partition("/")[0] == "interaction"]
    totals = [f"total/{modality}" for modality in modalities]
    shares = [
        *(
            Chart(f"{key} with 95 %", [key, bound_name(key, "low"), bound_name(key, "high")], band=True)
            for key in totals
        ),
        Chart("total effects", totals),
        Chart("alone and in interaction", [*(f"contribution/{modality}" for modality in modalities), *together]),
    ]
    scores = [
        Chart("score, and score of the unimodal contributions alone", ["score", "emap_score"]),
        Chart("score lost when swapped", [f"perceptual/{modality}" for modality in modalities]),
    ]
    scores, embeddings = scores if "score" in keys else [], _embedding_charts(modalities, keys)
    # Scores of pairs are nearly all interaction, so their most useful diagrams come first.
    charts = [*scores, *embeddings, *shares] if embeddings else [*_answer_charts(keys), *shares, *scores]
    without = [key for key in keys if key.partition("/")[0] == "score_without"]
    charts += [Chart("score, and scores without a modality", ["score", *without])] if without else []
    shapley = [f"shapley/{modality}" for modality in modalities]
    charts += [Chart("Shapley shares", shapley)] if set(shapley) <= set(keys) else []
    charts += [Chart("InterSHAP", ["intershap"])] if "intershap" in keys else []
    charts += subset_charts(modalities, keys)
    states = [f"collapse/{modality}" for modality in modalities]
    if set(states) <= set(keys):
        charts.append(Chart("0 used, 1 unused, 2 collapsed, 3 redundant", states))
    return charts


def _answer_charts(keys: Sequence[str]) -> list[Chart]:
    """Return the diagrams of own answers' losses; none for other outputs."""
    titles = {
        "nats": "nats per token that own answers lose when swapped",
        "retrieval": "own answers that are most likely with their own input",
    }
    shown = {title: [key for key in keys if key.partition("/")[0] == first] for first, title in titles.items()}
    return [Chart(title, found) for title, found in shown.items() if found]


def _embedding_charts(modalities: Sequence[str], keys: Sequence[str]) -> list[Chart]:
    """Return the diagrams of embeddings, for scores of pairs; none for other outputs."""
    if "modality_gap" not in keys:
        return []
    sides = (Chart(title, [f"{key}/{modality}" for modality in modalities]) for title, key in SIDES.items())
    return [Chart("modality gap, and distance of matching embeddings", ["modality_gap", "alignment"]), *sides]
