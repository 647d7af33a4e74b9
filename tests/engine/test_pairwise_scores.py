"""Models that score every example against every other."""

from typing import Any

import torch
from helpers.batches import clip_model, floats, probe_of, seeded, token_leaves
from torch import Tensor, nn

from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.pairwise_scores import all_pairs_call, diagonal
from mviz_lightning.engine.query import Query
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

COUNT = 12
GRID = Query(torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT)))


SEEN: list[int] = []


class Dual(nn.Module):
    """``forward(image, text)``: similarities of all pairs, ``(B, B)``."""

    def __init__(self, *, transposed: bool = False, square: bool = False) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(4, 5), nn.Linear(3, 5)
        self.transposed, self.square = transposed, square

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        SEEN.append(len(image))
        found = self.image(image) @ self.text(text).T
        if self.square:
            return found.softmax(1)  # an example's scores depend on the others
        return found.T if self.transposed else found


def call(module: nn.Module, batch: Any) -> Any:
    return module(batch["image"], batch["text"])


def data(count: int = COUNT) -> dict[str, Tensor]:
    return {"image": floats(count, 4), "text": floats(count, 3, seed=1)}


def test_a_dual_encoder_is_recognised() -> None:
    assert all_pairs_call(Evaluator(seeded(Dual), call), probe_of(data())) is call


def test_scores_that_depend_on_the_rest_of_the_batch_are_not() -> None:
    assert all_pairs_call(Evaluator(seeded(lambda: Dual(square=True)), call), probe_of(data())) is None


def test_texts_in_the_rows_are_exchanged_with_the_images() -> None:
    found = all_pairs_call(Evaluator(module := seeded(lambda: Dual(transposed=True)), call), probe_of(data()))
    assert found is not None
    images, texts = module.image(data()["image"]), module.text(data()["text"])
    torch.testing.assert_close(found(module, data()), images @ texts.T)


def test_as_many_classes_as_examples_are_not() -> None:
    module = seeded(lambda: nn.Bilinear(4, 3, 8))
    assert all_pairs_call(Evaluator(module, call), probe_of(data())) is None


def test_the_grid_is_looked_up_from_one_forward() -> None:
    module = seeded(Dual)
    asking = Evaluator(module, diagonal(call), all_pairs=call)
    SEEN.clear()
    found = asking(probe_of(data()), [GRID])[0]
    assert SEEN == [COUNT, 16]  # 16 rows are recomputed plainly
    images, texts = module.image(data()["image"]), module.text(data()["text"])
    torch.testing.assert_close(found.view(COUNT, COUNT), images @ texts.T)


def test_clip_is_studied_through_its_similarities() -> None:
    clip, count = clip_model(), 40
    batch = {**token_leaves(count), "pixel_values": floats(count, 3, 16, 16)}
    modalities = {"text": ["input_ids", "attention_mask"], "image": "pixel_values"}

    def predict(module: nn.Module, batch: Any) -> Tensor:
        return module(**batch).logits_per_text

    session = Session(SessionConfig(parse_modalities(modalities), predict=predict, num_examples=32))
    session.collect(batch, range)
    session.dry_run(clip)
    session.complete()
    found = session.run().values
    assert "scores all pairs" in session.call
    assert 0 < found["interaction"] <= 1.5


def test_memory_that_runs_out_makes_the_scored_pairs_fewer() -> None:
    class Large(Dual):
        def forward(self, image: Tensor, text: Tensor) -> Tensor:
            if len(image) > 8:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(image, text)

    module = seeded(Large)
    asking = Evaluator(module, diagonal(call), all_pairs=call)
    found = asking(probe_of(data()), [GRID])[0]
    assert asking.reuse
    torch.testing.assert_close(found, Evaluator(module, diagonal(call), chunk_size=8)(probe_of(data()), [GRID])[0])
