"""README and guides: code runs, links lead somewhere, and tables say what the package does.

Blocks with ``>>>`` are doctests, which pytest collects itself; the other Python blocks run here, page by page.
"""

import itertools
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import MultimodalMonitor, UnimodalCollapse, explain
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    ExampleRanking,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.testing import Product

ROOT = Path(__file__).parents[1]
README, INDEX = ROOT / "README.md", ROOT / "examples" / "README.md"
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
PAGES = [README, INDEX, *GUIDES]

HEADINGS = [
    "What it is for",
    "One picture",
    "Installation",
    "Twelve lines to attach it",
    "What appears",
    "How to read it",
    "What an alarm looks like",
    "Limits",
    "Cost",
    "Two commands",
    "Links",
]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDING = re.compile(r"<!-- needs (\w+) -->\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)
"""A block that runs only where a package is installed, and the package."""

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SCRIPT = re.compile(r"(?:tests|examples)/[\w/]+\.py|\btest_\w+\.py")
CODE = re.compile(r"`([^`]+)`")
BARE = re.compile(r"(?<![\w.\])`/])\.\d+")
"""A number without its leading zero; no version, no path."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def each(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=name_of)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCED.sub("", page.read_text("utf-8"))


def python_blocks(page: Path) -> list[str]:
    """Return the Python blocks that are no doctests, without those that need a package that is not installed."""
    text = NEEDING.sub(lambda block: block[0] if find_spec(block[1]) else "", page.read_text("utf-8"))
    found = [code for language, code in FENCED.findall(text) if language == "python"]
    return [code for code in found if ">>>" not in code]


def sections(text: str) -> list[str]:
    return re.split(r"^(?=#)", text, flags=re.MULTILINE)


def tables(text: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a page: rows of cells, the header first."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        yield [header, *body]


# -- What the pages take for granted -----------------------------------------------------------------------------------


class Examples(Dataset[dict[str, Tensor]]):
    """Pictures, texts and labels, all of which say the same."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 3, (count,), generator=generator)
        pictures = torch.randn(count, 3, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1)
        words = torch.randint(5, 8, (count, 4), generator=generator)
        words[:, 0] = labels + 2
        mask = torch.ones_like(words)
        self.columns = {"pixel_values": pictures, "input_ids": words, "attention_mask": mask, "labels": labels}

    def __len__(self) -> int:
        return len(self.columns["labels"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


class Classifier(LightningModule):
    """A user's model; it ends a training after two epochs, whatever a page says."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text, self.head = nn.Linear(192, 8), nn.Embedding(8, 8), nn.Linear(8, 3)

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        shown = attention_mask.unsqueeze(-1).float()
        words = (self.text(input_ids) * shown).sum(1) / shown.sum(1).clamp(min=1)
        return self.head(torch.tanh(self.image(pixel_values.flatten(1)) + words))

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        outputs = self(batch["pixel_values"], batch["input_ids"], batch["attention_mask"])
        return nn.functional.cross_entropy(outputs, batch["labels"])

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch["labels"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)

    def on_train_epoch_end(self) -> None:
        self.trainer.should_stop = self.current_epoch == 1


class Tokenizer:
    """As much of a Hugging Face tokenizer as is read."""

    words = ("[PAD]", "[UNK]", "one", "two", "three", "or", "so", "then")
    all_special_ids, pad_token_id, unk_token_id = (0, 1), 0, 1

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[number] for number in ids]


def taken_for_granted() -> dict[str, Any]:
    """Return what blocks use without making it."""
    torch.manual_seed(0)
    return {
        "model": Classifier(),
        "tokenizer": Tokenizer(),
        "train_loader": DataLoader(Examples(64, seed=0), batch_size=16),
        "validation_loader": DataLoader(Examples(64, seed=1), batch_size=16),
    }


# -- Code --------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@each([page for page in PAGES if python_blocks(page)])
@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # Lightning's, when a training is resumed
def test_the_python_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = taken_for_granted()
    for code in python_blocks(page):
        exec(compile(code, name_of(page), "exec"), namespace)  # noqa: S102  the pages are our own


def test_the_doctests_of_all_pages_are_collected(pytestconfig):
    assert pytestconfig.getoption("doctestglob") == ["*.md"]
    searched = [ROOT / path for path in pytestconfig.getini("testpaths")]
    pages = [page for page in PAGES if ">>>" in page.read_text("utf-8")]
    assert {page.name for page in pages} >= {"contribution_shares.md", "extending.md"}
    assert all({page, *page.parents} & set(searched) for page in pages)


def test_twelve_lines_attach_the_monitor():
    (code,) = python_blocks(README)
    assert len(code.splitlines()) == 12


# -- Shape -------------------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_its_parts_come_in_order():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) < 170
    assert re.findall(r"^## (.+)$", prose(README), re.MULTILINE) == HEADINGS


def test_the_first_picture_of_the_readme_has_three_labelled_parts():
    picture, *others = re.findall(r"!\[.*", prose(README))
    assert len(others) == 1
    section = next(part for part in sections(prose(README)) if picture in part)
    assert re.findall(r"^(\d)\. \*\*", section, re.MULTILINE) == ["1", "2", "3"]


def test_the_glossary_has_nine_words():
    (glossary,) = [table for table in tables(prose(README)) if table[0] == ["word", "meaning"]]
    assert len(glossary) - 1 == 9


def test_the_command_that_tests_is_below_the_marker_that_ci_reads():
    assert "<!-- tests -->\n```bash\n.venv/bin/python -m pytest\n```\n" in README.read_text("utf-8")


def test_the_index_lists_every_guide_once():
    lines = [line for line in prose(INDEX).splitlines() if line.startswith("- [")]
    listed = [link for line in lines for link in LINK.findall(line) if link.startswith("guides/")]
    assert sorted(listed) == [f"guides/{page.name}" for page in GUIDES]


# -- Links -------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each(PAGES)
def test_relative_links_lead_to_files_and_headings_that_exist(page):
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@each(PAGES)
def test_scripts_that_a_page_names_exist(page):
    for script in SCRIPT.findall(page.read_text("utf-8")):
        assert (ROOT / script).is_file() or list((ROOT / "tests").rglob(script)), script


@each(PAGES)
def test_tests_that_a_page_names_exist(page):
    for script, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text("utf-8")):
        assert f"\ndef {name}(" in (ROOT / script).read_text("utf-8"), f"{script}::{name}"


def test_every_promise_names_a_test():
    rows = [row for table in tables((ROOT / "examples/guides/promises.md").read_text("utf-8")) for row in table[1:]]
    assert len(rows) >= 30
    assert [promise for promise, test in rows if "::test_" not in test] == []


@each(PAGES)
def test_files_and_folders_of_the_package_that_a_page_names_exist(page):
    for place in re.findall(r"`(mviz_lightning/[\w/.]*)`", page.read_text("utf-8")):
        assert (ROOT / place).exists(), place


def test_the_page_for_contributors_names_every_room():
    page = (ROOT / "examples/guides/contributing.md").read_text("utf-8")
    rooms = [path.parent.name for path in (ROOT / "mviz_lightning").glob("*/__init__.py")]
    assert [room for room in rooms if not re.search(rf"\b{room}\b", page)] == ["kinds"]


# -- Numbers -----------------------------------------------------------------------------------------------------------


def is_measured(table: list[list[str]]) -> bool:
    """Tell whether a third or more of a table's cells, beside the first column, are numbers."""
    cells = [cell for row in table[1:] for cell in row[1:]]
    return 3 * sum(bool(re.match(r"\d", cell)) for cell in cells) >= len(cells)


@each(PAGES)
def test_every_table_of_numbers_and_every_picture_names_the_script_that_makes_it(page):
    for section in sections(FENCED.sub(lambda block: block[2] if block[1] == "bash" else "", page.read_text("utf-8"))):
        if "![" in section or any(map(is_measured, tables(section))):
            assert SCRIPT.search(section), section[:80]


@each(PAGES)
def test_numbers_have_a_leading_zero(page):
    assert not BARE.findall(prose(page))


def test_a_number_without_leading_zero_is_found():
    assert BARE.findall("total < .05, 0.05, v1.2, `.5`") == [".05"]


def test_measured_tables_are_told_from_others():
    found = {page.name: sum(map(is_measured, tables(prose(page)))) for page in PAGES}
    assert found["validation.md"] == 7
    assert found["collapse_rule.md"] == 4
    assert found["cost.md"] == 5
    assert found["logged_keys.md"] == 0


@pytest.mark.parametrize(("modalities", "rows"), [(2, "2,048"), (3, "6,272")])
def test_shares_take_the_rows_that_the_page_on_cost_says(modalities, rows):
    batch = tuple(torch.randn(256, 2) for _ in range(modalities))
    paths = {name: str(place) for place, name in enumerate("abc"[:modalities])}
    assert f"{explain(Product(), [batch], modalities=paths).rows:,}" == rows
    assert rows in (ROOT / "examples" / "guides" / "cost.md").read_text("utf-8")


# -- Keys and files ----------------------------------------------------------------------------------------------------

NAMES = ("image", "text", "audio")
KEYS = ROOT / "examples" / "guides" / "logged_keys.md"
SCARCE = {"alerts.jsonl", "alarm/<m>.txt", "sound/example_<i>/<m>.wav", "errors/rescued_step_<s>.png"}
"""Files that need an alarm, a sample rate, or an interaction that helps."""


class Three(Dataset[Any]):
    """Three vectors and a number; a class where the task is not regression."""

    def __init__(self, *, values: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.inputs = [torch.randn(64, 3, generator=generator) for _ in NAMES]
        total = torch.stack(self.inputs).sum(0)[:, 0]
        self.target = total if values else (total > 0).long() + (total > 1).long()

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return (*(values[index] for values in self.inputs), self.target[index])


class Sum(LightningModule):
    """A hidden layer on three vectors; one that is absent counts as zeros."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(9, 6), nn.Linear(6, outputs)

    def forward(self, *vectors: Tensor | None) -> Tensor:
        given = next(vector for vector in vectors if vector is not None)
        known = [torch.zeros_like(given) if vector is None else vector for vector in vectors]
        return self.head(torch.tanh(self.hidden(torch.cat(known, 1))))

    def training_step(self, batch: Any) -> Tensor:
        *vectors, target = batch
        outputs = self(*vectors)
        if target.is_floating_point():
            return nn.functional.mse_loss(outputs[:, 0], target)
        return nn.functional.cross_entropy(outputs, target)

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.training_step(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


FEW = {"num_examples": 1, "every_n_validations": 1}
TASKLESS = [
    DIME(masks=8, donors=4, **FEW),
    UnimodalImportance(steps=2, num_totals=4, **FEW),
    CrossModalInteraction(**FEW),
    MultimodalRepresentation(features_shown=1, examples_shown=2, every_n_validations=1),
    ExampleRanking(every_n_validations=1),
]
"""They log the same whatever the task."""


def trained(folder: Path, *, values: bool) -> Trainer:
    """Train with everything that logs, at two validations."""
    explainers = [*([] if values else TASKLESS), MultimodalPrediction(**FEW), ErrorAnalysis(**FEW)]
    monitor = MultimodalMonitor(
        dict(zip(NAMES, "012", strict=True)),
        target="3",
        num_examples=24,
        group_size=12,
        explainers=explainers,
        measures=["shapley", "intershap", "mm_shap"],
        absence=True,
        by_class=not values,
        subgroups=None if values else "3",
    )
    torch.manual_seed(0)
    loader = DataLoader(Three(values=values), batch_size=32)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callbacks = [monitor, UnimodalCollapse()]
    trainer = Trainer(
        default_root_dir=folder, max_epochs=2, callbacks=callbacks, logger=False, accelerator="cpu", devices=1, **quiet
    )
    trainer.fit(Sum(1 if values else 3), loader, loader)
    return trainer


def expanded(key: str) -> set[str]:
    """Return the keys that a documented one stands for."""
    if "<a>+<b>" in key:
        return {key.replace("<a>+<b>", f"{first}+{second}") for first, second in itertools.combinations(NAMES, 2)}
    key = key.replace("<c>", "0").replace("<s>", "0")  # the only class with enough examples
    return {key.replace("<m>", name) for name in NAMES}


PAIRS = "scores of pairs"
ANSWERS = "own answers"
"""Outputs whose keys ``test_keys.py`` asserts."""


def documented(*lacking: str) -> set[str]:
    """Return the keys of the guide's tables, without those that are logged for a lacking task or method alone."""
    scalars = [table for table in tables(prose(KEYS)) if table[0] == ["key", "meaning", "logged"]]
    rows = [row for table in scalars for row in table[1:] if not any(word in row[2] for word in lacking)]
    return set().union(*(expanded(key) for row in rows for key in CODE.findall(row[0])))


def logged(trainer: Trainer) -> set[str]:
    return {key for key in trainer.callback_metrics if key.startswith("mviz/")}


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classified")
    return trained(folder, values=False), folder


def test_the_table_of_scalars_is_what_a_classifier_logs(classified):
    assert logged(classified[0]) == documented("regression", PAIRS, ANSWERS)


@pytest.mark.slow
def test_the_table_of_scalars_is_what_a_regression_logs(tmp_path):
    unused = [type(explainer).__name__ for explainer in TASKLESS]
    assert logged(trained(tmp_path, values=True)) == documented("classification", "subgroups", PAIRS, ANSWERS, *unused)


def test_the_table_of_files_is_what_lies_in_the_folder(classified):
    folder = classified[1] / "mviz" / "version_0"
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    (table,) = [table for table in tables(prose(KEYS)) if table[0] == ["key", "file", "what"]]
    files = {file for row in table[1:] for file in CODE.findall(row[1])}
    patterns = {file: re.compile(re.sub(r"<\w+>", r"[\\w+]+", re.escape(file).replace("\\<", "<"))) for file in files}
    unknown = [path for path in written if not any(pattern.fullmatch(path) for pattern in patterns.values())]
    assert unknown == []
    missing = {file for file, pattern in patterns.items() if not any(map(pattern.fullmatch, written))}
    assert missing <= SCARCE
