"""Choose which answers are compared: first tokens, whole answers, or each example's own answer alone."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_TOKENS = 64
"""Largest number of first tokens that are compared: the shares are computed on their logits."""

COVERED = 0.9
"""Smallest fraction of the examples whose answers begin with one of these tokens."""

TOLD_APART = 0.9
"""Smallest fraction of the examples that have the most frequent answer with their first token."""

VARIED = 0.2
"""Smallest fraction of pairs of examples with different prompts; two equally frequent kinds of questions have 0.5."""

FEWEST = 2
"""Smallest number of first tokens or of whole answers: a single one cannot be compared."""

MOST_ANSWERS = 8
"""Largest number of whole answers that are compared: each answer takes one forward pass of every row."""

LONGEST = 32
"""Largest number of tokens of a whole answer."""

KNOWN = 0.5
"""Smallest fraction of the examples whose own answer is among the whole answers."""


def usual_first_tokens(answers: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the most frequent first tokens of answers, sorted."""
    counts = Counter(answer[0] for answer in answers if answer)
    return sorted(token for token, _ in counts.most_common(MOST_TOKENS))


def doubts_of_first_tokens(answers: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> str:
    """Return why first tokens cannot represent the answers; empty if they can.

    Args:
        answers: The tokens of each answer.
        tokens: The first tokens that would be compared.
    """
    known = [answer for answer in answers if answer]
    covered = [answer for answer in known if answer[0] in tokens]
    usual = sum(answer in usual_by_first_token(covered).values() for answer in covered)
    if len(tokens) < FEWEST:
        return f"all answers begin with {len(tokens)} token"
    if len(covered) < COVERED * len(known):
        return f"{len(tokens)} first tokens cover {len(covered) / len(known):.0%} of the answers"
    if usual < TOLD_APART * len(covered):
        return f"first tokens distinguish {usual / len(covered):.0%} of the answers"
    return ""


def usual_by_first_token(answers: Sequence[tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    """Return first token -> the most frequent answer that begins with it."""
    counts = Counter(answer for answer in answers if answer)
    return {answer[0]: answer for answer, _ in reversed(counts.most_common())}


def usual_answers(answers: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the most frequent answers that are short enough, sorted."""
    counts = Counter(answer for answer in answers if 0 < len(answer) <= LONGEST)
    return sorted(answer for answer, _ in counts.most_common(MOST_ANSWERS))


def doubts_of_whole_answers(answers: Sequence[tuple[int, ...]], candidates: Sequence[tuple[int, ...]]) -> str:
    """Return why these whole answers cannot represent all answers; empty if they can.

    Args:
        answers: The tokens of each answer.
        candidates: The whole answers that would be compared.
    """
    known = [answer for answer in answers if answer]
    own = sum(answer in candidates for answer in known)
    if len(candidates) < FEWEST:
        return f"{len(candidates)} answer has up to {LONGEST} tokens"
    return f"{len(candidates)} answers cover {own / len(known):.0%} of the examples" if own < KNOWN * len(known) else ""


def varied_prompts(prompts: Sequence[tuple[int, ...]], groups: Tensor) -> float:
    """Return the fraction of pairs of examples with different prompts, among all pairs within a group.

    Args:
        prompts: The tokens of each prompt, without those of items.
        groups: ``(G, g)`` examples.
    """
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    found = torch.tensor([numbers[prompt] for prompt in prompts])[groups]
    differ = (found.unsqueeze(2) != found.unsqueeze(1)).double().sum((1, 2))
    return float((differ / (groups.shape[1] * (groups.shape[1] - 1))).mean())
