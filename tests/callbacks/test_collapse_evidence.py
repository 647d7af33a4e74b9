"""What the alarm reads beside the logged values: the score on all fixed examples, kin, and single outputs."""

import math

import pytest
import torch
from helpers.collapsing import Known, alarm, blank, data, heard, states, train, unheard, watching
from helpers.few import few
from helpers.toy import trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mviz_lightning import ConfigurationError, MultimodalMonitor, UnimodalCollapse


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr("mviz_lightning.callbacks.reporter.share_curves", blank)


# -- The score on all fixed examples -----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("reference", "further"), [(256, 192), (128, 64), (64, 0)])
def test_the_skill_is_that_of_all_fixed_examples_which_are_evaluated_once(tmp_path, reference, further):
    plain, watch = watching(reference=reference), watching(reference=reference)
    train(tmp_path, "-", plain)
    train(tmp_path, "-", watch, alarm())
    (row,) = watch.history
    labels = torch.cat([batch[2] for batch in data(seed=1)])[list(watch._fit_session.positions)]

    chance = float(labels.bincount().max() / len(labels))
    assert len(labels) == reference
    assert row.evidence["skill"] == pytest.approx(1, abs=1e-9)  # Known gets all of them right
    assert row.evidence["skill_error"] == pytest.approx(0, abs=1e-9)
    assert row.values["rows"] == plain.history[0].values["rows"] + further
    assert plain.history[0].evidence == {}
    assert 0.5 <= chance < 0.6


def test_the_error_of_a_share_of_right_answers_is_binomial(tmp_path):
    watch = watching()
    train(tmp_path, "text", watch, alarm())
    (row,) = watch.history
    positions = list(watch._fit_session.positions)
    image, _, labels = (torch.cat(parts)[positions] for parts in zip(*data(seed=1), strict=True))
    right = float(((image[:, 0] > 0).long() == labels).float().mean())
    chance = float(labels.bincount().max() / len(labels))

    assert row.evidence["skill"] == pytest.approx((right - chance) / (1 - chance), abs=1e-6)
    error = math.sqrt(right * (1 - right) / len(labels)) / (1 - chance)
    assert row.evidence["skill_error"] == pytest.approx(error, abs=1e-6)


def test_a_budget_leaves_examples_out(tmp_path):
    shares = 64 * 8
    rows = []
    for budget in (shares, shares + 10, 10_000):
        watch = watching(budget=budget)
        train(tmp_path, "-", watch, alarm())
        rows.append(watch.history[0].values["rows"])
        assert watch.history[0].evidence["skill"] == pytest.approx(1)
    assert rows == [shares, shares + 10, shares + 192]


@pytest.mark.slow
def test_an_error_on_the_further_examples_costs_their_score_alone(tmp_path, monkeypatch):
    def broken(*given):
        raise RuntimeError("no memory")

    monkeypatch.setattr("mviz_lightning.session.session.reference_outputs", broken)
    watch = watching()
    train(tmp_path, "- text text", watch, alarm())

    assert states(watch) == [0, 0, 2]
    assert "the score of all 256 fixed examples is unknown: RuntimeError: no memory" in watch.history[0].note
    assert watch.history[0].evidence == {}


class Many(LightningModule):
    """Knows a hundred classes a little: the picture tells the tens, and the text, which is left out, the ones."""

    def __init__(self):
        super().__init__()
        self.learned = nn.Parameter(torch.ones(1))

    def forward(self, tens, ones):
        found = tens[:, 0].round().long().clamp(0, 9)
        return (
            3 * nn.functional.one_hot(found, 10).float().repeat_interleave(10, 1)
            + 1e-6 * ones[:, 20:21] * torch.linspace(-1, 1, 100)
            + 0 * self.learned
        )

    def training_step(self, batch, _):
        return self.learned.square().sum()

    def validation_step(self, batch, _):
        self.log("val_loss", self.learned.square().sum(), batch_size=len(batch[0]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def hundred(count=512):
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(100, (count,), generator=draw)
    ones = torch.zeros(count, 100)
    ones[torch.arange(count), label % 10] = 1.0
    ones += 0.1 * torch.randn(count, 100, generator=draw)
    tens = (label // 10).float().unsqueeze(1) + 0.2 * torch.randn(count, 1, generator=draw)
    return DataLoader(torch.utils.data.TensorDataset(tens, ones, label), batch_size=128)


@pytest.mark.slow
def test_a_collapse_among_a_hundred_classes_is_found(tmp_path):
    """A tenth of the answers is right: a skill below 0.1, many standard errors above chance."""
    sizes = {"num_examples": 64, "group_size": 8, "reference": 320}
    watch = MultimodalMonitor({"image": "0", "text": "1"}, target="2", task="multiclass", **sizes)
    chosen = trainer(tmp_path, watch, UnimodalCollapse(), max_epochs=2)
    with heard() as alarms:
        chosen.fit(Many(), hundred(), hundred())

    assert watch.history[1].evidence["skill"] < 0.1
    assert states(watch) == [0, 2]
    assert "beyond the others" in alarms[0]


# -- Kin ---------------------------------------------------------------------------------------------------------------


class Patients(Dataset):
    """Pictures of patients whose label nobody can see but by recognising them."""

    def __init__(self, kind="strings", count=240):
        draw = torch.Generator().manual_seed(0)
        patient = torch.arange(count) % 20
        self.label = torch.randint(2, (20,), generator=draw)[patient]
        self.image = 1.5 * (2 * self.label - 1).unsqueeze(1) + torch.randn(count, 2, generator=draw)
        self.text = torch.randn(20, 30, generator=draw)[patient] + 0.7 * torch.randn(count, 30, generator=draw)
        entries = {
            "strings": [f"p{one}" for one in patient.tolist()],
            "ints": patient.tolist(),
            "floats": [one / 2 for one in patient.tolist()],
            "tensors": list(patient),
            "columns": list(patient.unsqueeze(1)),
        }
        self.patient = entries[kind]

    def __len__(self):
        return len(self.label)

    def __getitem__(self, place):
        found = {"image": self.image[place], "text": self.text[place], "label": self.label[place]}
        return found | {"metadata": {"patient": self.patient[place]}}


class Doctor(Known):
    """Reads the picture alone."""

    def forward(self, image, text):
        return torch.stack([-image[:, 0], image[:, 0]], 1) + 1e-6 * text[:, :2] + 0 * self.learned

    def training_step(self, batch, _):
        return self.learned.square().sum()

    def validation_step(self, batch, _):
        self.log("val_loss", self.learned.square().sum(), batch_size=len(batch["label"]))


def diagnosed(folder, *more, kind="strings", epochs=2, path=None, **settings):
    watch = MultimodalMonitor({"image": "image", "text": "text"}, target="label", num_examples=64, group_size=8)
    tell = UnimodalCollapse(**settings)
    kept = {"enable_checkpointing": True} if more else {}
    chosen = trainer(folder, watch, tell, *more, max_epochs=epochs, **kept)
    loaders = [DataLoader(Patients(kind), batch_size=60) for _ in range(2)]
    with unheard():
        chosen.fit(Doctor("-"), *loaders, ckpt_path=path)
    return watch, tell


@pytest.mark.slow
@pytest.mark.parametrize("kind", few(["strings", "ints", "floats", "tensors", "columns"], 2))
def test_kin_stay_in_one_fold_of_both_proofs(tmp_path, kind):
    watch, tell = diagnosed(tmp_path, kind=kind, kin="metadata.patient")

    assert states(watch) == [0, 1]
    proof = tell.verdicts["text"]
    assert proof.alone.explained < 3 * proof.alone.error
    assert proof.beyond.gain < max(0.005, 3 * proof.beyond.error)


@pytest.mark.slow
def test_without_kin_a_patient_who_is_recognised_is_information(tmp_path):
    watch, tell = diagnosed(tmp_path)

    assert states(watch) == [0, 2]
    assert tell.verdicts["text"].alone.explained > 0.3


def test_kin_that_are_not_there_are_refused_before_the_training(tmp_path):
    with pytest.raises(ConfigurationError, match=r"kin='patient': no such leaf .* leaves found: .*metadata\.patient"):
        diagnosed(tmp_path, kin="patient")


def test_kin_of_several_entries_are_refused_before_the_training(tmp_path):
    with pytest.raises(ConfigurationError, match=r"kin='image': the leaf has the shape \(\d+, \d+\), several entries"):
        diagnosed(tmp_path, kin="image")


def test_too_few_families_are_said_because_no_proof_is_left(tmp_path, caplog):
    with caplog.at_level("INFO"):
        watch, _ = diagnosed(tmp_path, kin="label")

    assert states(watch) == [0, 1]
    assert caplog.text.count("kin='label' has 2 distinct entries in") == 1


def test_kin_is_one_path():
    with pytest.raises(ConfigurationError, match=r"kin=\['a'\]: give the path of one leaf"):
        UnimodalCollapse(kin=["a"])
    assert UnimodalCollapse(kin=3).kin == "3"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_training_that_is_resumed_knows_who_is_kin(tmp_path):
    diagnosed(tmp_path, ModelCheckpoint(tmp_path, filename="last"), kin="metadata.patient", epochs=1)
    watch, tell = diagnosed(tmp_path, kin="metadata.patient", epochs=2, path=tmp_path / "last.ckpt")

    assert states(watch) == [0, 1]
    assert watch.history[0].evidence["skill"] > 0.5
    assert tell.verdicts["text"].alone.explained < 3 * tell.verdicts["text"].alone.error


# -- Single outputs ----------------------------------------------------------------------------------------------------


LABELS = 40


class Tags(Known):
    """Labels of the picture, and one, the seventh, of the text."""

    def __init__(self, *, reads: bool):
        super().__init__("-", "multilabel")
        self.reads = reads
        self.words = torch.randn(6, LABELS, generator=torch.Generator().manual_seed(5))

    def forward(self, image, text):
        logits = 3 * (image @ self.words - 1) + 0 * self.learned
        seventh = 6 * (text[:, 0] * self.reads - 0.5) + 1e-6 * text[:, 1]
        return torch.cat([logits[:, :7], seventh.unsqueeze(1), logits[:, 8:]], 1)


def tagged(count=384, limit=1.0):
    draw = torch.Generator().manual_seed(1)
    image, text = torch.randn(count, 6, generator=draw), torch.randn(count, 4, generator=draw)
    label = (image @ Tags(reads=True).words > limit).long()
    label[:, 7] = text[:, 0] > 0.5
    return DataLoader(torch.utils.data.TensorDataset(image, text, label), batch_size=128)


@pytest.mark.parametrize(("reads", "expected"), few([(True, [0, 0]), (False, [0, 2])]))
def test_a_modality_that_decides_one_of_forty_labels(tmp_path, *, reads, expected):
    watch = MultimodalMonitor(
        {"image": "0", "text": "1"},
        target="2",
        task="multilabel",
        class_names=[f"tag {number}" for number in range(40)],
        num_examples=64,
        group_size=8,
    )
    chosen = trainer(tmp_path, watch, UnimodalCollapse(), max_epochs=2)
    with heard() as alarms:
        chosen.fit(Tags(reads=reads), tagged(), tagged())

    row = watch.history[-1]
    assert row.values["total/text"] < 0.05  # of all outputs together
    assert states(watch) == expected
    if reads:
        assert (row.evidence["single/text"], row.evidence["single_output/text"]) == (pytest.approx(1, abs=0.01), 7)
        assert alarms == []
    else:
        (said,) = alarms
        assert "it adds most to 'tag 7'" in said


class Rare(Known):
    """Five hundred rare labels, half of them of the text."""

    def __init__(self, *, reads: bool):
        super().__init__("-", "multilabel")
        self.reads = reads
        self.words = nn.functional.normalize(torch.randn(8, 500, generator=torch.Generator().manual_seed(5)), dim=0)

    def scores(self, image, text):
        return torch.cat([image @ self.words[:, :250], text @ self.words[:, 250:]], 1)

    def forward(self, image, text):
        return 2 * (self.scores(image, text * (self.reads + 1e-4)) - 2.3) + 0 * self.learned


@pytest.mark.slow
@pytest.mark.parametrize(("reads", "told", "state"), [(True, True, 0), (False, True, 2), (False, False, 1)])
def test_five_hundred_rare_labels(tmp_path, *, reads, told, state):
    draw = torch.Generator().manual_seed(1)
    image, text, noise = (torch.randn(512, 8, generator=draw) for _ in range(3))
    model = Rare(reads=reads)
    label = (model.scores(image, text) > 2.05).long()
    examples = torch.utils.data.TensorDataset(image, text if told else noise, label)
    watch = MultimodalMonitor({"image": "0", "text": "1"}, target="2", task="multilabel", num_examples=64, group_size=8)
    chosen = trainer(tmp_path, watch, UnimodalCollapse(), max_epochs=2)
    with unheard():
        chosen.fit(model, DataLoader(examples, batch_size=128), DataLoader(examples, batch_size=128))

    assert 0.01 < float(label.float().mean()) < 0.03
    assert states(watch) == [0, state]
