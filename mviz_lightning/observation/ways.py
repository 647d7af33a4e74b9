"""Ways to compute the observed scores for other examples: the model's own call, an inner call, or the step itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe, tree
from mviz_lightning.engine.model_call import ModelCall, Predict
from mviz_lightning.engine.muted_step import call_step, muted
from mviz_lightning.engine.positions import EvenReader, PositionAxes
from mviz_lightning.observation.heads import ObservedHead
from mviz_lightning.observation.recipe import Recipe, RecipeWriter, numbers_of
from mviz_lightning.observation.recorder import StepRecorder
from mviz_lightning.observation.spelling import Speller
from mviz_lightning.observation.step_record import StepRecord, Wanted
from mviz_lightning.observation.views import Views

WayName: TypeAlias = Literal["forward", "call", "replay"]
"""The model's own call, calls of its parts, or the step up to the loss."""

StepFunction: TypeAlias = str | Callable[..., Any]
"""The user's step: the name of a method, or a function ``(module, batch) -> anything``."""


@dataclass(frozen=True)
class Way:
    """One way to compute the scores of a head.

    Attributes:
        name: Which kind of way it is.
        call: The call.
        watched: Name of the submodule whose own call in the user's step returns the scores; None if there is none.
        keys: The keys from what it returns to the scores.
        ordinal: Number of that submodule's calls in the step before this one.
        views: How several rows of scores per example are averaged; None where an example has one.
        axes: Where positions and classes are in the scores; None where an example has one row of scores.
        recipe: Computes the scores from the batch; None where the step is replayed.
        replayed: Replays the step; None where a recipe computes the scores.
    """

    name: WayName
    call: ModelCall
    watched: str | None = None
    keys: tree.Keys = ()
    ordinal: int = 0
    views: Views | None = None
    axes: PositionAxes | None = None
    recipe: Recipe | None = None
    replayed: "ReplayedStep | None" = None

    def reading_of(self, batch: Any, examples: Probe, rows: Tensor) -> Callable[[Any], Tensor | None]:
        """Return a function that reads ``(R, C)`` scores of some rows of a batch from what the submodule returns.

        Args:
            batch: The batch.
            examples: Copies of the rows.
            rows: ``(R,)`` their positions in the batch.
        """
        count = examples.schema.size(examples.schema.leaves(batch))
        return lambda returned: self._scores(tree.get(returned, self.keys), rows, count)

    def _scores(self, outputs: Any, rows: Tensor, count: int) -> Tensor | None:
        """Return the scores of rows of ``count`` examples; None where there is no row of scores for each."""
        if self.views is not None:
            outputs = self.views.by_example(outputs)
        if self.axes is not None:
            outputs = EvenReader(self.axes).of(outputs[rows.to(outputs.device)]).flatten(1)
            rows, count = torch.arange(len(rows)), len(rows)
        if not isinstance(outputs, Tensor) or outputs.dim() not in (1, 2) or len(outputs) != count:
            return None
        kept = outputs[rows.to(outputs.device)].detach()
        return kept if kept.dim() == 2 else kept.unsqueeze(1)


def ways_of(head: ObservedHead, record: StepRecord, module: nn.Module, step: StepFunction) -> Iterator[Way]:
    """Yield the ways to compute a head's scores, the preferred one first.

    Args:
        head: The head.
        record: What the step showed.
        module: The user's model.
        step: The step.
    """
    # If the step writes into weights while it runs, only the step itself computes its scores.
    recipes = () if record.rewritten else RecipeWriter(record, numbers_of(module)).recipes(head.root)
    for recipe in recipes:
        yield _way_of_recipe(recipe, head, record)
    yield replay_way(head, record, step)


def _way_of_recipe(recipe: Recipe, head: ObservedHead, record: StepRecord) -> Way:
    step = recipe.step
    recipe = replace(recipe, step=lambda run: head.nearer(step(run)))
    call, compute = recipe.call, averaged(recipe, head.views)
    if call is None:
        text = Speller(record.code).tensor(head.root)
        alone = ModelCall(text, scores_by(compute), observed=True)
        return Way("call", alone, views=head.views, axes=head.axes, recipe=recipe)
    keys = next(keys for found, keys in head.root.results if found is call)
    name: WayName = "forward" if call.name == "" else "call"
    watched = None if call.direct else call.name
    model_call = ModelCall(Speller(record.code).call(call, keys), scores_by(compute), observed=True)
    return Way(name, model_call, watched, keys, call.ordinal, head.views, head.axes, recipe)


def replay_way(head: ObservedHead, record: StepRecord, step: StepFunction) -> Way:
    """Return the way that replays the step until it uses the scores."""
    replayed = ReplayedStep.of(head, record.schema, step)
    given = "the scores of all pairs" if head.event.kind == "pair" else f"what {head.event.name} is given"
    text = f"{given} in {name_of_step(step)}, which is replayed without logging"
    call = ModelCall(text, scores_by(lambda module, batch: replayed(module, batch)[0]), observed=True)
    return Way("replay", call, views=head.views, axes=head.axes, replayed=replayed)


def wanted_of(head: ObservedHead) -> Wanted:
    """Return the event that a replay waits for."""
    event = head.event
    return Wanted(event.kind, event.name, event.ordinal, head.scores, head.target)


@dataclass(frozen=True)
class ReplayedStep:
    """Replays the step, muted, until a wanted event.

    Attributes:
        step: The step.
        schema: Where the modalities are in the batch.
        wanted: The event at which it stops.
        head: The head whose scores it returns.
    """

    step: StepFunction
    schema: BatchSchema
    wanted: Wanted
    head: ObservedHead

    @classmethod
    def of(cls, head: ObservedHead, schema: BatchSchema, step: StepFunction) -> "ReplayedStep":
        """Return the replay that ends with the event of a head."""
        return cls(step, schema, wanted_of(head), head)

    def __call__(self, module: nn.Module, batch: Any) -> tuple[Tensor, Tensor | None]:
        """Return the scores and the target of the event.

        Raises:
            RuntimeError: The step ended without it.
        """
        return self.read(replay(self.step, self.schema, [self.wanted], module, batch)[self.wanted])

    def read(self, given: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor | None]:
        """Return scores and target of the event, one row for each example; nearer pairs have larger scores."""
        (scores, target), views = given, self.head.views
        if views is None:
            return self.head.nearer(scores), target
        return views.by_example(scores), None if target is None else views.by_example(target)


def replay(
    step: StepFunction, schema: BatchSchema, wanted: Sequence[Wanted], module: nn.Module, batch: Any
) -> Mapping[Wanted, tuple[Tensor, Tensor | None]]:
    """Run a step, muted, until the last of some events; return event -> the scores and the target that it got.

    Raises:
        RuntimeError: The step ended without one of them.
    """
    recorder = StepRecorder(module, batch, schema, wanted)
    with muted(module, seed=None), recorder.watching():
        call_step(module, step, batch)
    found = recorder.events.caught
    missing = [one.name for one in wanted if one not in found]
    if missing:
        why = f" ({recorder.record.failure})" if recorder.record.failure else ""
        raise RuntimeError(f"{name_of_step(step)} ended without {missing[0]}{why}")
    return found


def averaged(compute: Callable[[nn.Module, Any], Tensor], views: Views | None) -> Callable[[nn.Module, Any], Tensor]:
    """Return a function that averages the several rows of each example that another one returns."""
    return compute if views is None else lambda module, batch: views.by_example(compute(module, batch))


def scores_by(compute: Callable[[nn.Module, Any], Tensor]) -> Predict:
    """Return a call of the model that returns floating-point scores."""

    def predict(module: nn.Module, batch: Any) -> Tensor:
        found = compute(module, batch)
        return found if found.is_floating_point() else found.to(torch.get_default_dtype())

    return predict


def name_of_step(step: StepFunction) -> str:
    """Return a step's name, for messages: ``validation_step``."""
    return step if isinstance(step, str) else str(getattr(step, "__name__", type(step).__name__))
