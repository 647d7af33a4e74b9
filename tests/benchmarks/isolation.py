"""What it costs to put a model back whose buffers are large: entries into isolation, copies, seconds and memory.

    python tests/benchmarks/isolation.py [--megabytes 200]

Each line is a process of its own, since the peak of its memory is measured: a validation (shares, and DIME of one
example) of a model with a buffer of 1 MB that nothing writes, the same with a large buffer, and the same with copies
that are taken anew at every entry. Seconds are CPU seconds on one core.
"""

import argparse
import logging
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mviz_lightning import explain
from mviz_lightning.engine import tensor_copies
from mviz_lightning.explainers import DIME

EXAMPLES = 64
"""Number of examples that are recombined, in groups of 8."""


class Network(nn.Module):
    """Two linear encoders, a BatchNorm, and a large table of constants."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(megabytes * 2**18))
        self.image, self.text, self.norm = nn.Linear(8, 16), nn.Linear(8, 16), nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.norm(self.image(image) * self.text(text))) + self.table[:3]
        return outputs


class Counts:
    """Counts the entries into isolation, the copies of large tensors, and the seconds that both take."""

    def __init__(self) -> None:
        self.entries, self.copies, self.seconds = 0, 0, 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside the block."""
        made, put_back, clock = tensor_copies._Copy.__init__, tensor_copies._Copy.restore, time.process_time
        entered = tensor_copies.TensorCopies.put_back

        def copy(one: tensor_copies._Copy, tensor: Tensor) -> None:
            began = clock()
            made(one, tensor)
            self.seconds += clock() - began
            self.copies += tensor.nbytes >= 2**20

        def restore(one: tensor_copies._Copy, *, compare: bool = False) -> None:
            began = clock()
            put_back(one, compare=compare)
            self.seconds += clock() - began

        def enter(copies: tensor_copies.TensorCopies, tensors: object) -> object:
            self.entries += 1
            return entered(copies, tensors)

        tensor_copies._Copy.__init__, tensor_copies._Copy.restore = copy, restore
        tensor_copies.TensorCopies.put_back = enter
        try:
            yield
        finally:
            tensor_copies._Copy.__init__, tensor_copies._Copy.restore = made, put_back
            tensor_copies.TensorCopies.put_back = entered


def measure(megabytes: int, *, anew: bool) -> str:
    """Return one line."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logging.getLogger("mviz_lightning").setLevel(logging.WARNING)
    if anew:
        tensor_copies._Copy.holds = property(lambda _: False)
    model = Network(megabytes)
    batch = {"image": torch.randn(EXAMPLES, 8), "text": torch.randn(EXAMPLES, 8)}
    before, counts, started = peak(), Counts(), time.process_time()
    with counts.counting():
        explain(
            model,
            [batch],
            modalities={"image": "image", "text": "text"},
            task="multiclass",
            num_examples=EXAMPLES,
            group_size=8,
            explainers=[DIME(num_examples=1)],
        )
    seconds = time.process_time() - started
    return (
        f"{megabytes:>5} {'at every entry' if anew else 'once':>14} {counts.entries:>8} {counts.copies:>7} "
        f"{counts.seconds:>10.2f} {seconds:>8.2f} {peak() - before:>11.0f}"
    )


def peak() -> float:
    """Return the largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--anew", action="store_true", help="copy at every entry")
    parser.add_argument("--line", action="store_true", help="print one line, in this process")
    arguments = parser.parse_args()
    if arguments.line:
        print(measure(arguments.megabytes, anew=arguments.anew))
        return
    print("   MB         copied  entries  copies  isolation    all s  peak + MiB", flush=True)
    for megabytes, more in [(1, []), (arguments.megabytes, []), (arguments.megabytes, ["--anew"])]:
        command = [sys.executable, __file__, "--megabytes", str(megabytes), "--line", *more]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
