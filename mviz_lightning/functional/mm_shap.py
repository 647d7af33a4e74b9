"""MM-SHAP: how much the segments of each modality move a prediction (Parcalabescu & Frank 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mm_shap(weights: Sequence[Tensor]) -> Tensor:
    """Return the share of every modality in the absolute Shapley values of all segments (Parcalabescu & Frank 2023).

    ``MM-SHAP_m = sum over segments u of m of |phi_u| / sum over all segments of |phi_u|``. The players are the segments
    of **all** modalities, for example patches and words together: :func:`shapley_masks` of their number, and
    :func:`shapley_values` of the outputs.

    Space: the softmax probability of the predicted class in the paper's code for classes, the score for a single
    output. Baseline: masked segments (zeros, a mask token, the mean), not other examples.
    Do not compare it with :func:`shapley_shares` or :func:`contribution_shares`, whose absent modalities come from
    other examples, nor between models with other numbers of segments: noise of every segment adds to its modality,
    so a modality of more segments reads high.

    Args:
        weights: For each modality ``(U,)`` or ``(U, K)`` Shapley values of its segments for one output or K.

    Returns:
        ``(M,)`` or ``(M, K)`` that add up to 1; all are 0 where no segment moves the output.

    Example:
        >>> import torch
        >>> mm_shap([torch.tensor([0.3, -0.3]), torch.tensor([0.2])])
        tensor([0.7500, 0.2500])
    """
    sizes = torch.stack([found.abs().sum(0) for found in weights])
    everything = sizes.sum(0)
    return torch.where(everything > 0, sizes / everything, 0.0)
