"""Scores of all pairs of two modalities are found whatever loss follows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.batches import floats
from helpers.steps import TwoNets, batch, observed, record_of
from torch import Tensor
from torch.nn import functional

from mviz_lightning.observation.heads import heads_of


def unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=-1)


def towers(m: Any, b: Any) -> tuple[Tensor, Tensor]:
    return unit(m.image_net(b["image"])), unit(m.text_net(b["text"]))


def cosine_grid(m: Any, b: Any) -> Tensor:
    image, text = towers(m, b)
    return image @ text.T


def far_grid(m: Any, b: Any) -> Tensor:
    return -torch.cdist(*towers(m, b))


def own(grid: Tensor) -> Tensor:
    return torch.arange(len(grid))


def info_nce(grid: Tensor) -> Tensor:
    return (functional.cross_entropy(grid, own(grid)) + functional.cross_entropy(grid.T, own(grid))) / 2


def open_clip(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """open_clip's loss, which gets features and a scale."""
    labels = torch.arange(len(image))
    by_image, by_text = scale * image @ text.T, scale * text @ image.T
    return (functional.cross_entropy(by_image, labels) + functional.cross_entropy(by_text, labels)) / 2


def siglip(grid: Tensor) -> Tensor:
    return -functional.logsigmoid((2 * torch.eye(len(grid)) - 1) * (grid * 3 - 1)).sum()


def hinge(grid: Tensor) -> Tensor:
    return (0.2 + grid - grid.diagonal()[:, None]).clamp(min=0).sum()


STEPS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Tensor], float]] = {
    "both directions": (lambda m, b: info_nce(cosine_grid(m, b) / 0.1), cosine_grid, 10),
    "rows are texts": (
        lambda m, b: functional.cross_entropy(cosine_grid(m, b).T / 0.5, torch.arange(len(b["y"]))),
        lambda m, b: cosine_grid(m, b).T,
        2,
    ),
    "features and a scale": (lambda m, b: open_clip(*towers(m, b), torch.tensor(7.0)), cosine_grid, 7),
    "a sigmoid of each pair": (lambda m, b: siglip(cosine_grid(m, b)), cosine_grid, 3),
    "logsumexp": (
        lambda m, b: ((s := cosine_grid(m, b)).logsumexp(1) - s.diagonal()).mean(), cosine_grid, 1,
    ),
    "the diagonal of log_softmax": (
        lambda m, b: -torch.log_softmax(cosine_grid(m, b) * 4, 1).diagonal().mean(), cosine_grid, 4,
    ),
    "log_softmax looked up": (
        lambda m, b: -(s := cosine_grid(m, b)).log_softmax(1)[own(s), own(s)].mean(), cosine_grid, 1,
    ),
    "exp by hand": (
        lambda m, b: -torch.log((e := torch.exp(cosine_grid(m, b) / 0.5)).diag() / e.sum(1)).mean(), cosine_grid, 2,
    ),
    "einsum": (
        lambda m, b: info_nce(torch.einsum("id,jd->ij", *towers(m, b))), cosine_grid, 1,
    ),
    "einsum, columns first": (
        lambda m, b: hinge(torch.einsum("id,jd->ji", *towers(m, b))), lambda m, b: cosine_grid(m, b).T, 1,
    ),
    "F.linear": (lambda m, b: hinge(functional.linear(*towers(m, b))), cosine_grid, 1),
    "torch.mm": (lambda m, b: hinge(torch.mm((t := towers(m, b))[0], t[1].t())), cosine_grid, 1),
    "cosine_similarity of all": (
        lambda m, b: hinge(functional.cosine_similarity((t := towers(m, b))[0][:, None], t[1][None], dim=-1)),
        cosine_grid, 1,
    ),
    "a broadcast product": (
        lambda m, b: hinge(((t := towers(m, b))[0][:, None] * t[1][None]).sum(-1)), cosine_grid, 1,
    ),
    "distances": (lambda m, b: hinge(-torch.cdist(*towers(m, b))), far_grid, 1),
    "distances that should be small": (
        lambda m, b: ((d := torch.cdist(*towers(m, b))).diagonal()[:, None] - d).clamp(min=-1).sum(), far_grid, 1,
    ),
    "a broadcast difference": (
        lambda m, b: hinge(-((t := towers(m, b))[0][:, None] - t[1][None]).norm(dim=-1)), far_grid, 1,
    ),
    "one minus the cosine": (
        lambda m, b: hinge(-(1 - cosine_grid(m, b))), cosine_grid, 1,
    ),
    "a distance from the cosine": (
        lambda m, b: (1 - cosine_grid(m, b)).diagonal().mean(), cosine_grid, 1,
    ),
    "a triplet": (
        lambda m, b: functional.triplet_margin_loss((t := towers(m, b))[0], t[1], t[1].roll(1, 0)), cosine_grid, 1,
    ),
    "cosine_embedding_loss": (
        lambda m, b: functional.cosine_embedding_loss(*towers(m, b), torch.ones(len(b["y"]))), cosine_grid, 1,
    ),
    "matching cosines": (
        lambda m, b: (1 - functional.cosine_similarity(m.image_net(b["image"]), m.text_net(b["text"]))).mean(),
        cosine_grid, 1,
    ),
}  # fmt: skip


def centred(scores: Tensor) -> Tensor:
    """Return scores without a margin that the loss adds to all of them."""
    return scores - scores.mean()


def other() -> dict[str, Any]:
    """Return other examples than those of the observed batch, and fewer."""
    return {"image": floats(7, 4, seed=11), "text": floats(7, 3, seed=12), "y": torch.tensor([4, 0, 1, 2, 3, 3, 1])}


@pytest.mark.parametrize(("step", "grid", "scale"), STEPS.values(), ids=STEPS)
def test_the_scores_of_all_pairs_are_found(
    step: Callable[[Any, Any], Any], grid: Callable[[Any, Any], Tensor], scale: float
) -> None:
    module = TwoNets(step)
    found = observed(module, batch())

    assert found.head.contrastive
    assert found.target is None
    assert not found.further
    assert found.head.pair is not None
    assert sorted(found.head.pair.modalities) == ["image", "text"]
    with torch.no_grad():
        scores = found.way.call.predict(module, other())
        expected = grid(module, other())
    torch.testing.assert_close(centred(scores), scale * centred(expected))


@pytest.mark.parametrize(("step", "grid", "scale"), STEPS.values(), ids=STEPS)
def test_a_replay_gives_the_same_scores(
    step: Callable[[Any, Any], Any], grid: Callable[[Any, Any], Tensor], scale: float
) -> None:
    def counted(m: Any, b: Any) -> Any:
        return step(m, {**b, "image": b["image"] * float((b["image"] < 9).all())})  # a value that leaves PyTorch

    module = TwoNets(counted)
    found = observed(module, batch())

    assert found.way.name == "replay"
    with torch.no_grad():
        scores = found.way.call.predict(module, other())
        torch.testing.assert_close(centred(scores), scale * centred(grid(module, other())))


NOT_PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "products of matching entries": lambda m, b: functional.cross_entropy(
        m.image_net(b["image"]) * m.text_net(b["text"]), b["y"]
    ),
    "similarities of one modality": lambda m, b: (
        (m.image_net(b["image"]) @ m.image_net(b["image"]).T).mean()
        + functional.cross_entropy(m(b["image"], b["text"]), b["y"])
    ),
    "covariances over the batch": lambda m, b: (
        (m.image_net(b["image"]).T @ m.text_net(b["text"])).mean()
        + functional.cross_entropy(m(b["image"], b["text"]), b["y"])
    ),
    "a cosine beside a loss with labels": lambda m, b: (
        functional.cosine_similarity(*towers(m, b)).mean() + functional.cross_entropy(m(b["image"], b["text"]), b["y"])
    ),
}


@pytest.mark.parametrize("step", NOT_PAIRS.values(), ids=NOT_PAIRS)
@pytest.mark.parametrize("outputs", [5, 20])  # of 20 examples
def test_what_is_no_score_of_all_pairs(step: Callable[[Any, Any], Any], outputs: int) -> None:
    data = batch()

    found = heads_of(record_of(TwoNets(step, outputs), data))

    assert [head.pair for head in found] == [None]


def test_a_loss_with_labels_comes_before_the_pairs() -> None:
    def step(m: Any, b: Any) -> Tensor:
        return info_nce(cosine_grid(m, b)) + functional.cross_entropy(m(b["image"], b["text"]), b["y"])

    found = observed(TwoNets(step), batch())

    assert found.task == "multiclass"
    assert [(name, head.contrastive) for name, head in found.further.items()] == [("image_text", True)]


def test_the_embeddings_are_the_operands_of_the_product() -> None:
    module = TwoNets(lambda m, b: open_clip(*towers(m, b), torch.tensor(7.0)))
    found = observed(module, batch())

    assert found.head.pair is not None
    assert found.head.pair.embeddings is not None
    assert [one.shape for one in found.head.pair.embeddings] == [(20, 5), (20, 5)]
    assert [one.name for one in found.head.pair.embeddings] == ["normalize", "normalize"]


def test_defaults_of_a_function_are_no_numbers_of_a_schedule() -> None:
    module = TwoNets(lambda m, b: info_nce(cosine_grid(m, b)))
    assert module.alpha == 2  # as is p of normalize

    found = observed(module, batch())

    assert found.way.name == "call"


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize(("step", "grid", "scale"), STEPS.values(), ids=STEPS)
def test_embeddings_of_other_examples_are_those_of_the_towers(
    step: Callable[[Any, Any], Any], grid: Callable[[Any, Any], Tensor], scale: float, replayed: bool
) -> None:
    def escaping(m: Any, b: Any) -> Any:
        return step(m, {**b, "image": b["image"] * float((b["image"] < 9).all())} if replayed else b)

    module = TwoNets(escaping)
    found = observed(module, batch())

    assert (found.way.name == "replay") == replayed
    assert found.embeddings is not None
    with torch.no_grad():
        first, second = found.embeddings(module, other()).chunk(2, 1)
        image, text = towers(module, other())
    torch.testing.assert_close(unit(first), image)  # in declared order, whatever the rows of the scores are
    torch.testing.assert_close(unit(second), text)


def classified(m: Any, b: Any, table: Tensor) -> Tensor:
    image, text = towers(m, b)
    return functional.cross_entropy(image * text + 0 * table.mean(), b["y"])


@pytest.mark.parametrize(("made", "heads"), [(lambda table: torch.zeros(1), 1), (lambda table: table, 2)])
def test_scores_of_pairs_beside_others_are_a_head_only_if_something_is_made_of_them(
    made: Callable[[Tensor], Tensor], heads: int
) -> None:
    module = TwoNets(lambda m, b: classified(m, b, made(cosine_grid(m, b))), 5)

    found = heads_of(record_of(module, batch()))

    assert [head.pair is not None for head in found] == [False, True][:heads]


def test_scores_of_pairs_are_a_head_where_the_step_computes_nothing_else() -> None:
    module = TwoNets(lambda m, b: cosine_grid(m, b).detach(), 5)
    assert [head.pair is not None for head in heads_of(record_of(module, batch()))] == [True]
