"""Masks or donors: what DIME's rows are best spent on, on data with a known truth and on trained networks.

    PYTHONPATH=tests:examples python tests/benchmarks/dime_donors.py [--seeds 2] [--examples 8] [--tasks digits ...]

DIME evaluates ``S * (J + 1)`` rows for S masks and J donors. For each example and modality one large table of outputs
is computed, and each pair (S, J) explains its first S masks and J donors. Tasks:

- ``synthetic``: the data of tests/benchmarks/dime_synthetic.py, 10 segments a modality; the truth is known.
- ``digits``: the network of examples/mfeat.py: three modalities of 76, 47 and 6 segments.
- ``emojis``: the network of examples/openmoji.py: 49 patches, and names of 2 to 8 words.

The truth of the last two is DIME with 1,024 masks (all, for few segments) and 255 donors.
Explained is the logit of the true class (of class 1 for ``synthetic``). A row of the table holds, by numbers of masks
and donors, the correlation (Pearson) of an example's weights with the truth, for UC and for MI, and the leave-one-out
R2 of both: means over examples, modalities and seeds, with the standard error of the correlations.

Four minutes on a core. Prints tables and asserts nothing.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import mfeat
import numpy as np
import openmoji
import torch
from benchmarks import dime_synthetic as synthetic
from benchmarks import faithfulness
from lightning import Trainer, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from mviz_lightning import Modality
from mviz_lightning.explainers import DIME, Attribution, ProbeContext
from mviz_lightning.explainers.dime.explainer import attributions
from mviz_lightning.functional import draw_masks
from mviz_lightning.functional.surrogate import ALPHA

TRUE_MASKS, TRUE_DONORS, AT_ONCE = 1024, 255, 64
"""Masks and donors of the truth; masks of one forward."""

DONORS = (7, 15, 20, 31, 63, 127)
MASKS_PER_SEGMENT = (1.5, 2, 3, 4, 6)

Truth = Callable[[int, str], tuple[Tensor, Tensor]]
"""Example and modality -> true weights of UC and MI."""


@dataclass(frozen=True)
class Task:
    """A network whose modalities meet after their encoders, and its examples.

    Attributes:
        context: The examples.
        encode: Modality -> from a batch to ``(R, D)``.
        fuse: From ``(..., sum of D)`` to ``(..., C)``.
        labels: ``(N,)`` the outputs to explain.
        truth: None if it is computed.
    """

    context: ProbeContext
    encode: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]]
    fuse: Callable[[Tensor], Tensor]
    labels: Tensor
    truth: Truth | None = None

    @torch.no_grad()
    def outputs(self, example: int, name: str, masks: Tensor, donors: int) -> Tensor:
        """Return ``(S, 1 + J)``: each mask beside the own partner, and beside each donor."""
        probe, names = self.context.probe, self.context.probe.schema.names
        own = torch.full((1, len(names)), example)
        beside = torch.cat([own, DIME(donors=donors).partners(self.context, example, masks.shape[1])])
        masked = self.encode[name](probe.batch(own.expand(len(masks), -1), {name: masks}))
        others = {other: self.encode[other](probe.batch(beside, {})) for other in names if other != name}
        found = [self._fused(names, name, part, others) for part in masked.split(AT_ONCE)]
        return self.context.decomposable(torch.cat(found))[..., int(self.labels[example])]

    def _fused(self, names: Sequence[str], name: str, masked: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        shape = len(masked), len(next(iter(others.values())))
        parts = [
            masked.unsqueeze(1).expand(*shape, -1) if other == name else others[other].unsqueeze(0).expand(*shape, -1)
            for other in names
        ]
        return self.fuse(torch.cat(parts, 2))


def explained(outputs: Tensor, masks: Tensor, wanted: int) -> Attribution:
    """Fit the surrogates, as DIME does where ``wanted`` masks are asked for."""
    (found,) = attributions(outputs.reshape(-1, 1), masks, alpha=ALPHA * len(masks) / wanted)
    return found


def pearson(left: Tensor, right: Tensor) -> float:
    """Correlate two ``(U,)``."""
    return float(torch.corrcoef(torch.stack([left.double(), right.double()]))[0, 1])


Cell = tuple[float, float, float, float]
"""Correlation of UC and of MI with the truth, R2 of UC and of MI."""


def measured(task: Task, examples: Sequence[int], seed: int) -> Iterator[tuple[tuple[str, int, int], Cell]]:
    """Yield ((modality and its segments, masks, donors), cell) for every example, modality and pair."""
    for example in examples:
        for name, segments in task.context.probe.segments.items():
            count = segments.count(example)
            if count < 2:
                continue
            sizes = sorted({max(48, round(count * factor)) for factor in MASKS_PER_SEGMENT} | {64})
            masks = draw_masks(count, sizes[-1], seed)
            outputs, true = task.outputs(example, name, masks, DONORS[-1]), _true(task, example, name, count, seed)
            for size in sizes:
                if 2**count <= sizes[-1] and size < sizes[-1]:
                    continue  # all masks, whatever their number
                for donors in DONORS:
                    part = explained(outputs[:size, : 1 + donors], masks[:size], size)
                    unimodal, interaction = (
                        pearson(ours, right)
                        for ours, right in zip((part.unimodal, part.interaction), true, strict=True)
                    )
                    kind = f"{name}, {count} segments" if count > 8 else f"{name}, 2 to 8 segments"
                    yield (kind, len(masks[:size]) if count > 8 else 0, donors), (
                        unimodal, interaction, part.unimodal_r2, part.interaction_r2,
                    )  # fmt: skip


def _true(task: Task, example: int, name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    if task.truth is not None:
        return task.truth(example, name)
    masks = draw_masks(count, TRUE_MASKS, 10_000 + seed)
    outputs = task.outputs(example, name, masks, TRUE_DONORS)
    found = explained(outputs, masks, TRUE_MASKS)
    return found.unimodal, found.interaction


def synthetic_task(seed: int) -> Task:
    """Train on DIME's synthetic data; there the first layer is what the modalities meet in."""
    data = synthetic.draw(100_000, seed)
    net, points = synthetic.trained(data.part(0, 80_000), seed).eval(), data.part(90_000, 90_512)
    encode = {name: lambda batch, name=name: batch[name] for name in (synthetic.FIRST, synthetic.SECOND)}

    def truth(example: int, name: str) -> tuple[Tensor, Tensor]:
        own = points.first if name == synthetic.FIRST else points.second
        return own[example], points.first[example] * points.second[example]

    labels = torch.full((512,), synthetic.LAST)
    return Task(synthetic.context_of_points(points), encode, net.net, labels, truth)


def digits_task(seed: int) -> Task:
    """Train the network of examples/mfeat.py as it is done there."""
    with np.load(mfeat.DATA, allow_pickle=False) as file:
        arrays = dict(file)
    train, validation = (mfeat.Digits(arrays, split) for split in ("train", "validation"))
    seed_everything(seed, verbose=False)
    model = mfeat.DigitClassifier({name: train[0][name].numel() for name in mfeat.VIEWS})
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=15, enable_model_summary=False, **settings)
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True))
    batch = default_collate([validation[k] for k in range(len(validation))])
    context = synthetic.context_of(batch, {name: Modality(name, max_segments=76) for name in mfeat.VIEWS})
    encode = {name: lambda batch, name=name: model.encoders[name](batch[name]) for name in mfeat.VIEWS}
    return Task(context, encode, model.eval().fusion, batch["label"])


def emojis_task(seed: int) -> Task:
    """Train the network of examples/openmoji.py as it is done there."""
    data = openmoji.load_data()
    seed_everything(seed, verbose=False)
    model = faithfulness.trained(data, epochs=8)
    context = faithfulness.probe_context(data)
    encode = {
        "image": lambda batch: model.image_encoder(batch["image"]),
        "text": lambda batch: model.text_encoder(batch["tokens"], batch["mask"]),
    }
    return Task(context, encode, model.fusion, context.probe.leaves["label"])


TASKS: dict[str, Callable[[int], Task]] = {"synthetic": synthetic_task, "digits": digits_task, "emojis": emojis_task}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--examples", type=int, default=8)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks:
        found: dict[tuple[str, int, int], list[Cell]] = {}
        for seed in range(arguments.seeds):
            task = TASKS[name](seed)
            examples = torch.randperm(256, generator=torch.Generator().manual_seed(seed))[: arguments.examples].tolist()
            for key, cell in measured(task, examples, seed):
                found.setdefault(key, []).append(cell)
        print(f"\n**{name}**\n\n| modality | masks | donors | rows | UC | MI | R2 of UC, MI |\n" + "|---" * 7 + "|")
        for (kind, masks, donors), cells in sorted(found.items()):
            table = torch.tensor(cells, dtype=torch.float64)
            mean, error = table.nanmean(0).tolist(), (table.std(0) / len(table) ** 0.5).tolist()
            size = f"{masks} | {donors} | {masks * (donors + 1):,}" if masks else f"all | {donors} | "
            told = [f"{value:.3f} ({spread:.3f})" for value, spread in zip(mean[:2], error, strict=False)]
            print(f"| {kind} | {size} | {' | '.join(told)} | {mean[2]:.2f}, {mean[3]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
