"""Unimodal importance against Captum's own methods, on the same models, units and baselines.

Captum explains one function of one input. Here the same masks and points are asked for of all examples and modalities
at once, so that rows of several methods are shared and the other modalities' encodings are run once, and the model is
left without a trace; so the package has code of its own, and Captum judges it.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from explainers.test_multimodal_representation import session
from helpers.batches import floats, integers, seeded
from torch import Tensor, nn

from mviz_lightning import Modality
from mviz_lightning.explainers.unimodal_importance.explainer import UnimodalImportance
from mviz_lightning.explainers.unimodal_importance.result import ImportanceResult
from mviz_lightning.functional import draw_masks
from mviz_lightning.functional.surrogate import kernel
from mviz_lightning.session.session import Session

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import (
        FeatureAblation,
        InputXGradient,
        IntegratedGradients,
        KernelShap,
        LayerIntegratedGradients,
        LimeBase,
        ShapleyValues,
    )

COUNT, TOKENS, LENGTH = 64, 20, 5


class Fused(nn.Module):
    """``forward(image, ids)``: a CNN and embeddings, multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 6))
        self.words, self.mix = nn.Embedding(TOKENS, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        left, right = self.cnn(image), self.mix(self.words(ids)).mean(1)
        return self.head(left + 3 * right + 2 * left * right)


MODALITIES = {"image": Modality("image", max_segments=4), "text": Modality("ids", pad_value=0)}
"""Patches of the image become the mean colour, words token 0."""


@pytest.fixture(scope="module")
def fused() -> Session:
    batch = {
        "image": floats(COUNT, 3, 8, 8) + 0.5,
        "ids": integers(TOKENS - 1, COUNT, LENGTH) + 1,
        "label": integers(3, COUNT),
    }
    return session(seeded(Fused), MODALITIES, batch, num_examples=64, group_size=8)


Attribute = Callable[["Case"], Tensor]
"""Captum's answer: ``(U,)``."""


class Case:
    """One output of one example, one modality of which is explained."""

    def __init__(self, found: Session, example: int, output: int, name: str) -> None:
        assert found.probe is not None
        self.module, self.output = found._tried.evaluator.module, output
        segments, leaves = found.modality_types[name].segments, found.probe.leaves
        image, ids = leaves["image"][[example]], leaves["ids"][[example]]
        own = 0 if name == "image" else 1
        self.values = (image, ids)[own]
        self.baseline = torch.as_tensor(segments.baseline).expand_as(self.values).to(self.values)
        self.index = segments.index[:1].expand_as(self.values).contiguous()
        self.segments = segments.count(example)
        self.rest = (image, ids)[1 - own]
        self.image = name == "image"

    def __call__(self, values: Tensor) -> Tensor:
        """Return ``(R, 3)`` outputs of inputs of the modality, the other one as it is."""
        rest = self.rest.expand(len(values), *self.rest.shape[1:])
        return self.module(*((values, rest) if self.image else (rest, values)))

    def masked(self, masks: Tensor) -> Tensor:
        """Return ``(S, ...)`` inputs whose units stay as masks say."""
        return torch.where(masks[:, self.index[0]].bool(), self.values, self.baseline)

    def summed(self, entries: Tensor) -> Tensor:
        """Add the attributions of entries up to units."""
        return torch.stack([entries[self.index == unit].sum() for unit in range(self.segments)])

    def picked(self, entries: Tensor) -> Tensor:
        """Take the attribution that all entries of a unit have in common."""
        return torch.stack([entries[self.index == unit][0] for unit in range(self.segments)])


def cases(found: Session, method: str, **options: Any) -> Iterator[tuple[Case, Tensor]]:
    result = found.explain(UnimodalImportance(method=method, num_totals=0, **options)).result
    assert isinstance(result, ImportanceResult)
    for example in result.examples:
        for output in example.outputs:
            for name, part in output.parts.items():
                assert part.method == method
                yield Case(found, example.example, output.output, name), part.weights.float()


def compare(found: Session, method: str, attribute: Attribute, tolerance: float, **options: Any) -> int:
    """Compare all cases; differences are shares of the largest weight."""
    number = 0
    for number, (case, weights) in enumerate(cases(found, method, **options), 1):  # noqa: B007 - returned
        expected = attribute(case).float().detach()
        assert expected.shape == weights.shape
        torch.testing.assert_close(weights, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    assert number > 0
    return number


def test_integrated_gradients_of_an_image_and_of_embeddings(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        settings = {"target": case.output, "n_steps": 300}
        if case.image:
            return case.summed(IntegratedGradients(case).attribute(case.values, case.baseline, **settings))
        layer = LayerIntegratedGradients(case, case.module.words)
        return case.summed(layer.attribute(case.values, case.baseline, **settings).sum(-1))

    compare(fused, "integrated_gradients", attribute, 1e-3, steps=300)


def test_the_defaults_of_integrated_gradients_are_near(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        return case.summed(IntegratedGradients(case).attribute(case.values, case.baseline, case.output, n_steps=300))

    for case, weights in cases(fused, "integrated_gradients"):
        if case.image:
            expected = attribute(case).float()
            torch.testing.assert_close(weights, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


def test_gradient_times_input(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        # Captum multiplies by the input alone; counted from the baseline, it is the way.
        if case.image:
            shifted = InputXGradient(lambda way: case(case.baseline + way))
            way = (case.values - case.baseline).requires_grad_()
            return case.summed(shifted.attribute(way, target=case.output))
        words = case.module.words.weight.detach()
        without = words[case.baseline]

        def from_embeddings(way: Tensor) -> Tensor:
            embedded = case.module.mix(without + way).mean(1)
            left = case.module.cnn(case.rest)
            return case.module.head(left + 3 * embedded + 2 * left * embedded)

        way = (words[case.values] - without).requires_grad_()
        return case.summed(InputXGradient(from_embeddings).attribute(way, target=case.output).sum(-1))

    compare(fused, "gradient", attribute, 1e-4)


def test_occlusion_is_feature_ablation(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        settings = {"target": case.output, "feature_mask": case.index, "baselines": case.baseline}
        return case.picked(FeatureAblation(case).attribute(case.values, **settings))

    compare(fused, "occlusion", attribute, 1e-4)


@pytest.mark.slow
def test_shapley_values_of_all_masks_are_those_of_all_orders(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        settings = {"target": case.output, "feature_mask": case.index, "baselines": case.baseline}
        return case.picked(ShapleyValues(case).attribute(case.values, **settings))

    compare(fused, "shap", attribute, 1e-4, num_examples=2)


def test_kernel_shap_with_many_samples_comes_to_the_same(fused: Session) -> None:
    def attribute(case: Case) -> Tensor:
        settings = {"target": case.output, "feature_mask": case.index, "baselines": case.baseline}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            found = KernelShap(case).attribute(case.values, n_samples=600, perturbations_per_eval=200, **settings)
        return case.picked(found)

    compare(fused, "shap", attribute, 0.05, num_examples=1)


def test_lime_is_captums_with_the_same_masks_kernel_and_penalty(fused: Session) -> None:
    """Captum's Lime draws its masks itself; LimeBase takes them."""

    def attribute(case: Case) -> Tensor:
        masks = draw_masks(case.segments, 64)

        def one_by_one(_: Tensor, **__: Any) -> Iterator[Tensor]:
            yield from masks.float().split(1)

        base = LimeBase(
            case,
            interpretable_model=SkLearnRidge(alpha=len(masks) / 64),
            similarity_func=lambda original, perturbed, mask, **_: kernel(mask),
            perturb_func=one_by_one,
            perturb_interpretable_space=True,
            from_interp_rep_transform=lambda mask, original, **_: case.masked(mask),
            to_interp_rep_transform=None,
        )
        return base.attribute(case.values, target=case.output, n_samples=len(masks), perturbations_per_eval=8)[0]

    compare(fused, "lime", attribute, 1e-3)


def test_another_method_would_be_told_apart(fused: Session) -> None:
    """The model bends and its units interact, so that no two methods give the same."""

    def attribute(case: Case) -> Tensor:
        settings = {"target": case.output, "feature_mask": case.index, "baselines": case.baseline}
        return case.picked(FeatureAblation(case).attribute(case.values, **settings))

    for method in ("gradient", "integrated_gradients", "lime", "shap"):
        with pytest.raises(AssertionError, match="not close"):
            compare(fused, method, attribute, 0.02)
