"""The rule's four states, its gates in standard errors, and slow starters."""

from dataclasses import replace

import pytest
from collapse.test_rule import ACCURACY, TOLD, check, history, is_silent, rule, said, states, verdict

from mviz_lightning.collapse import messages
from mviz_lightning.collapse.beyond_others_proof import BeyondOthersProof, OutputGain
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.rule import CollapseRule, learned_skill, rises
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.explainers.contribution_shares.figure import NOT_USED
from mviz_lightning.explainers.contribution_shares.tables import history_table
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import RunRecord, State

USED, UNUSED, COLLAPSED, REDUNDANT = State
SURELY, HARDLY = RawInputProof(0.4, 0.02, 512), RawInputProof(0.004, 0.001, 512)


def gain(value: float, error: float = 0.001, foretold: float | None = 0.8) -> BeyondOthersProof:
    return BeyondOthersProof(value, error, 512, foretold=foretold)


def known(alone: RawInputProof | None, beyond: BeyondOthersProof | None) -> ScoreReference:
    of_alone = {} if alone is None else {"b": alone}
    return replace(ACCURACY, alone=of_alone, beyond={} if beyond is None else {"b": beyond})


# -- Four states -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alone", "beyond", "state"),
    [
        (SURELY, gain(0.15, 0.013), COLLAPSED),
        (SURELY, gain(0.0), REDUNDANT),  # a copy
        (SURELY, gain(-0.01), REDUNDANT),
        (SURELY, gain(0.004, 0.0029), REDUNDANT),
        (SURELY, gain(0.004, 0.0031), COLLAPSED),  # it may add 1 %: two standard errors
        (SURELY, gain(0.02, 0.01), COLLAPSED),  # it may add something, and surely tells something
        (
            SURELY,
            gain(0.0, 0.0, 0.09),
            COLLAPSED,
        ),  # nearly all of it is its own: a gain that is not found may be missed
        (SURELY, gain(0.0, 0.0, 0.11), REDUNDANT),
        (SURELY, gain(0.03, 0.004, 0.96), REDUNDANT),  # a part of another one: a better suited kernel, nothing new
        (SURELY, gain(0.03, 0.004, 0.94), COLLAPSED),
        (HARDLY, gain(0.03, 0.004, 0.96), UNUSED),
        (SURELY, gain(0.0, 0.0, None), REDUNDANT),  # a proof of an older version
        (SURELY, None, COLLAPSED),  # no other modality has numbers
        (HARDLY, gain(0.09, 0.015), COLLAPSED),  # a partner of an XOR tells nothing alone
        (HARDLY, gain(0.09, 0.031), UNUSED),  # less than three standard errors
        (HARDLY, gain(0.0), UNUSED),
        (None, gain(0.0051, 0.001), COLLAPSED),
        (None, gain(0.0049, 0.001), UNUSED),
        (RawInputProof(0.0051, 0.0016, 512), gain(0.02, 0.01), COLLAPSED),  # of 100 classes little is explained
        (RawInputProof(0.0051, 0.0018, 512), gain(0.02, 0.01), UNUSED),
        (None, None, UNUSED),
    ],
)
def test_what_is_silent_is_named_by_what_its_inputs_tell_alone_and_beyond_the_others(
    alone: RawInputProof | None, beyond: BeyondOthersProof | None, state: State
) -> None:
    found = verdict(history("ss"), CollapseRule(), known(alone, beyond))

    assert found.state is state
    assert (found.alone, found.beyond) == (alone, beyond)


@pytest.mark.parametrize("beyond", [gain(0.5), gain(0.0)])
def test_no_proof_touches_what_is_used(beyond: BeyondOthersProof) -> None:
    assert verdict(history("ssu"), CollapseRule(), known(SURELY, beyond)).state is USED


@pytest.mark.parametrize(
    ("expected", "beyond", "state"),
    [(("b",), gain(0.0), COLLAPSED), (("a",), gain(0.0), REDUNDANT), (("a",), gain(0.5), UNUSED)],
)
def test_what_is_expected_collapses_and_nothing_else(
    expected: tuple[str, ...], beyond: BeyondOthersProof, state: State
) -> None:
    assert verdict(history("ss"), CollapseRule(expected), known(SURELY, beyond)).state is state


def test_a_redundant_modality_is_a_notice_that_names_the_leak_it_may_be() -> None:
    alert = messages.alert(said("uss", replace(TOLD, beyond={"b": gain(0.001, 0.002)})))

    assert (alert.title, alert.urgent) == ("b: redundant", False)
    lines = alert.text.splitlines()
    assert lines[0] == (
        "b: redundant since epoch 1 (step 10); the model no longer relies on it, and the others contain the same "
        "information"
    )
    assert (
        "  with the raw inputs of the others, it adds 0.1% +- 0.2% (standard error) of the labels' variance beyond "
        in (alert.text)
    )
    assert lines[-2:] == [
        "A regression found no information in b that a lacks, so the model may not need it.",
        "A leaked label in a gives the same result: check for one. If b must be used, name it in expected=.",
    ]


@pytest.mark.parametrize("state", [UNUSED, COLLAPSED, REDUNDANT, USED])
def test_every_message_says_what_is_added_beyond_the_others(state: State) -> None:
    text = messages.alert(replace(said("ss"), state=state, beyond=gain(0.152, 0.013))).text

    assert "it adds 15.2% +- 1.3% (standard error) of the labels' variance beyond the others" in text


def test_a_gain_of_nothing_has_no_sign() -> None:
    text = messages.alert(replace(said("ss"), state=REDUNDANT, beyond=gain(-0.0002, 0.001))).text

    assert "it adds 0.0% +- 0.1%" in text


def test_single_outputs_are_named() -> None:
    proof = replace(gain(0.02), outputs=[OutputGain(7, 0.66, 0.03), OutputGain(3, 0.1, 0.02)])
    verdict = replace(said("ss"), beyond=proof)

    assert "it adds most to output 7 (66% +- 3%), output 3 (10% +- 2%)" in messages.alert(verdict).text
    named = replace(verdict, class_names=list("abcdefgh"))
    assert "it adds most to 'h' (66% +- 3%), 'd' (10% +- 2%)" in messages.alert(named).text


def test_the_fourth_state_is_drawn_and_written() -> None:
    rows = [RunRecord("fit", 0, 0, {"total/a": 0.9, "total/b": 0.01, "collapse/a": 0.0, "collapse/b": 3.0})]

    assert history_table(rows, ("a", "b")).splitlines()[1].endswith("b redundant")
    assert NOT_USED[REDUNDANT] not in (NOT_USED[UNUSED], NOT_USED[COLLAPSED])


def test_a_proof_beyond_the_others_survives_a_checkpoint_and_old_ones_are_fitted_anew() -> None:
    found = known(SURELY, replace(gain(0.02), outputs=[OutputGain(7, 0.66, 0.03)]))

    assert ScoreReference.load(found.state()) == found
    assert found.proven
    older = {name: value for name, value in found.state().items() if name != "beyond"}
    assert not ScoreReference.load(older).proven


# -- Gates in standard errors ------------------------------------------------------------------------------------------


def of_all(number: int, skill: float, error: float, **found: float) -> RunRecord:
    """A check that is silent on b, with the skill on all fixed examples."""
    return replace(is_silent(number, **found), evidence={"skill": skill, "skill_error": error, "decides": 1.0})


@pytest.mark.parametrize(
    ("skill", "error", "judged"),
    [
        (0.02, 0.006, True),  # 100 classes: 3 % right, of 512 examples
        (0.02, 0.007, False),
        (0.09, 0.05, False),
        (0.101, 0.05, True),  # whatever the error, a tenth is enough
        (-0.01, 0.0, False),
    ],
)
def test_a_model_has_learned_at_three_standard_errors_or_a_tenth(skill: float, error: float, *, judged: bool) -> None:
    found = verdict([of_all(number, skill, error, score=0.5) for number in range(2)])

    assert (found.state is COLLAPSED) == judged
    assert found.skill == (skill if judged else None)


def test_without_an_error_the_share_decides() -> None:
    row = replace(is_silent(0), evidence={"skill": 0.05})

    assert learned_skill(row, ACCURACY) == (0.05, float("inf"))
    assert states([row, row]) == ".."


@pytest.mark.parametrize(("drop", "expected"), [(0.0, "C"), (0.0119, "C"), (0.0121, "."), (0.039, ".")])
def test_of_a_small_skill_a_small_drop_is_much(drop: float, expected: str) -> None:
    """Of a skill of 0.03 the limit of 0.08 at 0.1 becomes 0.024, which is 0.012 of an accuracy from 0.5 to 1."""
    assert states([of_all(0, 0.03, 0.001, drop=drop)], rule(1)) == expected


def test_a_model_that_decides_nothing_is_judged_by_its_outputs_with_labels_too() -> None:
    """Of 500 rare labels none is ever predicted: flips are 0 for all modalities."""
    rows = history("ss", total=0.07, flips=0.0)

    assert states(rows) == ".C"
    assert states([replace(row, evidence={"decides": 0.0}) for row in rows]) == ".."
    assert states([replace(row, evidence={"decides": 1.0}) for row in rows]) == ".C"


def test_evidence_is_kept_by_histories_and_older_ones_are_read() -> None:
    past, again = History(["a", "b"]), History(["a", "b"])
    for row in (of_all(0, 0.02, 0.006), is_silent(1)):
        past.add(row)
    state = past.state()
    assert "evidence" not in state["rows"][1]

    again.load(state)
    assert list(again) == list(past)


# -- Slow starters -----------------------------------------------------------------------------------------------------


def growing(*totals: float, scores: tuple[float, ...] = (), width: float = 0.2) -> list[RunRecord]:
    """Silent checks whose total grows, with an interval of a fifth of it on each side."""
    given = scores or (0.9,) * len(totals)
    pairs = zip(totals, given, strict=True)
    return [
        is_silent(number, total=total, score=score, **{"total_low/b": (1 - width) * total})
        for number, (total, score) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ((0.001, 0.004, 0.009, 0.016, 0.025, 0.06), ".CCCCC"),  # linear weights, but too far from the limit at first
        ((0.004, 0.012, 0.025, 0.04), ".UUU"),
        ((0.004, 0.012, 0.012, 0.02), ".UCC"),  # it has stopped: an alarm until it is used
        ((0.01, 0.011, 0.012), ".CC"),  # within its noise
        ((0.02, 0.01, 0.02), ".CC"),  # it falls first
    ],
)
def test_a_total_that_rises_to_the_limit_is_not_yet_learned(totals: tuple[float, ...], expected: str) -> None:
    rows = [*growing(*totals[:5]), *(check(5, total=total) for total in totals[5:])]
    told = states(rows, rule())

    assert told == (expected if len(totals) < 6 else expected[:5] + ".")


def test_a_modality_that_is_used_in_the_end_never_had_an_alarm() -> None:
    rows = [*growing(0.004, 0.013, 0.028, 0.045), check(4, total=0.08), check(5, total=0.3)]

    assert states(rows) == ".UUU.."


def test_what_is_not_yet_learned_says_so() -> None:
    alert = messages.alert(verdict(growing(0.004, 0.012)))

    assert (alert.title, alert.urgent) == ("b: unused", False)
    assert alert.text.splitlines()[0].endswith("; not yet learned, its total still rises")
    assert "its total rose from 0.4% to 1.2% since the check before" in alert.text
    assert "expected=" not in alert.text


def test_where_the_score_falls_nothing_is_learned() -> None:
    assert states(growing(0.004, 0.012, scores=(0.9, 0.8))) == ".C"
    noisy = [
        replace(row, evidence={"skill": skill, "skill_error": 0.05, "decides": 1.0})
        for row, skill in zip(growing(0.004, 0.012), (0.8, 0.77), strict=True)
    ]
    assert states(noisy) == ".U"


@pytest.mark.parametrize(("wait", "expected"), [(0, ".C"), (1, ".C"), (4, ".U")])
def test_waiting_is_a_number_of_checks(wait: int, expected: str) -> None:
    assert states(growing(0.004, 0.012), rule(wait=wait)) == expected


def test_without_an_interval_there_is_no_noise_to_compare_with() -> None:
    assert states(history("ss") and [is_silent(0, total=0.004), is_silent(1, total=0.012)]) == ".C"


@pytest.mark.parametrize(("last", "checks"), [(0.02, 2), (0.0107, 3)])
def test_the_root_of_the_total_is_followed_in_a_straight_line(last: float, checks: int) -> None:
    """From 0.06 to sqrt(last), the limit sqrt(0.05) = 0.2236 is reached in just so many steps."""
    before, now = growing(0.0036, last)
    assert rises(before, now, "b", 0.05, checks)
    assert not rises(before, now, "b", 0.05, checks - 1)


def test_a_regression_has_learned_at_the_fixed_skill_however_small_its_error() -> None:
    def row(**decided: float) -> RunRecord:
        return replace(is_silent(0), evidence={"skill": 0.02, "skill_error": 0.001, **decided})

    reference = ScoreReference(0.0, 1.0)
    assert not CollapseRule()._learned(row(), 0, reference)
    assert CollapseRule()._learned(row(decides=1.0), 0, reference)
