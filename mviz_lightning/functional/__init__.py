"""The estimators: pure functions of tensors, without a model. Knows: errors.

The names in ``__all__`` are public. Helpers are private to the package; import them from their modules.
"""

from typing import TYPE_CHECKING

from mviz_lightning.errors.deprecations import moved_names
from mviz_lightning.functional.anova import half_splits, split_components, two_way_components
from mviz_lightning.functional.coalition_designs import CoalitionDesign, coalition_design, full_coalition_design
from mviz_lightning.functional.coalitions import (
    ShapleyValues,
    all_coalitions,
    intershap,
    modality_shapley,
    permutation_gains,
    shapley_estimate,
    shapley_interactions,
    shapley_shares,
)
from mviz_lightning.functional.contribution import contribution_shares, share_ratios
from mviz_lightning.functional.designs import Design, design
from mviz_lightning.functional.emap_scores import EMAPScores, emap_gap
from mviz_lightning.functional.embeddings import alignment, embedding_rank, modality_gap, uniformity
from mviz_lightning.functional.example_drivers import ExampleEffects, example_effects
from mviz_lightning.functional.failures import decision_margins, failure_categories, failure_category_names
from mviz_lightning.functional.features import (
    benjamini_hochberg,
    classify_features,
    effective_rank,
    feature_components,
    main_effects,
    over_represented,
)
from mviz_lightning.functional.flips import prediction_flips
from mviz_lightning.functional.grid_design import GridDesign
from mviz_lightning.functional.interactions import mixed_differences, pair_masks
from mviz_lightning.functional.jackknife import Deletions, Estimate, jackknife
from mviz_lightning.functional.mm_shap import mm_shap
from mviz_lightning.functional.outputs import Task, decomposable
from mviz_lightning.functional.proximal import Family
from mviz_lightning.functional.retrieval import Retrieval, group_retrieval
from mviz_lightning.functional.ridge import gaussian_kernel, kernel_ridge_predictions, standardised_kernel
from mviz_lightning.functional.scores import (
    graded_accuracy,
    label_ranking_average_precision,
    perceptual_score,
)
from mviz_lightning.functional.segment_attribution import (
    Perturbation,
    SegmentWeights,
    ShapleyMasks,
    perturbation_attribution,
    perturbation_masks,
    shapley_masks,
    shapley_values,
)
from mviz_lightning.functional.sparse import SparseLinear, elastic_net, sparse_linear
from mviz_lightning.functional.subsets import subset_totals, swap_effects
from mviz_lightning.functional.surrogate import Surrogate, draw_masks, surrogate
from mviz_lightning.functional.tuple_design import TupleDesign
from mviz_lightning.functional.uc_and_mi import donor_error, emap, multimodal_interaction, unimodal_contribution

__all__ = [
    "CoalitionDesign",
    "Deletions",
    "Design",
    "EMAPScores",
    "Estimate",
    "ExampleEffects",
    "Family",
    "GridDesign",
    "Perturbation",
    "Retrieval",
    "SegmentWeights",
    "ShapleyMasks",
    "ShapleyValues",
    "SparseLinear",
    "Surrogate",
    "Task",
    "TupleDesign",
    "alignment",
    "all_coalitions",
    "benjamini_hochberg",
    "classify_features",
    "coalition_design",
    "contribution_shares",
    "decision_margins",
    "decomposable",
    "design",
    "donor_error",
    "draw_masks",
    "effective_rank",
    "elastic_net",
    "emap",
    "emap_gap",
    "embedding_rank",
    "example_effects",
    "failure_categories",
    "failure_category_names",
    "feature_components",
    "full_coalition_design",
    "gaussian_kernel",
    "graded_accuracy",
    "group_retrieval",
    "half_splits",
    "intershap",
    "jackknife",
    "kernel_ridge_predictions",
    "label_ranking_average_precision",
    "main_effects",
    "mixed_differences",
    "mm_shap",
    "modality_gap",
    "modality_shapley",
    "multimodal_interaction",
    "over_represented",
    "pair_masks",
    "perceptual_score",
    "permutation_gains",
    "perturbation_attribution",
    "perturbation_masks",
    "prediction_flips",
    "shapley_estimate",
    "shapley_interactions",
    "shapley_masks",
    "shapley_shares",
    "shapley_values",
    "share_ratios",
    "sparse_linear",
    "split_components",
    "standardised_kernel",
    "subset_totals",
    "surrogate",
    "swap_effects",
    "two_way_components",
    "uniformity",
    "unimodal_contribution",
]

MOVED = {
    "ALPHA": "surrogate.ALPHA",
    "CONSTANT": "features.CONSTANT",
    "NOTEWORTHY": "outputs.NOTEWORTHY",
    "UNIMODAL": "features.UNIMODAL",
    "Head": "outputs.Head",
    "bent": "gaussian_kernel",
    "bound_name": "contribution.bound_name",
    "classify": "classify_features",
    "copies": "ridge.near_duplicates",
    "decided": "targets.decided",
    "decisions": "outputs.decisions",
    "graded": "targets.graded",
    "held_out": "kernel_ridge_predictions",
    "kernel": "surrogate.kernel",
    "labelled": "targets.labelled",
    "largest": "outputs.largest_output",
    "levelled": "outputs.levelled",
    "logits_of": "outputs.logits_of",
    "masked_classes": "outputs.masked_classes",
    "noise_floor": "outputs.noise_floor",
    "one_each": "targets.one_each",
    "overlap": "features.overlap",
    "own": "uc_and_mi.own",
    "predictions": "scores.predictions",
    "rounding_floor": "features.rounding_floor",
    "share_names": "contribution.share_names",
    "shares": "contribution_shares",
    "smallest_group": "designs.smallest_group",
    "strongest": "features.strongest_examples",
    "varies": "features.varies",
}
"""Old public name -> new name in this package. The next release removes the old names."""

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__ = moved_names(__name__, {old: f"{__name__}.{new}" for old, new in MOVED.items()})
