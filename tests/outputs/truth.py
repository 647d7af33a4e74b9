"""What the monitor has to find, computed a second time: one pair of examples after the other, in loops.

The estimators in loops are those of ``tests/reference/slow.py``; here stand what a head, a position and a score are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from reference import slow
from reference.slow import Array
from torch import Tensor

from mviz_lightning.functional import Task
from mviz_lightning.functional.anova import half_splits

Scores = Callable[[Tensor, Tensor], Tensor]
"""Inputs ``(1, ...)`` of two modalities -> scores ``(1, C)``."""

Score = Callable[[Array, Array], float]
"""Outputs ``(n, C)`` and labels ``(n, ...)`` -> one number."""


def accuracy(outputs: Array, labels: Array) -> float:
    if outputs.shape[1] == 1:
        return float(np.mean((outputs[:, 0] > 0) == (labels > 0.5)))
    return slow.accuracy(list(outputs), labels.astype(int).tolist())


def r2(outputs: Array, labels: Array) -> float:
    """Return R², on average over the values that are predicted."""
    found = outputs.reshape(len(outputs), -1), labels.reshape(len(outputs), -1)
    missed = ((found[0] - found[1]) ** 2).sum(0)
    return float(np.mean(1 - missed / ((found[1] - found[1].mean(0)) ** 2).sum(0)))


def ranking_precision(outputs: Array, labels: Array) -> float:
    """Return the label-ranking average precision."""
    found = []
    for values, row in zip(outputs, labels, strict=True):
        true = [c for c in range(len(row)) if row[c] > 0]
        found.append(
            np.mean([sum(values[d] >= values[c] for d in true) / sum(values >= values[c]) for c in true])
            if true
            else 1.0
        )
    return float(np.mean(found))


DEFAULT: dict[Task, Score] = {
    "multiclass": accuracy,
    "binary": accuracy,
    "multilabel": ranking_precision,
    "regression": r2,
}


@dataclass(frozen=True)
class Grids:
    """The scores of one head for every pair within every group, and the labels of the examples.

    Attributes:
        scores: ``(G, g, g, C)``: the first modality of example i with the second of example j.
        labels: ``(G, g, ...)``; -100, or NaN, where an example has none.
        task: What the scores stand for.
        score: Outputs and labels -> one number; None for the default of the task.
    """

    scores: Array
    labels: Array
    task: Task
    score: Score | None = None

    @classmethod
    def of(cls, scores: Scores, left: Tensor, right: Tensor, labels: Tensor, groups: Tensor, *rest: object) -> "Grids":
        with torch.no_grad():
            found = [
                [[scores(left[i : i + 1], right[j : j + 1])[0].double().numpy() for j in group] for i in group]
                for group in groups.tolist()
            ]
        return cls(np.array(found), labels[groups].double().numpy(), *rest)  # type: ignore[arg-type]

    def shares(self, seed: int = 0) -> dict[str, float]:
        """Return contributions, totals and interaction of the modalities 0 and 1."""
        found = slow.share_ratios(np.mean([self._components(grid, seed) for grid in self._centred()], 0), 2)
        return dict(zip(("contribution/0", "contribution/1", "total/0", "total/1", "interaction"), found, strict=True))

    def _centred(self) -> Array:
        if self.task == "multiclass":
            return self.scores - self.scores.mean(-1, keepdims=True)
        if self.task == "regression" and self.scores.shape[-1] > 1:
            known = self.labels.reshape(-1, self.labels.shape[-1])
            return self.scores / known[~np.isnan(known).any(1)].std(0, ddof=1)
        return self.scores

    @staticmethod
    def _components(grid: Array, seed: int) -> Array:
        first, second, both = slow.split_components(grid, half_splits(len(grid), 16, seed).numpy())
        return np.array([first + second + both, first, second, first + both, second + both, both])

    def decided(self, seed: int = 0) -> dict[str, float]:
        """Return the score, that of the unimodal contributions alone, what swaps cost, and how often these decide."""
        real = self._score(self._own())
        additive = 2 * self._score(self._unimodal(range(self.scores.shape[1]))) - self._score(
            [pair for half in self._halves(seed) for pair in self._unimodal(half)]
        )
        found = {"score": real, "emap_score": additive, "emap_gap": real - additive}
        found |= {f"perceptual/{m}": real - self._score(list(self._swapped(m))) for m in (0, 1)}
        return found if self.task == "regression" else found | {f"flips/{m}": self._flips(m) for m in (0, 1)}

    def _halves(self, seed: int) -> list[list[int]]:
        return half_splits(self.scores.shape[1], 4, seed).flatten(0, 1).tolist()  # type: ignore[no-any-return]

    def _score(self, pairs: Sequence[tuple[Array, Array]]) -> float:
        known = [(outputs, label) for outputs, label in pairs if not (np.isnan(label) | (label == -100)).any()]
        outputs, labels = (np.array(part) for part in zip(*known, strict=True))
        return (self.score or DEFAULT[self.task])(outputs, labels)

    def _own(self) -> list[tuple[Array, Array]]:
        return [(grid[i, i], label[i]) for grid, label in self._groups() for i in range(len(grid))]

    def _groups(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.scores, self.labels, strict=True)

    def _unimodal(self, donors: Sequence[int]) -> list[tuple[Array, Array]]:
        found = []
        for grid, label in self._groups():
            for i in range(len(grid)):
                kept = [i, *(k for k in donors if k != i)]
                found.append((slow.unimodal_contribution(grid[np.ix_(kept, kept)])[0], label[i]))
        return found

    def _swapped(self, modality: int) -> Iterator[tuple[Array, Array]]:
        for grid, label in self._groups():
            for i, j in product(range(len(grid)), repeat=2):
                if i != j:
                    yield (grid[j, i] if modality == 0 else grid[i, j]), label[i]

    def _flips(self, modality: int) -> float:
        """Return how often a swap changes the prediction, over how often another example has another one."""
        changed = np.mean(
            [
                self._distance(grid[i, i], grid[j, i] if modality == 0 else grid[i, j])
                for grid, _ in self._groups()
                for i, j in product(range(len(grid)), repeat=2)
                if i != j
            ]
        )
        own = [outputs for outputs, _ in self._own()]
        others = [self._distance(own[i], own[j]) for i, j in product(range(len(own)), repeat=2) if i != j]
        return float(changed / np.mean(others)) if any(others) else 0.0

    def _distance(self, one: Array, other: Array) -> float:
        """Return half the squared distance of two decisions: 1 for two classes, a half for each label."""
        if self.task == "multiclass":
            return float(np.argmax(one) != np.argmax(other))
        return float(((one > 0) != (other > 0)).sum()) / 2


@dataclass(frozen=True)
class Maps:
    """The scores of every position for every pair within every group, and the labels of all positions.

    Attributes:
        scores: ``(G, g, g, P, C)``.
        labels: ``(G, g, P, ...)``; -100, or NaN, where a position has none.
        task: What the scores stand for.
        score: Outputs and labels of all labelled positions -> what is right; None where nothing is compared.
    """

    scores: Array
    labels: Array
    task: Task
    score: Score | None = None

    @classmethod
    def of(
        cls,
        maps: Scores,
        left: Tensor,
        right: Tensor,
        labels: Tensor,
        groups: Tensor,
        task: Task,
        score: Score | None = None,
        lengths: Tensor | None = None,
    ) -> "Maps":
        """Evaluate every pair alone.

        Args:
            maps: Inputs of two modalities -> ``(1, C, *positions)``.
            left: The first modality of all examples.
            right: The second.
            labels: ``(N, *positions)``, or ``(N, C, *positions)``.
            groups: ``(G, g)``.
            task: What the scores stand for.
            score: Of all labelled positions.
            lengths: ``(N,)`` where positions are entries of the first modality, which is padded: slots at equal
                distances along each example's own entries then take the place of positions.
        """
        with torch.no_grad():
            found = [
                [
                    [_slots(maps(left[i : i + 1], right[j : j + 1])[0].flatten(1).T, lengths, i) for j in group]
                    for i in group
                ]
                for group in groups.tolist()
            ]
        outputs = np.array([[[one.double().numpy() for one in row] for row in rows] for rows in found])
        by_position = labels.flatten(2).transpose(1, 2) if labels.dim() > 1 and _has_classes(labels, found) else None
        by_position = labels.flatten(1) if by_position is None else by_position
        told = torch.stack([_slots(row, lengths, place) for place, row in enumerate(by_position)])
        return cls(outputs, told[groups].double().numpy(), task, score)

    def shares(self, seed: int = 0) -> dict[str, float]:
        """Return shares over all labelled positions: of every position alone, before their components are averaged."""
        splits = half_splits(self.scores.shape[1], 16, seed).numpy()
        components, weights = [], []
        for grid, label in zip(self._centred(), self.labels, strict=True):
            for position in range(grid.shape[2]):
                known = ~_unknown(label[:, position]).reshape(len(grid), -1).any(1)
                components.append(_split_components(grid[:, :, position], splits))
                weights.append(known.sum())
        first, second, both = np.average(components, 0, weights)
        found = slow.share_ratios(
            np.array([first + second + both, first, second, first + both, second + both, both]), 2
        )
        return dict(zip(("contribution/0", "contribution/1", "total/0", "total/1", "interaction"), found, strict=True))

    def _centred(self) -> Array:
        return self.scores - self.scores.mean(-1, keepdims=True) if self.task == "multiclass" else self.scores

    def scaled(self) -> "Maps":
        """Return the scores of one value, each position in units of its target's standard deviation."""
        spread = self.labels.reshape(-1, self.labels.shape[2]).std(0, ddof=1)
        return replace(self, scores=self.scores / spread[:, None])

    def real_score(self, score: Score) -> float:
        """Return the score of the real examples at all labelled positions."""
        outputs, labels = [], []
        for grid, label in zip(self.scores, self.labels, strict=True):
            for i, position in product(range(len(grid)), range(grid.shape[2])):
                if not _unknown(label[i, position]).any():
                    outputs.append(grid[i, i, position])
                    labels.append(label[i, position])
        return score(np.array(outputs), np.array(labels))


def _has_classes(labels: Tensor, found: Sequence[Sequence[Sequence[Tensor]]]) -> bool:
    """Tell whether labels have a dimension of classes, ``(N, C, *positions)``."""
    positions, classes = found[0][0][0].shape
    return labels[0].numel() == positions * classes and labels.shape[1] == classes and labels.dim() > 2


def _slots(values: Tensor, lengths: Tensor | None, example: int) -> Tensor:
    """Return the values of 60 slots: 60 is a multiple of all lengths up to 6, so that each entry has its share."""
    if lengths is None:
        return values
    return values[((torch.arange(60) + 0.5) / 60 * lengths[example]).long()]


def _unknown(labels: Array) -> Array:
    return np.isnan(labels) | (labels == -100)


def _split_components(grid: Array, splits: Array) -> Array:
    """Return what ``slow.split_components`` does, with all outputs at once."""
    found = []
    for one, other in splits:
        for rows, columns in ((one, other), (other, one)):
            block = grid[np.ix_(rows, columns)]
            k = len(rows)
            row, column, grand = block.mean(1), block.mean(0), block.mean((0, 1))
            residual = ((block - row[:, None] - column[None] + grand) ** 2).sum() / (k - 1) ** 2
            first = ((row - grand) ** 2).sum() / (k - 1) - residual / k
            second = ((column - grand) ** 2).sum() / (k - 1) - residual / k
            found.append([first, second, residual])
    return np.mean(found, axis=0)  # type: ignore[no-any-return]


def jaccard(outputs: Array, labels: Array) -> float:
    """Return the intersection over the union of each class that is there or guessed, on average (mIoU)."""
    return _mean_of_classes(outputs, labels, lambda both, one, other: both / (one + other - both))


def f1(outputs: Array, labels: Array) -> float:
    """Return the F1 score of each class that is there or guessed, on average."""
    return _mean_of_classes(outputs, labels, lambda both, one, other: 2 * both / (one + other))


def _mean_of_classes(outputs: Array, labels: Array, score: Callable[[int, int, int], float]) -> float:
    found = []
    for guessed, true in _yes_or_no(outputs, labels):
        if (guessed | true).any():
            found.append(score((guessed & true).sum(), guessed.sum(), true.sum()))
    return float(np.mean(found))


def _yes_or_no(outputs: Array, labels: Array) -> Iterator[tuple[Array, Array]]:
    """Yield what is guessed and what is true, of each class or label."""
    if outputs.shape[1] == 1:
        yield outputs[:, 0] > 0, labels.reshape(-1) > 0.5
    elif labels.ndim == 2:
        yield from zip((outputs > 0).T, (labels > 0.5).T, strict=True)
    else:
        yield from ((outputs.argmax(1) == c, labels == c) for c in range(outputs.shape[1]))


# -- Embeddings and retrieval ------------------------------------------------------------------------------------------


def unit(embeddings: Array) -> Array:
    return np.array([row / np.sqrt(sum(row**2)) for row in embeddings])


def geometry(left: Array, right: Array) -> dict[str, float]:
    """Return the modality gap, the alignment, and uniformity and effective rank of both sides, from their definitions.

    Liang et al. 2022; Wang & Isola 2020 (alpha = 2, t = 2); Roy & Vetterli 2007, of centred embeddings.
    """
    left, right = unit(left), unit(right)
    gap = np.sqrt(sum((left.mean(0) - right.mean(0)) ** 2))
    near = np.mean([sum((a - b) ** 2) for a, b in zip(left, right, strict=True)])
    found = {"modality_gap": gap, "alignment": near}
    for place, side in enumerate((left, right)):
        pairs = [np.exp(-2 * sum((side[i] - side[j]) ** 2)) for i in range(len(side)) for j in range(i)]
        found[f"uniformity/{place}"] = np.log(np.mean(pairs))
        found[f"effective_rank/{place}"] = _effective_rank(side)
    return {key: float(value) for key, value in found.items()}


def _effective_rank(points: Array) -> float:
    values = np.linalg.svd(points - points.mean(0), compute_uv=False)
    values = values[values > 1e-9]
    if not len(values):
        return 1.0
    parts = values / values.sum()
    return float(np.exp(-sum(part * np.log(part) for part in parts)))


@dataclass(frozen=True)
class Lookup:
    """Retrieval within groups: whose partner each example finds among those of its group.

    Attributes:
        scores: ``(G, g, g)`` of the first modality of example i and the second of example j.
        same: ``(G, g, g)`` bool: pairs that belong together: the own ones, and copies.
    """

    scores: Array
    same: Array

    @classmethod
    def of(cls, left: Array, right: Array, groups: Tensor, inputs: tuple[Tensor, Tensor]) -> "Lookup":
        left, right = unit(left), unit(right)
        scores = np.array([[[sum(left[i] * right[j]) for j in row] for i in row] for row in groups.tolist()])
        first, second = inputs
        same = [
            [[torch.equal(first[i], first[j]) or torch.equal(second[i], second[j]) for j in row] for i in row]
            for row in groups.tolist()
        ]
        return cls(scores, np.array(same))

    def score(self) -> float:
        """Return the accuracy of the nearest partner, on average over both directions."""
        both = [self._found(grid, same) for grid, same in self._directions()]
        return float(np.mean(both))

    def perceptual(self, modality: int) -> float:
        """Return the accuracy that is lost when the query is that of another example of the group."""
        lost = []
        for grid, same in self._of_queries(modality):
            for i, k in product(range(len(grid)), repeat=2):
                if i != k:
                    lost.append(self._hit(grid[i], same[i]) - self._hit(grid[k], same[i]))
        return float(np.mean(lost))

    def _of_queries(self, modality: int) -> Iterator[tuple[Array, Array]]:
        for grid, same in zip(self.scores, self.same, strict=True):
            yield (grid, same) if modality == 0 else (grid.T, same.T)

    def _directions(self) -> Iterator[tuple[Array, Array]]:
        for modality in (0, 1):
            yield from self._of_queries(modality)

    def _found(self, grid: Array, same: Array) -> float:
        return float(np.mean([self._hit(row, right) for row, right in zip(grid, same, strict=True)]))

    @staticmethod
    def _hit(scores: Array, right: Array) -> float:
        """Return how many of the nearest partners, of which there may be several, are right."""
        nearest = scores >= scores.max() - 1e-12
        return float((nearest & right).sum() / nearest.sum())
