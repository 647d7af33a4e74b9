"""Audio: blocks of time of a waveform, or of frequency bands of a spectrogram."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mviz_lightning.modalities.segmentation import blocks
from mviz_lightning.modalities.series import Series
from mviz_lightning.modalities.step_leaf import StepLeaf
from mviz_lightning.modalities.views import means
from mviz_lightning.sinks.records import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

BAND_NAMES = ([""], ["low", "high"], ["low", "mid", "high"], ["low", "mid-low", "mid-high", "high"])
"""Names of 1, 2, 3 and 4 frequency bands, lowest first."""

MAX_WAVEFORM_CHANNELS = 2
"""Largest number of rows that are channels of a waveform (stereo); more rows are frequencies."""

DYNAMIC_RANGE = 80
"""Range of a drawn spectrogram, in decibels below the loudest value; quieter values are black."""

MAX_AMPLITUDE = 2**15 - 1
"""Largest amplitude of 16-bit audio."""

SPECTROGRAM_HEIGHT = 0.62
"""Height of a waveform's spectrogram, as a fraction of the panel; the waveform is above it."""

WAVEFORM_COLUMNS = 240
"""Largest number of columns of a drawn waveform; a small panel has fewer pixels."""

MAX_DARKENING = 0.55
"""Largest opacity of the spectrogram over the colours of the weights: below 1, so that the colours stay visible."""


class Audio(Series):
    """Waveforms ``(N, T)`` or ``(N, 1, T)``; spectrograms ``(N, F, T)`` or ``(N, 1, F, T)``.

    A segment is a block of time; for spectrograms, a block of time in one of up to 4 frequency bands. A waveform is
    drawn above its spectrogram. With ``Modality(sample_rate=...)``, loggers also get it as sound.
    """

    name = "audio"
    expected: ClassVar[str] = "(N, T), (N, 1, T), (N, F, T) or (N, 1, F, T)"
    default_time_axis: ClassVar[int] = -1
    takes_companions: ClassVar[bool] = False
    row_direction: ClassVar[int] = -1
    colour_map: ClassVar[str] = "magma"

    @classmethod
    def fits(cls, values: Any) -> bool:
        """Return False: the shape of audio is also that of a table, a series or an image."""
        return False

    @property
    def _rate(self) -> float | None:
        """Steps per second; for waveforms, samples per second."""
        return self.modality.rate or (self.modality.sample_rate if self._is_waveform else None)

    @property
    def _is_waveform(self) -> bool:
        return self._row_axis is None

    @cached_property
    def _row_axis(self) -> int | None:
        """The frequency axis; None for waveforms."""
        others = [axis for axis in range(1, self.values.dim()) if axis != self._time]
        if not others or (len(others) == 1 and self.values.shape[others[0]] <= MAX_WAVEFORM_CHANNELS):
            return None
        return others[-1]

    @cached_property
    def _lanes(self) -> Tensor:
        """The band of every frequency, ``(F,)``; ``(1,)`` for waveforms."""
        return blocks(self._rows.shape[2], min(len(BAND_NAMES), self.modality.max_segments))

    @property
    def _blocks_per_lane(self) -> int:
        return super()._blocks_per_lane if self._is_waveform else min(super()._blocks_per_lane, 12)

    def _named_lanes(self) -> list[str]:
        return BAND_NAMES[int(self._lanes.max())]

    def _fill(self, leaf: StepLeaf, mask: Tensor) -> Tensor:
        if self._is_silenced:
            return torch.zeros([1] * self.values.dim(), dtype=self.values.dtype)
        return super()._fill(leaf, mask)

    @property
    def _is_silenced(self) -> bool:
        return self._is_waveform and self.modality.baseline is None

    @property
    def baseline(self) -> str:
        """What a masked block becomes."""
        return "silence (0)" if self._is_silenced else super().baseline

    def margin(self) -> list[str]:
        """Return no labels: low frequencies are at the bottom, as in every spectrogram."""
        return [""]

    def table(self, example: int) -> npt.NDArray[Any]:
        """Return an example's spectrogram, ``(F, T)`` in 0..1, high frequencies first."""
        rows = self._rows[example][self._steps(example)].nan_to_num()
        table = _spectrogram(rows[:, 0]) if self._is_waveform else rows.T
        if not table.numel():
            return table.numpy()
        low, high = table.min(), table.max()
        return ((table - low) / (high - low).clamp(min=1e-12)).flip(0).numpy()

    def _curve_names(self) -> list[str]:
        return ["waveform"] if self._is_waveform else self._lane_labels[::-1]

    def _curve_of(self, lane: int) -> int:
        """Return the curve of a frequency band; the highest one is drawn at the top."""
        return -1 if self._is_waveform else len(self._lane_labels) - 1 - lane

    def _curves(self, example: int) -> npt.NDArray[Any]:
        """Return the amplitudes of a waveform, or the means of the bands of a spectrogram in 0..1."""
        if self._is_waveform:
            wave: npt.NDArray[Any] = self._rows[example][self._steps(example)].double().nan_to_num()[:, :1].numpy().T
            return wave
        highest_first = self._lanes.flip(0).numpy()
        return means(self.table(example), highest_first[0] - highest_first)

    def sound(self, example: int) -> Samples | None:
        """Return an example's waveform without padding, ``(T, C)``; a larger range than -1..1 is scaled."""
        if self.modality.sample_rate is None or not self._is_waveform:
            return None
        wave = self.values[example].movedim(self._time - 1, 0)[self._steps(example)]
        return _as_samples(wave.unsqueeze(1).flatten(1))

    def draw(self, axes: "Axes", example: int) -> None:
        """Draw the spectrogram; for a waveform, draw it above its spectrogram."""
        if not self._is_waveform:
            super().draw(axes, example)
            return
        table = self.table(example)
        if table.size:
            axes.imshow(
                table, extent=(0, 1, 0, SPECTROGRAM_HEIGHT), aspect="auto", cmap=self.colour_map, vmin=0, vmax=1
            )
            self._draw_waveform(axes, example)
        self._label(axes, example)

    def paint(
        self, axes: "Axes", example: int, weights: npt.NDArray[Any], colours: "ScalarMappable", *, inputs: bool = True
    ) -> None:
        """Draw the weights as coloured blocks, darker where the sound is loud."""
        super().paint(axes, example, weights, colours, inputs=inputs and not self._is_waveform)
        table = self.table(example) if inputs and self._is_waveform else np.zeros(0)
        if table.size:
            shade = np.zeros((*table.shape, 4))
            shade[..., 3] = MAX_DARKENING * _above_noise(table)
            axes.imshow(shade, extent=(0, 1, 0, SPECTROGRAM_HEIGHT), aspect="auto")
            self._draw_waveform(axes, example)

    def _tinted(self, painted: npt.NDArray[Any], segments: npt.NDArray[Any], table: npt.NDArray[Any]) -> Any:
        return super()._tinted(painted, segments, _above_noise(table))

    def _draw_waveform(self, axes: "Axes", example: int) -> None:
        """Draw the range of a waveform's amplitudes in the upper part of a panel."""
        wave = self._rows[example][self._steps(example)].nan_to_num()[:, 0]
        columns = wave.tensor_split(min(WAVEFORM_COLUMNS, len(wave)))
        low, high = (torch.stack([getattr(column, end)() for column in columns]).numpy() for end in ("min", "max"))
        scale = max(float(np.abs(low).max()), float(np.abs(high).max()), 1e-12) * 2.1 / (1 - SPECTROGRAM_HEIGHT)
        middle, places = (1 + SPECTROGRAM_HEIGHT) / 2, (np.arange(len(low)) + 0.5) / len(low)
        axes.fill_between(places, middle + low / scale, middle + high / scale, color="#222222", linewidth=0.7)


def _spectrogram(wave: Tensor) -> Tensor:
    """Return the power of a wave ``(T,)`` in decibels relative to its loudest value, ``(F, up to ~260 columns)``."""
    if not len(wave):
        return torch.zeros(1, 0)
    # A short sound gets as many frequencies as columns; a long one, as many as a small panel can show.
    window = 2 ** min(max(round(math.log2(len(wave)) / 2) + 1, 2), 9)
    hop = max(window // 4, len(wave) // 256)
    found = torch.stft(
        wave, window, hop, window=torch.hann_window(window), center=True, pad_mode="constant", return_complex=True
    ).abs()
    loudest = found.max().clamp(min=1e-12)
    return (20 * (found / loudest).clamp(min=1e-12).log10()).clamp(min=-DYNAMIC_RANGE)


def _above_noise(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a spectrogram whose median (mostly noise) and lower values are 0, so noise does not darken colours."""
    noise = float(np.median(table)) if table.size else 0.0
    quiet: npt.NDArray[Any] = ((table - noise) / max(1 - noise, 1e-12)).clip(0, 1)
    return quiet


def _as_samples(wave: Tensor) -> Samples | None:
    """Return ``(T, C)`` 16-bit samples of ``(T, C)`` amplitudes; None below two samples."""
    if len(wave) < 2:
        return None
    numbers = wave.double().nan_to_num(0, 0, 0)
    samples: Samples = (numbers / numbers.abs().max().clamp(min=1) * MAX_AMPLITUDE).round().short().numpy()
    return samples
