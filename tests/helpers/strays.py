"""The warning of stray leaves, and the code in it."""

import ast
import re
import warnings
from typing import Any

from helpers.batches import call_forward, probe_of
from torch import nn

from mviz_lightning.engine import Evaluator
from mviz_lightning.engine.dry_run_checks import check_independence, warn_of_stray_leaves
from mviz_lightning.engine.model_call import ModelCall


def warning_of(module: nn.Module, batch: Any, modalities: Any, predict: Any = call_forward) -> str:
    """Return the one warning of strays; nothing where there is none."""
    evaluator, probe = Evaluator(module.eval(), predict), probe_of(batch, modalities)
    outputs = check_independence(evaluator, probe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_stray_leaves(evaluator, probe, outputs, ModelCall("forward(batch=batch)", predict, "batch"))
    assert len(caught) <= 1
    return str(caught[0].message) if caught else ""


def pasted(message: str) -> list[dict[str, Any]]:
    """Return what the message proposes to write, as Python reads it."""
    return [ast.literal_eval(code) for code in re.findall(r"modalities=(\{.*?\})(?=[,.])", message)]
