"""Derivatives by words and pictures of language models, beside loops over single rows with the embeddings by hand."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Sequence
from dataclasses import replace

import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import ASKED
from language_models.test_explanations import WORDS, prompts_of
from language_models.tokens import VOCABULARY
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mviz_lightning.batch import Probe
from mviz_lightning.engine.derivative import derive, integration_points
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.query import Derivative, Query
from mviz_lightning.engine.second_order import second_derivatives
from mviz_lightning.functional.segment_attribution import segment_sums
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.session.answer_scores import Answers

EXPLAINED = [("LLaVA", "left"), ("Qwen2-VL", "right"), ("SmolVLM", "left"), ("Qwen2-Audio", "right")]
"""Families, and the side on which their batches are padded."""

PAIRS = [(1, 0), (0, 0), (2, 3)]
"""Examples of the item and of the text of some rows; texts differ in length."""

OUTPUT = VOCABULARY["red"]


def words_at(text: int, ids: Tensor) -> list[int]:
    """Return where the words of a question that can be masked are in a row."""
    return [ids.tolist().index(VOCABULARY[word]) for word in WORDS[text]]


def output_of(family: Family, pair: tuple[int, int], share: Sequence[Tensor], pixels: Tensor | None = None) -> Tensor:
    """Return the logit of an answer where embeddings of words are scaled, of a row that the processor makes.

    Args:
        family: The model.
        pair: The example of the item and that of the text.
        share: What scales the embedding of each word, ``(1,)`` each.
        pixels: What stands in place of the pixels.
    """
    item, text = pair
    batch = family.batch([Question(ASKED[text][0], [family.item(item)])])
    scales = torch.ones(batch["input_ids"].shape[1])
    for place, scale in zip(words_at(text, batch["input_ids"][0]), share, strict=True):
        scales = scales.index_put((torch.tensor([place]),), scale)
    model = family.own_model()
    with model.get_input_embeddings().register_forward_hook(lambda _, __, found: found * scales[:, None]):
        given = {} if pixels is None else {"pixel_values": pixels}
        return model(**batch | given).logits[0, -1, OUTPUT]


def by_words(family: Family, pair: tuple[int, int], steps: int) -> list[float]:
    """Return the integrated gradients of each word, from embeddings of 0 on."""
    points, weights = integration_points(steps)
    found = torch.zeros(len(WORDS[pair[1]]))
    for point, weight in zip(points, weights, strict=True):
        shares = [point.view(1).clone().requires_grad_() for _ in found]
        with torch.enable_grad():
            found += weight * torch.cat(torch.autograd.grad(output_of(family, pair, shares), shares))
    return found.tolist()


def derived(answers: Answers, probe: Probe, modality: str, steps: int) -> Tensor:
    """Return ``(R, U)`` integrated gradients of the segments of each pair."""
    rows, outputs = Query(torch.tensor(PAIRS)), torch.full((len(PAIRS),), OUTPUT)
    evaluator = Evaluator(answers.language.module, answers.predict)
    entries = derive(evaluator, probe, Derivative(rows, outputs, modality, steps))
    segments, own = probe.segments[modality], torch.tensor(PAIRS)[:, probe.schema.names.index(modality)]
    return segment_sums(entries, segments.index[own], max(map(segments.count, own.tolist())))


@pytest.mark.parametrize(("name", "side"), EXPLAINED)
def test_integrated_gradients_of_words_equal_those_of_a_slow_loop(name: str, side: str) -> None:
    family = FAMILIES[name]
    answers, probe = prompts_of(family, side)
    found = derived(answers, probe, "text", 2)
    for row, pair in zip(found, PAIRS, strict=True):
        wanted = torch.tensor(by_words(family, pair, 2)).double()
        torch.testing.assert_close(row[: len(wanted)], wanted, rtol=1e-3, atol=1e-6)
        assert not bool(row[len(wanted) :].any())


@torch.no_grad()
def test_integrated_gradients_of_words_add_up() -> None:
    family = FAMILIES["LLaVA"]
    answers, probe = prompts_of(family)
    found = derived(answers, probe, "text", 64).sum(1)
    for total, (item, text) in zip(found.tolist(), PAIRS, strict=True):
        ends = [output_of(family, (item, text), [torch.full((1,), end)] * len(WORDS[text])) for end in (1.0, 0.0)]
        assert total == pytest.approx(float(ends[0] - ends[1]), rel=0.01, abs=1e-5)


@pytest.mark.parametrize("name", ["LLaVA-NeXT", "SmolVLM", "Qwen2-VL"])
@torch.no_grad()
def test_integrated_gradients_of_pictures_add_up(name: str) -> None:
    family = FAMILIES[name]
    answers, probe = prompts_of(family)
    image = modality_types_of(probe)["image"]
    probe = replace(probe, segments={**probe.segments, "image": image.segments})
    found, rows = derived(answers, probe, "image", 32).sum(1), torch.tensor(PAIRS)
    evaluator = Evaluator(family.own_model(), answers.predict)
    nothing = torch.zeros(len(rows), max(map(image.segments.count, range(4))), dtype=torch.bool)
    whole, masked = (evaluator.plain(probe, Query(rows, masks)) for masks in ({}, {"image": nothing}))
    wanted = (whole - masked)[:, OUTPUT].double()
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=2e-6)


@torch.enable_grad()
def by_word_and_part(family: Family, pair: tuple[int, int], word: int, part: Tensor, mean: Tensor) -> float:
    """Return the second derivative by the scale of a word's embedding and that of a part of the pixels."""
    item, text = pair
    scales = [torch.ones(1, requires_grad=True) for _ in range(2)]
    pixels = family.batch([Question(ASKED[text][0], [family.item(item)])])["pixel_values"]
    scaled = torch.where(part, mean + scales[0] * (pixels - mean), pixels)
    shares = [scales[1] if place == word else torch.ones(1) for place in range(len(WORDS[text]))]
    with sdpa_kernel(SDPBackend.MATH):
        (first,) = torch.autograd.grad(output_of(family, pair, shares, scaled), scales[:1], create_graph=True)
        return float(torch.autograd.grad(first, scales[1:])[0])


@pytest.mark.parametrize("name", ["LLaVA", "Qwen2-VL"])
def test_second_derivatives_equal_those_of_a_slow_loop(name: str) -> None:
    family, pair = FAMILIES[name], (1, 0)
    answers, probe = prompts_of(family, "left")
    segments = modality_types_of(probe)["image"].segments
    probe = replace(probe, segments={**probe.segments, "image": segments})
    derivative = Derivative(Query(torch.tensor([pair])), torch.tensor([OUTPUT]), "image", 1, "text")
    found = second_derivatives(Evaluator(family.own_model(), answers.predict), probe, derivative)[0]
    index = segments.index[pair[0], :8] if name == "Qwen2-VL" else segments.index[pair[0]]
    for segment, word in ((0, 0), (1, 4), (segments.count(pair[0]) - 1, 2)):
        wanted = by_word_and_part(family, pair, word, index == segment, segments.baseline[0])
        assert abs(wanted) > 1e-6
        assert float(found[segment, word]) == pytest.approx(wanted, rel=1e-3, abs=1e-8)
