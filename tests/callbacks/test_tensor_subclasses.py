"""Batches and outputs of a tensor subclass with metadata (MONAI) give the numbers of plain tensors."""

from typing import Any

import pytest
import torch
from helpers.batches import MetaTensor, OnBatch, same
from helpers.toy import MODALITIES, SMALL, Toy, examples, loader, trainer
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from mviz_lightning import MultimodalMonitor, explain
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)


def collate(rows: Any) -> list[MetaTensor]:
    return [MetaTensor.of(leaf) for leaf in default_collate(rows)]


def meta_loader(*, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    return DataLoader(examples(64, seed=seed), batch_size=16, shuffle=shuffle, collate_fn=collate)


class MetaToy(Toy):
    """Returns a subclass, whatever it is given."""

    def forward(self, *modalities: Tensor) -> Tensor:
        return MetaTensor.of(super().forward(*[MetaTensor.of(values) for values in modalities]))


def watch() -> MultimodalMonitor:
    stages = [
        UnimodalImportance(num_examples=1, num_totals=2, method="integrated_gradients"),
        CrossModalInteraction(num_examples=1, method="second_order"),
        MultimodalRepresentation(every_n_validations=1),
        MultimodalPrediction(num_examples=1, every_n_validations=1),
        ErrorAnalysis(num_examples=1, every_n_validations=1),
        DIME(num_examples=1),
    ]
    return MultimodalMonitor(MODALITIES, target="2", explainers=stages, on_error="raise", **SMALL)


def trained_and_resumed(folder, loaders: Any, kind: type[Toy]) -> tuple[MultimodalMonitor, MultimodalMonitor]:
    """Train an epoch, save, and go on for another one from the checkpoint."""
    first, second = watch(), watch()
    torch.manual_seed(0)
    begun = trainer(folder, first, max_epochs=1)
    begun.fit(kind(), loaders(shuffle=True), loaders(seed=1))
    begun.save_checkpoint(folder / "half.ckpt")
    torch.load(folder / "half.ckpt", weights_only=True)
    torch.manual_seed(1)
    goes_on = trainer(folder, second, max_epochs=2)
    goes_on.fit(kind(), loaders(shuffle=True), loaders(seed=1), ckpt_path=folder / "half.ckpt")
    return first, second


def numbers(monitor: MultimodalMonitor) -> list[dict[str, float]]:
    """Return all that was found, without what the clock says."""
    return [{k: v for k, v in row.values.items() if k not in ("seconds", "overhead")} for row in monitor.history]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained_and_resumed(tmp_path_factory.mktemp("plain"), loader, Toy)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Toy, MetaToy], ids=["plain outputs", "outputs of the subclass"])
def test_a_training_on_a_subclass_gives_the_numbers_of_plain_tensors(tmp_path, plain, kind):
    special = trained_and_resumed(tmp_path, meta_loader, kind)
    assert [len(found.history) for found in special] == [1, 2]
    assert all(row.note == "" for row in special[1].history)
    assert {key.partition("/")[0] for key in numbers(special[0])[0]} >= {"importance", "representation", "prediction"}
    for expected, found in zip(plain, special, strict=True):
        assert numbers(found) == numbers(expected)
        assert same(found.explanation_history.state(), expected.explanation_history.state())
        assert {type(leaf) for leaf in found._run.session.probe.leaves.values()} == {Tensor}
        assert found._run.session._tried.evaluator.reuse


def test_constants_of_the_batch_are_plain_too():
    def forward(module: Any, batch: Any) -> Tensor:
        assert {type(value) for value in (batch["image"], batch["table"])} == {Tensor}
        return batch["image"] @ batch["table"] + batch["text"]

    generator = torch.Generator().manual_seed(0)
    image, text, table = (torch.randn(*shape, generator=generator) for shape in ((32, 4), (32, 2), (4, 2)))
    batch = {"image": image, "text": text, "table": table}
    settings = {"modalities": ["image", "text"], "task": "regression", "num_examples": 32, "group_size": 8}
    special = {name: MetaTensor.of(leaf) for name, leaf in batch.items()}
    expected, found = (explain(OnBatch(forward), [given], **settings) for given in (batch, special))
    assert found.values["total/text"] == expected.values["total/text"]
