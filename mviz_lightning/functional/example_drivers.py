"""What drives single predictions: one modality, the interaction, or several effects; with standard errors."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mviz_lightning.functional.additive_fit import AdditiveFit, additive_fit
from mviz_lightning.functional.designs import Design
from mviz_lightning.functional.subsets import distinct_members
from mviz_lightning.functional.uc_and_mi import donor_error

DOMINANT = 2.0
"""Smallest size of a driver's effect, relative to all other effects (root of their summed squares). The driver then has
80 % of the sum of squares; a feature counts as unimodal at the same threshold."""

MOST_SURE = 1000.0
"""Largest number of standard errors that is reported: a cap, because an additive model has errors of 0."""


class ExampleEffects(NamedTuple):
    """One output of every example, split into effects; K = M + 1 effects: those of the modalities, then MI.

    Attributes:
        value: ``(G, g, K)``: ``U_m(i) = E[f | x_m] - E[f]``, and ``MI(i) = f(x_i) - E[f] - sum_m U_m(i)``.
        error: ``(G, g, K)`` standard errors.
        driver: ``(G, g)`` long: the effect that dominates; K where none does.
        sureness: ``(G, g)``: distance to the nearest change of driver, in standard errors.
    """

    value: Tensor
    error: Tensor
    driver: Tensor
    sureness: Tensor


def example_effects(outputs: Tensor, design: Design, chosen: Tensor) -> ExampleEffects:
    """Split one output of every example into the effects of its modalities and the interaction, with their errors.

    The effects are those of the least-squares additive model of the recombined rows (:func:`additive_fit`). One effect
    drives the prediction if it is twice as large as the others together::

        margin(i) = |e_k| - 2 sqrt(sum_{l != k} e_l^2), k the largest of the K effects

    The standard errors of the effects and of the margin come from a delete-one-donor jackknife: each other example of
    the group is left out in turn, ``se^2 = (g - 2) / (g - 1) sum_j (theta(-j) - mean)^2``. ``sureness = |margin| /
    se``.

    Args:
        outputs: ``(G, T, C)`` outputs of the design's T tuples in G groups, on the scale of :func:`decomposable`.
        design: The tuples.
        chosen: ``(G, g)`` long: the output of each example that is split.
    """
    recombined = distinct_members(design.tuples)
    picked = outputs.double().gather(-1, chosen.unsqueeze(1).expand(-1, outputs.shape[1], -1))
    rows, own = picked[:, recombined], design.own(picked).diagonal(dim1=-2, dim2=-1)
    tuples = design.tuples[recombined]
    value = _effects(rows, own, additive_fit(tuples, design.size))
    deleted = torch.stack(list(_without_each_donor(rows, own, tuples, design.size)))
    largest = value.abs().argmax(-1, keepdim=True)
    margin, moved = _margin(value, largest), _margin(deleted, largest.expand(*deleted.shape[:-1], 1))
    sureness = (margin.abs() / _error(moved.unsqueeze(-1)).squeeze(-1)).nan_to_num(0.0, MOST_SURE)
    driver = largest.squeeze(-1).masked_fill(margin < 0, value.shape[-1])
    return ExampleEffects(value, _error(deleted), driver, sureness.clamp(max=MOST_SURE))


def _without_each_donor(rows: Tensor, own: Tensor, tuples: Tensor, size: int) -> Iterator[Tensor]:
    """Yield ``(G, g, M + 1)`` effects without each example in turn.

    Shifting all positions of a design by one gives the same set of tuples. So one fit without example 0 is enough: for
    the other examples the rows are shifted.
    """
    fit, places = additive_fit(tuples, size, (tuples != 0).all(-1)), torch.arange(len(tuples))
    one_on = _places_of((tuples + 1) % size, tuples)
    for donor in range(size):
        moved, examples = rows[:, places], (torch.arange(size) + donor) % size
        yield _effects(moved[..., examples], own[:, examples], fit).roll(donor, 1)
        places = one_on[places]


def _places_of(wanted: Tensor, tuples: Tensor) -> Tensor:
    """Return ``(R,)`` positions of the wanted tuples ``(R, M)`` among the same tuples in another order."""
    base = int(tuples.max()) + 1
    codes = torch.tensor([base**m for m in range(tuples.shape[1])])
    found = torch.empty(len(tuples), dtype=torch.long)
    found[((wanted * codes).sum(1)).argsort(stable=True)] = (tuples * codes).sum(1).argsort(stable=True)
    return found


def _effects(rows: Tensor, own: Tensor, fit: AdditiveFit) -> Tensor:
    """Return ``(G, g, M + 1)`` effects of the examples.

    Args:
        rows: ``(G, R, g)``: column i has the output of example i that is split.
        own: ``(G, g)`` the same outputs of the real examples.
        fit: Weights of the R rows.
    """
    unimodal = torch.einsum("mir,Gri->Gim", fit.effects.to(rows), rows)
    interaction = own - torch.einsum("ir,Gri->Gi", fit.unimodal.to(rows), rows)
    return torch.cat([unimodal, interaction.unsqueeze(-1)], -1)


def _margin(effects: Tensor, largest: Tensor) -> Tensor:
    """Return ``(...)``: an effect's size less :data:`DOMINANT` times all other effects together."""
    leading = effects.gather(-1, largest).squeeze(-1)
    others = (effects.square().sum(-1) - leading.square()).clamp(min=0).sqrt()
    return leading.abs() - DOMINANT * others


def _error(deleted: Tensor) -> Tensor:
    """Return the ``(G, g, K)`` standard errors of values ``(g, G, g, K)`` without each example in turn.

    An example is not its own donor, so the value without itself does not count.
    """
    size, others = len(deleted), ~torch.eye(len(deleted), dtype=torch.bool)
    by_example = deleted.permute(1, 2, 0, 3)
    return donor_error(by_example[:, others].view(-1, size, size - 1, deleted.shape[-1]))
