"""UnimodalCollapse from YAML, copied, in trainers with special settings, and without a trace in the weights."""

import copy
import math
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
import yaml
from helpers.collapsing import (
    Known,
    Noted,
    Seen,
    alarm,
    blank,
    data,
    fit,
    noted,
    refuses,
    states,
    train,
    unheard,
    watching,
)
from helpers.few import few
from helpers.toy import SMALL, Toy, loader, trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI

from mviz_lightning import ConfigurationError, MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.actions import Action


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)


class Dropping(Toy):
    """Draws random numbers, and leaves the text out."""

    def forward(self, image, text):
        return torch.nn.functional.dropout(super().forward(image, 0 * text), 0.2, self.training)


def ended(folder, *callbacks):
    """Train and return all that must not depend on who watches."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    module = Dropping()
    chosen = trainer(folder, *callbacks, max_epochs=4)
    with unheard():
        chosen.fit(module, loader(shuffle=True, batch_size=8), loader(128, seed=1))
    logged = {key: value for key, value in chosen.callback_metrics.items() if "mviz/" not in key}
    weights = [*module.state_dict().values(), *logged.values(), torch.get_rng_state()]
    return weights, random.getstate(), np.random.get_state()[1].tolist(), chosen.optimizers[0].state_dict()["state"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:swapping 'text' among 16 examples leaves the scores bit-identical")
def test_the_training_ends_with_the_same_bits_whoever_watches(tmp_path):
    watch = MultimodalMonitor({"image": "0", "text": "1"}, target="2", **(SMALL | {"reference": 128}))
    alone = ended(tmp_path)
    watched = ended(tmp_path, watch, alarm(min_skill=-9, max_drop=9, expected=["text"]))
    assert states(watch) == [0, 2, 2, 2]
    assert watch.history.score_reference.alone
    assert all(torch.equal(left, right) for left, right in zip(alone[0], watched[0], strict=True))
    assert alone[1:] == watched[1:]


@pytest.mark.slow
def test_what_the_monitor_finds_does_not_depend_on_the_alarm(tmp_path):
    plain, told = watching(), watching()
    train(tmp_path, "- text text", plain)
    train(tmp_path, "- text text", told, alarm())
    cost = {"seconds", "overhead"}
    for left, right in zip(plain.history, told.history, strict=True):
        assert right.values.keys() - left.values.keys() == {"collapse/image", "collapse/text"}
        # The score of all 256 examples, of which 64 are recombined.
        expected = left.values | {"rows": left.values["rows"] + 192}
        assert all(right.values[key] == value for key, value in expected.items() if key not in cost)


def sent(one):
    return pickle.loads(pickle.dumps(one))  # noqa: S301


@pytest.mark.slow
@pytest.mark.parametrize("action", ["stop", "helpers.collapsing.noted", refuses])
@pytest.mark.parametrize("copied", [copy.deepcopy, sent], ids=["copy", "pickle"])
def test_the_callback_can_be_copied_and_sent_to_another_process(tmp_path, action, copied):
    noted.calls.clear()  # trainers cannot be pickled
    tell = copied(alarm(action=action, expected=["text"], patience=1))
    assert tell.rule == alarm(expected=["text"], patience=1).rule
    watch = copied(watching())
    if action == "stop":
        chosen = train(tmp_path, "text - -", watch, tell)
        assert (chosen.current_epoch, states(watch)) == (1, [2])
        assert copied(tell).verdicts == tell.verdicts


@pytest.mark.slow
def test_a_trained_callback_can_be_pickled_and_used_again(tmp_path):
    watch, tell = watching(), alarm(action=Noted())
    train(tmp_path, "text text", watch, tell)
    again = copy.deepcopy(tell)
    train(tmp_path, "text text", watching(), again)
    assert [len(one.action.calls) for one in (tell, again)] == [1, 2]


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "checks"),
    [
        ({"overfit_batches": 2}, 2),
        ({"limit_val_batches": 2}, 2),
        ({"limit_val_batches": 0}, 0),
    ],
)
def test_trainers_that_see_little_or_nothing(tmp_path, settings, checks):
    watch, tell = watching(num_examples=16), alarm(expected=["text"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(tmp_path, "text text", watch, tell, **settings)
    assert states(watch) == [0, 2][:checks]
    assert any("the monitor never ran" in str(one.message) for one in caught) == (checks == 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_modality_renamed_since_the_checkpoint_does_not_end_the_training(tmp_path):
    first, second = watching(), watching(modalities={"image": "0", "words": "1"})
    train(tmp_path, "- text", first, alarm(), ModelCheckpoint(tmp_path, filename="last"), enable_checkpointing=True)
    chosen = trainer(tmp_path, second, alarm(), ModelCheckpoint(tmp_path), enable_checkpointing=True, max_epochs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        chosen.fit(Known("text"), data(64), data(seed=1), ckpt_path=tmp_path / "last.ckpt")
    assert chosen.current_epoch == 5
    assert states(second, "words")[2:] == [0, 2, 2]


@pytest.mark.slow
def test_the_examples_may_come_from_a_second_loader(tmp_path):
    watch = watching(dataloader_idx=1)
    chosen = trainer(tmp_path, watch, alarm(), max_epochs=2)
    with unheard():
        chosen.fit(Known("text"), data(64), [data(64, seed=3), data(seed=1)])
    assert states(watch) == [0, 2]


@pytest.mark.slow
def test_a_trainer_of_pytorch_lightning_takes_the_alarm(tmp_path):
    other = pytest.importorskip("pytorch_lightning")
    names = ("wrong", "on_validation_start", "forward", "training_step", "validation_step", "configure_optimizers")
    given = {name: vars(Known)[name] for name in names}
    module = type("Other", (other.LightningModule,), given)()
    vars(module).update(plan=["text"], kind="multiclass", weights=(1.5, 1.0), cut=0.0, place=-1, steps=0)
    module.learned = torch.nn.Parameter(torch.ones(1))
    watch = watching()
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings = {"default_root_dir": tmp_path, "max_epochs": 4, "logger": False, "accelerator": "cpu"} | quiet
    chosen = other.Trainer(callbacks=[watch, alarm(action="stop")], **settings)
    with unheard():
        chosen.fit(module, data(64), data(seed=1))
    assert (states(watch), chosen.current_epoch) == ([0, 2], 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "halt"}, "action='halt': choose 'warn' or 'stop', or give a function"),
        ({"action": 3}, "action=3: choose"),
        ({"action": "nowhere.to.be.found"}, "action='nowhere.to.be.found' cannot be imported"),
        ({"action": "math.pi"}, "action='math.pi' is a float, not a function"),
        ({"patience": 0}, "patience=0: give 1 or more"),
    ],
)
def test_impossible_arguments_are_refused_at_once(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        alarm(**settings)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (lambda: [alarm()], r"there is none among \[\]; add MultimodalMonitor\(\.\.\.\) to the trainer's callbacks"),
        (
            lambda: [watching(), alarm(monitor="other")],
            r"there is none among \['mviz'\]; add MultimodalMonitor\(\.\.\., name='other'\)",
        ),
        (lambda: [watching(), alarm(expected=["txt"])], r"expected=\['txt'\]: choose among .*'image', 'text'"),
        (
            lambda: [watching(), watching(name="b"), alarm()],
            r"there are the monitors \['mviz', 'b'\]; pass UnimodalCollapse\(monitor='mviz'\)",
        ),
        (lambda: [watching(), alarm(), alarm()], "2 UnimodalCollapse read the monitor 'mviz'.*keep one"),
    ],
)
@pytest.mark.parametrize("entry", ["fit", "validate", "test"])
def test_a_wrong_list_of_callbacks_is_refused_before_anything_runs(tmp_path, callbacks, message, entry):
    module = Known()
    chosen = trainer(tmp_path, *callbacks())
    begin = {
        "fit": lambda: fit(chosen, module),
        "validate": lambda: chosen.validate(module, data(), verbose=False),
        "test": lambda: chosen.test(module, data(), verbose=False),
    }
    with pytest.raises(ConfigurationError, match=message):
        begin[entry]()
    assert (module.steps, module.place) == (0, -1)


@pytest.mark.slow
def test_several_monitors_each_have_their_own_alarm(tmp_path):
    watches = [watching(), watching(name="other", seed=1), watching(name="silent", seed=2)]
    seen = [Seen(f"{name}/collapse/text") for name in ("mviz", "other", "silent")]
    tells = [alarm(monitor="other", patience=1), alarm(monitor="mviz")]
    train(tmp_path, "- text text -", *watches, *tells, *seen)
    assert [states(watch) for watch in watches] == [[0, 0, 2, 0], [0, 2, 2, 0], [None] * 4]
    assert [one.values for one in seen] == [[0, 0, 2, 0], [0, 2, 2, 0], [None] * 4]


@pytest.mark.slow
def test_a_monitor_of_another_name_is_read_without_saying_so(tmp_path):
    watch = watching(name="shares")
    chosen = train(tmp_path, "text text", watch, alarm())
    assert chosen.callback_metrics["shares/collapse/text"] == 2
    assert not any(key.startswith("mviz/") for key in chosen.callback_metrics)
    assert math.isfinite(chosen.callback_metrics["shares/weakest_total"])


CONFIG = {
    "seed_everything": 0,
    "trainer": {
        "max_epochs": 5,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [
            {"class_path": "mviz_lightning.UnimodalCollapse", "init_args": {"action": "stop", "expected": ["text"]}},
            {
                "class_path": "mviz_lightning.MultimodalMonitor",
                "init_args": {
                    "modalities": {"image": "0", "text": "1"},
                    "target": "2",
                    "num_examples": 64,
                    "group_size": 8,
                },
            },
        ],
    },
}


def built(folder, monkeypatch, **init_args):
    """Return what LightningCLI makes of the file that it saves of a file."""
    monkeypatch.chdir(folder)
    config = copy.deepcopy(CONFIG)
    config["trainer"]["callbacks"][0]["init_args"] |= init_args
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    settings = {"run": False, "save_config_callback": None}
    first = LightningCLI(Known, args=["--config", "config.yaml", "--model.plan", "- text"], **settings)
    (folder / "saved.yaml").write_text(first.parser.dump(first.config, skip_none=False))
    return LightningCLI(Known, args=["--config", "saved.yaml"], **settings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("action", few(["stop", "warn", "helpers.collapsing.noted"]))
def test_yaml_builds_the_alarm(tmp_path, monkeypatch, action):
    noted.calls.clear()
    cli = built(tmp_path, monkeypatch, action=action, patience=3)
    (tell,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, UnimodalCollapse)]
    assert (tell.rule.expected, tell.rule.patience, tell.monitor) == (("text",), 3, None)
    assert tell.action == (noted if action == "helpers.collapsing.noted" else action)
    fit(cli.trainer, cli.model)
    assert cli.trainer.current_epoch == (4 if action == "stop" else 5)
    assert len(noted.calls) == (action == "helpers.collapsing.noted")


def ready(name, **said):
    return {"class_path": f"mviz_lightning.actions.{name}", "init_args": said}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (ready("ModalityDropout", p=0.25), [{"p": 0.25, "seed": 0}]),
        (
            [ready("EncoderLearningRate", factor=3, encoders={"image": "learned"}), "stop"],
            [{"factor": 3.0, "others": 1.0, "encoders": {"image": ["learned"]}}, "stop"],
        ),
        (
            [ready("SaveCheckpoint", path="at"), ready("StopTraining"), "helpers.collapsing.noted"],
            [{"path": "at"}, {}, noted],
        ),
    ],
)
def test_yaml_builds_actions(tmp_path, monkeypatch, action, expected):
    cli = built(tmp_path, monkeypatch, action=action)
    (tell,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, UnimodalCollapse)]
    found = tell.action if isinstance(tell.action, list) else [tell.action]
    assert [vars(one) if isinstance(one, Action) else one for one in found] == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("init_args", "message"), [({"action": "halt"}, "choose 'warn' or 'stop'"), ({"patience": 0}, "give 1 or more")]
)
def test_what_is_impossible_is_said_while_yaml_is_read(tmp_path, monkeypatch, init_args, message):
    with pytest.raises(ValueError, match=message):
        built(tmp_path, monkeypatch, **init_args)
