"""How many examples narrower intervals need."""

import logging
import math

import pytest
import torch
from helpers.toy import fit, monitor

from mviz_lightning import explain
from mviz_lightning.session.explain import ShareReport
from mviz_lightning.session.precision import Precision, half_width
from mviz_lightning.testing import Additive, Product


def bounds(name: str, value: float, half: float) -> dict[str, float]:
    kind, _, of = name.partition("/")
    sides = {f"{kind}_low/{of}": value - half, f"{kind}_high/{of}": value + half}
    return {name: value, **sides, "score": 0.7, "weakest_total": value}


@pytest.mark.parametrize(
    ("half", "examples", "group", "wanted"),
    [
        (0.10, 128, 16, 512),  # twice as wide: four times as many
        (0.12, 128, 16, 752),  # 128 * 5.76 = 737.3, up to whole groups of 16
        (0.12, 240, 24, 1392),  # 1,382.4, up to whole groups of 24
        (0.30, 256, 32, 9216),
    ],
)
def test_the_number_grows_with_the_square_of_the_width(half: float, examples: int, group: int, wanted: int) -> None:
    advice = Precision(examples, group).advice(bounds("total/image", 0.5, half))

    assert advice == f"the widest interval is total/image +-{half:.2f}; for +-0.05 set num_examples to about {wanted:,}"


def test_the_widest_counts_and_a_narrow_one_is_no_reason() -> None:
    values = bounds("total/image", 0.5, 0.05) | bounds("contribution/text", 0.2, 0.07)

    assert "contribution/text +-0.07" in Precision(128, 16).advice(values)
    assert Precision(128, 16).advice(bounds("total/image", 0.5, 0.049)) == ""
    assert Precision(128, 16).advice(bounds("total/image", 0.5, 0.054)) == ""  # else "+-0.05; for +-0.05 ..."


def test_a_small_validation_set_is_named() -> None:
    wide = bounds("total/image", 0.5, 0.10)

    assert Precision(128, 16, 300).advice(wide).endswith("about 512, but the validation set has 300 examples")
    assert Precision(128, 16, 512).advice(wide).endswith("about 512")


def test_a_budget_that_made_groups_smaller_is_named() -> None:
    found = Precision(42, 6, budget=256, rows=36)
    limited = "budget=256 rows are enough for 42 examples in 7 groups of 6"

    assert found.advice({}).startswith(f"{limited}; 42 examples may miss kinds of examples rarer than 1 in 14")
    assert found.advice(bounds("total/image", 0.5, 0.10)).startswith(
        f"{limited}; the widest interval is total/image +-0.10; for +-0.05 set num_examples to about 168 and budget to "
        "about 1,008; "
    )


def test_few_examples_miss_what_is_rare() -> None:
    # A kind of 1 in 21 examples is missing from 64 with a probability of 0.044.
    assert pytest.approx(math.exp(-3), abs=0.01) == (1 - 1 / 21) ** 64
    assert Precision(64, 16).advice({}) == (
        "64 examples may miss kinds of examples rarer than 1 in 21; for effects in such kinds alone, intervals cover "
        "less than 95 %"
    )
    assert Precision(100, 16).advice({}) == ""


def test_values_without_an_interval_have_no_width() -> None:
    values = {"score": 0.5, "total/a": 0.5, "total_low/a": math.nan, "total_high/a": math.nan}

    assert half_width(values, "score") == half_width(values, "total/a") == 0.0


def product_report(examples: int, **options: int) -> ShareReport:
    generator = torch.Generator().manual_seed(1)
    batch = (torch.randn(examples, 3, generator=generator), torch.randn(examples, 5, generator=generator))
    return explain(Product(), [batch], modalities={"image": "0", "text": "1"}, task="regression", **options)


def test_a_report_and_the_log_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = product_report(200)

    widest = max(half_width(found.values, name) for name in found.values)
    wanted = math.ceil(128 * (widest / 0.05) ** 2 / 16) * 16
    assert widest > 0.05
    assert f"set num_examples to about {wanted}" in found.advice
    assert str(found).count(found.advice) == caplog.text.count(found.advice) == 1
    assert ("the validation set has 200 examples" in found.advice) == (wanted > 200)


@pytest.mark.slow
def test_what_is_advised_gives_what_was_asked_for() -> None:
    few = product_report(4000, num_examples=160)
    wanted = int(few.advice.split("num_examples to about ")[1].split(";")[0].replace(",", ""))
    many = product_report(4000, num_examples=wanted)

    assert max(half_width(many.values, name) for name in many.values) == pytest.approx(0.05, rel=0.5)


def test_an_additive_model_of_narrow_intervals_gets_no_advice() -> None:
    generator = torch.Generator().manual_seed(1)
    batch = (torch.randn(2000, 3, generator=generator), 0.001 * torch.randn(2000, 5, generator=generator))
    found = explain(Additive([3, 5]), [batch], modalities={"image": "0", "text": "1"}, task="regression")

    assert found.advice == ""
    assert "num_examples" not in str(found)


def test_a_training_says_it_once_and_its_history_ends_with_it(tmp_path, caplog) -> None:
    callback = monitor()
    with caplog.at_level(logging.INFO):
        fit(tmp_path, callback, max_epochs=3)

    assert callback.history.advice
    assert str(callback.history).splitlines()[-1] == callback.history.advice
    assert caplog.text.count("the widest interval is") == 1
    assert callback.history.advice in (next(tmp_path.rglob("summary.md"))).read_text()
