"""Parameters used for one modality alone: of submodules that the user names or that tracing finds."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import nn

from mviz_lightning.actions.base import Alarms
from mviz_lightning.errors import ConfigurationError

Encoders: TypeAlias = Mapping[str, str | Sequence[str]]
"""Name of a modality -> name of its encoder in the model, ``"vision_tower"``, or several names."""


def parse_encoders(owner: str, encoders: Encoders | None) -> dict[str, list[str]]:
    """Return modality -> list of names of submodules, from the user's argument.

    Raises:
        ConfigurationError: The argument is not a mapping of names.
    """
    given = {} if encoders is None else encoders
    example = f"{owner}(encoders={{'image': 'vision_tower'}})"
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{owner}(encoders={encoders!r}): give names of submodules by modality: {example}.")
    named = {name: [found] if isinstance(found, str) else list(found) for name, found in given.items()}
    if not all(one and all(isinstance(part, str) and part for part in one) for one in named.values()):
        raise ConfigurationError(f"{owner}(encoders={encoders!r}): name one submodule or more a modality: {example}.")
    return named


def require_encoders(owner: str, encoders: Mapping[str, Sequence[str]], alarms: Alarms) -> None:
    """Check names that the user gave.

    Raises:
        ConfigurationError: There is no such modality, or no such submodule.
    """
    for name, found in encoders.items():
        if name not in alarms.modalities:
            raise ConfigurationError(
                f"{owner}(encoders={{{name!r}: ...}}): choose among the modalities {list(alarms.modalities)}."
            )
        for part in found:
            if part not in dict(alarms.module.named_modules()):
                known = [child for child, _ in alarms.module.named_children()]
                raise ConfigurationError(
                    f"{owner}(encoders={{{name!r}: {part!r}}}): the model has no such submodule; it has {known}, and "
                    "what these hold, such as 'encoder.layers'."
                )


def encoder_parameters(
    owner: str, name: str, encoders: Mapping[str, Sequence[str]], alarms: Alarms
) -> list[nn.Parameter]:
    """Return the trainable parameters of a modality's encoder.

    Args:
        owner: Name of the action, for the message.
        name: Name of the modality.
        encoders: Modality -> names of submodules that the user gave; they take precedence over found ones.
        alarms: The active alarms.

    Raises:
        ConfigurationError: No submodule is known, or all its parameters are frozen.
    """
    parts = encoders.get(name) or alarms.encoders.get(name, ())
    if not parts:
        raise ConfigurationError(
            f"no submodule was seen that serves {name} alone; name it: {owner}(encoders={{{name!r}: '...'}})."
        )
    found = dict.fromkeys(one for part in parts for one in alarms.module.get_submodule(part).parameters())
    trained = [one for one in found if one.requires_grad]
    if not trained:
        raise ConfigurationError(
            f"all parameters of {', '.join(parts)} are frozen (requires_grad=False), so {owner} changes nothing for "
            f"{name}; unfreeze them."
        )
    return trained
