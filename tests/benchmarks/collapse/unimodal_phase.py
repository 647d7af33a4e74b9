"""Draw a collapse whose times are known: the unimodal phase of a linear network, by theory, as measured, and the alarm.

python tests/benchmarks/collapse/unimodal_phase.py examples/pictures/unimodal_phase.png

Two branches of two linear layers learn ``y = x_A + x_B``. The stronger modality A is learned at t_A, the weaker B at
``t_B = t_A (1 + (s_A^2 - s_B^2) / ((1 - rho^2) s_B^2))`` (Zhang, Latham and Saxe, ICML 2024). In between the network is
unimodal, though B is half of the answer.
"""

import argparse
import logging
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.sinks.records import State

SETTINGS = ((2.0, 0.0), (3.0, 0.0), (2.0, 0.5))
"""Ratio of the standard deviations of A and B, and their correlation."""
EXAMPLES, HIDDEN, START, CHECKS = 512, 16, 1e-3, 120
SHOWN = 10.5
"""End of the axis, in units of t_A."""


def predicted(ratio: float, rho: float) -> float:
    """Return t_B / t_A by theory, for small initial weights."""
    return 1 + (ratio**2 - 1) / (1 - rho**2)


def examples(ratio: float, rho: float, seed: int) -> dict[str, Tensor]:
    """Return examples whose covariance is exactly that of the theory."""
    covariance = torch.tensor([[ratio**2, rho * ratio], [rho * ratio, 1.0]], dtype=torch.float64)
    drawn = torch.randn(EXAMPLES, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    drawn = drawn - drawn.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(drawn.T @ drawn / EXAMPLES), drawn.T, upper=False)
    told = (torch.linalg.cholesky(covariance) @ white).T.float()
    return {"a": told[:, :1], "b": told[:, 1:], "label": told.sum(1)}


class Branches(LightningModule):
    """Two linear layers for each modality, whose outputs are added.

    Attributes:
        weights: What the branches multiply A and B by, after every validation.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.weights = rate, list[tuple[float, float]]()
        first = START * torch.randn(2, HIDDEN)
        self.layers = nn.ParameterList([first.clone(), first.clone()])  # both branches begin alike

    def branch(self, name: str) -> Tensor:
        """Return the product of a branch's layers."""
        layers: Tensor = self.layers["ab".index(name)]
        return layers[0] @ layers[1]

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["a"] * self.branch("a") + batch["b"] * self.branch("b")

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        return (self(batch)[:, 0] - batch["label"]).square().mean() / 2

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.log("val_loss", self.training_step(batch), batch_size=len(batch["label"]))

    def on_validation_epoch_end(self) -> None:
        self.weights.append((float(self.branch("a")), float(self.branch("b"))))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.rate)


class Phase(NamedTuple):
    """One training: times in steps of gradient flow, the two weights, and the alarm's states of B.

    Attributes:
        title: Of the setting.
        theory: t_B / t_A.
        times: ``(S,)`` of the checks.
        weights: ``(S, 2)`` of A and B.
        states: ``(S,)`` of B.
    """

    title: str
    theory: float
    times: np.ndarray
    weights: np.ndarray
    states: np.ndarray

    def learned(self, column: int) -> float:
        """Return when a weight is half of its final 1, between checks by linear interpolation."""
        weight = self.weights[:, column]
        after = int(np.argmax(weight >= 0.5))
        return float(np.interp(0.5, weight[after - 1 : after + 1], self.times[after - 1 : after + 1]))

    def rang(self) -> np.ndarray:
        """Return the times of the checks at which B was called collapsed."""
        return self.times[self.states == State.COLLAPSED]


def trained(ratio: float, rho: float, seed: int = 0) -> Phase:
    """Train once with the real callbacks; the step is a twentieth of what is stable."""
    torch.manual_seed(seed)
    rate = 0.05 / (ratio**2 + 1 + rho * ratio)
    told, length = examples(ratio, rho, seed), _length(ratio, rho) / rate
    steps = math.ceil(length / CHECKS)
    module, monitor = Branches(rate), MultimodalMonitor({"a": "a", "b": "b"}, target="label", task="regression")
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, [monitor, UnimodalCollapse()])
        trainer.fit(module, DataLoader([told] * steps, batch_size=None), DataLoader([told], batch_size=None))
    title = f"standard deviations {ratio:g} : 1, correlation {rho:g}"
    states = np.array([row.values["collapse/b"] for row in monitor.history.fitted])
    times = rate * steps * np.arange(1, CHECKS + 1)
    return Phase(title, predicted(ratio, rho), times, np.array(module.weights), states)


def _length(ratio: float, rho: float) -> float:
    """Return somewhat more than the time at which B is learned: a branch grows as exp(time * covariance with y)."""
    first = math.log(1 / (START**2 * HIDDEN)) / (2 * (ratio**2 + rho * ratio))
    return 1.25 * first * predicted(ratio, rho)


def _trainer(folder: str, callbacks: list[Any]) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(
        default_root_dir=folder,
        max_epochs=CHECKS,
        callbacks=callbacks,
        accelerator="cpu",
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **quiet,  # type: ignore[arg-type]
    )


def draw(phases: list[Phase], path: Path) -> None:
    """Draw a panel for each training, on one axis of time."""
    from matplotlib.figure import Figure

    figure = Figure((8, 1.7 * len(phases) + 0.9), dpi=100, layout="constrained")
    panels = figure.subplots(len(phases), sharex=True, squeeze=False)[:, 0]
    for axes, phase in zip(panels, phases, strict=True):
        _panel(axes, phase)
    panels[-1].set(xlabel="time, in units of the time at which A is learned", xlim=(0, SHOWN))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path)


def _panel(axes: Any, phase: Phase) -> None:
    unit, rang = phase.learned(0), phase.rang()
    for column, (name, colour) in enumerate((("A", "#0072B2"), ("B", "#D55E00"))):
        axes.plot(phase.times / unit, phase.weights[:, column], color=colour, label=f"weight of {name}")
        label = {"label": "learned (half of the weight), measured"} if column == 0 else {}
        axes.plot(phase.learned(column) / unit, 0.5, "o", color=colour, markeredgecolor="black", **label)
    axes.axvline(phase.theory, color="black", linestyle=":", label="B learned, by theory")
    if len(rang):
        axes.axvspan(rang[0] / unit, rang[-1] / unit, color="#CC79A7", alpha=0.3, label="alarm: B is collapsed")
    met = f"B is learned at {phase.learned(1) / unit:.2f} (theory: {phase.theory:.2f})"
    axes.set_title(f"{phase.title}: {met}", fontsize=10, loc="left")
    axes.set(ylim=(-0.05, 1.5), ylabel="weight", yticks=(0, 0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Train three times, print the times and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    phases = [trained(*setting) for setting in SETTINGS]
    for phase in phases:
        first, second = phase.learned(0), phase.learned(1)
        rang = phase.rang() / first
        print(f"{phase.title}: t_B/t_A {second / first:.2f}, by theory {phase.theory:.2f}; ", end="")
        print(f"alarm from {rang[0]:.2f} to {rang[-1]:.2f} t_A" if len(rang) else "no alarm")
    draw(phases, path)


if __name__ == "__main__":
    main()
