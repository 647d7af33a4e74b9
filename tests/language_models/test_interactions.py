"""The matrix of words by parts of pictures, beside plain loops over single masked rows of the processor's own."""

import pytest

pytest.importorskip("transformers")

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import ASKED
from language_models.test_explanations import WORDS, prompts_of, unmasked_positions
from language_models.tokens import VOCABULARY
from torch import Tensor

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.explainers import CrossModalInteraction, ProbeContext, Responses
from mviz_lightning.explainers.cross_modal_interaction.result import PairInteraction
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional import GridDesign
from mviz_lightning.modalities.base import ModalityType
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.sinks.records import Table

GREY = 0.5
"""What masked pixels become."""

OUTPUT = VOCABULARY["red"]
METHOD = CrossModalInteraction(corners=1, outputs=[OUTPUT])


def explained(family: Family, example: int) -> tuple[PairInteraction, dict[str, ModalityType], Table]:
    """Return the matrix of an example, its modalities, and the table of its strongest pairs."""
    answers, probe = prompts_of(family, "left")
    image = replace(probe.schema.modalities["image"], baseline=GREY, max_segments=4)
    named = {**probe.schema.modalities, "image": image}
    types = modality_types_of(replace(probe, schema=replace(probe.schema, modalities=named)))
    probe = replace(probe, segments={name: found.segments for name, found in types.items()})
    context = ProbeContext(probe, "multiclass", GridDesign(2), range(4))
    evaluator = Evaluator(family.own_model(), answers.predict)
    queries = METHOD.plan(context, [example]).queries
    result = METHOD.explain(context, [example], Responses([evaluator.plain(probe, query) for query in queries]))
    *_, table = METHOD.draw(result, DrawingContext(types, Labels("multiclass")), "epoch 1")
    return result.examples[0].outputs[0].pairs[0], types, table


@torch.no_grad()
def slow_output(family: Family, batch: Mapping[str, Tensor], words: Sequence[str], parts: Sequence[str]) -> float:
    """Return the logit of an answer behind the processor's own prompt, some words and parts of the picture masked."""
    positions, mask, pixels = unmasked_positions(family, batch), batch["attention_mask"].clone(), batch["pixel_values"]
    for word in words:
        mask[batch["input_ids"] == VOCABULARY[word]] = 0
    for part in parts:
        pixels = with_grey(family, pixels, batch.get("image_grid_thw"), part)
    given = {**batch, **positions, "attention_mask": mask, "pixel_values": pixels}
    return float(family.own_model()(**given).logits[0, -1, OUTPUT])


def with_grey(family: Family, pixels: Tensor, grid: Tensor | None, part: str) -> Tensor:
    """Return the pixels of a picture, grey where the name of a part says: quarters, or tokens of 4 patches."""
    row, column = (int(number) - 1 for number in re.findall(r"\d+", part))
    found = pixels.clone()
    if family.name == "LLaVA":
        found[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = GREY
    else:
        token = row * int(grid[0, 2]) // 2 + column
        found[4 * token : 4 * token + 4] = GREY
    return found


@pytest.mark.parametrize(("name", "example"), [("LLaVA", 0), ("Qwen2-VL", 3)])
def test_words_by_parts_of_pictures_equal_a_slow_loop(name: str, example: int) -> None:
    family = FAMILIES[name]
    pair, types, table = explained(family, example)
    parts, words = types["image"].names(example), types["text"].names(example)
    assert words == WORDS[example]
    batch = family.batch([Question(ASKED[example][0], [family.item(example)])])
    outputs = torch.tensor(
        [
            [slow_output(family, batch, masked, hidden) for masked in ([], *([word] for word in words))]
            for hidden in ([], *([part] for part in parts))
        ]
    ).double()
    wanted = outputs[:1, :1] - outputs[1:, :1] - outputs[:1, 1:] + outputs[1:, 1:]
    assert (pair.first, pair.second) == ("image", "text")
    torch.testing.assert_close(pair.weights, wanted, rtol=1e-3, atol=2e-6)
    assert float(pair.weights.abs().max()) > 1e-4
    place = int(pair.weights.abs().argmax())
    strongest = f"{parts[place // len(words)]} x {words[place % len(words)]}"
    assert str(table.rows[0][-1]).startswith(strongest)
