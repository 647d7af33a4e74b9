"""What a checkpoint holds of a monitor stays small, however long the training and however large the data."""

import io
import itertools
from typing import Any

import torch

from mviz_lightning.batch.probe import plain_bytes
from mviz_lightning.checkpoint.saved import plain, saved_bytes
from mviz_lightning.explainers import DIME
from mviz_lightning.explainers.dime.result import Attribution, DIMEResult, Explanation, OutputExplanation
from mviz_lightning.session.explanation_history import LARGEST, ExplanationHistory, TimedResult
from mviz_lightning.session.history import History
from mviz_lightning.sinks.records import RunRecord


def written(value: Any) -> int:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getbuffer().nbytes


def explanation(position: int, segments: int) -> Explanation:
    def part() -> Attribution:
        return Attribution(torch.rand(segments).double(), torch.rand(segments).double(), 0.9, 0.8)

    outputs = [OutputExplanation(c, "true", 0.5, 0.25, 0.25, {"image": part(), "text": part()}) for c in range(2)]
    return Explanation(position, position, 1, 0, 0.5, outputs)


def timed(epoch: int, examples: int, segments: int) -> TimedResult:
    found = [explanation(position, segments) for position in range(examples)]
    return TimedResult(DIME(), DIMEResult(examples=found), "fit", epoch, 10 * epoch)


def test_explanations_of_a_long_training_are_thinned_and_keep_both_ends() -> None:
    kept, epochs = ExplanationHistory(), 300
    for epoch in range(epochs):
        kept.add(timed(epoch, examples=2, segments=1000))  # 0.13 MB a run, so 39 MB without a bound
    found = [entry.epoch for entry in kept.entries]
    assert (found[0], found[-1]) == (0, epochs - 1)
    assert len(found) > 25
    assert max(later - earlier for earlier, later in itertools.pairwise(found)) <= 2 * epochs / len(found)
    assert written(plain(kept.state(), "album", [])) < 1.1 * LARGEST


def test_an_estimate_of_the_size_is_near_the_file() -> None:
    for segments in (3, 60, 2000):
        state = timed(0, examples=4, segments=segments).result.examples[0].state()
        assert 0.6 < saved_bytes(state) / (written(state) - written({})) < 1.7


def test_too_large_an_album_of_an_older_version_is_thinned_when_it_is_loaded() -> None:
    whole = ExplanationHistory([])
    for epoch in range(10):
        whole.add(timed(epoch, examples=1, segments=10))
    state = whole.state()
    for entry in state:
        entry["explanations"] = timed(0, examples=4, segments=9000).result.examples
        entry["explanations"] = [one.state() for one in entry["explanations"]]
    loaded = ExplanationHistory()
    loaded.load(state)
    assert [loaded.entries[0].epoch, loaded.entries[-1].epoch] == [0, 9]
    assert 2 <= len(loaded.entries) < 6


def test_a_part_of_a_tensor_is_saved_without_the_rest() -> None:
    part = torch.zeros(1_000_000)[:10]
    found = plain({"leaf": part}, "", [])
    assert written(found) < 5_000
    assert torch.equal(found["leaf"], part)
    whole = torch.zeros(10)
    assert plain(whole, "", []) is whole


def test_texts_count_towards_the_size_of_the_examples() -> None:
    assert plain_bytes({"text": ["ä" * 1000, "b"], "x": torch.zeros(4)}) == 2000 + 1 + 16
    assert plain_bytes({"n": [1, 2.5]}) == 16


def test_a_history_of_1000_validations_names_its_values_once() -> None:
    history = History(["image", "text"])
    for epoch in range(1000):
        names = [f"{kind}/{name}" for kind in "abcdefghij" for name in ("image", "text")] + [f"x{i}" for i in range(40)]
        history.add(RunRecord("fit", epoch, epoch, dict.fromkeys(names, epoch / 7), "", {"skill": 0.5}))
    state = history.state()
    assert written(state) < 1_000_000
    again = History(["image", "text"])
    again.load(state)
    assert list(again) == list(history)
