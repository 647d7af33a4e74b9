"""The modality types of a probe: the type of each modality, and its segments."""

from dataclasses import replace

from mviz_lightning.batch import Probe
from mviz_lightning.errors import ConfigurationError, NotMeasurableError, message_of, warn_user
from mviz_lightning.modalities.base import ModalityType, modality_in, type_in
from mviz_lightning.modalities.placed_items import joined_patches, require_whole_pictures


def modality_types_of(probe: Probe, named: set[str] | None = None) -> dict[str, ModalityType]:
    """Return each modality of the probe with its segments; warn about each modality that cannot be explained.

    Args:
        probe: The examples.
        named: Earlier warnings, which are not repeated; new ones are added.

    Raises:
        ConfigurationError: A modality does not fit the ``kind`` or the other arguments that the user gave.
    """
    found, said = {}, set[str]() if named is None else named
    for name in probe.schema.modalities:
        try:
            found[name] = _segmented(probe, name)
        except NotMeasurableError as error:
            message = f"{name} is not explained. {message_of(error)}"
            if message not in said:
                warn_user(message)
            said.add(message)
    return found


def _segmented(probe: Probe, name: str) -> ModalityType:
    path = probe.schema.values[name][0]
    own = probe.own_entries(path)
    modality = modality_in(probe.schema, probe.leaves, name, own)
    modality = replace(modality, merge=modality.merge or joined_patches(probe, name, modality.grid))
    try:
        modality_type = type_in(probe.schema, probe.leaves, name, own)
    except ConfigurationError as error:
        if modality.kind is not None:
            raise
        raise NotMeasurableError(message_of(error)) from error
    found = modality_type(modality, probe.leaves, path, own, probe.maskable(name))
    if probe.schema.modalities[name].kind is None:
        require_whole_pictures(probe, name, found.picture_counts)
    return found
