"""Frames and series of pandas; nothing is imported for them."""

from collections.abc import Hashable, Mapping
from typing import Any

from torch import Tensor

from mviz_lightning.batch.registry import register

FRAME, SERIES = "pandas.DataFrame", "pandas.Series"


def frame_columns(frame: Any) -> Mapping[Hashable, Any]:
    """Return ``(N,)`` arrays by column; an empty mapping if several columns have the same name."""
    return {key: frame[key].to_numpy() for key in frame.columns} if frame.columns.is_unique else {}


def with_frame_columns(frame: Any, parts: Mapping[Hashable, Any]) -> Any:
    """Return a frame with new values of the same element types, with new row numbers if their number changes."""
    made = type(frame)({key: _array(part) for key, part in parts.items()}).astype(frame.dtypes.to_dict())
    made = made.set_axis(frame.columns, axis=1)
    made.attrs.update(frame.attrs)
    return made.set_axis(frame.index) if len(made) == len(frame) else made


def series_values(series: Any) -> Mapping[str, Any]:
    """Return the ``(N,)`` array."""
    return {"values": series.to_numpy()}


def with_series_values(series: Any, parts: Mapping[str, Any]) -> Any:
    """Return a series with new values of the same element type."""
    made = type(series)(_array(parts["values"]), dtype=series.dtype, name=series.name)
    return made.set_axis(series.index) if len(made) == len(series) else made


def _array(part: Any) -> Any:
    return part.detach().cpu().numpy() if isinstance(part, Tensor) else part


def register_frames() -> None:
    """Register frames and series."""
    register(FRAME, frame_columns, with_frame_columns)
    register(SERIES, series_values, with_series_values)
