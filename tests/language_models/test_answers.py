"""Scores of language models that answer: what they are read from, and what they say of seeing and blind ones."""

import pytest

pytest.importorskip("transformers")

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from language_models.families import FAMILIES, Family, Question
from language_models.rebuilding import modalities_of, probe_of, single_questions
from language_models.tokens import VOCABULARY
from language_models.trained import CAPTIONS, FAMILY, QUESTIONS, Answering, batch_of, loader, trained
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from reference import slow
from torch import Tensor

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.batch import parse_modalities
from mviz_lightning.engine.answer_outputs import check_dropped_answers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.errors import CollapseWarning, NotMeasurableError
from mviz_lightning.functional import half_splits
from mviz_lightning.session.answer_scores import answers_of
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import State

NAMED = {"image": "pixel_values", "text": "input_ids"}

SIZES: dict[str, Any] = {"num_examples": 64, "group_size": 8, "seed": 3}

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
    return trained(200, blind=blind, captions=True)


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
def grid(module: Answering, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return ``(g, g, 5)`` centred logits of the answers, of (example of the picture, example of the question).

    Every row is a question of the processor's own, without its answer.
    """
    tokens, found = [VOCABULARY[answer] for answer in ANSWERS], []
    for one in rows:
        asked = [Question(QUESTIONS[other].words, QUESTIONS[one].items) for other in rows]
        logits = module.model(**FAMILY.batch(asked, "left")).logits[:, -1][:, tokens]
        found.append(logits - logits.mean(1, keepdim=True))
    return torch.stack(found).double().numpy()


def reference(module: Answering, groups: Sequence[Sequence[int]]) -> Mapping[str, float]:
    """Return the shares and scores of groups of questions, one row after another."""
    grids = np.stack([grid(module, group) for group in groups])
    labels = np.array([[ANSWERS.index(QUESTIONS[one].answer) for one in group] for group in groups])
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
    module: Answering, side: str = "right", *, captions: bool = False, named: Mapping[str, str] = NAMED
) -> tuple[Session, list[list[int]]]:
    """Return a session of all questions or captions, and those in its groups."""
    session = Session(SessionConfig(parse_modalities(named), **SIZES))
    order = run_through(session, module, side, captions=captions)
    return session, [[int(order[session.positions[one]]) for one in group] for group in session.probe.groups.tolist()]


def run_through(session: Session, module: Answering, side: str = "right", *, captions: bool = False) -> Tensor:
    """Fix the examples of a session, and return the order of the questions or captions."""
    batches, seen = loader(side, captions=captions), 0
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
    found, wanted = session.run().values, reference(seeing(), groups)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert session.class_names == ANSWERS
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
    with pytest.raises(NotMeasurableError, match="change once the answer is dropped: the model sees the answer"):
        check_dropped_answers(Evaluator(model, answers.predict), answers.language, answers.texts(blind_to_types))


def test_examples_of_a_checkpoint_have_their_answers() -> None:
    session, _ = session_of(Answering())
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


@torch.no_grad()
def likelihoods(module: Answering, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return ``(g, g)`` mean log-likelihoods of a token of captions, of (example of the picture, example of the text).

    Every row is a caption of the processor's own, one after another.
    """
    found = np.zeros((len(rows), len(rows)))
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            batch = FAMILY.batch([replace(CAPTIONS[other], items=CAPTIONS[one].items)])
            found[i, j] = -float(module.model(**batch).loss)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("side", ["right", "left"])
def test_own_answers_are_those_of_the_processors_own_captions(side: str) -> None:
    session, groups = session_of(captioner(blind=False), side, captions=True)
    found = session.run().values
    grids = [likelihoods(captioner(blind=False), group) for group in groups]
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
    assert "log-likelihood of a token of each example's own answer, since swapping the text changes 0% of the" in said
    assert session.class_names == ["log-likelihood of the own answer"]


@pytest.mark.slow
def test_a_blind_captioner_loses_nothing_and_recognises_no_picture() -> None:
    found = session_of(captioner(blind=True), captions=True)[0].run().values
    assert found["total/image"] < 0.005
    assert abs(found["nats/image"]) < 0.005
    assert found["retrieval/image"] < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(("sees", "state"), [(True, State.USED), (False, State.COLLAPSED)])
def test_the_alarm_reads_the_nats_of_own_answers(sees: bool, state: State, tmp_path: Path) -> None:
    module, monitor = captioner(blind=not sees), MultimodalMonitor(NAMED, **SIZES)
    alarm = UnimodalCollapse(expected=["image"])
    with nullcontext() if sees else pytest.warns(CollapseWarning, match=r"image: collapsed(?s:.*)0.00\d nats a token"):
        Trainer(callbacks=[monitor, alarm], default_root_dir=tmp_path, accelerator="cpu", **QUIET).validate(
            module, loader(captions=True), verbose=False
        )
    assert values(monitor)["collapse/image"] == state
    assert "nats lost without image [95 %]" in str(monitor.history)
