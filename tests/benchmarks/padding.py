"""What it costs to evaluate examples in their own shapes instead of padded to the longest.

    PYTHONPATH=tests python tests/benchmarks/padding.py [--repeats 5]

The 2,048 rows of a validation with the defaults: 128 examples in groups of 16, texts of 3 to 40 tokens that nobody
padded, beside pictures of one size or sounds of 10 to 100 frames. Of three networks with random weights, one joins the
modalities late, so that encodings are reused; one lets the tokens look at the picture; one reads both as one sequence,
so that nothing is reused. Prints medians of processor times that were taken in turn, in one process, and their ratio.

Takes one and a half minutes on a free core. Prints a table and asserts nothing.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, Probe, parse_modalities
from mviz_lightning.batch.padding import collate, own_bounds
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.functional import design

EXAMPLES, GROUP, CLASSES, WIDTH = 128, 16, 10, 64


class Picture(nn.Module):
    """A small CNN: 64 patches of 64 numbers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, WIDTH)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(8), nn.Flatten(2))

    def forward(self, values: Tensor) -> Tensor:
        return self.layers(values).transpose(1, 2)


class Late(nn.Module):
    """The last step of a GRU, and the mean over the patches or the frames of the other modality."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.words, self.text, self.other = nn.Embedding(400, 32), nn.GRU(32, WIDTH, batch_first=True), other
        self.head = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))

    def forward(self, other: Tensor, text: Tensor) -> Tensor:
        return self.head(torch.cat([self.text(self.words(text))[0][:, -1], self.other(other).mean(1)], 1))


class Looking(Late):
    """Every token looks at the patches or the frames; the last one decides."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__(other)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, other: Tensor, text: Tensor) -> Tensor:
        tokens, places = self.text(self.words(text))[0], self.other(other)
        return self.head(torch.cat([tokens, self.attention(tokens, places, places)[0]], 2)[:, -1])


class Joint(Late):
    """One transformer reads both."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__(other)
        self.words = nn.Embedding(400, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, batch_first=True)

    def forward(self, other: Tensor, text: Tensor) -> Tensor:
        found = self.layer(torch.cat([self.other(other), self.words(text)], 1))
        return self.head(torch.cat([found[:, 0], found[:, -1]], 1))


@dataclass(frozen=True)
class Setting:
    """A network and a probe of examples that have their own shapes."""

    module: nn.Module
    probe: Probe

    @classmethod
    def of(cls, fusion: type[Late], *, sounds: bool) -> "Setting":
        torch.manual_seed(0)
        lengths = torch.randint(3, 41, (EXAMPLES,)).tolist()
        frames = torch.randint(10, 101, (EXAMPLES,)).tolist()
        rows = [
            {
                "other": torch.randn(1, count, 40) if sounds else torch.randn(1, 3, 32, 32),
                "text": torch.randint(1, 400, (1, length)),
            }
            for length, count in zip(lengths, frames, strict=True)
        ]
        schema = BatchSchema.learn(rows[0], parse_modalities(["other", "text"]))
        groups = torch.arange(EXAMPLES).view(-1, GROUP)
        probe = Probe(schema, collate(schema, rows), groups, bounds=own_bounds(schema, rows))
        return cls(fusion(nn.Linear(40, WIDTH) if sounds else Picture()).eval(), probe)

    def seconds(self, *, own_shapes: bool, reuse: bool) -> Callable[[], float]:
        """Return a function that evaluates the rows and returns the time that it takes."""
        probe = replace(self.probe, own_shapes=own_shapes)
        evaluator = Evaluator(self.module, lambda module, batch: module(batch["other"], batch["text"]), reuse=reuse)
        tuples = design(2, GROUP).tuples
        query = Query(torch.cat([group[tuples] for group in probe.groups]))

        def run() -> float:
            start = time.process_time()
            evaluator(probe, [query])
            return time.process_time() - start

        run()  # searches for what can be reused
        return run


def compare(title: str, setting: Setting, *, reuse: bool, repeats: int) -> None:
    runs = [setting.seconds(own_shapes=own, reuse=reuse) for own in (False, True)]
    times = [[run() for run in runs] for _ in range(repeats)]
    padded, own = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{title:<44} {padded:8.2f} s {own:8.2f} s {own / padded:7.1f}")


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    print(f"{'':<44} {'padded':>10} {'own shapes':>10} {'ratio':>7}")
    for sounds in (False, True):
        for fusion, title in ((Late, "joined late"), (Looking, "tokens look"), (Joint, "one sequence")):
            setting = Setting.of(fusion, sounds=sounds)
            what = f"text and {'sounds' if sounds else 'pictures'}, {title}"
            compare(what, setting, reuse=True, repeats=repeats)
            if fusion is not Joint:
                compare(f"{what}, reuse=False", setting, reuse=False, repeats=repeats)


if __name__ == "__main__":
    main()
