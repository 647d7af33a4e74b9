"""Pictures of a head that does not use a modality: no rounding is shown, and it is said what the head depends on."""

import re
from typing import Any

import pytest
import torch
from helpers.pictured import pictured
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME, CrossModalInteraction, ErrorAnalysis, UnimodalImportance
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

METHODS = (
    DIME(num_examples=1),
    UnimodalImportance(num_examples=1, num_totals=1),
    CrossModalInteraction(num_examples=1),
    ErrorAnalysis(num_examples=3),
)
EXAMPLES = 32


class KindAndSize(nn.Module):
    """Head ``kind`` reads both inputs, ``size`` the table alone: a bend and a sum, whose digits a sum rounds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.size = nn.Linear(7, 3), nn.Linear(3, 1)

    def forward(self, image: Tensor, table: Tensor) -> dict[str, Tensor]:
        both = torch.cat([image, table, image[:, :1] * table[:, :1]], 1)
        return {"kind": self.kind(both), "size": self.size(table.tanh()).squeeze(1) + 1 / 3}


def step(module: nn.Module, batch: Any) -> Tensor:
    found = module(batch["image"], batch["table"])
    return cross_entropy(found["kind"], batch["kind"]) + mse_loss(found["size"], batch["size"])


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, list[str]]]:
    """Head -> name of a picture, without the example's number -> the lines that are written in it."""
    generator = torch.Generator().manual_seed(1)
    image, table = torch.randn(2, EXAMPLES, 3, generator=generator)
    batch = {"image": image, "table": table, "kind": image.argmax(1), "size": table.sum(1)}
    modalities = parse_modalities({"image": "image", "table": "table"})
    session = Session(SessionConfig(modalities=modalities, num_examples=EXAMPLES, explainers=METHODS))
    session.collect(batch, range)
    session.dry_run(KindAndSize(), step=step)
    session.complete()
    session.run()
    session.run_heads(lambda name, error: pytest.fail(f"{name}: {error}"))
    heads = ((session, METHODS[:2]), (session.heads["size"], METHODS))
    return {one.name: dict(lines_of(one, chosen)) for one, chosen in heads}


def lines_of(session: Session, methods: Any) -> Any:
    for method in methods:
        result = session.explain(method).result
        drawing = session.drawing()
        _, lines = pictured(method, result, drawing, drawing.labels.moment("epoch 2"))
        yield from ((re.sub(r"_\d+$", "", name), found) for name, found in lines.items())


def test_a_value_is_called_by_its_head_and_rounding_is_nothing(written) -> None:
    lines = written["size"]["dime/example"]
    title, (split,) = " ".join(lines[:2]), [line for line in lines if "= UC" in line]
    assert title.startswith("Example ")
    assert ", head size, epoch 2: size " in title
    value = title.split(": size ")[1].split(",")[0]
    assert split == f"size: {value} = UC {value} + MI 0"
    sums = [line for line in written["size"]["errors/worst"] if "UC alone" not in line and "= UC" in line]
    assert len(sums) == 3
    assert all(line.startswith("size: ") and line.endswith(" + MI 0") for line in sums)
    assert not any("e-1" in line for lines in written["size"].values() for line in lines)
    assert any("(±" in line for line in written["kind"]["dime/example"])  # that of a true interaction is shown


@pytest.mark.slow
def test_the_note_says_that_a_head_does_not_depend_on_a_modality(written) -> None:
    assert "image by occlusion: head size does not depend on image." in written["size"]["importance/example"][-1]
    assert not any("does not depend" in line for line in written["kind"]["importance/example"])


def test_of_no_interaction_the_inputs_are_drawn_alone(written) -> None:
    lines = written["size"]["cross_modal/example"]
    assert "No part of image acts together with a part of table." in lines
    assert not any(line.startswith("with ") for line in lines)
