"""Names of the values of a run, as far as they are known before it."""

from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.embedding_measures import embedding_keys
from mviz_lightning.session.tried_model import TriedModel


def value_names(config: SessionConfig, tried: TriedModel | None) -> list[str]:
    """Return the names of the values of a run, without prefix.

    Args:
        config: The configuration of the measurement.
        tried: The model that passed the dry run; None before it passed.
    """
    observed = None if tried is None else tried.observed
    if tried is not None and tried.evaluator.all_pairs is not None and config.target is None:
        measured = observed is not None and observed.embeddings is not None
        return config.keys_of(None, scored=True) + (embedding_keys(config.modalities) if measured else [])
    scored = config.target is not None or (observed is not None and observed.target is not None)
    told = config.task or (None if observed is None else observed.task)
    return config.keys_of(told, scored=scored) + ([] if observed is None else ["agreement"])
