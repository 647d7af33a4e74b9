"""Work is spaced by a clock, explanations first, shares last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from callbacks.test_schedule import A, B, Clock, Pretended, explainer, heard

from mviz_lightning import ConfigurationError, MultimodalMonitor
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.measurement_run import MeasurementRun, RunResult
from mviz_lightning.callbacks.time_budget import SHARES, TimeBudget
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors.arguments import require_share

# -- Time budget -------------------------------------------------------------------------------------------------------


def spend(time_budget: TimeBudget, work: str, seconds: float, *, more: bool = False) -> None:
    with time_budget.timed(work, more=more):
        time_budget.clock.now += seconds  # type: ignore[attr-defined]


def done(
    prices: Mapping[str, float], limit: float | None = 0.05, every: float = 10.0, times: int = 12
) -> Iterator[tuple[str, float]]:
    """Yield what is done at each of some moments, of work that costs so much, in order; and all that it has taken."""
    clock = Clock()
    time_budget, taken = TimeBudget(limit, clock), 0.0
    for _ in range(times):
        clock.now += every
        found = ""
        for name, price in prices.items():
            if time_budget.allows(name):
                spend(time_budget, name, price)
                found, taken = found + name[-1], taken + price
        yield found, taken / (clock.now - 100)


def by_hand(prices: Mapping[str, float], limit: float = 0.05, every: float = 10.0, times: int = 12) -> Iterator[str]:
    """The same, slowly: every piece of work is done where its share with it would not be above the limit."""
    now, records = 0.0, []
    for moment in range(times):
        now += every
        found = ""
        for name, price in prices.items():
            counted = [seconds for other, seconds in records if name != SHARES or other == SHARES]
            if moment == 0 or (sum(counted) + price) / (now + price) <= limit:
                records.append((name, price))
                now, found = now + price, found + name[-1]
        yield found


def names(*args: Any, **settings: Any) -> list[str]:
    return [found for found, _ in done(*args, **settings)]


def test_without_a_limit_everything_is_done() -> None:
    assert names({SHARES: 9.0, "dime": 9.0}, limit=None) == ["se"] * 12


def test_cheap_work_is_always_done() -> None:
    assert names({SHARES: 0.2, "dime": 0.2}) == ["se"] * 12


def test_explanations_wait_until_there_is_time_for_them_and_shares_go_on() -> None:
    # At the k-th, with d of them made: 0.2 k + 0.6 d + 0.6 <= 0.05 (10 k + 0.2 k + 0.6 d + 0.6)
    assert names({SHARES: 0.2, "dime": 0.6}) == ["se", "s", "s", "se", "s", "se", "s", "se", "s", "se", "s", "se"]


def test_shares_wait_for_themselves_alone_however_dear_explanations_are() -> None:
    # At the k-th, with n of them made: n + 1 <= 0.05 (10 k + n + 5.3 + 1)
    assert names({SHARES: 1.0, "dime": 5.3}) == ["se", "", "", "s", "", "s", "", "s", "s", "", "s", ""]


PRICES = [
    {SHARES: 0.3, "dime": 2.1, "errors": 0.7},
    {SHARES: 1.7},
    {SHARES: 0.01, "dime": 43.0},
    {SHARES: 0.4517, "dime": 0.1033},  # crooked: sums in another order must not decide
    {SHARES: 1.3071, "dime": 3.3127},
]


@pytest.mark.parametrize("prices", PRICES)
@pytest.mark.parametrize("limit", [0.013, 0.05, 0.3])
def test_the_same_is_done_as_by_hand(prices: dict[str, float], limit: float) -> None:
    assert names(prices, limit, times=200) == [*by_hand(prices, limit, times=200)]


@pytest.mark.parametrize("prices", PRICES)
def test_the_share_of_the_time_is_kept_once_the_first_validation_is_made_up_for(prices: dict[str, float]) -> None:
    shares = [share for _, share in done(prices, times=3000)]
    first = sum(prices.values())
    assert max(share - first / (10 * number) for number, share in enumerate(shares, 1)) <= 0.05
    assert shares[-1] <= 0.0515  # of which 0.0015 are the dearest first validation
    wanted = min(0.05, first / (10 + first))
    assert shares[-1] > 0.9 * wanted  # and no time is left unused


def test_what_belongs_to_work_is_foreseen_with_it() -> None:
    time_budget = TimeBudget(0.5, Clock())
    time_budget.clock.now += 94
    spend(time_budget, "dime", 2)
    spend(time_budget, "dime", 2, more=True)  # its pictures
    spend(time_budget, SHARES, 2, more=True)
    assert time_budget._last == {"dime": 4, SHARES: 2}
    spend(time_budget, "dime", 1)
    assert time_budget._last["dime"] == 1
    assert time_budget._spent == {"dime": 5, SHARES: 2}


def test_what_fails_takes_its_time() -> None:
    time_budget = TimeBudget(0.05, Clock())
    with pytest.raises(OSError, match="no"), time_budget.timed("dime"):
        _fail_after(time_budget.clock, 7)
    assert time_budget.lap() == (7, 1)
    assert not time_budget.allows("dime")


def _fail_after(clock: Any, seconds: float) -> None:
    clock.now += seconds
    raise OSError("no")


def test_a_lap_begins_where_the_last_one_ended() -> None:
    time_budget = TimeBudget(None, Clock())
    assert time_budget.lap() == (0, 0)
    time_budget.clock.now += 6
    spend(time_budget, "dime", 2)
    assert time_budget.lap() == (2, 0.25)
    time_budget.clock.now += 5
    assert time_budget.lap() == (0, 0)
    spend(time_budget, SHARES, 3)
    spend(time_budget, "dime", 1)
    assert time_budget.lap() == (4, 1)


@pytest.mark.parametrize("value", [0, -0.1, 1, 5, float("nan"), True, "5%", [0.05]])
def test_impossible_shares_are_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_overhead=.*: give a share of the time between 0 and 1") as said:
        MultimodalMonitor({"a": "0", "b": "1"}, max_overhead=value)
    assert repr(value) in str(said.value)


def test_possible_shares_pass() -> None:
    assert require_share("max_overhead", 0.05) == 0.05
    assert require_share("max_overhead", np.float32(0.25)) == 0.25  # type: ignore[arg-type]
    assert require_share("max_overhead", None) is None


def test_what_is_put_off_is_said_once_in_a_row() -> None:
    time_budget, said = TimeBudget(0.005, Clock()), "put off: dime (max_overhead=0.005)"
    decisions = [True, False, False, True, False]
    assert [time_budget.settle("dime", allowed=allowed) for allowed in decisions] == ["", said, "", "", said]
    assert time_budget.settle(SHARES, allowed=False) == "put off: the shares (max_overhead=0.005)"


# -- Measurement run ---------------------------------------------------------------------------------------------------


def measurement_run(prices: dict[str, float], limit: float | None = 0.05, **fails: Exception) -> MeasurementRun:
    session = Pretended(fails, prices=prices)
    return MeasurementRun(session, ErrorPolicy(), TimeBudget(limit, session.clock))


def attempt(found: MeasurementRun, methods: Sequence[Any] = (A,), every: float = 100.0) -> RunResult:
    found.time_budget.clock.now += every  # type: ignore[attr-defined]
    return found.attempt(methods, early=False)


def test_a_run_that_is_put_off_gives_nothing_and_says_so_once() -> None:
    found = measurement_run({"run": 12.0})
    tries = [attempt(found) for _ in range(8)]
    assert [bool(one.values) for one in tries] == [True, False, False, False, True, False, True, False]
    assert [one.put_off for one in tries] == [not one.values for one in tries]
    said = [number for number, one in enumerate(tries) if "put off: the shares" in one.note]
    assert said == [1, 5, 7]
    assert not any(one.explained for one in tries if one.put_off)


def test_an_explainer_that_is_put_off_leaves_the_others_their_turn() -> None:
    found = measurement_run({"a": 30.0, "b": 1.0})
    attempt(found, [A, B])
    for _ in range(6):
        found.time_budget.clock.now += 100
    later = [attempt(found, [A, B]) for _ in range(2)]
    assert [list(one.explained) for one in later] == [["b"], ["b"]]
    assert [one.note for one in later] == ["put off: a (max_overhead=0.05); b was made", "b was made"]


def test_the_cost_of_pictures_counts_with_their_explainer() -> None:
    found = measurement_run({"a": 1.0})
    attempt(found)
    spend(found.time_budget, "a", 5.0, more=True)
    assert attempt(found, every=110).note == "put off: a (max_overhead=0.05)"  # 12 of 222 seconds; 7 would have passed
    assert attempt(found, every=20).note == "a was made"  # 12 of 242


def test_what_fails_again_and_again_is_put_off_too() -> None:
    found, notes = measurement_run({"a": 20.0}, a=ValueError("no")), []
    heard(lambda: notes.extend(attempt(found).note for _ in range(8)))
    assert ["failed" in note for note in notes] == [True, False, False, False, False, False, False, True]


def test_at_the_end_nothing_is_put_off() -> None:
    found = measurement_run({"a": 50.0})
    attempt(found)
    assert list(found.explain([A]).explained) == ["a"]


def test_an_explainer_may_have_any_name() -> None:
    for name in ("shares", "pictures", "measuring"):
        method = explainer(1, name)
        found = measurement_run({name: 50.0, "run": 0.1})
        assert [list(attempt(found, [method]).explained) for _ in range(2)] == [[name], []]


class Decided(Ranks):
    """A process whose first rank decides otherwise."""

    def gather(self, value: object) -> Sequence[object]:  # type: ignore[override]
        return [not value, value] if isinstance(value, bool) else [value, value]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_first_process_decides(*, allowed: bool) -> None:
    found = measurement_run({"run": 5.0, "a": 0.0})
    found.session.ranks = Decided(1, 2)
    if allowed:  # it has time, this one has not
        spend(found.time_budget, SHARES, 5.0)
    assert bool(attempt(found, [], every=1.0).values) is allowed


@dataclass(frozen=True)
class Counting(Ranks):
    """A process that notes what is exchanged, and hears given answers of its first rank."""

    asked: list[object] = field(default_factory=list)
    responses: list[bool] = field(default_factory=list)

    def gather(self, value: object) -> Sequence[object]:  # type: ignore[override]
        self.asked.append(value)
        return [self.responses.pop(0) if self.responses else value]


def test_processes_meet_equally_often_whatever_their_clocks_say() -> None:
    met = []
    for mine in (1e-6, 1e6):  # seconds that this process took
        found = measurement_run({"run": mine, "a": mine, "b": mine})
        found.session.ranks = ranks = Counting(1, 2)
        attempt(found, [A, B])
        ranks.responses.extend([True, False, False, True])  # the shares, tried, a, b
        second = attempt(found, [A, B])
        assert list(second.explained) == ["b"]
        met.append((len(ranks.asked), second.note))
    assert met == [(8, "put off: a (max_overhead=0.05); b was made")] * 2


def test_without_a_limit_no_process_waits_for_a_decision() -> None:
    found = measurement_run({}, None)
    found.session.ranks = ranks = Counting(1, 2)
    attempt(found, [A, B])
    assert ranks.asked == [False]  # whether the model was tried
