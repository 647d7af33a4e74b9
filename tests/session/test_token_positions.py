"""Tags of tokens: texts of different lengths, padding and -100, and an image that decides half of the tags."""

import numpy as np
import pytest
import torch
from helpers.mapped import NotingRanking
from reference.slow import main_effects
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_f1_score

from mviz_lightning import Modality, explain
from mviz_lightning.explainers import DIME, PositionEffects

LONGEST, WORDS = 9, 12


def texts(count: int = 48, seed: int = 0) -> dict[str, Tensor]:
    """Return texts of 3 to 9 tokens with their tags: even tokens are tagged by themselves, odd ones by the image."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LONGEST + 1, (count,), generator=generator)
    mask = torch.arange(LONGEST) < lengths.unsqueeze(1)
    ids = torch.randint(1, WORDS, (count, LONGEST), generator=generator) * mask
    image = torch.randn(count, 2, generator=generator)
    tags = torch.where(ids % 2 == 0, ids % 4 // 2, (image[:, :1] > 0).long())
    return {"ids": ids, "mask": mask.long(), "image": image, "tags": tags.masked_fill(~mask, -100)}


class Tagger(nn.Module):
    """Scores of two tags for each token; 0 at padding, as of a model that reads no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, ids: Tensor, image: Tensor) -> Tensor:
        own = torch.where(ids % 2 == 0, (ids % 4 - 1.0) + 0.1 * ids, image[:, :1].expand(ids.shape))
        return torch.stack([-own, own], -1) * self.scale


def tagged(batch: dict[str, Tensor], loss, *explainers, **given):
    def step(module: nn.Module, part: dict[str, Tensor]) -> Tensor:
        return loss(module(part["ids"], part["image"]), part["tags"], part["mask"].bool())

    modalities = {"image": "image", "text": Modality("ids", mask="mask")}
    return explain(
        Tagger(), [batch], modalities=modalities, step=step, explainers=explainers, num_examples=48,
        group_size=12, **given,
    )  # fmt: skip


def flattened(logits: Tensor, tags: Tensor, _: Tensor) -> Tensor:
    return functional.cross_entropy(logits.view(-1, 2), tags.view(-1))


LOSSES = {
    "classes behind the batch": lambda logits, tags, _: functional.cross_entropy(logits.permute(0, 2, 1), tags),
    "picked": lambda logits, tags, mask: functional.cross_entropy(logits[mask], tags[mask]),
    "one axis": lambda logits, tags, _: functional.cross_entropy(logits.flatten(0, 1), tags.flatten()),
}


@pytest.mark.long
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_however_the_loss_flattens_tokens_the_values_are_the_same(loss):
    batch = texts()
    assert tagged(batch, loss).values == pytest.approx(tagged(batch, flattened).values, abs=1e-12)


def test_the_score_is_f1_over_all_tags_and_padding_counts_nowhere():
    batch = texts()
    values = tagged(batch, flattened).values
    logits, known = Tagger()(batch["ids"], batch["image"]), batch["tags"] >= 0
    expected = multiclass_f1_score(logits[known], batch["tags"][known], 2, average="macro")
    assert values["score"] == pytest.approx(float(expected), abs=1e-6)
    longer = {name: functional.pad(leaf, (0, 3), value=-100 if name == "tags" else 0) for name, leaf in batch.items()}
    longer["image"] = batch["image"]
    assert tagged(longer, flattened).values == pytest.approx(values, abs=1e-9)


def test_the_text_decides_more_than_the_image_since_it_also_decides_whether_the_image_counts():
    values = tagged(texts(), flattened).values
    assert values["total/text"] > values["total/image"] > 0.2
    assert values["interaction"] > 0.1
    assert values["contribution/text"] + values["contribution/image"] + values["interaction"] == pytest.approx(1)


def test_the_image_moves_odd_tokens_alone():
    batch = texts()
    result = tagged(batch, flattened, PositionEffects(num_examples=3)).results["position_effects"]
    for one in result.effects:
        length = int(batch["mask"][one.position].sum())
        image, _ = one.effects[:, one.cells]
        odd = batch["ids"][one.position, :length] % 2 == 1
        assert len(image) == length
        assert torch.equal(image > 1e-9, odd)


def test_dime_explains_a_token_and_names_it():
    batch = texts()
    found = tagged(batch, flattened, DIME(num_examples=2, donors=3), region=(1,))
    (first, *_) = found.explanations["dime"]
    logits = Tagger()(batch["ids"][[first.position]], batch["image"][[first.position]])[0, 1].detach()
    value = float(logits[first.outputs[0].output] - logits.mean())
    assert first.outputs[0].value == pytest.approx(value, abs=1e-5)
    assert all("position 1:" in picture.caption for picture in found.pictures() if "dime/example" in picture.key)


@pytest.mark.slow
def test_the_ranking_reads_other_texts_at_the_same_relative_place():
    batch, noting = texts(), NotingRanking()
    found = tagged(batch, flattened, noting, region=(1,)).results["ranking"]
    ranked = {one.position: one for one in found.ranked}
    lengths, outputs = batch["mask"].sum(1), Tagger()
    for group in noting.groups:
        for place, example in enumerate(group):
            one, size = ranked[example], len(group)
            grid = np.zeros((size, size))  # image of one, text of another
            for k, text in enumerate(group):
                at = int(1.5 / float(lengths[example]) * float(lengths[text]))
                logits = outputs(batch["ids"][[text]].repeat(size, 1), batch["image"][group])[:, at].detach().double()
                grid[:, k] = (logits[:, one.output] - logits.mean(1)).numpy()
            assert one.value == pytest.approx(grid[place, place], abs=1e-5)
            rows, columns = main_effects(grid, ~np.eye(size, dtype=bool))[:, place]
            assert (one.effects["image"], one.effects["text"]) == pytest.approx((rows, columns), abs=1e-5)
    assert {one.driver for one in ranked.values()} > {"text only"}
