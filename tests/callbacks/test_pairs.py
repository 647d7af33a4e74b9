"""Models that are trained to tell which pairs belong together: what is logged of them, and their alarm."""

from typing import Any

import pytest
import torch
from helpers.collapsing import heard
from helpers.towers import ENCODED, Pairs, loaders, planted
from helpers.toy import trainer
from lightning.pytorch import seed_everything

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.batch import parse_modalities
from mviz_lightning.collapse.towers import CHANCE, RETRIEVAL
from mviz_lightning.functional import alignment, embedding_rank, modality_gap, uniformity
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import State

PAIR = {"image": "image", "text": "text"}
MEASURES = {
    *("modality_gap", "alignment", "uniformity/image", "uniformity/text"),
    *("effective_rank/image", "effective_rank/text"),
}
GROUP = 16


def trained(folder: Any, module: Pairs, epochs: int = 10, modalities: Any = PAIR, **settings: Any) -> Any:
    """Return a monitor and an alarm that watched a training, and what the alarm warned of."""
    monitor = MultimodalMonitor(modalities, num_examples=64, group_size=GROUP, reference=64)
    alarm = UnimodalCollapse()
    seed_everything(0, verbose=False)
    with heard() as alarms:
        trainer(folder, monitor, alarm, **({"max_epochs": epochs} | settings)).fit(module, *loaders())
    return monitor, alarm, alarms


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    module = Pairs()
    return (*trained(tmp_path_factory.mktemp("healthy"), module), module)


def test_a_model_that_finds_all_pairs(healthy):
    monitor, alarm, alarms, _ = healthy
    values = monitor.history.fitted[-1].values
    chance = 1 / GROUP
    assert values["score"] > 0.95
    assert values["emap_score"] == pytest.approx(chance)
    assert values["emap_gap"] == pytest.approx(values["score"] - chance)
    for name in PAIR:
        assert values[f"perceptual/{name}"] == pytest.approx(1, abs=0.1)
        assert values[f"flips/{name}"] == pytest.approx(1, abs=0.1)
    assert min(values[f"total/{name}"] for name in PAIR) > 0.5
    assert alarms == []
    assert {name: verdict.state for name, verdict in alarm.verdicts.items()} == dict.fromkeys(PAIR, State.USED)
    assert monitor.history.score_reference.chance == pytest.approx(chance)
    assert monitor.history.score_reference.perfect == 1
    assert {row.evidence[CHANCE] for row in monitor.history} == {chance}
    assert str(monitor.history).startswith("epoch   step   retrieval (chance 0.06)     gap   alignment")


def test_the_embeddings_are_those_of_the_towers(healthy):
    monitor, _, _, module = healthy
    values, data = monitor.history.fitted[-1].values, planted(64, seed=2)
    with torch.no_grad():
        image, text = (module.towers[name](data[name]) for name in PAIR)
    assert {
        key for key in values if key.split("/")[0] in ("modality_gap", "alignment", "uniformity", "effective_rank")
    } == MEASURES
    assert values["modality_gap"] == pytest.approx(float(modality_gap(image, text)), abs=1e-6)
    assert values["alignment"] == pytest.approx(float(alignment(image, text)), abs=1e-6)
    assert values["uniformity/text"] == pytest.approx(float(uniformity(text)), abs=1e-6)
    assert values["effective_rank/image"] == pytest.approx(float(embedding_rank(image)), abs=1e-4)


def test_every_example_is_encoded_twice_and_not_once_for_each_pair():
    module, data = Pairs(), planted(64, seed=2)
    settings: Any = {"num_examples": 64, "group_size": GROUP, "reference": 64}
    session = Session(SessionConfig(parse_modalities(PAIR), **settings))
    session.collect(data, range)
    session.dry_run(module, step=lambda module, batch: module.loss(batch))
    session.complete()
    session.run()  # which checks 16 rows of the scores, and of a trained model
    ENCODED.seen.clear()
    found = session.run()
    checked = 16  # rows that are recomputed plainly
    assert sum(ENCODED.seen) == len(PAIR) * (64 + 64 + checked)
    assert found.rows == 64 * GROUP + 64
    assert found.evidence == {RETRIEVAL: 1, CHANCE: 1 / GROUP}  # also without an alarm, for the picture


@pytest.mark.filterwarnings("ignore:swapping 'text'")
def test_a_constant_tower_is_an_alarm(tmp_path):
    monitor, _, alarms = trained(tmp_path, Pairs(scales={"text": 0.0}), epochs=3)
    values = monitor.history.fitted[-1].values
    assert values["effective_rank/text"] == 1
    assert values["uniformity/text"] == pytest.approx(0, abs=1e-6)
    assert values["score"] == pytest.approx(1 / GROUP)
    assert [row.values["collapse/text"] for row in monitor.history.fitted] == [0, 2, 2]
    assert {row.values["collapse/image"] for row in monitor.history.fitted} == {0}
    (said,) = alarms
    assert "text: collapsed since epoch 0 (step 7); its embeddings no longer distinguish its examples" in said
    assert "uniformity of its embeddings" in said
    assert "the inputs of text: are they constant" in said


@pytest.mark.slow
def test_texts_of_other_images_are_learned_by_no_model_and_no_alarm(tmp_path):
    module = Pairs(pair=lambda texts: texts[torch.randperm(len(texts))])
    monitor, alarm, alarms = trained(tmp_path, module, epochs=4)
    values = monitor.history.fitted[-1].values
    assert values["score"] == pytest.approx(1 / GROUP, abs=0.12)
    assert values["effective_rank/text"] > 2
    assert alarms == []
    assert {verdict.state for verdict in alarm.verdicts.values()} == {State.USED}
    assert all(verdict.row is None for verdict in alarm.verdicts.values())  # never above chance: nothing to judge


@pytest.mark.slow
def test_each_pair_of_three_towers_is_a_head(tmp_path):
    module = Pairs(("image", "text", "audio"))
    monitor, _, alarms = trained(tmp_path, module, epochs=4, modalities=PAIR | {"audio": "audio"})
    row = monitor.history.fitted[-1]
    assert row.heads == ["image_audio", "text_audio"]
    for prefix, pair in (("", PAIR), ("image_audio/", ("image", "audio")), ("text_audio/", ("text", "audio"))):
        assert row.values[f"{prefix}score"] > 0.7
        assert row.values[f"{prefix}modality_gap"] >= 0
        named = {key.split("/")[-1] for key in row.values if key.startswith(f"{prefix}total/")}
        assert named == set(pair)
    assert alarms == []


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["validate", "test"])
def test_a_model_is_measured_outside_of_the_fit(tmp_path, healthy, entry):
    *_, module = healthy
    monitor = MultimodalMonitor(PAIR, num_examples=64, group_size=GROUP, reference=64)
    runs = trainer(tmp_path, monitor, UnimodalCollapse())
    getattr(runs, entry)(module, loaders()[1], verbose=False)
    assert float(runs.callback_metrics["mviz/score"]) > 0.95
    assert float(runs.callback_metrics["mviz/collapse/text"]) == 0


@pytest.mark.slow
def test_half_precision(tmp_path):
    monitor, _, alarms = trained(tmp_path, Pairs(), epochs=4, precision="bf16-mixed")
    values = monitor.history.fitted[-1].values
    assert values["score"] > 0.7
    assert values["effective_rank/image"] > 2
    assert alarms == []


@pytest.mark.slow
def test_a_training_of_three_towers_goes_on_from_a_checkpoint(tmp_path):
    names = PAIR | {"audio": "audio"}
    settings: Any = {"num_examples": 64, "group_size": GROUP, "reference": 64}
    first = trainer(tmp_path, MultimodalMonitor(names, **settings), UnimodalCollapse(), max_epochs=1)
    first.fit(Pairs(tuple(names)), *loaders())
    first.save_checkpoint(tmp_path / "one.ckpt")
    monitor = MultimodalMonitor(names, **settings)
    again = trainer(tmp_path, monitor, UnimodalCollapse(), max_epochs=2)
    again.fit(Pairs(tuple(names)), *loaders(), ckpt_path=tmp_path / "one.ckpt")
    assert [row.epoch for row in monitor.history.fitted] == [0, 1]
    last = monitor.history.fitted[-1]
    assert last.heads == ["image_audio", "text_audio"]
    assert last.evidence["image_audio/retrieval"] == 1
    assert {"score", "text_audio/effective_rank/audio"} <= last.values.keys()
    assert "total/audio" not in last.values


@pytest.mark.slow
def test_one_forward_scores_the_pairs_of_three_towers(monkeypatch):
    module = Pairs(("image", "text", "audio"))
    found = {}
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr("mviz_lightning.session.headed_session.with_grids", lambda alone, *_: (alone, None))
        settings = {"num_examples": 64, "group_size": GROUP, "reference": 64}
        session = Session(SessionConfig(parse_modalities(PAIR | {"audio": "audio"}), **settings))
        session.collect(planted(seed=2), lambda count: range(count))
        session.dry_run(module, step=lambda model, batch: model.loss(batch))
        session.complete()
        session.run()
        session.run_heads(pytest.fail)
        ENCODED.seen.clear()
        runs = [session.run().values, *(one.values for one in session.run_heads(pytest.fail).values())]
        found[shared] = runs, sum(ENCODED.seen)
    # Each pair needs 64 rows for its embeddings and 16 that are checked, of two towers each; the grids 64 of all three.
    assert found[True][1] == 3 * 2 * (64 + 16) + 3 * 64
    assert found[False][1] == 3 * 2 * (64 + 16 + 64)
    assert found[True][0] == found[False][0]
