"""Audio: blocks of time of a waveform, or of bands in a spectrogram."""

import math
from functools import cached_property
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.kinds.base import blocks
from mviz_lightning.kinds.series import Series

BANDS = ([""], ["low", "high"], ["low", "mid", "high"], ["low", "mid-low", "mid-high", "high"])
"""Names of bands, by how many there are."""

WAVES = 2
"""Rows that are channels of a waveform; more of them are frequencies."""

DECIBELS = 80
"""Below the loudest, where a spectrogram turns black."""


class Audio(Series):
    """Waveforms ``(N, T)`` or ``(N, 1, T)``; spectrograms ``(N, F, T)`` or ``(N, 1, F, T)``.

    Both are drawn as spectrograms, which is what a person can read.
    """

    name = "audio"
    expected: ClassVar[str] = "(N, T), (N, 1, T), (N, F, T) or (N, 1, F, T)"
    time: ClassVar[int] = -1
    upwards: ClassVar[int] = -1
    shades: ClassVar[str] = "magma"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Tell nothing: audio looks like a table, a series or an image."""
        return False

    @cached_property
    def _row_axis(self) -> int | None:
        """Return the axis of frequencies; None for waveforms."""
        others = [axis for axis in range(1, self.values.dim()) if axis != self._time]
        if not others or (len(others) == 1 and self.values.shape[others[0]] <= WAVES):
            return None
        return others[-1]

    @cached_property
    def _lanes(self) -> Tensor:
        """``(F,)`` the band of every frequency, or ``(1,)``."""
        return blocks(self._rows.shape[2], min(len(BANDS), self.modality.units))

    @property
    def _parts(self) -> int:
        return super()._parts if self._row_axis is None else min(super()._parts, 12)

    def _named_lanes(self) -> list[str]:
        return BANDS[int(self._lanes.max())]

    def _fill(self, mask: Tensor) -> Tensor:
        if self._is_silenced:
            return torch.zeros([1] * self.values.dim(), dtype=self.values.dtype)
        return super()._fill(mask)

    @property
    def _is_silenced(self) -> bool:
        return self._row_axis is None and self.modality.baseline is None

    @property
    def baseline(self) -> str:
        """What a masked block turns into."""
        return "silence (0)" if self._is_silenced else super().baseline

    def margin(self) -> list[str]:
        """Return nothing: low frequencies lie at the bottom, as everywhere."""
        return [""]

    def table(self, example: int) -> npt.NDArray[Any]:
        """Return the spectrogram, ``(F, T)`` in 0..1, high frequencies first."""
        rows = self._rows[example][self._steps(example)].nan_to_num()
        table = rows.T if self._row_axis is not None else _spectrogram(rows[:, 0])
        if not table.numel():
            return table.numpy()
        low, high = table.min(), table.max()
        return ((table - low) / (high - low).clamp(min=1e-12)).flip(0).numpy()


def _spectrogram(wave: Tensor) -> Tensor:
    """Return decibels below the loudest, ``(F, T)``; a few hundred columns at the most."""
    if not len(wave):
        return torch.zeros(1, 0)
    # As many frequencies as columns in a short sound; in a long one what a small panel can show.
    window = 2 ** min(max(round(math.log2(len(wave)) / 2) + 1, 2), 9)
    hop = max(window // 4, len(wave) // 256)
    found = torch.stft(
        wave, window, hop, window=torch.hann_window(window), center=True, pad_mode="constant", return_complex=True
    ).abs()
    loudest = found.max().clamp(min=1e-12)
    return (20 * (found / loudest).clamp(min=1e-12).log10()).clamp(min=-DECIBELS)
