"""MultiViz's stages in a Trainer: when they run, what they log, what they write."""

import csv

import pytest
import torch
from helpers.toy import Toy, fit, loader, monitor, trainer
from lightning.pytorch.callbacks import EarlyStopping

from mviz_lightning import MonitorWarning
from mviz_lightning.explainers import (
    DIME,
    CrossModalInteraction,
    ErrorAnalysis,
    MultimodalPrediction,
    MultimodalRepresentation,
    UnimodalImportance,
)
from mviz_lightning.session.runner import Runner

STAGES = {
    "importance": UnimodalImportance,
    "cross_modal": CrossModalInteraction,
    "representation": MultimodalRepresentation,
    "prediction": MultimodalPrediction,
    "errors": ErrorAnalysis,
}
LOGGED = {
    "mviz/importance/total/image",
    "mviz/importance/share/text",
    "mviz/importance/gap/image",
    "mviz/cross_modal/total/image+text",
    "mviz/representation/only_image",
    "mviz/representation/multimodal",
    "mviz/representation/rank",
    "mviz/representation/rank_text",
    "mviz/prediction/fidelity",
    "mviz/prediction/sparsity",
    "mviz/prediction/accuracy",
    "mviz/errors/rescued",
    "mviz/errors/spoiled",
    "mviz/errors/unrepaired",
}


def stages():
    """All of them, each at every validation."""
    return [explainer(every_n_validations=1) for explainer in STAGES.values()]


@pytest.fixture
def found(monkeypatch, unwritten):
    """Collect what methods find: name of an explainer -> its results in order."""
    results, explain = {}, Runner.explain

    def collect(self, explainer, *args):
        result, notes = explain(self, explainer, *args)
        results.setdefault(explainer.name, []).append(result)
        return result, notes

    monkeypatch.setattr(Runner, "explain", collect)
    return results


def test_all_stages_log_their_scalars_and_write_pictures_and_tables(tmp_path):
    watch = monitor(explainers=stages())
    chosen = fit(tmp_path, watch)
    assert set(chosen.callback_metrics) >= LOGGED
    assert all(torch.isfinite(value) for value in chosen.callback_metrics.values())
    assert [row.note for row in watch.history] == ["", ""]
    folder = tmp_path / "mviz" / "version_0"
    for name in STAGES:
        assert list((folder / name).glob("*.png")), name
        (table, *_) = (folder / name).glob("*.csv")
        assert {row["when"] for row in csv.DictReader(table.read_text().splitlines())} == {"epoch 1 (step 7)"}


@pytest.mark.long
@pytest.mark.parametrize(("every", "count", "expected"), [(2, 4, [1, 3, 4]), (5, 2, [1, 2]), (1, 3, [1, 2, 3])])
def test_explainers_run_first_every_nth_time_and_at_the_end(tmp_path, found, every, count, expected):
    watch = monitor(explainers=[ErrorAnalysis(every_n_validations=every)])
    fit(tmp_path, watch, max_epochs=count)
    assert len(found["errors"]) == len(expected)
    measured = [number for number, row in enumerate(watch.history, 1) if "errors/spoiled" in row.values]
    assert measured == [number for number in expected if number < count or (count - 1) % every == 0]


@pytest.mark.parametrize("inference_mode", [True, False])
def test_validate_runs_them_too_whatever_mode_it_runs_in(tmp_path, found, inference_mode):
    watch = monitor(
        explainers=[
            CrossModalInteraction(method="second_order"),
            UnimodalImportance(num_examples=2, method="integrated_gradients"),
        ]
    )
    trainer(tmp_path, watch, inference_mode=inference_mode).validate(Toy(), loader(seed=1), verbose=False)
    (cross,), (importance,) = found["cross_modal"], found["importance"]
    assert {pair.method for one in cross.examples for pair in one.outputs[0].pairs} == {"second_order"}
    parts = [part for one in importance.examples for part in one.outputs[0].parts.values()]
    assert {(part.method, part.reason) for part in parts} == {("integrated_gradients", "")}


def test_what_is_remembered_survives_a_checkpoint(tmp_path, found):
    def watch():
        return monitor(
            explainers=[explainer(every_n_validations=1) for explainer in (MultimodalRepresentation, ErrorAnalysis)]
        )

    path = tmp_path / "half.ckpt"
    fit(tmp_path, watch(), max_epochs=2).save_checkpoint(path)
    torch.load(path, weights_only=True)
    assert [len(one.history) for one in found["errors"]] == [1, 2]
    chosen = trainer(tmp_path, watch(), max_epochs=3)
    chosen.fit(Toy(), loader(shuffle=True), loader(seed=1), ckpt_path=path)
    assert len(found["errors"][-1].history) == 3
    assert found["errors"][-1].history[:2] == found["errors"][1].history
    overlaps = [[feature.overlap for feature in one.shown] for one in found["representation"]]
    assert set(overlaps[0]) == {None}
    assert None not in overlaps[-1]


def test_a_survey_that_fails_costs_itself_alone(tmp_path, found):
    class Broken(ErrorAnalysis):
        def explain(self, *_):
            raise RuntimeError("no such luck")

    watch = monitor(explainers=[Broken(), CrossModalInteraction(num_examples=1)])
    with pytest.warns(MonitorWarning, match="no such luck"):
        fit(tmp_path, watch, max_epochs=1)
    assert list(found) == ["cross_modal"]
    assert "interaction" in watch.history[-1].values


def test_a_survey_without_a_last_linear_layer_is_refused_before_the_training(tmp_path):
    class Bare(Toy):
        def __init__(self):
            super().__init__()
            self.encoders = torch.nn.ModuleList(torch.nn.Flatten() for _ in range(2))
            self.head = torch.nn.Identity()
            self.scale = torch.nn.Parameter(torch.ones(3))

        def forward(self, first, second):
            return first[:, :3] * second * self.scale

    watch = monitor(explainers=[MultimodalPrediction()])
    with pytest.warns(MonitorWarning, match="layer="):
        fit(tmp_path, watch, module=Bare(), max_epochs=1)


def test_a_budget_leaves_surveys_out_and_says_so(tmp_path, unwritten):
    watch = monitor(explainers=[UnimodalImportance(num_examples=2), DIME(num_examples=1)], budget=300)
    fit(tmp_path, watch, max_epochs=1)
    assert "importance was left out: it takes" in watch.history[-1].note
    assert watch.history[-1].values["rows"] <= 300


@pytest.mark.slow
def test_early_stopping_can_watch_what_a_survey_logs(tmp_path, unwritten):
    watch = monitor(explainers=[MultimodalPrediction(every_n_validations=1)])
    stop = EarlyStopping("mviz/prediction/fidelity", mode="max", patience=5)
    fit(tmp_path, watch, stop)
    assert stop.best_score == max(row.values["prediction/fidelity"] for row in watch.history)
