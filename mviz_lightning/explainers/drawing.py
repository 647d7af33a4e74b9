"""What surveys found, as pictures, tables and texts; every finding's own file registers how it is drawn."""

from collections.abc import Sequence
from functools import singledispatch

from mviz_lightning.explainers import Result
from mviz_lightning.explainers.dime.figure import DrawingContext
from mviz_lightning.sinks.records import Record


@singledispatch
def records_of(result: Result, key: str, drawing: DrawingContext, when: str) -> Sequence[Record]:
    """Draw a finding; one that says nothing but its scalars gives nothing.

    Args:
        result: Its class decides how it is drawn.
        key: Name of the survey, to which a record's own name is added: ``<key>/classes``.
        drawing: Knows kinds, labels, and whether inputs may be shown.
        when: In the training, in words.
    """
    return ()
