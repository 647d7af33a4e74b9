"""The table at the end of a fit, on every width, for every kind of run."""

import pytest

from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.console.closing_table import closing_heading, closing_table, state_words
from mviz_lightning.console.terminal import Span
from mviz_lightning.sinks.records import RunRecord, State


def check(epoch, names=("image", "text"), *, scored=True, nats=False, **evidence):
    values = {"interaction": 0.2, "seconds": 0.5, "overhead": 0.1}
    for place, name in enumerate(names):
        total = 0.1 * epoch + 0.01 * place
        values |= {f"contribution/{name}": 0.3, f"total/{name}": total}
        values |= {f"total_low/{name}": total - 0.05, f"total_high/{name}": total + 0.05}
        values |= {f"perceptual/{name}": 0.125} if scored else {}
        values |= {f"nats/{name}": 1.5, f"nats_low/{name}": 1.0, f"nats_high/{name}": 2.0} if nats else {}
    if scored:
        values |= {"score": 0.5 + 0.1 * epoch, "emap_score": 0.45, "emap_gap": 0.05}
        values |= {"emap_gap_low": -0.01, "emap_gap_high": 0.11}
    return RunRecord("fit", epoch, 10 * epoch, values, evidence=evidence)


def drawn(checks, *, width=120, names=("image", "text"), states=None, head=""):
    lines = closing_table(checks, states or {}, names, width, head)
    return ["".join(span.text for span in line) for line in lines]


def test_a_table_holds_shares_totals_changes_and_scores():
    states = {"image": Span("used"), "text": Span("collapsed")}
    assert drawn([check(0), check(1)], states=states) == [
        "modality     alone          total [95 %]  change  score lost if swapped  state",
        "image        0.300  0.100 [0.050, 0.150]  +0.100                  0.125  used",
        "text         0.300  0.110 [0.060, 0.160]  +0.100                  0.125  collapsed",
        "interaction  0.200",
        "score 0.600 (change +0.100); without interactions (EMAP) 0.450, gap 0.050 [-0.010, 0.110]",
    ]


def test_a_single_check_has_no_change_and_no_labels_have_no_scores():
    assert drawn([check(0, scored=False)]) == [
        "modality     alone           total [95 %]",
        "image        0.300  0.000 [-0.050, 0.050]",
        "text         0.300  0.010 [-0.040, 0.060]",
        "interaction  0.200",
    ]


def test_own_answers_lose_nats():
    heading = drawn([check(0, nats=True)])[0]
    assert "nats lost if swapped [95 %]" in heading


def test_of_scores_of_pairs_retrieval_stands_with_its_chance_and_contributions_do_not():
    lines = drawn([check(0, retrieval=1.0, chance=0.0625)])
    assert "alone" not in lines[0]
    assert not any(line.startswith("interaction") for line in lines)
    assert lines[-1].startswith("retrieval (chance 0.06) 0.500;")


def test_a_further_head_is_named():
    assert drawn([check(0)], head="verb")[0].startswith("head verb")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("count", [2, 30])
def test_no_line_is_longer_than_the_terminal_is_wide(width, count):
    names = [f"modality_{number}" for number in range(count)]
    lines = drawn([check(0, names), check(1, names)], width=width, names=names)
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("modality_7 ") for line in lines) == (count > 7) * sum(
        line.startswith("modality ") for line in lines
    )


def test_a_long_name_keeps_its_beginning_and_its_end():
    names = ["a" * 99 + "1", "a" * 99 + "2"]
    lines = drawn([check(0, names)], width=60, names=names)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("aaa")
    assert lines[1].split()[0].endswith("...aaaaaaaaaaaa1")
    assert lines[2].split()[0].endswith("...aaaaaaaaaaaa2")


def test_a_state_is_told_in_words():
    row = check(0)
    assert state_words(Verdict("image")) == Span("not judged")
    assert state_words(Verdict("image", State.COLLAPSED, row=row)) == Span("collapsed", "alarm")
    assert state_words(Verdict("image", State.USED, row=row)) == Span("used", "good")
    assert state_words(Verdict("image", State.UNUSED, row=row, rose_from=0.01)) == Span("not yet learned", "notice")


def test_the_heading_tells_checks_moments_and_cost():
    said = "".join(span.text for span in closing_heading("mviz", [check(0), check(3)], 0.25))
    when, cost = said.split("; ", 1)
    assert when == "mviz: 2 checks, from epoch 0 (step 0) to epoch 3 (step 30)"
    assert cost == "1.0 s, 10.0% of the time; 0.2 s at the end"
    once = "".join(span.text for span in closing_heading("mviz", [check(1)], 0.0))
    assert once == "mviz: 1 check at epoch 1 (step 10); 0.5 s, 10.0% of the time"
