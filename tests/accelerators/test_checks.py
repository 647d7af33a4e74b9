"""What must hold on an accelerator; a few of the checks on a CPU too, so that they cannot rot."""

import pytest
import torch
from accelerators.checks import CHECKS, QUICK, Unavailable

ALL = list(CHECKS)
WITHOUT_GPU = "needs a CUDA device: torch.cuda.is_available() is false"


def checked(name, device, folder):
    try:
        return CHECKS[name](torch.device(device), folder)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason=WITHOUT_GPU)
@pytest.mark.parametrize("name", ALL)
def test_on_a_gpu(tmp_path, name):
    assert checked(name, "cuda:0", tmp_path)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_on_a_cpu(tmp_path, name):
    assert checked(name, "cpu", tmp_path)
