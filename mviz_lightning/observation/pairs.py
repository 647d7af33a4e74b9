"""Products of two towers: scores of the first modality of every example against the second of every example.

They are recognised by where tensors come from, whatever loss follows. Either the step computes a product of two
operands that each depend on one modality alone, with a row for each example (CLIP, SigLIP, InfoNCE by hand). Or its
loss takes the embeddings of both modalities (a triplet, a cosine).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from mviz_lightning.engine.dependency_tags import tensors_in
from mviz_lightning.observation.events import VIEWS, name_at
from mviz_lightning.observation.operators import pure
from mviz_lightning.observation.provenance import Computed, Node, Provenance
from mviz_lightning.observation.step_record import StepRecord

COSINES = "cosines"
"""Name of similarities of all pairs that a step did not compute: its loss takes matching embeddings alone."""

ROWS_BY_ROWS = {"linear", "inner", "cdist", COSINES}
"""Operations that combine every row of one operand with every row of the other."""

ROWS_BY_COLUMNS = {"matmul", "mm", "addmm"}
"""Operations that combine every row of one operand with every column of the other."""

TRANSPOSES = {"T", "mT", "t", "transpose", "swapaxes", "permute", "movedim"}
"""Views that exchange rows and columns of a matrix."""

DISTANCES = {"cdist", "sub", "rsub", "pairwise_distance"}
"""Products that are large where two embeddings are far apart."""

SCALINGS = {"add", "radd", "sub", "mul", "rmul", "div", "truediv", "multiply", "divide", "true_divide"}
"""Operations with one number that keep the order of scores."""

REVERSALS = {"neg", "rsub", "negative"}
"""Operations that reverse the order of scores."""

REDUCTIONS = {"sum", "mean", "norm", "amax", "max", "square", "pow", "linalg_vector_norm", "vector_norm"}
"""Reductions between a product and its scores: over the entries of two embeddings, or over their tokens."""

COMPARISONS = {
    functional.cosine_similarity,
    functional.pairwise_distance,
    functional.cosine_embedding_loss,
    functional.triplet_margin_loss,
    functional.triplet_margin_with_distance_loss,
    functional.mse_loss,
}
"""Losses and distances of embeddings that belong together."""


@dataclass(frozen=True)
class PairProduct:
    """Scores of all pairs of two modalities.

    Attributes:
        node: The product of their embeddings.
        modalities: Names of the two modalities, in declared order.
        operands: The operands of the product, in the order of the modalities.
        sign: 1 if larger scores mean nearer, -1 if they mean farther apart.
    """

    node: Computed
    modalities: tuple[str, str]
    operands: tuple[Node, Node]
    sign: int

    @property
    def towers(self) -> tuple[Node, Node]:
        """The embeddings: the operands before views and scales."""
        return _origin(self.operands[0]), _origin(self.operands[1])

    @property
    def embeddings(self) -> tuple[Node, Node] | None:
        """The embeddings of both modalities; None where they are not one vector for each example."""
        rows = self.node.shape[0]
        vectors = all(len(tower.shape) == 2 and tower.shape[0] == rows for tower in self.towers)
        return self.towers if vectors else None

    def is_of(self, other: "PairProduct") -> bool:
        """Return whether both are products of the same embeddings."""
        return {id(tower) for tower in self.towers} == {id(tower) for tower in other.towers}


def product_of(node: Node, record: StepRecord) -> PairProduct | None:
    """Return the product of two towers whose scaled or shifted scores a tensor holds; None for anything else."""
    if len(node.shape) < 2 or node.shape[:2] != (record.count,) * 2 or record.count < 2 or node.tags & record.others:
        return None
    sign = 1
    while isinstance(node, Computed):
        operands = [one for one in node.inputs if one.tags]
        if len(operands) == 2:
            return _crossed(node, operands, sign, record)
        if len(operands) != 1 or not _keeps_pairs(node, operands[0]):
            return None
        sign, node = sign * _direction(node), operands[0]
    return None


def noted_product(node: Computed, record: StepRecord) -> PairProduct | None:
    """Return the result of :func:`product_of`; if it is None, note the products in the tensor as used."""
    found = product_of(node, record)
    for product in () if found is not None else filter(None, (product_of(one, record) for one in node.inputs)):
        record.note_used(product.node)
    return found


def is_used(product: PairProduct, record: StepRecord) -> bool:
    """Return whether the step uses the scores of all pairs of two towers; a model may return unused ones."""
    given = (link.node for event in record.events if event.kind == "metric" for link in event.scores)
    found = (product_of(node, record) for node in (*record.used, *given))
    supposed = product.node.name == COSINES  # similarities of embeddings that the step itself compares
    return supposed or any(one is not None and one.is_of(product) for one in found)


def _crossed(node: Computed, operands: list[Node], sign: int, record: StepRecord) -> PairProduct | None:
    """Return the product that an operation computes; None if its operands are not two towers."""
    if not are_towers(operands, record) or not _crosses(node, operands, record.count):
        return None
    sign *= -1 if pure(node.name) in DISTANCES else 1
    first, second = sorted(operands, key=lambda one: record.schema.names.index(str(_modality_of(one, record))))
    names = str(_modality_of(first, record)), str(_modality_of(second, record))
    return PairProduct(node, names, (first, second), sign)


def are_towers(operands: Sequence[Node], record: StepRecord) -> bool:
    """Return whether two tensors depend on one modality each, and on different ones."""
    names = [_modality_of(one, record) for one in operands]
    return None not in names and names[0] != names[1]


def _modality_of(node: Node, record: StepRecord) -> str | None:
    """Return the one modality that a learned tensor depends on; None if it depends on others, or on other leaves."""
    if not node.learned or node.tags & record.others:
        return None
    found = [name for name, tags in record.modalities.items() if node.tags & tags]
    return found[0] if len(found) == 1 else None


def _crosses(node: Computed, operands: list[Node], count: int) -> bool:
    """Return whether an operation combines every row of one operand with every row of the other."""
    if node.shape[:2] != (count, count):
        return False
    if pure(node.name) == "einsum":
        return _einsum_crosses(str(node.arguments[0][0]))
    if pure(node.name) in ROWS_BY_ROWS | ROWS_BY_COLUMNS:
        turned = [_is_transposed(one) for one in operands]
        return turned == [False, pure(node.name) in ROWS_BY_COLUMNS] and all(len(one.shape) == 2 for one in operands)
    return {one.shape[:2] for one in operands} == {(count, 1), (1, count)}


def _einsum_crosses(equation: str) -> bool:
    given, _, made = equation.replace(" ", "").partition("->")
    left, _, right = given.partition(",")
    rows, columns = made[:1], made[1:2]
    apart = (rows in left and rows not in right, columns in right and columns not in left)
    crossed = (rows in right and rows not in left, columns in left and columns not in right)
    return bool(rows and columns) and (all(apart) or all(crossed))


def _keeps_pairs(node: Computed, operand: Node) -> bool:
    """Return whether an operation keeps the pair that each score belongs to, and the order of the scores."""
    name = pure(node.name)
    numbers = all(math.prod(one.shape) == 1 for one in node.inputs if one is not operand)
    kept = name in VIEWS | SCALINGS | REVERSALS | {"sqrt"}
    return numbers and (kept or (name in REDUCTIONS and len(operand.shape) > 2))


def _direction(node: Computed) -> int:
    """Return -1 if an operation reverses the order of scores, else 1."""
    name, given = pure(node.name), node.arguments[0]
    turned = name == "sub" and len(given) > 1 and isinstance(given[1], Node) and bool(given[1].tags)
    factors = (
        [one for one in given if isinstance(one, int | float)] if name in ("mul", "rmul", "div", "truediv") else []
    )
    return -1 if name in REVERSALS or turned or any(one < 0 for one in factors) else 1


def _origin(node: Node) -> Node:
    """Return the embeddings behind an operand that is a view of them, or a multiple."""
    return list(_to_origin(node))[-1]


def _is_transposed(node: Node) -> bool:
    """Return whether a matrix has the examples in its columns."""
    return len([one for one in _to_origin(node) if name_at(one) in TRANSPOSES]) % 2 == 1


def _to_origin(node: Node) -> Iterator[Node]:
    """Yield an operand and the tensors of which it is a view, or a multiple."""
    yield node
    while isinstance(node, Computed):
        operands = [one for one in node.inputs if one.tags]
        whole = len(operands) == 1 and math.prod(operands[0].shape) == math.prod(node.shape)
        if not whole or not (_keeps_pairs(node, operands[0]) or node.name == "__getitem__"):
            break
        node = operands[0]
        yield node


def compared_embeddings(func: Any, args: Any) -> tuple[Tensor, Tensor] | None:
    """Return ``(B, D)`` tensors that a loss or a distance compares row by row, as matching embeddings; None for others.

    Args:
        func: The operation.
        args: Its arguments.
    """
    if func not in COMPARISONS or len(args) < 2:
        return None
    first, second = args[:2]
    if not all(isinstance(one, Tensor) and one.dim() == 2 for one in (first, second)) or first.shape != second.shape:
        return None
    told = args[2] if func is functional.cosine_embedding_loss and len(args) > 2 else None
    return None if isinstance(told, Tensor) and not bool((told == 1).all()) else (first, second)


def embeddings_given(
    product: PairProduct | None, node: Computed, args: Any, provenance: Provenance
) -> Iterator[Tensor]:
    """Yield the operands of a product among the arguments of the operation that computes it, examples in the rows.

    Args:
        product: The product; None if an operation computes none.
        node: What the operation computed.
        args: Its arguments.
        provenance: Where tensors come from.
    """
    for one in tensors_in(args) if product is not None and product.node is node else ():
        operand = provenance.of(one)
        if product is not None and operand in product.operands:
            rows = one.mT if _is_transposed(operand) else one
            provenance.put(rows, operand)
            yield rows


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return ``(B, B)`` cosine similarities of every row of one tensor with every row of another."""
    left, right = (functional.normalize(one, dim=1) for one in (first, second))
    return left @ right.T
