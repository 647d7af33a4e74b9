"""How far two evaluations of the same rows are apart."""

import math

import pytest
import torch
from helpers.batches import floats

from mviz_lightning.engine.agreement import agree, deviation, number_type, spread, tolerance

OUTPUTS = floats(16, 3)
OTHER = floats(16, 3, seed=1)


def test_the_spread_is_the_standard_deviation_of_each_output_and_no_less_than_a_hundredth_of_the_largest():
    rows = torch.tensor([[1.0, 100.0, 7.0, 0.0], [3.0, 200.0, 7.0, 6.0], [5.0, 600.0, 7.0, 9.0]])
    largest = math.sqrt((200**2 + 100**2 + 300**2) / 3)
    own = [largest / 100, largest, largest / 100, math.sqrt((25 + 1 + 16) / 3)]
    torch.testing.assert_close(spread(rows), torch.tensor(own, dtype=torch.float64))


@pytest.mark.parametrize("offset", [0.0, 200.0, torch.tensor([-200.0, 0.0, 3.0])])
def test_offsets_change_neither_the_spread_nor_the_deviation(offset):
    rows = OUTPUTS + offset
    rounding = 64 * 2**-23 * float(rows.abs().max())
    expected = float((((0.01 * OTHER).abs().amax(0) - rounding) / spread(OUTPUTS)).max())
    torch.testing.assert_close(spread(rows), spread(OUTPUTS), rtol=1e-4, atol=0)
    assert deviation(rows, rows + 0.01 * OTHER) == pytest.approx(expected, rel=1e-2)
    assert not agree(rows, rows + 0.01 * OTHER)


def test_a_small_output_counts_beside_a_large_one():
    rows = OUTPUTS * torch.tensor([1e3, 1.0, 1.0])
    assert not agree(rows, rows + torch.tensor([0.0, 0.0, 0.1]))


@pytest.mark.parametrize("offset", [0.0, 200.0, -1e6])
def test_rounding_is_agreement_whatever_the_offset(offset):
    rows = offset + 1e-3 * OUTPUTS
    moved = rows * (1 + 8 * torch.finfo(rows.dtype).eps * OTHER.sign())
    assert not torch.equal(rows, moved)
    assert agree(rows, moved)


@pytest.mark.parametrize("rows", [torch.full((16, 3), 7.0), torch.full((16, 3), 7.0) + 1e-7 * OTHER, OUTPUTS[:1]])
def test_outputs_without_a_spread_are_compared_with_their_size(rows):
    size = float(rows.abs().max())
    assert deviation(rows, rows + 0.07) == pytest.approx(0.07 / size, rel=1e-3)
    assert agree(rows, rows + 5e-4 * size)
    assert not agree(rows, rows + 2e-3 * size)


def test_zeros_agree_with_zeros_alone():
    zeros = torch.zeros(16, 3)
    assert agree(zeros, zeros)
    assert not agree(zeros, zeros + 1e-6)


def test_masked_classes_do_not_count():
    masked, kept = OUTPUTS.clone(), [0, 2]
    masked[:, 1] = -1e9
    expected = deviation(OUTPUTS[:, kept], (OUTPUTS + 0.1 * OTHER)[:, kept])
    torch.testing.assert_close(spread(masked)[kept], spread(OUTPUTS[:, kept]))
    assert deviation(masked, masked + 0.1 * OTHER) == pytest.approx(expected, rel=1e-4)


def test_classes_that_some_rows_mask_count_in_the_others():
    masked = OUTPUTS.clone()
    masked[:4, 1] = -1e9
    torch.testing.assert_close(spread(masked)[1], OUTPUTS[4:, 1].double().std(correction=0))
    assert agree(masked, masked)
    assert not agree(masked, masked + torch.tensor([0.0, 0.1, 0.0]))


def test_a_mask_that_one_evaluation_lacks_is_a_deviation():
    masked = OUTPUTS.clone()
    masked[:4, 1] = -1e9
    assert min(deviation(masked, OUTPUTS), deviation(OUTPUTS, masked)) > 1e8


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_only_where_it_changes_place(value):
    broken, finite = OUTPUTS.clone(), torch.arange(16) != 3
    broken[3, 1] = value
    assert agree(broken, broken)
    torch.testing.assert_close(spread(broken)[1], OUTPUTS[finite, 1].double().std(correction=0))
    assert deviation(OUTPUTS, broken) == deviation(broken, OUTPUTS) == math.inf
    nothing = torch.full((4, 2), value)
    assert (spread(nothing).tolist(), deviation(nothing, nothing)) == ([0, 0], 0)


def test_other_shapes_do_not_agree():
    assert deviation(OUTPUTS, OUTPUTS[:, :2]) == math.inf
    assert not agree(OUTPUTS, OUTPUTS[:8])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_outputs_of_16_bits_are_known_in_any_type(dtype):
    narrow = OUTPUTS.to(dtype)
    for rows in (narrow, narrow.float(), narrow.double()):
        assert number_type(rows) == dtype
        assert tolerance(rows) == 2e-2
        assert agree(rows, rows * (1 + torch.finfo(dtype).eps))
        assert not agree(rows, rows + 0.1 * OTHER)


@pytest.mark.parametrize("rows", [OUTPUTS, OUTPUTS.double(), torch.arange(6.0).view(3, 2)])
def test_all_others_are_given_less_room(rows):
    assert number_type(rows) == rows.dtype
    assert tolerance(rows) == 1e-3
