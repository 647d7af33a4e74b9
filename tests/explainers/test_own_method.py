"""Methods of one's own, each in one class: evaluated, drawn, logged, written, remembered; and the package's folders."""

import ast
import csv
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from helpers.batches import call_named
from helpers.toy import Toy, examples, fit, loader, monitor, trainer
from lightning.pytorch.loggers import TensorBoardLogger
from session.test_example_selection import MODULE, SAYS_1, Recording, on_ranks, share_of, world
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from mviz_lightning import ConfigurationError, explain, explainers
from mviz_lightning.engine import Query
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.explainers import Explainer, ProbeContext, Request, Responses, Result
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.session.dealt_examples import DealtExamples
from mviz_lightning.session.runner import MethodRun, Runner
from mviz_lightning.sinks.records import MarkdownText, Picture, PredictionRecord, Record, Table

# -- A method of one's own, as a user would write it -------------------------------------------------------------------


@dataclass(frozen=True)
class SwapEffect(PredictionRecord):
    """How far an example's outputs move when the text comes from another example."""

    effect: float


@dataclass(frozen=True, kw_only=True)
class SwapResult(Result):
    examples: Sequence[SwapEffect] = ()
    runs: int


@dataclass(frozen=True, kw_only=True)
class Swap(Explainer):
    """Swaps the last modality of each example with that of the next one."""

    name: str = "swap"
    num_examples: int = 3
    every_n_validations: int = 1

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        sources = torch.tensor(examples).unsqueeze(1).repeat(1, len(probe_context.probe.schema.names))
        swapped = sources.clone()
        swapped[:, -1] = (swapped[:, -1] + 1) % probe_context.probe.size
        return Request([Query(sources), Query(swapped)])

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> SwapResult:
        own, swapped = responses.outputs
        shown = []
        for place, example in enumerate(examples):
            found = outcome(own[place], probe_context.label(example), probe_context.task)
            effect = float((own[place] - swapped[place]).abs().sum())
            shown.append(SwapEffect(**vars(probe_context.prediction(example, found)), effect=effect))
        runs = responses.memory.get("runs", 0) + 1
        mean = sum(one.effect for one in shown) / len(shown)
        return SwapResult(values={"mean": mean}, memory={"runs": runs}, examples=shown, runs=runs)

    def draw(self, result: SwapResult, drawing: DrawingContext, when: str) -> Sequence[Record]:
        pixels, key = np.full((8, 8, 3), 17 * result.runs, np.uint8), self.name
        rows = [[one.position, one.effect] for one in result.examples]
        pictures = [
            Picture(f"{key}/example_{one.position}", pixels, drawing.labels.title(one, when)) for one in result.examples
        ]
        table = Table(f"{key}/effects", ["example", "effect"], rows)
        return [*pictures, table, MarkdownText(f"{key}/summary", f"run {result.runs}, {when}")]


def effect(module: Toy, data: Any, position: int, following: int) -> float:
    """The effect that a user would compute by hand, in the validation set."""
    image, text = data.tensors[:2]
    with torch.no_grad():
        own, swapped = module.eval()(image[[position] * 2], text[[position, following]])
    return float((own - swapped).abs().sum())


def test_a_method_of_ones_own_is_evaluated_logged_drawn_and_written(tmp_path: Path) -> None:
    watch, module = monitor(explainers=[Swap()]), Toy()
    found = fit(tmp_path, watch, module=module, logger=TensorBoardLogger(tmp_path, name="", version="tb"))

    table = list(csv.DictReader((tmp_path / "tb" / "mviz" / "swap" / "effects.csv").read_text().splitlines()))
    assert len(table) == 3
    positions = watch._run.session.positions
    for row in table:
        place = positions.index(int(row["example"]))
        expected = effect(module, examples(seed=1), positions[place], positions[(place + 1) % len(positions)])
        assert float(row["effect"]) == pytest.approx(expected, rel=1e-4)
    mean = sum(float(row["effect"]) for row in table) / 3
    assert float(found.callback_metrics["mviz/swap/mean"]) == pytest.approx(mean, rel=1e-5)
    assert [row.values["swap/mean"] for row in watch.history][-1] == pytest.approx(mean, rel=1e-5)
    assert watch.history[-1].values["rows"] == 32 * 8 + 2 * 3

    folder = tmp_path / "tb" / "mviz" / "swap"
    assert {path.name for path in folder.glob("*.png")} == {f"example_{row['example']}.png" for row in table}
    assert (folder / "summary.md").read_text() == "run 2, epoch 1 (step 7)"
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"images": 0, "scalars": 0}).Reload()
    assert {f"mviz/swap/example_{row['example']}" for row in table} <= set(events.Tags()["images"])
    assert [event.value for event in events.Scalars("mviz/swap/mean")][-1] == pytest.approx(mean, rel=1e-5)
    assert watch.explanation_history.entries == []  # it draws nothing over the epochs


@pytest.mark.slow
def test_what_it_remembers_survives_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"
    fit(tmp_path, monitor(explainers=[Swap()])).save_checkpoint(path)
    torch.load(path, weights_only=True)
    chosen = trainer(tmp_path, monitor(explainers=[Swap()]), max_epochs=3)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=path)
    summaries = {path.read_text() for path in tmp_path.rglob("swap/summary.md")}
    assert summaries == {"run 2, epoch 1 (step 7)", "run 3, epoch 2 (step 11)"}


def report(*methods: Explainer) -> Any:
    torch.manual_seed(0)
    batch = examples().tensors
    options = {"modalities": {"image": "0", "text": "1"}, "target": "2", "num_examples": 32, "group_size": 8}
    return explain(Toy(), [batch], explainers=methods, **options)


def test_explain_reports_draws_and_saves_it(tmp_path: Path) -> None:
    found = report(Swap(), explainers.DIME(num_examples=1))
    assert list(found.results) == ["swap", "dime"]
    assert list(found.findings) == ["swap"]
    assert list(found.explanations) == ["dime"]
    assert found.explanations["dime"] is found.results["dime"].examples
    names = [f"swap/example_{one.position}" for one in found.results["swap"].examples]
    assert [picture.key for picture in found.pictures()][:3] == names
    found.save(tmp_path)
    assert {f"swap/{path.stem}" for path in (tmp_path / "swap").glob("*.png")} == set(names)


@dataclass(frozen=True, kw_only=True)
class Twice(Swap):
    """Looks again at what it found, in a second round."""

    name: str = "twice"

    def plan_second_round(self, probe_context: ProbeContext, result: Result) -> Request:
        return self.plan(probe_context, [one.example for one in result.examples[:1]])

    def refine(self, probe_context: ProbeContext, result: Result, responses: Responses) -> Result:
        own, swapped = responses.outputs
        return SwapResult(values={"again": float((own - swapped).abs().sum())}, examples=result.examples, runs=0)


def test_a_second_round_refines_the_result() -> None:
    result = report(Twice()).results["twice"]
    assert result.values == {"again": pytest.approx(result.examples[0].effect, rel=1e-5)}


# -- One by one --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SingleSwap(Swap):
    """The same, an example at a time."""

    name: str = "single"
    fails: Sequence[int] = ()
    one_by_one = True

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> SwapResult:
        (example,) = examples
        if example in self.fails:
            raise RuntimeError(f"no luck with example {example}")
        return super().explain(probe_context, examples, responses)


def runner(ranks: Ranks) -> Runner:
    return Runner(world(), Recording(MODULE, call_named), ranks, 3)


def dealt(ranks: Ranks, method: Explainer, outputs: Tensor = SAYS_1) -> tuple[MethodRun, int]:
    """Return what a rank gets, and how many rows it evaluated."""
    found = runner(ranks)
    own = outputs if ranks.count == 1 else share_of(ranks, outputs)
    return found.run(method, own), getattr(found.evaluators.evaluator, "counted_rows", 0)


def test_examples_are_dealt_out_over_processes_and_one_that_fails_costs_only_itself() -> None:
    method = SingleSwap(num_examples=4, fails=[2])
    alone, rows = dealt(Ranks(), method)
    assert alone.result is not None
    assert [one.example for one in alone.result.examples] == [0, 1, 3]
    assert alone.notes == ["single: no luck with example 2"]
    effects = [one.effect for one in alone.result.examples]  # type: ignore[attr-defined]
    assert alone.result.values == {"mean": pytest.approx(sum(effects) / 3)}

    for found, own_rows in on_ranks(2, lambda ranks: dealt(ranks, method)):
        assert own_rows == rows / 2 == 4
        assert (found.rows, found.notes) == (8, alone.notes)
        assert [one.example for one in found.result.examples] == [0, 1, 3]
        assert [one.effect for one in found.result.examples] == pytest.approx(effects, abs=1e-12)


def test_all_at_once_a_failure_costs_the_method_and_results_are_the_same() -> None:
    single, whole = (dealt(Ranks(), kind(num_examples=4))[0].result for kind in (SingleSwap, Swap))
    assert single is not None
    assert whole is not None
    assert single.examples == whole.examples
    assert single.values == {"mean": pytest.approx(whole.values["mean"])}


def test_outputs_are_held_block_by_block_on_all_processes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    method, held = SingleSwap(num_examples=3, fails=[1]), list[int]()
    whole, rows = dealt(Ranks(), method)
    respond = DealtExamples._responses

    def responses(self: DealtExamples, plans: Sequence[Any], *given: Any) -> list[Responses]:
        held.append(len(plans))
        return respond(self, plans, *given)

    monkeypatch.setattr(DealtExamples, "_responses", responses)
    for bytes_held, blocks in ((24, [1, 1, 1]), (2 * 24, [2, 1]), (2**20, [3])):  # an example: 2 rows of 3 outputs
        monkeypatch.setattr("mviz_lightning.session.dealt_examples.OUTPUT_BYTES", bytes_held)
        held.clear()
        assert dealt(Ranks(), method) == (whole, rows)
        assert held == blocks
        notes = runner(Ranks()).run(method, SAYS_1, rows - 1).notes
        assert notes[-1] == f"single: 1 of 3 examples were left out, since the budget has {rows - 1} more rows"
    monkeypatch.setattr("mviz_lightning.session.dealt_examples.OUTPUT_BYTES", 24)
    for found, own_rows in on_ranks(2, lambda ranks: dealt(ranks, method)):  # 3 examples: two on one, one on the other
        assert own_rows == 4
        assert (found.result.examples, found.notes) == (whole.result and whole.result.examples, whole.notes)


@pytest.mark.parametrize(("budget", "kept"), [(8, 4), (7, 3), (1, 0)])
def test_a_budget_keeps_as_many_examples_as_it_allows(budget: int, kept: int) -> None:
    run = runner(Ranks()).run(SingleSwap(num_examples=4), SAYS_1, budget)
    assert run.result is not None
    assert len(run.result.examples) == kept
    left_out = f"single: {4 - kept} of 4 examples were left out, since the budget has {budget} more rows"
    assert run.notes == ([left_out] if kept < 4 else [])


def test_one_by_one_there_is_no_second_round() -> None:
    class Impossible(SingleSwap):
        def plan(self, *given: Any) -> Request:
            return Request(super().plan(*given).queries, second_round_rows=1)

    with pytest.raises(ConfigurationError, match="single: .* one_by_one=True requests derivatives or a second round"):
        dealt(Ranks(), Impossible())


# -- What a method cannot forget ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["plan", "explain", "draw"])
def test_a_method_that_forgets_a_part_cannot_be_built(missing: str) -> None:
    parts = {name: getattr(Swap, name) for name in ("plan", "explain", "draw") if name != missing}
    incomplete = type("Incomplete", (Explainer,), parts)
    with pytest.raises(TypeError, match=rf"abstract.* method .*{missing}"):
        incomplete()


HOME = Path(inspect.getfile(explainers)).parent
FOLDERS = sorted(path.parent.name for path in HOME.glob("*/__init__.py"))
METHODS = [
    method
    for folder in FOLDERS
    for method in vars(importlib.import_module(f"mviz_lightning.explainers.{folder}.explainer")).values()
    if inspect.isclass(method) and method.__module__.endswith(f"{folder}.explainer") and issubclass(method, Explainer)
]
ACROSS = {"multimodal_prediction": {"multimodal_representation"}}
"""Methods that read what another one remembers: where a feature's picture lies."""

SHOWN_AS = {"example_ranking": "tables"}
"""Methods without pictures."""


def test_there_is_a_folder_for_every_method() -> None:
    assert [method.__module__.split(".")[-2] for method in METHODS] == [
        folder for folder in FOLDERS if folder != "contribution_shares"
    ]
    for folder in FOLDERS:
        assert (HOME / folder / "explainer.py").exists()
        assert (HOME / folder / f"{SHOWN_AS.get(folder, 'figure')}.py").exists()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_exported_and_its_result_and_figure_lie_in_its_folder(method: type[Explainer]) -> None:
    assert getattr(explainers, method.__name__) is method
    assert method.__name__ in explainers.__all__
    room = method.__module__.rpartition(".")[0]
    assert get_type_hints(method.explain)["return"].__module__ == f"{room}.result"
    folder = room.rpartition(".")[2]
    source = (HOME / folder / "explainer.py").read_text()
    assert f"        from {room}.{SHOWN_AS.get(folder, 'figure')} import" in source  # inside of draw()


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_method_imports_nothing_of_other_methods(folder: str) -> None:
    names = [
        node.module or ""
        for path in (HOME / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    others = {name.split(".")[2] for name in names if name.startswith("mviz_lightning.explainers.")} & set(FOLDERS)
    assert others - {folder} == ACROSS.get(folder, set())
