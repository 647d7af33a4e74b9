"""Imports run downwards, files and functions are short, and importing the package imports nothing it need not."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

import mviz_lightning

PACKAGE = "mviz_lightning"
FOLDER = Path(mviz_lightning.__file__).parent

LAYERS: list[set[str]] = [
    {"errors", "records", "functional"},
    {"arguments", "plain"},
    {"batch", "sinks", "report"},
    {"evaluation", "metrics", "kinds"},
    {"explainers", "ranks"},
    {"collapse"},
    {"config", "rendering"},
    {"collection", "reading", "inquiry", "surveyor", "history", "album", "testing"},
    {"methods"},
    {"study"},
    {"analysis", "callbacks"},
    {""},  # the package itself
]
"""From the bottom to the top; a part may import what lies below it, and itself."""

ALONE = {
    "errors": set(),
    "records": set(),
    "functional": set(),
    "sinks": {"records", "errors"},
    "report": {"records", "errors"},
}
"""Parts that may import less than all that lies below them."""

WORLD = {
    "wandb": {"sinks"},
    "tensorboard": {"sinks"},
    "matplotlib": {"rendering", "kinds", "sinks"},  # sinks write PNG with it
}
"""Libraries, and the parts that may know them."""

Sources: TypeAlias = Mapping[str, str]
"""Path relative to the package -> text."""


@cache
def sources() -> Sources:
    return {str(path.relative_to(FOLDER)): path.read_text() for path in sorted(FOLDER.rglob("*.py"))}


def part_of(path: str) -> str:
    """Return the folder or module at the top of the package that a file belongs to."""
    return "" if path == "__init__.py" else Path(path).parts[0].removesuffix(".py")


def imported(path: str, text: str) -> Iterator[str]:
    """Yield the full names of all modules and objects that a file imports, wherever in the file."""
    package = [PACKAGE, *Path(path).parts[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)


def parts_imported(path: str, text: str) -> set[str]:
    """Return the parts of the package that a file imports; the package itself is the empty name."""
    parts = set()
    for name in imported(path, text):
        top, _, below = name.partition(".")
        if top == PACKAGE:
            part = below.partition(".")[0]
            parts.add(part if any(part in layer for layer in LAYERS) or _exists(part) else "")
    return parts


def _exists(part: str) -> bool:
    return (FOLDER / part).is_dir() or (FOLDER / f"{part}.py").exists()


def level(part: str) -> int:
    return next((number for number, layer in enumerate(LAYERS) if part in layer), -1)


def upward_imports(files: Sources) -> list[str]:
    found = []
    for path, text in files.items():
        own = part_of(path)
        if level(own) < 0:
            found.append(f"{path}: place {own!r} in LAYERS")
            continue
        below = {part for layer in LAYERS[: level(own)] for part in layer}
        allowed = ALONE.get(own, below) | {own}
        found += [f"{path} imports {part or PACKAGE!r}" for part in sorted(parts_imported(path, text) - allowed)]
    return found


def strangers(files: Sources) -> list[str]:
    """Return imports of libraries that only some parts may know."""
    return [
        f"{path} imports {name}"
        for path, text in files.items()
        for name in imported(path, text)
        for library, parts in WORLD.items()
        if library in name.split(".") and PACKAGE not in name and part_of(path) not in parts
    ]


def long_files(files: Sources, limit: int = 300) -> list[str]:
    return [f"{path}: {lines} lines" for path, text in files.items() if (lines := len(text.splitlines())) > limit]


def long_functions(files: Sources, limit: int = 30) -> list[str]:
    return [
        f"{path}: {node.name} has {lines} lines"
        for path, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := code_lines(node)) > limit
    ]


def registered_unions(files: Sources) -> list[str]:
    """Return registrations of a union with a generic function, which Python 3.10 refuses at import."""
    return [
        f"{path}: line {node.lineno} registers {ast.unparse(annotation)}"
        for path, text in files.items()
        for node in ast.walk(ast.parse(text))
        for annotation in registered(node)
        if is_union(annotation)
    ]


def registered(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what is given to ``register``: as an argument, or as annotations of a function below it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "register":
        yield from [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        bare = any(isinstance(one, ast.Attribute) and one.attr == "register" for one in node.decorator_list)
        first = [one.annotation for one in (*node.args.posonlyargs, *node.args.args) if one.annotation][:1]
        yield from first if bare else []


def is_union(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript):
        return ast.unparse(annotation.value).rpartition(".")[2] in {"Union", "Optional"}
    return isinstance(annotation, ast.BinOp)


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body without its docstring; a public signature has a line for each argument."""
    documented = ast.get_docstring(node, clean=False) is not None
    body = node.body[1:] if documented else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_imports_run_downwards() -> None:
    assert upward_imports(sources()) == []


def test_only_their_own_folders_know_loggers_and_plotting() -> None:
    assert strangers(sources()) == []


def test_files_are_short() -> None:
    assert long_files(sources()) == []


def test_functions_are_short() -> None:
    assert long_functions(sources()) == []


def test_no_union_is_registered() -> None:
    assert registered_unions(sources()) == []


def test_all_files_are_looked_at() -> None:
    assert {"batch/layout.py", "evaluation/evaluator.py", "study.py", "__init__.py"} <= set(sources())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("batch/x.py", "from mviz_lightning.evaluation import Query"),
        ("batch/x.py", "def f():\n    import mviz_lightning.study"),
        ("batch/x.py", "from mviz_lightning import study"),
        ("batch/x.py", "from ..callbacks.monitor import MultimodalMonitor"),
        ("batch/x.py", "from .. import explain"),
        ("functional/x.py", "from mviz_lightning.errors import ConfigurationError"),
        ("evaluation/x.py", "from mviz_lightning.metrics import EMAPGap"),
        ("sinks/x.py", "from mviz_lightning.functional import shares"),
        ("sinks/deep/x.py", "from ...functional import shares"),
        ("records.py", "from mviz_lightning.errors import MonitorWarning"),
        ("rendering/x.py", "from mviz_lightning.callbacks import MultimodalMonitor"),
        ("rendering/x.py", "from mviz_lightning import explain"),
        ("unplaced.py", "import torch"),
    ],
)
def test_an_upward_import_would_be_found(path: str, text: str) -> None:
    assert len(upward_imports({path: text})) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "evaluation/x.py",
            "from mviz_lightning.batch import Probe\nfrom mviz_lightning.evaluation.query import Query",
        ),
        ("evaluation/x.py", "from . import query\nfrom ..errors import ConfigurationError"),
        ("callbacks/x.py", "from mviz_lightning import study\nimport mviz_lightning.sinks\nimport torch"),
        ("sinks/x.py", "from mviz_lightning.records import Row\nfrom mviz_lightning.errors import MonitorWarning"),
        ("__init__.py", "from mviz_lightning.callbacks import MultimodalMonitor"),
    ],
)
def test_a_downward_import_is_allowed(path: str, text: str) -> None:
    assert upward_imports({path: text}) == []


@pytest.mark.parametrize(
    "text", ["import wandb", "from torch.utils.tensorboard import SummaryWriter", "import matplotlib.pyplot as plt"]
)
def test_a_logger_in_the_wrong_folder_would_be_found(text: str) -> None:
    assert len(strangers({"batch/x.py": text})) == 1


@pytest.mark.parametrize(("length", "found"), [(300, 0), (301, 1)])
def test_a_long_file_would_be_found(length: int, found: int) -> None:
    assert len(long_files({"x.py": "pass\n" * length})) == found


@pytest.mark.parametrize(("body", "found"), [(30, 0), (31, 1)])
@pytest.mark.parametrize("head", ["def f():", "async def f():", '@g\ndef f():\n    """A\n\n    B."""'])
def test_a_long_function_would_be_found(head: str, body: int, found: int) -> None:
    assert len(long_functions({"x.py": f"{head}\n" + "    pass\n" * body})) == found


def test_a_long_method_would_be_found() -> None:
    text = "class A:\n    def f(self):\n" + "        pass\n" * 31
    assert long_functions({"x.py": text}) == ["x.py: f has 31 lines"]


@pytest.mark.parametrize(
    "text",
    [
        "@f.register\ndef _(x: A | B): ...",
        "@f.register\nasync def _(x: 'A | None', y: int): ...",
        "@f.register\ndef _(x: Optional[A]): ...",
        "@f.register\ndef _(x: typing.Union[A, B], /): ...",
        "class C:\n    @f.register\n    def _(self, x: A | B): ...",
        "@f.register(A | B)\ndef _(x): ...",
        "f.register(cls=A | B, func=g)",
    ],
)
def test_a_registered_union_would_be_found(text: str) -> None:
    assert len(registered_unions({"x.py": text})) == 1


@pytest.mark.parametrize(
    "text",
    [
        "@f.register\ndef _(x: A, y: A | B) -> A | B: ...",
        "@f.register(A)\n@f.register(B)\ndef _(x: A | B): ...",
        "@f.register\ndef _(x: Tensor[A, B]): ...",
        "@other\ndef f(x: A | B): ...",
    ],
)
def test_a_union_that_is_not_registered_is_allowed(text: str) -> None:
    assert registered_unions({"x.py": text}) == []


UNWANTED = {
    "wandb", "tensorboard", "tensorboardX", "captum", "sklearn", "skimage", "transformers", "matplotlib", "torchvision",
    "pandas", "PIL",
}  # fmt: skip

PROGRAM = """
import json, sys
import lightning.pytorch, torchmetrics
before = set(sys.modules)
import {statement}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
print(json.dumps(sorted({{name for name in set(sys.modules) - before if name.startswith("torch.utils.tensorboard")}})))
"""


@cache
def newly_imported(statement: str) -> set[str]:
    """Return what a statement imports beyond what Lightning and torchmetrics import themselves, by top-level name."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)], capture_output=True, text=True, check=True
    )
    packages, boards = map(json.loads, run.stdout.splitlines()[-2:])
    return {*packages, *boards}


def test_importing_the_package_imports_no_logger_and_no_plotting() -> None:
    found = newly_imported(f"wave, {PACKAGE}")
    assert found & UNWANTED == set()
    assert "torch.utils.tensorboard" not in found


def test_what_an_import_imports_is_seen() -> None:
    assert {"wave", PACKAGE} <= newly_imported(f"wave, {PACKAGE}")
