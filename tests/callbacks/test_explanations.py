"""When examples are explained, and which ones."""

import pytest
import torch
from helpers.few import few
from helpers.toy import Toy, examples, fit, loader, monitor, trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mviz_lightning import ConfigurationError
from mviz_lightning.explainers import DIME
from mviz_lightning.testing import MemorySink

EPOCH = 4  # batches of the toy training


def watching(settings=None, **dime):
    return monitor(explainers=[DIME(**{"num_examples": 2, "every_n_validations": 1, **dime})], **(settings or {}))


def positions(watch):
    """The examples of every entry."""
    return [[found.position for found in entry.explanations] for entry in watch.explanation_history.entries]


def epochs(watch):
    """The epoch behind which every entry lies, told by its step."""
    return [(entry.step - 1) // EPOCH for entry in watch.explanation_history.entries]


@pytest.fixture
def sink(monkeypatch):
    """What is written instead of files."""
    memory = MemorySink()
    monkeypatch.setattr("mviz_lightning.callbacks.trainer_run.sinks_for", lambda *_: [memory])
    return memory


def over_epochs(sink):
    return [record for record, _ in sink.images if record.key.endswith("over_epochs")]


def logits(module, data, position):
    """Outputs of one example, centred over the classes."""
    with torch.no_grad():
        found = module.eval()(*(values[None] for values in data[position][:2]))[0].double()
    return found - found.mean()


def assert_explains(entry, module, data):
    for found in entry.explanations:
        expected = logits(module, data, found.position)
        assert found.target == int(data[found.position][-1])
        for output in found.outputs:
            assert output.value == pytest.approx(float(expected[output.output]), abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(
    ("measured", "explained", "count", "expected"),
    [
        (1, 2, 4, [0, 2, 3]),
        (1, 2, 3, [0, 2]),  # the last validation was one of them: not twice
        (1, 9, 3, [0, 2]),
        (1, 9, 1, [0]),
        (2, 3, 8, [0, 4, 6, 7]),  # the fourth validation is not measured: it comes with the fifth
        (2, 1, 4, [0, 2, 3]),
    ],
)
def test_examples_are_explained_first_every_nth_time_and_at_the_end(
    tmp_path, unwritten, measured, explained, count, expected
):
    watch, module = watching({"every_n_validations": measured}, every_n_validations=explained), Toy()
    fit(tmp_path, watch, module=module, max_epochs=count)
    assert epochs(watch) == expected
    assert [len(set(chosen)) for chosen in set(map(tuple, positions(watch)))] == [2]
    assert_explains(watch.explanation_history.entries[-1], module, examples(seed=1))


def test_the_end_lies_in_the_epoch_that_ended_though_its_validation_was_not_measured(tmp_path, unwritten):
    watch = watching({"every_n_validations": 2})
    fit(tmp_path, watch, max_epochs=4)
    assert [entry.epoch for entry in watch.explanation_history.entries] == [0, 2, 3]


def test_a_training_that_goes_on_behind_its_last_validation_is_explained_at_its_end(tmp_path, unwritten):
    watch, module = watching(), Toy()
    fit(tmp_path, watch, module=module, max_epochs=3, check_val_every_n_epoch=2)
    assert epochs(watch) == [1, 2]
    assert_explains(watch.explanation_history.entries[-1], module, examples(seed=1))


@pytest.mark.slow
def test_several_validations_an_epoch_are_told_apart_by_their_steps(tmp_path, sink):
    watch = watching()
    fit(tmp_path, watch, val_check_interval=0.5)
    assert [entry.epoch for entry in watch.explanation_history.entries] == [0, 0, 1, 1]
    assert [
        [moment.label for moment in example] for example in watch.explanation_history.moments_by_example().values()
    ] == [[f"step {row.step}" for row in watch.history]] * 2
    expected = f"from step {watch.history[0].step} to step {watch.history[-1].step}"
    assert [record.caption for record in over_epochs(sink)] == [expected] * 2


@pytest.mark.slow
def test_two_methods_keep_to_their_own_cadence_and_keys(tmp_path, sink):
    often, seldom = (DIME(num_examples=1, every_n_validations=n, name=name) for n, name in ((1, "a"), (3, "b")))
    watch = monitor(explainers=[often, seldom])
    fit(tmp_path, watch, max_epochs=3)
    assert [(entry.explainer, entry.epoch) for entry in watch.explanation_history.entries] == [
        ("a", 0), ("b", 0), ("a", 1), ("a", 2), ("b", 2),
    ]  # fmt: skip
    assert [record.key.split("/")[:2] for record in over_epochs(sink)] == [["mviz", "a"], ["mviz", "b"]]
    assert [
        with_trainer_row for record, _, with_trainer_row in sink.records if record.key.startswith("mviz/a/example_")
    ] == [True] * 3 + [False]
    with pytest.raises(ConfigurationError, match=r"explainers=\['a', 'a'\]: give each a name= of its own"):
        monitor(explainers=[often, often])


@pytest.mark.slow
def test_validate_and_test_always_explain_examples_of_their_own_and_leave_the_album_alone(tmp_path, sink):
    watch, module = watching(every_n_validations=9), Toy()
    chosen = fit(tmp_path, watch, module=module, max_epochs=1)
    before = str(watch.explanation_history.state())
    entries = []
    for run, seed in ((chosen.validate, 5), (chosen.test, 6), (chosen.test, 6)):
        sink.records.clear()
        run(module, loader(32, seed=seed), verbose=False)
        pictures = [
            record for record, _, with_trainer_row in sink.records if "/example_" in record.key and with_trainer_row
        ]
        assert len(pictures) == 2
        assert all(f", {watch.history[-1].stage}: predicted" in record.caption for record in pictures)
        assert over_epochs(sink) == []
        entries.append([record.caption for record in pictures])
        data = examples(32, seed=seed)
        for record in pictures:
            target = int(data[int(record.key.rpartition("_")[2])][-1])
            assert f"target class {target}" in record.caption
    assert entries[1] == entries[2] != entries[0]
    assert str(watch.explanation_history.state()) == before
    assert len(watch.explanation_history.entries) == 1


@pytest.mark.slow
def test_validate_does_not_draw_the_curves_of_fit_once_more(tmp_path, sink):
    watch, module = watching(), Toy()
    chosen = fit(tmp_path, watch, module=module, max_epochs=1)
    sink.records.clear()
    chosen.validate(module, loader(seed=5), verbose=False)
    assert "mviz/shares" not in [record.key for record, _ in sink.images]


def test_pinned_examples_come_first_and_always(tmp_path, unwritten):
    watch = watching({"pin": [63, 5], "num_examples": 16}, num_examples=3)
    fit(tmp_path, watch)
    first, second = positions(watch)
    assert first == second
    assert first[:2] == [63, 5]
    assert len(set(first)) == len(first) == 3
    fit(tmp_path, more := watching({"pin": [1, 2, 3]}, num_examples=1), max_epochs=1)
    assert positions(more) == [[1, 2, 3]]


def test_an_example_that_is_pinned_twice_is_explained_once(tmp_path, unwritten):
    watch = watching({"pin": [5, 5]})
    fit(tmp_path, watch, max_epochs=1)
    assert len(set(positions(watch)[0])) == len(positions(watch)[0]) == 2


def test_a_pinned_example_that_does_not_exist_is_said_and_costs_nothing(tmp_path, unwritten):
    watch = watching({"pin": [99, 7]})
    fit(tmp_path, watch)
    assert [row.note for row in watch.history] == ["pin=[99]: the validation set has no such example", ""]
    assert positions(watch)[0] == positions(watch)[1]
    assert (positions(watch)[0][0], len(positions(watch)[0])) == (7, 2)


def save(folder, watch):
    fit(folder, watch, ModelCheckpoint(folder, filename="last"), enable_checkpointing=True, max_epochs=1)
    return folder / "last.ckpt"


def resume(folder, watch, path, validation=None):
    chosen = trainer(folder, watch, ModelCheckpoint(folder), max_epochs=2, enable_checkpointing=True)
    chosen.fit(Toy(), loader(shuffle=True), validation or loader(seed=1), ckpt_path=path)


def without_choice(path):
    """A checkpoint that does not say which examples were explained."""
    state = torch.load(path, weights_only=True)
    for callback in state["callbacks"].values():
        callback.get("probe", {}).pop("chosen", None)
    torch.save(state, path)
    return path


same_folder = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.mark.slow
@same_folder
@pytest.mark.parametrize("megabytes", few([32, 0]))
def test_a_resumed_training_explains_the_same_examples_and_continues_their_pictures(tmp_path, sink, megabytes):
    first, second = (watching({"checkpoint_megabytes": megabytes, "pin": [5]}) for _ in range(2))
    path = save(tmp_path, first)
    torch.load(path, weights_only=True)
    resume(tmp_path, second, path)
    assert positions(second) == positions(first) * 2
    assert epochs(second) == [0, 1]
    assert str(second.explanation_history.state()[0]) == str(first.explanation_history.state()[0])
    assert second.history[1].note == ""
    assert [record.caption for record in over_epochs(sink)] == ["from epoch 0 to epoch 0"] * 2 + [
        "from epoch 0 to epoch 1"
    ] * 2


@pytest.mark.slow
@same_folder
def test_a_resumed_training_does_not_choose_again(tmp_path, unwritten):
    first, second, anew = (watching(num_examples=12) for _ in range(3))
    path = save(tmp_path, first)
    resume(tmp_path, second, path)
    assert positions(second) == positions(first) * 2
    resume(tmp_path, anew, without_choice(path))
    assert positions(anew)[-1] != positions(first)[0]  # the model has moved on and makes other mistakes


@pytest.mark.long
@same_folder
@pytest.mark.parametrize("before", [[], [60]])
def test_a_resumed_training_explains_what_is_pinned_now(tmp_path, unwritten, before):
    second = watching({"pin": [61]})
    resume(tmp_path, second, save(tmp_path, watching({"pin": before})))
    assert positions(second)[-1][0] == 61


@same_folder
def test_pictures_over_epochs_hold_no_examples_of_another_validation_set(tmp_path, unwritten):
    settings = {"checkpoint_megabytes": 0, "num_examples": 16}
    second = watching(settings)
    resume(tmp_path, second, save(tmp_path, watching(settings)), loader(32, seed=7))
    assert "probe drawn anew" in second.history[1].note
    assert [len(moments) for moments in second.explanation_history.moments_by_example().values()] == [1, 1]


class Fitted(Toy):
    """Trains a model of another kind; the last leaf of the batch holds labels of any shape."""

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.criterion = model, loss

    def forward(self, *leaves):
        return self.model(*leaves)

    def loss(self, batch):
        *leaves, label = batch
        return self.criterion(self(*leaves), label)

    def validation_step(self, batch, _):
        self.log("val_loss", self.loss(batch), batch_size=16)


TASKS = {
    "regression": ((4, 3), 1, lambda label: label.float() * 1.5, lambda found, y: (found[:, 0] - y).square().mean()),
    "binary": ((4, 3), 1, lambda label: label.clamp(max=1), None),
    "multilabel": ((4, 3), 3, lambda label: (label[:, None] >= torch.arange(3)).long(), None),
    "multiclass": ((4, 3, 2), 3, lambda label: label, nn.functional.cross_entropy),
}


def logistic(found, label):
    return nn.functional.binary_cross_entropy_with_logits(found, label.view_as(found).float())


@pytest.mark.slow
@pytest.mark.parametrize("task", few(TASKS))
def test_every_task_is_explained_without_a_warning(tmp_path, sink, task):
    sizes, outputs, label, loss = TASKS[task]
    data = [
        DataLoader(TensorDataset(*leaves, label(y)), 16)
        for *leaves, y in (examples(sizes=sizes, seed=seed).tensors for seed in range(2))
    ]
    names = ["image", "text", "audio"][: len(sizes)]
    explainer = DIME(num_examples=3, every_n_validations=1)
    modalities = {name: str(place) for place, name in enumerate(names)}
    watch = monitor(modalities=modalities, target=str(len(names)), group_size=12, pairs=False, explainers=[explainer])
    trainer(tmp_path, watch).fit(Fitted(Toy(sizes, outputs), loss or logistic), *data)
    assert watch._run.session.task == task
    assert [row.note for row in watch.history] == ["", ""]
    assert [len(entry.explanations) for entry in watch.explanation_history.entries] == [3, 3]
    assert list(watch.explanation_history.entries[0].explanations[0].outputs[0].parts) == names
    assert len(over_epochs(sink)) == 3
    assert sum("dime/example_" in record.key for record, _ in sink.images) == 3 * 2 + 3


def test_a_training_that_stops_early_is_explained_at_its_end(tmp_path, unwritten):
    watch, module = watching(every_n_validations=9), Toy()
    stop = EarlyStopping("val_loss", mode="max", patience=1)
    fit(tmp_path, watch, stop, module=module, max_epochs=9)
    assert 2 <= len(watch.history) < 9
    assert epochs(watch) == [0, len(watch.history) - 1]
    assert_explains(watch.explanation_history.entries[-1], module, examples(seed=1))
