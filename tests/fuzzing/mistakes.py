"""Random mistakes: in a batch, in what is said of it, and in what a model returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanSquaredError

from mviz_lightning import Modality
from mviz_lightning.explainers import DIME

COUNT = 24


class Odd:
    """An object that nothing knows."""

    def __repr__(self) -> str:
        return "Odd()"


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**40, 0.5, float("nan"), float("inf"), 1j, "", "a", "x", "no", "a.b", "a[0]"),
    *("a[", "a[9]", "a[:, 7]", "é", "../x", b"a", [], ["a"], ["a", "b"], [None], [0, 1], ("a",), {"a"}, {}, {"a": "b"}),
    *(
        {"values": "a"},
        {0: "x"},
        {"x": 0},
        range(3),
        np.array([0, 1]),
        np.float32(1),
        torch.tensor(1),
        torch.ones(2, 2),
    ),
    *(Odd, Odd(), len, str, torch.float32, lambda: None, lambda module, batch: batch["a"], Modality("a")),
)
"""Values that somebody may give for anything."""

LEAVES: Mapping[str, Callable[[Tensor], Any]] = {
    "none": lambda leaf: None,
    "number": lambda leaf: 3,
    "text": lambda leaf: "text",
    "texts": lambda leaf: ["a b", "c"] * (len(leaf) // 2) + ["d"] * (len(leaf) % 2),
    "nones": lambda leaf: [None] * len(leaf),
    "some none": lambda leaf: [None if place % 5 == 0 else one for place, one in enumerate(leaf)],
    "shorter": lambda leaf: leaf[:-1],
    "longer": lambda leaf: torch.cat([leaf, leaf]),
    "empty": lambda leaf: leaf[:0],
    "no features": lambda leaf: leaf.new_zeros(len(leaf), 0),
    "scalar": lambda leaf: leaf.sum(),
    "nan": lambda leaf: leaf.float() * float("nan"),
    "some nan": lambda leaf: leaf.float().index_fill(0, torch.arange(0, len(leaf), 4), float("nan")),
    "infinite": lambda leaf: leaf.float() / 0,
    "whole": lambda leaf: leaf.long(),
    "bool": lambda leaf: leaf > 0,
    "complex": lambda leaf: leaf * 1j,
    "half": lambda leaf: leaf.half(),
    "constant": lambda leaf: torch.zeros_like(leaf),
    "column": lambda leaf: leaf.unsqueeze(-1),
    "row": lambda leaf: leaf.unsqueeze(0),
    "numpy": lambda leaf: leaf.numpy(),
    "objects": lambda leaf: np.array([{"x": 1}] * len(leaf), dtype=object),
    "list": lambda leaf: list(leaf),
    "numbers": lambda leaf: leaf.tolist(),
    "ragged": lambda leaf: [one.reshape(-1)[: 1 + place % 2] for place, one in enumerate(leaf)],
    "mapping": lambda leaf: {"x": leaf, "y": leaf},
    "pair": lambda leaf: (leaf, leaf),
    "sparse": lambda leaf: leaf.float().to_sparse(),
    "meta": lambda leaf: leaf.to("meta"),
    "gradient": lambda leaf: leaf.float().requires_grad_(),
    "large": lambda leaf: leaf + 10**6,
    "negative": lambda leaf: -leaf - 1,
    "ignored": lambda leaf: torch.full_like(leaf, -100),
    "odd": lambda leaf: Odd(),
}
"""What a leaf may be instead."""

BATCHES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "itself": lambda batch: batch,
    "none": lambda batch: None,
    "text": lambda batch: "batch",
    "tensor": lambda batch: batch["a"],
    "tuple": lambda batch: tuple(batch.values()),
    "examples": lambda batch: [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=False)],
    "nested": lambda batch: {"inside": batch},
    "listed": lambda batch: [batch],
    "twice": lambda batch: [batch, batch],
    "odd": lambda batch: Odd(),
    "empty": lambda batch: {},
    "one": lambda batch: {
        name: leaf.narrow_copy(0, 0, 1) if isinstance(leaf, Tensor) and leaf.dim() else leaf
        for name, leaf in batch.items()
    },
    "without a": lambda batch: {name: leaf for name, leaf in batch.items() if name != "a"},
    "without y": lambda batch: {name: leaf for name, leaf in batch.items() if name != "y"},
    "numbered": lambda batch: dict(enumerate(batch.values())),
    "spaced": lambda batch: {f"{name} / {name}": leaf for name, leaf in batch.items()},
}
"""What a batch may be instead."""

OUTPUTS: Mapping[str, Callable[[Tensor], Any]] = {
    "itself": lambda scores: scores,
    "none": lambda scores: None,
    "text": lambda scores: "scores",
    "number": lambda scores: 3.0,
    "sum": lambda scores: scores.sum(),
    "flat": lambda scores: scores[:, 0],
    "no rows": lambda scores: scores[:0],
    "no outputs": lambda scores: scores[:, :0],
    "a row more": lambda scores: torch.cat([scores, scores[:1]]),
    "transposed": lambda scores: scores.T,
    "nan": lambda scores: scores * float("nan"),
    "some nan": lambda scores: scores.where(scores > 0, float("nan")),
    "infinite": lambda scores: scores / 0,
    "masked": lambda scores: scores.index_fill(1, torch.tensor([0]), float("-inf")),
    "constant": torch.zeros_like,
    "tiny": lambda scores: scores * 1e-30,
    "large": lambda scores: scores * 1e30,
    "whole": lambda scores: (scores * 10).long(),
    "bool": lambda scores: scores > 0,
    "complex": lambda scores: scores * 1j,
    "mixing": lambda scores: scores - scores.mean(0),
    "order": lambda scores: scores.sort(0).values,
    "random": torch.rand_like,
    "tuple": lambda scores: (scores, scores * 2),
    "mapping": lambda scores: {"logits": scores, "loss": scores.sum()},
    "empty mapping": lambda scores: {},
    "odd": lambda scores: Odd(),
    "list": lambda scores: scores.tolist(),
    "numpy": lambda scores: scores.detach().numpy(),
    "volume": lambda scores: scores[:, :, None, None].expand(-1, -1, 2, 2),
    "pairs": lambda scores: scores @ scores.T,
    "probabilities": lambda scores: scores.softmax(1),
    "key": lambda scores: {}["missing"],
    "index": lambda scores: list(scores)[10**6],
}
"""What a model may return instead, or raise."""

OPTIONS: Mapping[str, Any] = {
    "score": st.sampled_from([MulticlassF1Score(3), MulticlassF1Score(2), BinaryAccuracy(), MeanSquaredError()]),
    "explainers": st.sampled_from(
        [[DIME(num_examples=1, donors=2, masks=8)], [DIME(num_examples=99, masks=8, donors=2)]]
    ),
    "target": st.sampled_from(["y", "a", "b", "z", "y.0", "y[0]"]),
    "task": st.sampled_from(["multiclass", "binary", "multilabel", "regression"]),
    "num_examples": st.sampled_from([8, 16, 512]),
    "group_size": st.sampled_from([2, 4, 8, 64]),
    "budget": st.sampled_from([0, 10, 64, 300]),
    "pin": st.sampled_from([[0], [5, 5], [999]]),
    "class_names": st.sampled_from([["x", "y", "z"], [0, 1, 2], {0: "x", 1: "y", 2: "z"}, {"a": ["x", "y", "z"]}]),
    "subgroups": st.sampled_from(["y", "a", "z"]),
    "by_class": st.just(True),
    "absence": st.just(True),
    "measures": st.sampled_from([["shapley"], ["intershap", "mm_shap"]]),
    "heads": st.sampled_from([["a"], ["scores"]]),
    "region": st.sampled_from([0, "x", (0, 0)]),
    "draws": st.sampled_from([1, 2]),
    "pairs": st.booleans(),
    "reuse": st.booleans(),
    "positions": st.sampled_from([1, 4]),
    "chunk_size": st.sampled_from([2, 5]),
    "seed": st.sampled_from([-1, 5]),
    "predict": st.sampled_from([lambda module, batch: module(batch), lambda module, batch: batch["a"], "no.such"]),
}
"""Arguments of ``explain`` with values that are allowed, at least somewhere."""


class Returning(nn.Module):
    """A model that reads a mapping, or what is left of one, and returns something else than scores."""

    def __init__(self, outputs: str) -> None:
        super().__init__()
        self.outputs = outputs
        self.left, self.right = nn.Linear(3, 3), nn.Linear(2, 3)

    def forward(self, batch: Any) -> Any:
        while not isinstance(batch, dict):
            batch = {name: torch.stack([one[name] for one in batch]) for name in "ab"} if len(batch) > 1 else batch[0]
        leaves = batch.get("inside", batch)
        left, right = (torch.as_tensor(leaves[name]).float() for name in "ab")
        return OUTPUTS[self.outputs](self.left(left).tanh() * self.right(right) + self.left(left))


@dataclass(frozen=True)
class Mistake:
    """One thing that somebody may try: mostly wrong, in one or two places."""

    leaves: Mapping[str, str]
    first: bool
    batch: str
    outputs: str
    options: Mapping[str, Any]
    modality: Mapping[str, Any]
    modalities: Any = None

    def batches(self) -> list[Any]:
        """Return three batches; the mistake is in the last alone, or in all."""
        torch.manual_seed(0)
        found = []
        for number in range(3):
            leaves = {
                "a": torch.randn(COUNT // 3, 3),
                "b": torch.randn(COUNT // 3, 2),
                "y": torch.arange(COUNT // 3) % 3,
            }
            spoiled = self.first or number == 2
            wrong = {name: LEAVES[kind](leaves[name]) for name, kind in self.leaves.items() if spoiled}
            found.append(BATCHES[self.batch if spoiled else "itself"](leaves | wrong))
        return found

    def given(self) -> Any:
        """Return ``modalities=``; the arguments of a modality may already be refused."""
        return {"a": Modality("a", **self.modality), "b": "b"} if self.modalities is None else self.modalities


ARGUMENTS = [field.name for field in fields(Modality) if field.name != "values"]
PLACES = st.sampled_from(
    ["leaf", "leaf", "batch", "outputs", "outputs", "option", "option", "odd", "modality", "modalities"]
)


@st.composite
def mistakes(draw: Any) -> Mistake:
    places = draw(st.lists(PLACES, min_size=1, max_size=2))
    options: dict[str, Any] = {"target": "y"}
    for place in places:
        if place == "option":
            name = draw(st.sampled_from(sorted(OPTIONS)))
            options[name] = draw(OPTIONS[name])
        elif place == "odd":
            options[draw(st.sampled_from(sorted(OPTIONS)))] = draw(st.sampled_from(ODD))
    leaf, modality = draw(st.sampled_from("aby")), draw(st.sampled_from(ARGUMENTS))
    return Mistake(
        {leaf: draw(st.sampled_from(sorted(LEAVES)))} if "leaf" in places else {},
        draw(st.booleans()),
        draw(st.sampled_from(sorted(BATCHES))) if "batch" in places else "itself",
        draw(st.sampled_from(sorted(OUTPUTS))) if "outputs" in places else "itself",
        options,
        {modality: draw(st.sampled_from(ODD))} if "modality" in places else {},
        draw(st.sampled_from(ODD) | st.dictionaries(st.sampled_from("abc"), st.sampled_from(ODD), max_size=3))
        if "modalities" in places
        else None,
    )
