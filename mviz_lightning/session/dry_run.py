"""The first contact with a model: how it is called, and whether it can be measured at all."""

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine import dry_run_checks
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.evaluator import ContextFactory, Evaluator, device_of
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.pairwise_scores import diagonal, scores_all_pairs
from mviz_lightning.engine.query import Query
from mviz_lightning.modalities.base import modality_types_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.output_reading import OutputReading
from mviz_lightning.session.remarks import Remarks


@dataclass(frozen=True)
class TriedModel:
    """A model that passed the dry run.

    Attributes:
        evaluator: Evaluates the model on rows.
        call: How the model is called.
        outputs: Number of outputs of one example, C.
        reused: Submodules that run once for every distinct input, in words.
        fusion_share: Work that is left for each row where encodings are reused, as a fraction of a plain row's work.
    """

    evaluator: Evaluator
    call: ModelCall
    outputs: int
    reused: str
    fusion_share: float = 1.0


@dataclass
class DryRun:
    """Tries a model on a few examples.

    Attributes:
        config: What is measured.
        reading: How the model's outputs are read.
        remarks: Takes lines for the log.
        call: How the model is called, in words; ``""`` until a call worked.
        named: Modalities and leaves that were warned of.
    """

    config: SessionConfig
    reading: OutputReading
    remarks: Remarks
    call: str = ""
    named: set[str] = field(default_factory=set)

    def run(self, module: nn.Module, trial: Probe, precision: ContextFactory) -> TriedModel:
        """Find the call, and check that rows are independent and that the outputs and all segments can be used.

        Args:
            module: The user's model.
            trial: A few examples.
            precision: Makes the context in which the trainer calls the model.

        Raises:
            ConfigurationError: The model, or the configuration for it, cannot be used.
        """
        call, evaluator = self._called(module, trial, precision)
        outputs = dry_run_checks.check_independence(evaluator, trial)
        if not self.call:  # doubts are reported once, and before what they cause fails
            self.remarks.say(dry_run_checks.warn_of_outputs(evaluator, trial, call, self.named), noted=False)
            dry_run_checks.warn_of_stray_leaves(evaluator, trial, outputs, call, self.named)
        self.call = call.description
        self.reading.try_on(evaluator, trial, outputs.shape[1])
        self.config.check_outputs(outputs.shape[1])
        if self.config.explainers:
            dry_run_checks.try_segments(
                evaluator,
                trial,
                {name: modality_type.segments for name, modality_type in modality_types_of(trial).items()},
            )
        fusion_share = dry_run_checks.try_reuse(evaluator, trial) if self.config.may_grow else 1.0
        return TriedModel(evaluator, call, outputs.shape[1], dry_run_checks.reused(evaluator, trial), fusion_share)

    def _called(self, module: nn.Module, trial: Probe, precision: ContextFactory) -> tuple[ModelCall, Evaluator]:
        """Return the call that works, and the evaluator that makes it."""
        config, rows = self.config, Query.aligned(torch.arange(trial.size), len(trial.schema.names)).sources
        with isolated(module, seed=config.seed), precision():
            call = choose_call(module, trial.schema, trial.batch(rows, {}, device_of(module)), config.predict)
        evaluator = Evaluator(module, call.predict, config.chunk_size, precision, config.seed, config.reuse)
        if not scores_all_pairs(evaluator, trial):
            return call, evaluator
        pairwise = replace(evaluator, predict=diagonal(call.predict), all_pairs=call.predict)
        return replace(call, description=f"{call.description}, which scores all pairs"), pairwise
