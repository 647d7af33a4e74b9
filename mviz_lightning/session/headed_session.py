"""A session with further heads: each has a session of its own, which shares the examples and the forwards."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn
from typing_extensions import Self

from mviz_lightning.batch import Probe
from mviz_lightning.checkpoint.saved import Saved
from mviz_lightning.engine.draws import ContextFactory
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.joint_grids import JointGrids, with_grids
from mviz_lightning.engine.joint_outputs import JointOutputs, own_call, with_joint
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.observation.settling import ObservedModel
from mviz_lightning.observation.ways import StepFunction
from mviz_lightning.session.further_heads import FurtherHead, first_sentence, joint_predict
from mviz_lightning.session.labelled_session import LabelledSession
from mviz_lightning.session.runner import Runner
from mviz_lightning.session.saved_probe import Collected
from mviz_lightning.session.tried_model import TriedModel

S = TypeVar("S", bound="HeadedSession")

LEFT_OUT = "is not measured"
"""Text about a head that cannot be measured, before the reason."""


@dataclass
class HeadedSession(LabelledSession):
    """The fixed examples, measured at the main head, and a session for each further head.

    Attributes:
        heads: Name of each further head -> its session, which uses this session's examples; empty in those sessions.
        name: Name of the head that this session measures; ``""`` if heads have no names.
        main: In the session of a further head, the session of the main head; else None.
    """

    heads: "dict[str, Any]" = field(default_factory=dict)
    name: str = ""
    main: Any = None
    _runner: Runner | None = None
    _joint: JointOutputs | JointGrids | None = None
    _followed: Collected | None = None
    _saved_heads: dict[str, Any] = field(default_factory=dict)

    def dry_run(
        self, module: nn.Module, precision: ContextFactory = nullcontext, step: StepFunction | None = None
    ) -> None:
        """Try the model, and then each further head; a further head that fails is left out alone.

        Args:
            module: The user's model.
            precision: Makes the context in which the trainer calls the model.
            step: The user's own step; None if there is none.
        """
        trial, done = self._sampler.reader.trial, self.dry_run_done
        super().dry_run(module, precision, step)
        if trial is None or done or self._tried is None:
            return
        self.name = self._dry_run.heads.main
        for name, found in (self._dry_run.heads.further or {}).items():
            try:
                self.heads[name] = self._further(name, found, module, trial, precision)
            except Exception as error:
                self.remarks.say(f"head {name} {LEFT_OUT}: {first_sentence(error)}")
        self._dry_run.forget_joint()
        self._join()

    def _further(
        self, name: str, found: FurtherHead, module: nn.Module, trial: Probe, precision: ContextFactory
    ) -> Self:
        """Return the session of a further head, whose model is tried."""
        head = type(self)(found.config, self.ranks, self.remarks.about(name), self.judged, name=name, main=self)
        head.try_further(module, trial, precision, found.observed)
        head.load_memory(self._saved_heads.get(name))
        return head

    def try_further(
        self, module: nn.Module, trial: Probe, precision: ContextFactory, observed: ObservedModel | None
    ) -> None:
        """Try the model's further head that this session measures, on examples that the main session collects.

        Args:
            module: The user's model.
            trial: A few examples.
            precision: Makes the context in which the trainer calls the model.
            observed: What the user's own step showed about the head; None if ``predict`` returns it.

        Raises:
            ConfigurationError: The head cannot be measured.
        """
        self._sampler = self.main._sampler
        with self.remarks.instead_of_warnings():
            self._tried = self._dry_run.run_head(module, trial, precision, observed, self.main._dry_run.joint)
        self.config = self._dry_run.config

    def load_memory(self, saved: Any) -> None:
        """Load the memory of methods for a further head; None if the checkpoint holds nothing."""

    def _join(self) -> None:
        """Let all heads share one forward from now on, with their present calls."""
        sessions = {self.name: self, **self.heads}
        models = {name: own_call(one._ready_model().evaluator.predict) for name, one in sessions.items()}
        observed = {name: one._ready_model().observed for name, one in sessions.items()}
        joint = joint_predict({name: (models[name], observed[name]) for name in sessions})
        evaluators: dict[str, Evaluator] = {name: one._ready_model().evaluator for name, one in sessions.items()}
        calls = {name: one.way.call.predict for name, one in observed.items() if one is not None}
        if joint is not None and len(evaluators) > 1 and all(one.all_pairs is not None for one in evaluators.values()):
            evaluators, self._joint = with_grids(evaluators, joint, calls)
        else:
            evaluators, self._joint = with_joint(evaluators, joint)
        for name, one in sessions.items():
            one.evaluate_by(evaluators[name])

    @property
    def called(self) -> str:
        """Name of the head in pictures and tables; ``""`` if the model has only one head."""
        return self.name if self.heads or self.main is not None else ""

    @property
    def unread(self) -> Sequence[str]:
        """Modalities that a further head does not use by construction, as in an auxiliary head of one modality."""
        observed = None if self.main is None or self._tried is None else self._tried.observed
        return () if observed is None else observed.unread

    def evaluate_by(self, evaluator: Evaluator) -> None:
        """Evaluate the same model with another evaluator from now on."""
        self._tried, self._runner = replace(self._ready_model(), evaluator=evaluator), None

    def _ready_model(self) -> TriedModel:
        if self._tried is None:
            raise RuntimeError("the model was not tried yet; call dry_run first.")
        return self._tried

    def forget_outputs(self) -> None:
        """Drop the outputs that heads share: the model changes between the runs."""
        if self._joint is not None:
            self._joint.forget()

    def _take_examples(self) -> None:
        """Take the fixed examples of the main head, with this head's own labels."""
        collected: Collected = self.main._ready()[0]
        before, self._followed = self._followed, collected
        if before is not None and _same_examples(before, collected) and self._collected is not None:
            probe = replace(self._collected.probe, own_shapes=collected.probe.own_shapes)
            self._collected = replace(self._collected, probe=probe)
            return
        probe = replace(collected.probe, schema=replace(collected.probe.schema, target=None), labels=None)
        labelled = self._labelled(self._ready_model())
        self._collected = replace(collected, probe=probe if labelled is None else labelled(probe))
        self._examples_changed()

    @property
    def follows_all(self) -> bool:
        """Whether a further head is measured on all examples of the main head: it left none out."""
        followed, own = self._followed, self._collected
        return self.main is not None and followed is not None and own is not None and _same_examples(followed, own)

    def _examples_changed(self) -> None:
        """Drop everything that was computed from the examples."""
        self._shares, self._runner, self._checked_examples = None, None, False

    def fit_shapes(self) -> None:
        """Evaluate examples in the shapes of their own batches if the main head's outputs require it."""
        if self.main is None:
            super().fit_shapes()

    def sample_positions(self) -> None:
        """Take the main head's examples; read outputs with positions at a fixed sample of them, in all heads."""
        if self.main is not None:
            self._take_examples()
        before = self._ready_model().evaluator.reader
        super().sample_positions()
        changed = self._ready_model().evaluator.reader is not before
        for head in self.heads.values():
            changed |= head.sample_positions_anew()
        if changed and self.heads:
            self._join()

    def sample_positions_anew(self) -> bool:
        """Sample the positions of a further head; return whether its outputs are now read in another way."""
        before = self._ready_model().evaluator.reader
        self.sample_positions()
        return self._ready_model().evaluator.reader is not before

    def share_among(self, ranks: Ranks) -> None:
        """Share the work among these processes from now on."""
        super().share_among(ranks)
        for head in self.heads.values():
            head.share_among(ranks)

    def judge_by(self, *, judged: bool, kin: str | None = None) -> None:
        """Start or stop measuring what an alarm reads; see :meth:`Preparation.judge_by`."""
        super().judge_by(judged=judged, kin=kin)
        for head in self.heads.values():
            head.judge_by(judged=judged, kin=kin)

    def watch_outputs(self, module: nn.Module, batch: Any, *, first: bool = True) -> None:
        """Keep the user's own outputs of a few complete rows, for every head."""
        super().watch_outputs(module, batch, first=first)
        for head in self.heads.values():
            head.watch_outputs(module, batch, first=first)

    def release(self) -> None:
        """Remove everything that was attached to the model."""
        super().release()
        for head in self.heads.values():
            head.release()

    def check(self, *, complete: bool = True) -> None:
        """Raise, on all processes, what failed on any so far; keep the heads that all processes have.

        Args:
            complete: Whether all processes must have done a dry run.
        """
        super().check(complete=complete)
        facts = {name: head._ready_model().facts for name, head in self.heads.items()}
        everywhere = [one for one in self.ranks.gather(facts if self.dry_run_done else None) if one is not None]
        for name in sorted({name for one in everywhere for name in one}):
            if any(one.get(name) != everywhere[0].get(name) for one in everywhere):
                self.remarks.say(f"head {name} {LEFT_OUT}: the processes found other outputs, tasks or labels")
                if self.heads.pop(name, None) is not None:
                    self._join()

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix; those of a further head begin with its name."""
        return [*super().keys, *(f"{name}/{key}" for name, head in self.heads.items() for key in head.keys)]

    @property
    def unmeasured_keys(self) -> list[str]:
        """Names of values that may be missing; a further head may fail alone."""
        of = {name: (*head.keys, *head.unmeasured_keys) for name, head in self.heads.items()}
        return [*super().unmeasured_keys, *(f"{name}/{key}" for name, keys in of.items() for key in keys)]

    def state(self, limit: int) -> dict[str, Any]:
        """Return the examples in plain types, and the memory of methods for further heads."""
        heads = {name: head.memory for name, head in self.heads.items()} or self._saved_heads
        return super().state(limit) | ({"heads": heads} if heads else {})

    @property
    def memory(self) -> Mapping[str, Any]:
        """The memory of methods, in plain types."""
        return {}

    def load(self, state: Mapping[str, Any] | Saved) -> None:
        """Take the examples and the memory of methods from a checkpoint."""
        saved = Saved.of(state)
        super().load(saved)
        self._saved_heads = saved["heads"].read(dict[str, Any], {}) if saved.holds("heads") else {}
        for name, head in self.heads.items():
            head.load_memory(self._saved_heads.get(name))


def _same_examples(before: Collected, now: Collected) -> bool:
    return before.probe.leaves is now.probe.leaves and torch.equal(before.probe.groups, now.probe.groups)
