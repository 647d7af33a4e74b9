"""Heads of a model that draws random numbers: averaged over draws together, as each would be alone."""

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from heads.test_forwards import cost_of_run
from heads.test_known_answers import fail
from helpers.heads import FORWARDS, LABELS, MODALITIES, ThreeHeads, batch, step
from torch import Tensor
from torch.nn import functional

from mviz_lightning import MonitorWarning
from mviz_lightning.batch import parse_modalities
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

DRAWS = 3


class Dropped(ThreeHeads):
    """Monte Carlo dropout before all heads: one draw of noise in each of them, at the same place of the model."""

    def heads(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u = functional.dropout(self.first(one), 0.3, training=True)
        v = functional.dropout(self.second(two), 0.3, training=True)
        return self.head_a(u), self.head_b(v), self.head_c((one[:, :1] * two[:, :1]).expand(-1, 4) + 0.1 * u * v)


class Sampled(ThreeHeads):
    """The latent of a variational autoencoder, from which two heads read."""

    def heads(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, v = self.first(one), self.second(two)
        latent = u + v + 0.5 * (0.3 * u * v).exp() * torch.randn_like(u)
        return self.head_a(latent), self.head_b(latent), self.head_c(latent * latent)


class Apart(ThreeHeads):
    """Each head has noise of its own, drawn after that of the heads before it."""

    def heads(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = super().heads(one, two)
        return tuple(head + 0.3 * torch.randn_like(head) for head in found)  # type: ignore[return-value]


class Softened(Dropped):
    """Head ``a`` returns probabilities: the mean of their logits is not the logit of their mean."""

    def heads(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = super().heads(one, two)
        return a.softmax(1), b, c


def predict(model: ThreeHeads, data: Any) -> Any:
    return model(data["one"], data["two"])


def session_of(model: ThreeHeads, heads: list[str]) -> Session:
    """Return a session whose examples are complete."""
    told = {"predict": predict, "by_head": {"target": {name: LABELS[name] for name in heads}}}
    given: Any = told if isinstance(model, Softened) else {"heads": heads}
    config = SessionConfig(modalities=parse_modalities(MODALITIES), num_examples=32, draws=DRAWS, **given)
    session = Session(config)
    session.collect(batch(32), lambda count: range(count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)  # of the input that a head does not read
        session.dry_run(model, step=None if isinstance(model, Softened) else step)
        session.complete()
    return session


def measured(session: Session) -> tuple[dict[str, dict[str, float]], int, list[int]]:
    """Return the values of each head, and the rows and forwards of a run after the checks of the first one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        cost_of_run(session)
    FORWARDS.clear()
    found = {session.name: session.run()} | session.run_heads(fail)
    return {name: one.values for name, one in found.items()}, sum(one.rows for one in found.values()), [*FORWARDS]


def alone(model: ThreeHeads, head: str, main: Session) -> tuple[dict[str, float], int, list[int]]:
    """Return the same of a monitor of one head, in the groups of another session."""
    session = session_of(model, [head])
    collected, probe = session._ready()[0], main.probe
    assert probe is not None
    assert session.positions == main.positions
    session._collected = replace(collected, probe=replace(collected.probe, groups=probe.groups))
    values, rows, forwards = measured(session)
    return values[session.name], rows, forwards


@pytest.mark.parametrize(
    "kind", [Dropped, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (Sampled, Apart, Softened))]
)
def test_each_head_has_the_values_of_a_monitor_of_this_head_alone_for_the_cost_of_one(kind: type[ThreeHeads]) -> None:
    model = kind()
    session = session_of(model, ["c", "a"])
    found, rows, forwards = measured(session)
    for head, values in found.items():
        expected, rows_of_one, forwards_of_one = alone(model, head, session)
        assert values == expected
        assert rows == rows_of_one == DRAWS * 32 * 16
    # The own outputs of eight examples are compared, in a replay for each head.
    assert [size for size in forwards if size > 8] == [size for size in forwards_of_one if size > 8]
