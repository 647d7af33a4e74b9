"""A session that reads labels and the task: facts about the fixed examples and the model besides the shares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.collapse.proofs import Proofs
from mviz_lightning.collapse.raw_inputs import FEWEST_KIN, kin_numbers
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.engine.encoders import find_encoders
from mviz_lightning.errors import describe_error
from mviz_lightning.explainers import Shares
from mviz_lightning.explainers.contribution_shares.pair_shares import PairShares
from mviz_lightning.explainers.contribution_shares.patterns import score_without
from mviz_lightning.explainers.contribution_shares.position_shares import PositionShares, shares_of
from mviz_lightning.functional import Task
from mviz_lightning.session.absence_cost import AbsenceCost, AbsenceScores
from mviz_lightning.session.answering_session import AnsweringSession
from mviz_lightning.session.broken_examples import broken_examples, left_out
from mviz_lightning.session.embedding_measures import embedding_values
from mviz_lightning.session.ragged_outputs import read_along_lengths
from mviz_lightning.session.sampled_positions import places_of, sampled
from mviz_lightning.session.subsets import Subsets
from mviz_lightning.session.tried_model import TriedModel

T = TypeVar("T")

TOO_FEW_KIN = (
    "kin={kin!r} has {families} distinct entries in {examples} examples, and the proofs from raw inputs need {least} "
    "or more. Without them, an alarm can only name modalities in UnimodalCollapse(expected=[...]). Give a leaf with "
    "more distinct entries, or remove kin="
)
"""Line of the log if all examples belong to a few groups of kin."""

RAGGED = (
    "the length of {path!r}, which has one label for each output, differs from batch to batch, so outputs and labels "
    "are read position by position"
)
"""Line of the log about outputs whose number differs from batch to batch."""

MANY_MODALITIES = 5
"""Smallest number of modalities with a note that the EMAP gap may be too high: with six modalities at a correlation of
0.9, it is too high by up to 0.15."""

DEFAULT_SCORES: dict[Task, str] = {
    "multiclass": "accuracy",
    "binary": "accuracy",
    "multilabel": "label-ranking average precision",
    "regression": "R²",
}
"""Task -> name of its score where the user gave none."""


@dataclass
class LabelledSession(AnsweringSession):
    """The fixed examples with their labels, and what alarms and tables read from them."""

    _shares: Shares | None = None
    _checked_examples: bool = False
    _failed_without: set[str] = field(default_factory=set)
    _places: Tensor | None = None
    _sampled_for: Tensor | None = None

    def sample_positions(self) -> None:
        """Read outputs with positions at a fixed sample of positions from now on; other examples get another sample."""
        self._read_along_lengths()
        collected, tried = self._ready()
        if tried.axes is None or self._sampled_for is collected.probe.groups:
            return
        self._places = places_of(collected.probe, self.config.positions, self.config.seed)
        evaluator = sampled(tried.evaluator, tried.axes, collected.probe, self._places)
        self._tried, self._sampled_for = replace(tried, evaluator=evaluator), collected.probe.groups

    def _read_along_lengths(self) -> None:
        """Read outputs position by position from now on if their number turned out to differ from batch to batch."""
        collected, tried = self._ready()
        task = self._reading.labels.given
        found = read_along_lengths(tried, collected.probe, self.config.target, task)
        if found is None or found.positions is None:
            return
        probe = found.positions.labelled(collected.probe, found.evaluator.module)
        self._tried, self._collected = found, replace(collected, probe=probe)
        self._reading.take_positions(found.positions.task, RAGGED.format(path=found.positions.target.path))

    def _read(self) -> tuple[Probe, Shares, TriedModel]:
        """Return the fixed examples with labels, the shares, and the model; labels and task are read once."""
        collected, tried = self._ready()
        if self._shares is None:
            config, probe = self.config, collected.probe
            found = self._reading.read_labels(probe, tried.outputs)
            self._collected = collected = replace(collected, probe=replace(probe, labels=found.target))
            observed, size = tried.observed, probe.groups.shape[1]
            score = config.score if observed is None else config.score_of(observed.score, observed.task)
            given = probe.schema.names, found.task, size, config.pairs, score, config.seed, config.measures
            pairs = tried.evaluator.all_pairs is not None and found.target is None
            own = PairShares(*given) if pairs else self._of_own_answers(given)
            self._shares = own or shares_of(collected.probe, self._places, given)
            self._tell_of_few_kin(probe)
            if found.target is not None and len(probe.schema.names) >= MANY_MODALITIES:
                self.remarks.say(
                    f"emap_gap and errors/rescued are biased upwards with {len(probe.schema.names)} modalities, most "
                    "of all if these are correlated: the unimodal contributions are noisy; compare epochs, not models"
                )
        return collected.probe, self._shares, tried

    def _leave_out_broken_examples(self) -> None:
        """Leave out, once, the examples whose own outputs are NaN or infinite; none if most are (a broken model)."""
        if self._checked_examples:
            return
        probe, shares, tried = self._read()
        everyone = torch.arange(probe.size)
        examples = everyone if self.config.explainers else probe.groups.flatten()
        broken = broken_examples(probe, tried.evaluator, self.ranks, examples, shares.task)
        if 2 * len(broken) >= len(examples):
            return
        if broken and len(examples) < len(everyone):  # another broken one could replace one
            broken = broken_examples(probe, tried.evaluator, self.ranks, everyone, shares.task)
        self._checked_examples = True
        if broken:
            self._leave_out(broken, max(self.ranks.gather(tried.fusion_share)))

    def _leave_out(self, examples: Sequence[int], fusion_share: float) -> None:
        collected, shares = self._ready()[0], self._read()[1]
        rest = self._sampler.without(collected, examples, fusion_share)
        if rest is not None:
            self._collected = rest
            self._shares = replace(shares, group_size=rest.probe.groups.shape[1])
            self.sample_positions()
            if isinstance(self._shares, PositionShares) and self._places is not None:
                self._shares = replace(self._shares, places=self._places)
            self.remarks.say(left_out([collected.positions[example] for example in examples]))

    def _absence(self, values: Mapping[str, float], spent: int) -> AbsenceScores:
        """Return the cost of absent modalities; nothing if the user did not request it, or there are no labels.

        Args:
            values: The values of the run.
            spent: Rows of the budget that were evaluated already.
        """
        (probe, shares, tried), collected = self._read(), self._ready()[0]
        if collected.absent is None:
            return AbsenceScores()
        if "score" not in values:
            self.remarks.say("absence=True needs labels: without any there is no score to compare")
            return AbsenceScores()
        given = probe, collected.absent, self._sampler.counts, tried, shares, self.ranks, self._failed_without
        return AbsenceCost(*given).measure(values["score"], self.config.left(spent))

    def _embedding_values(self) -> dict[str, float]:
        """Return the measures of the embeddings behind scores of pairs; nothing for other outputs."""
        probe, _, tried = self._read()
        call = None if tried.observed is None else tried.observed.embeddings
        try:
            return {} if call is None else embedding_values(tried.evaluator, call, probe, self.ranks)
        except Exception as error:  # raised on all ranks or on none
            self.remarks.say(f"the embeddings are not measured: {describe_error(error)}")
            return {}

    @property
    def unmeasured_keys(self) -> list[str]:
        """Names of values that may be missing: for small subsets, and for absent modalities that the model refuses."""
        names = self.config.modalities if self.config.absence else ()
        return [*self.subsets.unmeasured_keys, *map(score_without, names)]

    @property
    def task(self) -> Task:
        """Type of the prediction task."""
        return self._read()[1].task

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the outputs: those that the user gave; for scores of pairs, a description."""
        shares = self._read()[1]
        similarity = [f"similarity of {' and '.join(shares.modalities)}"] if isinstance(shares, PairShares) else None
        return self.config.class_names or similarity

    @property
    def score_name(self) -> str:
        """Name of the score: the class of a metric, or a description of the task's default."""
        probe, shares, _ = self._read()
        if isinstance(shares, PairShares):
            return "retrieval accuracy"
        if shares.score is not None:
            return type(shares.score).__name__
        graded = (target := shares.target(probe)) is not None and shares._graded(target)
        return "target at the highest output" if graded else DEFAULT_SCORES[shares.task]

    def score_reference(self) -> ScoreReference:
        """Return the reference for the score; all processes get the same."""
        return self._agreed(lambda shares, probe, outputs: shares.score_reference(probe, outputs))

    def fit_proofs(self) -> Proofs:
        """Predict the labels from the raw inputs of the modalities, without the model; all processes get the same."""
        return self._agreed(self._proofs)

    def _proofs(self, shares: Shares, probe: Probe, outputs: int) -> Proofs:
        return shares.fit_proofs(probe, outputs, self._kin(probe))

    def _kin(self, probe: Probe) -> Tensor | None:
        """Return ``(N,)`` long: the same number for examples that are kin; None if the user named no leaf for kin."""
        kin = self._sampler.reader.kin
        return None if kin is None else kin_numbers(probe.leaves[kin])

    def _tell_of_few_kin(self, probe: Probe) -> None:
        """Report, before an alarm is missed, that all examples belong to a few groups of kin."""
        numbers = self._kin(probe)
        families = FEWEST_KIN if numbers is None else len(torch.unique(numbers))
        if families < FEWEST_KIN:
            said = {"kin": self._sampler.reader.kin, "families": families, "examples": probe.size, "least": FEWEST_KIN}
            self.remarks.say(TOO_FEW_KIN.format(**said))

    def encoders(self) -> dict[str, list[str]]:
        """Return modality -> submodules that depend on it alone, found by a trace; all processes get the same."""
        with self.ranks.raise_on_all_ranks():
            probe, _, tried = self._read()
            found = find_encoders(tried.evaluator, probe)
        return self.ranks.gather(found)[0]

    def _agreed(self, compute: Callable[[Shares, Probe, int], T]) -> T:
        with self.ranks.raise_on_all_ranks():
            probe, shares, tried = self._read()
            found = compute(shares, probe, tried.outputs)
        return self.ranks.gather(found)[0]

    @property
    def subsets(self) -> Subsets:
        """The classes and subgroups that the user requested, as far as they are known."""
        if not self.config.asks_for_subsets or self._tried is None:
            return Subsets([], [])
        if self._shares is None:
            outputs, task, _ = self._tried.facts
            return Subsets.expected(self.config, self.config.task or task or "multiclass", outputs)
        probe, shares, tried = self._read()
        if isinstance(shares, PositionShares):
            given = shares.by_position(probe), shares.task, tried.outputs, shares.positions
            return Subsets.of(self.config, *given)
        return Subsets.of(self.config, probe, shares.task, tried.outputs)

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix, as far as they are known before it."""
        return [*super().keys, *self.subsets.keys]
