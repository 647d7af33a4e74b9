"""Values of coalitions of modalities: Shapley values, Shapley interactions, and InterSHAP.

A coalition S of M modalities has the value ``v(S) = E[f(x_S, the other modalities of other examples)]``. Everything
here is linear in these values. The caller chooses what replaces an absent modality: other examples, a mean or zeros.
The classes of :mod:`~mviz_lightning.functional.coalition_designs` use other examples.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from math import factorial
from typing import NamedTuple

import torch
from torch import Tensor


class ShapleyValues(NamedTuple):
    """Shapley values, and the standard error of each over independent draws of donors; NaN if there is one draw."""

    value: Tensor
    error: Tensor


def all_coalitions(players: int) -> Tensor:
    """Return ``(2^M, M)`` bool: coalition k has player m if bit m of k is 1; the first is empty, the last full."""
    codes = torch.arange(2**players).unsqueeze(1)
    return codes.bitwise_right_shift(torch.arange(players)).bitwise_and(1).bool()


def modality_shapley(values: Tensor) -> Tensor:
    """Return the Shapley value of every modality (Shapley 1953).

    ``phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (v(S and m) - v(S))``. They add up to v(all) - v(none).
    For two modalities ``phi_a = U_a + MI / 2``, with ``U_a = v(a) - v(none)`` and MI of DIME.

    Space: that of the values. Baseline: that of the values; with :func:`coalition_design` the product of the marginals.
    Do not compare them with Shapley values whose absent modalities are masked with zeros (SHAPE, Hu et al. 2022):
    on redundant modalities the two differ in sign.

    Args:
        values: ``(..., 2^M, C)`` values in the order of :func:`all_coalitions`.

    Returns:
        ``(..., M, C)``.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0], [1.0], [2.0], [5.0]])  # none, a, b, both: U = 1 and 2, MI = 2
        >>> modality_shapley(values).flatten()
        tensor([2., 3.])
    """
    players = values.shape[-2].bit_length() - 1
    return torch.einsum("mk,...kc->...mc", _value_weights(players).to(values), values)


def shapley_interactions(values: Tensor) -> Tensor:
    """Return the matrix of Shapley interactions that InterSHAP uses (Wenderoth et al. 2025, eq. 3 and 4).

    Off the diagonal: half of the Shapley interaction index (Grabisch & Roubens 1999), ``phi_ij = sum over S without i,
    j of |S|! (M - |S| - 2)! / (2 (M - 1)!) (v(S, i, j) - v(S, i) - v(S, j) + v(S))``. On the diagonal: the rest of the
    Shapley value, ``phi_ii = phi_i - sum of phi_ij``, so that a row adds up to the Shapley value. For two modalities
    ``phi_ab = MI / 2`` and ``phi_aa = U_a``.

    Args:
        values: ``(..., 2^M, C)`` values in the order of :func:`all_coalitions`.

    Returns:
        ``(..., M, M, C)``, symmetric.
    """
    players = values.shape[-2].bit_length() - 1
    pairs = torch.einsum("mnk,...kc->...mnc", _pair_weights(players).to(values), values)
    own = modality_shapley(values) - pairs.sum(-2)
    return pairs + torch.diag_embed(own.movedim(-2, -1)).movedim(-3, -1)


def intershap(interactions: Tensor) -> Tensor:
    """Return InterSHAP: interactions as a fraction of all effects of the modalities (Wenderoth et al., AAAI 2025).

    ``sum over i != j of |phi_ij| / sum over i, j of |phi_ij|``; for two modalities ``|MI| / (|MI| + |U_a| + |U_b|)``.
    It is 0 for an additive model and 1 where no modality has an effect alone. For one example, pass its matrix. For the
    global value of the paper's tables, pass the **mean matrix** of all examples, so that absolute values are taken
    after the mean. The mean of single examples' values is another number: it contains the noise of every example.

    Space: the paper uses the softmax probability of the predicted class. There saturation counts as interaction, so an
    additive model of logits is not at 0. Baseline: that of the values; the paper uses other examples. Do not compare it
    with ``interaction`` of :func:`contribution_shares`, a share of variance of the logits, nor with values whose
    baseline is zeros or the mean input.

    Args:
        interactions: ``(..., M, M, C)`` of :func:`shapley_interactions`; absolute values are summed over C outputs.

    Returns:
        ``(...)`` in 0..1; 0 where all effects are 0. Mirrored by :class:`~mviz_lightning.metrics.InterSHAP`.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.5], [0.5], [0.5], [1.0]])  # none, a, b, both: an XOR
        >>> intershap(shapley_interactions(values))
        tensor(1.)
    """
    sizes = interactions.abs().sum(-1)
    everything = sizes.sum((-2, -1))
    alone = sizes.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.where(everything > 0, (everything - alone) / everything, 0.0)


def shapley_shares(sizes: Tensor) -> Tensor:
    """Return the share of every modality in the absolute Shapley values of all: ``mean |phi_m| / sum of mean |phi|``.

    Space: logits, where :class:`~mviz_lightning.metrics.ModalityShapley` takes it. Interactions count half for each of
    two modalities, so that a pure XOR gives each modality 0.5. Absolute values make noise positive: the share of an
    unused modality is exactly 0, but the share of a weakly used modality is overestimated. Do not compare the shares
    with ``contribution`` and ``total`` of :func:`contribution_shares`, which are shares of variance, nor with MM-SHAP.

    Args:
        sizes: ``(..., M)`` mean absolute Shapley values over examples.

    Returns:
        ``(..., M)`` that add up to 1; all are 0 where all sizes are 0. Mirrored by
        :class:`~mviz_lightning.metrics.ModalityShapley`.
    """
    everything = sizes.sum(-1, keepdim=True)
    return torch.where(everything > 0, sizes / everything, 0.0)


def permutation_gains(chain: Tensor, order: Tensor) -> Tensor:
    """Return the gain of every modality when modalities join in a given order.

    The mean over random orders is the Shapley value. Take every order with its reverse: the errors of pairs of
    modalities then cancel (antithetic sampling, Mitchell et al. 2022).

    Args:
        chain: ``(..., M + 1, C)`` values of the growing coalition, from the empty one to the full one.
        order: ``(..., M)`` long, broadcastable to the chain: the modality that joins first, second and so on.

    Returns:
        ``(..., M, C)`` gains, by modality.
    """
    place = order.argsort(-1).unsqueeze(-1)
    gains = chain.diff(dim=-2)
    return gains.gather(-2, place.expand(gains.shape))


def shapley_estimate(draws: Tensor) -> ShapleyValues:
    """Return the mean of independent estimates of Shapley values, and its standard error.

    Args:
        draws: ``(..., J, M, C)`` estimates, each with other donors or another order.

    Returns:
        Value and error, each ``(..., M, C)``; the error is NaN for one draw.
    """
    count = draws.shape[-3]
    spread = draws.std(-3) if count > 1 else torch.full_like(draws[..., 0, :, :], torch.nan)
    return ShapleyValues(draws.mean(-3), spread / count**0.5)


@lru_cache(maxsize=16)
def _value_weights(players: int) -> Tensor:
    """Return ``(M, 2^M)``: the weight of every coalition in the Shapley value of every player."""

    def weight(size: int) -> float:
        return factorial(size) * factorial(players - size - 1) / factorial(players)

    return _differences(players, 1, weight).squeeze(1)


@lru_cache(maxsize=16)
def _pair_weights(players: int) -> Tensor:
    """Return ``(M, M, 2^M)``: the weight of every coalition in the interaction of every pair; 0 on the diagonal."""

    def weight(size: int) -> float:
        return factorial(size) * factorial(players - size - 2) / (2 * factorial(players - 1))

    found = torch.zeros(players, players, 2**players, dtype=torch.float64)
    pairs = list(combinations(range(players), 2))
    for (a, b), row in zip(pairs, _differences(players, 2, weight), strict=True):
        found[a, b] = found[b, a] = row
    return found


def _differences(players: int, order: int, weight: Callable[[int], float]) -> Tensor:
    """Return a row for each set of ``order`` players: the signed weight of every coalition in the set's difference.

    A coalition that contains t players of the set has the sign ``(-1)^(order - t)``. ``weight`` maps the number of its
    other members to its weight.
    """
    masks = all_coalitions(players)
    rows = []
    for chosen in combinations(range(players), order):
        inside = masks[:, list(chosen)].sum(1)
        others = masks.sum(1) - inside
        sizes = torch.tensor([weight(size) for size in others.tolist()], dtype=torch.float64)
        rows.append(sizes * (1 - 2 * ((order - inside) % 2)))
    return torch.stack(rows) if rows else torch.zeros(0, 2**players, dtype=torch.float64)
