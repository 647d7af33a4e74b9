"""Scores by pattern of presence: the modalities that examples have, and the loss in score without the others."""

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
        examples: Number of validation examples with exactly these modalities.
        score: Score of the complete examples with only these modalities; None if the model does not accept that.
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
    """Return the patterns of a head as a table for loggers and files; the score is empty if there is none."""
    rows: list[list[str | float]] = [[when, one.words, one.examples, format_number(one.score)] for one in patterns]
    return Table(of_head(head, "absence"), ["when", "modalities", "examples", "score"], rows)
