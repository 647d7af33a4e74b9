"""The monitor: its arguments, and the objects with which a run of a trainer begins."""

from collections.abc import Sequence
from typing import Any, Literal

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.callbacks.closing import Closing
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.measuring import Measuring
from mviz_lightning.callbacks.return_address import ReturnAddress
from mviz_lightning.callbacks.schedule import Schedule
from mviz_lightning.callbacks.trainer_run import TrainerRun
from mviz_lightning.engine.model_call import Predict, resolve_function
from mviz_lightning.errors.arguments import at_least, not_negative, require_flag, require_name, require_share
from mviz_lightning.errors.deprecations import renamed_attributes
from mviz_lightning.explainers import Explainer
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.explanation_history import ExplanationHistory
from mviz_lightning.session.head_arguments import ClassNames, Scores, Targets, Tasks, split
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session


@renamed_attributes(album="explanation_history")
class MultimodalMonitor(Measuring):
    """Measures at every validation how much of a model's outputs each modality explains, alone and in interaction.

    It recombines validation examples: the image of one, the text of another. From the model's outputs on these rows it
    computes a functional ANOVA (Sobol' indices) and logs shares of the outputs' variance:

    * ``contribution/<m>``: what modality m explains alone.
    * ``interaction``: what only the combination explains. All contributions and the interaction add up to 1.
    * ``total/<m>``: what would be lost without m: its contribution and all interactions with it.

    One call of your ``validation_step`` shows how the model is called, which outputs are the scores, where the labels
    are and what the task is. With labels it logs scores too. ``explainers`` add explanations of single examples, such
    as DIME. The training ends with the same bits as without the monitor.

    Limits: recombined examples may be unlike any real one. The monitor cannot detect a shortcut that training and
    validation data share.

    Args:
        modalities: Name -> where the modality lies in a batch: the path of a leaf, a list of paths that belong
            together, or a ``Modality``. A path joins keys and indices by dots. For a dict:
            ``{"image": "pixel_values", "text": ["ids", "mask"]}``; for nested tuples:
            ``{"image": "0.0", "text": "0.1"}``.
        target: Path of the labels: numbers, or strings that name classes; -100 marks an example without a label. By
            default the labels that your step's loss or metric gets; without labels, no scores are logged. For a model
            with several heads, ``target``, ``task``, ``score`` and ``class_names`` take a dict, head -> value.
        task: ``"multiclass"``, ``"binary"``, ``"multilabel"`` or ``"regression"``. By default the task of your step's
            loss or metric, otherwise a guess from labels and outputs; the log shows it.
        predict: ``(module, batch) -> outputs``, a function or its dotted path, to measure other scores than those in
            your step's loss. By default the monitor finds the call.
        score: A torchmetric of predictions and targets. By default the one that your step updates. Without one:
            accuracy for classes, label-ranking average precision for labels, the target's value at the highest output
            for soft labels, R² for a regression.
        num_examples: Number of validation examples that are recombined. By default 128, or 256 if encodings are reused
            and the fusion is cheap.
        group_size: Number of examples that are recombined with one another. By default 16 for up to four modalities,
            and twice as many if ``num_examples`` doubles. Two modalities take ``num_examples * group_size`` rows.
        reference: Number of validation examples that are kept in memory.
        pairs: Whether the interaction is split by pairs of modalities. By default for three and four modalities.
        budget: Largest number of rows that a run evaluates: contribution shares first, then as many examples of the
            explainers as the rest allows. By default no limit. If it is not enough for two groups of the usual size,
            and ``group_size`` is not given, groups are smaller, and the log shows the width of the intervals: 256 rows
            are enough for 7 groups of 6.
        chunk_size: Number of rows in one forward; it is halved when memory runs out.
        reuse: Whether a submodule that depends on one modality runs once for each input instead of once for each row.
            The monitor checks that the outputs are the same; if they are not, it evaluates every row.
        explainers: Methods of ``mviz_lightning.explainers``, for example ``[DIME()]``, each with its own cadence.
        class_names: Name of each output, for pictures and tables: a list, or a dict, index -> name or name -> index.
        by_class: Whether total effects are also measured within each class of the labels: ``class/<c>/total/<m>``. They
            take no further rows. Classes with fewer than 12 recombined examples are left out.
        subgroups: Path of a leaf whose values name groups of examples, for example ``"metadata.site"``; total effects
            are also measured within each group: ``subgroup/<s>/total/<m>``.
        pin: Indices of validation examples that are always explained.
        show_inputs: Whether pictures and tables may show your data; if not, they show only attributions.
        every_n_validations: Number of validations from one run to the next. EarlyStopping counts a validation without
            a run as one without improvement.
        pictures_every_n_validations: Number of validations from one drawing of the curves to the next. Curves are also
            drawn after the first validation and at the end.
        max_overhead: Largest share of the time that the monitor may take, for example 0.05. Explanations are put off
            first, contribution shares last. By default no limit.
        dataloader_idx: Index of the validation loader whose examples are used.
        checkpoint_megabytes: Largest size, in MiB, up to which the examples are saved in a checkpoint. A training that
            resumes from a checkpoint without them draws them again.
        seed: Seed of all random draws of the monitor.
        name: Prefix of the logged keys, and name of the folder of files; each monitor of a trainer needs its own.
        on_error: Effect of an error. ``"warn"``: a warning and a missing result; the monitor is off if the model cannot
            be measured. ``"raise"``: the training ends. Wrong arguments always end the training before it begins.
        measures: Measures of other papers that are logged beside the shares: ``"shapley"``, ``"intershap"``,
            ``"mm_shap"``. For two modalities the first two take no further rows. By default none.
        on_disagreement: What to do if the monitor's outputs of a few validation examples differ from those that your
            own step computed: ``"withhold"`` the shares, with a warning; ``"log"`` them with a note.
        absence: Whether the scores without each modality are measured, if the model accepts its absence:
            ``score_without/<m>``, and a table by pattern of presence. Each pattern takes ``num_examples`` rows.
        positions: Number of positions of an example at which outputs of maps ``(B, C, H, W)`` and sequences
            ``(B, T, C)`` are read, a fixed sample in proportion to the labels.
        region: The positions for which single predictions are explained: a class (index or name), a position
            ``(12, 40)``, a box ``(slice(0, 9), slice(0, 9))``, or a function from the ``(H, W)`` labels of an example
            to a mask. By default the most frequent class of the example that is not the most frequent of all.
        heads: Names of the heads that are monitored, for example ``["noun", "verb"]``; by default all that your step
            compares with labels. The log names them. Keys of the main head have no prefix; keys of a further head begin
            with its name: ``noun/total/<m>``.
        draws: Number of draws over which the outputs are averaged, for a model that samples in evaluation mode (dropout
            that stays on, a variational latent). Each draw counts as rows of its own. By default 1.
        on_side_effect: What to do if running the model changes something that cannot be undone, for example a global
            variable: ``"warn"`` and continue, ``"disable"`` the monitor, or ``"ignore"`` it.
        report: Whether the report page is written at the end: ``report.html`` in the folder of the run's files, one
            file that shows the whole run in a browser.
        progress_bar: Whether the trainer's progress bar shows ``weakest_total``, the smallest total effect.

    Attributes:
        history: All runs so far; prints as a table.
        explanation_history: All explanations of the fit so far.

    Raises:
        ConfigurationError: An argument has a value that is not allowed. Lightning's sanity check raises it too, if the
            model or the data require another argument.

    Example:
        >>> monitor = MultimodalMonitor({"image": "pixel_values", "text": ["input_ids", "attention_mask"]})
        >>> print(monitor.history)
        no run of the monitor yet
    """

    def __init__(
        self,
        modalities: Modalities,
        *,
        target: Targets | None = None,
        task: Tasks | None = None,
        predict: Predict | str | None = None,
        score: Scores | None = None,
        num_examples: int | None = None,
        group_size: int | None = None,
        reference: int = 512,
        pairs: bool | None = None,
        budget: int | None = None,
        chunk_size: int = 128,
        reuse: bool = True,
        explainers: Sequence[Explainer] = (),
        class_names: ClassNames | None = None,
        by_class: bool = False,
        subgroups: str | None = None,
        pin: Sequence[int] = (),
        show_inputs: bool = True,
        every_n_validations: int = 1,
        pictures_every_n_validations: int = 5,
        max_overhead: float | None = None,
        dataloader_idx: int = 0,
        checkpoint_megabytes: float = 32,
        seed: int = 0,
        name: str = "mviz",
        on_error: Literal["warn", "raise"] = "warn",
        on_disagreement: Literal["withhold", "log"] = "withhold",
        measures: Sequence[str] = (),
        absence: bool = False,
        positions: int = 64,
        region: Any = None,
        heads: Sequence[str] | None = None,
        draws: int = 1,
        on_side_effect: Literal["warn", "disable", "ignore"] = "warn",
        report: bool = True,
        progress_bar: bool = False,
    ) -> None:
        self.config = SessionConfig(
            modalities=parse_modalities(modalities),
            **split(target=target, task=task, score=score, class_names=class_names),
            predict=resolve_function(predict),
            num_examples=num_examples,
            group_size=group_size,
            reference=reference,
            pairs=pairs,
            budget=budget,
            chunk_size=chunk_size,
            reuse=reuse,
            explainers=explainers,
            by_class=by_class,
            subgroups=subgroups,
            pin=pin,
            seed=seed,
            on_disagreement=on_disagreement,
            measures=measures,
            absence=absence,
            positions=positions,
            region=region,
            heads=heads,
            draws=draws,
        )
        self.name, self.dataloader_idx = require_name("name", name), at_least(0, "dataloader_idx", dataloader_idx)
        self.history, self.explanation_history = History(list(self.config.modalities)), ExplanationHistory()
        self._schedule = Schedule(every_n_validations, pictures_every_n_validations, self.config.explainers)
        self._keep_flags(show_inputs=show_inputs, report=report, progress_bar=progress_bar)
        self.on_error, self.on_side_effect, self._phase = on_error, on_side_effect, ""
        self._begin_with(max_overhead, checkpoint_megabytes)

    def _keep_flags(self, *, show_inputs: bool, report: bool, progress_bar: bool) -> None:
        self.show_inputs, self.report = require_flag("show_inputs", show_inputs), require_flag("report", report)
        self.progress_bar = require_flag("progress_bar", progress_bar)

    def _begin_with(self, max_overhead: float | None, checkpoint_megabytes: float) -> None:
        self._max_overhead = require_share("max_overhead", max_overhead)
        self._checkpoint_bytes = int(not_negative("checkpoint_megabytes", checkpoint_megabytes, 32) * 2**20)
        self._address, self._fit_session = ReturnAddress(), Session(self.config)
        self._reset(self._fit_session)

    def _reset(self, session: Session) -> None:
        """Begin a run of a trainer: set the attributes that ``RUNNING`` names."""
        self._error_policy = ErrorPolicy(self.on_error, on_side_effect=self.on_side_effect)
        self._run = TrainerRun(
            self.name,
            self._phase,
            session,
            self.history,
            self.explanation_history,
            self._schedule,
            self._error_policy,
            show_inputs=self.show_inputs,
            shown=["weakest_total"] if self.progress_bar else [],
        )
        self._closing = Closing(self._run, report=self.report)
