"""A session that explains single examples: it prepares the methods, and stores their memory."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from mviz_lightning.batch.explained_regions import ExplainedRegions
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.explained_maps import ExplainedMaps
from mviz_lightning.engine.isolation import random_states
from mviz_lightning.engine.row_independence import evaluate_aligned
from mviz_lightning.explainers import Explainer, ProbeContext
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional.outputs import levelled
from mviz_lightning.modalities import ModalityType
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.headed_session import HeadedSession
from mviz_lightning.session.runner import ExplainerState, MethodRun, Runner


@dataclass
class ExplainingSession(HeadedSession):
    """The fixed examples, and the explanations of single ones.

    Attributes:
        modality_types: Modality -> how it is segmented and drawn; empty until examples are explained.
        maps: The regions that are explained; None before the first explanation, and if outputs have no positions.
    """

    modality_types: Mapping[str, ModalityType] = field(default_factory=dict)
    maps: ExplainedMaps | None = None
    _own: Tensor | None = None
    _past: ExplainerState = field(default_factory=ExplainerState)

    def drawing(self, *, show_inputs: bool = True) -> DrawingContext:
        """Return the context in which pictures of the last explanations are drawn.

        Args:
            show_inputs: Whether inputs may be shown.
        """
        regions = None if self.maps is None else self.maps.regions
        single, region = self._ready_model().outputs == 1, None if regions is None else regions.words
        labels = Labels(self.task, self.class_names, self.called, single, region)
        return DrawingContext(self.modality_types, labels, show_inputs, self.unmasked, regions)

    @property
    def unmasked(self) -> Mapping[str, Sequence[str]]:
        """Modality -> its leaves that are never masked although they change the outputs."""
        return {name: tuple(paths) for name, paths in self._dry_run.unmasked.found.items()}

    @property
    def explainable(self) -> bool:
        """Whether examples can be explained: a run was made."""
        return self._own is not None

    def explains(self, method: Explainer) -> bool:
        """Return whether a method is applied to this head: maps need outputs with positions."""
        fits = self._ready_model().axes is not None or not method.needs_positions
        return fits and self.explainable and any(one is method for one in self.config.explainers)

    def explain(self, method: Explainer, spent: int = 0, moment: tuple[int, int] = (0, 0)) -> MethodRun:
        """Apply a method to the outputs of the last run; all processes get the whole result.

        Args:
            method: The method.
            spent: Rows of the budget that were evaluated already.
            moment: Epoch and step of the training.

        Raises:
            ConfigurationError: A modality cannot be segmented as configured, or there are no features.
            RuntimeError: The model failed; on all processes alike.
        """
        started = time.perf_counter()
        if self._runner is None:
            with self.ranks.raise_on_all_ranks():
                methods = self._prepared()
            self._runner = methods  # on all processes or on none
        self._runner = self._runner.on(self._ready()[0].probe)
        with random_states():  # a method of the user's own may draw random numbers
            explained = self._runner.run(method, self._selected_by(self._runner), self.config.left(spent), moment)
        self.remarks.note(*explained.notes)
        head = "" if self.main is None else self.name
        return replace(explained, seconds=time.perf_counter() - started, head=head)

    def _selected_by(self, runner: Runner) -> Tensor | None:
        """Return ``(K, C)`` outputs of this process's real examples, to select some; with positions, of regions."""
        maps = runner.probe_context.maps
        if maps is None or self._own is None:
            return self._own
        examples = self.ranks.share(runner.probe_context.probe.groups).flatten()
        with self.ranks.raise_on_all_ranks():
            found = evaluate_aligned(runner.evaluators.evaluator, runner.probe_context.probe, examples)
            return levelled(found, runner.probe_context.task)

    def _explained_maps(self) -> ExplainedMaps | None:
        """Return the regions that are explained; None if outputs have no positions.

        Raises:
            ConfigurationError: ``region=`` names none.
        """
        probe, shares, tried = self._read()
        if tried.axes is None or probe.by_position is None:
            return None
        names = self.config.class_names or ()
        return ExplainedMaps(
            tried.axes, ExplainedRegions.of(probe.by_position, self.config.region, shares.task, list(names))
        )

    def _prepared(self) -> Runner:
        probe, shares, tried = self._read()
        collected, config = self._ready()[0], self.config
        shared: ExplainingSession | None = self.main if self.follows_all else None
        self.modality_types = (None if shared is None else shared.modality_types) or modality_types_of(
            probe, self._dry_run.named
        )
        cut = replace(
            probe, segments={name: modality_type.segments for name, modality_type in self.modality_types.items()}
        )
        scale = shares.scale(probe, tried.outputs)
        masked, maps = self._reading.left_out, self._explained_maps()
        evaluator = tried.evaluator if maps is None else maps.region_evaluator(tried.evaluator)
        cut = cut if maps is None else replace(cut, labels=maps.regions.target)
        given = cut, shares.task, shares.design, list(collected.positions), scale, config.seed, masked, maps
        called = f"head {self.called}" if self.called else ProbeContext.called
        self._past, self.maps = self._past if collected.restored else ExplainerState(), maps
        if shared is not None:  # the same examples, so that all heads need the same rows
            self._past = replace(self._past, chosen=shared._past.chosen)
        return Runner(ProbeContext(*given, called), evaluator, self.ranks, tried.outputs, config.pin, self._past)

    @property
    def memory(self) -> Mapping[str, Any]:
        """The memory of methods, in plain types."""
        return self._past.state()

    def load_memory(self, saved: Any) -> None:
        """Load the memory of methods for a further head; None if the checkpoint holds nothing."""
        self._past = ExplainerState() if saved is None else ExplainerState.of(saved)

    def state(self, limit: int) -> dict[str, Any]:
        """Return the probe and the memory of methods in plain types, for checkpoints.

        Args:
            limit: Largest size in bytes of examples that are saved; of larger ones, only the digest is.
        """
        return super().state(limit) | self._past.state()

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the probe and the memory of methods from a checkpoint."""
        super().load(saved := Saved.of(state))
        self._past = ExplainerState.of(saved)

    def forget_runs_at(self, moment: tuple[int, int]) -> None:
        """Remove the memory of methods from a moment of the checkpoint, so that its runs can be repeated.

        Args:
            moment: Epoch and step.
        """
        self._past, heads = self._past.before(moment), self._saved_heads.items()
        self._saved_heads = {name: ExplainerState.of(saved).before(moment).state() for name, saved in heads}
