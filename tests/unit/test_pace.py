"""Work is spaced by a clock, explanations first, shares last."""

from collections.abc import Sequence

import pytest
from unit.test_schedule import Pretended, explainer

from mviz_lightning import ConfigurationError, MultimodalMonitor
from mviz_lightning.callbacks.examination import Examination
from mviz_lightning.callbacks.pace import SHARES, Pace, require_share
from mviz_lightning.callbacks.warner import Warner
from mviz_lightning.ranks import Ranks


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def done(prices: dict[str, float], limit: float | None = 0.05, every: float = 10.0, times: int = 12) -> list[str]:
    """Return what is done at each of some moments, of work that costs so much, in order."""
    clock = Clock()
    pace = Pace(limit, clock)
    found = []
    for _ in range(times):
        clock.now += every
        names = [name for name, price in prices.items() if pace.allows(name) and (pace.spend(name, price) or True)]
        found.append("".join(name[0] for name in names))
    return found


def test_without_a_limit_everything_is_done() -> None:
    assert done({SHARES: 9.0, "dime": 9.0}, limit=None) == ["sd"] * 12


def test_cheap_work_is_always_done() -> None:
    assert done({SHARES: 0.2, "dime": 0.2}) == ["sd"] * 12


def test_explanations_wait_until_there_is_time_for_them_and_shares_go_on() -> None:
    # Before the k-th: .2 k + .6 n + .6 <= .05 (10 k + .6)
    assert done({SHARES: 0.2, "dime": 0.6}) == ["sd", "s", "s", "sd", "s", "sd", "s", "sd", "s", "sd", "s", "sd"]


def test_shares_wait_for_themselves_alone() -> None:
    # Before the k-th: n + 1 <= .05 (10 k + 1)
    assert done({SHARES: 1.0, "dime": 50.0}) == ["sd", "", "", "s", "", "s", "", "s", "", "s", "", "s"]


@pytest.mark.parametrize(
    "prices", [{SHARES: 0.3, "dime": 2.0, "errors": 0.7}, {SHARES: 1.7}, {SHARES: 0.01, "dime": 40.0}]
)
def test_the_share_of_the_time_is_kept_in_the_long_run(prices: dict[str, float]) -> None:
    times = 4000
    spent = sum(prices[name] for names in done(prices, times=times) for name in prices if name[0] in names)
    assert spent <= 0.05 * 10 * times + sum(prices.values())
    assert spent > 0.05 * 10 * times - 4 * sum(prices.values()) or max(map(len, done(prices))) == len(prices)


@pytest.mark.parametrize("value", [0, -0.1, 1, 5])
def test_impossible_shares_are_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"max_overhead={value}: give a share of the time between 0 and 1"):
        MultimodalMonitor({"a": "0", "b": "1"}, max_overhead=value)


def test_possible_shares_pass() -> None:
    assert require_share("max_overhead", 0.05) == 0.05
    assert require_share("max_overhead", None) is None


def test_what_is_put_off_is_said_once_in_a_row() -> None:
    pace = Pace(0.05, Clock())
    pace.spend("dime", 5.0)
    assert pace.put_off("dime") == "dime put off, to take no more than 5% of the time"
    assert not pace.put_off("dime")
    pace.spend("dime", 5.0)
    assert pace.put_off("dime")


class Decided(Ranks):
    """A process whose first rank decided otherwise."""

    def gather(self, value: object) -> Sequence[object]:  # type: ignore[override]
        return [not value, value] if isinstance(value, bool) else [value, value]


@pytest.mark.parametrize("first", [True, False])
def test_the_first_process_decides(*, first: bool) -> None:
    clock = Clock()
    study = Pretended({}, False)
    study.ranks = Decided(1, 2)
    examination = Examination(study, Warner(), lambda: 0.0, Pace(0.05, clock))
    if first:  # it has time, this one has not
        examination.pace.spend(SHARES, 5.0)
    assert examination._allows(SHARES) is first


def test_the_cost_of_pictures_counts() -> None:
    clock = Clock()
    examination = Examination(Pretended({}, False), Warner(), lambda: 5.0, Pace(0.05, clock))
    methods = [explainer(1, "a")]
    assert list(examination.attempt(methods, early=False).explained) == ["a"]
    clock.now += 60  # three seconds, of which pictures took five
    found = examination.attempt(methods, early=False)
    assert found.explained == {}
    assert "a put off" in found.note
    assert found.values["interaction"] == 0.5
