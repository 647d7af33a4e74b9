"""Models of other packages, attached with nothing told but where their modalities are."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from batches.real_models import CASES, fit
from callbacks.test_no_trace import same

from mviz_lightning import MultimodalMonitor
from mviz_lightning.explainers import DIME

pytestmark = pytest.mark.slow  # minutes for all together


@cache
def watched(name):
    """Train with the monitor; return what the training left, the monitor and the folder."""
    folder = Path(mkdtemp())
    monitor = MultimodalMonitor(
        CASES[name].modalities, explainers=[DIME(num_examples=1, donors=5)], num_examples=64, on_error="raise"
    )
    return fit(CASES[name], folder, monitor), monitor, folder


@pytest.mark.parametrize("name", CASES)
def test_the_planted_signal_is_found(name):
    case, values = CASES[name], watched(name)[1].history[-1].values
    assert values["score"] > 0.9
    found = {modality: values[f"contribution/{modality}"] for modality in case.contributions}
    assert found == pytest.approx(case.contributions, abs=0.12)
    assert values["interaction"] == pytest.approx(case.interaction, abs=0.12)


@pytest.mark.parametrize("name", CASES)
def test_pictures_are_written(name):
    _, monitor, folder = watched(name)
    (explained,) = monitor.explanation_history.entries[-1].explanations
    assert set(explained.outputs[0].parts) == set(CASES[name].modalities)
    assert [path.name for path in folder.rglob("*.png") if "dime" in str(path)]


@pytest.mark.parametrize("name", CASES)
def test_the_training_keeps_its_bits(name, tmp_path):
    alone = fit(CASES[name], tmp_path)
    with_monitor = watched(name)[0]
    assert {what: same(alone[what], with_monitor[what]) for what in alone} == dict.fromkeys(alone, True)
