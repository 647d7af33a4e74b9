"""Kinds of outputs with positions: what is observed of each, and that each half of a map needs its own sensor."""

import pytest
import torch
from helpers.mapped import SIZE, Halves, loader, maps
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassJaccardIndex

from mviz_lightning import explain
from mviz_lightning.explainers import ErrorAnalysis, ExampleRanking

SENSORS = {"optical": "optical", "radar": "radar"}


class Wrapped(nn.Module):
    """Returns the scores of :class:`Halves` in the form that a library returns."""

    def __init__(self, form, classes: int = 3) -> None:
        super().__init__()
        self.halves, self.form = Halves(classes), form

    def forward(self, optical: Tensor, radar: Tensor):
        return self.form(self.halves(optical, radar))


def labels_of(batch: dict[str, Tensor]) -> Tensor:
    """Return two labels of each pixel, ``(B, 2, H, W)``."""
    return torch.stack([batch["mask"] > 0, batch["mask"] > 1], 1).float()


def loss_of_dict(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    out, labels = module(batch["optical"], batch["radar"]), batch["mask"]
    return functional.cross_entropy(out["out"], labels) + 0.4 * functional.cross_entropy(out["aux"], labels)


def loss_of_volumes(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return functional.cross_entropy(logits, batch["mask"].unsqueeze(1).repeat(1, 2, 1, 1))


def loss_of_values(values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return functional.mse_loss(values, batch["mask"].float())


def upsampled(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = module(batch["optical"], batch["radar"])
    logits = functional.interpolate(logits, size=batch["mask"].shape[-2:], mode="nearest")
    return functional.cross_entropy(logits, batch["mask"])


def with_metric(module: nn.Module, batch: dict[str, Tensor]) -> None:
    MulticlassJaccardIndex(3).update(module(batch["optical"], batch["radar"]).argmax(1), batch["mask"])


def call(loss):
    return lambda module, batch: loss(module(batch["optical"], batch["radar"]), batch)


BCE = functional.binary_cross_entropy_with_logits

KINDS = {
    "a dict with an auxiliary output": (lambda z: {"out": z, "aux": 0.5 * z}, loss_of_dict, "multiclass", 3),
    "upsampled in the step": (lambda z: z[:, :, ::3, ::3], upsampled, "multiclass", 3),
    "(B, 1, H, W)": (lambda z: z[:, :1], call(lambda z, b: BCE(z, (b["mask"] > 0).float().unsqueeze(1))), "binary", 1),
    "(B, 1, H, W), squeezed": (
        lambda z: z[:, :1], call(lambda z, b: BCE(z.squeeze(1), (b["mask"] > 0).float())), "binary", 1,
    ),
    "labels of pixels": (lambda z: z[:, :2], call(lambda z, b: BCE(z, labels_of(b))), "multilabel", 2),
    "values of pixels": (lambda z: z[:, 0], call(loss_of_values), "regression", 1),
    "probabilities": (
        lambda z: z.softmax(1), call(lambda z, b: functional.nll_loss(z.log(), b["mask"])), "multiclass", 3,
    ),
    "volumes": (
        lambda z: torch.stack([z, z], 2), call(loss_of_volumes), "multiclass", 3,
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("form", "step", "task", "outputs"), KINDS.values(), ids=KINDS.keys())
def test_each_kind_is_measured_and_needs_both_sensors(form, step, task, outputs, caplog):
    batch = maps(64)
    caplog.set_level("INFO")
    stages = [ErrorAnalysis(num_examples=0), ExampleRanking()]
    found = explain(
        Wrapped(form), loader(batch), modalities=SENSORS, step=step, num_examples=64, group_size=16, explainers=stages
    )
    assert f"task: {task}" in caplog.text
    assert abs(found.values["interaction"]) < 0.03
    assert found.values["contribution/optical"] == pytest.approx(0.5, abs=0.15)
    assert "score" in found.values
    errors = found.results["errors"].counts
    assert sum(errors.values()) == 64 * (outputs if task == "multilabel" else 1)
    gained = ("lowered", "raised") if task == "regression" else ("rescued", "spoiled", "misled")
    assert not any(errors[name] for name in gained)  # no pixel needs both sensors, so no region does
    assert all(abs(one.interaction) < 1e-5 for one in found.results["ranking"].ranked)


def test_what_is_kept_of_a_forward_is_the_sample_alone():
    from helpers.batches import probe_of

    from mviz_lightning.engine.evaluator import Evaluator
    from mviz_lightning.engine.positions import PositionAxes, SampleReader
    from mviz_lightning.engine.query import Query

    batch = maps(20)
    probe = probe_of(batch, SENSORS, "mask")
    places = torch.randint(SIZE**2, (20, 4), generator=torch.Generator().manual_seed(0))
    reader = SampleReader(PositionAxes(1), places)
    evaluator = Evaluator(Halves(), lambda m, b: m(b["optical"], b["radar"]), chunk_size=5, reader=reader)
    rows = Query(torch.cartesian_prod(torch.arange(20), torch.arange(20)))
    (found,) = evaluator(probe, [rows])
    sample = len(rows) * 4 * 3 * found.element_size()
    assert found.untyped_storage().nbytes() == sample
    whole = Halves()(batch["optical"], batch["radar"]).flatten(2)
    expected = torch.stack([whole[i][:, places[i]].T.flatten() for i in range(20)])
    own = found[torch.arange(20) * 21]
    assert torch.allclose(own, expected, atol=1e-6)
