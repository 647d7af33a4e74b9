"""The only room that runs the user's model: rows in, outputs out. Knows: batch.

``call_choice`` finds out how the model is called. ``dry_run_checks`` has the checks of the dry run. ``query`` defines
rows and ``evaluator`` evaluates them, shape by shape where ``shape_choice`` decides so. ``reuse_plan`` finds the
submodules that need not run for every row. ``derivative`` and ``second_order`` derive outputs. ``isolation`` restores
the model afterwards.
"""

from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.query import Query, join

__all__ = ["Evaluator", "Query", "isolated", "join"]
