"""What a training leaves as numbers: all methods, heads, alarms and stages; resumed, hidden and broken."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.collapsing import alarm, train, watching
from helpers.disk import SmallDisk
from helpers.headed import MODALITIES, Headed
from helpers.headed import loader as headed_loader
from helpers.toy import Toy, fit, loader, monitor, trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import MonitorWarning, MultimodalMonitor, explain
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.modalities import Text
from mviz_lightning.report import load
from mviz_lightning.sinks.archive import EXAMPLES, EXPLANATIONS, HISTORY

METHODS = (
    DIME(num_examples=2, every_n_validations=1),
    UnimodalImportance(num_examples=1, every_n_validations=1),
    CrossModalInteraction(num_examples=1, every_n_validations=1),
    MultimodalRepresentation(every_n_validations=1),
    MultimodalPrediction(num_examples=1, every_n_validations=1),
    ErrorAnalysis(every_n_validations=1),
    ExampleRanking(every_n_validations=1),
)

WORD = "unspeakable"


def kept(folder: Path) -> Any:
    """Return the run below a folder; there is one."""
    (file,) = folder.rglob(HISTORY)
    return load(file.parent)


def dime(**settings: Any) -> DIME:
    return DIME(**({"num_examples": 2, "every_n_validations": 1} | settings))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultimodalMonitor, Any]:
    """A training of two epochs with all methods, and what it kept."""
    folder = tmp_path_factory.mktemp("trained")
    watch = monitor(explainers=METHODS, class_names=["low", "mid", "high"])
    fit(folder, watch, logger=CSVLogger(folder, name="toy"))
    return watch, kept(folder)


def test_a_training_keeps_what_it_was(trained):
    run = trained[1]
    told = run.description
    assert run.name == "toy/version_0"
    assert told["model"] == {"class": "Toy", "parameters": sum(one.numel() for one in Toy().parameters())}
    assert [(one["name"], one["leaves"], one["kind"]) for one in told["modalities"]] == [
        ("image", ["0"], "tabular"),
        ("text", ["1"], "tabular"),
    ]
    assert told["heads"] == [
        {
            "name": "",
            "called": "",
            "task": "multiclass",
            "class_names": ["low", "mid", "high"],
            "score": "accuracy",
        }
    ]
    assert told["versions"]["torch"] == torch.__version__
    assert told["examples"] == {"recombined": 32, "group_size": 8}
    assert any(line.startswith("the model is called as self(batch[0], batch[1])") for line in told["observed"])
    assert told["configuration"]["monitor"]["num_examples"] == 32
    assert told["configuration"]["explainers"]["dime"]["num_examples"] == 2
    assert told["started"] <= told["finished"]


def test_the_history_is_that_of_the_monitor(trained):
    watch, run = trained
    assert [row.state() for row in run.history] == [row.state() for row in watch.history]


def test_each_method_keeps_its_lines(trained):
    _, run = trained
    assert run.remarks == []
    assert {one.result for one in run.explanations} == {
        "dime", "importance", "cross_modal", "representation", "prediction", "errors", "ranking",
    }  # fmt: skip
    assert {one.epoch for one in run.explained("dime")} == {0, 1}
    referred = {one.example for one in run.explanations} - {None}
    referred |= {part["example"] for one in run.explained("representation") for part in one.fields.get("examples", ())}
    told = (one.fields["activating"] for one in run.explained("prediction") if one.example is None)
    referred |= {name for activating in told for names in activating.values() for name in names}
    assert referred == run.examples.keys()


def test_weights_are_those_of_the_explanations(trained):
    watch, run = trained
    for entry in watch.explanation_history.entries:
        for explanation in entry.explanations:
            lines = [
                one
                for one in run.explained(entry.explainer, str(explanation.position))
                if (one.epoch, one.step) == (entry.epoch, entry.step)
            ]
            assert [one.fields["output"] for one in lines] == [output.output for output in explanation.outputs]
            for line, output in zip(lines, explanation.outputs, strict=True):
                assert line.fields["output_name"] == ["low", "mid", "high"][output.output]
                parts = {"value": output.value, "uc": output.unimodal, "mi": output.interaction}
                assert {name: line.fields[name] for name in parts} == pytest.approx(parts, rel=1e-5)
                for name, part in output.parts.items():
                    np.testing.assert_allclose(line.weights(name, "uc"), part.unimodal, rtol=1e-5)
                    np.testing.assert_allclose(line.weights(name, "mi"), part.interaction, rtol=1e-5)


def test_examples_hold_their_inputs(trained):
    _, run = trained
    data = loader(seed=1).dataset
    for example in run.examples.values():
        *values, label = data[example.position]
        assert (example.target, example.target_name) == (int(label), ["low", "mid", "high"][int(label)])
        for name, value in zip(("image", "text"), values, strict=True):
            assert example.modalities[name].view["values"] == [f"{one:.4g}" for one in value.tolist()]


def test_each_line_of_an_example_has_its_prediction(trained):
    for one in trained[1].explanations:
        if one.example is not None:
            assert one.fields["predicted_name"] in ("low", "mid", "high")
            assert one.fields["target_name"] == trained[1].examples[one.example].target_name


@pytest.mark.slow
def test_alarms_and_all_clears_are_kept_with_their_whole_text(tmp_path):
    train(tmp_path, "- text text - text text", watching(), alarm())
    run = kept(tmp_path)
    assert [(one.epoch, one.modality, one.state, one.urgent) for one in run.alerts] == [
        (2, "text", 2, True),
        (3, "text", 0, False),
        (5, "text", 2, True),
    ]
    assert run.alerts[0].title == "text: collapsed"
    assert "What to try:" in run.alerts[0].text
    assert run.alerts[1].text.startswith("text: used since epoch")
    assert run.description["configuration"]["alarm"]["patience"] == 2


@pytest.mark.slow
def test_heads_have_lines_of_their_own_and_share_examples(tmp_path):
    watch = MultimodalMonitor(MODALITIES, num_examples=32, group_size=8, explainers=[dime(num_examples=1)])
    module = Headed(text=1.0)
    trainer(tmp_path, watch, max_epochs=1).fit(module, headed_loader(), headed_loader())
    run = kept(tmp_path)
    assert [(one["name"], one["called"]) for one in run.description["heads"]] == [("", "noun"), ("verb", "verb")]
    assert {one.head for one in run.explanations} == {"", "verb"}
    by_head = [{one.example for one in run.explained(head=head)} for head in ("", "verb")]
    assert by_head[0] == by_head[1] == run.examples.keys()
    assert run.history[-1].heads == ["verb"]


def continued(folder: Path, epochs: int, checkpoint: Path | None = None) -> Path:
    """Train in one folder up to so many epochs; return the checkpoint."""
    logger = CSVLogger(folder, name="", version=0)
    chosen = trainer(folder, monitor(explainers=[dime()]), max_epochs=epochs, logger=logger)
    torch.manual_seed(0)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=checkpoint)
    chosen.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def raw(folder: Path, name: str) -> list[dict[str, Any]]:
    (file,) = folder.rglob(name)
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Experiment logs directory:UserWarning")
def test_a_resumed_training_goes_on_in_the_same_files(tmp_path):
    checkpoint = continued(tmp_path, 1)
    before, first = raw(tmp_path, EXAMPLES), kept(tmp_path)
    continued(tmp_path, 3, checkpoint)
    run = kept(tmp_path)
    assert raw(tmp_path, EXAMPLES) == before  # the examples stay the same during a training
    assert sorted({one.epoch for one in run.explanations}) == [0, 1, 2]
    assert [one.fields for one in run.explanations][: len(first.explanations)] == [
        one.fields for one in first.explanations
    ]
    assert run.description["started"] == first.description["started"]
    assert run.description["observed"][: len(first.description["observed"])] == first.description["observed"]


@pytest.mark.slow
def test_validation_and_test_add_rows_and_examples_of_their_own(tmp_path):
    watch = monitor(explainers=[dime(num_examples=1)])
    chosen = trainer(tmp_path, watch, max_epochs=1, logger=CSVLogger(tmp_path, name="", version=0))
    module = Toy()
    chosen.fit(module, loader(shuffle=True), loader(seed=1))
    chosen.validate(module, loader(seed=1), verbose=False)
    chosen.test(module, loader(seed=2), verbose=False)
    run = kept(tmp_path)
    assert [row.stage for row in run.history] == ["fit", "validate", "test"]
    assert {one.stage for one in run.explanations} == {"fit", "validate", "test"}
    for one in run.explanations:
        data = loader(seed=2 if one.stage == "test" else 1).dataset
        example = run.examples[one.example]
        shown = [f"{value:.4g}" for value in data[example.position][0].tolist()]
        assert example.modalities["image"].view["values"] == shown
    assert run.description["finished"] is not None


class Reader(Toy):
    """Reads a vector, and the words of a text by how many there are."""

    def __init__(self) -> None:
        super().__init__((4, 1))

    def forward(self, image: Tensor, text: list[str]) -> Tensor:
        counts = torch.tensor([[float(len(one.split()))] for one in text])
        return super().forward(image, counts - 2)


def spoken(count: int = 64) -> DataLoader[Any]:
    vectors, *_, labels = loader(count, seed=1).dataset.tensors
    words = [" ".join([WORD] * (1 + k % 4)) for k in range(count)]
    return DataLoader(list(zip(vectors, words, labels, strict=True)), batch_size=16)


@pytest.mark.slow
@pytest.mark.parametrize("show", [True, False])
def test_hidden_inputs_are_in_none_of_the_files(tmp_path, show):
    methods = [dime(), MultimodalRepresentation(every_n_validations=1), CrossModalInteraction(num_examples=1)]
    watch = monitor(explainers=methods, show_inputs=show)
    trainer(tmp_path, watch, max_epochs=1).fit(Reader(), spoken(), spoken())
    run = kept(tmp_path)
    texts = {path.name: path.read_text() for path in run.folder.glob("*.json*")}
    assert [name for name, text in texts.items() if WORD in text] == ([EXAMPLES] if show else [])
    assert run.description["show_inputs"] is show
    assert all(("values" in one.modalities["image"].view) is show for one in run.examples.values())
    if not show:
        assert {name for one in run.examples.values() for name in one.modalities["text"].segments} <= {
            f"word {k}" for k in (1, 2, 3, 4)
        }


def test_what_cannot_be_viewed_costs_a_warning_and_its_view_alone(tmp_path, monkeypatch):
    def broken(self: Any, example: int, *, inputs: bool = True) -> dict[str, Any]:
        raise RuntimeError("no view today")

    monkeypatch.setattr(Text, "view", broken)
    with pytest.warns(MonitorWarning, match="no view today"):
        trainer(tmp_path, monitor(explainers=[dime()]), max_epochs=1).fit(Reader(), spoken(), spoken())
    run = kept(tmp_path)
    assert {one.modalities["text"].view["view"] for one in run.examples.values()} == {"list"}
    assert len(run.explained("dime")) >= 2


class Unkept(DIME):
    """Cannot be kept."""

    def kept(self, result: Any, context: Any) -> Any:
        yield {"result": "dime", "value": 1.0}
        raise RuntimeError("no line today")


@pytest.mark.slow
def test_a_method_that_cannot_be_kept_costs_a_warning(tmp_path):
    unkept = Unkept(num_examples=1, every_n_validations=1, name="unkept")
    with pytest.warns(MonitorWarning, match="no line today"):
        fit(tmp_path, monitor(explainers=[unkept, dime()]), max_epochs=1)
    run = kept(tmp_path)
    assert [one.fields for one in run.explained("unkept")] == [{"value": 1.0}]
    assert len(run.explained("dime")) >= 2
    assert [path.name for path in run.folder.rglob("unkept/*.png")]


def trained_weights(folder: Path, *callbacks: Any) -> dict[str, Tensor]:
    return fit(folder, *callbacks).lightning_module.state_dict()


@pytest.mark.slow
def test_a_full_disk_costs_warnings_and_changes_no_weight(tmp_path, monkeypatch):
    expected = trained_weights(tmp_path / "plain")
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", SmallDisk(3000))
        with pytest.warns(MonitorWarning, match="No space left on device"):
            found = trained_weights(tmp_path / "full", monitor(explainers=[dime()]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for path in (tmp_path / "full").rglob("*.jsonl"):
        assert all(isinstance(json.loads(line), dict) for line in path.read_text().splitlines())


def test_nothing_of_the_files_is_in_checkpoints_or_copies(trained):
    watch, _ = trained
    state = pickle.dumps(watch.state_dict())
    assert b"archive" not in state.lower()
    assert pickle.loads(pickle.dumps(watch)).history[0].values == watch.history[0].values  # noqa: S301 our own


def test_a_run_without_explainers_has_no_examples(tmp_path):
    fit(tmp_path, monitor(report=False))
    (folder,) = {path.parent for path in tmp_path.rglob(HISTORY)}
    drawn = {"how_to_read.md", "shares.png"}
    assert {path.name for path in folder.iterdir()} == {HISTORY, "run.json", "summary.md", *drawn}


@pytest.mark.slow
def test_a_long_vocabulary_is_not_written_out(tmp_path):
    from mviz_lightning import Modality

    ids = torch.randint(1, 30, (64, 5), generator=torch.Generator().manual_seed(0))
    vectors, *_, labels = loader(64, seed=1).dataset.tensors

    class Tokens(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(30, 3)

        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            return super().forward(image, self.embed(text).mean(1))

    modalities = {"image": "0", "text": Modality("1", kind="text", decode=[f"{WORD}{k}" for k in range(30)])}
    data = DataLoader(TensorDataset(vectors, ids, labels), batch_size=16)
    watch = monitor(modalities=modalities, explainers=[dime()], show_inputs=False)
    trainer(tmp_path, watch, max_epochs=1).fit(Tokens(), data, data)
    run = kept(tmp_path)
    assert run.description["modalities"][1]["arguments"]["decode"] == "30 entries"
    assert not any(WORD in path.read_text() for path in run.folder.glob("*.json*"))


@pytest.mark.slow
def test_a_report_outside_a_training_is_a_run_of_one_row(tmp_path):
    torch.manual_seed(0)
    report = explain(
        Toy(), loader(128), modalities={"image": "0", "text": "1"}, target="2", num_examples=32, group_size=8,
        explainers=METHODS, class_names=["low", "mid", "high"],
    )  # fmt: skip
    for _ in range(2):  # saved again, it counts once
        report.save(tmp_path / "report")
    run = load(tmp_path / "report")
    (row,) = run.history
    assert (row.stage, row.epoch, row.step) == ("explain", 0, 0)
    assert {name: row.values[name] for name in report.values} == report.values
    assert row.values["rows"] == report.rows
    assert len(run.explained("dime")) == sum(len(one.outputs) for one in report.explanations["dime"])
    assert {one.stage for one in run.explanations} == {"explain"}
    assert run.description["model"]["class"] == "Toy"
    assert run.description["heads"][0]["class_names"] == ["low", "mid", "high"]
    assert raw(tmp_path, EXPLANATIONS)[0]["method"] == "dime"
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert '"stage":"explain"' in page.replace(": ", ":")


def test_a_report_beside_a_training_leaves_its_description(tmp_path):
    fit(tmp_path, monitor())
    run = kept(tmp_path)
    report = explain(
        Toy(), loader(64), modalities={"image": "0", "text": "1"}, target="2", num_examples=32, group_size=8
    )
    report.save(run.folder)
    after = load(run.folder)
    assert after.description == run.description
    assert [row.stage for row in after.history] == ["fit", "fit", "explain"]
