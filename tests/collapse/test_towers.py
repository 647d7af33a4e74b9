"""When one of two towers counts as collapsed, and what the alarm says of it."""

import pytest

from mviz_lightning.collapse.messages import alert, evidence
from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.towers import RETRIEVAL, TowerRule, rule_for
from mviz_lightning.sinks.records import RunRecord, State

CHANCE = ScoreReference(1 / 16, 1.0)
NAMES = ("image", "text", "audio")
USED, UNUSED, COLLAPSED = State.USED, State.UNUSED, State.COLLAPSED


def run(epoch, score=1 / 16, uniform=(-2.0, -2.0), rank=(12.0, 12.0)):
    """Return a run of a pair of image and text; what a swap loses is all that lies above chance."""
    values = {"score": score}
    for place, name in enumerate(NAMES[:2]):
        values |= {f"total/{name}": 1.0, f"perceptual/{name}": (16 * score - 1) / 15}
        values |= {f"uniformity/{name}": uniform[place], f"effective_rank/{name}": rank[place]}
    return RunRecord("fit", epoch, 10 * epoch, values, evidence={RETRIEVAL: 1.0})


def states(*runs, **settings):
    rule = TowerRule(CollapseRule(**settings))
    return [tuple(one.state for one in rule.judge(runs[: end + 1], CHANCE, NAMES).values()) for end in range(len(runs))]


def test_a_model_that_finds_pairs_uses_both():
    assert states(*[run(epoch, score) for epoch, score in enumerate((0.06, 0.3, 0.9))]) == [(USED, USED)] * 3


@pytest.mark.parametrize(
    "broken",
    [
        {"uniform": (-2.0, -0.0005)},
        {"uniform": (-2.0, 0.0), "rank": (12.0, 1.0)},
        {"rank": (12.0, 1.2)},
    ],
    ids=["nearly one point", "one point", "one line"],
)
def test_a_tower_whose_embeddings_are_equal_is_collapsed_at_the_second_check(broken):
    assert states(*[run(epoch, **broken) for epoch in range(3)]) == [(USED, USED), *[(USED, COLLAPSED)] * 2]


def test_embeddings_that_shrink_to_a_tenth_of_the_start_are_collapsed():
    runs = [run(epoch, uniform=(-2.0, spread)) for epoch, spread in enumerate((-2.0, -0.25, -0.19, -0.18))]
    assert states(*runs) == [*[(USED, USED)] * 3, (USED, COLLAPSED)]


def test_narrow_embeddings_that_find_their_pairs_are_no_fault():
    runs = [run(epoch, 0.5, uniform=(-0.0005, -0.0005), rank=(1.3, 1.3)) for epoch in range(3)]
    assert states(*runs) == [(USED, USED)] * 3


def test_a_narrow_start_of_deep_networks_is_no_fault():
    assert states(*[run(epoch, uniform=(-0.006, -0.005)) for epoch in range(4)]) == [(USED, USED)] * 4


def test_pairs_that_are_no_longer_found_are_a_notice_for_both():
    runs = [run(0, 0.8), run(1, 0.06), run(2, 0.07)]
    assert states(*runs)[-1] == (UNUSED, UNUSED)
    assert states(*runs, expected=["text"])[-1] == (UNUSED, COLLAPSED)
    assert states(*runs, run(3, 0.5))[-1] == (USED, USED)


def test_of_towers_that_are_not_expected_none_is_collapsed():
    assert states(*[run(epoch, rank=(12.0, 1.0)) for epoch in range(2)], expected=["image"])[-1] == (USED, UNUSED)


def test_the_alarm_says_what_the_embeddings_show():
    runs = [run(epoch, uniform=(-2.0, -0.0004), rank=(12.0, 3.0)) for epoch in range(2)]
    verdict = rule_for(runs[-1], CollapseRule()).judge(runs, CHANCE, NAMES)["text"]
    text = alert(verdict).text
    assert text.startswith("text: collapsed since epoch 0 (step 0); its embeddings no longer distinguish its examples")
    assert evidence(verdict) == [
        "the score is 0.062, and 0.062 when it is swapped: nothing is lost",
        "uniformity of its embeddings 0.000 (0 is one point); that of image -2.000",
        "effective rank of its embeddings 3.0 (1 is one line); that of image 12.0",
    ]
    assert "the training loader: is each text given with its own image?" in text
    assert "swapping it changes" not in text


def test_runs_without_retrieval_are_judged_as_before():
    row = RunRecord("fit", 0, 0, {"total/image": 1.0})
    assert rule_for(row, rule := CollapseRule()) is rule
