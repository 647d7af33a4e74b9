"""More examples are recombined where encodings are reused and the fusion is cheap, and nobody chose how many."""

from typing import Any

import pytest
import torch
from helpers.batches import floats
from session.test_session import through_a_checkpoint
from torch import Tensor, nn

from mviz_lightning import MonitorWarning, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

COUNT = 300


class Heavy(nn.Module):
    """Encoders of thousands of multiplications, and a sum and a product behind them."""

    def __init__(self, width: int = 64, modalities: int = 2) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))
            for _ in range(modalities)
        )

    def forward(self, *modalities: Tensor) -> Tensor:
        encoded = torch.stack([net(x) for net, x in zip(self.encoders, modalities, strict=True)])
        return encoded.sum(0) + encoded.prod(0)


def config(modalities: int = 2, **options: Any) -> SessionConfig:
    names = {"abcdef"[m]: str(m) for m in range(modalities)}
    return SessionConfig(parse_modalities(names), task="multiclass", **options)


def batch(modalities: int = 2, count: int = COUNT) -> tuple[Tensor, ...]:
    return tuple(floats(count, 4, seed=m) for m in range(modalities))


def completed_session(
    settings: SessionConfig, module: nn.Module | None = None, count: int = COUNT, state: Any = None
) -> Session:
    modalities = len(settings.modalities)
    found = Session(settings)
    if state is not None:
        found.load(through_a_checkpoint(state))
    found.begin()
    found.collect(batch(modalities, count), range)
    found.dry_run(module or Heavy(modalities=modalities))
    found.complete()
    return found


def groups(found: Session) -> tuple[int, ...]:
    assert found.probe is not None
    return tuple(found.probe.groups.shape)


@pytest.mark.long
@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_groups_grow_where_the_fusion_is_cheap(modalities: int) -> None:
    module = Heavy(modalities=modalities)
    found = completed_session(config(modalities), module)
    assert groups(found) == (8, 32)
    again = completed_session(config(modalities, num_examples=256, group_size=32), module)
    assert torch.equal(found.probe.groups, again.probe.groups)  # type: ignore[union-attr]
    assert found.run().values == again.run().values


def test_a_configuration_stays_as_it_was_when_groups_have_grown() -> None:
    settings = config()
    found = completed_session(settings)
    assert groups(found) == (8, 32)
    assert found.config is settings
    assert settings == config()
    assert (settings.examples, settings.group) == (128, 16)


def test_groups_stay_where_reuse_is_off_or_useless_or_rows_are_dear() -> None:
    assert groups(completed_session(config(reuse=False))) == (8, 16)
    assert groups(completed_session(config(), Heavy(width=1))) == (8, 16)

    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(8, 2)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.net(torch.cat([a, b], 1))

    assert groups(completed_session(config(), Early())) == (8, 16)

    class Wide(Heavy):
        def forward(self, *modalities: Tensor) -> Tensor:
            return super().forward(*modalities).repeat(1, 2050)

    assert groups(completed_session(config(), Wide(width=1024))) == (8, 16)


@pytest.mark.parametrize("options", [{"num_examples": 128}, {"group_size": 16}, {"num_examples": 64, "group_size": 8}])
def test_what_somebody_chose_is_kept(options: dict[str, int]) -> None:
    size = options.get("group_size", 16)
    assert groups(completed_session(config(**options))) == (options.get("num_examples", 128) // size, size)


@pytest.mark.parametrize(("count", "size"), [(255, 16), (256, 32)])
def test_groups_grow_only_where_there_are_as_many_examples(count: int, size: int) -> None:
    assert groups(completed_session(config(), count=count)) == (8, size)


@pytest.mark.parametrize(("budget", "shape"), [(8192, (8, 32)), (8191, (8, 16)), (512, (2, 16))])
def test_a_budget_comes_first(budget: int, shape: tuple[int, int]) -> None:
    found = completed_session(config(budget=budget))
    assert groups(found) == shape
    assert found.run().rows <= budget


def test_the_limit_is_a_quarter_of_the_plain_rows() -> None:
    # 256 encodings and 8,192 fusions against 2,048 plain rows
    limit = (2048 / 4 - 256) / (8192 - 256)
    assert config().grouping(limit * 0.999).size == 32
    assert config().grouping(limit * 1.001).size == 16
    assert config().grouping(1.0) == config().base_grouping


@pytest.mark.parametrize("modalities", [2, 3, 4, 5, 6])
def test_without_a_choice_groups_are_large_enough_for_the_modalities(modalities: int) -> None:
    assert config(modalities).group == max(16, 4 * modalities if modalities > 2 else 4)
    assert config(modalities).examples == 128


def test_what_a_budget_has_left_belongs_to_the_explainers() -> None:
    assert groups(completed_session(config(budget=20_000))) == (8, 32)
    assert groups(completed_session(config(budget=20_000, explainers=[DIME()]))) == (8, 16)


@pytest.mark.parametrize("limit", [2**30, 0], ids=["whole", "digest"])
@pytest.mark.parametrize("reuse", [True, False])
def test_a_resumed_training_keeps_its_groups_even_if_reuse_is_off_now(limit: int, *, reuse: bool) -> None:
    before = completed_session(config())
    after = completed_session(config(reuse=reuse), state=before.state(limit))
    assert groups(after) == (8, 32)
    assert torch.equal(after.probe.groups, before.probe.groups)  # type: ignore[union-attr]
    assert after.pop_notes() == ""


@pytest.mark.parametrize("limit", [2**30, 0], ids=["whole", "digest"])
def test_groups_that_did_not_grow_stay_so_when_a_training_is_resumed(limit: int) -> None:
    before = completed_session(config(reuse=False))
    after = completed_session(config(), state=before.state(limit))
    assert groups(after) == (8, 16)
    assert after.pop_notes() == ""


def test_encodings_that_turn_out_not_to_be_exact_do_not_grow_groups() -> None:
    class Spying(nn.Module):
        """An encoder, bent by what left torch's sight of the other modality."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net, self.hint = net, [0.0]

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x * torch.tensor(self.hint).unsqueeze(1))

    class Model(Heavy):
        def __init__(self) -> None:
            super().__init__()
            self.encoders[1] = Spying(self.encoders[1])

        def forward(self, *modalities: Tensor) -> Tensor:
            self.encoders[1].hint = [float(found) for found in modalities[0][:, 0].exp()]  # type: ignore[assignment]
            return super().forward(*modalities)

    with pytest.warns(MonitorWarning, match="cannot be reused"):
        found = completed_session(config(), Model())
    assert groups(found) == (8, 16)


def test_explain_grows_too() -> None:
    torch.manual_seed(0)
    report = explain(Heavy(), [batch()], modalities={"a": "0", "b": "1"}, task="multiclass")
    assert (report.examples, report.rows) == (256, 8192)


@pytest.mark.long
@pytest.mark.parametrize(("modalities", "said"), [(4, False), (5, True)])
def test_of_five_modalities_a_note_says_that_the_gap_reads_high(
    modalities: int, caplog: pytest.LogCaptureFixture, *, said: bool
) -> None:
    names = {"abcdef"[m]: str(m) for m in range(modalities)}
    batches = [(*batch(modalities, 48), torch.arange(48) % 2)]
    explain(Heavy(modalities=modalities), batches, modalities=names, target=str(modalities), task="multiclass")

    assert (f"emap_gap and errors/rescued are biased upwards with {modalities} modalities" in caplog.text) is said
