"""Check that rebuilt texts get along with their items: each row alone must give what it gives among others."""

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.language_model import LanguageModel, find_language_model, last_positions
from mviz_lightning.engine.placeholder_tokens import refuse_placeholders
from mviz_lightning.engine.positions import PositionAxes
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.row_independence import trial_rows
from mviz_lightning.errors import NotMeasurableError, describe_error

TRIED = 4
"""Largest number of rows that are evaluated together and alone: a wrong item shows in one."""

REMEDY = (
    "Name the leaves with an entry for each item with their modality, {{{name!r}: [{values!r}, ...]}}, give the "
    "tokenizer, Modality({ids!r}, decode=tokenizer), and let it truncate nothing."
)


def check_placeholders(module: nn.Module, probe: Probe, precision: ContextFactory) -> None:
    """Check that texts with placeholders are rebuilt, and that rebuilt rows give the same logits alone and together.

    The models compare the numbers of placeholders and of features of a whole batch only. Of a row alone, they show
    whether its items are its own.

    Args:
        module: The user's model.
        probe: Some examples.
        precision: Makes the context in which the trainer calls the model.

    Raises:
        NotMeasurableError: They are not rebuilt, the logits differ, or the model fails.
    """
    refuse_placeholders(module, probe)
    model = find_language_model(module, probe.schema)
    if model is None or probe.schema.interleaving is None:
        return
    rows = trial_rows(probe)[:TRIED]
    try:
        with isolated(module), precision():
            together = _last_logits(model, probe, rows)
            alone = torch.cat([_last_logits(model, probe, row) for row in torch.split(rows, 1)])
    except Exception as error:
        failure = f"a rebuilt text does not fit its items ({describe_error(error)})"
        raise NotMeasurableError(f"{failure}. {_remedy(probe)}") from error
    if not agree(together, alone):
        others = f"beside {len(rows) - 1} other(s)"
        raise NotMeasurableError(f"a rebuilt text gives other logits alone than {others}. {_remedy(probe)}")


def refuse_moving_positions(probe: Probe, axes: PositionAxes | None) -> None:
    """Refuse scores of every token of texts that are rebuilt: the tokens stand elsewhere in each row.

    Args:
        probe: Some examples.
        axes: Where positions and classes lie in the outputs; None where an example has one row of scores.

    Raises:
        NotMeasurableError: They are such scores.
    """
    if probe.schema.interleaving is not None and axes is not None:
        raise NotMeasurableError(
            f"the outputs have a position for each token of {probe.schema.interleaving.ids!r}, and tokens stand "
            "elsewhere once a text gets the items of another example. Pass predict=, a function (module, batch) -> "
            "(B, C), the logits of a few answers behind the prompt."
        )


def _remedy(probe: Probe) -> str:
    found = probe.schema.interleaving
    if found is None:
        return ""
    name, leaves = next(iter(found.media.items()))
    return REMEDY.format(name=name, values=leaves[0], ids=found.ids)


def _last_logits(model: LanguageModel, probe: Probe, rows: Tensor) -> Tensor:
    """Return ``(R, V)`` logits at the last token of each row, as the examples are."""
    sources = Query.aligned(rows, len(probe.schema.names)).sources
    batch = probe.batch(sources, {}, device_of(model.module))
    own = model.own_tokens(batch)
    positions, index = torch.unique(last_positions(own), return_inverse=True)
    found = model.logits(batch, positions)
    return found[torch.arange(len(rows)), index.to(found.device)]
