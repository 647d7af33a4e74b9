"""What it costs to measure outputs with many positions: rows, seconds and memory at 512 x 512 positions and 21 classes.

    python tests/benchmarks/positions.py [--size 512] [--classes 21] [--examples 32] [--group 8] [--chunk 8]

Each line is a process of its own, since the peak of its memory is measured: the data and the forward of one chunk, and
then the shares, at 16 and at 64 positions an example.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from mviz_lightning import explain

KINDS = ("plain", "16", "64")
"""What is measured: one plain forward, or the shares at so many positions."""


class Network(nn.Module):
    """Two convolutions over the pictures of two sensors."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))

    def forward(self, optical: Tensor, radar: Tensor) -> Tensor:
        outputs: Tensor = self.net(torch.cat([optical, radar], 1))
        return outputs


def step(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Return the loss of a batch."""
    return functional.cross_entropy(module(batch["optical"], batch["radar"]), batch["mask"])


def batches(size: int, classes: int, examples: int, chunk: int) -> list[dict[str, Tensor]]:
    """Return noise of two sensors, and random classes."""
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(examples // chunk):
        optical, radar = torch.randn(2, chunk, 1, size, size, generator=generator)
        mask = torch.randint(classes, (chunk, size, size), generator=generator)
        found.append({"optical": optical, "radar": radar, "mask": mask})
    return found


def peak() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, arguments: argparse.Namespace) -> str:
    """Return one line."""
    torch.manual_seed(0)
    model = Network(arguments.classes).eval()
    data = batches(arguments.size, arguments.classes, arguments.examples, arguments.chunk)
    with torch.inference_mode():
        step(model, data[0])
    plain, started = peak(), time.perf_counter()
    if kind == "plain":
        return f"{kind:>9}  {'':>6}  {'':>7}  {plain:8.0f}"
    found = explain(
        model,
        data,
        modalities={"optical": "optical", "radar": "radar"},
        step=step,
        positions=int(kind),
        num_examples=arguments.examples,
        group_size=arguments.group,
        chunk_size=arguments.chunk,
    )
    seconds = time.perf_counter() - started
    return f"{kind:>9}  {found.rows:6}  {seconds:7.1f}  {peak():8.0f}  {peak() - plain:+8.0f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"size": 512, "classes": 21, "examples": 32, "group": 8, "chunk": 8}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=KINDS, help="measure this in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(measure(arguments.only, arguments))
        return
    print("positions    rows  seconds  peak MiB  over the plain forward, MiB")
    given = [part for name in sizes for part in (f"--{name}", str(getattr(arguments, name)))]
    for kind in KINDS:
        subprocess.run([sys.executable, __file__, "--only", kind, *given], check=True)


if __name__ == "__main__":
    main()
