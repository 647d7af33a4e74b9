"""Placeholder tokens: ids in a text that stand for the patches of a picture, so that both belong together."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.errors import NotMeasurableError

NAME = re.compile(r"(image|video|audio|vision)_token_(id|index)")
"""Names under which configurations of vision- and audio-language models keep the id of a placeholder."""


def refuse_placeholders(module: nn.Module, probe: Probe) -> None:
    """Refuse texts with placeholder tokens of another modality: recombined, they would meet another picture's patches.

    The models check the number of placeholders of a whole batch only, so nothing else would fail.

    Args:
        module: The user's model.
        probe: Some examples.

    Raises:
        NotMeasurableError: A leaf of a modality holds such a token.
    """
    placeholders = dict(_placeholders(module))
    for name, paths in probe.schema.values.items():
        for path in paths:
            found = _first(probe.leaves[path], placeholders)
            if found is not None:
                raise NotMeasurableError(
                    f"modalities[{name!r}]: the leaf {path!r} holds the placeholder token {found} "
                    f"({placeholders[found]} of the model's config). It stands for a part of another modality, so text "
                    "and picture of different examples do not fit together. Allowed are models that take each modality "
                    "by itself: one whose text holds no placeholders."
                )


def _placeholders(module: nn.Module) -> Iterator[tuple[int, str]]:
    """Yield the ids of placeholder tokens in the configurations of a model and its submodules, with their names."""
    for child in module.modules():
        config = getattr(child, "config", None)
        for name, value in (vars(config) if hasattr(config, "__dict__") else {}).items():
            if NAME.fullmatch(name) and isinstance(value, int):
                yield value, name


def _first(leaf: Any, placeholders: dict[int, str]) -> int | None:
    """Return the first placeholder among the integers of a leaf; None if there is none."""
    if not isinstance(leaf, Tensor) or leaf.is_floating_point() or leaf.is_complex() or leaf.dim() < 2:
        return None
    return next((token for token in placeholders if bool((leaf == token).any())), None)
