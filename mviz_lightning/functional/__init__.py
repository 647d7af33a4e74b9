"""Pure functions over tensors: everything the metrics and the explainers compute, without a model."""

from mviz_lightning.functional.anova import half_splits, split_components, two_way_components
from mviz_lightning.functional.designs import Design, GridDesign, TupleDesign, design, smallest_group
from mviz_lightning.functional.jackknife import Estimate, jackknife
from mviz_lightning.functional.outputs import NOTEWORTHY, Task, decisions, decomposable, noise_floor
from mviz_lightning.functional.projection import emap, own, unimodal_contribution
from mviz_lightning.functional.ridge import bent, copies, held_out, standardised_kernel
from mviz_lightning.functional.scores import predictions
from mviz_lightning.functional.shares import bound_name, share_names, share_ratios, shares
from mviz_lightning.functional.surrogate import ALPHA, Surrogate, draw_masks, kernel, surrogate

__all__ = [
    "ALPHA",
    "NOTEWORTHY",
    "Design",
    "Estimate",
    "GridDesign",
    "Surrogate",
    "Task",
    "TupleDesign",
    "bent",
    "bound_name",
    "copies",
    "decisions",
    "decomposable",
    "design",
    "draw_masks",
    "emap",
    "half_splits",
    "held_out",
    "jackknife",
    "kernel",
    "noise_floor",
    "own",
    "predictions",
    "share_names",
    "share_ratios",
    "shares",
    "smallest_group",
    "split_components",
    "standardised_kernel",
    "surrogate",
    "two_way_components",
    "unimodal_contribution",
]
