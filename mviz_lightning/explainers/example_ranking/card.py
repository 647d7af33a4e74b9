"""The ranking of examples as cards: what drives each prediction."""

from mviz_lightning.explainers.card import MOST_EXAMPLES, OUTPUT_COLUMNS, ExampleDisplay
from mviz_lightning.explainers.example_ranking.result import RankedExample, RankingResult
from mviz_lightning.functional.numerals import fixed
from mviz_lightning.functional.uc_and_mi import INTERVAL
from mviz_lightning.notebook.card import Card, TidyRows, stacked_rows
from mviz_lightning.plotting.diagrams import TOGETHER, Bar, Bars
from mviz_lightning.plotting.panels import COLOURS

COLUMNS = (*OUTPUT_COLUMNS, "driver", "sureness", "value", "part", "effect", "error")


def ranked_card(one: RankedExample) -> Card:
    """Return the card of one example: the effects whose sum is its output."""
    shown = ExampleDisplay(one)
    name = shown.labels.output(one.output)
    parts = [*((key, one.effects[key], one.errors[key]) for key in one.effects)]
    parts.append(("interaction", one.interaction, one.interaction_error))
    colours = [*(COLOURS[place % len(COLOURS)] for place in range(len(one.effects))), TOGETHER]
    bars = [
        Bar(label, effect, effect - INTERVAL * error, effect + INTERVAL * error, colour)
        for (label, effect, error), colour in zip(parts, colours, strict=True)
    ]
    sure = f"{fixed(one.sureness, 1)} standard errors from another driver"
    verdict = f"{name}: driven by {one.driver}" if one.driver != "mixed" else f"{name}: driven by several effects"
    rows = [[*shown.cells(one.output), one.driver, one.sureness, one.value, *part] for part in parts]
    return Card(
        f"{verdict}, {sure}", [Bars(f"What makes up {name}", bars)], TidyRows(COLUMNS, rows), title=shown.headline
    )


def ranking_card(result: RankingResult) -> Card:
    """Return the card of all examples: their number for each driver, and the surest of each."""
    if not result.ranked:
        return Card("no example was ranked")
    counts = {driver: len(result.driven_by(driver)) for driver in result.drivers}
    bars = [Bar(driver, float(count)) for driver, count in counts.items()]
    most = max(counts, key=lambda driver: counts[driver])
    sure = sum(one.is_sure for one in result.ranked)
    verdict = f"{counts[most]} of {len(result.ranked)} predictions are driven by {most}; {sure} of all are sure"
    surest = [one for driver in result.drivers for one in result.driven_by(driver)[:2]][:MOST_EXAMPLES]
    frame = stacked_rows([ranked_card(one).frame for one in result.ranked])
    notes = ["Sure: two or more standard errors from another driver."]
    diagrams = [Bars("Examples by what drives their prediction", bars)]
    return Card(verdict, diagrams, frame, notes=notes, parts=[_part(one) for one in surest])


def _part(one: RankedExample) -> Card:
    card = ranked_card(one)
    return card.titled(f"{one.driver}: {card.title}")
