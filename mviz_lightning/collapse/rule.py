"""Whether a model still uses a modality: a pure function of the runs so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.sinks.records import RunRecord, State

WARM_UP = 2
"""Number of first checks of a fit that are ignored where no labels show when the model has begun to learn."""

LOOSE = 2
"""Factor on ``max_total`` below which a modality that changes few decisions still counts as silent."""

SURE = 3.0
"""Number of standard errors by which the share explained by the raw inputs must exceed 0."""


@dataclass(frozen=True)
class Verdict:
    """State of one modality after the latest check, with the evidence.

    Attributes:
        modality: Name of the modality.
        state: Used, unused, or collapsed.
        since: First check of the state; None where every check found the modality used.
        row: The latest check that could be judged; None before there is one.
        rest: Names of the other modalities.
        skill: Skill of the model at that check, 0 at chance and 1 at perfection; None without labels or scale.
        drop: Skill lost at that check when the modality is swapped; None without labels or scale.
        alone: Proof from its raw inputs; None where it was not fitted or could not be.
        from_start: Whether no check found the modality used.
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
    """When a modality counts as unused, and when as collapsed.

    A check is *silent* on a modality when swapping it changes neither the outputs (or little of them, and few
    decisions) nor the score:
    ``(total < max_total or (total < 2 * max_total and flips < max_flips)) and drop < max_drop``.
    Without labels there is no ``drop``, and ``total < 2 * max_total and flips < max_flips`` decides; in a regression,
    and where all decisions are equal, ``total < max_total``. With M modalities ``max_total`` is multiplied by
    ``2 / M``.

    * Checks count from a skill above ``min_skill`` on: before a model has learned, shares mean nothing.
    * A modality is *unused* while the last ``patience`` checks are silent on it.
    * It is *collapsed* if it is unused and informative: it is named in ``expected``, or, without ``expected``, a
      regression on its raw inputs explains more than ``min_alone`` of the labels' variance and more than three
      standard errors.

    Attributes:
        expected: Names of the modalities that must be used; None for all that the regression shows to be informative.
        patience: Number of silent checks in a row.
        max_total: Total effect, as a share of the outputs' variance, for two modalities.
        max_flips: Share of changed predictions, ``flips/<m>``.
        max_drop: Skill lost when the modality is swapped.
        min_skill: Skill above which a model has learned.
        min_alone: Share of the labels' variance, from 0 to 1.
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
            score_reference: What the scores of these runs are measured against.
            modalities: Names, in declared order.

        Returns:
            Modality -> its verdict.
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
        # The first check of the last silent spell, or of the checks that ended it.
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
        """Return whether a check is silent on a modality."""
        drop, total = drop_of(row, name, score_reference), row.values[f"total/{name}"]
        undecided = row.values.get(f"flips/{name}", math.inf) < self.max_flips and total < LOOSE * max_total
        if drop is not None:
            return (undecided or total < max_total) and drop < self.max_drop
        # The decisions of a model that always decides the same show nothing.
        return undecided if _decides(row) else total < max_total

    def _informative(self, name: str, alone: RawInputProof | None) -> bool:
        if self.expected is not None:
            return name in self.expected
        return alone is not None and alone.explained > max(self.min_alone, SURE * alone.error)


def _decides(row: RunRecord) -> bool:
    """Return whether swapping some modality changed some prediction."""
    return any(value > 0 for name, value in row.values.items() if name.startswith("flips/"))


def skill_of(row: RunRecord, score_reference: ScoreReference) -> float | None:
    """Return where a run's score lies between chance (0) and perfection (1); None without labels or scale."""
    return score_reference.skill(row.values["score"]) if "score" in row.values else None


def drop_of(row: RunRecord, name: str, score_reference: ScoreReference) -> float | None:
    """Return the skill that is lost when a modality is swapped; None without labels or scale."""
    skill, lost = skill_of(row, score_reference), row.values.get(f"perceptual/{name}")
    if skill is None or lost is None:
        return None
    swapped = score_reference.skill(row.values["score"] - lost)
    return None if swapped is None else skill - swapped


def state_names(modalities: Sequence[str]) -> list[str]:
    """Return the names under which the states are logged."""
    return [f"collapse/{name}" for name in modalities]
