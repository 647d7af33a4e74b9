"""Get the number of tokens of each picture or sound from the model's own encoder."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch.rows import to_device
from mviz_lightning.engine.devices import device_of, is_sharded
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.isolation import isolated

ENCODERS = ("get_image_features", "get_video_features", "get_audio_features")
"""Methods by which vision- and audio-language models encode the items of a batch."""


@dataclass(frozen=True)
class ItemTokenCounter:
    """Counts the tokens of items with the model's own method that encodes them.

    Attributes:
        module: The user's model.
        precision: Makes the context in which the trainer calls the model.
    """

    module: nn.Module
    precision: ContextFactory

    def __call__(self, modality: str, leaves: Mapping[str, Any]) -> Sequence[int] | None:
        """Return the number of tokens of each item; None where the model has no such method, or it fails.

        None also if the weights are sharded: the model would wait for the other processes, which may not make this
        call.

        Args:
            modality: Name of the modality.
            leaves: Path -> array with an entry for each item or each of its patches, the items first.
        """
        if is_sharded(self.module):
            return None
        given = {path.rpartition(".")[2]: leaf for path, leaf in leaves.items()}
        for holder, name in encoders_of(self.module, next(iter(given), "")):
            encode = getattr(holder, name)
            with suppress(Exception), isolated(self.module), self.precision():
                usable = {name: leaf for name, leaf in given.items() if name in signature(encode).parameters}
                found = _counts(encode(**to_device(usable, device_of(self.module))))
                if found is not None:
                    return found
        return None


def encoders_of(module: nn.Module, argument: str) -> list[tuple[nn.Module, str]]:
    """Return the submodules with a method of :data:`ENCODERS` that takes an argument, and its name; outermost first.

    Args:
        module: A model.
        argument: Name of the argument that takes the items.
    """
    held = [(child, name, getattr(child, name, None)) for child in module.modules() for name in ENCODERS]
    return [
        (child, name) for child, name, method in held if callable(method) and argument in signature(method).parameters
    ]


def _counts(encoded: Any) -> list[int] | None:
    """Return the number of rows of each item, from a list of ``(L, d)`` tensors or from one ``(n, L, d)`` tensor."""
    rows = getattr(encoded, "pooler_output", encoded)
    if isinstance(rows, Tensor):
        return [rows.shape[1]] * len(rows) if rows.dim() == 3 else None
    if isinstance(rows, list | tuple) and all(isinstance(one, Tensor) and one.dim() == 2 for one in rows):
        return [len(one) for one in rows]
    return None
