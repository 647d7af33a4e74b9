"""What surveys found, as pictures, tables and texts; every finding's own file registers how it is drawn."""

from collections.abc import Sequence
from functools import singledispatch

from mviz_lightning.explainers import Finding
from mviz_lightning.records import Record
from mviz_lightning.rendering.gallery import Gallery


@singledispatch
def records_of(finding: Finding, key: str, gallery: Gallery, when: str) -> Sequence[Record]:
    """Draw a finding; one that says nothing but its scalars gives nothing.

    Args:
        finding: Its class decides how it is drawn.
        key: Name of the survey, to which a record's own name is added: ``<key>/classes``.
        gallery: Knows kinds, labels, and whether inputs may be shown.
        when: In the training, in words.
    """
    return ()
