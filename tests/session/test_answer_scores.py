"""Which score fits the answers of some examples."""

import pytest
import torch

from mviz_lightning.session.answer_choice import (
    MOST_TOKENS,
    doubts_of_first_tokens,
    doubts_of_whole_answers,
    usual_answers,
    usual_by_first_token,
    usual_first_tokens,
    varied_prompts,
)


def doubts(answers: list[tuple[int, ...]]) -> str:
    return doubts_of_first_tokens(answers, usual_first_tokens(answers))


def test_first_tokens_stand_for_answers_that_they_tell_apart() -> None:
    assert doubts([(1,), (2,), (3, 4), (3, 4), ()]) == ""
    assert usual_first_tokens([(7,), (2, 9), (2, 9), ()]) == [2, 7]


def test_answers_that_begin_alike_are_not_told_apart() -> None:
    assert doubts([(1, 2), (1, 3), (1, 4)]) == "all answers begin with 1 token"
    captions = [(token % 2, token) for token in range(10)]
    assert doubts(captions) == "first tokens distinguish 20% of the answers"


def test_a_class_is_the_usual_answer_with_its_first_token() -> None:
    answers = [(1, 2), (1, 3), (1, 3), (4,), ()]
    assert usual_by_first_token(answers) == {1: (1, 3), 4: (4,)}


def test_too_many_answers_are_not_covered() -> None:
    many = [(token,) for token in range(100)]
    assert len(usual_first_tokens(many)) == MOST_TOKENS
    assert doubts(many) == "64 first tokens cover 64% of the answers"


def test_whole_answers_are_the_usual_ones_that_are_short() -> None:
    answers = [(1, number % 9) for number in range(90)] + [(1, 0)] * 3 + [(1,) * 33] * 9
    found = usual_answers(answers)
    assert len(found) == 8
    assert (1, 0) in found
    assert doubts_of_whole_answers(answers, found) == ""
    assert usual_answers([(5, 6), (), (1,) * 33]) == [(5, 6)]


def test_whole_answers_do_not_stand_for_captions() -> None:
    captions = [(1, number) for number in range(40)]
    assert doubts_of_whole_answers(captions, usual_answers(captions)) == "8 answers cover 20% of the examples"
    assert doubts_of_whole_answers([(1,), ()], [(1,)]) == "1 answer has up to 32 tokens"


def test_prompts_vary_where_swapping_the_text_changes_them() -> None:
    groups = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert varied_prompts([(1,)] * 8, groups) == 0
    assert varied_prompts([(number,) for number in range(8)], groups) == 1
    assert varied_prompts([(1,), (1,), (2,), (2,)] * 2, groups) == pytest.approx(2 / 3)
    assert varied_prompts([(1,), (1,), (1,), (1,), (2,), (2,), (2,), (2,)], groups) == 0  # within groups alone
