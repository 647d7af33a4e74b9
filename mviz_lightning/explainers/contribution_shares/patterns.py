"""Scores by pattern of presence: which modalities examples have, and what the others' absence costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from mviz_lightning.explainers.text_tables import align, format_number
from mviz_lightning.sinks.records import Table, of_head


def score_without(modality: str) -> str:
    """Return the name of the score without a modality."""
    return f"score_without/{modality}"


@dataclass(frozen=True)
class PatternScore:
    """The modalities that some examples have.

    Attributes:
        present: Their names, in declared order.
        examples: Number of validation examples that have these and no others.
        score: Score of the complete examples if they have no others; None where the model does not accept that.
    """

    present: Sequence[str]
    examples: int
    score: float | None

    @property
    def words(self) -> str:
        """The pattern in words: ``image + text``, ``image only``."""
        if len(self.present) == 1:
            return f"{self.present[0]} only"
        return " + ".join(self.present) or "none"


def pattern_text(patterns: Sequence[PatternScore]) -> str:
    """Return a row for each pattern as text; ``""`` without any."""
    if not patterns:
        return ""
    header = ["modalities", "validation examples", "score of complete examples with these alone"]
    return align([header, *([one.words, f"{one.examples:,}", format_number(one.score)] for one in patterns)])


def pattern_table(patterns: Sequence[PatternScore], when: str, head: str = "") -> Table:
    """Return the same as a table of a head for loggers and files; a pattern that the model refuses has no score."""
    rows: list[list[str | float]] = [[when, one.words, one.examples, format_number(one.score)] for one in patterns]
    return Table(of_head(head, "absence"), ["when", "modalities", "examples", "score"], rows)
