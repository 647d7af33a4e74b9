"""Models and batches as MONAI, torch_geometric and pytorch-forecasting have them, with a signal that is known."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai.data
import torch
import torch_geometric.loader
from helpers.batches import floats
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from monai.data import MetaTensor
from monai.networks.nets import Regressor
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv, global_mean_pool

NUMBER = 160
"""Examples for training and as many for validation."""

FITTED = {"max_epochs": 24, "check_val_every_n_epoch": 12}


@dataclass(frozen=True)
class Case:
    """A model, its data, and how the labels were made.

    Attributes:
        module: Returns the model.
        loader: (seed, shuffle) -> loader.
        modalities: All that the monitor is told.
        contributions: Modality -> share of the labels' variance that it explains alone.
        interaction: Share that only the modalities together explain.
    """

    module: Callable[[], LightningModule]
    loader: Callable[[int, bool], Any]
    modalities: Mapping[str, Any]
    contributions: Mapping[str, float]
    interaction: float = 0.0


class Fitted(LightningModule):
    """A regression; subclasses say what they predict of a batch, and what its labels are."""

    def predicted(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def labels(self, batch: Any) -> Tensor:
        return batch["y"]

    def loss(self, batch: Any) -> Tensor:
        return mse_loss(self.predicted(batch), self.labels(batch))

    def training_step(self, batch: Any, _: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", self.loss(batch), batch_size=32)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def signs(seed: int) -> Tensor:
    """Return ``(NUMBER,)`` of -1 and 1, as many of each."""
    half = torch.ones(NUMBER // 2)
    return torch.cat([half, -half])[torch.randperm(NUMBER, generator=torch.Generator().manual_seed(seed))]


def columns(loader_of: Callable[[Sequence[dict[str, Any]]], Any], **held: Any) -> Any:
    """Return a loader of examples, each a dict with an entry of every column."""
    return loader_of([{name: column[k] for name, column in held.items()} for k in range(NUMBER)])


def loading(kind: Any, seed: int, shuffle: bool) -> Callable[[Sequence[Any]], Any]:
    generator = torch.Generator().manual_seed(seed)
    return lambda rows: kind(list(rows), batch_size=32, shuffle=shuffle, generator=generator)


# -- A volume and a table ----------------------------------------------------------------------------------------------


class VolumeAndTable(Fitted):
    """MONAI's 3-D regressor beside a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = Regressor((1, 8, 8, 8), (4,), channels=(4, 8), strides=(2, 2))
        self.table = nn.Linear(4, 4)
        self.head = nn.Linear(8, 1)

    def predicted(self, batch: Any) -> Tensor:
        return self.head(torch.cat([self.volume(batch["image"]), self.table(batch["table"])], 1)).squeeze(1)


def tables(seed: int) -> Tensor:
    """Return ``(NUMBER, 4)`` whose second column is -1 or 1."""
    table = floats(NUMBER, 4, seed=seed)
    table[:, 1] = signs(seed)
    return table


def lesion(present: Tensor, shape: Sequence[int], seed: int) -> Tensor:
    """Return noise ``(NUMBER, *shape)`` with a bright corner where there is a lesion, and a dark one elsewhere."""
    volumes = 0.1 * floats(NUMBER, *shape, seed=seed)
    corner = (slice(None), *[slice(0, 4)] * len(shape))
    volumes[corner] += present.view(-1, *[1] * len(shape))
    return volumes


def volumes_and_tables(seed: int, shuffle: bool) -> Any:
    sick, table = signs(seed), tables(seed + 10)
    images = lesion(sick, (1, 8, 8, 8), seed)
    scans = [MetaTensor(image, meta={"filename_or_obj": f"scan {k}.nii.gz"}) for k, image in enumerate(images)]
    y = sick + table[:, 1]
    return columns(loading(monai.data.DataLoader, seed, shuffle), image=scans, table=table, y=y)


# -- Channels of one image ---------------------------------------------------------------------------------------------


class Channels(Fitted):
    """A small convolution over all channels at once."""

    def __init__(self, channels: int, *, volume: bool = False) -> None:
        super().__init__()
        convolution, pool = (nn.Conv3d, nn.AvgPool3d) if volume else (nn.Conv2d, nn.AvgPool2d)
        features = 8 * 2 ** (3 if volume else 2)
        self.net = nn.Sequential(
            convolution(channels, 8, 3, padding=1), nn.Tanh(), pool(4), nn.Flatten(), nn.Linear(features, 16),
            nn.Tanh(), nn.Linear(16, 1),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image).squeeze(1)

    def predicted(self, batch: Any) -> Tensor:
        return self(batch["image"])


def channels(seed: int, shuffle: bool, shape: Sequence[int], made: Callable[[list[Tensor]], Tensor], meta: bool) -> Any:
    """Return a loader of images whose channels hold lesions of their own, of which the labels are made."""
    sick = [signs(100 * seed + k) for k in range(shape[0])]
    image = torch.stack([lesion(one, shape[1:], 50 * seed + k) for k, one in enumerate(sick)], 1)
    scans = [MetaTensor(one) for one in image] if meta else image
    kind = monai.data.DataLoader if meta else DataLoader
    return columns(loading(kind, seed, shuffle), image=scans, y=made(sick))


# -- A temporal fusion model -------------------------------------------------------------------------------------------


class TemporalFusion(Fitted):
    """Encodes the past and the known future, and predicts the next three steps; batches are ``(x, (y, weight))``."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = nn.Embedding(4, 4)
        self.past = nn.GRU(4, 12, batch_first=True)
        self.future = nn.GRU(4, 12, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, x: Mapping[str, Tensor]) -> Tensor:
        _, state = self.past(x["encoder_cont"])
        steps, _ = self.future(x["decoder_cont"], state)
        shop = self.shop(x["static_categoricals"][:, 0]).unsqueeze(1).expand(-1, steps.shape[1], -1)
        return self.head(torch.cat([steps, shop], -1)).squeeze(-1)

    def predicted(self, batch: Any) -> Tensor:
        return self(batch[0])

    def labels(self, batch: Any) -> Tensor:
        return batch[1][0]


def series(seed: int, shuffle: bool) -> Any:
    """Return a loader in the keys of pytorch-forecasting.

    Columns of ``encoder_cont`` and ``decoder_cont``: a static number, the price that is known ahead, and the sales and
    the weather, which are observed and hence 0 in the future.
    """
    size, price, level, sales = signs(seed), signs(seed + 1), signs(seed + 2), 0.3 * floats(NUMBER, 6, seed=seed)
    shop = (signs(seed + 3) > 0).long()
    past = torch.stack(
        [size[:, None].expand(-1, 6), floats(NUMBER, 6, seed=seed + 4), sales + level[:, None], sales.flip(1)], -1
    )
    future = torch.zeros(NUMBER, 3, 4)
    future[..., 0], future[..., 1] = size[:, None], price[:, None]
    y = (size + price + level).unsqueeze(1).expand(-1, 3)

    def collate(rows: Sequence[dict[str, Tensor]]) -> Any:
        x = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return x, (x.pop("y"), None)

    def kind(rows: list[Any], **more: Any) -> DataLoader[Any]:
        return DataLoader(rows, collate_fn=collate, **more)

    held = {"encoder_cont": past, "decoder_cont": future, "static_categoricals": shop.unsqueeze(1), "y": y}
    return columns(loading(kind, seed, shuffle), **held)


# -- A graph and a table -----------------------------------------------------------------------------------------------


class GraphAndTable(Fitted):
    """Two graph convolutions beside a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GCNConv(3, 12), GCNConv(12, 12)
        self.table = nn.Linear(4, 12)
        self.head = nn.Linear(24, 1)

    def predicted(self, batch: Any) -> Tensor:
        nodes = self.second(self.first(batch.x, batch.edge_index).tanh(), batch.edge_index).tanh()
        graph = global_mean_pool(nodes, batch.batch, batch.num_graphs)
        return self.head(torch.cat([graph, self.table(batch.table)], 1)).squeeze(1)

    def labels(self, batch: Any) -> Tensor:
        return batch.y


def graphs(seed: int, shuffle: bool) -> Any:
    kind, table = signs(seed), tables(seed + 20)

    def molecule(k: int) -> Data:
        size = 3 + k % 4
        nodes = 0.3 * floats(size, 3, seed=1000 * seed + k)
        nodes[:, 0] += kind[k]
        ring = torch.arange(size)
        edges = torch.stack([ring, (ring + 1) % size])
        y = kind[k] + table[k, 1]
        return Data(x=nodes, edge_index=torch.cat([edges, edges.flip(0)], 1), table=table[k : k + 1], y=y)

    return loading(torch_geometric.loader.DataLoader, seed, shuffle)([molecule(k) for k in range(NUMBER)])


CASES = {
    "a volume and a table": Case(
        VolumeAndTable, volumes_and_tables, {"mri": "image", "table": "table"}, {"mri": 0.5, "table": 0.5}
    ),
    "four sequences of an MRI": Case(
        lambda: Channels(4, volume=True),
        lambda seed, shuffle: channels(seed, shuffle, (4, 8, 8, 8), lambda sick: sick[0] + sick[2], meta=True),
        {"flair": "image[0]", "t1": "image[1]", "t1gd": "image[2]", "t2": "image[3]"},
        {"flair": 0.5, "t1": 0.0, "t1gd": 0.5, "t2": 0.0},
    ),
    "colour and depth": Case(
        lambda: Channels(4),
        lambda seed, shuffle: channels(seed, shuffle, (4, 8, 8), lambda sick: sick[0] + sick[3], meta=False),
        {"rgb": "image[:3]", "depth": "image[3:]"},
        {"rgb": 0.5, "depth": 0.5},
    ),
    "optical and radar bands": Case(
        lambda: Channels(6),
        lambda seed, shuffle: channels(seed, shuffle, (6, 8, 8), lambda sick: sick[2] * sick[3], meta=False),
        {"optical": "image[[0, 1, 2, 5]]", "radar": "image[3:5]"},
        {"optical": 0.0, "radar": 0.0},
        interaction=1.0,
    ),
    "static, known and observed columns": Case(
        TemporalFusion,
        series,
        {
            "static": ["0.encoder_cont[..., 0]", "0.decoder_cont[..., 0]", "0.static_categoricals"],
            "known": ["0.encoder_cont[..., 1]", "0.decoder_cont[..., 1]"],
            "observed": "0.encoder_cont[..., 2:]",
        },
        {"static": 1 / 3, "known": 1 / 3, "observed": 1 / 3},
    ),
    "a graph and a table": Case(
        GraphAndTable, graphs, {"graph": ["x", "edge_index"], "table": "table"}, {"graph": 0.5, "table": 0.5}
    ),
}


def fit(case: Case, folder: Path, *callbacks: Any) -> dict[str, Any]:
    """Train and return all that must not depend on who watches."""
    torch.manual_seed(0)
    module = case.module()
    loaders = [case.loader(seed, shuffle) for seed, shuffle in ((0, True), (5, False))]
    chosen = trainer(folder, *callbacks, **FITTED)
    chosen.fit(module, *loaders)
    return {
        "weights": copy.deepcopy(module.state_dict()),
        "optimizer": copy.deepcopy(chosen.optimizers[0].state_dict()["state"]),
        "random": torch.get_rng_state(),
        "generators": [loader.generator.get_state() for loader in loaders],
        "logged": {key: float(value) for key, value in chosen.callback_metrics.items() if not key.startswith("mviz/")},
    }
