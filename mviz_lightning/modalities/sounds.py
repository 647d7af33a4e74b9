"""Several sounds per example, as in texts with placeholders: they are joined one after another in time."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from mviz_lightning.batch import Modality, Segmentation
from mviz_lightning.batch.masking import Segments, joined, parts_of
from mviz_lightning.modalities.audio import Audio


class Sounds(Audio):
    """Up to K sounds per example: spectrograms ``(N, K, F, T)`` or waveforms ``(N, K, T)``.

    They are joined without padding, and then divided and drawn as one sound like :class:`Audio`.
    """

    name = "sounds"
    expected: ClassVar[str] = "(N, K, F, T) or (N, K, T)"

    def __init__(
        self,
        modality: Modality,
        leaves: Mapping[str, Any],
        values: str,
        own: Tensor | None = None,
        maskable: Tensor | None = None,
    ) -> None:
        own = None if own is None else _in_a_row(own)
        super().__init__(modality, leaves, values, own, maskable)

    @property
    def values(self) -> Any:
        """The sounds of each example one after another, ``(N, F, K * T)`` or ``(N, K * T)``."""
        return _in_a_row(super().values)

    def cut(self) -> Segmentation:
        """Divide the sounds into blocks of time, and of frequency bands."""
        return joined([self._of_sounds(part) for part in parts_of(super().cut()) if isinstance(part, Segments)])

    def _of_sounds(self, part: Segments) -> Segments:
        """Return segments of the sounds in the order of the leaf's axes."""
        count = super().values.shape[1]
        index = part.index.reshape(*part.index.shape[:-1], count, -1).movedim(-2, 1)
        baseline = part.baseline.unsqueeze(1) if isinstance(part.baseline, Tensor) else part.baseline
        return Segments(part.leaf, index, baseline)


def _in_a_row(sounds: Any) -> Any:
    """Return ``(N, ..., K * T)`` of ``(N, K, ..., T)``."""
    return sounds.movedim(1, -2).flatten(-2) if isinstance(sounds, Tensor) and sounds.dim() > 2 else sounds
