"""A verdict in words: the state of a modality, its first check, the evidence, and advice."""

import math
from collections.abc import Iterable, Sequence

from mviz_lightning.collapse.towers import reads_retrieval, tower_evidence, tower_headline, tower_remedies
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.functional.numerals import fixed, percent
from mviz_lightning.sinks.records import Alert, RunRecord, State, of_head

REMEDIES = (
    "the training loader: is {name} of the same example as its label, normalised once, and not constant or empty?",
    "a shortcut in {rest}: does it hold the label, or something that stands for it?",
    "modality dropout: hide {rest} in some training examples, so that {name} has to answer alone",
    "a larger learning rate for the encoder of {name}, or a smaller one for {rest}; nothing frozen or detached",
)
TOLD_BY_OTHERS = (
    "What {name} tells, {rest} tell{s} too, as far as a regression can see: the model may well do without it.",
    "If {rest} hold{s} a leaked label, it looks the same: look for one. If {name} must be used, name it in expected=.",
)
UNTESTED = (
    "its raw inputs could not be tested: no table of numbers, too few examples or families of kin, or copies of few"
)
WITHOUT_LABELS = (
    "without labels (target=), flips alone are judged (totals in a regression), from the third check on, and only "
    "modalities named in expected= can be called collapsed."
)
OWN_ANSWERS = "the nats a token that own answers lose are judged, from the third check on."
UNPROVEN_ANSWERS = (
    " Answers that are texts are no labels, so no regression on raw inputs can prove that {name} is informative: pass "
    "UnimodalCollapse(expected={names}), or a model that does without is only called unused, and no alarm is raised."
)
WITHOUT_SCALE = (
    "score= gives one constant answer the same value as the labels themselves, or none; flips alone are judged (totals "
    "in a regression), from the third check on."
)
NEVER_LEARNED = (
    "no modality was judged: the score never got {0:.0%} of the way from chance to a perfect score (min_skill={0:g}). "
    "Train longer, or lower min_skill."
)
NATS = "nats/"
"""Prefix of the names of own answers' losses."""

PERFECT = 0.95
"""Skill (0 to 1) above which an unused modality can improve the model only a little."""

NAMED = 2
"""Largest number of other modalities named in a message."""


def alert(verdict: Verdict, footer: str = "") -> Alert:
    """Return the alert for a verdict: state, evidence and advice, one line each.

    Args:
        verdict: Verdict on the modality.
        footer: Last line; ``""`` for none.
    """
    lines = [headline(verdict), *(f"  {line}" for line in evidence(verdict)), *_advice(verdict)]
    return Alert(
        of_head(verdict.head, f"alarm/{verdict.modality}"),
        f"{verdict.subject}: {verdict.state.name.lower()}",
        "\n".join([*lines, *([footer] if footer else [])]),
        urgent=verdict.state is State.COLLAPSED,
        head=verdict.head,
        modality=verdict.modality,
        state=int(verdict.state),
    )


def _advice(verdict: Verdict) -> list[str]:
    name = verdict.modality
    rest = " and ".join(verdict.rest) if len(verdict.rest) <= NAMED else "the others"
    if verdict.rose_from is not None:
        return [f"No alarm while it rises by so much that {name} soon counts as used: nothing to do yet."]
    if verdict.state is State.REDUNDANT:
        ending = "s" * (len(verdict.rest) == 1)
        return [line.format(name=name, rest=rest, s=ending) for line in TOLD_BY_OTHERS]
    if _is_tower(verdict) and verdict.state is not State.USED:
        return tower_remedies(name, verdict.rest)
    if verdict.state is State.UNUSED:
        return [f"That is as it should be if {name} has nothing to add; otherwise name it in expected=."]
    if verdict.state is State.USED:
        return []
    lines = ["What to try:", *(f"  - {line.format(name=name, rest=rest)}" for line in REMEDIES)]
    if verdict.skill is not None and verdict.skill > PERFECT:
        lines.append(
            f"There is little left to gain. Either {rest} really says it all, and all is well (name in expected= what "
            "must be used), or the label leaks into it: the two look alike from here."
        )
    return lines


def without_score(row: RunRecord, expected: Sequence[str] | None) -> str:
    """Return a sentence about what is judged in runs whose score cannot be compared with a constant answer.

    Args:
        row: One of the runs.
        expected: Names of the modalities that must be used; None if the user named none.
    """
    names = [key.removeprefix(NATS) for key in row.values if key.startswith(NATS)]
    if names:
        unproven = UNPROVEN_ANSWERS.format(name=" and ".join(names), names=names) if expected is None else ""
        return OWN_ANSWERS + unproven
    return WITHOUT_SCALE if "score" in row.values else WITHOUT_LABELS


def headline(verdict: Verdict) -> str:
    """Return the state of a modality and its first check, in one line."""
    since = "" if verdict.since is None else f" since epoch {verdict.since.epoch} (step {verdict.since.step})"
    if verdict.state is State.USED:
        return f"{verdict.subject}: used{since}"
    if _is_tower(verdict):
        return f"{verdict.subject}: {verdict.state.name.lower()}{since}; {tower_headline(verdict)}"
    relied = "has hardly relied on it so far" if verdict.from_start else "no longer relies on it"
    relied = relied if since else "hardly relies on it"
    told = {
        State.COLLAPSED: ", though it is informative",
        State.REDUNDANT: ", and the others tell the same",
        State.UNUSED: "" if verdict.rose_from is None else "; not yet learned, its total still rises",
    }
    return f"{verdict.subject}: {verdict.state.name.lower()}{since}; the model {relied}{told[verdict.state]}"


def standing(verdicts: Iterable[Verdict]) -> list[str]:
    """Return a line for each modality that is or was not used: its state and its first check."""
    return [headline(one) for one in verdicts if one.row is not None and (one.state or one.since is not None)]


def evidence(verdict: Verdict) -> list[str]:
    """Return the evidence for a verdict, one line each; empty if no check could be judged."""
    if verdict.row is None:
        return []
    if _is_tower(verdict):
        return [*_lost(verdict), *tower_evidence(verdict.row, verdict.modality, verdict.rest)]
    values, key = verdict.row.values, f"total/{verdict.modality}"
    low, high = (values.get(bound_name(key, side), math.nan) for side in ("low", "high"))
    flips = values.get(f"flips/{verdict.modality}")
    bounds = "" if math.isnan(low + high) else f" (95 %: {percent(low)} to {percent(high)})"
    decided = "" if flips is None else f", and {percent(flips)} of the predictions that swapping everything changes"
    total = percent(values[key])
    lines = [f"swapping it changes {total} of the outputs' variance{bounds}{decided}"]
    lines += _lost(verdict)
    single = verdict.row.evidence.get(f"single/{verdict.modality}")
    if single is not None:
        output = verdict.output(int(verdict.row.evidence[f"single_output/{verdict.modality}"]))
        size = percent(max(0.0, single))
        lines.append(f"of single outputs, it changes most of {output}: {size} of its variance")
    if verdict.rose_from is not None:
        lines.append(f"its total rose from {percent(verdict.rose_from)} to {total} since the check before")
    return [*lines, *_proof(verdict), *_gain(verdict)]


def _is_tower(verdict: Verdict) -> bool:
    """Return whether the modality is one of two towers whose pairs are scored."""
    return verdict.row is not None and reads_retrieval(verdict.row)


def _lost(verdict: Verdict) -> list[str]:
    """Return the loss in score when the modality is swapped; empty if unknown."""
    values = {} if verdict.row is None else verdict.row.values
    if f"{NATS}{verdict.modality}" in values:
        nats, own = (values[f"{key}/{verdict.modality}"] for key in ("nats", "retrieval"))
        return [f"an answer loses {nats:.3f} nats a token when it is swapped; {own:.0%} of the answers find their own"]
    if verdict.drop is None:
        return []
    swapped = values["score"] - values[f"perceptual/{verdict.modality}"]
    lost = f"{percent(verdict.drop)} of the way from chance to perfection" if verdict.drop > 0 else "nothing is lost"
    return [f"the score is {fixed(values['score'], 3)}, and {fixed(swapped, 3)} when it is swapped: {lost}"]


def _gain(verdict: Verdict) -> list[str]:
    """Return the gain of the raw inputs over the others', and its outputs; empty if unknown."""
    proof = verdict.beyond
    if proof is None:
        return []
    gain, error = percent(proof.gain), percent(proof.error)
    adds = f"with the raw inputs of the others, it adds {gain} +- {error} (standard error)"
    lines = [f"{adds} of the labels' variance beyond the others"]
    if proof.outputs:
        gains = ((verdict.output(one.output), percent(one.gain, 0), percent(one.error, 0)) for one in proof.outputs)
        named = ", ".join(f"{output} ({gain} +- {error})" for output, gain, error in gains)
        lines.append(f"of the variance of single outputs' labels, it adds most to {named}")
    return lines


def _proof(verdict: Verdict) -> list[str]:
    """Return the result of the regression on the raw inputs, or the reason why there is none."""
    told = verdict.alone
    if told is None:
        asked = verdict.state is not State.USED and verdict.skill is not None
        return [UNTESTED] * asked
    found = (
        f"explains {told.explained:.0%} (standard error {told.error:.0%})" if told.explained > 0 else "explains none"
    )
    how = f"of the labels' variance in {told.examples} held-out examples"
    return [f"without the model, a regression on its raw inputs {found} {how}"]
