"""Scores of language models that answer: what they are read from, and what they say of seeing and blind ones."""

import pytest

pytest.importorskip("transformers")

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import modalities_of, probe_of, single_questions
from language_models.tokens import VOCABULARY, tokenizer
from language_models.trained import CAPTIONS, FAMILY, QUESTIONS, Answering, batch_of, loader, trained
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from reference import slow
from torch import Tensor

from mviz_lightning import MultimodalMonitor, UnimodalCollapse, explain
from mviz_lightning.batch import Modality, parse_modalities
from mviz_lightning.engine.answer_outputs import check_dropped_answers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.placeholder_tokens import tokenizers_of
from mviz_lightning.errors import CollapseWarning, ConfigurationError, NotMeasurableError
from mviz_lightning.functional import half_splits
from mviz_lightning.session.answer_scores import Answers, answers_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import State

NAMED = {"image": "pixel_values", "text": "input_ids"}

SIZES: dict[str, Any] = {"num_examples": 64, "group_size": 8, "seed": 3}

FEW: dict[str, Any] = {"num_examples": 32, "group_size": 4}
"""Of models that are not trained."""

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}

ANSWERS = ["red", "green", "blue", "two", "three"]


@cache
def seeing() -> Answering:
    """Return a model that answers all questions."""
    return trained(200)


@cache
def blind() -> Answering:
    """Return a model that was trained with the pictures of others."""
    return trained(200, blind=True)


@cache
def captioner(*, blind: bool) -> Answering:
    """Return a model that captions all pictures, or that was trained with the pictures of others."""
    return trained(200, blind=blind, of="captions")


@cache
def validated(model: Callable[[], Answering], folder: Path) -> MultimodalMonitor:
    """Return the monitor of one validation."""
    monitor = MultimodalMonitor(NAMED, **SIZES)
    Trainer(callbacks=[monitor, UnimodalCollapse()], default_root_dir=folder, accelerator="cpu", **QUIET).validate(
        model(), loader(), verbose=False
    )
    return monitor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


def values(monitor: MultimodalMonitor) -> Mapping[str, float]:
    return monitor.history[-1].values


@torch.no_grad()
def word_grid(module: Answering, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return ``(g, g, 5)`` centred logits of the answers, of (example of the picture, example of the question).

    Every row is a question of the processor's own, without its answer.
    """
    tokens, found = sorted(VOCABULARY[answer] for answer in ANSWERS), []
    for one in rows:
        asked = [Question(QUESTIONS[other].words, QUESTIONS[one].items) for other in rows]
        logits = module.model(**FAMILY.batch(asked, "left")).logits[:, -1][:, tokens]
        found.append(logits - logits.mean(1, keepdim=True))
    return torch.stack(found).double().numpy()


def reference(
    module: Answering, groups: Sequence[Sequence[int]], grid: Callable[[Answering, Sequence[int]], NDArray[np.float64]]
) -> Mapping[str, float]:
    """Return the shares and scores of groups of questions, one row after another."""
    grids, order = np.stack([grid(module, group) for group in groups]), sorted(ANSWERS, key=VOCABULARY.__getitem__)
    labels = np.array([[order.index(QUESTIONS[one].answer) for one in group] for group in groups])
    splits = half_splits(SIZES["group_size"], 16, SIZES["seed"]).numpy()
    image, text, both = np.mean([slow.split_components(one, splits) for one in grids], 0)
    whole, own = image + text + both, [one[place, place] for one in grids for place in range(len(one))]
    return {
        "contribution/image": image / whole,
        "contribution/text": text / whole,
        "interaction": both / whole,
        "total/image": (image + both) / whole,
        "score": slow.accuracy(own, labels.ravel().tolist()),
        "perceptual/image": slow.perceptual_score(grids, labels, 0),
        "perceptual/text": slow.perceptual_score(grids, labels, 1),
    }


def session_of(
    module: Answering, side: str = "right", *, of: str = "questions", **given: Any
) -> tuple[Session, list[list[int]]]:
    """Return a session of all questions or captions, and those in its groups."""
    session = Session(SessionConfig(parse_modalities(NAMED), **SIZES | given))
    order = run_through(session, module, side, of=of)
    return session, [[int(order[session.positions[one]]) for one in group] for group in session.probe.groups.tolist()]


def run_through(session: Session, module: Answering, side: str = "right", *, of: str = "questions") -> Tensor:
    """Fix the examples of a session, and return the order of the questions or captions."""
    batches, seen = loader(side, of=of), 0
    session.meet(module)
    for batch in batches:
        first = seen
        seen += session.collect(batch, lambda count, first=first: range(first, first + count))
        session.dry_run(module)
        session.raise_failure()
    session.complete()
    return torch.cat(list(batches.dataset))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_first_tokens_are_those_of_the_processors_own_prompts(side: str) -> None:
    session, groups = session_of(seeing(), side)
    found, wanted = session.run().values, reference(seeing(), groups, word_grid)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert session.class_names == ANSWERS
    assert session.call == "LlavaForConditionalGeneration(pixel_values, input_ids, attention_mask), up to the answers"
    assert session.probe.leaves["input_ids"].shape[1] == batch_of()["input_ids"].shape[1] - 1
    said = "".join(session.remarks.pop_lines())
    assert "the logits of the first token of 5 answers at the end of the prompt ('red', 'green', 'blue', 'two'" in said


@pytest.mark.slow
def test_a_seeing_model_uses_both(folder: Path) -> None:
    found = values(validated(seeing, folder))
    assert found["score"] == 1
    assert found["total/image"] > 0.5
    assert found["interaction"] > 0.2
    assert found["perceptual/image"] > 0.5
    assert found["collapse/image"] == State.USED


@pytest.mark.slow
def test_a_blind_model_answers_by_the_question_alone(folder: Path) -> None:
    with pytest.warns(CollapseWarning, match="image: collapsed"):
        found = values(validated(blind, folder))
    assert found["total/image"] < 0.001
    assert found["perceptual/image"] < 0.05
    assert found["contribution/text"] > 0.999
    assert found["score"] < 0.6
    assert found["collapse/image"] == State.COLLAPSED


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_dropping_the_answer_leaves_the_logits_before_it(family: Family) -> None:
    probe, model = probe_of(family, single_questions(family)), family.own_model()
    answers = answers_of(model, probe, SessionConfig(modalities_of(family)))
    check_dropped_answers(Evaluator(model, answers.predict), answers.language, answers.texts(probe))
    assert answers.texts(probe).answers[1][:2] == (VOCABULARY["blue"], VOCABULARY["green"])


def test_a_model_that_sees_the_answer_it_is_asked_for_is_refused() -> None:
    family = FAMILIES["PaliGemma"]
    probe, model = probe_of(family, single_questions(family)), family.own_model()
    leaves = {**probe.leaves, "token_type_ids": torch.zeros_like(probe.leaves["token_type_ids"])}
    answers, blind_to_types = (
        answers_of(model, probe, SessionConfig(modalities_of(family))),
        replace(probe, leaves=leaves),
    )
    with pytest.raises(NotMeasurableError, match="change once the answer is dropped: the model reads the answer"):
        check_dropped_answers(Evaluator(model, answers.predict), answers.language, answers.texts(blind_to_types))


@pytest.mark.slow
def test_examples_of_a_checkpoint_have_their_answers() -> None:
    session, _ = session_of(Answering(), **FEW)
    whole = session.state(2**20)
    assert whole["leaves"]["input_ids"].shape == whole["leaves"]["labels"].shape
    assert whole["leaves"]["input_ids"].shape[1] == session.probe.leaves["input_ids"].shape[1] + 1
    again = Session(session.config)
    again.load(whole)
    run_through(again, Answering())
    assert again.probe.groups.tolist() == session.probe.groups.tolist()
    assert torch.equal(again.probe.target, session.probe.target)
    assert again.class_names == ANSWERS
    assert not again.pop_renewed()


def test_a_function_of_ones_own_is_called_in_place_of_answers() -> None:
    config = SessionConfig(parse_modalities(NAMED), predict=lambda module, batch: None)
    probe = probe_of(FAMILIES["LLaVA"], single_questions(FAMILIES["LLaVA"]))
    assert answers_of(FAMILIES["LLaVA"].own_model(), probe, config) is None


@cache
def telling() -> Answering:
    """Return a model that answers in sentences that begin alike."""
    return trained(200, of="sentences")


@torch.no_grad()
def likelihoods(module: Answering, asked: Sequence[Question]) -> Tensor:
    """Return ``(n,)`` mean log-likelihoods of a token of the answers, of a batch of the processor's own."""
    batch = FAMILY.batch(asked, "left")
    labels, logits = batch["labels"][:, 1:], module.model(**batch).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return -losses.view(labels.shape).sum(1) / (labels != -100).sum(1)


def sentence_grid(module: Answering, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return ``(g, g, 5)`` centred log-likelihoods of sentences, of (example of the picture, of the question)."""
    found = []
    for answer in sorted(ANSWERS, key=VOCABULARY.__getitem__):
        asked = [
            Question(QUESTIONS[other].words, QUESTIONS[one].items, f"answer is {answer}")
            for one in rows
            for other in rows
        ]
        found.append(likelihoods(module, asked).view(len(rows), len(rows)))
    stacked = torch.stack(found, 2).double()
    return (stacked - stacked.mean(2, keepdim=True)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_whole_answers_are_those_of_the_processors_own_sentences(side: str) -> None:
    session, groups = session_of(telling(), side, of="sentences")
    found, wanted = session.run().values, reference(telling(), groups, sentence_grid)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert found["score"] > 0.8
    assert found["total/image"] > 0.3
    assert session.class_names == [f"answer is {answer}" for answer in sorted(ANSWERS, key=VOCABULARY.__getitem__)]
    said = "".join(session.remarks.pop_lines())
    assert "the mean log-likelihood per token of 5 whole answers after the prompt ('answer is red', " in said
    assert "which are the answers of 100% of the examples, since all answers begin with 1 token; a row takes 5" in said


def caption_grid(module: Answering, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return ``(g, g)`` mean log-likelihoods of a token of captions, of (example of the picture, of the text)."""
    asked = [replace(CAPTIONS[other], items=CAPTIONS[one].items) for one in rows for other in rows]
    return likelihoods(module, asked).double().view(len(rows), len(rows)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_own_answers_are_those_of_the_processors_own_captions(side: str) -> None:
    session, groups = session_of(captioner(blind=False), side, of="captions")
    found = session.run().values
    grids = [caption_grid(captioner(blind=False), group) for group in groups]
    splits = half_splits(SIZES["group_size"], 16, SIZES["seed"]).numpy()
    image, text, both = np.mean([slow.split_components(one[..., None], splits) for one in grids], 0)
    own = [one[j, j] - np.mean([one[i, j] for i in range(8) if i != j]) for one in grids for j in range(8)]
    wanted = {
        "total/image": (image + both) / (image + text + both),
        "interaction": both / (image + text + both),
        "nats/image": np.mean(own),
        "retrieval/image": np.mean([one[:, j].argmax() == j for one in grids for j in range(8)]),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert found["retrieval/image"] == 1
    assert found["nats/image"] > 1
    assert found["nats_low/image"] < found["nats/image"] < found["nats_high/image"]
    assert "nats/text" not in found
    assert "score" not in found
    assert set(session.keys) == found.keys()
    said = "".join(session.remarks.pop_lines())
    assert "log-likelihood per token of each example's own answer, since swapping the text changes 0% of the" in said
    assert session.class_names == ["log-likelihood of the own answer"]


@pytest.mark.slow
def test_a_blind_captioner_loses_nothing_and_recognises_no_picture() -> None:
    found = session_of(captioner(blind=True), of="captions")[0].run().values
    assert found["total/image"] < 0.005
    assert abs(found["nats/image"]) < 0.005
    assert found["retrieval/image"] < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(("sees", "state"), [(True, State.USED), (False, State.COLLAPSED)])
def test_the_alarm_reads_the_nats_of_own_answers(sees: bool, state: State, tmp_path: Path) -> None:
    module, monitor = captioner(blind=not sees), MultimodalMonitor(NAMED, **SIZES)
    alarm = UnimodalCollapse(expected=["image"])
    with (
        nullcontext() if sees else pytest.warns(CollapseWarning, match=r"image: collapsed(?s:.*)0.00\d nats per token")
    ):
        Trainer(callbacks=[monitor, alarm], default_root_dir=tmp_path, accelerator="cpu", **QUIET).validate(
            module, loader(of="captions"), verbose=False
        )
    assert values(monitor)["collapse/image"] == state
    assert "nats lost without image [95 %]" in str(monitor.history)


def labelled_as_a_whole() -> dict[str, Tensor]:
    """Return all sentences with labels at all tokens."""
    whole = batch_of(of="sentences")
    return whole | {"labels": whole["input_ids"].masked_fill(whole["attention_mask"] == 0, -100)}


def test_texts_that_are_labelled_as_a_whole_are_asked_for_the_start_of_answers() -> None:
    with pytest.raises(ConfigurationError, match=r"'labels' labels all tokens.*answer_start="):
        explain(Answering(), [labelled_as_a_whole()], modalities=NAMED, **FEW)


@pytest.mark.slow
def test_answers_begin_behind_the_tokens_that_are_given() -> None:
    start = [VOCABULARY["answer"], VOCABULARY["is"]]
    named = {"image": "pixel_values", "text": Modality("input_ids", answer_start=start)}
    session = Session(SessionConfig(parse_modalities(named), **FEW))
    session.meet(Answering())
    session.collect(labelled_as_a_whole(), range)
    session.dry_run(Answering())
    session.complete()
    assert session.class_names == ANSWERS


@pytest.mark.slow
def test_classes_without_a_tokenizer_are_named_by_their_ids() -> None:
    module = Answering()
    module.tokenizer = None
    assert session_of(module, **FEW)[0].class_names == [f"token {VOCABULARY[answer]}" for answer in ANSWERS]


def test_a_data_module_may_hold_the_tokenizer() -> None:
    module = Answering()
    module._trainer = SimpleNamespace(datamodule=SimpleNamespace(processor=FAMILY.own_processor("right")))
    module.tokenizer = None
    found = next(tokenizers_of(module, parse_modalities(NAMED)))
    assert found.decode([VOCABULARY["red"]]) == "red"


def test_classes_are_the_decoded_answers() -> None:
    one, another = VOCABULARY["red"], VOCABULARY["green"]
    answers = Answers(None, None, tokenizer())  # type: ignore[arg-type]
    assert answers.named([(one, another, VOCABULARY["</s>"]), (another,)]) == ["red green", "green"]
    both = [(one,), (one, VOCABULARY["</s>"]), (another,)]
    assert answers.named(both) == [f"token {one}", f"token {one} token {VOCABULARY['</s>']}", "green"]


@pytest.mark.parametrize(
    "decode", [sorted(VOCABULARY, key=VOCABULARY.__getitem__), VOCABULARY, tokenizer().convert_ids_to_tokens]
)
def test_vocabularies_and_functions_name_answers(decode: Any) -> None:
    answers = Answers(None, None, None, Modality("input_ids", decode=decode))  # type: ignore[arg-type]
    unknown = 10**6
    assert answers.named([(VOCABULARY["two"], VOCABULARY["red"]), (VOCABULARY["blue"],)]) == ["two red", "blue"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answers.named([(unknown,)]) == [f"token {unknown}"]


class Computing(torch.nn.Module):
    """A model whose tokenizer is a property."""

    @property
    def tokenizer(self) -> Any:
        return tokenizer()


def test_collators_data_sets_and_properties_may_hold_the_tokenizer() -> None:
    assert next(tokenizers_of(Computing(), {})).decode([VOCABULARY["red"]]) == "red"
    processor = FAMILY.own_processor("right")
    for held in (
        {"collate_fn": partial(list, processor)},
        {"collate_fn": SimpleNamespace(any_name=processor)},
        {"dataset": SimpleNamespace(processor=processor)},
    ):
        module = torch.nn.Module()
        module._trainer = SimpleNamespace(val_dataloaders=[SimpleNamespace(**held)])
        assert next(tokenizers_of(module, {})) is processor.tokenizer


NAMES = ["rouge", "vert", "bleu", "deux", "trois"]


@pytest.mark.slow
def test_names_of_ones_own_stay() -> None:
    assert session_of(Answering(), class_names=NAMES, **FEW)[0].class_names == NAMES


def test_names_of_other_answers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="class_names has 2 names, but the model has 5 outputs"):
        session_of(Answering(), class_names=NAMES[:2], **FEW)
