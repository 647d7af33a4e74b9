"""Does a model still use a modality? A pure function of the runs so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mviz_lightning.collapse.beyond_others_proof import SURE, BeyondOthersProof
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.verdict import Spells, drop_of, learned_skill
from mviz_lightning.collapse.verdict import Verdict as Verdict  # noqa: PLC0414 - the name that users know
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.sinks.records import RunRecord, State

WARM_UP = 2
"""Number of first checks of a fit that are ignored if there are no labels, because skill is then unknown."""

SAME = 0.95
"""Smallest share of its own variance, predicted by the others, at which a modality counts as a function of them."""

LOOSE = 2
"""Factor on ``max_total`` for a modality that changes few decisions: a check is silent on it below their product."""


@dataclass(frozen=True)
class CollapseRule:
    """The rule by which a modality counts as unused, collapsed or redundant.

    A check is *silent* on a modality if swapping it hardly changes the outputs (or changes them a little, and few
    decisions) and hardly changes the score:
    ``(total < max_total or (total < 2 * max_total and flips < max_flips)) and drop < max_drop``.
    Without labels there is no ``drop``, and the condition is ``total < 2 * max_total and flips < max_flips``. In a
    regression, and if all decisions are equal, flips are not used. With M modalities, ``max_total`` is multiplied by
    ``2 / M``.

    For own answers, the condition is ``nats/<m> < min_nats``: the answer's loss in nats per token when the modality is
    swapped. With more than 16 outputs, a check is not silent on a modality with ``max_single`` or more of one output's
    variance.

    * A check counts if the skill is above ``min_skill``, or above three of its standard errors if these are less (for
      example with 100 classes or more): before a model has learned, shares have no meaning. Below ``min_skill``,
      ``max_drop`` is reduced in proportion.
    * If the last ``patience`` checks are silent on a modality, it is not used. Then it is
    * *collapsed*, if it is named in ``expected``; or if its raw inputs explain more than ``min_gain`` of the labels'
      variance beyond the others (and more than three standard errors), or have a proven gain for a single output's
      label; or if they explain more than ``min_alone`` alone (and more than three standard errors), unless it is
      redundant. With ``expected``, no other modality is collapsed;
    * *redundant*, if its raw inputs are proven to explain the labels alone, no gain beyond the others is proven, the
      gain plus two standard errors is below ``max_gain``, and the others' raw inputs predict ``min_foretold`` of the
      modality's own variance. If they predict nearly all of it (95 %), it is a function of the others, and redundant
      at any gain;
    * *unused* otherwise. It is also *unused* instead of collapsed while it is not yet learned: at every check so far,
      its total has risen beyond the interval of the new total, the score has not fallen, and the square root of the
      total, at its present rate, reaches the limit within ``wait`` checks.

    Attributes:
        expected: Names of the modalities that must be used; None for all modalities that regressions prove informative.
        patience: Number of consecutive silent checks.
        max_total: Largest total effect of a silent check, as a share of the outputs' variance, for two modalities.
        max_flips: Largest share of changed predictions, ``flips/<m>``, of a silent check.
        max_drop: Largest loss of skill when the modality is swapped, for a silent check.
        min_skill: Skill above which a model has learned, for any standard error.
        min_alone: Smallest share of the labels' variance, from 0 to 1, that an informative modality explains alone.
        min_gain: Smallest share of the labels' variance that an informative modality explains beyond the others.
        max_gain: Largest share of the labels' variance that a redundant modality explains beyond the others.
        max_single: Share of a single output's variance from which a check is not silent.
        min_nats: Smallest loss of an answer, in nats per token, without a modality that it needs; 0.02 is 2 % of the
            perplexity.
        min_foretold: Smallest share of a redundant modality's own variance that the others' raw inputs predict.
        wait: Number of further checks within which a rising total must reach the limit; 0 for no waiting.
    """

    expected: Sequence[str] | None = None
    patience: int = 2
    max_total: float = 0.05
    max_flips: float = 0.1
    max_drop: float = 0.05
    min_skill: float = 0.1
    min_alone: float = 0.005
    min_gain: float = 0.005
    max_gain: float = 0.01
    max_single: float = 0.5
    min_nats: float = 0.02
    min_foretold: float = 0.1
    wait: int = 4

    def judge(
        self, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> dict[str, Verdict]:
        """Judge every modality after the last of the rows.

        Args:
            rows: Runs of the monitor with values, in order.
            score_reference: The reference of the scores of these runs.
            modalities: Names, in declared order.

        Returns:
            Modality -> its verdict.
        """
        judged = [row for number, row in enumerate(rows) if self._learned(row, number, score_reference)]
        of = {name: [row for row in judged if f"total/{name}" in row.values] for name in modalities}  # others lack it
        return {name: self._verdict(name, of[name], score_reference, modalities) for name in modalities}

    def _learned(self, row: RunRecord, number: int, score_reference: ScoreReference) -> bool:
        skill, error = learned_skill(row, score_reference)
        settled = number >= WARM_UP or row.phase != "fit"
        return settled if skill is None else skill > min(self.min_skill, SURE * error)

    def _verdict(
        self, name: str, rows: Sequence[RunRecord], score_reference: ScoreReference, modalities: Sequence[str]
    ) -> Verdict:
        limit = self.max_total * 2 / len(modalities)
        spells = Spells.of(rows, [self._silent(row, name, score_reference, limit) for row in rows], self.patience)
        verdict = replace(
            spells.verdict(name, rows, score_reference, modalities),
            alone=(score_reference.alone or {}).get(name),
            beyond=(score_reference.beyond or {}).get(name),
        )
        if not spells.silent:
            return verdict
        state = self._state(name, verdict.alone, verdict.beyond)
        if state is State.COLLAPSED and self._rises(rows, spells.silent, name, score_reference, limit):
            return replace(verdict, state=State.UNUSED, rose_from=rows[-2].values[f"total/{name}"])
        return replace(verdict, state=state)

    def _silent(self, row: RunRecord, name: str, score_reference: ScoreReference, max_total: float) -> bool:
        """Return whether a check is silent on a modality."""
        if row.evidence.get(f"single/{name}", 0.0) >= self.max_single:
            return False
        if f"nats/{name}" in row.values:
            return row.values[f"nats/{name}"] < self.min_nats
        drop, total = drop_of(row, name, score_reference), row.values[f"total/{name}"]
        undecided = row.values.get(f"flips/{name}", math.inf) < self.max_flips and total < LOOSE * max_total
        # Flips of a model with constant decisions are no evidence.
        undecided = undecided and row.evidence.get("decides", 1.0) > 0
        if drop is not None:
            return (undecided or total < max_total) and drop < self._max_drop(row, score_reference)
        return undecided if _decides(row) else total < max_total

    def _max_drop(self, row: RunRecord, score_reference: ScoreReference) -> float:
        """Return the loss of skill below which a check is silent; it is reduced in proportion to a small skill."""
        skill = learned_skill(row, score_reference)[0]
        small = skill is not None and 0 < skill < self.min_skill
        return self.max_drop * skill / self.min_skill if small and skill is not None else self.max_drop

    def _state(self, name: str, alone: RawInputProof | None, beyond: BeyondOthersProof | None) -> State:
        """Return the state of a modality that is not used, from its proofs."""
        tells = alone is not None and alone.explained > max(self.min_alone, SURE * alone.error)
        adds = beyond is not None and not self._same(beyond) and self._gains(beyond)
        nothing = beyond is not None and not adds and self._adds_nothing(beyond)
        collapsed = adds or (tells and not nothing) if self.expected is None else name in self.expected
        return State.COLLAPSED if collapsed else State.REDUNDANT if tells and nothing else State.UNUSED

    @staticmethod
    def _same(beyond: BeyondOthersProof) -> bool:
        """Return whether a modality is a function of the others; then it adds nothing, at any gain of a regression."""
        return beyond.foretold is not None and beyond.foretold >= SAME

    def _gains(self, beyond: BeyondOthersProof) -> bool:
        return beyond.gain > max(self.min_gain, SURE * beyond.error) or bool(beyond.outputs)

    def _adds_nothing(self, beyond: BeyondOthersProof) -> bool:
        """Return whether no gain was found, and none was missed: the others predict enough of the modality itself."""
        if beyond.foretold is not None and beyond.foretold < self.min_foretold:
            return False
        return self._same(beyond) or beyond.gain + 2 * beyond.error < self.max_gain

    def _rises(
        self, rows: Sequence[RunRecord], silent: int, name: str, score_reference: ScoreReference, limit: float
    ) -> bool:
        """Return whether a total has risen at every silent check that could have raised the alarm.

        Args:
            rows: The checks that were judged.
            silent: Number of silent checks at the end.
            name: The modality.
            score_reference: The reference of the scores.
            limit: The total from which the modality counts as used.
        """
        first = len(rows) - silent + self.patience - 1
        pairs = [(rows[place - 1], rows[place]) for place in range(max(1, first), len(rows))]
        found = [rises(*pair, name, limit, self.wait) and not falls(*pair, score_reference) for pair in pairs]
        return first > 0 and all(found)


def rises(before: RunRecord, now: RunRecord, name: str, limit: float, checks: int) -> bool:
    """Return whether a total rises beyond its interval, and fast enough to reach a limit within ``checks`` checks.

    The square root of the total is proportional to the weight of the modality in the outputs, which training changes
    step by step.

    Args:
        before: The check before.
        now: The latest check.
        name: The modality.
        limit: The total to reach.
        checks: Number of further checks.
    """
    key = f"total/{name}"
    first, last, low = before.values[key], now.values[key], now.values.get(bound_name(key, "low"), math.nan)
    old, new = math.sqrt(max(0.0, first)), math.sqrt(max(0.0, last))
    return first < low and new + checks * (new - old) >= math.sqrt(limit)


def falls(before: RunRecord, now: RunRecord, score_reference: ScoreReference) -> bool:
    """Return whether the skill has fallen by more than its standard error."""
    (first, _), (last, error) = learned_skill(before, score_reference), learned_skill(now, score_reference)
    return first is not None and last is not None and last < first - (0.0 if math.isinf(error) else error)


def _decides(row: RunRecord) -> bool:
    """Return whether swapping some modality changed some prediction."""
    return row.evidence.get("decides", 1.0) > 0 and any(
        value > 0 for name, value in row.values.items() if name.startswith("flips/")
    )


def state_name(modality: str) -> str:
    """Return the name under which the state of a modality is logged."""
    return f"collapse/{modality}"
