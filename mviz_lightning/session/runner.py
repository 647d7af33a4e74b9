"""Run explainers on the fixed examples at every run, and keep their memory of the training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.progress import tell_begun
from mviz_lightning.errors import describe_error
from mviz_lightning.explainers import Explainer, ProbeContext, Request, Responses, Result
from mviz_lightning.session.dealt_examples import DealtExamples
from mviz_lightning.session.example_selection import ExampleSelection, SelectedExamples
from mviz_lightning.session.feature_evaluators import FeatureEvaluators
from mviz_lightning.session.shared_rows import SharedRows, requested_rows


@dataclass
class ExplainerState:
    """The state of explainers during a training.

    Attributes:
        chosen: Name of an explainer -> its examples.
        remembered: Name of an explainer -> ``Result.memory`` of its last run.
        earlier: Name of an explainer -> memory of the run before the last one, needed to repeat the last run.
        moments: Name of an explainer -> epoch and step of its last run.
    """

    chosen: dict[str, SelectedExamples] = field(default_factory=dict)
    remembered: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    earlier: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    moments: dict[str, list[int]] = field(default_factory=dict)

    def remember(self, name: str, memory: Mapping[str, Any], moment: tuple[int, int]) -> None:
        """Store the memory of an explainer's run for its next run, and the memory from before this run.

        Nothing is stored for an explainer that never had a memory.
        """
        if memory or name in self.remembered:
            if self.moments.get(name) != list(moment):
                self.earlier[name] = self.remembered.get(name, {})
            self.remembered[name], self.moments[name] = memory, list(moment)

    def before(self, moment: tuple[int, int]) -> "ExplainerState":
        """Return the state before the runs of a moment, so that these runs can be repeated."""
        again = {name: self.earlier.get(name, {}) for name, found in self.moments.items() if found == list(moment)}
        return replace(self, remembered={name: kept for name, kept in (self.remembered | again).items() if kept})

    def state(self) -> dict[str, Any]:
        """Return plain types for checkpoints; an empty attribute is left out."""
        chosen = {name: vars(found) for name, found in self.chosen.items()}
        state = {"chosen": chosen, "remembered": dict(self.remembered)}
        state |= {"earlier": {name: kept for name, kept in self.earlier.items() if kept}, "moments": dict(self.moments)}
        return {name: found for name, found in state.items() if found}

    @classmethod
    def of(cls, state: Mapping[str, Any] | Saved) -> "ExplainerState":
        """Return what :meth:`state` wrote; damaged parts are left out."""
        saved, kinds = Saved.of(state), {"chosen": SelectedExamples, "remembered": dict[str, Any]}
        kinds |= {"earlier": dict[str, Any], "moments": list[int]}
        return cls(**{name: saved[name].named(kind) for name, kind in kinds.items() if saved.holds(name)})


@dataclass(frozen=True)
class MethodRun:
    """One run of one explainer.

    Attributes:
        explainer: The method.
        result: Its result; None if the budget did not allow the run.
        rows: Number of evaluated rows, over all processes.
        seconds: Wall time.
        notes: Texts about failures, and about examples that the budget left out.
        head: The further head that is explained; ``""`` for the main one.
    """

    explainer: Explainer
    result: Result | None
    rows: int
    seconds: float = 0.0
    notes: Sequence[str] = ()
    head: str = ""


class Runner:
    """Runs explainers: select examples, plan, keep the budget, evaluate, explain, refine, remember.

    Args:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Evaluates the model.
        ranks: The processes that share the work.
        outputs: Number of outputs of the model.
        pin: Indices in the validation set of examples that are always explained.
        state: The state of explainers so far in the same training.
    """

    def __init__(
        self,
        probe_context: ProbeContext,
        evaluator: Evaluator,
        ranks: Ranks,
        outputs: int,
        pin: Sequence[int] = (),
        state: ExplainerState | None = None,
    ) -> None:
        self.probe_context, self.ranks, self.outputs = probe_context, ranks, outputs
        self.state = ExplainerState() if state is None else state
        self.selection = ExampleSelection(probe_context, ranks, pin, self.state.chosen)
        self.evaluators = FeatureEvaluators(probe_context, evaluator)

    def run(
        self, explainer: Explainer, own: Tensor | None, budget: int | None = None, moment: tuple[int, int] = (0, 0)
    ) -> MethodRun:
        """Run an explainer on its examples; all processes get the same.

        Args:
            explainer: The method.
            own: ``(K, C)`` outputs of this process's share of the groups' examples; they decide which examples are
                selected.
            budget: Largest number of rows; None for no limit.
            moment: Epoch and step of the training.

        Raises:
            ConfigurationError: The explainer cannot explain this model or these data.
            RuntimeError: The model or the explainer failed; on all processes alike.
        """
        tell_begun(explainer.name)
        before = self.rows
        result, notes = self.explain(explainer, self.selection.examples(explainer, own), budget, moment)
        return MethodRun(explainer, result, self.rows - before, notes=notes)

    def on(self, probe: Probe) -> "Runner":
        """Return a runner with the same memory that evaluates the same examples in the shapes of this probe."""
        context, known = self.probe_context, self.probe_context.probe
        if known.own_shapes is probe.own_shapes:
            return self
        context = replace(context, probe=replace(known, own_shapes=probe.own_shapes))
        return Runner(context, self.evaluators.evaluator, self.ranks, self.outputs, self.selection.pin, self.state)

    @property
    def rows(self) -> int:
        """Number of rows evaluated so far, over all processes."""
        return self.evaluators.rows * self.ranks.count

    def explain(
        self,
        explainer: Explainer,
        examples: Sequence[int],
        budget: int | None = None,
        moment: tuple[int, int] = (0, 0),
    ) -> tuple[Result | None, list[str]]:
        """Run an explainer on given examples; arguments and errors as for :meth:`run`.

        Returns:
            The result, None if the budget did not allow it, and what failed or was left out.
        """
        memories = self.state.remembered
        known = Responses([], memory=memories.get(explainer.name, {}), memories=memories, moment=moment)
        explain = self._one_by_one if explainer.one_by_one else self._all_at_once
        result, notes = explain(explainer, examples, budget, known)
        if result is not None:
            self.state.remember(explainer.name, result.memory, moment)
        return result, notes

    def _one_by_one(
        self, explainer: Explainer, examples: Sequence[int], budget: int | None, known: Responses
    ) -> tuple[Result, list[str]]:
        with self.ranks.raise_on_all_ranks():
            evaluator = self.evaluators.of(explainer)
        outputs = self.evaluators.outputs_of(explainer, self.outputs)
        dealt = DealtExamples(self.probe_context, evaluator, self.ranks, outputs)
        return dealt.run(explainer, examples, budget, known)

    def _all_at_once(
        self, explainer: Explainer, examples: Sequence[int], budget: int | None, known: Responses
    ) -> tuple[Result | None, list[str]]:
        with self.ranks.raise_on_all_ranks():
            request = explainer.plan(self.probe_context, examples)
            rows = requested_rows(request)
            outputs = self.evaluators.outputs_of(explainer, self.outputs)
            shared = SharedRows(self.probe_context, self.evaluators.of(explainer), self.ranks, outputs)
        if budget is not None and rows > budget:
            return None, [f"{explainer.name} was left out: it takes {rows} rows, and the budget has {budget} more"]
        responses = shared.responses(request)
        given = replace(responses, memory=known.memory, memories=known.memories, moment=known.moment)
        result, second, notes = self._explained(explainer, examples, given)
        if not second.is_empty:
            more = shared.responses(second)
            with self.ranks.raise_on_all_ranks():
                result = explainer.refine(self.probe_context, result, more)
        return result, notes

    def _explained(
        self, explainer: Explainer, examples: Sequence[int], responses: Responses
    ) -> tuple[Result, Request, list[str]]:
        """Explain and plan the second round; if this fails with the memory of earlier runs, repeat it without."""
        try:
            with self.ranks.raise_on_all_ranks():
                result = explainer.explain(self.probe_context, examples, responses)
                return result, explainer.plan_second_round(self.probe_context, result), []
        except Exception as error:  # raised on all ranks or on none
            if not responses.memories:
                raise
            reason = describe_error(error)
        result, second, _ = self._explained(explainer, examples, replace(responses, memory={}, memories={}))
        # The memory may also come from a damaged checkpoint.
        note = f"{explainer.name} failed with the memory of earlier runs ({reason}) and ran without it"
        return result, second, [note]
