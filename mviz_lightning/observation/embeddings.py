"""The embeddings whose products are the scores of all pairs, for any examples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.engine.model_call import Predict
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.provenance import Node
from mviz_lightning.observation.recipe import Evaluation, Recipe, RecipeWriter, numbers_of
from mviz_lightning.observation.step_record import StepRecord, Wanted
from mviz_lightning.observation.ways import StepFunction, replay


def embeddings_call(head: ObservedHead, record: StepRecord, module: nn.Module, step: StepFunction) -> Predict | None:
    """Return a call of the model that returns the embeddings of both modalities side by side, ``(B, 2 D)``.

    Args:
        head: The scores.
        record: What the step showed.
        module: The user's model.
        step: The step.

    Returns:
        The call; None where the scores are not a product of one vector for each example and modality.
    """
    towers = None if head.pair is None else head.pair.embeddings
    if towers is None or head.pair is None or towers[0].shape[1] != towers[1].shape[1]:
        return None
    writer = RecipeWriter(record, numbers_of(module))
    recipes = [next(writer.recipes(tower), None) for tower in towers] if not record.rewritten else [None]
    known = [recipe for recipe in recipes if recipe is not None]
    if len(known) == len(towers):
        return lambda module, batch: _by_recipes(known, module, batch)
    wanted = [next(_wanted(operand, record), None) for operand in head.pair.operands]
    events = [one for one in wanted if one is not None]
    if len(events) < len(towers):
        return None
    return lambda module, batch: _joined([replay(step, record.schema, events, module, batch)[one][0] for one in events])


def _by_recipes(recipes: list[Recipe], module: nn.Module, batch: Any) -> Tensor:
    run = Evaluation(module, batch, recipes[0].size(batch))
    return _joined([recipe.step(run) for recipe in recipes])


def _joined(embeddings: list[Tensor]) -> Tensor:
    return torch.cat(embeddings, 1)


def _wanted(operand: Node, record: StepRecord) -> Iterator[Wanted]:
    """Yield the event at which a replay finds the embeddings: before the views that enter the product."""
    for event in (event for event in record.events if event.kind == "tower" and event.scores[0].node is operand):
        size = torch.Size(operand.shape).numel()
        whole = [place for place, link in enumerate(event.scores) if torch.Size(link.node.shape).numel() == size]
        vectors = [place for place in whole if event.scores[place].rows is not None]
        yield from (Wanted(event.kind, event.name, event.ordinal, place) for place in vectors[-1:])
