"""Which kinds of modalities read an argument: one that none reads is a mistake, and is named."""

from mviz_lightning.batch import Modality
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.modalities.base import ModalityType, registered_type

READERS = {
    "mean": ("image", "regions"),
    "std": ("image", "regions"),
    "superpixels": ("image",),
    "special_ids": ("text",),
    "feature_names": ("tabular", "series", "graph"),
}
"""Argument -> the kinds that read it, and with them those that are derived from these."""


def require_kind(modality: Modality) -> None:
    """Raise a ConfigurationError where ``Modality(kind=...)`` names no kind, or one that does not read an argument."""
    if modality.kind is not None:
        require_reader(modality, registered_type(modality.kind))


def require_reader(modality: Modality, kind: type[ModalityType]) -> None:
    """Check that a kind reads all arguments of a modality; one of the user's own may read any.

    Args:
        modality: The user's description of the modality.
        kind: Its type, given or guessed.

    Raises:
        ConfigurationError: It does not read one.
    """
    if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return
    names = {base.name for base in kind.__mro__ if issubclass(base, ModalityType) and "name" in vars(base)}
    for argument, readers in READERS.items():
        given = getattr(modality, argument)
        if given is not None and given is not False and names.isdisjoint(readers):
            raise ConfigurationError(
                f"{argument} of {modality.values!r}: its kind is {kind.name!r}, which does not read {argument}=; kinds "
                f"that do are {', '.join(readers)}. Leave it out, or name the kind: "
                f"Modality({modality.values!r}, kind={readers[0]!r})."
            )
