"""The configuration of a measurement: the arguments of the monitor that need no Trainer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torchmetrics import Metric

from mviz_lightning.batch import Modality
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import in_short
from mviz_lightning.explainers import Explainer
from mviz_lightning.explainers.contribution_shares.measures import Measures, checked_measures, measure_explainers
from mviz_lightning.explainers.contribution_shares.patterns import score_without
from mviz_lightning.functional import Task, contribution_shares, design
from mviz_lightning.functional.designs import smallest_group, usual_group
from mviz_lightning.session.argument_types import checked_types
from mviz_lightning.session.grouping import CHEAP, Grouping, size_within
from mviz_lightning.session.head_arguments import BY_HEAD, KEYS

EXAMPLES = 128
"""Default number of examples that are recombined."""


@dataclass(frozen=True)
class SessionConfig:
    """The arguments of :class:`MultimodalMonitor` that need no Trainer, checked; see there for their meaning.

    It describes one head: arguments that are given by the name of another stay in ``by_head`` until :meth:`of_head`.

    A session never changes it. If groups grow, their size is in a :class:`Grouping` and in the probe's groups.

    Raises:
        ConfigurationError: An argument has a type or a value that is not allowed.
    """

    modalities: Mapping[str, Modality]
    target: str | None = None
    task: Task | None = None
    predict: Predict | None = None
    score: Metric | None = None
    num_examples: int | None = None
    group_size: int | None = None
    reference: int = 512
    pairs: bool | None = None
    budget: int | None = None
    chunk_size: int = 128
    reuse: bool = True
    explainers: Sequence[Explainer] = ()
    pin: Sequence[int] = ()
    class_names: Sequence[str] | None = None
    seed: int = 0
    on_disagreement: Literal["withhold", "log"] = "withhold"
    measures: Sequence[str] = ()
    by_class: bool = False
    subgroups: str | None = None
    absence: bool = False
    positions: int = 64
    region: Any = None
    heads: Sequence[str] | None = None
    draws: int = 1
    of_one_head: bool = False
    by_head: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_disagreement not in ("withhold", "log"):
            raise ConfigurationError(f"on_disagreement={in_short(self.on_disagreement)}: choose 'withhold' or 'log'.")
        for name, value in checked_types(vars(self)).items():
            object.__setattr__(self, name, value)
        if self.task is not None and self.task not in get_args(Task):
            raise ConfigurationError(
                f"task={in_short(self.task)}: choose one of {', '.join(map(repr, get_args(Task)))}."
            )
        object.__setattr__(self, "measures", checked_measures(self.measures, len(self.modalities)))
        self._require_groups()
        for name in {name for given in self.by_head.values() for name in given}:
            self.of_head(name)  # this checks the arguments of the head
        known = {explainer.name for explainer in self.explainers if self.of_one_head}
        added = [explainer for explainer in measure_explainers(self.measures) if explainer.name not in known]
        object.__setattr__(self, "explainers", (*self.explainers, *added))
        if len({*(names := [explainer.name for explainer in self.explainers])}) < len(names):
            raise ConfigurationError(f"explainers={names}: give each a name= of its own.")
        if self.budget is not None and self.affordable_groups(self.base_grouping) < 2:
            needed = 2 * self.rows_of(self.group)
            raise ConfigurationError(
                f"budget={self.budget} rows: two groups of {self.group} take {needed}; raise the budget"
                f"{'' if self.group_size is None else ' or lower group_size'}."
            )

    def _require_groups(self) -> None:
        least = smallest_group(len(self.modalities))
        if self.group < least:
            raise ConfigurationError(
                f"group_size={self.group}: {len(self.modalities)} modalities need groups of {least} or more."
            )
        if self.examples < 2 * self.group:
            raise ConfigurationError(
                f"num_examples={self.examples}: intervals need 2 groups of group_size={self.group}; give "
                f"num_examples={2 * self.group} or more, or smaller groups."
            )

    @property
    def examples(self) -> int:
        """Number of examples that are recombined, before groups grow."""
        return max(EXAMPLES, 2 * self.group) if self.num_examples is None else self.num_examples

    @cached_property
    def group(self) -> int:
        """Number of examples in a group, before groups grow; smaller if the budget is not enough for two of them."""
        usual = usual_group(len(self.modalities), self.num_examples or EXAMPLES)
        if self.group_size is not None or self.budget is None:
            return self.group_size or usual
        return size_within(self.budget, self.rows_of, usual, smallest_group(len(self.modalities)))

    @property
    def asks_for_subsets(self) -> bool:
        """Whether shares within classes or subgroups are measured."""
        return self.by_class or self.subgroups is not None

    @property
    def base_grouping(self) -> Grouping:
        """The groups if encodings are not reused."""
        return Grouping(self.examples, self.group)

    @property
    def may_grow(self) -> bool:
        """Whether groups are larger if encodings are reused and the fusion is cheap enough."""
        return self.grouping(0.0) != self.base_grouping

    def grouping(self, fusion_share: float) -> Grouping:
        """Return the groups: twice as large, of twice as many examples, if that is cheap and the user chose no size.

        The standard errors are then smaller by a third, and by half if all is interaction. More groups of the same
        examples gain next to nothing (``tests/benchmarks/coverage.py --growth``).

        Args:
            fusion_share: Work of a row with replayed encodings, as a fraction of a plain row's work.
        """
        base = self.base_grouping
        if self.num_examples is not None or self.group_size is not None:
            return base
        groups, size = base.examples // base.size, 2 * base.size
        rows, encoded = groups * self._rows(size), 2 * base.examples
        cheap = encoded * (1 - fusion_share) + rows * fusion_share <= CHEAP * groups * self._rows(base.size)
        # The explainers get the rows of a budget that the shares do not use.
        if not cheap or (self.budget is not None and (rows * self.draws > self.budget or self.explainers)):
            return base
        return Grouping(encoded, size)

    def check_outputs(self, outputs: int) -> None:
        """Check what depends on how many outputs the model has.

        Args:
            outputs: Number of outputs of one example, C.

        Raises:
            ConfigurationError: There are too few class names, or an explainer names an output that does not exist.
        """
        # One logit separates two classes.
        if self.class_names is not None and len(self.class_names) not in (outputs, 2 if outputs == 1 else outputs):
            raise ConfigurationError(
                f"class_names has {len(self.class_names)} names, but the model has {outputs} outputs; give each one."
            )
        for explainer in self.explainers:
            explainer.check(outputs)

    def affordable_groups(self, grouping: Grouping) -> int:
        """Return the number of groups that the examples fill, or that the budget allows if that is smaller."""
        wanted = grouping.examples // grouping.size
        return wanted if self.budget is None else min(wanted, self.budget // self.rows_of(grouping.size))

    def of_head(self, name: str, *, main: bool = True) -> "SessionConfig":
        """Return the configuration of one head.

        Args:
            name: Its name.
            main: Whether it is the main head, which also gets the arguments that name no head.
        """
        plain: dict[str, Any] = {argument: getattr(self, argument) if main else None for argument in BY_HEAD}
        named = {argument: given[name] for argument, given in self.by_head.items() if name in given}
        return replace(self, **plain | named, of_one_head=True, by_head={})

    def calling(self, predict: Predict) -> "SessionConfig":
        """Return the configuration for another call, without class names: they belong to the present outputs."""
        return replace(self, predict=predict, class_names=None, of_one_head=True)

    def named(self, class_names: Sequence[str]) -> "SessionConfig":
        """Return the configuration with these names of the outputs, unless the user gave some."""
        return self if self.class_names is not None else replace(self, class_names=class_names, of_one_head=True)

    def of_modalities(self, names: Sequence[str]) -> "SessionConfig":
        """Return the configuration of a head that depends on these modalities alone; none given means all of them."""
        if not names or len(names) == len(self.modalities):
            return self
        return replace(self, modalities={name: self.modalities[name] for name in names})

    @property
    def reserved(self) -> frozenset[str]:
        """First parts of the keys that are logged; no head has one as its name."""
        return KEYS | {explainer.name for explainer in self.explainers}

    def left(self, spent: int) -> int | None:
        """Return how many more distinct rows the budget allows after ``spent`` rows; None without a budget."""
        return None if self.budget is None else max(0, self.budget - spent) // self.draws

    @property
    def limiting(self) -> int | None:
        """The budget if groups are fewer or smaller than without a budget; None otherwise."""
        base = self.base_grouping
        return self.budget if self.affordable_groups(base) < base.examples // base.size else None

    def rows_of(self, size: int) -> int:
        """Return the number of rows of a group, with every draw as a row of its own."""
        return self._rows(size) * self.draws

    def _rows(self, size: int) -> int:
        tuples = design(len(self.modalities), size, pairs=self.pairs, seed=self.seed).tuples
        measured = Measures(self.measures, list(self.modalities), size, self.seed).tuples
        return len(torch.unique(torch.cat([tuples, measured]), dim=0))

    @property
    def keys(self) -> list[str]:
        """Names of the values of a run, without prefix; a task that turns out to be a regression has no flips."""
        return self.keys_of(self.task, scored=self.target is not None)

    def score_of(self, own: Metric | None, task: Task | None) -> Metric | None:
        """Return the score: the given one, else the metric of the user's own step, if that has the same task.

        Args:
            own: The metric of the user's own step; None if it has none.
            task: Type of the prediction task that the step shows.
        """
        if self.score is not None or self.task not in (None, task):
            return self.score
        return own

    def keys_of(self, task: Task | None, *, scored: bool) -> list[str]:
        """Return the names of the values of a run, without prefix.

        Args:
            task: Type of the prediction task; None if it is not known yet.
            scored: Whether there are labels.
        """
        names = list(self.modalities)
        plan = design(len(names), self.group, pairs=self.pairs, seed=self.seed)
        found = list(contribution_shares(torch.zeros(2, 2 + 2 * len(names) + len(plan.pairs)), names, plan.pairs))
        found += [] if task == "regression" else [f"flips/{name}" for name in names]
        found += Measures(self.measures, names, self.group, self.seed).keys
        values = [
            "score",
            "emap_score",
            "emap_gap",
            "emap_gap_low",
            "emap_gap_high",
            *(f"perceptual/{name}" for name in names),
            *(score_without(name) for name in names if self.absence),
        ]
        return found + (values if scored else [])
