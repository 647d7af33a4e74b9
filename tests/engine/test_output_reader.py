"""The reader of outputs: the default keeps one row of scores an example, and rows may read another example."""

import torch
from helpers.batches import probe_of
from torch import Tensor, nn

from mviz_lightning.engine import Evaluator, Query, join
from mviz_lightning.engine.output_reader import RowReader


def test_the_default_reader_returns_what_scores_returned():
    outputs = torch.randn(4, 3)
    read = RowReader()((None, outputs), Query(torch.zeros(4, 2, dtype=torch.long)))
    assert torch.equal(read, outputs)


def test_rows_that_read_other_examples_are_different_rows():
    sources = torch.tensor([[0, 1], [0, 1], [2, 1]])
    reading = Query(sources, read=torch.tensor([0, 1, 2]))
    distinct, responses = join([reading, Query(sources)])
    assert distinct.read is not None
    assert torch.equal(distinct[responses[0]].read, torch.tensor([0, 1, 2]))
    assert torch.equal(distinct[responses[1]].read, torch.full((3,), -1))
    assert len(distinct) == 5  # the last query repeats a row
    assert join([Query(sources)])[0].read is None


class _Read:
    """Returns the example that each row reads."""

    def __call__(self, outputs: Tensor, rows: Query) -> Tensor:
        assert rows.read is not None
        return torch.stack([rows.read.double(), outputs[:, 0]], 1)


def test_every_row_of_a_forward_is_read_as_its_query_says():
    batch = {"x": torch.randn(7, 2), "y": torch.randn(7, 2)}
    probe = probe_of(batch, {"x": "x", "y": "y"})
    evaluator = Evaluator(nn.Identity(), lambda _, batch: batch["x"], chunk_size=3, reader=_Read())
    examples = torch.arange(7)
    rows = Query.aligned(examples, 2)
    read = examples.flip(0)
    (found,) = evaluator(probe, [Query(rows.sources, read=read)])
    assert torch.equal(found[:, 0], read.double())
    assert torch.equal(found[:, 1], batch["x"][:, 0].double())
