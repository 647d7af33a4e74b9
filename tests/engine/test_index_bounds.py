"""What does not exist is not looked up: on a GPU that would end the process, on a CPU it raises anyway."""

from contextlib import nullcontext

import pytest
import torch
from helpers.batches import floats, integers
from helpers.elsewhere import Elsewhere, moved
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mviz_lightning import explain
from mviz_lightning.batch import BatchSchema, parse_modalities
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.index_bounds import IndexBounds

TABLE, SEVEN = floats(5, 3), torch.tensor([[0, 7]])
LOOKUPS = {
    "an embedding": lambda index: functional.embedding(index, TABLE),
    "a bag of embeddings": lambda index: functional.embedding_bag(index, TABLE),
    "rows": lambda index: TABLE.index_select(0, index[0]),
    "entries": lambda index: TABLE.gather(0, index),
    "indexing": lambda index: TABLE[index],
    "indexing by columns": lambda index: TABLE.T[:, index],
}


class Ran(TorchDispatchMode):
    """Notes the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("lookup", LOOKUPS.values(), ids=LOOKUPS)
def test_what_does_not_exist_is_not_looked_up(lookup):
    assert torch.equal(_bounded(lookup, SEVEN % 5), lookup(SEVEN % 5))
    with Ran() as ran, pytest.raises(IndexError, match="index 7 is out of bounds for a dimension of size 5"):
        _bounded(lookup, SEVEN)
    assert not {"embedding", "_embedding_bag", "index_select", "gather", "index"} & set(ran.names)


def _bounded(lookup, index):
    with IndexBounds():
        return lookup(index)


def test_masks_and_negative_indices_are_right():
    with IndexBounds():
        assert torch.equal(TABLE[TABLE[:, 0] > 0], TABLE[TABLE[:, 0] > 0])
        assert torch.equal(TABLE[torch.tensor([-5])], TABLE[:1])
        with pytest.raises(IndexError, match="index -6 is out of bounds"):
            TABLE[torch.tensor([-6])]


class Late(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.image, self.text = nn.Linear(4, outputs), nn.Linear(3, outputs)

    def forward(self, image, text):
        return self.image(image) * self.text(text)


class Typed(nn.Module):
    """Takes words and their kinds, and calls neither as the batch does."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.head = nn.Embedding(50, 4), nn.Embedding(2, 4), nn.Linear(4, 3)

    def forward(self, kinds, words):
        return self.head((self.words(words) + self.kinds(kinds)).mean(1))


def test_a_wrong_call_that_is_tried_reaches_no_lookup():
    """By their order, words of 50 kinds come in the place of two; only the call by order exists."""
    batch = {"tokens": integers(48, 8, 6) + 2, "types": integers(2, 8, 6)}
    schema = BatchSchema.learn(batch, parse_modalities({"tokens": "tokens", "types": "types"}))
    with pytest.raises(Exception, match=r"IndexError: index 4\d is out of bounds for a dimension of size 2"):
        choose_call(Typed().eval(), schema, batch, None)


@pytest.mark.parametrize("there", [False, True])
def test_a_dry_run_on_a_gpu_stays_within_bounds(monkeypatch, there):
    """The stand-in for a GPU claims another device and computes here; on a CPU only the trial of calls is checked."""
    entered, enter = [], IndexBounds.__enter__
    monkeypatch.setattr(IndexBounds, "__enter__", lambda mode: (entered.append(mode), enter(mode))[1])
    torch.manual_seed(0)
    module = Late(3)
    batch = {"image": floats(48, 4), "text": floats(48, 3, seed=1), "label": integers(3, 48)}
    with Elsewhere() if there else nullcontext():
        explain(moved(module) if there else module, [batch], modalities=["image", "text"], target="label")
    assert len(entered) == 1 + there
