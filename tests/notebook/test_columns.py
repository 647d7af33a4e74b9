"""The guide on notebooks names the columns of each data frame."""

import re
from pathlib import Path

import pytest
from helpers.notebook_results import every_result

GUIDE = Path(__file__).parents[2] / "examples" / "guides" / "notebooks.md"

TOLD = {
    "`explain(...)`": "report",
    "`monitor.history`": "history",
    "`report.compared_with(other)`": "comparison",
    "`alarm.verdicts[...]`": "verdict",
    "`DIME`": "result dime",
    "`UnimodalImportance`": "result importance",
    "`CrossModalInteraction`": "result cross_modal",
    "`MultimodalRepresentation`": "result representation",
    "one feature of it": "feature",
    "`MultimodalPrediction`": "result prediction",
    "one example of it": "features",
    "`ErrorAnalysis`": "result errors",
    "one case of it": "case",
    "`ExampleRanking`": "result ranking",
    "`PositionEffects`": "result positions",
    "a method of your own": "result own",
}
"""Row of the guide's table -> the result that it is about."""


def rows_of_guide():
    lines = [line.strip("|").split("|") for line in GUIDE.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    return {name.strip(): re.findall(r"`([^`]+)`", columns) for name, columns in lines}


def test_every_row_of_the_guide_is_about_a_result():
    assert rows_of_guide().keys() == TOLD.keys()


@pytest.mark.parametrize("row", TOLD)
def test_the_columns_are_those_of_the_guide(report, history, row):
    told = rows_of_guide()[row]
    expanded = [
        column.replace("<m>", name) for column in told for name in (report.modalities if "<m>" in column else [""])
    ]
    assert list(every_result(report, history)[TOLD[row]].to_pandas().columns) == expanded
