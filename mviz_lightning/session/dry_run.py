"""The dry run of a model: find how it is called, and check that it can be measured."""

from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from mviz_lightning.batch import Probe
from mviz_lightning.batch.interleaved.wording import interleaving_line
from mviz_lightning.engine import dry_run_checks
from mviz_lightning.engine.agreement import DisagreementError
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.index_bounds import checked_lookups
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.joint_outputs import JointOutputs
from mviz_lightning.engine.model_call import ModelCall, Predict
from mviz_lightning.engine.named_outputs import PickedOutput
from mviz_lightning.engine.pairwise_scores import all_pairs_call, diagonal
from mviz_lightning.engine.placeholder_tokens import refuse_placeholders
from mviz_lightning.engine.positions import EvenReader
from mviz_lightning.engine.query import Query
from mviz_lightning.engine.rebuilt_rows import refuse_moving_positions
from mviz_lightning.errors import ConfigurationError, describe_error
from mviz_lightning.modalities.argument_readers import require_reader
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.observation import wording
from mviz_lightning.observation.head_names import HeadChoice
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.position_targets import Positions
from mviz_lightning.observation.settling import ObservedModel, settle
from mviz_lightning.session.broken_examples import usable_trial
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.further_heads import (
    FoundHeads,
    at_path,
    fitting,
    heads_named,
    heads_of_function,
    heads_of_step,
    joint_of_trial,
    picked,
    without_labels,
)
from mviz_lightning.session.given_and_observed import ignored_of, warn_of_differences
from mviz_lightning.session.given_positions import described, given_positions, label_shapes, require_positions
from mviz_lightning.session.output_reading import OutputReading
from mviz_lightning.session.remarks import Remarks
from mviz_lightning.session.score_trial import try_score
from mviz_lightning.session.subsets import check_subsets
from mviz_lightning.session.tried_model import TriedModel
from mviz_lightning.session.unmasked_leaves import UnmaskedLeaves

UNSEEN = (
    "the step passes no scores of the model to a loss or a metric, so the call, the outputs and the task are guessed "
    "from the batch and the model's forward"
)


@dataclass
class DryRun:
    """Tries a model on a few examples.

    Attributes:
        config: The configuration of the measurement.
        reading: How the model's outputs are read.
        remarks: Takes lines for the log.
        call: Description of the call of the model; ``""`` until a call worked.
        named: Modalities and leaves that warnings named, and reasons why modalities are not explained.
        unmasked: Leaves that are in no segment and change the outputs.
        heads: The model's heads, as far as they have names.
        joint: The outputs that all heads share during their trial.
    """

    config: SessionConfig
    reading: OutputReading
    remarks: Remarks
    call: str = ""
    named: set[str] = field(default_factory=set)
    unmasked: UnmaskedLeaves = field(default_factory=UnmaskedLeaves)
    heads: FoundHeads = field(default_factory=FoundHeads)
    joint: JointOutputs | None = None
    _given: SessionConfig = field(init=False)
    _further: bool = False

    def __post_init__(self) -> None:
        self._given = self.config

    def run(
        self, module: nn.Module, trial: Probe, precision: ContextFactory, seen: ObservedStep | None = None
    ) -> TriedModel:
        """Find the call, and check that rows are independent and that the outputs and all segments can be used.

        Args:
            module: The user's model.
            trial: A few examples.
            precision: Makes the context in which the trainer calls the model.
            seen: What the user's own step showed; None if there is no step.

        Raises:
            ConfigurationError: The model, or the configuration for it, cannot be used.
        """
        refuse_placeholders(module, trial)
        self.remarks.say(interleaving_line(trial.schema), noted=False)
        observed = self._observed(module, trial, precision, seen)
        try:
            with checked_lookups(module):
                return self._tried(module, trial, precision, seen, observed)
        except ConfigurationError as error:
            mixed, watched = isinstance(error, DisagreementError), None if seen is None else seen.watched
            head = None if observed is None else observed.head
            guessed = self.config.predict is None
            hint = wording.remedy(head, watched, mixed=mixed) if guessed and watched is not None else ""
            if not hint:
                raise
            # If rows depend on one another, other scores rarely help, unless the step itself mixes the rows.
            kind = DisagreementError if mixed and observed is None else ConfigurationError
            raise kind(f"{error}{hint}") from error

    def run_head(
        self,
        module: nn.Module,
        trial: Probe,
        precision: ContextFactory,
        observed: ObservedModel | None,
        joint: JointOutputs | None = None,
    ) -> TriedModel:
        """Try a further head; arguments and errors as for :meth:`run`.

        Args:
            module: The user's model.
            trial: A few examples.
            precision: Makes the context in which the trainer calls the model.
            observed: What the user's own step showed about it; None if ``predict`` returns it.
            joint: The outputs that it shares with the heads that are tried with it.
        """
        self._further, self.joint = True, joint
        return self._tried(module, without_labels(trial), precision, None, observed)

    def forget_joint(self) -> None:
        """Drop the outputs that heads shared: all heads have been tried."""
        self.joint = None

    def _take_heads(self, heads: FoundHeads) -> None:
        """Take the names of the heads, and the arguments that the user gave for the main one by its name."""
        self.heads, self.config = heads, self._given.of_head(heads.main).of_modalities(heads.modalities)
        self.reading.expect(self.config.task, self.config.class_names, scored=self.config.score is not None)

    def _tried(
        self,
        module: nn.Module,
        trial: Probe,
        precision: ContextFactory,
        seen: ObservedStep | None,
        observed: ObservedModel | None,
    ) -> TriedModel:
        trial = trial if observed is None else observed.of_its_modalities(trial)
        call, evaluator = self._called(module, trial, precision, seen, observed)
        trial, positions = self._labelled(trial, module, call, seen, observed)
        refuse_moving_positions(trial, positions)
        # For heads that a function returns, it is not known yet which have positions.
        mapped = self.heads.further if observed is None else any(head.axes for head in observed.further.values())
        if not (self._further or mapped):
            require_positions(self.config, positions, trial)
        trial = usable_trial(evaluator, trial)
        outputs = dry_run_checks.check_rows(evaluator, trial, self.config.draws)
        if not self.call:  # doubts are reported once, and before the failures that they cause
            self.remarks.say(call.remark, noted=False)
            self.remarks.say(dry_run_checks.warn_of_outputs(evaluator, trial, call, self.named), noted=False)
            dry_run_checks.warn_of_stray_leaves(evaluator, trial, outputs, call, self.named)
        first, self.call = not self.call, call.description
        count = outputs.shape[1] if positions is None else positions.outputs
        self.reading.try_on(evaluator, trial, count)
        self.config = fitting(self.config, count) if self._further else self.config
        self.config.check_outputs(count)
        read = self.reading.labels.read(trial, count, everything=False)
        try_score(self.config.score, read, count, by_example=positions is None)
        if self.config.asks_for_subsets:
            check_subsets(self.config, trial, read.task)
        if seen is not None and first:
            warn_of_differences(seen, trial, None if self.config.predict is None else evaluator, self.config)
        if self.config.explainers:
            self._try_segments(evaluator, trial, outputs)
        fusion = dry_run_checks.try_reuse(evaluator, trial) if self.config.may_grow else 1.0
        reused, evaluator = dry_run_checks.reused(evaluator, trial), replace(evaluator, draws=self.config.draws)
        return TriedModel(evaluator, call, count, reused, fusion, observed, positions)

    def _labelled(
        self,
        trial: Probe,
        module: nn.Module,
        call: ModelCall,
        seen: ObservedStep | None,
        observed: ObservedModel | None,
    ) -> tuple[Probe, Positions | None]:
        """Return the examples with their labels, and the positions of the outputs; both are used from now on."""
        if self.config.target not in (None, trial.schema.target):
            trial = at_path(trial, self.config.target)
        ignored = ignored_of(seen, trial.schema.target) if observed is None else observed.head.event.ignored
        self.reading.ignore(ignored)
        if observed is None:
            positions = given_positions(call, trial, self.config.task, ignored)
            if positions is None:
                return trial, None
            self.reading.take_positions(positions.task, described(positions, call))
            return positions.labelled(trial, module), positions
        trial = observed.labelled(trial, module) if observed.tells_labels(self.config.target) else trial
        score = self.config.score_of(observed.score, observed.task)
        name = "" if score is None or score is self.config.score else type(score).__name__
        self.reading.take(observed.task, observed.head_of_outputs, observed.line, name)
        return trial, observed.positions

    def _try_segments(self, evaluator: Evaluator, trial: Probe, outputs: Tensor) -> None:
        """Check that all segments can be masked, and find the leaves that are in none of them."""
        types = modality_types_of(trial, self.named)
        for one in types.values():
            require_reader(one.modality, type(one))
        segments = {name: modality_type.segments for name, modality_type in types.items()}
        dry_run_checks.try_segments(evaluator, trial, segments)
        self.unmasked.consider(types)
        self.unmasked.check(evaluator, trial, outputs)
        self.unmasked.report(self.remarks)

    def _observed(
        self, module: nn.Module, trial: Probe, precision: ContextFactory, seen: ObservedStep | None
    ) -> ObservedModel | None:
        """Return what the user's own step showed, compared with the user's arguments."""
        config, found = self._given, None
        if seen is None or config.predict is not None:
            return None
        failure = seen.failure

        def evaluator_of(predict: Predict) -> Evaluator:
            return Evaluator(module, predict, config.chunk_size, precision, config.seed, reuse=False)

        try:
            choice = HeadChoice(config.heads, config.reserved)
            found = settle(seen, module, trial, evaluator_of, config.target, choice)
            if found is not None:
                self._take_heads(heads_of_step(seen, found, module, trial, evaluator_of, config))
                return replace(found, line=self.heads.line(found.line))
        except ConfigurationError:
            raise
        except Exception as error:  # if a step cannot be observed, only its facts are missing
            failure = describe_error(error)
        if found is None:
            self.remarks.say(f"{UNSEEN}. {failure}" if failure else UNSEEN, noted=bool(failure))
        return found

    def _called(
        self,
        module: nn.Module,
        trial: Probe,
        precision: ContextFactory,
        seen: ObservedStep | None,
        observed: ObservedModel | None,
    ) -> tuple[ModelCall, Evaluator]:
        """Return the call that works, and the evaluator that makes it."""
        config = self.config
        call = self._guessed(module, trial, precision, seen) if observed is None else observed.way.call
        given = module, call.predict, config.chunk_size, precision, config.seed, config.reuse
        evaluator = Evaluator(*given)  # checks take one draw, where all rows get the same noise
        axes = call.axes if observed is None else observed.head.axes
        if axes is not None:
            evaluator = replace(evaluator, reader=EvenReader(axes))
        if observed is not None:
            evaluator = self._joint_evaluator(evaluator, observed)
        may_pair = axes is None if observed is None else observed.head.contrastive
        pairs = all_pairs_call(evaluator, trial) if may_pair else None
        if pairs is None:
            return call, evaluator
        pairwise = replace(evaluator, predict=diagonal(call.predict), all_pairs=pairs)
        return replace(call, description=f"{call.description}, which scores all pairs"), pairwise

    def _joint_evaluator(self, evaluator: Evaluator, observed: ObservedModel) -> Evaluator:
        """Return the evaluator of a head that shares the forwards of the checks with the others."""
        if not self._further:
            self.joint = joint_of_trial(evaluator, observed, self.heads)
        return evaluator if self.joint is None else self.joint.evaluator_of(observed.name, evaluator)

    def _guessed(
        self, module: nn.Module, trial: Probe, precision: ContextFactory, seen: ObservedStep | None
    ) -> ModelCall:
        """Return the first call that works, or the user's own."""
        rows = Query.aligned(torch.arange(trial.size), len(trial.schema.names)).sources
        with isolated(module, seed=self.config.seed), precision():
            batch = trial.batch(rows, {}, device_of(module))
            called = None if seen is None else seen.callable
            given = module, trial.schema, batch, self.config.predict, called
            names = heads_named(self._given)
            labels = label_shapes(trial, (self._given.of_head(names[0]) if names else self.config).target)
            if not names:
                return choose_call(*given, labels=labels)
            call = choose_call(*given, partial(picked, name=names[0], config=self._given), labels)
        if isinstance(call.predict, PickedOutput):
            self._take_heads(heads_of_function(call.predict.predict, self._given))
        return call
