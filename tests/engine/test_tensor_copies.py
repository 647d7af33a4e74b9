"""Tensors are copied once while they stay as they are, and put back whatever wrote them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mviz_lightning.engine import isolated, tensor_copies
from mviz_lightning.engine.tensor_copies import TensorCopies


class Buffered(nn.Module):
    """Has a large buffer that never changes, and a small one that every forward changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(1000.0))
        self.register_buffer("count", torch.zeros(2))
        self.weight = nn.Parameter(torch.ones(3))


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the tensors that were copied."""
    sizes: list[int] = []
    clone = Tensor.clone
    monkeypatch.setattr(Tensor, "clone", lambda tensor: (sizes.append(tensor.numel()), clone(tensor))[1])
    return sizes


def add(tensor: Tensor) -> None:
    with torch.no_grad():
        tensor.add_(1)


def add_to_data(tensor: Tensor) -> None:
    tensor.data.add_(1)


def add_by_numpy(tensor: Tensor) -> None:
    tensor.detach().numpy()[:] += 1


every_write = pytest.mark.parametrize("write", [add, add_to_data, add_by_numpy])


@every_write
def test_evaluations_share_one_copy_of_a_buffer(copied: list[int], write: Callable[[Tensor], None]) -> None:
    module = Buffered()
    with TensorCopies().kept():
        for _ in range(3):
            with isolated(module):
                write(module.count)
            assert module.count.tolist() == [0, 0]
    assert copied.count(1000) == 1
    with isolated(module):
        pass
    assert copied.count(1000) == 2


def test_a_buffer_that_the_training_wrote_is_copied_anew(copied: list[int]) -> None:
    module, copies = Buffered(), TensorCopies()
    for expected in (0, 1):
        with copies.kept(), isolated(module):
            module.count.fill_(9)
        assert module.count.tolist() == [expected] * 2
        module.count.add_(1)
    assert copied.count(2) == 2


def test_what_is_written_between_two_evaluations_is_not_undone() -> None:
    module = Buffered()
    with TensorCopies().kept():
        with isolated(module):
            pass
        module.count.add_(5)
        with isolated(module):
            module.count.zero_()
        assert module.count.tolist() == [5, 5]
        module.count.add_(1)
    assert module.count.tolist() == [6, 6]


@every_write
def test_an_evaluation_inside_another_puts_back_what_it_found(write: Callable[[Tensor], None]) -> None:
    module = Buffered()
    with TensorCopies().kept():
        for _ in range(2):
            with isolated(module):
                module.count.add_(1)
                with isolated(module):
                    write(module.count)
                assert module.count.tolist() == [1, 1]
            assert module.count.tolist() == [0, 0]


@every_write
def test_a_buffer_that_is_first_written_in_a_late_evaluation_is_put_back_at_the_end(
    write: Callable[[Tensor], None],
) -> None:
    module = Buffered()
    with TensorCopies().kept():
        for late in (False, False, True):
            with isolated(module):
                if late:
                    write(module.count)
    assert module.count.tolist() == [0, 0]


def test_the_bits_count_and_not_the_values() -> None:
    module = nn.Module()
    module.register_buffer("zero", torch.zeros(1))
    module.register_buffer("nothing", torch.tensor([float("nan")]))
    version = module.nothing._version
    with isolated(module):
        module.zero.data.neg_()
    assert not torch.signbit(module.zero)
    assert module.nothing._version == version


def test_a_graph_that_holds_a_buffer_that_was_written_past_its_version_can_be_differentiated() -> None:
    module, weight = Buffered(), torch.ones(2, requires_grad=True)
    loss = (weight * module.count).sum()
    with isolated(module):
        add_to_data(module.count)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0, 0]


@every_write
def test_weights_are_put_back(write: Callable[[Tensor], None]) -> None:
    module = Buffered()
    with isolated(module):
        write(module.weight)
    assert module.weight.tolist() == [1, 1, 1]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Buffered:
    """A model whose weights are too large to be copied."""
    monkeypatch.setattr(tensor_copies, "LARGEST_WEIGHTS", 0)
    return Buffered()


@pytest.mark.parametrize("write", [add, add_to_data])
def test_weights_of_a_large_model_are_put_back_from_the_first_evaluation_on(
    large: Buffered, write: Callable[[Tensor], None], copied: list[int]
) -> None:
    copies = TensorCopies()
    for _ in range(3):
        with copies.kept(), isolated(large):
            write(large.weight)
        assert large.weight.tolist() == [1, 1, 1]
    assert copies.lost == []
    assert copied.count(3) == 3


def test_weights_of_a_large_model_that_nothing_writes_are_never_copied(large: Buffered, copied: list[int]) -> None:
    with TensorCopies().kept():
        for _ in range(3):
            with isolated(large):
                pass
    assert 3 not in copied


def test_weights_of_a_large_model_that_a_later_run_is_the_first_to_write_are_put_back(large: Buffered) -> None:
    copies = TensorCopies()
    with copies.kept(), isolated(large):
        pass
    for _ in range(2):
        with copies.kept(), isolated(large):
            large.weight.data.add_(1)
    assert copies.lost == []
    assert large.weight.tolist() == [1, 1, 1]


def test_a_late_write_into_weights_of_a_large_model_is_named_and_undone_from_then_on(large: Buffered) -> None:
    copies = TensorCopies()
    with copies.kept():
        with isolated(large):
            pass
        for _ in range(2):
            with isolated(large):
                add(large.weight)
    assert copies.lost == ["weight"]
    assert large.weight.tolist() == [2, 2, 2]
