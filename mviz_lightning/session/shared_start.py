"""A process without a batch takes part with the first examples of another process."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mviz_lightning.batch import BatchSchema, Modality, Probe
from mviz_lightning.batch.few_examples import with_masks_told
from mviz_lightning.batch.probe import NO_GROUPS
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.errors import NotMeasurableError, describe_error

NO_BATCH = (
    "no validation batch came from the loader that dataloader_idx= names; 0 is the first. A loader needs examples, and "
    "it must start anew at each validation: give a DataLoader, or a class whose __iter__ does that, in place of a "
    "generator."
)


class NoBatchError(RuntimeError):
    """No batch could be measured: a fact about the data, and not a wrong configuration."""


def start_of_another(own: Probe | None, ranks: Ranks, modalities: Mapping[str, Modality]) -> Probe | None:
    """Return the first examples of the first process that has any; None if all processes have some, or none has any.

    All processes must call it.

    Args:
        own: First examples of this process; None if it got no batch.
        ranks: The processes.
        modalities: Name -> modality, which are not sent: their tokenizers may be large.

    Raises:
        NotMeasurableError: The examples cannot be sent.
    """
    lacking = ranks.gather(own is None)
    if all(lacking) or not any(lacking):
        return None
    sender = lacking.index(False)
    sent = ranks.gather(_packed(own) if ranks.rank == sender else b"")[sender]
    if isinstance(sent, str):
        raise NotMeasurableError(
            f"rank {lacking.index(True)} got no validation batch, and the first one of rank {sender} cannot be sent to "
            f"it ({sent}). Give each process a batch, or let the batches hold what pickle takes."
        )
    schema, leaves, bounds = pickle.loads(sent)  # noqa: S301 - of a process of the same run
    return with_masks_told(Probe(schema.declared_as(modalities), leaves, NO_GROUPS, bounds=bounds))


def _packed(own: Probe | None) -> bytes | str:
    """Return first examples as bytes, or an error text: an exception here would leave the other processes waiting."""
    if own is None:
        return b""
    schema: BatchSchema = replace(own.schema, modalities={})
    leaves: dict[str, Any] = {path: own.leaves[path] for path in schema.owners}
    try:
        return pickle.dumps((schema, leaves, dict(own.bounds)))
    except Exception as error:  # a batch may hold anything
        return describe_error(error)
