"""A verdict on a modality in words: what was found, since when, and what to try."""

import math

from mviz_lightning.collapse import Verdict
from mviz_lightning.functional import bound_name
from mviz_lightning.records import Alert, State

REMEDIES = (
    "the loader: is {name} of the same example as its label, normalised once, and not constant or empty?",
    "a shortcut in {rest}: does it hold the label, or something that stands for it?",
    "modality dropout: hide {rest} in some training examples, so that {name} has to answer alone",
    "a larger learning rate for the encoder of {name}, or a smaller one for {rest}; nothing frozen or detached",
)


def alert(verdict: Verdict, footer: str = "") -> Alert:
    """Say what a modality's state is, with the evidence and what to try.

    Args:
        verdict: Of the modality.
        footer: A last line.
    """
    lines = [headline(verdict), *(f"  {line}" for line in evidence(verdict)), *_advice(verdict)]
    return Alert(
        f"alarm/{verdict.modality}",
        f"{verdict.modality}: {verdict.state.name.lower()}",
        "\n".join([*lines, *([footer] if footer else [])]),
        urgent=verdict.state is State.COLLAPSED,
    )


def _advice(verdict: Verdict) -> list[str]:
    if verdict.state is State.COLLAPSED:
        rest = " or ".join(verdict.rest)
        return ["What to try:", *(f"  - {line.format(name=verdict.modality, rest=rest)}" for line in REMEDIES)]
    if verdict.state is State.UNUSED:
        return [f"That is as it should be if {verdict.modality} has nothing to add; otherwise name it in expected=."]
    return []


def headline(verdict: Verdict) -> str:
    """Say what a modality's state is, and since when."""
    since = "" if verdict.since is None else f" since epoch {verdict.since.epoch} (step {verdict.since.step})"
    if verdict.state is State.USED:
        return f"{verdict.modality}: used{since}"
    did = "has never used" if verdict.from_start else "has stopped using"
    proven = ", though it is informative" if verdict.state is State.COLLAPSED else ""
    return f"{verdict.modality}: {verdict.state.name.lower()}{since}; the model {did} it{proven}"


def evidence(verdict: Verdict) -> list[str]:
    """Return what a verdict rests on, a line each."""
    if verdict.row is None:
        return []
    values, key = verdict.row.values, f"total/{verdict.modality}"
    low, high = (values.get(bound_name(key, side), math.nan) for side in ("low", "high"))
    flips = values.get(f"flips/{verdict.modality}")
    bounds = "" if math.isnan(low + high) else f" (95 %: {low:.1%} to {high:.1%})"
    decided = "" if flips is None else f", and {flips:.1%} of the predictions that swapping everything changes"
    lines = [f"swapping it changes {values[key]:.1%} of the outputs' variance{bounds}{decided}"]
    if verdict.drop is not None:
        lost = values[f"perceptual/{verdict.modality}"]
        lines.append(
            f"the score is {values['score']:.3f}, and {values['score'] - lost:.3f} when it is swapped; from chance to "
            f"perfection, that is {verdict.drop:.1%} of the way"
        )
    if verdict.alone is not None:
        told = verdict.alone
        lines.append(
            f"without the model, a regression on its raw inputs explains {told.explained:.0%} (standard error "
            f"{told.error:.0%}) of the labels' variance in {told.examples} held-out examples"
        )
    return lines
