"""The only place that asks the model: answers are those of plain forwards, whatever the chunks."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from helpers.batches import (
    FAMILIES,
    LateFusion,
    ModelCase,
    OnBatch,
    call_forward,
    call_named,
    floats,
    integers,
    learn,
    pair_batch,
    probe_of,
    seeded,
)
from helpers.few import spread
from helpers.tally import Tally
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mviz_lightning import ConfigurationError
from mviz_lightning.batch import Probe, Segments
from mviz_lightning.batch import rows as leaves
from mviz_lightning.engine import Evaluator, Query, join
from mviz_lightning.engine.call_choice import choose_call
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.model_outputs import scores

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def asked(case: ModelCase, chunk_size: int = 128) -> tuple[Evaluator, Probe]:
    """Return an evaluator that calls the model the way it is found to work, and a probe of the whole batch."""
    probe = probe_of(case.batch, case.modalities, case.target)
    module = case.module.eval()
    call = choose_call(module, probe.schema, case.batch, case.predict)
    return Evaluator(module, call.predict, chunk_size), probe


def plainly(case: ModelCase, sources: Tensor) -> Tensor:
    """Evaluate row by row: each twice, since models may not take a single one."""
    schema = learn(case.batch, case.modalities, case.target)
    evaluator, _ = asked(case)
    rows = []
    for row in sources.tolist():
        taken = {
            path: leaves.take_examples(leaf, torch.tensor([row[schema.owners[path]]] * 2))
            for path, leaf in schema.leaves(case.batch).items()
        }
        with torch.no_grad():
            rows.append(scores(evaluator.predict(case.module.eval(), schema.build(taken)))[:1])
    return torch.cat(rows)


@pytest.mark.long
@every_family
def test_answers_are_those_of_plain_forwards_row_by_row(family: Callable[..., ModelCase]) -> None:
    case = family(6)
    sources = integers(6, 14, len(case.modalities), seed=5)
    evaluator, probe = asked(case)
    response = evaluator(probe, [Query(sources)])[0]
    assert response.shape == (14, case.outputs)
    torch.testing.assert_close(response, plainly(case, sources), atol=1e-6, rtol=1e-5)


@every_family
def test_chunks_change_nothing(family: Callable[..., ModelCase]) -> None:
    case = family(6)
    query = Query(integers(6, 14, len(case.modalities), seed=6))
    expected = asked(case)[0].plain(asked(case)[1], query)
    for chunk_size in (2, 3, 5, 13):
        evaluator, probe = asked(case, chunk_size)
        torch.testing.assert_close(evaluator.plain(probe, query), expected, atol=1e-6, rtol=0)


@every_family
def test_a_single_row_is_answered(family: Callable[..., ModelCase]) -> None:
    case = family(4)
    sources = integers(4, 1, len(case.modalities), seed=7)
    evaluator, probe = asked(case)
    torch.testing.assert_close(evaluator.plain(probe, Query(sources)), plainly(case, sources), atol=1e-6, rtol=1e-5)


class Counting(nn.Module):
    """Counts rows, never a single one, and fails on more than a limit."""

    def __init__(self, limit: int = 10**6) -> None:
        super().__init__()
        self.net = seeded(LateFusion)
        self.limit = limit
        self.chunks = Tally()

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        self.chunks.seen.append(len(image))
        if len(image) > self.limit:
            raise RuntimeError(f"CUDA out of memory. Tried to allocate {len(image)}.00 GiB")
        return self.net(image, text)


PAIRS = torch.cartesian_prod(torch.arange(6), torch.arange(6))
BATCH = pair_batch(6)
EXPECTED = seeded(LateFusion)(BATCH["image"][PAIRS[:, 0]], BATCH["text"][PAIRS[:, 1]]).detach()


def counted(limit: int = 10**6, chunk_size: int = 128) -> tuple[Counting, Evaluator, Probe]:
    module = Counting(limit)
    return module, Evaluator(module, call_named, chunk_size, reuse=False), probe_of(BATCH)


def test_rows_that_several_queries_share_are_evaluated_once() -> None:
    module, evaluator, probe = counted()
    queries = [Query(PAIRS), Query(PAIRS.flip(0)), Query.aligned(torch.tensor([3, 3, 1]), 2)]
    grid, flipped, own = evaluator(probe, queries)
    assert sum(module.chunks.seen) == evaluator.rows == 36
    torch.testing.assert_close(grid, EXPECTED)
    torch.testing.assert_close(flipped, EXPECTED.flip(0))
    torch.testing.assert_close(own, EXPECTED[[21, 21, 7]])


def test_plain_evaluates_repeats() -> None:
    module, evaluator, probe = counted()
    evaluator.plain(probe, Query.aligned(torch.zeros(7, dtype=torch.long), 2))
    assert module.chunks.seen == [7]


@given(rows=st.integers(1, 30), chunk_size=st.integers(2, 8))
def test_no_chunk_has_one_row_and_none_is_much_too_large(rows: int, chunk_size: int) -> None:
    module, evaluator, probe = counted(chunk_size=chunk_size)
    outputs = evaluator.plain(probe, Query(PAIRS[:rows]))
    torch.testing.assert_close(outputs, EXPECTED[:rows])
    assert min(module.chunks.seen) >= 2
    assert max(module.chunks.seen) <= chunk_size + 1
    assert sum(module.chunks.seen) == max(rows, 2)


def test_a_model_that_squeezes_single_rows_is_evaluated_right() -> None:
    module = OnBatch(lambda self, batch: self.net(batch["image"], batch["text"]).squeeze(), net=seeded(LateFusion))
    evaluator, probe = Evaluator(module, call_forward, 4), probe_of(BATCH)
    torch.testing.assert_close(evaluator.plain(probe, Query(PAIRS[:9])), EXPECTED[:9])
    torch.testing.assert_close(evaluator.plain(probe, Query(PAIRS[8:9])), EXPECTED[8:9])


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "left"), spread([(35, 18), (20, 18), (9, 9), (5, 4), (3, 2), (2, 2)], 3))
def test_chunks_are_halved_for_good_when_memory_runs_out(limit: int, left: int) -> None:
    module, evaluator, probe = counted(limit)
    torch.testing.assert_close(evaluator.plain(probe, Query(PAIRS)), EXPECTED)
    assert evaluator.chunk_size == left
    module.chunks.seen.clear()
    evaluator.plain(probe, Query(PAIRS[:30]))
    assert max(module.chunks.seen) <= limit


def test_rows_before_the_failure_are_not_evaluated_again() -> None:
    module, evaluator, probe = counted(chunk_size=12)
    forward = module.forward

    def failing(image: Tensor, text: Tensor) -> Tensor:
        if len(module.chunks.seen) == 2 and len(image) == 12:
            module.chunks.seen.append(0)
            raise RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return forward(image, text)

    module.forward = failing
    torch.testing.assert_close(evaluator.plain(probe, Query(PAIRS)), EXPECTED)
    assert module.chunks.seen == [12, 12, 0, 6, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB"),
        torch.OutOfMemoryError("HIP out of memory. Tried to allocate 1.00 GiB"),
        torch.OutOfMemoryError("XPU out of memory. Tried to allocate 1.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max: 9.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["CUDA", "AMD", "Intel", "Apple", "CPU", "cuBLAS", "cuDNN"],
)
def test_memory_runs_out_on_every_device(error: RuntimeError) -> None:
    module, evaluator, probe = counted()
    forward = module.forward

    def failing(image: Tensor, text: Tensor) -> Tensor:
        if len(image) > 9:
            raise error
        return forward(image, text)

    module.forward = failing
    torch.testing.assert_close(evaluator.plain(probe, Query(PAIRS)), EXPECTED)
    assert evaluator.chunk_size == 9


@pytest.mark.slow
def test_memory_that_runs_out_at_the_smallest_chunk_is_an_error() -> None:
    module, evaluator, probe = counted(limit=1)
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        evaluator.plain(probe, Query(PAIRS))
    assert module.chunks.seen == [36, 18, 9, 4, 2]


def test_other_errors_are_not_tried_again() -> None:
    module = OnBatch(lambda *_: (_ for _ in ()).throw(RuntimeError("no such luck")))
    with pytest.raises(RuntimeError, match="no such luck"):
        Evaluator(module, call_forward).plain(probe_of(BATCH), Query(PAIRS))


@pytest.mark.parametrize(
    "outputs", [lambda net: net.mean(0, keepdim=True), lambda net: net[:-1]], ids=["pooled", "shortened"]
)
def test_another_number_of_rows_is_refused(outputs: Callable[[Tensor], Tensor]) -> None:
    module = OnBatch(lambda _, batch: outputs(batch["image"]))
    with pytest.raises(
        ConfigurationError, match=r"the model returned \d+ rows of scores for 36 examples; allowed is one row"
    ):
        Evaluator(module, call_forward).plain(probe_of(BATCH), Query(PAIRS))


def masked_probe() -> Probe:
    probe = probe_of(BATCH)
    segments = {
        "image": Segments("image", torch.tensor([[0, 0, 1, 1]])),
        "text": Segments("text", torch.tensor([[0, 1, 2]]), 7.0),
    }
    return Probe(probe.schema, probe.leaves, probe.groups, segments)


def test_masked_rows_are_those_of_masked_inputs() -> None:
    _, evaluator, _ = counted(chunk_size=3)
    kept_image = integers(2, 7, 2, seed=1).bool()
    kept_text = integers(2, 7, 3, seed=2).bool()
    sources = PAIRS[5:12]
    response = evaluator(masked_probe(), [Query(sources, {"image": kept_image, "text": kept_text})])[0]
    image = BATCH["image"][sources[:, 0]] * kept_image.repeat_interleave(2, 1)
    text = torch.where(kept_text, BATCH["text"][sources[:, 1]], 7.0)
    torch.testing.assert_close(response, seeded(LateFusion)(image, text).detach())


def test_rows_without_masked_units_are_unmasked_rows() -> None:
    module, evaluator, _ = counted()
    everything = Query(PAIRS, {"image": torch.ones(36, 2, dtype=torch.bool)})
    plain, kept = evaluator(masked_probe(), [Query(PAIRS), everything])
    assert module.chunks.seen == [36]
    assert torch.equal(plain, kept)


def test_queries_with_masks_of_several_modalities_are_joined() -> None:
    module, evaluator, _ = counted()
    half = torch.tensor([[True, False]] * 36)
    queries = [
        Query(PAIRS, {"image": half}),
        Query(PAIRS),
        Query(PAIRS, {"text": torch.zeros(36, 3, dtype=torch.bool)}),
    ]
    responses = evaluator(masked_probe(), queries)
    assert sum(module.chunks.seen) == 2 * 36 + 6 * 6
    for query, response in zip(queries, responses, strict=True):
        torch.testing.assert_close(response, evaluator.plain(masked_probe(), query))


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6), min_size=1, max_size=3)
)
def test_joined_queries_are_distinct_and_give_every_row_back(rows: list[list[tuple[int, int]]]) -> None:
    queries = [Query(torch.tensor(part)) for part in rows]
    distinct, responses = join(queries)
    assert len(torch.unique(distinct.sources, dim=0)) == len(distinct)
    for query, response in zip(queries, responses, strict=True):
        assert torch.equal(distinct[response].sources, query.sources)


def test_outputs_have_the_type_that_the_precision_of_the_trainer_gives() -> None:
    module = seeded(LateFusion)
    autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    outputs = Evaluator(module, call_named, precision=autocast).plain(
        probe_of(BATCH), Query.aligned(torch.arange(6), 2)
    )
    with autocast(), torch.no_grad():
        expected = module(BATCH["image"], BATCH["text"])
    assert outputs.dtype == torch.bfloat16
    assert torch.equal(outputs, expected)


def test_without_a_precision_outputs_have_the_models_own_type() -> None:
    module = seeded(LateFusion).double()
    batch = {name: leaf.double() for name, leaf in BATCH.items()}
    outputs = Evaluator(module, call_named, precision=nullcontext).plain(probe_of(batch), Query(PAIRS[:3]))
    assert outputs.dtype == torch.float64


def test_outputs_carry_no_graph_and_are_no_inference_tensors() -> None:
    with torch.inference_mode():
        outputs = Evaluator(seeded(LateFusion), call_named).plain(probe_of(BATCH), Query(PAIRS))
    assert not outputs.requires_grad
    assert not outputs.is_inference()


def modes(module: nn.Module) -> list[bool]:
    return [child.training for child in module.modules()]


def test_the_model_is_evaluated_in_evaluation_mode_and_left_in_its_own() -> None:
    seen = Tally()

    class Watching(LateFusion):
        def forward(self, image: Any, text: Any) -> Tensor:
            seen.seen += modes(self)
            return super().forward(image, text)

    module = Watching()
    module.text_net.eval()
    before = modes(module)
    Evaluator(module, call_named).plain(probe_of(BATCH), Query(PAIRS))
    assert not any(seen.seen)
    assert modes(module) == before


def test_the_same_seed_gives_the_same_outputs_of_a_model_that_samples() -> None:
    module = OnBatch(lambda _, batch: torch.rand(len(batch["image"]), 2))
    query = Query(PAIRS)
    first = Evaluator(module, call_forward).plain(probe_of(BATCH), query)
    torch.rand(3)
    assert torch.equal(Evaluator(module, call_forward).plain(probe_of(BATCH), query), first)
    assert not torch.equal(Evaluator(module, call_forward, seed=1).plain(probe_of(BATCH), query), first)


def test_evaluating_never_changes_the_probe() -> None:
    def spoil(_: Any, batch: Any) -> Tensor:
        batch["image"].zero_()
        batch.pop("labels")
        return batch["image"]

    probe = probe_of({**BATCH, "labels": BATCH["labels"].clone(), "image": BATCH["image"].clone()})
    Evaluator(OnBatch(spoil), call_forward).plain(probe, Query(PAIRS))
    assert torch.equal(probe.leaves["image"], BATCH["image"])
    assert "labels" in probe.leaves


def test_evaluating_never_changes_lists_of_tensors_in_the_probe() -> None:
    def spoil(_: Any, batch: Any) -> Tensor:
        for image in batch["image"]:
            image.sub_(image.mean())
        return batch["text"]

    images = [floats(3, 2 + k) for k in range(6)]
    probe = probe_of(
        {"image": [image.clone() for image in images], "text": BATCH["text"]}, {"text": "text", "image": "image"}
    )
    Evaluator(OnBatch(spoil), call_forward).plain(probe, Query(PAIRS))
    assert all(torch.equal(left, right) for left, right in zip(probe.leaves["image"], images, strict=True))


def test_evaluating_never_changes_constants_of_the_batch() -> None:
    def spoil(_: Any, batch: Any) -> Tensor:
        return batch["image"] * batch["scale"].mul_(2)

    probe = probe_of({**BATCH, "scale": torch.tensor(1.0)})
    evaluator = Evaluator(OnBatch(spoil), call_forward)
    assert torch.equal(evaluator.plain(probe, Query(PAIRS)), evaluator.plain(probe, Query(PAIRS)))


@pytest.mark.parametrize(
    ("module", "device"),
    [(nn.Linear(1, 1, device="meta"), "meta"), (nn.BatchNorm1d(2, affine=False), "cpu"), (nn.Identity(), "cpu")],
)
def test_the_device_is_that_of_the_weights_or_buffers(module: nn.Module, device: str) -> None:
    assert device_of(module).type == device


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 4])
def test_memory_that_runs_out_for_good_is_no_endless_loop(scale: int) -> None:
    asking, tried = Evaluator(torch.nn.Linear(1, 1), lambda module, batch: module(batch)), []

    def forward(rows: slice) -> Tensor:
        tried.append(rows.stop - rows.start)
        raise RuntimeError("CUDA out of memory.")

    with pytest.raises(RuntimeError, match="out of memory"):
        asking.in_chunks(1000, forward, scale=scale)
    assert len(tried) < 20
    assert tried == sorted(tried, reverse=True)
