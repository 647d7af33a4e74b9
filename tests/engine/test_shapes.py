"""Examples of different shapes: rows of recombined examples are those of the examples themselves, one at a time."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.batches import call_forward, floats, integers, learn, seeded
from torch import Tensor, nn

from mviz_lightning import Modality, MonitorWarning
from mviz_lightning.batch import Probe, Segments
from mviz_lightning.batch.padding import collate, own_bounds, with_masks_read
from mviz_lightning.batch.rows import take_examples
from mviz_lightning.engine import Evaluator, Query
from mviz_lightning.engine.derivative import derive
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.engine.query import Derivative
from mviz_lightning.engine.second_order import second_derivatives
from mviz_lightning.engine.shape_buckets import alike, buckets, in_buckets
from mviz_lightning.engine.shape_choice import ShapeChoice, compared_examples
from mviz_lightning.explainers import MultimodalPrediction, ProbeContext
from mviz_lightning.functional import design
from mviz_lightning.session.feature_evaluators import FeatureEvaluators

COUNT = 14
Example = dict[str, Tensor]


def examples(*, sounds: bool = False) -> list[Example]:
    """Return examples with a series of 1 to 5 steps, and a vector or a sound of 2 to 4 steps, each in batch form."""
    lengths, others = integers(5, COUNT, seed=8) + 1, integers(3, COUNT, seed=9) + 2
    return [
        {
            "series": floats(1, int(length), 3, seed=k),
            "other": floats(1, int(other), 2, seed=99 + k) if sounds else floats(1, 2, seed=99 + k),
        }
        for k, (length, other) in enumerate(zip(lengths, others, strict=True))
    ]


def probe_from(rows: Sequence[Example], modalities: Any = ("series", "other"), **more: Any) -> Probe:
    """Return a probe of examples in their own shapes."""
    schema = with_masks_read(learn(rows[0], modalities), rows)
    found = Probe(schema, collate(schema, rows), torch.arange(len(rows)).unsqueeze(0), bounds=own_bounds(schema, rows))
    return replace(found, own_shapes=True, **more)


class LastSteps(nn.Module):
    """Reads the last step of each sequence; a vector is a single step."""

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.left = nn.GRU(3, 4, batch_first=True)
        self.right = nn.GRU(2, 4, batch_first=True)
        self.head, self.pooled = nn.Linear(4, 3), pooled

    def forward(self, batch: Any) -> Tensor:
        other = batch["other"] if batch["other"].dim() == 3 else batch["other"].unsqueeze(1)
        if self.pooled:
            left, right = self.left(batch["series"])[1][0], self.right(other)[1][0]
        else:
            left, right = self.left(batch["series"])[0][:, -1], self.right(other)[0][:, -1]
        return self.head(left * right + left + right)


def one_by_one(module: nn.Module, rows: Sequence[Example], sources: Tensor) -> Tensor:
    """Evaluate rows of examples that were never padded, one at a time."""
    with torch.no_grad():
        return torch.cat(
            [module({"series": rows[i]["series"], "other": rows[j]["other"]}) for i, j in sources.tolist()]
        )


def ask(module: nn.Module, **options: Any) -> Evaluator:
    return Evaluator(module.eval(), call_forward, **options)


@pytest.mark.long
@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("chunk_size", [3, 128])
@pytest.mark.parametrize("sounds", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_rows_are_those_of_examples_that_were_never_padded(
    chunk_size: int, *, reuse: bool, sounds: bool, pooled: bool
) -> None:
    rows, module = examples(sounds=sounds), seeded(lambda: LastSteps(pooled=pooled))
    asking = ask(module, reuse=reuse, chunk_size=chunk_size)
    sources = torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT))[torch.randperm(COUNT**2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asking(probe_from(rows), [Query(sources)])[0]
    torch.testing.assert_close(found, one_by_one(module, rows, sources), atol=1e-6, rtol=1e-5)
    assert asking.reuse is reuse


def test_encoders_run_once_for_every_distinct_input_and_the_fusion_needs_no_buckets_after_a_pooled_one() -> None:
    class Counted(LastSteps):
        forwards = encoded = 0

        def forward(self, batch: Any) -> Tensor:
            self.forwards += 1
            return super().forward(batch)

    module, rows = seeded(lambda: Counted(pooled=True)), examples(sounds=True)
    asking, probe = ask(module), probe_from(rows)
    module.left.register_forward_hook(lambda _, given, __: setattr(module, "encoded", module.encoded + len(given[0])))
    sources = torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT))
    asking(probe, [Query(sources)])  # searches for what can be reused
    module.forwards = module.encoded = 0
    asking(probe, [Query(sources)])
    shapes = len({(row["series"].shape, row["other"].shape) for row in rows})
    assert module.encoded <= 2 * (COUNT + 16)  # a single row is doubled; 16 rows are checked
    assert module.forwards <= 2 * shapes + 16 + COUNT**2 // 128 + 2


def test_a_call_that_longer_examples_make_more_often_is_not_reused() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(3, 4), nn.Linear(6, 2)

        def forward(self, batch: Any) -> Tensor:
            state = torch.zeros(len(batch["series"]), 4)
            for step in batch["series"].unbind(1):
                state = self.cell(step, state)
            return self.head(torch.cat([state, batch["other"]], 1))

    rows, module = examples(), seeded(Loop)
    sources = torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT))
    with pytest.warns(MonitorWarning, match="call . of 'cell' is not made with every input"):
        found = ask(module)(probe_from(rows), [Query(sources)])[0]
    torch.testing.assert_close(found, one_by_one(module, rows, sources), atol=1e-6, rtol=1e-5)


def segments_of(probe: Probe, path: str) -> Segments:
    """Return a segment for each step that an example has."""
    own = probe.own_entries(path)
    assert own is not None
    real = own.any(2, keepdim=True)
    return Segments(path, (real.cumsum(1) - 1).where(real, -1))


def test_masked_rows_are_cut_too() -> None:
    rows, module = examples(), seeded(LastSteps)
    probe = probe_from(rows)
    probe = replace(probe, segments={"series": segments_of(probe, "series")})
    sources, kept = integers(COUNT, 30, 2), integers(2, 30, 5, seed=3).bool()
    masked = [
        {"series": rows[i]["series"] * kept[k, : rows[i]["series"].shape[1], None], "other": rows[j]["other"]}
        for k, (i, j) in enumerate(sources.tolist())
    ]
    found = ask(module)(probe, [Query(sources, {"series": kept})])[0]
    expected = one_by_one(module, masked, torch.arange(30)[:, None].expand(-1, 2))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("reuse", [True, False])
def test_derivatives_are_those_of_single_examples_and_0_at_padding(*, reuse: bool) -> None:
    rows, module = examples(), seeded(LastSteps)
    probe = probe_from(rows)
    probe = replace(probe, segments={"series": segments_of(probe, "series")})
    sources, outputs = integers(COUNT, 40, 2), integers(3, 40, seed=4)
    found = derive(ask(module, reuse=reuse), probe, Derivative(Query(sources), outputs, "series"))
    assert found.shape == (40, 5, 3)
    for (i, j), output, given in zip(sources.tolist(), outputs.tolist(), found, strict=True):
        series = rows[i]["series"].clone().requires_grad_()
        (slope,) = torch.autograd.grad(module({"series": series, "other": rows[j]["other"]})[0, output], series)
        length = series.shape[1]
        torch.testing.assert_close(given[:length], (slope * series).detach()[0], atol=1e-6, rtol=1e-4)
        assert not given[length:].any()


def test_second_derivatives_are_those_of_single_examples() -> None:
    rows, module = examples(sounds=True), seeded(LastSteps)
    probe = probe_from(rows)
    probe = replace(probe, segments={name: segments_of(probe, name) for name in ("series", "other")})
    sources, outputs = integers(COUNT, 20, 2), integers(3, 20, seed=4)
    wanted = Derivative(Query(sources), outputs, "series", against="other")
    found = second_derivatives(ask(module), probe, wanted)
    assert found.shape == (20, 5, 4)
    for (i, j), output, given in zip(sources.tolist(), outputs.tolist(), found, strict=True):
        left, right = rows[i]["series"], rows[j]["other"]

        def scaled(a: Tensor, b: Tensor, left=left, right=right, output=output) -> Tensor:
            return module({"series": left * a[:, None], "other": right * b[:, None]})[0, output]

        sizes = left.shape[1], right.shape[1]
        hessian = torch.autograd.functional.hessian(scaled, (torch.ones(sizes[0]), torch.ones(sizes[1])))[0][1]
        torch.testing.assert_close(given[: sizes[0], : sizes[1]], hessian, atol=1e-6, rtol=1e-4)
        assert not given[sizes[0] :].any()
        assert not given[:, sizes[1] :].any()


def test_features_are_those_of_single_examples() -> None:
    rows, module = examples(), seeded(LastSteps)
    context = ProbeContext(probe_from(rows), "multiclass", design(2, COUNT), list(range(COUNT)), torch.ones(3), 0)
    asking = FeatureEvaluators(context, ask(module)).of(MultimodalPrediction())
    sources = integers(COUNT, 60, 2)
    found = asking(context.probe, [Query(sources)])[0]
    assert found.shape == (60, 4 + 3)
    torch.testing.assert_close(found[:, 4:], one_by_one(module, rows, sources), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(module.head(found[:, :4]).detach(), found[:, 4:], atol=1e-6, rtol=1e-5)


def test_texts_padded_in_front_are_cut_in_front() -> None:
    """As decoders want them: rows of two batches, each padded in front to its own longest."""

    def batch(ids: list[list[int]]) -> Example:
        return {"ids": torch.tensor(ids), "mask": (torch.tensor(ids) != 9).long(), "other": floats(len(ids), 2)}

    batches = [batch([[9, 1], [2, 3]]), batch([[9, 9, 9, 4], [9, 5, 6, 7]])]
    rows = [{path: leaf[[k]] for path, leaf in found.items()} for found in batches for k in range(2)]
    probe = probe_from(rows, {"text": Modality("ids", mask="mask"), "other": "other"})
    assert probe.leaves["ids"].tolist() == [[9, 9, 9, 1], [9, 9, 2, 3], [9, 9, 9, 4], [9, 5, 6, 7]]
    assert probe.batch(torch.tensor([[0, 3], [1, 2]]), {})["ids"].tolist() == [[9, 1], [2, 3]]
    assert probe.batch(torch.tensor([[2, 0], [2, 1]]), {})["mask"].tolist() == [[0, 0, 0, 1]] * 2
    with pytest.raises(ValueError, match="rows of one batch differ in the shape of 'ids'"):
        probe.batch(torch.tensor([[0, 0], [2, 2]]), {})


def test_results_come_back_in_the_order_of_the_rows() -> None:
    shapes = integers(3, 50, 2)
    seen: list[Tensor] = []
    found = in_buckets(shapes, lambda rows: seen.append(rows) or 10 * rows)  # type: ignore[func-returns-value]
    assert torch.equal(found, 10 * torch.arange(50))
    assert all(len(shapes[rows].unique(dim=0)) == 1 for rows in seen)
    assert len(seen) == len(buckets(shapes)) == len(shapes.unique(dim=0))


def test_rows_of_one_shape_are_repeated_where_there_are_too_few() -> None:
    probe = probe_from(examples())
    lengths = probe.bounds["series"][:, 0, 1]
    few = alike(probe, 6).sources
    assert few.shape == (6, 2)
    assert len(set(lengths[few[:, 0]].tolist())) == 1
    assert torch.equal(alike(replace(probe, own_shapes=False), 6).sources[:, 0], torch.arange(6))


class MeanOfSteps(nn.Module):
    """Ignores padding with 0, unless it is told to count it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.counts = nn.Linear(3, 2), False

    def forward(self, batch: Any) -> Tensor:
        steps = batch["series"]
        length = steps.shape[1] if self.counts else (steps != 0).any(2).sum(1, keepdim=True)
        return self.net(steps.sum(1) / length) * batch["other"]


def padded_probe(rows: Sequence[Example]) -> Probe:
    return replace(probe_from(rows), own_shapes=False)


def test_examples_stay_padded_where_that_changes_nothing_and_later_no_more() -> None:
    module, probe, choice = seeded(MeanOfSteps), padded_probe(examples()), ShapeChoice()
    assert choice.of(ask(module), probe, Ranks()) == (probe, "")
    module.counts = True
    found, line = choice.of(ask(module), probe, Ranks())
    assert found.own_shapes
    assert "padded to the largest, their outputs differ by up to" in line
    module.counts = False
    assert choice.of(ask(module), found, Ranks()) == (found, "")  # for good


def test_a_model_that_fails_on_padded_examples_gets_them_in_their_own_shapes() -> None:
    class Short(LastSteps):
        def forward(self, batch: Any) -> Tensor:
            if batch["series"].shape[1] > 4 and not batch["series"].all():
                raise ValueError("a step of zeros")
            return super().forward(batch)

    found, line = ShapeChoice().of(ask(seeded(Short)), padded_probe(examples()), Ranks())
    assert found.own_shapes
    assert "their outputs fail" in line


class StepByStep(nn.Module):
    """Joins the two sequences step by step, so that both need the same length."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.GRU(5, 3, batch_first=True)

    def forward(self, batch: Any) -> Tensor:
        return self.net(torch.cat([batch["series"], batch["other"]], 2))[0][:, -1]


def of_equal_length() -> list[Example]:
    rows = examples()
    return [row | {"other": floats(*row["series"].shape[:2], 2, seed=k)} for k, row in enumerate(rows)]


def test_examples_that_cannot_be_recombined_in_their_own_shapes_stay_padded_under_one_warning() -> None:
    asking, probe, choice = ask(seeded(StepByStep)), padded_probe(of_equal_length()), ShapeChoice()
    with pytest.warns(
        MonitorWarning, match=r"differ by up to [0-9.]+ of their spread: in their own shapes they cannot"
    ):
        assert choice.of(asking, probe, Ranks()) == (probe, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice.of(asking, probe, Ranks()) == (probe, "")


class Others(Ranks):
    """Two processes; the other one finds what it is told."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__(0, 2)
        object.__setattr__(self, "change", change)

    def gather(self, value: Any) -> list[Any]:
        return [value, self.change(value) if hasattr(value, "deviation") else value]


def test_all_processes_decide_alike() -> None:
    module, probe = seeded(MeanOfSteps), padded_probe(examples())
    other = Others(lambda found: replace(found, deviation=0.3))
    assert ShapeChoice().of(ask(module), probe, other)[0].own_shapes


def test_examples_from_little_to_much_padding_are_compared_beside_whole_ones() -> None:
    rows = [{"series": torch.ones(1, length, 3), "other": floats(1, 2)} for length in [*range(1, 41), *[41] * 9]]
    chosen = compared_examples(padded_probe(rows)).tolist()
    assert len(chosen) == len(set(chosen)) == 16
    assert [k for k in chosen if k >= 40] == [40, 43, 45, 48]
    assert {0, 39} <= set(chosen)


def test_an_example_of_a_probe_is_what_the_user_gave() -> None:
    rows = examples(sounds=True)
    probe = probe_from(rows)
    for k, row in enumerate(rows):
        batch = probe.batch(torch.tensor([[k, k]]), {})
        assert all(torch.equal(batch[path], leaf) and batch[path].is_contiguous() for path, leaf in row.items())
        assert torch.equal(
            take_examples(probe.leaves["series"], torch.tensor([k]))[:, : row["series"].shape[1]], row["series"]
        )


def test_examples_that_fail_in_their_own_shapes_stay_padded_under_a_warning_and_broken_models_decide_nothing() -> None:
    class AllSteps(nn.Module):
        broken = False

        def forward(self, batch: Any) -> Tensor:
            if self.broken:
                raise ValueError("broken")
            return batch["series"].flatten(1) * batch["other"][:, :1]

    module, probe, choice = AllSteps(), padded_probe(examples()), ShapeChoice()
    module.broken = True
    with pytest.raises(ValueError, match="broken"):
        choice.of(ask(module), probe, Ranks())
    module.broken = False
    with pytest.warns(MonitorWarning, match="their outputs then may differ: in their own shapes they cannot"):
        assert choice.of(ask(module), probe, Ranks()) == (probe, "")


def test_a_number_that_depends_on_the_shape_is_not_replayed_for_other_shapes() -> None:
    class Sized(nn.Module):
        def forward(self, series: Tensor) -> tuple[Tensor, int]:
            return series.sum(1), series.shape[1]

    class Divided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sized, self.head = Sized(), nn.Linear(5, 2)

        def forward(self, batch: Any) -> Tensor:
            total, length = self.sized(batch["series"])
            return self.head(torch.cat([total / length, batch["other"]], 1))

    rows, module = examples(), seeded(Divided)
    sources = torch.cartesian_prod(torch.arange(COUNT), torch.arange(COUNT))
    with pytest.warns(MonitorWarning, match="of 'sized' returns other numbers for other shapes"):
        found = ask(module)(probe_from(rows), [Query(sources)])[0]
    torch.testing.assert_close(found, one_by_one(module, rows, sources), atol=1e-6, rtol=1e-5)
