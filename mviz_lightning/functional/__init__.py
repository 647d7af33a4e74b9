"""Pure functions over tensors: the estimators, without a model. Knows: nothing."""

from mviz_lightning.functional.anova import half_splits, split_components, two_way_components
from mviz_lightning.functional.designs import Design, GridDesign, TupleDesign, design, smallest_group
from mviz_lightning.functional.features import (
    CONSTANT,
    UNIMODAL,
    benjamini_hochberg,
    classify,
    effective_rank,
    feature_components,
    main_effects,
    over_represented,
    overlap,
    rounding_floor,
    strongest,
    varies,
)
from mviz_lightning.functional.jackknife import Estimate, jackknife
from mviz_lightning.functional.outputs import (
    NOTEWORTHY,
    Head,
    Task,
    decisions,
    decomposable,
    largest,
    levelled,
    logits_of,
    masked_classes,
    noise_floor,
)
from mviz_lightning.functional.projection import emap, own, unimodal_contribution
from mviz_lightning.functional.proximal import Family
from mviz_lightning.functional.ridge import bent, copies, held_out, standardised_kernel
from mviz_lightning.functional.scores import predictions
from mviz_lightning.functional.shares import bound_name, share_names, share_ratios, shares
from mviz_lightning.functional.sparse import SparseLinear, elastic_net, sparse_linear
from mviz_lightning.functional.surrogate import ALPHA, Surrogate, draw_masks, kernel, surrogate
from mviz_lightning.functional.targets import decided, graded, labelled, one_each

__all__ = [
    "ALPHA",
    "CONSTANT",
    "NOTEWORTHY",
    "UNIMODAL",
    "Design",
    "Estimate",
    "Family",
    "GridDesign",
    "Head",
    "SparseLinear",
    "Surrogate",
    "Task",
    "TupleDesign",
    "benjamini_hochberg",
    "bent",
    "bound_name",
    "classify",
    "copies",
    "decided",
    "decisions",
    "decomposable",
    "design",
    "draw_masks",
    "effective_rank",
    "elastic_net",
    "emap",
    "feature_components",
    "graded",
    "half_splits",
    "held_out",
    "jackknife",
    "kernel",
    "labelled",
    "largest",
    "levelled",
    "logits_of",
    "main_effects",
    "masked_classes",
    "noise_floor",
    "one_each",
    "over_represented",
    "overlap",
    "own",
    "predictions",
    "rounding_floor",
    "share_names",
    "share_ratios",
    "shares",
    "smallest_group",
    "sparse_linear",
    "split_components",
    "standardised_kernel",
    "strongest",
    "surrogate",
    "two_way_components",
    "unimodal_contribution",
    "varies",
]
