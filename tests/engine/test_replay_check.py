"""Replayed rows against plain ones: what is rounding, and what the model itself does."""

import pytest
import torch
from helpers.batches import floats
from torch import Tensor

from mviz_lightning import ConfigurationError
from mviz_lightning.engine.replay_check import Difference, check_replay

ROWS = torch.arange(16)
OUTPUTS = floats(16, 3)


def noisy(outputs: Tensor, size: float):
    """Return a model that gives the rows, at every call with other errors of some size."""
    calls = iter(range(100))
    return lambda rows: outputs[rows] + size * floats(len(rows), 3, seed=next(calls)).clamp(-1, 1)


def test_rounding_goes_by_the_largest_output_of_the_head():
    """The last layer rounds numbers of 10,000; what it subtracts from them is as rough as they are."""
    plain = torch.cat([1e4 + floats(16, 1), 1e-3 * floats(16, 1, seed=1)], 1)
    rough = 2 * 2**-23 * float(plain.max())
    replayed = plain.clone()
    replayed[3, 1] += 0.9 * rough
    check_replay(lambda rows: plain[rows], ROWS, replayed, None)
    replayed[3, 1] += 0.3 * rough
    with pytest.raises(RuntimeError, match=r"differ from plain ones by 0.0029, where outputs vary by 0.0021"):
        check_replay(lambda rows: plain[rows], ROWS, replayed, None)


def test_rounding_does_not_go_by_masked_classes():
    plain = torch.cat([OUTPUTS, torch.full((16, 1), -1e9)], 1)
    with pytest.raises(RuntimeError, match=r"differ from plain ones by 0\.1"):
        check_replay(lambda rows: plain[rows], ROWS, plain + 0.1, None)


def test_where_plain_rows_round_as_much_the_replay_is_not_to_blame():
    replayed = noisy(OUTPUTS, 4e-4)(ROWS)
    assert Difference.of(OUTPUTS, replayed, None).excess > 1
    check_replay(noisy(OUTPUTS, 4e-4), ROWS, replayed, None)
    with pytest.raises(RuntimeError, match="replayed rows differ from plain ones"):
        check_replay(noisy(OUTPUTS, 0.0), ROWS, replayed, None)
    with pytest.raises(RuntimeError, match="replayed rows differ from plain ones"):
        check_replay(noisy(OUTPUTS, 4e-4), ROWS, OUTPUTS + 0.1, None)


@pytest.mark.parametrize("replayed", [OUTPUTS + 0.01, OUTPUTS * torch.inf])
def test_where_plain_rows_do_not_agree_the_model_is_refused(replayed):
    with pytest.raises(ConfigurationError, match="when evaluated again .*: the model draws random numbers"):
        check_replay(noisy(OUTPUTS, 0.1), ROWS, replayed, None)
    with pytest.raises(ConfigurationError, match="in other batches .*: examples of a batch influence one another"):
        check_replay(lambda rows: OUTPUTS[rows] + OUTPUTS[rows].mean(0), ROWS, replayed, None)


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_rows_agree_if_their_probabilities_do(head):
    """Near a probability of 1 or 0, its last digit changes the logit by much."""
    saturated = 16 + OUTPUTS if head == "sigmoid" else torch.tensor([0.0, -80.0, 0.0]) + OUTPUTS

    def plain(rows: Tensor) -> Tensor:
        found = saturated[rows].clone()
        found[:, 1] += 0.05 * len(rows)  # other batches, other last digits
        return found

    wrong = plain(ROWS)
    wrong[:, 1] += 20 if head == "sigmoid" else 90
    with pytest.raises(RuntimeError, match="replayed rows differ from plain ones"):
        check_replay(plain, ROWS, wrong, head)


def test_what_is_not_finite_must_be_so_in_both():
    broken = OUTPUTS.clone()
    broken[3] = torch.nan
    check_replay(lambda rows: broken[rows], ROWS, broken, None)
    with pytest.raises(RuntimeError, match="differ from plain ones by inf"):
        check_replay(lambda rows: OUTPUTS[rows], ROWS, broken, None)
