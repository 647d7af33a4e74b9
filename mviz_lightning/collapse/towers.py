"""Scores of pairs: the rule for collapsed embeddings of one modality, and its messages.

The score of a pair depends on both modalities, so the outputs of a trained model change with either of them, and totals
near 1 are no evidence. If one tower maps all examples to the same embedding, retrieval fails in both directions. The
embeddings show which of the two towers has collapsed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.verdict import Spells, Verdict, drop_of, learned_skill
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.sinks.records import RunRecord, State

RETRIEVAL = "retrieval"
"""Name of the evidence that the score of a run is retrieval within groups."""

CHANCE = "chance"
"""Name of the evidence with the retrieval score of random answers."""

ONE_POINT = -0.001
"""Uniformity above which embeddings count as one point; networks with random weights have less than -0.005."""

SHRUNK = 0.1
"""Uniformity, as a fraction of its value at the first check, below which embeddings count as one point."""

ONE_LINE = 1.5
"""Effective rank below which embeddings count as one line."""

REMEDIES = (
    "the inputs of {name}: are they constant, empty, or scaled to almost nothing?",
    "the training loader: is each {name} given with its own {rest}?",
    "the end of the encoder of {name}: a ReLU that never fires, a large weight decay or learning rate",
    "the loss: one without negatives, or with wrong pairs, is smallest where all embeddings are equal",
)


def reads_retrieval(row: RunRecord) -> bool:
    """Return whether the score of a run is retrieval within groups."""
    return row.evidence.get(RETRIEVAL, 0.0) > 0


def is_collapsed_tower(rows: Sequence[RunRecord], name: str) -> bool:
    """Return whether the embeddings of a modality are one point or one line at the last run.

    The condition is a uniformity above -0.001 or above 0.1 times that of the first run, or an effective rank below 1.5.

    Args:
        rows: The runs, in order.
        name: Name of the modality.
    """
    first, last = (row.values.get(f"uniformity/{name}") for row in (rows[0], rows[-1]))
    if first is None or last is None:
        return False
    one_line = rows[-1].values.get(f"effective_rank/{name}", ONE_LINE) < ONE_LINE
    return last > min(ONE_POINT, SHRUNK * first) or one_line


@dataclass(frozen=True)
class TowerRule:
    """The rule by which one of two modalities whose pairs are scored counts as collapsed or unused.

    Checks count from the first one with a skill above ``min_skill`` of :class:`CollapseRule`; checks with collapsed
    embeddings always count. A check is *silent* on a modality if its embeddings have collapsed
    (:func:`is_collapsed_tower`) and swapping it loses less than ``max_drop`` of skill. It is silent on both modalities
    if no embeddings have collapsed and the skill is below ``max_drop``: pairs were found before and no longer are. If
    the last ``patience`` checks are silent on a modality, it is *collapsed* if its embeddings have collapsed, otherwise
    *unused*. With ``expected``, the modalities named there are *collapsed*, and no others.

    Attributes:
        limits: The limits.
    """

    limits: CollapseRule

    def judge(
        self, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> dict[str, Verdict]:
        """Judge the two modalities after the last of the rows; arguments as for :meth:`CollapseRule.judge`."""
        names = [name for name in modalities if f"total/{name}" in rows[-1].values]
        pairs = [row for row in rows if all(f"total/{name}" in row.values for name in names)]
        collapsed = [
            [name for name in names if is_collapsed_tower(pairs[: end + 1], name)] for end in range(len(pairs))
        ]
        learned = [any(self._finds(row, score_reference) for row in pairs[: end + 1]) for end in range(len(pairs))]
        checks = [(row, gone) for row, gone, knows in zip(pairs, collapsed, learned, strict=True) if gone or knows]
        return {name: self._verdict(name, checks, score_reference, names) for name in names}

    def _finds(self, row: RunRecord, score_reference: ScoreReference) -> bool:
        return (learned_skill(row, score_reference)[0] or 0.0) > self.limits.min_skill

    def _verdict(
        self,
        name: str,
        checks: Sequence[tuple[RunRecord, Sequence[str]]],
        score_reference: ScoreReference,
        names: Sequence[str],
    ) -> Verdict:
        rows = [row for row, _ in checks]
        silent_at = [self._silent(row, name, gone, score_reference) for row, gone in checks]
        spells = Spells.of(rows, silent_at, self.limits.patience)
        found = spells.verdict(name, rows, score_reference, names)
        if not spells.silent:
            return found
        expected = self.limits.expected
        collapsed = name in expected if expected is not None else name in checks[-1][1]
        return replace(found, state=State.COLLAPSED if collapsed else State.UNUSED)

    def _silent(self, row: RunRecord, name: str, gone: Sequence[str], score_reference: ScoreReference) -> bool:
        lost = drop_of(row, name, score_reference) if gone else learned_skill(row, score_reference)[0]
        return (name in gone or not gone) and (lost or 0.0) < self.limits.max_drop


def rule_for(row: RunRecord, limits: CollapseRule) -> CollapseRule | TowerRule:
    """Return the rule for a run: the rule for towers if the score is retrieval."""
    return TowerRule(limits) if reads_retrieval(row) else limits


def tower_headline(verdict: Verdict) -> str:
    """Return the finding about a modality that is not used, in a few words."""
    if verdict.state is State.COLLAPSED:
        return "its embeddings no longer tell its examples apart" + (", from the start" if verdict.from_start else "")
    return "the model found pairs by it before and no longer does"


def tower_evidence(row: RunRecord, name: str, rest: Sequence[str]) -> list[str]:
    """Return the measurements of a tower in a run, one line each; empty if its embeddings were not measured."""
    told = {
        "uniformity": ("uniformity of its embeddings {own} (0 is one point); that of {other} {others}", 3),
        "effective_rank": ("effective rank of its embeddings {own} (1 is one line); that of {other} {others}", 1),
    }
    values, other = row.values, next(iter(rest), "")
    lines = []
    for key, (line, decimals) in told.items():
        if f"{key}/{name}" in values:
            own, others = (fixed(values.get(f"{key}/{side}", math.nan), decimals) for side in (name, other))
            lines.append(line.format(own=own, other=other, others=others))
    return lines


def tower_remedies(name: str, rest: Sequence[str]) -> list[str]:
    """Return advice for a collapsed tower, one line each."""
    return ["What to try:", *(f"  - {line.format(name=name, rest=' and '.join(rest))}" for line in REMEDIES)]
