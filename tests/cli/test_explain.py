"""``explain`` of a checkpoint against what the callback logged at that step in the training: equal, bit for bit."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers.stored_runs import write_run
from lightning.pytorch.cli import LightningCLI

from mviz_lightning import report
from mviz_lightning.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")  # those of jsonargparse and LightningCLI

CLOCK = {"seconds", "overhead"}
"""Values that the clock tells."""


def callback(path, **arguments):
    return {"class_path": path, "init_args": arguments}


def method(name, **arguments):
    return callback(f"mviz_lightning.explainers.{name}", every_n_validations=1, **arguments)


MONITOR = {
    "modalities": {"image": "0", "text": "1"},
    "num_examples": 32,
    "group_size": 8,
    "reference": 48,
    "explainers": [
        method("DIME", num_examples=2, masks=16),
        method("ErrorAnalysis", num_examples=2),
        method("MultimodalRepresentation", layer="head"),
    ],
}

CONFIG = {
    "seed_everything": 3,
    "trainer": {
        "max_epochs": 2,
        "val_check_interval": 0.5,
        "accelerator": "cpu",
        "precision": "bf16-mixed",
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": callback("lightning.pytorch.loggers.TensorBoardLogger", save_dir=".", name="logs"),
        "callbacks": [
            callback(
                "lightning.pytorch.callbacks.ModelCheckpoint",
                filename="{step}",
                save_top_k=-1,
                every_n_epochs=1,
                save_on_train_epoch_end=False,
            ),
            callback("lightning.pytorch.callbacks.EarlyStopping", monitor="mviz/total/text", patience=9),
            callback("mviz_lightning.MultimodalMonitor", **MONITOR),
            callback(
                "mviz_lightning.UnimodalCollapse",
                action=callback("mviz_lightning.actions.SaveCheckpoint"),
                min_skill=-9,
                expected=["text"],
            ),
        ],
    },
    "model": callback("helpers.project.Net"),
    "data": callback("helpers.project.Data"),
}

CHECKPOINTS = "logs/version_0/checkpoints/step={}.ckpt"


def contents(folder):
    """Return all files with their bytes."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training with weight averaging in bfloat16; its model does not use the text."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py"])
        Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
        LightningCLI(args=["fit", "--config", "config.yaml"])
    return folder


@pytest.fixture(autouse=True)
def _there(request, monkeypatch):
    if "trained" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("trained"))


def explained(*arguments, config="logs/version_0/config.yaml", steps=(4,), to="out"):
    files = [CHECKPOINTS.format(step) for step in steps]
    given = ["explain", "--config", config, "--ckpt", *files, "--output", to, *arguments]
    return main(given)


def lines(folder, name, step):
    read = (json.loads(line) for line in (Path(folder) / "mviz" / name).read_text().splitlines())
    return [line for line in read if line["step"] == step]


def test_two_checkpoints_are_a_film_of_what_the_training_logged_at_their_steps(trained, capsys):
    before = contents(trained / "logs")
    assert explained(steps=(8, 4), to="film") == 0  # in any order
    said = capsys.readouterr().out
    assert f"{CHECKPOINTS.format(4)}, epoch 0 (step 3)\n" in said
    assert "mviz: 2 checks, from epoch 0 (step 3) to epoch 1 (step 7)" in said
    assert said.rstrip().endswith(str(Path("film") / "mviz" / "report.html"))
    assert contents(trained / "logs") == before
    run, training = report.load("film"), report.load("logs/version_0")
    assert [(row.epoch, row.step) for row in run.history] == [(0, 3), (1, 7)]
    assert [row.step for row in training.history] == [1, 3, 5, 7]
    logged = {row.step: row for row in training.history}
    for row in run.history:
        kept = {name: value for name, value in row.values.items() if name not in CLOCK}
        assert kept == {name: value for name, value in logged[row.step].values.items() if name not in CLOCK}
        assert row.evidence == logged[row.step].evidence
        assert row.values["collapse/text"] == (2 if row.step > 1 else 0)
    for step in (3, 7):
        found = lines("film", "explanations.jsonl", step)
        assert found == lines("logs/version_0", "explanations.jsonl", step)
        assert {line["method"] for line in found} == {"dime", "errors", "representation"}
    assert {key: one.modalities for key, one in run.examples.items()} == {
        key: training.examples[key].modalities for key in run.examples
    }
    assert [(alert.step, alert.modality, alert.state) for alert in run.alerts] == [(3, "text", 2)]
    pictures = {path.name for path in Path("film").rglob("*.png")}
    assert sum("over_epochs" in name for name in pictures) == 2
    assert {"shares.png"} <= pictures


@pytest.mark.slow
def test_the_models_own_step_reads_the_epoch_and_the_step_of_the_checkpoint(trained, monkeypatch):
    from helpers.project import Net

    models = []
    monkeypatch.setattr(Net, "on_validation_end", lambda self: models.append(self))
    assert explained(to="moment") == 0
    assert set(models[0].seen) == {(0, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["arguments", "class", "list", "trainer"])
def test_a_monitor_beside_the_configuration_replaces_the_one_in_it(trained, capsys, form):
    arguments = {**MONITOR, "explainers": [], "measures": ["shapley"]}
    named = callback("mviz_lightning.MultimodalMonitor", **arguments)
    said = {"arguments": arguments, "class": named, "list": [named], "trainer": {"trainer": {"callbacks": [named]}}}
    Path("mviz.yaml").write_text(yaml.safe_dump(said[form]))
    assert explained("--monitor", "mviz.yaml", to=f"beside_{form}") == 0
    assert "--monitor replaces MultimodalMonitor of --config" in capsys.readouterr().out
    (row,) = report.load(f"beside_{form}").history
    (logged,) = (row for row in report.load("logs/version_0").history if row.step == 3)
    assert {key: row.values[key] for key in ("total/image", "score", "emap_gap", "collapse/text")} == {
        key: logged.values[key] for key in ("total/image", "score", "emap_gap", "collapse/text")
    }
    assert "shapley/image" in row.values
    assert not any(key.startswith("dime") for key in row.values)


@pytest.mark.slow
def test_a_script_with_a_cli_and_classes_of_its_own_is_named_by_them(trained, capsys):
    own = {**CONFIG, "model": {"outputs": 3}, "data": {"batch_size": 16}, "note": "mine", "ckpt_path": None}
    Path("own.yaml").write_text(yaml.safe_dump(own))
    named = "--model", "helpers.project.Net", "--data", "helpers.project.Data"
    assert (
        explained("--cli", "helpers.project.OwnCLI", *named, "--data.batch_size", "8", config="own.yaml", to="own") == 0
    )
    assert "which LightningCLI does not know" not in capsys.readouterr().out
    assert explained(*named, config="own.yaml", to="own_2") == 0
    assert "explain: without note, which LightningCLI does not know; if" in capsys.readouterr().out
    first, second = (report.load(folder).history[0].values for folder in ("own", "own_2"))
    assert first["total/image"] == second["total/image"]  # the examples are the checkpoint's, not the batches'


@pytest.mark.slow
def test_without_its_examples_a_checkpoint_is_measured_on_others_and_says_so(trained, capsys):
    content = torch.load(CHECKPOINTS.format(4), weights_only=True)
    del content["callbacks"], content["loops"]
    torch.save(content, CHECKPOINTS.format("bare"))
    assert explained(steps=("bare",), to="bare") == 0
    assert "which holds no examples of mviz: they are drawn anew" in capsys.readouterr().out
    (row,) = report.load("bare").history
    assert (row.epoch, row.step) == (0, 3)
    assert explained("--stage", "test", to="tested") == 0
    assert "on examples of the test" in capsys.readouterr().out
    (other,) = report.load("tested").history
    assert row.values["collapse/text"] == other.values["collapse/text"] == 2  # judged alone, without patience
    assert other.values["score"] != row.values["score"]


def changed(**sections):
    return {**CONFIG, **sections}


def trained_with(**arguments):
    return changed(trainer={**CONFIG["trainer"], **arguments})


WITHOUT = trained_with(callbacks=None)
WRONG = {
    "no monitor": (WITHOUT, [], r"(?s)has no MultimodalMonitor among trainer.callbacks; .*--monitor mviz.yaml:\nmodal"),
    "no model": (changed(model=None), [], r"has no section model: name the class here: --model project.Model"),
    "no class": (changed(model={"outputs": 3}), [], r"section model: names no class_path, .* --model project.Model"),
    "main": (changed(model="__main__.Net"), [], r"(?s)classes of a script that ran; name their module: --model train"),
    "misfit": (
        changed(model=callback("helpers.project.Net", outputs=4)),
        [],
        r"does not fit the model of --config: of another shape: head.weight \(3, 6\) in the file and \(4, 6\) in the m",
    ),
    "no data": (changed(data=None), [], r"(?s)cannot validate the model: .*val_dataloader.*--data project.Data"),
    "no batch": (CONFIG, ["--trainer.limit_val_batches", "0"], r"mviz saw no batch; are there validation data"),
    "option": (CONFIG, ["--outpt", "x"], r"(?i)unrecognized arguments: --outpt x; .*explain --help"),
    "class": (CONFIG, ["--model", "helpers.project.Nett"], r"(?s)--config .*helpers.project.Nett"),
    "cli": (
        CONFIG,
        ["--cli", "helpers.nowhere.CLI"],
        r"--cli helpers.nowhere.CLI cannot be imported: .*, as in --cli p",
    ),
}
"""Name -> configuration, further arguments, what is said."""


def test_what_is_missing_is_said_with_what_to_give(trained, capsys):
    for name, (config, more, message) in WRONG.items():  # in one test, for one training
        Path("wrong.yaml").write_text(yaml.safe_dump(config))
        assert explained(*more, config="wrong.yaml", to="none") == 2, name
        with pytest.raises(ValueError, match=message):
            raise ValueError(capsys.readouterr().err)
        assert not Path("none").exists(), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"--config is missing: .* --config lightning_logs/version_0/config.yaml"),
        (["--config", "config.yaml"], r"--ckpt is missing: give one checkpoint or several: --ckpt lightning_logs"),
        (
            ["--config", "no.yaml", "--ckpt", "a.ckpt"],
            r"--config no.yaml: there is no such file; there are broken.yaml, config.yaml, list.yaml\.",
        ),
        (["--config", "config.yaml", "--ckpt", "a.ckpt"], r"--ckpt a.ckpt: there is no such file"),
        (["--config", ".", "--ckpt", "junk.ckpt"], r"--config . is a folder; give a file: --config config.yaml"),
        (["--config", "list.yaml", "--ckpt", "junk.ckpt"], r"--config list.yaml holds a list, not the keys trainer"),
        (["--config", "broken.yaml", "--ckpt", "junk.ckpt"], r"(?s)--config broken.yaml is not YAML: .*line"),
        (
            ["--config", "config.yaml", "--ckpt", "junk.ckpt"],
            r"--ckpt junk.ckpt is no checkpoint that Lightning can read: torch.save did not write it",
        ),
        (
            ["--config", "config.yaml", "--ckpt", "weights.pt"],
            r"no checkpoint of a LightningModule, .* it holds a, b. Giv",
        ),
        (
            ["--config", "config.yaml", "--ckpt", "empty.ckpt"],
            r"--ckpt empty.ckpt is no checkpoint that Lightning can ",
        ),
        (["--config", "config.yaml", "--ckpt", "object.pt"], r"contains other objects. .*NO_WEIGHTS_ONLY_LOAD=1"),
        (
            ["--config", "config.yaml", "--ckpt", "junk.ckpt", "--monitor", "list.yaml"],
            r"(?s)names no modalities. .*\nmod",
        ),
        (
            ["--config", "config.yaml", "--ckpt", "junk.ckpt", "--monitor", "two.yaml"],
            r"holds 2 monitors with the names m",
        ),
        (
            ["--config", "config.yaml", "--ckpt", "junk.ckpt", "--output", "junk.ckpt"],
            r"is a file; give a folder: --output",
        ),
        (
            ["--config", "config.yaml", "--ckpt", "junk.ckpt", "--output", "logs/version_0"],
            r"--output logs/version_0 holds a run; give another folder: --output logs/version_0_2",
        ),
    ],
)
def test_files_that_are_none_are_said_before_a_model_runs(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_run(Path("logs/version_0/mviz"), epochs=1)
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("junk.ckpt").write_text("nothing")
    Path("empty.ckpt").write_bytes(b"")
    Path("list.yaml").write_text("- 7\n")
    Path(".hidden.yaml").write_text("- 7\n")
    Path("broken.yaml").write_text("a: [1\nb: 2\n")
    Path("two.yaml").write_text(yaml.safe_dump([{"modalities": {"image": "0", "text": "1"}}] * 2))
    torch.save({"a": torch.zeros(1), "b": torch.zeros(1)}, "weights.pt")
    torch.save({"state_dict": {}, "mine": Path("x")}, "object.pt")
    assert main(["explain", *arguments]) == 2
    with pytest.raises(ValueError, match=message):
        raise ValueError(capsys.readouterr().err)


def test_without_jsonargparse_the_line_to_install_it_is_said(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonargparse", None)
    assert main(["explain", "--config", __file__, "--ckpt", __file__]) == 2
    assert 'pip install "jsonargparse[signatures]"' in capsys.readouterr().err


def test_the_help_names_every_option_and_shows_what_to_type(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["explain", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    options = ("--config", "--ckpt", "--monitor", "--output", "--stage", "--model", "--data", "--cli", "--open")
    assert all(f"  {option}" in said or f"{option} " in said for option in options)
    assert "modalities:\n    image: pixel_values" in said
