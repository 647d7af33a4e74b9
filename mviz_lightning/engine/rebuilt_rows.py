"""Check that rebuilt texts fit their items: each row must give the same outputs alone and among others."""

import torch

from mviz_lightning.batch import Probe
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.engine.agreement import agree
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.row_independence import evaluate_as_computed, trial_rows
from mviz_lightning.errors import NotMeasurableError, describe_error

TRIED = 4
"""Number of rows that are evaluated together and alone."""

REMEDY = (
    "Name the leaves with an entry for each item with their modality, {{{name!r}: [{values!r}, ...]}}, give the "
    "tokenizer, Modality({ids!r}, decode=tokenizer), and let it truncate nothing."
)

PADDED = (
    "Rows beside others are padded: read the outputs at each row's own last token, where predict= reads them, and give "
    "the mask to the model."
)

MOVING = (
    "the outputs have a position for each token of {ids!r}, and tokens stand elsewhere once a text gets the items of "
    "another example."
)

UNLABELLED = (
    "Give labels that are -100 outside the answers, or the tokens in front of an answer: Modality({ids!r}, "
    "answer_start=tokenizer.encode('ASSISTANT:', add_special_tokens=False))."
)

UNNAMED = (
    "Leave predict= and target= out where they are given: then the answers in {labels!r} are scored. The language "
    "model must be an attribute of the module, with {ids!r} and {media[0]!r} among the names of its arguments."
)

ELSE = "Else pass predict=, a function (module, batch) -> (B, C), the logits of a few answers at the end of the prompt."


def check_rebuilt_rows(evaluator: Evaluator, probe: Probe) -> None:
    """Check that rows whose texts hold placeholders give the same outputs alone and together.

    Models compare the numbers of placeholders and of features over a whole batch only. A row alone shows whether its
    items are its own.

    Args:
        evaluator: Runs the model.
        probe: Some examples.

    Raises:
        NotMeasurableError: The outputs differ, or the model fails.
    """
    found, some = probe.schema.interleaving, trial_rows(probe)
    if found is None:
        return
    rows = some[torch.arange(TRIED) % len(some)]  # the same number on all processes
    try:
        together = evaluate_as_computed(evaluator, probe, rows)
        alone = torch.cat([evaluate_as_computed(evaluator, probe, row) for row in torch.split(rows, 1)])
    except Exception as error:
        failure = f"a rebuilt text does not fit its items ({describe_error(error)})"
        raise NotMeasurableError(f"{failure}. {_remedy(found)}") from error
    if not agree(together, alone):
        raise NotMeasurableError(
            f"a rebuilt text gives other outputs alone than beside others. {PADDED} Else: {_remedy(found)}"
        )


def _remedy(found: Interleaving) -> str:
    name, leaves = next(iter(found.media.items()))
    return REMEDY.format(name=name, values=leaves[0], ids=found.ids)


def refuse_moving_positions(probe: Probe, positions: object | None) -> None:
    """Refuse scores of every token of texts that are rebuilt: the tokens change their positions from row to row.

    Args:
        probe: Some examples.
        positions: Where the outputs have positions; None where an example has one row of scores.

    Raises:
        NotMeasurableError: The outputs are such scores.
    """
    if positions is not None:
        said = moving_positions(probe.schema.interleaving)
        if said:
            raise NotMeasurableError(said)


def moving_positions(found: Interleaving | None) -> str:
    """Return why scores of every token cannot be measured, and what can; empty where texts are not rebuilt."""
    if found is None:
        return ""
    remedy = UNLABELLED if found.labels is None else UNNAMED
    return f"{MOVING} {remedy} {ELSE}".format(
        ids=found.ids, labels=found.labels, media=next(iter(found.media.values()))
    )
