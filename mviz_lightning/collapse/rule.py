"""Whether a model still uses a modality: a pure function of what was measured so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.sinks.records import RunRecord, State

WARM_UP = 2
"""Checks of a fit that count for nothing where no label tells when a model has begun to learn."""

LOOSE = 2
"""Times ``max_total`` that a modality may move the outputs by where it decides nothing: more is no accident."""

SURE = 3.0
"""Standard errors by which raw inputs must beat chance."""


@dataclass(frozen=True)
class Verdict:
    """What is known of one modality after the latest check.

    Attributes:
        modality: Its name.
        state: Used, unused, or collapsed.
        since: First check of the state; None where the modality has been used all along.
        row: The latest check that could be judged; None before there is one.
        rest: The other modalities.
        skill: Of the model at that check, 0 at chance and 1 at perfection; None where labels do not tell.
        drop: Skill lost at that check when the modality is swapped; None likewise.
        alone: What its raw inputs tell without the model; None where that was not asked or cannot be.
        from_start: Whether no check found it used.
    """

    modality: str
    state: State = State.USED
    since: RunRecord | None = None
    row: RunRecord | None = None
    rest: Sequence[str] = ()
    skill: float | None = None
    drop: float | None = None
    alone: RawInputProof | None = None
    from_start: bool = False


@dataclass(frozen=True)
class CollapseRule:
    """When a modality counts as unused, and when that is a collapse.

    A check is *silent* on a modality when swapping it leaves the outputs as they were, or nearly so and the decisions,
    and the score: ``(total < max_total or (total < 2 * max_total and flips < max_flips)) and drop < max_drop``. Without
    labels the decisions tell; the outputs in a regression, and where all decisions are the same. Among more than two
    modalities each may do less: ``max_total`` is shared out as ``2 / M``. The modality is unused while the last
    ``patience`` checks are silent on it. Checks count once the model has learned something (skill above ``min_skill``):
    of a model as it was initialised, shares mean nothing. Unused and known to be informative is collapsed: a regression
    on the raw inputs explains more than ``min_alone`` of the labels' variance, or it was named in ``expected``.

    Attributes:
        expected: Modalities that must be used; all, where the data show that they could, when it is None.
        patience: Checks in a row.
        max_total: Total effect on the outputs, share of their variance; of one of two modalities.
        max_flips: Total effect on the decisions.
        max_drop: Skill lost when the modality is swapped.
        min_skill: Skill from which on a model has learned.
        min_alone: Share of the labels' variance.
    """

    expected: Sequence[str] | None = None
    patience: int = 2
    max_total: float = 0.05
    max_flips: float = 0.1
    max_drop: float = 0.05
    min_skill: float = 0.1
    min_alone: float = 0.05

    def judge(
        self, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> dict[str, Verdict]:
        """Judge every modality after the last of the rows.

        Args:
            rows: Runs of the monitor that gave values, in order.
            score_reference: Of the examples that they were made on.
            modalities: Names, in declared order.
        """
        judged = [row for number, row in enumerate(rows) if self._learned(row, number, score_reference)]
        of = {name: [row for row in judged if f"total/{name}" in row.values] for name in modalities}  # renamed ones not
        return {name: self._verdict(name, of[name], score_reference, modalities) for name in modalities}

    def _learned(self, row: RunRecord, number: int, score_reference: ScoreReference) -> bool:
        skill = skill_of(row, score_reference)
        settled = number >= WARM_UP or row.phase != "fit"
        return settled if skill is None else skill > self.min_skill

    def _verdict(
        self, name: str, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> Verdict:
        share = 2 / len(modalities)
        silent_at = [self._silent(row, name, score_reference, self.max_total * share) for row in rows]
        marked = groupby(zip(silent_at, rows, strict=True), lambda pair: pair[0])
        runs = [(silent, [row for _, row in run]) for silent, run in marked]
        spells = [place for place, (silent, run) in enumerate(runs) if silent and len(run) >= self.patience]
        unused = bool(spells) and spells[-1] == len(runs) - 1
        # Of the last spell while it lasts, or of the run that ended it.
        since = runs[spells[-1] + (not unused)][1][0] if spells else None
        alone = (score_reference.alone or {}).get(name)
        return Verdict(
            modality=name,
            state=State.USED if not unused else State.COLLAPSED if self._informative(name, alone) else State.UNUSED,
            since=since,
            row=rows[-1] if rows else None,
            rest=[other for other in modalities if other != name],
            skill=skill_of(rows[-1], score_reference) if rows else None,
            drop=drop_of(rows[-1], name, score_reference) if rows else None,
            alone=alone,
            from_start=all(silent for silent, _ in runs),
        )

    def _silent(self, row: RunRecord, name: str, score_reference: ScoreReference, max_total: float) -> bool:
        """Tell whether swapping a modality leaves everything as it was."""
        drop, total = drop_of(row, name, score_reference), row.values[f"total/{name}"]
        undecided = row.values.get(f"flips/{name}", math.inf) < self.max_flips and total < LOOSE * max_total
        if drop is not None:
            return (undecided or total < max_total) and drop < self.max_drop
        # A model that always says the same is not told by its decisions.
        return undecided if _decides(row) else total < max_total

    def _informative(self, name: str, alone: RawInputProof | None) -> bool:
        if self.expected is not None:
            return name in self.expected
        return alone is not None and alone.explained > max(self.min_alone, SURE * alone.error)


def _decides(row: RunRecord) -> bool:
    """Tell whether swapping anything changed any prediction."""
    return any(value > 0 for name, value in row.values.items() if name.startswith("flips/"))


def skill_of(row: RunRecord, score_reference: ScoreReference) -> float | None:
    """Return where a run's score lies between chance and perfection."""
    return score_reference.skill(row.values["score"]) if "score" in row.values else None


def drop_of(row: RunRecord, name: str, score_reference: ScoreReference) -> float | None:
    """Return the skill that is lost when a modality is swapped."""
    skill, lost = skill_of(row, score_reference), row.values.get(f"perceptual/{name}")
    if skill is None or lost is None:
        return None
    swapped = score_reference.skill(row.values["score"] - lost)
    return None if swapped is None else skill - swapped


def state_names(modalities: Sequence[str]) -> list[str]:
    """Return the names under which the states are logged."""
    return [f"collapse/{name}" for name in modalities]
