"""Audio: blocks of time of a waveform, or of bands in a spectrogram."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.modalities.base import blocks
from mviz_lightning.modalities.series import Series
from mviz_lightning.sinks.records import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

BANDS = ([""], ["low", "high"], ["low", "mid", "high"], ["low", "mid-low", "mid-high", "high"])
"""Names of bands, by how many there are."""

WAVES = 2
"""Rows that are channels of a waveform; more of them are frequencies."""

DECIBELS = 80
"""Below the loudest, where a spectrogram turns black."""

LOUDEST = 2**15 - 1
"""Of 16 bits."""

BELOW = 0.62
"""Part of a panel that the spectrogram of a waveform takes."""

COLUMNS = 240
"""Of a waveform's picture at the most: more than a small panel has pixels."""

SHADE = 0.55
"""How far a sound darkens the colours that it lies over: it never hides them."""


class Audio(Series):
    """Waveforms ``(N, T)`` or ``(N, 1, T)``; spectrograms ``(N, F, T)`` or ``(N, 1, F, T)``.

    A waveform is drawn above its spectrogram, which is what a person can read; with a sample rate it can be heard too.
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

    @property
    def _rate(self) -> float | None:
        """Return steps a second; of waveforms, samples."""
        return self.modality.rate or (self.modality.sample_rate if self._is_wave else None)

    @property
    def _is_wave(self) -> bool:
        return self._row_axis is None

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
        return blocks(self._rows.shape[2], min(len(BANDS), self.modality.max_segments))

    @property
    def _parts(self) -> int:
        return super()._parts if self._is_wave else min(super()._parts, 12)

    def _named_lanes(self) -> list[str]:
        return BANDS[int(self._lanes.max())]

    def _fill(self, mask: Tensor) -> Tensor:
        if self._is_silenced:
            return torch.zeros([1] * self.values.dim(), dtype=self.values.dtype)
        return super()._fill(mask)

    @property
    def _is_silenced(self) -> bool:
        return self._is_wave and self.modality.baseline is None

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
        table = _spectrogram(rows[:, 0]) if self._is_wave else rows.T
        if not table.numel():
            return table.numpy()
        low, high = table.min(), table.max()
        return ((table - low) / (high - low).clamp(min=1e-12)).flip(0).numpy()

    def sound(self, example: int) -> Samples | None:
        """Return a waveform without its padding, at full scale where it leaves -1..1 (as integers do)."""
        if self.modality.sample_rate is None or not self._is_wave:
            return None
        wave = self.values[example].movedim(self._time - 1, 0)[self._steps(example)]
        return _as_samples(wave.unsqueeze(1).flatten(1))

    def draw(self, axes: "Axes", example: int) -> None:
        """Show the spectrogram, and a waveform above its own."""
        if not self._is_wave:
            super().draw(axes, example)
            return
        table = self.table(example)
        if table.size:
            axes.imshow(table, extent=(0, 1, 0, BELOW), aspect="auto", cmap=self.shades, vmin=0, vmax=1)
            self._draw_wave(axes, example)
        self._label(axes, example)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw coloured blocks, and what is loud in them darker."""
        super().paint(axes, example, weights, colours, inputs=inputs and not self._is_wave)
        table = self.table(example) if inputs and self._is_wave else np.zeros(0)
        if table.size:
            shade = np.zeros((*table.shape, 4))
            shade[..., 3] = SHADE * _above_noise(table)
            axes.imshow(shade, extent=(0, 1, 0, BELOW), aspect="auto")
            self._draw_wave(axes, example)

    def _tinted(self, painted: npt.NDArray[Any], segments: npt.NDArray[Any], table: npt.NDArray[Any]) -> Any:
        return super()._tinted(painted, segments, _above_noise(table))

    def _draw_wave(self, axes: "Axes", example: int) -> None:
        """Draw how far a waveform swings in the upper part of a panel."""
        wave = self._rows[example][self._steps(example)].nan_to_num()[:, 0]
        columns = wave.tensor_split(min(COLUMNS, len(wave)))
        low, high = (torch.stack([getattr(part, end)() for part in columns]).numpy() for end in ("min", "max"))
        scale = max(float(np.abs(low).max()), float(np.abs(high).max()), 1e-12) * 2.1 / (1 - BELOW)
        middle, places = (1 + BELOW) / 2, (np.arange(len(low)) + 0.5) / len(low)
        axes.fill_between(places, middle + low / scale, middle + high / scale, color="#222222", linewidth=0.7)


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


def _above_noise(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a spectrogram in which noise, which is nearly everywhere, is 0 and leaves colours as they are."""
    noise = float(np.median(table)) if table.size else 0.0
    quiet: npt.NDArray[Any] = ((table - noise) / max(1 - noise, 1e-12)).clip(0, 1)
    return quiet


def _as_samples(wave: Tensor) -> Samples | None:
    """Return ``(T, C)`` samples of ``(T, C)`` numbers; None where there is nothing to hear."""
    if len(wave) < 2:
        return None
    numbers = wave.double().nan_to_num(0, 0, 0)
    samples: Samples = (numbers / numbers.abs().max().clamp(min=1) * LOUDEST).round().short().numpy()
    return samples
