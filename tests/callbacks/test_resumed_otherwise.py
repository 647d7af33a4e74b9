"""A training that resumes with other modalities or another validation set goes on, and the difference is said."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy import Toy, fit, loader, monitor, trainer
from torch import Tensor

from mviz_lightning import MonitorWarning, MultimodalMonitor
from mviz_lightning.session.batch_reader import BatchReader
from mviz_lightning.session.saved_probe import ENOUGH, OTHERS, RestoredExamples, Whole, content_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: Any) -> Path:
    """Return a checkpoint of a training of one epoch."""
    folder = tmp_path_factory.mktemp("first")
    fit(folder, monitor(), max_epochs=1).save_checkpoint(folder / "first.ckpt")
    return Path(folder / "first.ckpt")


def resumed(folder: Path, saved: Path, validation: Any, **settings: Any) -> tuple[MultimodalMonitor, list[str]]:
    watch = monitor(**settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MonitorWarning)
        chosen = trainer(folder, watch, max_epochs=2)
        torch.manual_seed(0)
        chosen.fit(Toy(), loader(shuffle=True), validation, ckpt_path=saved)
    return watch, [str(one.message) for one in caught]


def test_another_validation_set_is_said_and_the_curves_go_on_with_the_examples_of_before(
    tmp_path: Path, saved: Path
) -> None:
    same, said = resumed(tmp_path, saved, loader(seed=1))
    assert (said, same.history[-1].note) == ([], "")
    other, said = resumed(tmp_path, saved, loader(seed=7))
    assert (said, other.history[-1].note) == ([], OTHERS)
    assert other.history[-1].values["total/image"] == same.history[-1].values["total/image"]


TOLD = "the checkpoint has the modalities {'text': ['1']}, and modalities= has {'words': ['1']} instead: curves of"


def test_renamed_modalities_are_said(tmp_path: Path, saved: Path) -> None:
    watch, (said,) = resumed(tmp_path, saved, loader(seed=1), modalities={"image": "0", "words": "1"})
    assert TOLD in said
    assert [("total/words" in row.values, "total/text" in row.values) for row in watch.history] == [
        (False, True),
        (True, False),
    ]


def test_modalities_that_changed_places_are_said(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)["callbacks"]["MultimodalMonitor{'name': 'mviz'}"]
    for modalities, changed in [({"text": "1", "image": "0"}, False), ({"image": "1", "text": "0"}, True)]:
        watch = monitor(modalities=modalities)
        watch._phase = "fit"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watch.load_state_dict(state)
            watch.load_state_dict({key: value for key, value in state.items() if key != "modalities"})
        assert len(caught) == changed
        assert all("{'image': ['0'], 'text': ['1']}, and" in str(one.message) for one in caught)


def whole(leaves: dict[str, Any], positions: list[int]) -> Whole:
    groups = torch.arange(len(positions)).unsqueeze(0)
    digest = content_of(leaves, groups, positions, len(positions), [], {})
    return Whole(leaves, groups, positions, len(positions), [], {}, own_shapes=False, content=digest)


def examples(count: int) -> dict[str, Any]:
    x = torch.arange(float(3 * count)).view(count, 3)
    x[0, 0] = torch.nan
    return {"x": x, "words": [f"w{i}" for i in range(count)]}


def rows(leaves: dict[str, Any], places: list[int]) -> dict[str, Any]:
    return {
        path: leaf[places] if isinstance(leaf, Tensor) else [leaf[i] for i in places] for path, leaf in leaves.items()
    }


def test_examples_are_compared_at_their_positions_until_enough_were_equal() -> None:
    data = examples(20)
    restored = RestoredExamples(whole(rows(data, [0, 5, 7]), [0, 5, 7]))
    assert restored.compare(rows(data, [1, 2, 3]), [1, 2, 3]) == ""
    assert restored.compare(rows(data, [5, 0]), [5, None]) == ""
    assert restored.compared_on
    assert restored.compare(rows(data, [5, 8]), [5, 7]) == OTHERS
    assert not restored.compared_on
    assert restored.compare(rows(data, [1, 2]), [5, 7]) == ""


@pytest.mark.parametrize("path", ["x", "words"])
def test_a_difference_in_any_leaf_is_found_and_no_shape_is_compared(path: str) -> None:
    data, other = examples(20), examples(20)
    other[path] = other[path] + 1 if path == "x" else [f"v{i}" for i in range(20)]
    restored = RestoredExamples(whole(data, list(range(20))))
    assert restored.compare(rows(data, list(range(4))) | {"padded": 1}, list(range(4))) == ""
    assert restored.compare(rows(other, [4]), [4]) == OTHERS
    padded = RestoredExamples(whole(data, list(range(20))))
    assert padded.compare(data | {"x": torch.zeros(20, 9)}, list(range(20))) == ""
    assert not padded.compared_on
    assert ENOUGH < 20


@pytest.mark.slow
def test_a_batch_that_cannot_be_compared_costs_nothing(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe, seen = BatchReader.observe, []

    def fails(self: BatchReader, batch: Any) -> Any:
        seen.append(batch)
        if len(seen) > 1:
            raise RuntimeError("a batch of another kind")
        return observe(self, batch)

    monkeypatch.setattr("mviz_lightning.session.saved_probe.ENOUGH", 1_000)
    monkeypatch.setattr(BatchReader, "observe", fails)
    watch, said = resumed(tmp_path, saved, loader(seed=1))
    assert len(seen) > 2
    assert (said, watch.history[-1].note) == ([], "")
    assert watch.history[-1].values
