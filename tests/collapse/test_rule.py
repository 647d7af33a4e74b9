"""The rule: from rows to a verdict on every modality; and what is said, drawn and written of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from reference import alarm as slow

from mviz_lightning.collapse import messages as alarms
from mviz_lightning.collapse.raw_input_proof import RawInputProof
from mviz_lightning.collapse.rule import WARM_UP, CollapseRule, state_name
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.verdict import Verdict, drop_of, skill_of
from mviz_lightning.explainers.contribution_shares.dashboard import dashboard
from mviz_lightning.explainers.contribution_shares.figure import _draw_states
from mviz_lightning.explainers.contribution_shares.tables import history_table
from mviz_lightning.sinks import FileSink, SinkError, TensorBoardSink, WandbSink
from mviz_lightning.sinks.records import Alert, RunRecord, State

USED, UNUSED, COLLAPSED = State.USED, State.UNUSED, State.COLLAPSED
ACCURACY = ScoreReference(chance=0.5, perfect=1.0)
R2 = ScoreReference(chance=0.0, perfect=1.0)
LOSS = ScoreReference(chance=2.0, perfect=0.0)
NAN = float("nan")


def rule(patience: int = 2, **given: object) -> CollapseRule:
    limits = {"max_total": 0.05, "max_flips": 0.1, "max_drop": 0.08, "min_skill": 0.1, "min_alone": 0.05}
    return CollapseRule(**{"expected": ("a", "b"), "patience": patience, **limits, **given})  # type: ignore[arg-type]


def check(
    number: int = 0,
    *,
    total: float = 0.5,
    flips: float | None = 0.5,
    score: float | None = 0.9,
    drop: float | None = 0.3,
    stage: str = "fit",
    **more: float,
) -> RunRecord:
    """A run that finds so much of b; a is always used."""
    found = {"total/b": total, "flips/b": flips, "score": score, "perceptual/b": None if score is None else drop}
    found |= {"total/a": 0.9, "flips/a": 0.9 if flips is not None else None}
    found |= {"perceptual/a": 0.3 if score is not None else None}
    return RunRecord(
        stage, number, 10 * number, {name: value for name, value in found.items() if value is not None} | more
    )


def is_used(number: int = 0, **found: float) -> RunRecord:
    return check(number, **found)


def is_silent(number: int = 0, **found: float) -> RunRecord:
    return check(number, **{"total": 0.01, "flips": 0.01, "drop": 0.0, **found})


def history(pattern: str, **found: float) -> list[RunRecord]:
    """Rows of a story: s silent, u used, x not learned."""
    makers = {"s": is_silent, "u": is_used, "x": lambda number, **more: is_silent(number, **{**more, "score": 0.5})}
    return [makers[letter](number, **found) for number, letter in enumerate(pattern)]


def verdict(
    rows: Sequence[RunRecord], found: CollapseRule | None = None, score_reference: ScoreReference = ACCURACY
) -> Verdict:
    return (found or rule()).judge(rows, score_reference, ("a", "b"))["b"]


def states(
    rows: Sequence[RunRecord], found: CollapseRule | None = None, score_reference: ScoreReference = ACCURACY
) -> str:
    """The states after every check: . used, U unused, C collapsed, R redundant."""
    return "".join(".UCR"[verdict(rows[: last + 1], found, score_reference).state] for last in range(len(rows)))


# -- Patience ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "story", "expected"),
    [
        (1, "ususs", ".C.CC"),
        (2, "ususs", "....C"),
        (3, "ussus", "....."),
        (3, "usssu", "...C."),
        (1, "s", "C"),
        (2, "ss", ".C"),
        (3, "sss", "..C"),
        (2, "ssussus", ".C..C.."),
        (3, "sssusssu", "..C...C."),
    ],
)
def test_patience_silent_checks_in_a_row_raise_the_alarm_and_one_other_ends_it(
    patience: int, story: str, expected: str
) -> None:
    assert states(history(story), rule(patience)) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.049, 0.05, 0.5, NAN]),
            st.sampled_from([None, 0.0, 0.099, 0.1, 0.5]),
            st.sampled_from([None, 0.5, 0.549, 0.551, 0.9]),
            st.sampled_from([None, -0.1, 0.0, 0.039, 0.041, 0.3]),
        ),
        max_size=10,
    ),
    st.integers(1, 3),
)
def test_the_state_is_that_of_a_counter_of_silent_checks(
    story: list[tuple[float, float | None, float | None, float | None]], patience: int
) -> None:
    rows, checks = [], []
    for number, (total, flips, score, drop) in enumerate(story):
        rows.append(check(number, total=total, flips=flips, score=score, drop=drop))
        skill = None if score is None else (score - 0.5) / 0.5
        checks.append(slow.Check(total, flips, skill, None if None in (score, drop) else drop / 0.5))
    limits = slow.Limits(patience, total=0.05, flips=0.1, drop=0.08, skill=0.1, warm_up=WARM_UP)

    expected = "".join(".C"[unused] for unused in slow.unused_after_each(checks, limits))
    assert states(rows, rule(patience)) == expected
    since, found = slow.since(checks, limits), verdict(rows, rule(patience)).since
    assert found is (None if since is None else rows[since])


def test_the_verdict_rests_on_the_rows_alone() -> None:
    rows = history("ussus")
    before = [asdict(row) for row in rows]

    assert verdict(rows) == verdict(rows)
    assert [asdict(row) for row in rows] == before


# -- Silent checks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "silent"),
    [
        ({"total": 0.01, "flips": 0.01, "drop": 0.0}, True),
        ({"total": 0.01, "flips": 0.5, "drop": 0.0}, True),  # the outputs hardly move
        ({"total": 0.09, "flips": 0.01, "drop": 0.0}, True),  # they move, and change no decision: a leak elsewhere
        ({"total": 0.11, "flips": 0.01, "drop": 0.0}, False),  # too much for an accident: one of several witnesses
        ({"total": 0.5, "flips": 0.5, "drop": 0.0}, False),  # used, and wrongly: the score tells nothing
        ({"total": 0.01, "flips": 0.01, "drop": 0.3}, False),  # without it the score falls
        ({"total": 0.01, "flips": 0.01, "drop": -0.3}, True),  # without it the score rises
        ({"total": 0.05, "flips": 0.1, "drop": 0.0}, False),  # limits belong to what is used
        ({"total": 0.049, "flips": 0.1, "drop": 0.0}, True),
        ({"total": 0.05, "flips": 0.099, "drop": 0.0}, True),
        ({"total": 0.01, "flips": 0.01, "drop": 0.039}, True),  # 0.078 of the skill
        ({"total": 0.01, "flips": 0.01, "drop": 0.041}, False),  # 0.082 of it
        ({"total": -0.02, "flips": 0.0, "drop": 0.0}, True),  # estimates may lie below 0
    ],
)
def test_a_check_is_silent_when_neither_decisions_or_outputs_nor_the_score_change(
    found: dict[str, float], *, silent: bool
) -> None:
    assert states([check(0, **found)], rule(1)) == ".C"[silent]


@pytest.mark.parametrize(("total", "drop", "silent"), [(0.01, 0.0, True), (0.2, 0.0, False), (0.01, 0.2, False)])
def test_a_regression_decides_nothing_so_that_totals_and_score_tell(total: float, drop: float, *, silent: bool) -> None:
    rows = [check(number, total=total, flips=None, score=0.8, drop=drop) for number in range(2)]

    assert states(rows, rule(), R2) == (".C" if silent else "..")


def test_a_converged_xor_is_used_though_nothing_is_contributed_alone() -> None:
    alone = {"contribution/a": 0.0, "contribution/b": 0.0, "interaction": 1.0}
    rows = [check(n, total=1.0, flips=1.0, score=1.0, drop=0.5, **alone) for n in range(4)]

    assert states(rows) == "...."
    assert verdict(rows).since is None


@pytest.mark.parametrize("majority", [0.9, 0.95])
def test_the_drop_is_a_share_of_what_can_be_gained_over_a_majority(majority: float) -> None:
    score_reference = ScoreReference(chance=majority, perfect=1.0)
    above = 1 - majority
    score, lost = majority + 0.5 * above, 0.2 * above  # of accuracy, no more than 0.02
    row = is_silent(0, score=score, drop=lost)

    assert drop_of(row, "b", score_reference) == pytest.approx(0.2)
    assert states([row], rule(1), score_reference) == "."
    assert states([is_silent(0, score=score, drop=0.05 * above)], rule(1), score_reference) == "C"


@pytest.mark.parametrize(("loss", "without", "expected"), [(0.2, 0.25, "C"), (0.2, 1.0, "."), (1.9, 1.9, ".")])
def test_a_score_that_is_better_when_lower_is_read_in_its_direction(loss: float, without: float, expected: str) -> None:
    row = is_silent(0, score=loss, drop=loss - without)

    assert skill_of(row, LOSS) == pytest.approx(1 - loss / 2)
    assert drop_of(row, "b", LOSS) == pytest.approx((without - loss) / 2)
    assert states([row], rule(1), LOSS) == expected


@given(st.floats(-3, 3), st.floats(0.1, 5), st.booleans(), st.floats(0, 1), st.floats(-0.2, 1))
def test_no_unit_of_the_score_changes_skill_or_drop(
    offset: float, unit: float, lower: bool, skill: float, drop: float
) -> None:
    unit = -unit if lower else unit
    score_reference = ScoreReference(chance=offset, perfect=offset + unit)
    row = check(score=offset + unit * skill, drop=unit * drop)

    assert skill_of(row, score_reference) == pytest.approx(skill, abs=1e-9)
    assert drop_of(row, "b", score_reference) == pytest.approx(drop, abs=1e-9)


# -- What is judged ----------------------------------------------------------------------------------------------------


def test_no_rows_are_no_verdict() -> None:
    found = rule().judge([], ACCURACY, ("a", "b"))

    assert found == {name: Verdict(name, rest=[other], from_start=True) for name, other in (("a", "b"), ("b", "a"))}


def test_what_has_not_learned_is_not_judged() -> None:
    rows = history("xxxx")

    assert states(rows, rule(1)) == "...."
    assert verdict(rows).row is None
    assert verdict(rows).drop is None


@pytest.mark.parametrize(("skill", "expected"), [(0.1, "."), (0.101, "C"), (0.099, "."), (-1.0, ".")])
def test_the_gate_opens_above_its_limit(skill: float, expected: str) -> None:
    assert states([is_silent(0, score=skill)], rule(1), R2) == expected


def test_checks_that_do_not_count_neither_break_a_row_nor_add_to_it() -> None:
    assert states(history("xsxxsxu")) == "....CC."
    assert states(history("sxs"), rule(3)) == "..."


def test_the_row_of_a_verdict_is_the_latest_that_was_judged() -> None:
    rows = history("ssx")

    assert verdict(rows).row is rows[1]
    assert verdict(rows).drop == 0


@pytest.mark.parametrize(
    "score_reference",
    [ScoreReference(), ScoreReference(0.5, None), ScoreReference(None, 1.0), ScoreReference(0.7, 0.7)],
)
@pytest.mark.parametrize("score", [None, 0.1, 0.9])
def test_where_no_score_tells_checks_count_after_a_warm_up(
    score_reference: ScoreReference, score: float | None
) -> None:
    rows = [is_silent(number, score=score) for number in range(5)]

    assert states(rows, rule(1), score_reference) == "." * WARM_UP + "CCC"
    assert states(rows, rule(2), score_reference) == "." * WARM_UP + ".CC"
    assert verdict(rows, rule(), score_reference).drop is None


@pytest.mark.parametrize(
    ("total", "flips", "expected"),
    [(0.01, 0.5, "."), (0.09, 0.01, "C"), (0.11, 0.01, "."), (0.01, None, "C"), (0.5, None, ".")],
)
def test_without_labels_decisions_tell_and_in_a_regression_outputs(
    total: float, flips: float | None, expected: str
) -> None:
    rows = [check(number, total=total, flips=flips, score=None) for number in range(3)]

    assert states(rows, rule(1), ScoreReference()) == ".." + expected


def test_a_run_without_its_score_is_judged_as_one_without_labels() -> None:
    rows = [is_silent(0), is_silent(1), is_silent(2, score=None), is_silent(3), is_used(4, score=None)]

    assert states(rows) == ".CCC."
    assert verdict(rows[:3]).drop is None


def test_a_run_without_its_score_at_the_very_start_is_warm_up() -> None:
    assert states([is_silent(0, score=None), is_silent(1, score=None), is_silent(2)], rule(1)) == "..C"


@pytest.mark.parametrize("name", ["total", "flips", "score", "drop"])
def test_nan_raises_no_alarm(name: str) -> None:
    found = {"total": 0.5, "drop": 0.0, "flips": 0.5} | {name: NAN}

    assert states([check(number, **found) for number in range(4)]) == "...."


def test_nan_in_the_score_is_a_check_that_does_not_count() -> None:
    rows = [is_silent(0), is_silent(1), is_silent(2, score=NAN)]

    assert states(rows) == ".CC"
    assert verdict(rows).row is rows[1]


def test_infinite_losses_are_not_learned() -> None:
    assert states([is_silent(number, score=float("inf")) for number in range(3)], rule(1), LOSS) == "..."


# -- Since when --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "patience", "since", "from_start"),
    [
        ("sss", 2, 0, True),
        ("uss", 2, 1, False),
        ("ussusss", 2, 4, False),
        ("sussss", 3, 2, False),
        ("xxsss", 2, 2, True),
        ("xsxss", 2, 1, True),
        ("ssuu", 2, 2, False),
        ("ssusu", 2, 2, False),  # what patience bears with dates nothing anew
        ("ssus", 2, 2, False),
        ("ssusus", 2, 2, False),
        ("ssusuxss", 2, 6, False),
        ("ssussu", 2, 5, False),
        ("uuu", 2, None, False),
        ("s", 2, None, True),
        ("us", 2, None, False),
        ("xx", 2, None, True),
    ],
)
def test_a_state_is_dated_from_its_first_check(
    story: str, patience: int, since: int | None, *, from_start: bool
) -> None:
    rows = history(story)
    found = verdict(rows, rule(patience))

    assert found.since is (None if since is None else rows[since])
    assert found.from_start is from_start


@pytest.mark.parametrize("story", ["usu", "su", "uusuu"])
def test_what_was_never_unused_is_not_used_since(story: str) -> None:
    rows = history(story)

    assert set(states(rows)) == {"."}
    assert verdict(rows).since is None


# -- Proof -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "alone", "state"),
    [
        (("b",), None, COLLAPSED),
        (("a", "b"), RawInputProof(-0.1, 0.01, 64), COLLAPSED),
        (("a",), RawInputProof(0.9, 0.01, 64), UNUSED),  # whoever names modalities means these
        ((), RawInputProof(0.9, 0.01, 64), UNUSED),
        (None, None, UNUSED),
        (None, RawInputProof(0.9, 0.01, 64), COLLAPSED),
        (None, RawInputProof(0.051, 0.01, 64), COLLAPSED),
        (None, RawInputProof(0.05, 0.01, 64), UNUSED),
        (None, RawInputProof(0.3, 0.099, 64), COLLAPSED),
        (None, RawInputProof(0.3, 0.101, 64), UNUSED),  # three standard errors
        (None, RawInputProof(-0.3, 0.01, 64), UNUSED),
        (None, RawInputProof(NAN, 0.01, 64), UNUSED),
    ],
)
def test_unused_is_collapsed_when_it_was_named_or_is_proven_informative(
    expected: tuple[str, ...] | None, alone: RawInputProof | None, state: State
) -> None:
    score_reference = replace(ACCURACY, alone=None if alone is None else {"b": alone})
    found = verdict(history("ss"), rule(expected=expected), score_reference)

    assert found.state is state
    assert found.alone == alone


def test_no_proof_collapses_what_is_used() -> None:
    score_reference = replace(ACCURACY, alone={"b": RawInputProof(0.9, 0.01, 64)})

    assert verdict(history("ssu"), rule(expected=None), score_reference).state is USED


def test_a_modality_without_numbers_is_not_proven() -> None:
    score_reference = replace(ACCURACY, alone={"a": RawInputProof(0.9, 0.01, 64)})

    assert verdict(history("ss"), rule(expected=None), score_reference).state is UNUSED


def test_each_of_three_modalities_has_its_own_verdict() -> None:
    values = {"score": 0.9}
    for name, total, flips, lost in (("a", 0.8, 0.9, 0.4), ("b", 0.01, 0.0, 0.0), ("c", 0.02, 0.0, 0.0)):
        values |= {f"total/{name}": total, f"flips/{name}": flips, f"perceptual/{name}": lost}
    score_reference = replace(ACCURACY, alone={"a": RawInputProof(0.5, 0.1, 64), "c": RawInputProof(0.5, 0.1, 64)})
    rows = [RunRecord("fit", number, number, values) for number in range(2)]
    found = rule(expected=None).judge(rows, score_reference, ("a", "b", "c"))

    assert {name: verdict.state for name, verdict in found.items()} == {"a": USED, "b": UNUSED, "c": COLLAPSED}
    assert {name: verdict.rest for name, verdict in found.items()} == {
        "a": ["b", "c"],
        "b": ["a", "c"],
        "c": ["a", "b"],
    }
    assert [verdict.modality for verdict in found.values()] == ["a", "b", "c"] == list(found)


def test_states_are_numbers() -> None:
    assert [int(state) for state in (USED, UNUSED, COLLAPSED, State.REDUNDANT)] == [0, 1, 2, 3]
    assert [state_name(name) for name in ("a", "b")] == ["collapse/a", "collapse/b"]


# -- In words ----------------------------------------------------------------------------------------------------------


BOUNDS = {"total_low/b": 0.0, "total_high/b": 0.031}
TOLD = replace(ACCURACY, alone={"b": RawInputProof(0.42, 0.06, 64)})


def said(story: str, score_reference: ScoreReference = TOLD, **found: float) -> Verdict:
    return verdict(history(story, **BOUNDS, **found), rule(expected=None), score_reference)


@pytest.mark.parametrize(
    ("story", "score_reference", "expected"),
    [
        (
            "uss",
            TOLD,
            "b: collapsed since epoch 1 (step 10); the model no longer relies on it, though it is informative",
        ),
        (
            "xss",
            TOLD,
            "b: collapsed since epoch 1 (step 10); the model has hardly relied on it so far, though it is informative",
        ),
        ("uss", ACCURACY, "b: unused since epoch 1 (step 10); the model no longer relies on it"),
        ("ss", ACCURACY, "b: unused since epoch 0 (step 0); the model has hardly relied on it so far"),
        ("ssu", TOLD, "b: used since epoch 2 (step 20)"),
        ("uu", TOLD, "b: used"),
        ("s", TOLD, "b: used"),
        ("x", TOLD, "b: used"),
    ],
)
def test_the_headline_says_what_and_since_when(story: str, score_reference: ScoreReference, expected: str) -> None:
    assert alarms.headline(said(story, score_reference)) == expected


def test_the_evidence_is_a_line_for_outputs_score_and_raw_inputs() -> None:
    outputs, score, inputs = alarms.evidence(said("ss", total=0.012, flips=0.034, score=0.9, drop=0.015))

    assert outputs == (
        "swapping it changes 1.2% of the outputs' variance (95 %: 0.0% to 3.1%), and 3.4% of the predictions that "
        "swapping everything changes"
    )
    assert score == ("the score is 0.900, and 0.885 when it is swapped: 3.0% of the way from chance to perfection")
    assert inputs == (
        "without the model, a regression on its raw inputs explains 42% (standard error 6%) of the labels' variance in "
        "64 held-out examples"
    )


def test_evidence_that_is_not_there_is_not_given() -> None:
    rows = [check(number, total=0.01, flips=None, score=None, **BOUNDS) for number in range(4)]

    (line,) = alarms.evidence(verdict(rows, rule(), ScoreReference()))
    assert line == "swapping it changes 1.0% of the outputs' variance (95 %: 0.0% to 3.1%)"
    assert alarms.evidence(said("xx")) == []


def test_one_group_has_no_interval_to_tell_of() -> None:
    assert "nan" not in alarms.evidence(verdict(history("ss")))[0]


def test_an_alarm_says_what_to_try_with_the_names_of_the_others() -> None:
    alert = alarms.alert(replace(said("uss"), rest=["image", "{audio}"]), "The training is stopped.")

    assert (alert.key, alert.title, alert.urgent) == ("alarm/b", "b: collapsed", True)
    lines = alert.text.splitlines()
    assert lines[0].startswith("b: collapsed since epoch 1")
    assert lines[-1] == "The training is stopped."
    assert sum(line.startswith("  - ") for line in lines) == len(alarms.REMEDIES)
    assert "hide image and {audio} in some training examples, so that the model must predict from b alone" in alert.text


def test_unused_is_a_notice_that_names_the_way_to_an_alarm() -> None:
    alert = alarms.alert(said("uss", ACCURACY))

    assert (alert.title, alert.urgent) == ("b: unused", False)
    assert "otherwise name it in expected=." in alert.text
    assert "What to try" not in alert.text


def test_used_again_is_a_notice_without_advice() -> None:
    alert = alarms.alert(said("ssu"))

    assert (alert.title, alert.urgent) == ("b: used", False)
    assert len(alert.text.splitlines()) == 1 + len(alarms.evidence(said("ssu")))


# -- In tables and pictures --------------------------------------------------------------------------------------------


def with_states(*found: tuple[float, ...]) -> list[RunRecord]:
    return [
        RunRecord(
            "fit",
            number,
            number,
            {"total/a": 0.9, "total/b": 0.1 * number}
            | dict(zip([state_name(name) for name in "ab"][: len(states)], states, strict=True)),
        )
        for number, states in enumerate(found)
    ]


def test_the_history_names_what_is_not_used() -> None:
    rows = with_states((0, 0), (0, 1), (2, 1), (0,))
    lines = history_table(rows, ("a", "b")).splitlines()

    assert lines[0].endswith("not used")
    ends = [line.split("0.")[-1].partition("]")[2].strip() for line in lines[1:]]
    assert ends == ["", "b unused", "a collapsed, b unused", ""]


def test_a_history_without_states_has_no_such_column() -> None:
    assert "not used" not in history_table(with_states(()), ("a", "b"))


def test_a_history_with_failed_runs_is_a_table_all_the_same() -> None:
    rows = [RunRecord("fit", 0, 0, note="no memory"), *with_states((0, 2))]

    assert "b collapsed" in history_table(rows, ("a", "b"))


def marks(rows: list[RunRecord]) -> list[tuple[str, list[float], list[float], str]]:
    axes = Figure().subplots()
    _draw_states(axes, [float(row.epoch) for row in rows], rows, ("a", "b"))
    return [
        (str(line.get_marker()), list(line.get_xdata()), list(line.get_ydata()), str(line.get_label()))
        for line in axes.get_lines()
    ]


def test_runs_at_which_a_modality_was_not_used_are_marked_on_its_curve() -> None:
    rows = with_states((0, 0), (0, 1), (2, 1), (0, 2))
    found = marks(rows)

    assert [(marker, places) for marker, places, _, _ in found] == [("o", [1, 2]), ("X", [2]), ("X", [3])]
    np.testing.assert_allclose(np.concatenate([heights for _, _, heights, _ in found]), [0.1, 0.2, 0.9, 0.3])


def test_each_state_stands_once_in_the_legend() -> None:
    named = [label for *_, label in marks(with_states((1, 1), (2, 2))) if label and not label.startswith("_")]

    assert named == ["unused", "collapsed"]


@pytest.mark.parametrize("rows", [with_states((0, 0)), with_states(())])
def test_nothing_is_marked_where_everything_is_used(rows: list[RunRecord]) -> None:
    assert marks(rows) == []


def test_states_are_a_diagram_of_their_own() -> None:
    titles = {
        chart.title: chart.keys for chart in dashboard("mviz", ("a", "b"), [state_name(name) for name in "ab"]).charts
    }

    assert titles["0 used, 1 unused, 2 collapsed, 3 redundant"] == ["mviz/collapse/a", "mviz/collapse/b"]
    assert "0 used, 1 unused, 2 collapsed, 3 redundant" not in {
        chart.title for chart in dashboard("mviz", ("a", "b"), [state_name("a")]).charts
    }


# -- In sinks ----------------------------------------------------------------------------------------------------------


ALERT = Alert("mviz/collapse/a|b", "a|b: *collapsed* <x>", "first\n  - second <b> ü", urgent=True)
NOTICE = replace(ALERT, title="n" * 100, urgent=False)


def test_an_alert_is_a_text_file_with_its_title(tmp_path) -> None:
    FileSink(tmp_path).write([ALERT], 3)

    assert (tmp_path / "collapse" / "a_b.txt").read_text(encoding="utf-8") == (
        f"step 3: {ALERT.title}\n\n{ALERT.text}\n"
    )


class Writer:
    """TensorBoard's, or a run of W&B, in memory."""

    def __init__(self, *, refuses=False):
        self.texts, self.alerts, self.rows, self.refuses = [], [], [], refuses

    def add_text(self, *said):
        self.texts.append(said)

    def alert(self, *said):
        *said, wait = said
        assert 1 <= wait * 1000 < 1000, "W&B waits in whole ms, a minute where that is 0"
        if self.refuses:
            raise ConnectionError("gone")
        self.alerts.append(tuple(said))

    def log(self, row, commit=None):
        self.rows.append((row, commit))


def test_an_alert_is_a_text_of_tensorboard_as_it_is_written() -> None:
    writer = Writer()
    TensorBoardSink(SimpleNamespace(experiment=writer)).write([ALERT], 3)

    assert writer.texts == [("mviz/collapse/a|b", f"**a\\|b: \\*collapsed\\* &lt;x&gt;**\n\n```\n{ALERT.text}\n```", 3)]


def test_an_alert_of_wandb_has_a_level_and_a_short_title() -> None:
    writer = Writer()
    WandbSink(SimpleNamespace(experiment=writer)).write([ALERT, replace(NOTICE, key="mviz/n")], 3)

    assert writer.alerts == [(ALERT.title, ALERT.text, "WARN"), ("n" * 63, ALERT.text, "INFO")]
    ((row, commit),) = writer.rows
    assert commit is True
    page = row["mviz/collapse/a|b"].html
    assert "&lt;b&gt; &#252;" in page


def test_wandb_that_takes_no_alert_says_so_and_keeps_the_text() -> None:
    writer = Writer(refuses=True)
    with pytest.raises(SinkError, match="^mviz/collapse/a.b not written: ConnectionError: gone"):
        WandbSink(SimpleNamespace(experiment=writer)).write([ALERT], 3)

    ((row, _),) = writer.rows
    assert "mviz/collapse/a|b" in row


def test_states_are_plain_numbers_in_files(tmp_path) -> None:
    (row,) = with_states((0.0, 2.0))
    FileSink(tmp_path).row(row)

    assert json.loads((tmp_path / "history.jsonl").read_text())["values"]["collapse/b"] == 2


def test_a_model_that_always_decides_the_same_is_judged_by_its_outputs_where_there_are_no_labels() -> None:
    values = {"total/a": 0.6, "total/b": 0.4, "flips/a": 0.0, "flips/b": 0.0}
    rows = [RunRecord("fit", epoch, epoch, values) for epoch in range(6)]
    found = rule(expected=("a", "b")).judge(rows, ScoreReference(), ["a", "b"])

    assert {verdict.state for verdict in found.values()} == {USED}


def test_a_single_run_outside_the_fit_is_judged_without_labels_too() -> None:
    row = RunRecord("validate", 0, 0, {"total/a": 0.9, "total/b": 0.01, "flips/a": 0.9, "flips/b": 0.0})
    found = rule(expected=("a", "b"), patience=1).judge([row], ScoreReference(), ["a", "b"])

    assert (found["a"].state, found["b"].state) == (USED, COLLAPSED)


@pytest.mark.parametrize(("total", "state"), [(0.01, COLLAPSED), (0.02, COLLAPSED), (0.03, USED), (0.13, USED)])
def test_among_many_modalities_each_may_do_less(total: float, state: State) -> None:
    """Eight sensors of one thing hold an eighth of the outputs each, and none of them decides."""
    names = [f"m{k}" for k in range(8)]
    values = {f"total/{name}": total for name in names} | {f"flips/{name}": 0.0 for name in names}
    values |= {"score": 0.9} | {f"perceptual/{name}": 0.0 for name in names}
    rows = [RunRecord("fit", epoch, epoch, values) for epoch in range(2)]
    found = rule(expected=names).judge(rows, ScoreReference(0.5, 1.0), names)

    assert {verdict.state for verdict in found.values()} == {state}


def test_a_nearly_perfect_model_is_told_that_little_is_left_to_gain() -> None:
    said_of = [alarms.alert(replace(said("ss"), skill=skill)).text for skill in (0.9, 0.96)]

    assert ["The score is nearly perfect" in text for text in said_of] == [False, True]


def test_a_verdict_without_a_date_is_of_one_run_alone() -> None:
    assert alarms.headline(replace(said("ss"), since=None)).endswith("hardly relies on it, though it is informative")


def test_inputs_that_could_not_be_asked_are_no_inputs_that_tell_nothing() -> None:
    *_, line = alarms.evidence(replace(said("ss"), alone=None, state=UNUSED, skill=0.5))

    assert line.startswith("its raw inputs could not be tested")


@pytest.mark.parametrize(
    ("nats", "least", "state"),
    [(0.0, 0.02, COLLAPSED), (0.019, 0.02, COLLAPSED), (0.021, 0.02, USED), (0.021, 0.03, COLLAPSED)],
)
def test_own_answers_are_judged_by_the_nats_that_they_lose(nats: float, least: float, state: State) -> None:
    rows = [check(number, flips=None, score=None, **{"nats/b": nats, "retrieval/b": 0.1}) for number in range(5)]
    found = replace(rule(), min_nats=least).judge(rows, ScoreReference(), ["a", "b"])["b"]  # whose total is 0.5
    assert found.state is state
    told = alarms.evidence(found)
    assert f"an answer loses {nats:.3f} nats per token when it is swapped; 10% are most likely with their own" in told


def test_without_a_proof_of_own_answers_the_remedy_is_named() -> None:
    row = check(flips=None, score=None, **{"nats/b": 0.0, "retrieval/b": 0.1})
    assert "labels" not in alarms.without_score(row, ["b"])
    told = alarms.without_score(row, None)
    assert "no regression on raw inputs can prove that b is informative" in told
    assert "Pass UnimodalCollapse(expected=['b'])" in told
    assert alarms.without_score(check(score=None), None).startswith("without labels")
    assert alarms.without_score(check(), None).startswith("score= gives a constant answer")


def test_the_history_shows_what_own_answers_lose() -> None:
    told = {"nats/b": 1.5, "nats_low/b": 1.0, "nats_high/b": 2.0, "retrieval/b": 0.25}
    table = history_table([check(flips=None, score=None, **told)], ["a", "b"])
    assert "nats lost without b [95 %]   b retrieval" in table
    assert "1.500 [1.000, 2.000]         0.250" in table
    charts = {chart.title: chart.keys for chart in dashboard("mviz", ["a", "b"], [*told, "total/b"]).charts}
    assert charts["nats per token that own answers lose when swapped"] == ["mviz/nats/b"]
    assert charts["own answers that are most likely with their own input"] == ["mviz/retrieval/b"]
