"""What it costs to collect examples and to rebuild batches from them, for every kind of batch against plain tensors.

    python tests/benchmarks/batches.py [--repeats 9] [--against FOLDER]

All kinds hold the same 256 examples: 32 to 64 patches of 48 numbers (64 where the kind needs one length), a table
of 10 and a label. They come in batches of 32, are collected as the monitor does, and are rebuilt as 2,048 recombined
rows in batches of 256. Prints medians of processor times per row that were taken in turn, in one process, and their
ratio to those of plain tensors; then the bytes that the probe keeps, and those that drawing it takes for a moment, as
fractions of the bytes of the examples' own arrays.

With ``--against FOLDER``, another checkout, plain tensors are compared in both, in new processes by turns.

Takes half a minute on a free core. Prints a table and asserts nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mviz_lightning.batch import BatchSchema, Probe, Reservoir, parse_modalities, tree
from mviz_lightning.batch.padding import collate, own_bounds

EXAMPLES, BATCH, ROWS, CHUNK = 256, 32, 2048, 256
WIDTH, COLUMNS = 48, 10
RAGGED, TAILED = (32, 64), (2, 64)

Example = tuple[Tensor, Tensor, Tensor]
"""Patches ``(L, 48)``, a table ``(10,)``, a label ``()``."""


@dataclass(frozen=True)
class Kind:
    """How examples become a batch, and where the modalities are in it."""

    join: Callable[[Sequence[Example]], Any]
    modalities: Any
    lengths: tuple[int, int] = (64, 64)


def rest(rows: Sequence[Example]) -> dict[str, Tensor]:
    return {"table": torch.stack([table for _, table, _ in rows]), "y": torch.stack([label for *_, label in rows])}


def plain(rows: Sequence[Example]) -> dict[str, Tensor]:
    return {"patches": torch.stack([patches for patches, *_ in rows]), **rest(rows)}


def packed(rows: Sequence[Example]) -> dict[str, Tensor]:
    counts = torch.tensor([len(patches) for patches, *_ in rows])
    return {"patches": torch.cat([patches for patches, *_ in rows]), "num_patches": counts, **rest(rows)}


def padded(rows: Sequence[Example]) -> dict[str, Tensor]:
    return {
        "patches": torch.nn.utils.rnn.pad_sequence([patches for patches, *_ in rows], batch_first=True),
        **rest(rows),
    }


def listed(rows: Sequence[Example]) -> dict[str, Any]:
    return {"patches": [patches.numpy() for patches, *_ in rows], **rest(rows)}


def dicts(rows: Sequence[Example]) -> list[dict[str, Tensor]]:
    return [{"patches": patches, "table": table, "y": label} for patches, table, label in rows]


def graphs(rows: Sequence[Example]) -> Any:
    from torch_geometric.data import Batch, Data

    edges = torch.stack([torch.arange(31), torch.arange(1, 32)])
    return Batch.from_data_list(
        [Data(x=patches, edge_index=edges, table=table[None], y=label) for patches, table, label in rows]
    )


def tensor_dict(rows: Sequence[Example]) -> Any:
    from tensordict import TensorDict

    return TensorDict(plain(rows), batch_size=[len(rows)])


PAIR = {"patches": "patches", "table": "table"}
KINDS = {
    "plain tensors": Kind(plain, PAIR),
    "slices": Kind(plain, {"left": "patches[:, :40]", "right": "patches[:, 40:]"}),
    "a list of columns": Kind(plain, {"left": "patches[:, [0, 2, 7]]", "right": "table"}),
    "TensorDict": Kind(tensor_dict, PAIR),
    "padded tensors": Kind(padded, PAIR, lengths=RAGGED),
    "packed rows": Kind(packed, PAIR, lengths=RAGGED),
    "lists of arrays": Kind(listed, PAIR, lengths=RAGGED),
    "lists of arrays of 2 to 64": Kind(listed, PAIR, lengths=TAILED),
    "lists of dicts": Kind(dicts, PAIR, lengths=RAGGED),
    "graphs": Kind(graphs, {"graph": "x", "table": "table"}, lengths=RAGGED),
}


@dataclass(frozen=True)
class Figures:
    """Seconds per row, and bytes as a fraction of those of the examples."""

    collecting: float
    rebuilding: float
    kept: float
    most: float


class Setting:
    """One kind of batch, made of examples that are the same for all kinds but for their lengths."""

    def __init__(self, kind: Kind) -> None:
        generator = torch.Generator().manual_seed(0)
        shortest, longest = kind.lengths
        shares = torch.rand(EXAMPLES, generator=generator)
        lengths = (shortest * (longest / shortest) ** shares).round().long().tolist()
        self.examples = [
            (
                torch.randn(length, WIDTH, generator=generator),
                torch.randn(COLUMNS, generator=generator),
                torch.tensor(k % 3),
            )
            for k, length in enumerate(lengths)
        ]
        self.batches = [kind.join(self.examples[k : k + BATCH]) for k in range(0, EXAMPLES, BATCH)]
        self.modalities = parse_modalities(kind.modalities)
        self.sources = torch.randint(EXAMPLES, (ROWS, 2), generator=generator)

    def figures(self) -> Figures:
        start = time.process_time()
        reservoir, schema = Reservoir(EXAMPLES), BatchSchema.learn(self.batches[0], self.modalities, "y")
        for k, batch in enumerate(self.batches):
            leaves = schema.leaves(batch)
            reservoir.add(schema, leaves, range(k * BATCH, (k + 1) * BATCH))
        rows = list(reservoir.rows(range(EXAMPLES)).values())
        probe = Probe(
            schema, collate(schema, rows), torch.arange(EXAMPLES).view(16, 16), bounds=own_bounds(schema, rows)
        )
        collected = time.process_time()
        for sources in self.sources.split(CHUNK):
            probe.batch(sources, {})
        rebuilt = time.process_time()
        own = size(self.examples)
        kept = size([probe.leaves, probe.bounds])
        most = size([probe.leaves, probe.bounds, rows])
        return Figures((collected - start) / EXAMPLES, (rebuilt - collected) / ROWS, kept / own, most / own)


def size(value: Any) -> int:
    """Return the bytes of the memory of all tensors anywhere in a value, each once."""
    storages = {one.data_ptr(): one.nbytes() for one in (tensor.untyped_storage() for tensor in tensors(value))}
    return sum(storages.values())


def tensors(value: Any) -> Iterator[Tensor]:
    for _, node in tree.nodes(value):
        if isinstance(node, Tensor):
            yield node
        elif hasattr(node, "__array_interface__"):
            yield torch.from_numpy(node)


def table(names: Sequence[str], repeats: int) -> None:
    settings = {name: Setting(KINDS[name]) for name in names}
    taken = [{name: setting.figures() for name, setting in settings.items()} for _ in range(repeats + 1)][1:]
    middle = {
        name: [statistics.median(getattr(turn[name], one) for turn in taken) for one in Figures.__annotations__]
        for name in names
    }
    first = middle[names[0]]
    print(f"{'per row':<30}{'collecting':>12}{'ratio':>7}{'rebuilding':>12}{'ratio':>7}{'kept':>7}{'moment':>8}")
    for name, (collecting, rebuilding, kept, most) in middle.items():
        print(
            f"{name:<30}{collecting * 1e6:>9.1f} us{collecting / first[0]:>7.1f}"
            f"{rebuilding * 1e6:>9.1f} us{rebuilding / first[1]:>7.1f}{kept:>7.2f}{most:>8.2f}"
        )


def against(folder: str, repeats: int) -> None:
    """Compare plain tensors in two checkouts."""
    own = Path(__file__).parents[2]
    times: dict[str, list[list[float]]] = {str(own): [], folder: []}
    for turn in range(2 * repeats):
        place = list(times)[turn % 2]
        command = [sys.executable, __file__, "--one"]
        environment = {**os.environ, "PYTHONPATH": place}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=place)
        times[place].append(json.loads(done.stdout))
    for k, what in enumerate(("collecting", "rebuilding")):
        here, there = (statistics.median(one[k] for one in found) * 1e6 for found in times.values())
        print(f"plain tensors, {what}: {here:.1f} us per row here, {there:.1f} us there, ratio {here / there:.2f}")


def one(repeats: int) -> None:
    setting = Setting(KINDS["plain tensors"])
    found = [setting.figures() for _ in range(repeats + 1)][1:]
    print(
        json.dumps(
            [
                statistics.median(figures.collecting for figures in found),
                statistics.median(figures.rebuilding for figures in found),
            ]
        )
    )


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--against")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        one(given.repeats)
    elif given.against:
        against(given.against, given.repeats)
    else:
        table(list(KINDS), given.repeats)


if __name__ == "__main__":
    main()
