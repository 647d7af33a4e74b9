"""InterSHAP and Shapley shares as metrics."""

from itertools import pairwise

import pytest
import torch
from helpers.draws import normal
from reference import coalitions as slow
from torch import Tensor

from mviz_lightning.functional.contribution import bound_name
from mviz_lightning.metrics import ContributionShares, InterSHAP, ModalityShapley

TWO, THREE = ["image", "text"], ["image", "text", "audio"]


def value(metric: InterSHAP | ModalityShapley, name: str) -> float:
    return float(metric.compute()[name])


def asked(metric: InterSHAP | ModalityShapley, examples: Tensor) -> Tensor:
    """``(G, T, M)``: the tuples of a metric, taken from ``(G, g, M)`` examples."""
    return examples[:, metric.design.tuples, torch.arange(metric.design.modalities)]


def grids(seed: int) -> Tensor:
    """``(4, 6, 6, 3)`` logits of four groups."""
    return 2 * normal(seed, 4, 6, 6, 3)


def test_intershap_is_the_published_score_of_softmax_probabilities() -> None:
    metric, logits = InterSHAP(TWO, task="multiclass", group_size=6), grids(0)
    metric.update(logits.flatten(1, 2))
    assert value(metric, "intershap") == pytest.approx(slow.global_intershap(logits.numpy()), abs=1e-12)


def test_shapley_shares_are_those_of_centred_logits() -> None:
    metric, logits = ModalityShapley(TWO, task="multiclass", group_size=6), grids(1)
    metric.update(logits.flatten(1, 2))
    found = [value(metric, f"shapley/{name}") for name in TWO]
    assert found == pytest.approx(slow.shapley_shares(logits.numpy()).tolist(), abs=1e-12)


def test_one_logit_is_two_classes() -> None:
    one, two = (InterSHAP(TWO, task=task, group_size=6) for task in ("binary", "multiclass"))
    logits = 2 * normal(2, 4, 36, 1)
    one.update(logits)
    two.update(torch.cat([torch.zeros_like(logits), logits], -1))
    assert value(one, "intershap") == pytest.approx(value(two, "intershap"), abs=1e-12)


@pytest.mark.parametrize("kind", [InterSHAP, ModalityShapley])
@pytest.mark.parametrize(("names", "size"), [(TWO, 8), (THREE, 12), (list("abcde"), 20)])
def test_values_have_intervals_and_parts_are_added(
    kind: type[InterSHAP | ModalityShapley], names: list[str], size: int
) -> None:
    whole, parts = (kind(names, task="multiclass", group_size=size) for _ in range(2))
    outputs = asked(whole, normal(3, 5, size, len(names))).cumsum(-1).sin()
    whole.update(outputs)
    parts.update(outputs[:0])
    for start, end in pairwise([0, 2, 5]):
        parts.update(outputs[start:end])
    found = whole.compute()
    assert found == parts.compute()
    for name in [key for key in found if "_" not in key]:
        assert found[bound_name(name, "low")] < found[name] < found[bound_name(name, "high")]


@pytest.mark.parametrize(("names", "size"), [(TWO, 16), (THREE, 16), (list("abcde"), 20)])
def test_an_additive_regression_has_no_interaction_and_a_product_has(names: list[str], size: int) -> None:
    additive, product = (InterSHAP(names, task="regression", group_size=size) for _ in range(2))
    rows = asked(additive, normal(4, 8, size, len(names)))
    additive.update(rows.sum(-1, keepdim=True))
    product.update(rows.sign().prod(-1, keepdim=True))
    assert value(additive, "intershap") == pytest.approx(0, abs=1e-9)
    count = len(names)
    assert value(product, "intershap") == pytest.approx(count / (2 * (count - 1)), abs=0.2)


def test_shares_follow_the_modality_that_the_model_uses() -> None:
    metric = ModalityShapley(THREE, task="regression", group_size=12)
    rows = asked(metric, normal(5, 6, 12, 3))
    metric.update(3 * rows[..., :1] + rows[..., 1:2])
    assert value(metric, "shapley/audio") == pytest.approx(0, abs=1e-12)
    assert value(metric, "shapley/image") == pytest.approx(0.75, abs=0.06)


def test_an_exact_design_serves_both_measures() -> None:
    names = list("abcde")
    exact = ModalityShapley(names, task="regression", group_size=20, exact=True)
    assert torch.equal(exact.design.tuples, InterSHAP(names, task="regression", group_size=20).design.tuples)


def test_two_modalities_take_the_rows_of_the_shares() -> None:
    shares = ContributionShares(TWO, task="regression", group_size=8)
    for kind in (InterSHAP, ModalityShapley):
        assert torch.equal(kind(TWO, task="regression", group_size=8).design.tuples, shares.design.tuples)


def test_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outputs have the shape \(2, 5, 1\); expected \(groups, 64, outputs\)"):
        InterSHAP(TWO, task="regression", group_size=8).update(torch.zeros(2, 5, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_model_that_changes_by_rounding_alone_reads_0(dtype: torch.dtype) -> None:
    for metric in (InterSHAP(TWO, task="binary", group_size=8), ModalityShapley(TWO, task="binary", group_size=8)):
        metric.update((1.7 * (1 + torch.finfo(dtype).eps / 2 * normal(6, 3, 64, 1))).to(dtype))
        assert {float(found) for found in metric.compute().values()} == {0.0}
