"""Which kinds of modalities read an argument; an argument that the kind does not read raises an error."""

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
"""Argument -> the kinds that read it; kinds that are derived from these read it too."""


def require_kind(modality: Modality) -> None:
    """Raise a ConfigurationError if ``Modality(kind=...)`` names no kind, or a kind that does not read an argument."""
    if modality.kind is not None:
        require_reader(modality, registered_type(modality.kind))


def require_reader(modality: Modality, kind: type[ModalityType]) -> None:
    """Check that a kind reads all arguments of a modality; a user's own kind may read any argument.

    Args:
        modality: The user's description of the modality.
        kind: Its type, given or guessed.

    Raises:
        ConfigurationError: The kind does not read one of the arguments.
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
