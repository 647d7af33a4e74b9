"""Total effects on every single output: a modality may decide one of forty outputs and none of the others."""

import torch
from torch import Tensor

from mviz_lightning.functional.designs import Design


def output_components(outputs: Tensor, design: Design) -> Tensor:
    """Return the variance and the total effects of every output, summed over groups.

    Args:
        outputs: ``(G, T, C)`` :func:`decomposable` outputs of the design's T tuples in G groups.
        design: The tuples.

    Returns:
        ``(C, 1 + M)``: the variance of each output, and the part of it that is lost without each modality.
    """
    count = design.modalities
    found = torch.zeros(outputs.shape[-1], 1 + count, dtype=torch.float64)
    for group in outputs:  # group by group: half-splits take over ten times the memory of the outputs
        components = design.components(group.T.unsqueeze(-1)).cpu()
        found += torch.cat([components[:, :1], components[:, 1 + count : 1 + 2 * count]], 1)
    return found


def most_decided(components: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return for every modality the output that it decides most, and its share of that output's variance, ``(M,)``.

    Args:
        components: ``(C, 1 + M)`` of :func:`output_components`.
        least: Smallest variance of an output that counts, as a fraction of the mean over outputs.
    """
    variance = components[:, 0]
    counts = variance >= least * variance.mean()
    shares = (components[:, 1:] / variance.unsqueeze(1)).where(counts.unsqueeze(1), -torch.inf).nan_to_num(-torch.inf)
    most = shares.max(0)
    return most.indices, most.values
