"""Language models of nine families: are recombined rows right, and what do packed rows save?

    PYTHONPATH=tests python tests/benchmarks/causal_models.py [--repeats 3] [--only correctness|times]

The first table takes tiny models with random weights and their own processors. Six questions, each with a picture or a
sound, padded on either side, are recombined to 36 rows (i, j): text of j, picture of i. Rows (i, i) must be the
processor's own batch, and each row (i, j) what the processor makes of that pair; the largest difference of logits
compares the rows in one batch with each pair's own batch. Packed rows are compared with plain ones by three scores:
logits behind the prompt, whole answers, own answers. Differences are fractions of the largest absolute value.

The second table takes a LLaVA and a Qwen2-VL whose pictures take 576 tokens, texts of 24 to 36 tokens, and a grid of 8
pictures by 8 texts. Times are those of one thread's processor, taken in turn, and ratios are medians with their range.
Not counted are the gate, which runs once, and the check of 16 plain rows that is part of every evaluation: of 64 rows a
quarter, of the 2,048 rows of a run less than a hundredth. Needs transformers; five minutes on a core.
"""

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import transformers as tf
from language_models.families import FAMILIES, QWEN, QWEN_IMAGE, ROPE, TEXT, Family, NoVideos, Question, without_videos
from language_models.rebuilding import differences, logits, modalities_of, probe_of, rows_of
from language_models.tokens import VOCABULARY, WORDS, tokenizer
from torch import Tensor, nn
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mviz_lightning.batch import Probe
from mviz_lightning.engine import packed_evaluation
from mviz_lightning.engine.answer_outputs import OwnAnswers, WholeAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.query import Query
from mviz_lightning.session.answer_scores import Answers, answers_of
from mviz_lightning.session.config import SessionConfig

ASKED = [
    ("{} what is the colour of this", "red"),
    ("{} how many", "blue green"),
    ("red {} is this two", "two"),
    ("{}\nis this", "red red red"),
    ("the red {} what", "blue"),
    ("how many {} two", "two green"),
]
"""Questions with an item in front, inside and on a line of its own, and their answers."""

WHOLE = tuple(tuple(VOCABULARY[word] for word in answer.split()) for answer in ("red", "blue green", "two"))
"""Whole answers whose likelihoods are compared."""

SIDES = ("right", "left")
SIDE, PATCH = 336, 14
"""Pixels along a side of a large picture, and of a patch: 24 x 24 of them are 576."""

GRID_SIZE = 8
"""Pictures, and texts, of which all pairs are timed."""

WIDTH = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
"""Sizes of models that are timed."""

Timed = Callable[[], Any]


def crossing(count: int) -> Query:
    """Return all pairs of an item and a text."""
    return Query(torch.cartesian_prod(torch.arange(count), torch.arange(count)))


def apart(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, as a fraction of the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def paired(questions: Sequence[Question], i: int, j: int) -> Question:
    """Return the question of example j with the items of example i."""
    return replace(questions[j], items=questions[i].items)


def identical(family: Family, side: str) -> bool:
    """Tell whether rows (i, i) are the processor's own batch in every leaf."""
    questions = asked(family)
    own = rows_of([(k, k) for k in range(len(questions))])
    return not differences(probe_of(family, questions, side).batch(own, {}), family.batch(questions, side))


def equal_pairs(family: Family, side: str) -> tuple[int, int, float]:
    """Return how many rows (i, j) are what the processor makes of the pair, of how many, and how far logits are."""
    questions, pairs = asked(family), crossing(len(ASKED)).sources.tolist()
    probe, equal, farthest = probe_of(family, questions, side), 0, 0.0
    together = logits(family, probe.batch(rows_of(pairs), {}))
    for (i, j), found in zip(pairs, together, strict=True):
        own = family.batch([paired(questions, i, j)], side)
        equal += not differences(probe.batch(rows_of([(i, j)]), {}), own)
        farthest = max(farthest, apart(found, logits(family, own)[0]))
    return equal, len(pairs), farthest


def asked(family: Family) -> list[Question]:
    """Return the questions, each with an item of its own."""
    return [Question(words, [family.item(k)], answer) for k, (words, answer) in enumerate(ASKED)]


def answered(family: Family, questions: Sequence[Question], side: str) -> tuple[Answers, Probe]:
    """Return the answers of a family, and its questions."""
    probe = probe_of(family, questions, side)
    answers = answers_of(family.own_model(), probe, SessionConfig(modalities_of(family, side)))
    assert answers is not None
    return answers, probe


def scores_of(answers: Answers, probe: Probe) -> list[tuple[Predict, Probe]]:
    """Return each kind of score, and the examples as they are evaluated."""
    texts = answers.texts(probe)
    whole = WholeAnswers(answers.language, answers.finder, WHOLE, texts.beside)
    own = OwnAnswers(answers.language, answers.finder)
    return [(answers.predict, answers.prompted(probe)), (whole, texts.prompted), (own, texts.answered)]


def packed(family: Family, side: str) -> tuple[float, str]:
    """Return how far packed scores are from plain ones, and why rows are not packed, if they are not."""
    grid, farthest = crossing(len(ASKED)), 0.0
    for predict, probe in scores_of(*answered(family, asked(family), side)):
        reusing, plain = (Evaluator(family.own_model(), predict, reuse=reuse) for reuse in (True, False))
        with patch.object(packed_evaluation, "WORTHWHILE", 0):  # items of a few tokens too
            outputs = reusing(probe, [grid])[0]
        if not reusing.packing.asked:
            return 0.0, reusing.packing.closed or "it was not tried"
        farthest = max(farthest, apart(outputs, plain(probe, [grid])[0]))
    return farthest, ""


def correctness() -> None:
    """Print the table of all families."""
    print("family        (i, i)      (i, j) equal   logits     packed - plain")
    for family in FAMILIES.values():
        state = "identical" if all(identical(family, side) for side in SIDES) else "DIFFERENT"
        equal, count, farthest = zip(*(equal_pairs(family, side) for side in SIDES), strict=True)
        pairs = f"{sum(equal)} of {sum(count)}"
        apart_by, closed = zip(*(packed(family, side) for side in SIDES), strict=True)
        told = f"not packed: {closed[0]}" if any(closed) else f"{max(apart_by):.1e}"
        print(f"{family.name:<13} {state:<11} {pairs:<14} {max(farthest):.1e}    {told}", flush=True)


def large_llava() -> nn.Module:
    """Return a model whose vision tower is as large as its language model."""
    vision = tf.CLIPVisionConfig(**WIDTH, image_size=SIDE, patch_size=PATCH)
    given = {"image_token_id": VOCABULARY["<image>"], "vision_feature_layer": -1, "image_seq_length": 576}
    text = tf.LlamaConfig(**TEXT | WIDTH | {"num_key_value_heads": 4})
    return tf.LlavaForConditionalGeneration(tf.LlavaConfig(vision_config=vision, text_config=text, **given))


def large_llava_processor(side: str) -> Any:
    crop = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=crop, do_convert_rgb=False)
    return tf.LlavaProcessor(images, tokenizer(side), PATCH, "default", num_additional_image_tokens=1)


def large_qwen() -> nn.Module:
    """Return a model whose vision tower is small: it sees 2,304 patches a picture, of which four make a token."""
    vision = {
        "depth": 2, "embed_dim": 128, "hidden_size": 256, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH,
    }  # fmt: skip
    text = TEXT | WIDTH | {"num_key_value_heads": 4, "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]}}
    return tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(text_config=text, vision_config=vision, **QWEN))


def large_qwen_processor(side: str) -> Any:
    images = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=2, min_pixels=16, max_pixels=(2 * SIDE) ** 2)
    return without_videos(tf.Qwen2VLProcessor)(images, tokenizer(side, image_token="<|image_pad|>"), NoVideos())


LARGE = [
    Family("LLaVA", "<image>", large_llava, large_llava_processor, ((SIDE, SIDE),)),
    Family("Qwen2-VL", QWEN_IMAGE, large_qwen, large_qwen_processor, ((2 * SIDE, 2 * SIDE),)),
]
"""Models whose pictures take 576 tokens."""


def long_questions(family: Family) -> list[Question]:
    """Return questions of 24 to 36 words behind a picture."""
    chosen = random.Random(0)
    texts = [" ".join(["{}", *chosen.choices(WORDS, k=chosen.randint(24, 36))]) for _ in range(GRID_SIZE)]
    return [Question(text, [family.item(k)], ["red", "blue"][k % 2]) for k, text in enumerate(texts)]


def evaluators(family: Family, predict: Predict, probe: Probe) -> dict[str, Evaluator]:
    """Return the ways to evaluate, each of which has been used, so that what it finds out once is known."""
    made = {name: Evaluator(family.own_model(), predict, reuse=name != "plain") for name in ("plain", "once", "packed")}
    made["once"].packing.close("to time the encoder alone")
    for evaluator in made.values():
        evaluator(probe, [crossing(3)])
        evaluator.check = lambda *_: None  # type: ignore[method-assign]
    return made


def times(repeats: int) -> None:
    """Print what evaluations of a grid take."""
    print("\n576 tokens a picture   plain      encoder once / plain   packed / plain         packed - plain")
    for family in LARGE:
        answers, probe = answered(family, long_questions(family), "left")
        prompts, found, taken = answers.prompted(probe), {}, {"plain": [], "once": [], "packed": []}
        ways = evaluators(family, answers.predict, prompts)
        for _ in range(repeats):
            for name, evaluator in ways.items():
                started = time.process_time()
                found[name] = evaluator(prompts, [crossing(GRID_SIZE)])[0]
                taken[name].append(time.process_time() - started)
        assert ways["once"].reuse
        assert ways["packed"].packing.asked
        ratios = [ratio(taken[name], taken["plain"]) for name in ("once", "packed")]
        seconds, difference = statistics.median(taken["plain"]), apart(found["packed"], found["plain"])
        print(f"{family.name:<22} {seconds:.1f} s     {ratios[0]}    {ratios[1]}    {difference:.1e}", flush=True)


def ratio(taken: Sequence[float], against: Sequence[float]) -> str:
    """Return the median ratio with its range."""
    ratios = [one / other for one, other in zip(taken, against, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["correctness", "times"])
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if chosen.only != "times":
        correctness()
    if chosen.only != "correctness":
        times(chosen.repeats)


if __name__ == "__main__":
    main()
