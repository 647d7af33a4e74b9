"""Rows as pandas data frames; pandas is imported only when a frame is requested."""

from typing import TYPE_CHECKING

from mviz_lightning.notebook.card import TidyRows

if TYPE_CHECKING:
    from pandas import DataFrame


def data_frame(frame: TidyRows) -> "DataFrame":
    """Return rows as a data frame.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "to_pandas() needs pandas, which is not installed: pip install pandas. Without it, to_dict() returns the "
            "same numbers as plain data.",
            name="pandas",
        ) from error
    return DataFrame([list(row) for row in frame.rows], columns=list(frame.columns))
