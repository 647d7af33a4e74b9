"""The verdict on a modality: its state, its first check, and the loss of skill without it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from mviz_lightning.collapse.beyond_others_proof import BeyondOthersProof
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.notebook.displayed import Displayed
from mviz_lightning.sinks.records import RunRecord, State

if TYPE_CHECKING:
    from mviz_lightning.notebook.card import Card


@dataclass(frozen=True)
class Verdict(Displayed):
    """State of one modality after the latest check, with the evidence.

    Attributes:
        modality: Name of the modality.
        state: Used, unused, collapsed, or redundant.
        since: First check of the state; None if the modality was used at every check.
        row: The latest check that could be judged; None if there is none yet.
        rest: Names of the other modalities.
        skill: Skill of the model at that check, 0 at chance and 1 at perfection, on all fixed examples if it was
            measured there; None without labels or without a reference.
        drop: Loss of skill at that check when the modality is swapped; None without labels or without a reference.
        alone: Proof from its raw inputs; None if it was not or could not be fitted.
        from_start: Whether no check found the modality used.
        beyond: Proof of the gain of its raw inputs over the others'; None if it was not or could not be fitted.
        rose_from: Total effect at the previous check, if the modality is not yet learned: it would be collapsed if its
            total did not rise. None otherwise.
        head: The further head that was judged; ``""`` for the main one.
        class_names: Names of the outputs; empty if unknown.
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
    beyond: BeyondOthersProof | None = None
    rose_from: float | None = None
    head: str = ""
    class_names: Sequence[str] = ()

    @property
    def subject(self) -> str:
        """The subject of the verdict in words: the modality, and the further head."""
        return f"{self.modality} (head {self.head})" if self.head else self.modality

    def __str__(self) -> str:
        from mviz_lightning.collapse.messages import alert

        return alert(self).text

    def _card(self) -> "Card":
        from mviz_lightning.collapse.card import verdict_card

        return verdict_card(self)

    def output(self, number: int) -> str:
        """Return an output in words: its name, or its index if it has no name."""
        return repr(self.class_names[number]) if number < len(self.class_names) else f"output {number}"


@dataclass(frozen=True)
class Spells:
    """Runs of consecutive checks that are silent on one modality.

    Attributes:
        since: First check of the last silent spell, or the first check after it if it has ended; None if there was
            none.
        silent: Number of silent checks at the end; 0 if they are fewer than a spell.
        from_start: Whether no check found the modality used.
    """

    since: RunRecord | None
    silent: int
    from_start: bool

    @classmethod
    def of(cls, rows: Sequence[RunRecord], silent_at: Sequence[bool], patience: int) -> "Spells":
        """Return the spells of ``patience`` silent checks or more.

        Args:
            rows: The checks that were judged.
            silent_at: Whether each is silent.
            patience: Smallest number of checks of a spell.
        """
        marked = groupby(zip(silent_at, rows, strict=True), lambda pair: pair[0])
        runs = [(silent, [row for _, row in run]) for silent, run in marked]
        spells = [place for place, (silent, run) in enumerate(runs) if silent and len(run) >= patience]
        unused = bool(spells) and spells[-1] == len(runs) - 1
        since = runs[spells[-1] + (not unused)][1][0] if spells else None
        return cls(since, len(runs[-1][1]) if unused else 0, all(silent for silent, _ in runs))

    def verdict(
        self, name: str, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> Verdict:
        """Return the verdict that a modality is used, with its first check and the values of the latest check."""
        return Verdict(
            modality=name,
            since=self.since,
            row=rows[-1] if rows else None,
            rest=[other for other in modalities if other != name],
            skill=learned_skill(rows[-1], score_reference)[0] if rows else None,
            drop=drop_of(rows[-1], name, score_reference) if rows else None,
            from_start=self.from_start,
        )


def learned_skill(row: RunRecord, score_reference: ScoreReference) -> tuple[float | None, float]:
    """Return the skill and its standard error: on all fixed examples, or if unknown on the recombined ones.

    An unknown error is infinite; the skill is None without labels or reference. In a regression the error is infinite
    too: without noise, R2 rises from 0 long before the model has learned a modality, and its own error is nearly 0.
    """
    if "skill" in row.evidence:
        decides = "decides" in row.evidence  # a regression has no decisions
        return row.evidence["skill"], row.evidence.get("skill_error", math.inf) if decides else math.inf
    return skill_of(row, score_reference), math.inf


def skill_of(row: RunRecord, score_reference: ScoreReference) -> float | None:
    """Return a run's score on the scale from chance (0) to perfection (1); None without labels or reference."""
    return score_reference.skill(row.values["score"]) if "score" in row.values else None


def drop_of(row: RunRecord, name: str, score_reference: ScoreReference) -> float | None:
    """Return the loss of skill when a modality is swapped; None without labels or reference."""
    skill, lost = skill_of(row, score_reference), row.values.get(f"perceptual/{name}")
    if skill is None or lost is None:
        return None
    swapped = score_reference.skill(row.values["score"] - lost)
    return None if swapped is None else skill - swapped
