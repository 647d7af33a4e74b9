"""What must hold on any device, each a function ``(device, folder) -> what was seen``, for pytest and for a script."""

import gc
import os
import random
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from accelerators.models import HEADS, LARGEST, LENGTH, WIDTH, Attending, Hungry, LastState, Pictured, Pictures, take
from helpers.delicate import Augmenting, Delicate, same, train
from lightning.pytorch import Callback
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from mviz_lightning import MultimodalMonitor
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.errors import MonitorWarning
from mviz_lightning.explainers import DIME, CrossModalInteraction, UnimodalImportance

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS sums in one order; read at its first call

Check: TypeAlias = Callable[[torch.device, Path], str]

SAID_ANYWAY = ("the widest interval", "runs in a row took more than")
"""What the monitor says of trainings as small as these."""

SYNCHRONISING = {
    *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"),
    *("aten::_local_scalar_dense", "aten::nonzero"),
}
"""Calls that make a process wait for its device, as the profiler names them."""

PROCESS_SECONDS = 90
"""Time after which processes that train together count as hung."""


class Unavailable(Exception):  # noqa: N818 - it is no error
    """The device, or what is installed, lacks what a check is about."""


def watching(*explainers: Any, **settings: Any) -> MultimodalMonitor:
    """Return a monitor of 32 examples."""
    usual = {"target": "label", "num_examples": 32, "group_size": 8, "pictures_every_n_validations": 99}
    return MultimodalMonitor(["image", "text"], explainers=explainers, **(usual | settings))


@contextmanager
def deterministic() -> Iterator[None]:
    """Let PyTorch use deterministic kernels alone; an operation that has none raises."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Yield what the monitor warns of inside the block; all other warnings are dropped."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            found = [str(one.message) for one in caught if isinstance(one.message, MonitorWarning)]
            said += [one for one in found if not any(part in one for part in SAID_ANYWAY)]


def trained(device: torch.device, folder: Path, *callbacks: Any, **settings: Any) -> dict[str, Any]:
    """Train on a device; return all that must not depend on who watches."""
    chosen = {"accelerator": device.type, "data": Pictures, "make": Pictured} | settings
    if "strategy" in chosen:  # a strategy belongs to one trainer
        chosen["strategy"] = chosen["strategy"]()
    return train(folder, *callbacks, **chosen)


def bits(
    device: torch.device, folder: Path, *explainers: Any, ignored: tuple[str, ...] = (), **settings: Any
) -> tuple[MultimodalMonitor, list[str]]:
    """Train without and with a monitor, and compare every bit of what the trainings leave behind.

    Args:
        device: Where the model is.
        folder: For files.
        explainers: Of the monitor.
        ignored: What is not compared.
        settings: Of the training; ``watch`` is the monitor's own settings.

    Returns:
        The monitor and its warnings.

    Raises:
        AssertionError: Something differs, or a validation was not measured.
    """
    watch = watching(*explainers, **settings.pop("watch", {}))
    with deterministic(), heard() as said:
        alone = trained(device, folder, **settings)
        watched = trained(device, folder, watch, **settings)
    different = [what for what in alone if what not in ignored and not same(alone[what], watched[what])]
    assert not different, f"{', '.join(different)} differ"
    return watch, said


def silent(found: tuple[MultimodalMonitor, list[str]]) -> str:
    """Return how much a monitor measured that warned of nothing.

    Raises:
        AssertionError: It warned, did not measure all validations, or an explainer never worked.
    """
    watch, said = found
    assert not said, "; ".join(said)
    notes = [row.note for row in watch.history if not row.values]
    assert not notes, notes[0]
    explained = list(watch._schedule._explained)
    assert len(explained) == len(watch.config.explainers), f"of the explainers only {explained} worked"
    return ", ".join([f"same bits; {len(watch.history)} runs", *explained])


def in_precision(precision: str, device: torch.device, folder: Path) -> str:
    """Train in a precision."""
    if device.type == "cpu" and precision.startswith("16"):
        raise Unavailable("float16 is trained on accelerators alone")
    return silent(bits(device, folder, DIME(num_examples=1), precision=precision))


def recurrent(device: torch.device, folder: Path) -> str:
    """Explain a recurrent net by first derivatives, which cuDNN has in training mode alone, and by second ones."""
    first = UnimodalImportance(num_examples=1, num_totals=2)
    second = CrossModalInteraction(num_examples=1, method="second_order")
    flags = torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    found = silent(bits(device, folder, first, second, make=partial(Pictured, LastState)))
    assert flags == (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)
    return found


def attention(backend: SDPBackend | None, device: torch.device, folder: Path) -> str:
    """Train a model whose attention runs on one of PyTorch's kernels, in 16 bits as most of these need."""
    if backend is not None and not runs(backend, device):
        raise Unavailable("no such kernel for these shapes, deterministic and with a derivative")
    make = partial(Pictured, partial(Attending, backend))
    methods = DIME(num_examples=1), UnimodalImportance(num_examples=1, num_totals=2)
    return silent(bits(device, folder, *methods, make=make, precision="bf16-mixed"))


def runs(backend: SDPBackend, device: torch.device) -> bool:
    """Tell whether an attention kernel has both passes for the shapes of these models."""
    made = [
        torch.randn(8, HEADS, LENGTH, WIDTH // HEADS, device=device, dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    ]
    try:
        with deterministic(), warnings.catch_warnings(), sdpa_kernel(backend):
            warnings.simplefilter("ignore")
            scaled_dot_product_attention(*made, is_causal=True).sum().backward()
    except RuntimeError:
        return False
    return True


def second_order_of_attention(device: torch.device, folder: Path) -> str:
    """Derive attention twice, which only one of PyTorch's kernels can."""
    method = CrossModalInteraction(num_examples=1, method="second_order")
    return silent(bits(device, folder, method, make=partial(Pictured, Attending)))


def channels_last(device: torch.device, folder: Path) -> str:
    """Train with pictures that lie in memory pixel by pixel."""
    return silent(bits(device, folder, DIME(num_examples=1), make=partial(Pictured, channels_last=True)))


def compiled(mode: str, device: torch.device, folder: Path) -> str:
    """Train a compiled model. What CUDA graphs write anew at each step, the last gradients, is not compared."""
    if device.type == "cpu" and mode == "reduce-overhead":
        raise Unavailable("CUDA graphs need a GPU")
    make = partial(_fresh, partial(Pictured, compiled=mode))
    graphs = {"accumulate_grad_batches": 1, "gradients": False} if mode == "reduce-overhead" else {}
    found = silent(bits(device, folder, DIME(num_examples=1), make=make, **graphs))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"], "nothing was compiled"
    return found


def _fresh(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a module of which nothing is compiled yet."""
    torch._dynamo.reset()
    return make()


def out_of_memory(device: torch.device, folder: Path) -> str:
    """Run out of memory in the monitor's forwards alone: it takes fewer rows at a time, and measures all the same."""
    with limited(device):
        watch, said = bits(device, folder, make=Hungry, data=Augmenting, max_epochs=1, watch={"reuse": False})
    found = silent((watch, said))
    tried = watch._run.session._tried
    assert tried is not None
    assert tried.evaluator.chunk_size < watch.config.chunk_size
    return f"{found}, {tried.evaluator.chunk_size} rows at a time"


def never_enough_memory(device: torch.device, folder: Path) -> str:
    """Run out of memory whatever the monitor does: it warns once, and training goes on."""
    with limited(device):
        watch, said = bits(device, folder, make=Hungry, data=Augmenting, max_epochs=1, watch={"predict": _starving})
    assert len(said) == 1, said
    assert "out of memory" in said[0], said[0]
    assert not any(row.values for row in watch.history)
    return f"same bits; warned once: {said[0].partition('. ')[0]}"


def _starving(module: Any, batch: Any) -> torch.Tensor:
    take(2 * LARGEST, batch["image"].device)
    return module(batch["image"], batch["text"])


@contextmanager
def limited(device: torch.device) -> Iterator[None]:
    """Let this process take no more than :data:`LARGEST` bytes, and a quarter, beyond what it has."""
    if device.type != "cuda":
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    allowed = torch.cuda.memory_reserved(device) + LARGEST * 5 // 4
    torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


class Profiled(Callback):
    """Counts what makes the process wait for its device in the training steps of one epoch, hooks of others included.

    It stands in front of the other callbacks, and an :class:`EndOfStep` behind them. If it is strict, a GPU raises at
    such a call meanwhile.
    """

    def __init__(self, *, strict: bool, epoch: int = 1) -> None:
        self.epoch, self.count, self._strict, self._profile = epoch, 0, strict, None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch:
            cuda = [ProfilerActivity.CUDA] if module.device.type == "cuda" else []
            self._profile = profile(activities=[ProfilerActivity.CPU, *cuda])
            self._profile.__enter__()
            if cuda and self._strict:
                torch.cuda.set_sync_debug_mode("error")

    def end(self) -> None:
        """End a step."""
        if self._profile is not None:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")
            found, self._profile = self._profile, None
            found.__exit__(None, None, None)
            self.count += sum(one.count for one in found.key_averages() if one.key in SYNCHRONISING)


class EndOfStep(Callback):
    """Ends the steps that a :class:`Profiled` counts."""

    def __init__(self, profiled: Profiled) -> None:
        self._profiled = profiled

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._profiled.end()


class Waiting(Pictured):
    """A step that waits for nothing."""

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        return self.loss(batch)


def synchronisations(device: torch.device, folder: Path) -> str:
    """Count what makes training steps wait for the device, without the monitor and with one that measures nothing now.

    Where the steps alone wait for nothing, a GPU raises at every such call in the steps with the monitor.
    """
    counts: list[int] = []
    for watch in ([], [watching(every_n_validations=99)]):
        counted = Profiled(strict=counts == [0])
        with heard():
            trained(
                device, folder, counted, *watch, EndOfStep(counted), make=Waiting, val_check_interval=1.0, max_epochs=2
            )
        counts.append(counted.count)
    assert counts[0] == counts[1], f"{counts[0]} without the monitor, {counts[1]} with it"
    return f"{counts[0]} without the monitor, {counts[1]} with it, in the 6 steps of an epoch"


def peak_memory(device: torch.device, folder: Path) -> str:
    """Compare the memory that trainings take at most, and what they leave behind."""
    if device.type != "cuda":
        raise Unavailable("PyTorch counts no bytes of this device")
    trained(device, folder)  # what libraries keep for good
    peaks, left = [], []
    for watch in ([], [watching(DIME(num_examples=1))]):
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with heard():
            trained(device, folder, *watch)
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
        gc.collect()
        left.append(torch.cuda.memory_allocated(device) - before)
    assert left[1] <= left[0] + 2**20, f"{left[1]:,} bytes are left, {left[0]:,} without the monitor"
    return f"{peaks[0] / 2**20:.1f} MiB without the monitor, {peaks[1] / 2**20:.1f} MiB with it; nothing left behind"


def states(device: torch.device, folder: Path) -> str:
    """Draw in an evaluation: random states of the device, of the autocast cache and of cuDNN's flags are as before."""
    torch.rand(1, device=device)  # a device whose generator nobody used is left alone
    module = Delicate().to(device)
    before = _states(device)
    with isolated(module), torch.autocast(device.type, torch.bfloat16):
        module(torch.rand(4, 4, device=device), torch.randn(4, 4, device=device)).sum()
        random.random(), np.random.rand()
    assert same(before, _states(device)), "states differ"
    return f"{len(before)} states are as before"


def _states(device: torch.device) -> list[Any]:
    cudnn = torch.backends.cudnn
    return [
        *(random.getstate(), np.random.get_state(), torch.get_rng_state()),
        torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        *(torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)),
        torch.is_autocast_cache_enabled(),
        *(cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        torch.backends.mha.get_fastpath_enabled(),
    ]


def autocast_cache(device: torch.device, folder: Path) -> str:
    """Evaluate a model inside of the user's own autocast: weights that it casts there must keep their gradients."""
    gradients = []
    for evaluated in (False, True):
        torch.manual_seed(0)
        module, given = nn.Linear(4, 4).to(device), torch.randn(4, 4, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            if evaluated:
                with isolated(module):
                    module(given)
            loss = module(given).float().square().mean()
        loss.backward() if loss.requires_grad else None
        gradients.append(module.weight.grad)
    assert gradients[1] is not None, "the weights have no gradient"
    assert torch.equal(*gradients)
    return "gradients as without the evaluation"


def processes(kind: str, backend: str, device: torch.device, folder: Path) -> str:
    """Train on processes of their own; those of ``ddp`` share the device, and NCCL takes them for two machines."""
    if backend == "nccl" and device.type == "cpu":
        raise Unavailable("NCCL needs a GPU")
    count = 2 if kind == "ddp" else 1
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "accelerators.processes", kind, backend, str(device), str(folder)],
            env=_environment(rank, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        said = [one.communicate(timeout=PROCESS_SECONDS)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    if "Duplicate GPU detected" in "".join(said):
        raise Unavailable("NCCL refuses two processes on one GPU")
    assert not any(one.returncode for one in started), said[0][-1500:]
    return f"{said[0].strip().splitlines()[-1]}, {count} processes"


def _environment(rank: int, port: str) -> dict[str, str]:
    """Return what makes a process the only one of a machine of its own; NCCL refuses a GPU twice on one machine."""
    places = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    of_nccl = {
        "NCCL_HOSTID": f"machine-{rank}",
        "NCCL_P2P_DISABLE": "1",
        "NCCL_SHM_DISABLE": "1",
        "NCCL_IB_DISABLE": "1",
    }
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(rank), "LOCAL_RANK": "0"}
    local = {
        "NCCL_SOCKET_IFNAME": "lo",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
    }
    return {**os.environ, **of_nccl, **address, **local}


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


CHECKS: dict[str, Check] = {
    "states are restored": states,
    "autocast cache": autocast_cache,
    **{f"training in {kind}": partial(in_precision, kind) for kind in ("32-true", "bf16-mixed", "16-mixed")},
    **{f"training in {kind}": partial(in_precision, kind) for kind in ("bf16-true", "16-true")},
    "channels_last": channels_last,
    "LSTM, derivatives": recurrent,
    "attention, PyTorch's choice": partial(attention, None),
    "attention, math": partial(attention, SDPBackend.MATH),
    "attention, flash": partial(attention, SDPBackend.FLASH_ATTENTION),
    "attention, memory-efficient": partial(attention, SDPBackend.EFFICIENT_ATTENTION),
    "attention, cuDNN": partial(attention, SDPBackend.CUDNN_ATTENTION),
    "attention, second derivatives": second_order_of_attention,
    "memory runs out": out_of_memory,
    "memory never suffices": never_enough_memory,
    "synchronisations": synchronisations,
    "peak memory": peak_memory,
    "compiled": partial(compiled, "default"),
    "compiled, CUDA graphs": partial(compiled, "reduce-overhead"),
    "DDP, NCCL": partial(processes, "ddp", "nccl"),
    "DDP, gloo": partial(processes, "ddp", "gloo"),
    "FSDP2, NCCL": partial(processes, "fsdp2", "nccl"),
    "FSDP2, gloo": partial(processes, "fsdp2", "gloo"),
}
"""Name -> check, those first that others build on."""

QUICK = ("states are restored", "autocast cache", "memory never suffices")
"""Checks of which a CPU takes little, run by default."""
