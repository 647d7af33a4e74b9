"""The call in the user's own step that gives a language model its texts and returns the logits of each token."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe, tree
from mviz_lightning.engine.answer_outputs import AnswerReading, of_model
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.language_model import LanguageModel, logits_in
from mviz_lightning.engine.muted_step import call_step, muted
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.seen_rows import SeenRows
from mviz_lightning.observation.given_language import observed_language, replayed_language, takes_text_and_items
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.own_outputs import OwnOutputs
from mviz_lightning.observation.provenance import Node
from mviz_lightning.observation.step_record import StepRecord
from mviz_lightning.observation.ways import StepFunction


@dataclass(frozen=True)
class AnsweringCall:
    """A module's call in the user's own step that returns the logits of each token.

    Attributes:
        watched: Name of the module.
        keys: The keys from what it returns to the logits.
        ordinal: Number of the module's calls in the step before this one.
        step: The step.
        language: The model as the step calls it; None where its arguments cannot be made for other examples.
        replayed: The model with the arguments that a replay of the step makes; None where its arguments have no names.
    """

    watched: str
    keys: tree.Keys
    ordinal: int
    step: StepFunction
    language: LanguageModel | None = None
    replayed: LanguageModel | None = None


@dataclass(frozen=True)
class ReadCall:
    """A call whose logits are read in the way of a score of answers.

    Attributes:
        call: The call.
        reading: How the score reads examples.
    """

    call: AnsweringCall
    reading: AnswerReading

    @property
    def watched(self) -> str | None:
        """Name of the module."""
        return self.call.watched

    @property
    def ordinal(self) -> int:
        """Number of the module's calls in the step before this one."""
        return self.call.ordinal

    def reading_of(self, batch: Any, examples: Probe, rows: Tensor) -> Callable[[Any], Tensor | None]:
        """Return a function that reads the user's own outputs of some rows of a batch from what the module returns.

        Args:
            batch: The batch.
            examples: Copies of the rows.
            rows: ``(R,)`` their positions in the batch.
        """
        interleaving = examples.schema.interleaving
        if interleaving is None:
            return lambda _: None
        starts = torch.tensor([start for start, _ in interleaving.own.limits(batch)])[rows]
        kept = self.reading.kept(examples)

        def read(returned: Any) -> Tensor:
            logits = logits_in(tree.get(returned, self.call.keys))
            return self.reading.reader.of_rows(SeenRows.of(kept, logits, rows, starts))

        return read

    def reading_by(self, language: LanguageModel) -> AnswerReading:
        """Return the reading of the same score for another model."""
        return replace(self.reading, reader=of_model(self.reading.reader, language))

    def replayed(self, module: nn.Module, examples: Probe, precision: ContextFactory) -> Tensor | None:
        """Return the score's ``(R, C)`` outputs from the step's own logits, up to the number of examples to compare.

        None where a replay of the step does not reach the call, or examples are missing.

        Args:
            module: The user's model.
            examples: The examples.
            precision: Makes the context in which the trainer calls the model.
        """
        own, rows = OwnOutputs(), Query.aligned(torch.arange(examples.size), len(examples.schema.names)).sources
        # A hook would make a compiled module compile again.
        with torch.compiler.set_stance("force_eager"), muted(module), precision():
            batch = examples.batch(rows, {}, device_of(module))
            try:
                own.watch(module, self, batch, examples.schema, stop=True)
                call_step(module, self.call.step, batch)
            finally:
                own.release()
        return own.take()[1]


def answering_call(seen: ObservedStep, module: nn.Module) -> AnsweringCall | None:
    """Return the call of a step that returns the logits of each token; None where it has none.

    Args:
        seen: The step and what one call of it showed.
        module: The user's model.
    """
    record = seen.watched
    node = None if record is None or record.failure else _logits(record)
    if record is None or node is None:
        return None
    calls = [(call, keys) for call, keys in node.results if call.name is not None and not call.direct]
    if not calls:
        return None
    taking = [one for one in calls if takes_text_and_items(one[0], record)]
    told = ((call, keys, observed_language(call, record, module)) for call, keys in taking)
    call, keys, language = next((one for one in told if one[2] is not None), (*[*taking, calls[-1]][0], None))
    replayed = replayed_language(call, record, module, seen.step)
    return AnsweringCall(call.name or "", keys, call.ordinal, seen.step, language, replayed)


def _logits(record: StepRecord) -> Node | None:
    """Return the node of the logits of each token: the logits of a loss, else the last logits that the step got.

    Logits of a module that trains are preferred: a frozen module is a teacher or a reference.
    """
    losses = (event for event in record.events if event.kind == "loss")
    given = (link.node for event in losses for link in event.scores)
    known, outer = {id(node) for node in record.by_token}, filter(_returned_to_step, reversed(record.by_token))
    found = [*(node for node in given if id(node) in known), *outer]
    return next(filter(_trains, found), next(iter(found), None))


def _trains(node: Node) -> bool:
    """Return whether the module that returned a tensor has a weight that is trained."""
    return any(weight.requires_grad for weight in node.results[-1][0].module.parameters())


def _returned_to_step(node: Node) -> bool:
    """Return whether a tensor was returned to the step, and not to another module only, as hidden states are."""
    around = node.results[-1][0].within
    return around is None or around.name == ""
