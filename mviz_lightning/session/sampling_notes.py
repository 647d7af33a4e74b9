"""Notes about a sample of validation examples."""

from mviz_lightning.batch import Probe

REPEATED = (
    "{repeated} of {sampled} sampled validation examples repeat others and count once: the loader draws with "
    "replacement, starts over, or gives several processes the same examples"
)
RARE = (
    "{rare} of {pool} sampled validation examples are in no group: fewer than {size} of them have as many items in "
    "their texts"
)
FEWER = "num_examples={asked}: the validation set has {pool} examples, and {used} of them are recombined"


def sampling_notes(probe: Probe, pool: int, sampled: int, asked: int | None) -> list[str]:
    """Return a note for each way in which a sample differs from what its size suggests.

    Args:
        probe: The examples, in groups.
        pool: Number of examples that may be recombined.
        sampled: Number of examples that were sampled, repeated ones included.
        asked: ``num_examples`` as the user gave it; None if they gave none.
    """
    kinds, size = probe.kinds[:pool].tolist(), probe.groups.shape[1]
    rare, used = sum(kinds.count(kind) < size for kind in kinds), probe.groups.numel()
    notes = [REPEATED.format(repeated=sampled - pool, sampled=sampled)] if sampled > pool else []
    notes += [RARE.format(rare=rare, pool=pool, size=size)] if rare else []
    return notes + ([FEWER.format(asked=asked, pool=pool, used=used)] if asked is not None and pool < asked else [])
