"""Total effects on single outputs: those of a decomposition of each output by itself."""

import pytest
import torch
from helpers.draws import normal

from mviz_lightning.functional import contribution_shares, design
from mviz_lightning.functional.output_totals import most_decided, output_components


@pytest.mark.parametrize("modalities", [2, 3])
def test_each_output_has_the_totals_that_it_has_alone(modalities: int) -> None:
    size = 12
    plan = design(modalities, size)
    inputs = normal(0, modalities, 4, size)
    rows = [inputs[m][:, plan.tuples[:, m]] for m in range(modalities)]
    outputs = torch.stack([rows[0], rows[1] + 0.1 * rows[0], rows[0] * rows[-1]], -1).double()
    found = output_components(outputs, plan)

    names = [f"m{number}" for number in range(modalities)]
    for output in range(3):
        parts = torch.stack([plan.components(group[:, [output]]) for group in outputs])
        expected = contribution_shares(parts, names, plan.pairs)
        for place, name in enumerate(names):
            share = found[output, 1 + place] / found[output, 0]
            assert float(share) == pytest.approx(float(expected[f"total/{name}"]), abs=1e-9)


def test_the_output_that_is_decided_most_is_named_unless_it_hardly_varies() -> None:
    components = torch.tensor([[1.0, 0.9, 0.1], [1.0, 0.4, 0.7], [0.01, 0.0, 0.01], [0.0, 0.0, 0.0]])
    places, shares = most_decided(components, 0.1)

    assert places.tolist() == [0, 1]
    assert shares.tolist() == pytest.approx([0.9, 0.7])


def test_outputs_that_do_not_vary_decide_nothing() -> None:
    assert bool(most_decided(torch.zeros(3, 3), 0.1)[1].isinf().all())
