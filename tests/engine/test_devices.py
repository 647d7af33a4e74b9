"""What a device computes with, told from PyTorch's flags; the GPU is a stand-in."""

from collections.abc import Iterator

import pytest
import torch
from helpers.batches import floats
from torch import Tensor

from mviz_lightning import ConfigurationError
from mviz_lightning.engine.agreement import number_type
from mviz_lightning.engine.devices import product_type
from mviz_lightning.engine.replay_check import check_replay

ROWS, WIDTH, LAYERS = 16, 64, 4
WEIGHTS = [floats(WIDTH, WIDTH, seed=layer) * 2**0.5 / WIDTH**0.5 for layer in range(1, LAYERS)]
INPUTS, OUT = floats(ROWS, WIDTH), floats(WIDTH, 3, seed=9) / WIDTH**0.5

needs_operations = pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="PyTorch before 2.9 has one precision for all operations"
)


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))


@pytest.fixture
def in_full_precision() -> Iterator[None]:
    operations = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before = [one.fp32_precision for one in operations]
    for one in operations:
        one.fp32_precision = "ieee"
    yield
    for one, precision in zip(operations, before, strict=True):
        one.fp32_precision = precision


def rounded(numbers: Tensor) -> Tensor:
    """Round to the 10 bits of TF32's fraction."""
    return ((numbers.contiguous().view(torch.int32) + 2**12) & ~(2**13 - 1)).view(torch.float32)


def outputs(rows: Tensor) -> Tensor:
    """Return outputs of a network whose kernels round what they multiply to TF32 for more than 8 rows, and not else."""
    take = rounded if len(rows) > 8 else torch.clone
    found = INPUTS[rows]
    for weight in WEIGHTS:
        found = (take(found) @ take(weight)).relu()
    return 1 + 0.1 * (take(found) @ take(OUT))


def test_a_cpu_computes_in_full_precision() -> None:
    assert product_type() is None
    assert number_type(floats(4, 3)) == torch.float32


@pytest.mark.usefixtures("hopper")
def test_a_gpu_rounds_to_tf32_by_default() -> None:
    assert product_type() == torch.float16
    assert torch.finfo(torch.float16).eps == 2**-10
    assert number_type(floats(4, 3)) == torch.float16
    assert number_type(floats(4, 3).double()) == torch.float64
    assert number_type(floats(4, 3).bfloat16().float()) == torch.bfloat16


@pytest.mark.usefixtures("hopper")
def test_a_gpu_before_ampere_knows_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 0))
    assert product_type() is None


@needs_operations
@pytest.mark.usefixtures("hopper", "in_full_precision")
def test_a_gpu_that_may_not_round_does_not() -> None:
    assert product_type() is None
    assert number_type(floats(4, 3)) == torch.float32


def test_kernels_that_round_for_some_numbers_of_rows_would_look_like_rows_that_depend_on_one_another() -> None:
    with pytest.raises(ConfigurationError, match="in other batches"):
        check_replay(outputs, torch.arange(ROWS), outputs(torch.arange(8)).repeat(2, 1), None)


@pytest.mark.usefixtures("hopper")
def test_rounding_to_tf32_is_no_dependence_of_rows() -> None:
    everyone = torch.arange(ROWS)
    replayed = torch.cat([outputs(part) for part in everyone.split(8)])
    assert (replayed - outputs(everyone)).abs().max() > 1e-5
    check_replay(outputs, everyone, replayed, None)
    with pytest.raises(RuntimeError, match="differ from plain ones"):
        check_replay(outputs, everyone, replayed.flip(0), None)
