"""The rules of the house: what each room may import, who may call, write and draw, and how long files may be."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

import mviz_lightning

PACKAGE = "mviz_lightning"
FOLDER = Path(mviz_lightning.__file__).parent

KNOWS = re.compile(r"Knows: (.+)\.$")
"""How the first line of a room ends: the rooms that it may import, and with them the rooms that those may import."""

FIGURES = (
    "figure.py",
    "pair_figure.py",
    "subset_figure.py",
    "over_epochs.py",
    "overview.py",
    "cases.py",
    "card.py",
    "thumbnails.py",
    "tables.py",
)
"""Files of a method that draw; nothing numerical imports them or plotting when it is imported."""

DOOR = "callbacks/lightning_packages.py"
"""The one file that imports Lightning, whichever of its two packages is there; beside a logger that is one of its."""

LIBRARIES = {
    "wandb": ("sinks/",),
    "tensorboard": ("sinks/",),
    "comet_ml": ("sinks/",),
    "mlflow": ("sinks/",),
    "swanlab": ("sinks/",),
    "trackio": ("sinks/", "loggers/"),
    "lightning": (DOOR, "cli/lightning_cli.py", "loggers/"),
    "pytorch_lightning": (DOOR, "loggers/"),
    "lightning_utilities": (DOOR,),
    "lightning_fabric": (),
    "matplotlib": ("plotting/", "modalities/", *(f"explainers/*/{name}" for name in FIGURES)),
}
"""Libraries, and the only folders and files that may import them."""

FOREIGN = {
    "engine/snapshots.py": "puts the user's own module back as it was",
    "engine/held_state.py": "puts what the user's own module holds back as it was",
    "engine/tensor_copies.py": "puts the user's own tensors back as they were",
    "engine/write_guard.py": "puts the user's own weights back as they were",
    "engine/processes.py": "tells the monitor's own metrics which processes gather",
    "explainers/contribution_shares/explainer.py": "tells its copy of the user's metric whether to gather",
    "observation/own_score.py": "tells its copy of the user's metric not to gather",
    "sinks/mlflow.py": "renames the monitor's scalars on their way through a logger, and gives its own method back",
    "callbacks/trainer_facts.py": "shows a replayed step a validation, and puts the trainer's stage back",
    "batch/adapters/objects.py": "fills a copy of an object of the user's, which may be frozen",
    "batch/tree.py": "fills a copy of a frozen dataclass of the user's",
}
"""Files that write attributes of objects that are not theirs, and why; ``trainer.should_stop`` is Lightning's way."""

Sources: TypeAlias = Mapping[str, str]
"""Path relative to the package -> text."""


@cache
def sources() -> Sources:
    return {str(path.relative_to(FOLDER)): path.read_text() for path in sorted(FOLDER.rglob("*.py"))}


def room_of(path: str) -> str:
    """Return the folder or module at the top of the package that a file belongs to; the package itself is ``""``."""
    return "" if path == "__init__.py" else Path(path).parts[0].removesuffix(".py")


def imported(path: str, text: str, *, at_import: bool = False) -> Iterator[str]:
    """Yield the full names of all modules and objects that a file imports; at its import alone, or wherever."""
    package = [PACKAGE, *Path(path).parts[:-1]]
    tree = ast.parse(text)
    for node in _run_at_import(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{name.name}" for name in node.names)


def _run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes outside functions and outside ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _run_at_import(child)


def rooms(files: Sources) -> dict[str, set[str]]:
    """Return every room with the rooms that its first line names."""
    found = {}
    for path, text in files.items():
        room = room_of(path)
        if path in {f"{room}/__init__.py", f"{room}.py", "__init__.py"}:
            first = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
            said = KNOWS.search(first)
            found[room] = set() if said is None or said[1] == "nothing" else set(said[1].split(", "))
    return found


def allowed(room: str, known: Mapping[str, set[str]]) -> set[str]:
    """Return all rooms that a room may import.

    Raises:
        RecursionError: Rooms know one another in a circle.
    """
    below = known.get(room, set())
    return below.union(*(allowed(other, known) for other in below))


def rooms_imported(path: str, text: str, known: Iterable[str]) -> set[str]:
    """Return the rooms that a file imports; the package itself is ``""``."""
    names = [name.split(".") for name in imported(path, text)]
    return {name[1] if len(name) > 1 and name[1] in known else "" for name in names if name[0] == PACKAGE}


def forbidden_imports(files: Sources, known: Mapping[str, set[str]]) -> list[str]:
    return [
        f"{path} imports {room or PACKAGE!r}"
        for path, text in files.items()
        for room in sorted(rooms_imported(path, text, known) - allowed(room_of(path), known) - {room_of(path)})
    ]


def strangers(files: Sources) -> list[str]:
    """Return imports of libraries that only some places may know."""
    return [
        f"{path} imports {name}"
        for path, text in files.items()
        for name in imported(path, text)
        for library, places in LIBRARIES.items()
        if library in name.split(".") and PACKAGE not in name and not any(fnmatch(path, f"{p}*") for p in places)
    ]


def drawing_imports(files: Sources) -> list[str]:
    """Return imports of drawing code that are run when numerical code is imported."""
    return [
        f"{path} imports {name}"
        for path, text in files.items()
        if room_of(path) not in {"plotting", "notebook", "modalities", "kinds", "callbacks", "session", "console", ""}
        and Path(path).name not in {*FIGURES, "drawing.py"}
        for name in imported(path, text, at_import=True)
        if name.startswith(f"{PACKAGE}.plotting") or {f"{part}.py" for part in name.split(".")} & set(FIGURES)
    ]


def written_from_outside(files: Sources) -> list[str]:
    """Return assignments to attributes of anything but ``self`` and ``cls``."""
    return [
        f"{path}: {target}"
        for path, text in files.items()
        if path not in FOREIGN
        for node in ast.walk(ast.parse(text))
        for target in targets(node)
        if target != "trainer.should_stop"
    ]


def targets(node: ast.AST) -> list[str]:
    """Return the attributes of others that a statement writes."""
    if isinstance(node, ast.Assign | ast.Delete):
        given = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        given = [node.target]
    else:
        called = ast.unparse(node.func) if isinstance(node, ast.Call) and node.args else ""
        sets = called.endswith(("setattr", "__setattr__", "delattr")) and ast.unparse(node.args[0]) not in OWN
        return [ast.unparse(node)] if sets else []
    flat = [
        part for target in given for part in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])
    ]
    return [ast.unparse(t) for t in flat if isinstance(t, ast.Attribute) and ast.unparse(t.value) not in OWN]


OWN = {"self", "cls"}

CALLED = {"forward", "module", "model", "pl_module", "predict"}
"""What the user's model is called by."""


def model_calls(files: Sources) -> list[str]:
    """Return calls of the user's model outside the rooms that run it."""
    return [
        f"{path}: {ast.unparse(node)}"
        for path, text in files.items()
        if room_of(path) not in {"engine", "observation"}
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CALLED
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


def test_every_room_says_on_its_first_line_what_it_is_for_and_what_it_may_know() -> None:
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert set(rooms(sources())) == {*folders, *modules, ""}
    for path, text in sources().items():
        if path in {"__init__.py", *(f"{room}/__init__.py" for room in folders), *(f"{m}.py" for m in modules)}:
            assert KNOWS.search(ast.get_docstring(ast.parse(text)).partition("\n")[0]), path


def test_the_root_holds_folders_and_few_modules() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} <= {"__init__.py", "__main__.py", "testing.py"}


@pytest.mark.slow
def test_a_room_imports_what_its_first_line_names() -> None:
    assert forbidden_imports(sources(), rooms(sources())) == []


@pytest.mark.slow
def test_a_room_names_no_more_than_it_imports() -> None:
    known = rooms(sources())
    used = {room: set[str]() for room in known}
    for path, text in sources().items():
        used[room_of(path)] |= rooms_imported(path, text, known)
    assert {room: named - used[room] for room, named in known.items() if named - used[room]} == {}


@pytest.mark.slow
def test_only_their_own_places_know_lightning_loggers_and_plotting() -> None:
    assert strangers(sources()) == []


def test_numerical_code_imports_no_drawing_code() -> None:
    assert drawing_imports(sources()) == []


def test_no_object_is_written_from_outside() -> None:
    assert written_from_outside(sources()) == []
    assert set(FOREIGN) <= set(sources())


def test_only_engine_and_observation_call_the_users_model() -> None:
    assert model_calls(sources()) == []
    assert model_calls({path.removeprefix("engine/"): text for path, text in sources().items()})


def test_files_are_short() -> None:
    assert long_files(sources()) == []


@pytest.mark.slow
def test_functions_are_short() -> None:
    assert long_functions(sources()) == []


@pytest.mark.slow
def test_no_union_is_registered() -> None:
    assert registered_unions(sources()) == []


def test_all_files_are_looked_at() -> None:
    assert {"batch/schema.py", "engine/evaluator.py", "session/session.py", "__init__.py"} <= set(sources())


HOUSE = {
    "": {"callbacks"},
    "callbacks": {"engine"},
    "engine": {"batch"},
    "batch": {"errors"},
    "sinks": set(),
    "errors": set(),
}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("batch/x.py", "from mviz_lightning.engine import Query"),
        ("batch/x.py", "def f():\n    import mviz_lightning.callbacks"),
        ("batch/x.py", "from mviz_lightning import callbacks"),
        ("batch/x.py", "from ..callbacks.multimodal_monitor import MultimodalMonitor"),
        ("batch/x.py", "from .. import explain"),
        ("sinks/deep/x.py", "from ...batch import Probe"),
        ("engine/x.py", "from mviz_lightning import explain"),
        ("unplaced.py", "import mviz_lightning.errors"),
    ],
)
def test_a_forbidden_import_would_be_found(path: str, text: str) -> None:
    assert len(forbidden_imports({path: text}, HOUSE)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/x.py", "from mviz_lightning.batch import Probe\nfrom mviz_lightning.engine.query import Query"),
        ("engine/x.py", "from . import query\nfrom ..errors import ConfigurationError"),
        ("callbacks/x.py", "from mviz_lightning import errors\nimport mviz_lightning.batch\nimport torch"),
        ("__init__.py", "from mviz_lightning.callbacks import MultimodalMonitor"),
    ],
)
def test_what_a_room_knows_may_be_imported(path: str, text: str) -> None:
    assert forbidden_imports({path: text}, HOUSE) == []


def test_rooms_that_know_one_another_would_be_found() -> None:
    with pytest.raises(RecursionError):
        allowed("batch", HOUSE | {"errors": {"batch"}})


@pytest.mark.parametrize(
    "text",
    [
        "import wandb",
        "from torch.utils.tensorboard import SummaryWriter",
        "import matplotlib.pyplot as plt",
        "def f():\n    from lightning.pytorch import Trainer",
        "import pytorch_lightning as pl",
    ],
)
@pytest.mark.parametrize("path", ["batch/x.py", "explainers/dime/explainer.py"])
def test_a_library_in_the_wrong_place_would_be_found(path: str, text: str) -> None:
    assert len(strangers({path: text})) == 1


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("engine/x.py", "from mviz_lightning.plotting.canvas import Canvas", 1),
        ("explainers/dime/explainer.py", "from mviz_lightning.explainers.dime.figure import draw", 1),
        ("explainers/dime/explainer.py", "def draw():\n    from mviz_lightning.explainers.dime.figure import draw", 0),
        ("explainers/dime/figure.py", "from mviz_lightning.plotting.canvas import Canvas", 0),
    ],
)
def test_drawing_code_in_the_wrong_place_would_be_found(path: str, text: str, found: int) -> None:
    assert len(drawing_imports({path: text})) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b = 1", 1),
        ("a.b += 1", 1),
        ("self.b, a.b = 1, 2", 1),
        ("del a.b", 1),
        ("self.a.b = 1", 1),
        ("setattr(a, 'b', 1)", 1),
        ("object.__setattr__(a, 'b', 1)", 1),
        ("self.b = 1\nobject.__setattr__(self, 'b', 1)\na = 1\na[0] = 1", 0),
    ],
)
def test_an_object_written_from_outside_would_be_found(text: str, found: int) -> None:
    assert len(written_from_outside({"x.py": text})) == found


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
    "pandas", "PIL", "torch_geometric", "tensordict", "monai", "omegaconf", "hydra",
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


@pytest.mark.slow
def test_what_an_import_imports_is_seen() -> None:
    assert {"wave", PACKAGE} <= newly_imported(f"wave, {PACKAGE}")
