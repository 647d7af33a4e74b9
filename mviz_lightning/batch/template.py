"""A batch without its leaves."""

from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.batch.rows import plain_tensors


def moved(template: Any, device: torch.device | str) -> Any:
    """Return a template on a device; its tensors are copies, because a model may change them in place."""
    constants = {keys: node for keys, node in tree.nodes(template) if isinstance(node, Tensor)}
    return tree.shell(
        template, {keys: plain_tensors(node).detach().to(device, copy=True) for keys, node in constants.items()}
    )
