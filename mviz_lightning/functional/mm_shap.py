"""MM-SHAP: how much the segments of each modality move a prediction (Parcalabescu & Frank 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mm_shap(weights: Sequence[Tensor]) -> Tensor:
    """Return the share of every modality in the absolute Shapley values of all segments (Parcalabescu & Frank 2023).

    ``MM-SHAP_m = sum over segments u of m of |phi_u| / sum over all segments of |phi_u|``. The players are the segments
    of **all** modalities, for example patches and words together: :func:`shapley_masks` of their number, and
    :func:`shapley_values` of the outputs.

    Space: for classes, the paper's code uses the softmax probability of the predicted class; for a single output, the
    score. Baseline: masked segments (zeros, a mask token, the mean), not other examples. Do not compare it with
    :func:`shapley_shares` or :func:`contribution_shares`, whose absent modalities come from other examples. Do not
    compare models with different numbers of segments: the noise of every segment adds to its modality, so a modality
    with more segments gets a larger share.

    Args:
        weights: For each modality, Shapley values of its U segments: ``(U,)`` for one output, ``(U, K)`` for K outputs.

    Returns:
        ``(M,)`` or ``(M, K)`` that add up to 1; all are 0 where no segment changes the output.

    Example:
        >>> import torch
        >>> mm_shap([torch.tensor([0.3, -0.3]), torch.tensor([0.2])])
        tensor([0.7500, 0.2500])
    """
    sizes = torch.stack([found.abs().sum(0) for found in weights])
    everything = sizes.sum(0)
    return torch.where(everything > 0, sizes / everything, 0.0)
