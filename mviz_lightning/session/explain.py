"""The monitor's measurement without a Trainer: one model, some batches, one report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from mviz_lightning.batch import Modalities, parse_modalities
from mviz_lightning.console.progress import shown_progress
from mviz_lightning.engine.model_call import Predict, resolve_function
from mviz_lightning.engine.progress import tell_begun, tell_evaluated, watched_by
from mviz_lightning.engine.tensor_copies import TensorCopies
from mviz_lightning.errors import ConfigurationError, describe_error
from mviz_lightning.errors.arguments import in_short, is_whole, require_flag
from mviz_lightning.explainers import Explainer, Result
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.origin import with_origin
from mviz_lightning.observation.ways import StepFunction
from mviz_lightning.session.config import EXAMPLES, SessionConfig
from mviz_lightning.session.head_arguments import ClassNames, Scores, Targets, Tasks, split
from mviz_lightning.session.remarks import write_log
from mviz_lightning.session.run_description import (
    described_heads,
    described_run,
    explainer_arguments,
    session_arguments,
)
from mviz_lightning.session.runner import MethodRun
from mviz_lightning.session.session import Measurement, Session
from mviz_lightning.session.share_report import ShareReport


def explain(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    modalities: Modalities,
    target: Targets | None = None,
    task: Tasks | None = None,
    predict: Predict | str | None = None,
    step: StepFunction | None = None,
    score: Scores | None = None,
    num_examples: int | None = None,
    group_size: int | None = None,
    pairs: bool | None = None,
    budget: int | None = None,
    chunk_size: int = 128,
    reuse: bool = True,
    explainers: Sequence[Explainer] = (),
    class_names: ClassNames | None = None,
    by_class: bool = False,
    subgroups: str | None = None,
    pin: Sequence[int] = (),
    seed: int = 0,
    measures: Sequence[str] = (),
    absence: bool = False,
    positions: int = 64,
    region: Any = None,
    heads: Sequence[str] | None = None,
    draws: int = 1,
    progress: bool | None = None,
) -> ShareReport:
    """Measure how much of a model's outputs each modality explains alone, and how much their interactions explain.

    The model is evaluated on its own device, in evaluation mode, and left as it was found. In a distributed program,
    every process measures on its own.

    Args:
        model: Any module.
        batches: A loader, or some batches, all of which are read; a uniform sample of their examples is used.
        modalities: Name -> a leaf of the batch, several leaves that belong together, or a ``Modality``.
        target: Path of the labels: numbers, or strings that name classes; -100 marks an example without a label.
        task: Meaning of the outputs; by default guessed from target and outputs, and written to the log.
        predict: ``(model, batch) -> outputs``, if ``forward`` cannot be called with the batch.
        step: ``(model, batch) -> anything``, a function of your own that computes a loss or a metric, or the name of a
            method of the model such as ``"validation_step"``. One call of it shows how the model is called, which
            outputs are the scores, where the labels are and what the task is.
        score: A torchmetric of predictions and targets. By default the one that ``step`` updates. Without one: accuracy
            for classes, label-ranking average precision for labels, the target's value at the highest output for soft
            labels, R2 for a regression.
        num_examples: Number of examples that are recombined; by default 128, or 256 if encodings are reused and the
            fusion is cheap.
        group_size: Number of examples recombined with one another; by default 16, or 32 under the same condition.
        pairs: Whether to measure the share of each pair; by default with three and four modalities.
        budget: Largest number of rows: shares first, then explainers in order, with as many examples as it allows.
        chunk_size: Number of rows in a forward.
        reuse: Whether submodules that depend on one modality run only once for each distinct input.
        explainers: Methods that explain predictions, for example ``[DIME()]``.
        class_names: Names of the outputs, for pictures and tables: a list, or a dict, index -> name or name -> index.
        by_class: Whether total effects are also measured within each class of the labels.
        subgroups: Path of a leaf whose values name groups of examples, for example ``"metadata.site"``; total effects
            are also measured within each group.
        pin: Indices of examples that are always explained.
        seed: Seed of all random draws.
        measures: Measures of other papers beside the shares: ``"shapley"``, ``"intershap"``, ``"mm_shap"``.
        absence: Whether the scores without each modality are measured too, if the model accepts its absence.
        positions: Number of positions of an example at which outputs of maps ``(B, C, H, W)`` and sequences
            ``(B, T, C)`` are read, a fixed sample in proportion to the labels.
        region: The positions for which single predictions are explained: a class (index or name), a position
            ``(12, 40)``, a box ``(slice(0, 9), slice(0, 9))``, or a function from the ``(H, W)`` labels of an example
            to a mask. By default the most frequent class of the example that is not the most frequent of all.
        heads: Names of the heads that are measured. The first is the main head, unless the model shows another. By
            default all that ``step`` compares with labels, or that ``target`` names by a dict, head -> path.
        draws: Number of draws over which the outputs are averaged, for a model that samples in evaluation mode (dropout
            that stays on, a variational latent). Each draw counts as rows of its own. By default 1.
        progress: Whether a bar on standard error shows the current work and its progress. By default it appears in a
            terminal or a notebook after 2 seconds, and disappears at the end.

    Raises:
        ConfigurationError: The model or the batches cannot be measured as asked.

    Example:
        >>> import torch
        >>> from mviz_lightning import explain
        >>> from mviz_lightning.testing import Additive
        >>> _ = torch.manual_seed(0)
        >>> batch = (torch.randn(128, 3), torch.randn(128, 5))
        >>> result = explain(Additive([3, 5]), [batch], modalities={"image": "0", "text": "1"}, task="regression")
        >>> round(result.values["interaction"], 6)
        0.0
    """
    config = SessionConfig(
        modalities=parse_modalities(modalities),
        **split(target=target, task=task, score=score, class_names=class_names),
        predict=resolve_function(predict),
        num_examples=num_examples,
        group_size=group_size,
        reference=num_examples if is_whole(num_examples) and num_examples else 2 * EXAMPLES,
        pairs=pairs,
        budget=budget,
        chunk_size=chunk_size,
        reuse=reuse,
        explainers=explainers,
        by_class=by_class,
        subgroups=subgroups,
        pin=pin,
        seed=seed,
        measures=measures,
        absence=absence,
        positions=positions,
        region=region,
        heads=heads,
        draws=draws,
    )
    wanted = progress if progress is None else require_flag("progress", progress)
    return _collect_and_report(Session(config), model, batches, step, progress=wanted)


def _collect_and_report(
    session: Session, model: nn.Module, batches: Iterable[Any], step: StepFunction | None, *, progress: bool | None
) -> ShareReport:
    """Measure and explain, and write the lines for the log; showing progress changes nothing else."""
    try:
        with shown_progress("explain", wanted=progress) as watcher, watched_by(watcher):
            return _collected_and_reported(session, model, batches, step)
    finally:
        write_log(session.remarks.pop_lines())


def _collected_and_reported(
    session: Session, model: nn.Module, batches: Iterable[Any], step: StepFunction | None
) -> ShareReport:
    with TensorCopies().kept():
        _collect(session, model, batches, step)
        session.complete()
        return replace(_report(session), _description=_described(session, model))


def _report(session: Session) -> ShareReport:
    """Measure, explain and report: all heads by one method before the next method begins, since heads share rows."""
    sessions = {"": session, **session.heads}
    measured = {"": session.run()} | session.run_heads(partial(_failed, session))
    runs: dict[str, list[MethodRun]] = {name: [] for name in measured}
    for explainer in session.config.explainers:
        spent = sum(one.rows for one in measured.values()) + sum(run.rows for found in runs.values() for run in found)
        for name in measured:
            if sessions[name].explains(explainer):
                run = _explained(session, name, explainer, spent)
                runs[name] += [] if run is None else [run]
        session.forget_outputs()
    notes = session.pop_notes()
    heads = {name: _report_of(sessions[name], measured[name], runs[name]) for name in measured if name}
    return replace(_report_of(session, measured[""], runs[""]), notes=notes, heads=heads)


def _explained(session: Session, head: str, explainer: Explainer, spent: int) -> MethodRun | None:
    """Apply a method to a head; a further head that fails is left out alone, with a note."""
    try:
        return (session.heads[head] if head else session).explain(explainer, spent)
    except Exception as error:
        if not head:
            raise
        _failed(session, head, error)
        return None


def _failed(session: Session, head: str, error: Exception) -> None:
    session.remarks.say(f"head {head} could not be measured: {describe_error(error)}")


def _described(session: Session, model: nn.Module) -> dict[str, Any]:
    """Return the description of the measurement, without its numbers."""
    configuration = {
        "explain": session_arguments(session.config),
        "explainers": explainer_arguments(session.config),
        "alarm": None,
    }
    told = described_run(session, model, described_heads(session))
    return told | {"show_inputs": True, "configuration": configuration}


def _report_of(session: Session, found: Measurement, runs: Sequence[MethodRun]) -> ShareReport:
    """Return the report of one head."""
    config, drawing = session.config, session.drawing()
    costs: list[Measurement | MethodRun] = [found, *runs]
    return ShareReport(
        found.values | _measured(config, runs),
        list(config.modalities),
        session.probe.groups.numel() if session.probe else 0,
        sum(cost.rows for cost in costs),
        sum(cost.seconds for cost in costs),
        found.noise_floor,
        _results(runs, drawing),
        "",
        found.advice,
        found.patterns,
        _runs=runs,
        _drawing=drawing,
    )


def _results(runs: Sequence[MethodRun], drawing: DrawingContext) -> dict[str, Result]:
    """Return what each method found, with all that a notebook needs to show it."""
    return {
        run.explainer.name: with_origin(run.result, run.explainer, drawing) for run in runs if run.result is not None
    }


def _measured(config: SessionConfig, runs: Sequence[MethodRun]) -> dict[str, float]:
    """Return the values of the measures that run as methods, by the names that the monitor logs."""
    named = [(run.explainer.name, run.result) for run in runs if run.result is not None]
    return {
        f"{name}/{key}": value
        for name, result in named
        if name in config.measures
        for key, value in result.values.items()
    }


def _collect(session: Session, model: nn.Module, batches: Iterable[Any], step: StepFunction | None) -> None:
    _require_batches(model, batches)
    seen = 0
    tell_begun("collecting")
    session.meet(model)
    for batch in batches:
        first = seen
        seen += session.collect(batch, lambda count, first=first: range(first, first + count))  # type: ignore[misc]
        tell_evaluated(seen - first)
        session.dry_run(model, step=step)
        session.raise_failure()
    if not seen and not session.dry_run_done:
        raise ConfigurationError("batches holds no batch; pass a loader or a list of batches.")
    session.check()


def _require_batches(model: Any, batches: Any) -> None:
    """Raise a ConfigurationError if the model is no module, or ``batches`` neither a loader nor a list of batches."""
    if not isinstance(model, nn.Module):
        raise ConfigurationError(
            f"model={in_short(model)}: give a torch.nn.Module; of a function, model=torch.nn.Identity() and "
            "predict=lambda module, batch: function(batch)."
        )
    if isinstance(batches, Mapping | Tensor):
        raise ConfigurationError("batches is a single batch; pass a loader or a list of batches: [batch].")
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        raise ConfigurationError(
            "batches is a data set; pass a loader, for example DataLoader(dataset, batch_size=16)."
        )
    if isinstance(batches, str) or not (isinstance(batches, Iterable) or hasattr(batches, "__getitem__")):
        raise ConfigurationError(f"batches={in_short(batches)}: pass a loader or a list of batches, [batch].")
