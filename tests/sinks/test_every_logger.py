"""What each logger holds of the monitor's records, read back from disk; and the table that the guide shows of it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.read_loggers import KINDS, READERS, WORDS, holds, sort

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "examples" / "guides" / "loggers.md"
PACKAGES = {name: name for name in READERS} | {"comet": "comet_ml"}
NAMES = {
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
    "mlflow": "MLflow",
    "comet": "Comet",
    "trackio": "Trackio",
    "swanlab": "SwanLab",
}
HERE = [name for name, package in PACKAGES.items() if find_spec(package)]
pytestmark = pytest.mark.skipif(len(HERE) < 3, reason="TensorBoard and W&B have tests of their own")
QUIET = {
    "COMET_DISABLE_AUTO_LOGGING": "1",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_MODE": "offline",
}
"""No package calls home or stands before the output, in the way of the others."""

TAKEN = {
    "tensorboard": {"scalar", "picture", "table", "text", "alert", "sound"},
    "wandb": set(KINDS),
    "mlflow": set(KINDS) - {"sound"},
    "comet": set(KINDS),
    "trackio": set(KINDS),
    "swanlab": set(KINDS) - {"sound"} | ({"sound"} if find_spec("soundfile") else set()),
}

here = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in HERE else pytest.mark.skip(f"without {PACKAGES[n]}")) for n in READERS]
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One process that wrote every kind of record to every logger, and trained with all of them and a broken one."""
    folder = tmp_path_factory.mktemp("loggers")
    command = [sys.executable, str(ROOT / "tests/sinks/loggers_program.py"), str(folder), *HERE]
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "tests"]))
    environment = {**os.environ, **QUIET, "PYTHONPATH": paths, "TRACKIO_DIR": str(folder / "trackio")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stderr
    kept = {name: list(READERS[name](folder / name)) for name in HERE}
    told = json.loads((folder / "told.json").read_text())
    pages = list(folder.glob("csv/*/*/mviz/report.html"))
    return SimpleNamespace(
        kept=kept,
        found={name: sort(iter(items)) for name, items in kept.items()},
        output=ended.stdout + ended.stderr,
        page=pages[0].read_bytes(),
        **told,
    )


def names_of(found, kind, name):
    """Return the names under which a logger keeps the record of a kind and name, and nothing else."""
    return [called for called, kept in found[kind].items() if holds(kind, name, kept)]


@here
def test_every_kind_that_a_logger_takes_is_read_back_as_it_was(run, name):
    read = {kind for kind in KINDS if all(names_of(run.found[name], kind, one) for one in WORDS)}
    assert read == TAKEN[name]


@here
def test_no_two_keys_meet(run, name):
    for kind in TAKEN[name]:
        plus, bare = (set(names_of(run.found[name], kind, one)) for one in WORDS)
        assert not plus & bare
        assert plus | bare == set(run.found[name][kind])


@here
def test_a_training_leaves_scalars_pictures_texts_and_the_page(run, name):
    kept = dict(run.kept[name])
    assert {"mviz/interaction", "mviz/total/image", "val_loss", "mviz/shares"} <= set(kept)
    assert {"mviz/summary", "mviz/summary.md"} & set(kept)
    pages = {kept[called] for called in ("mviz/report", "mviz/report.html") if called in kept}
    assert pages == ({run.page} if "file" in TAKEN[name] else set())


def test_a_logger_that_raises_at_every_call_costs_no_other(run):
    assert run.notes == ["", ""]
    assert any("ConnectionError" in text for text in run.warned)


def test_no_logger_warns_of_names(run):
    assert [text for text in run.warned if "ConnectionError" not in text] == []


def test_what_a_logger_does_not_take_is_one_line_of_the_log(run):
    assert run.output.count("TensorBoard does not accept files; they are in the folder of the run.") == 1


def shown(name: str) -> str:
    return "an alert" if "title" in name else f"`{name}`"  # alerts of some loggers have a title in place of a key


def table_of(found) -> str:
    """Return the table of the guide for the loggers that are installed: the name under which ``a+b`` stands."""
    lines = [f"| logger | {' | '.join(KINDS)} |", f"|{'---|' * (len(KINDS) + 1)}"]
    for name, kinds in found.items():
        cells = [", ".join(map(shown, sorted(names_of(kinds, kind, "a+b")))) or "-" for kind in KINDS]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_the_guide_is_what_was_read_back(run):
    page, table = GUIDE.read_text("utf-8"), table_of(run.found)
    if os.environ.get("WRITE_LOGGERS"):
        assert list(READERS) == HERE, "install all loggers first"
        begin, rest = page.split("<!-- table -->\n")
        GUIDE.write_text(f"{begin}<!-- table -->\n{table}<!-- end -->{rest.partition('<!-- end -->')[2]}", "utf-8")
        page = GUIDE.read_text("utf-8")
    for line in table.splitlines():
        assert line in page
