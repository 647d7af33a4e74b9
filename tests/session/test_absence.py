"""Examples that lack a modality: counted, said and left out of the shares; what their absence costs."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from helpers.batches import LateFusion, OnBatch, call_forward, floats, seeded
from helpers.tally import Tally
from session.test_session import config
from torch import Tensor, nn

from mviz_lightning import ConfigurationError, Modality, MonitorWarning, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.session.session import Session

COUNT = 48
LACKING = [0, 3, 4, 17, 18, 19, 20, 30, 47]
"""Examples without text."""
COMPLETE = [example for example in range(COUNT) if example not in LACKING]
NAN = float("nan")

Examples = dict[str, Any]


def data() -> Examples:
    return {"image": floats(COUNT, 4, seed=1), "text": floats(COUNT, 3, seed=2), "label": torch.arange(COUNT) * 7 % 3}


def part(examples: Examples, rows: Sequence[int]) -> Examples:
    return {name: leaf[list(rows)] for name, leaf in examples.items()}


def cut(examples: Sequence[int], size: int = 8) -> list[list[int]]:
    return [list(examples[start : start + size]) for start in range(0, len(examples), size)]


def without_text(rows: Sequence[int]) -> Tensor:
    return torch.tensor([row in LACKING for row in rows])


def nan(batch: Examples, rows: Sequence[int]) -> Examples:
    return batch | {"text": batch["text"].masked_fill(without_text(rows)[:, None], NAN)}


def flag(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows)
    return batch | {"text": batch["text"].masked_fill(lacks[:, None], 0.0), "has_text": (~lacks).long()}


def listed(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows).tolist()
    return batch | {"text": [None if lack else one for lack, one in zip(lacks, batch["text"], strict=True)]}


def emptied(batch: Examples, rows: Sequence[int]) -> Examples:
    lacks = without_text(rows).tolist()
    return batch | {"text": [one[:0] if lack else one for lack, one in zip(lacks, batch["text"], strict=True)]}


def masked(batch: Examples, rows: Sequence[int]) -> Examples:
    mask = (~without_text(rows)).long()[:, None].expand(-1, 3)
    return batch | {"text": batch["text"] * mask, "mask": mask}


FORMS: dict[str, tuple[Callable[[Examples, Sequence[int]], Examples], Any]] = {
    "nan": (nan, "text"),
    "presence leaf": (flag, Modality("text", present="has_text")),
    "None in a list": (listed, "text"),
    "empty sequence": (emptied, "text"),
    "all padding": (masked, ["text", "mask"]),
}


def by_row(form: str) -> list[tuple[Examples, list[int]]]:
    """Cut examples into batches that all hold some with text and some without."""
    make = FORMS[form][0]
    return [(make(part(data(), rows), rows), rows) for rows in cut(range(COUNT))]


def by_batch(lacking: Callable[[Examples], Examples]) -> list[tuple[Examples, list[int]]]:
    """Cut examples into batches with text, and batches without any; the first has none."""
    with_text, without = cut(COMPLETE), cut(LACKING)
    parts = [without[0], *with_text[:2], *without[1:], *with_text[2:]]
    return [(part(data(), rows) if rows in with_text else lacking(part(data(), rows)), rows) for rows in parts]


BATCHED = {
    "None": lambda batch: batch | {"text": None},
    "key missing": lambda batch: {name: leaf for name, leaf in batch.items() if name != "text"},
}


def tensor_of(text: Any) -> Tensor:
    return torch.stack(list(text)) if isinstance(text, list) else text


class Fusion(OnBatch):
    """``forward(batch)``: an image network and a text network, whatever else the batch holds."""

    def __init__(self) -> None:
        super().__init__(lambda module, batch: module.net(batch["image"], tensor_of(batch["text"])), net=LateFusion())


def settings(text: Any = "text", **options: Any) -> Any:
    modalities = parse_modalities({"image": "image", "text": text})
    return config(modalities, **{"target": "label", "task": "multiclass", **options})


def measured(
    module: nn.Module, passed: Sequence[tuple[Any, Sequence[int]]], text: Any = "text", **options: Any
) -> Session:
    session = Session(settings(text, **options))
    for batch, places in passed:
        session.collect(batch, lambda _, places=places: places)
        session.dry_run(module)
        session.raise_failure()
    session.complete()
    return session


def complete_only(form: str = "") -> list[tuple[Examples, list[int]]]:
    """The complete examples alone, in batches of another size, in the user's form."""
    make = FORMS[form][0] if form else lambda batch, _: batch
    return [(make(part(data(), rows), rows), rows) for rows in cut(COMPLETE, 11)]


LINE = "39 of 48 examples have text; shares and explanations are those of examples that have all modalities"


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_shares_are_those_of_the_complete_examples_alone_to_the_bit(form):
    module, text = seeded(Fusion), FORMS[form][1]
    found, alone = measured(module, by_row(form), text), measured(module, complete_only(form), text)
    assert found.positions == alone.positions
    assert set(found.positions) == set(COMPLETE)
    assert found.run().values == alone.run().values
    assert LINE in found.pop_notes()
    assert "examples have" not in alone.pop_notes()


@pytest.mark.parametrize("form", BATCHED)
def test_a_whole_batch_may_lack_a_modality_and_the_first_one_too(form):
    module = seeded(Fusion)
    found, alone = measured(module, by_batch(BATCHED[form])), measured(module, complete_only())
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert [line for line in found.remarks.pop_lines() if "examples have" in line] == [f"MultimodalMonitor: {LINE}"]


def as_dicts(make: Callable[[Examples, Sequence[int]], Examples], rows: Sequence[int]) -> list[Examples]:
    """Return a batch that is a list with one dict per example."""
    batch = make(part(data(), rows), rows)
    return [{name: leaf[row] for name, leaf in batch.items()} for row in range(len(rows))]


def dropped(rows: Sequence[int]) -> list[Examples]:
    return [
        one if one["text"] is not None else {name: value for name, value in one.items() if name != "text"}
        for one in as_dicts(listed, rows)
    ]


class OfDicts(nn.Module):
    """``forward(batch)`` of a list with one dict per example."""

    def __init__(self) -> None:
        super().__init__()
        self.net = LateFusion()

    def forward(self, batch: list[Examples]) -> Tensor:
        return self.net(*(torch.stack([one[name] for one in batch]) for name in ("image", "text")))


@pytest.mark.long
@pytest.mark.parametrize("make", [dropped, lambda rows: as_dicts(listed, rows), lambda rows: as_dicts(nan, rows)])
def test_an_entry_of_an_example_that_is_a_dict_may_be_missing(make):
    module, call = seeded(OfDicts), {"predict": call_forward}
    found = measured(module, [(make(rows), rows) for rows in cut(range(COUNT))], **call)
    alone = measured(module, [(make(rows), rows) for rows in cut(COMPLETE, 11)], **call)
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert LINE in found.pop_notes()


def test_a_list_of_arrays_with_none_is_learned_like_one_without():
    ragged = [floats(2 + row % 3, 3, seed=row) for row in range(COUNT)]

    def batch(rows: Sequence[int], *, whole: bool) -> Examples:
        texts = [ragged[row] if whole or row not in LACKING else None for row in rows]
        return part(data(), rows) | {"text": texts}

    def forward(module: nn.Module, batch: Any) -> Tensor:
        return module(batch["image"], torch.stack([text.mean(0) for text in batch["text"]]))

    found = measured(
        seeded(LateFusion), [(batch(rows, whole=False), rows) for rows in cut(range(COUNT))], predict=forward
    )
    alone = measured(
        seeded(LateFusion), [(batch(rows, whole=True), rows) for rows in cut(COMPLETE, 11)], predict=forward
    )
    assert found.positions == alone.positions
    assert found.run().values == alone.run().values
    assert torch.equal(found.probe.bounds["text"], alone.probe.bounds["text"])


class Forgiving(nn.Module):
    """``forward(batch)``: the image alone, plus image and text together where the example has a text, in any form."""

    def __init__(self) -> None:
        super().__init__()
        self.alone, self.read, self.together = nn.Linear(4, 3), nn.Linear(3, 3), LateFusion()

    def forward(self, batch: Any) -> Tensor:
        image, text = batch["image"], batch.get("text")
        if text is None:
            return self.alone(image)
        if image is None:
            return self.read(tensor_of(text))
        rows = [self._row(batch, row) for row in range(len(image))]
        return torch.cat(rows)

    def _row(self, batch: Any, row: int) -> Tensor:
        image, text = batch["image"][row : row + 1], batch["text"][row]
        flagged = batch["has_text"][row] if "has_text" in batch else batch["mask"][row].any() if "mask" in batch else 1
        if not flagged or text is None or len(text) == 0 or bool(text.isnan().all()):
            return self.alone(image)
        return self.alone(image) + self.together(image, text[None])


class Strict(Forgiving):
    """Refuses a batch without text."""

    def forward(self, batch: Any) -> Tensor:
        if batch.get("text") is None:
            raise ValueError("I want to read")
        return super().forward(batch)


def accuracy(scores: Tensor, rows: Sequence[int]) -> float:
    return float((scores.argmax(1) == data()["label"][list(rows)]).double().mean())


def scored_examples(found: Session) -> list[int]:
    return [found.positions[example] for example in found.probe.groups.flatten().tolist()]


def patterns(found: Any) -> dict[str, tuple[int, float | None]]:
    return {one.words: (one.examples, one.score) for one in found.patterns}


@pytest.mark.long
@pytest.mark.parametrize("form", [*FORMS, *BATCHED])
def test_the_score_without_a_modality_is_that_of_the_complete_examples_in_the_users_own_form(form):
    module = seeded(Forgiving)
    passed, text = (by_row(form), FORMS[form][1]) if form in FORMS else (by_batch(BATCHED[form]), "text")
    found = measured(module, passed, text, absence=True, predict=call_forward)
    run = found.run()
    rows = scored_examples(found)
    image = data()["image"][rows]
    expected = accuracy(module.alone(image), rows)
    full = accuracy(module.alone(image) + module.together(image, data()["text"][rows]), rows)
    assert run.values["score"] == pytest.approx(full)
    assert run.values["score_without/text"] == pytest.approx(expected)
    assert expected != full
    assert patterns(run)["image + text"] == (39, pytest.approx(full))
    assert patterns(run)["image only"] == (9, pytest.approx(expected))


@pytest.mark.parametrize("form", BATCHED)
def test_a_batch_that_lacks_a_modality_is_built_as_the_users_own(form):
    tally = Tally()

    class Watching(Forgiving):
        def forward(self, batch: Any) -> Tensor:
            tally.seen.append(batch)
            return super().forward(batch)

    found = measured(seeded(Watching), by_batch(BATCHED[form]), absence=True, predict=call_forward)
    tally.seen.clear()
    found.run()
    lacking = [batch for batch in tally.seen if batch.get("text") is None]
    assert lacking
    assert all(("text" in batch) == (form == "None") for batch in lacking)
    assert all(set(batch) == {"image", "label"} | ({"text"} if form == "None" else set()) for batch in lacking)


def test_where_the_data_show_no_absence_none_is_tried_and_a_model_that_fails_is_named_once():
    whole = [(part(data(), rows), rows) for rows in cut(range(COUNT))]
    kind = measured(seeded(Forgiving), whole, absence=True, predict=call_forward)
    run = kind.run()
    rows, module = scored_examples(kind), kind._tried.evaluator.module
    assert run.values["score_without/text"] == pytest.approx(accuracy(module.alone(data()["image"][rows]), rows))
    assert run.values["score_without/image"] == pytest.approx(accuracy(module.read(data()["text"][rows]), rows))
    strict = measured(seeded(Strict), whole, absence=True, predict=call_forward)
    with pytest.warns(MonitorWarning, match=r"without text, so their score is not reported. I want to read. Let"):
        run = strict.run()
    assert "score_without/text" not in run.values
    assert patterns(run) == {
        "image + text": (COUNT, run.values["score"]),
        "image only": (0, None),
        "text only": (0, run.values["score_without/image"]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonitorWarning)
        strict.run()


def test_shares_are_the_same_with_and_without_absence():
    found, plain = (
        measured(seeded(Forgiving), by_row("nan"), absence=wanted, predict=call_forward) for wanted in (True, False)
    )
    with_cost, without = found.run(), plain.run()
    assert {name: with_cost.values[name] for name in without.values} == without.values
    assert without.patterns == ()
    assert with_cost.rows == without.rows + 2 * 24


def test_explain_prints_the_table_of_patterns_and_learns_from_the_first_batch_with_all_modalities():
    module = seeded(Forgiving)
    passed = [batch for batch, _ in by_batch(BATCHED["key missing"])]
    settings = {"target": "label", "task": "multiclass", "num_examples": 24, "group_size": 12}
    report = explain(module, passed, modalities=TWO, absence=True, predict=call_forward, **settings)
    lines = str(report).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("modalities "))
    table = [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines[at : at + 4]]
    score, without = (f"{report.values[key]:.3f}" for key in ("score", "score_without/text"))
    assert table[0] == ["modalities", "validation examples", "score of complete examples with these alone"]
    assert table[1] == ["image + text", "39", score]
    assert table[2:] == [
        ["text only", "0", f"{report.values['score_without/image']:.3f}"],
        ["image only", "9", without],
    ]
    assert LINE in report.notes


TWO = {"image": "image", "text": "text"}


def test_a_wrong_path_is_an_error_that_lists_the_leaves_and_says_what_to_do():
    passed = [batch for batch, _ in by_batch(BATCHED["None"])]
    message = (
        r"modalities\['sound'\]: no leaf 'waves' in the batch; leaves found: image \(7, 4\), text "
        r".* none of 7 batch\(es\).* Trainer\(num_sanity_val_steps=28\).* "
        r'modalities=\{"sound": Modality\("waves", present="has_sound"\)\}'
    )
    with pytest.raises(ConfigurationError, match=message):
        explain(seeded(Fusion), passed, modalities={"image": "image", "sound": "waves"}, target="label")


@pytest.mark.parametrize("lacks", [{"text": None}, {"text": torch.full((8, 3), NAN)}, {"text": [None] * 8}])
def test_data_without_one_complete_example_are_refused_with_their_counts(lacks):
    passed = [part(data(), rows) | lacks for rows in cut(range(COUNT))]
    message = r"none of 48 validation examples has all of image, text \(0 of 48 examples have text\)"
    with pytest.raises(RuntimeError, match=message):
        explain(seeded(Fusion), passed, modalities=TWO, target="label")


def test_too_few_complete_examples_are_refused_with_their_counts():
    passed = [
        (batch if rows[0] < 2 else batch | {"text": None}, rows)
        for rows in cut(range(COUNT), 2)
        for batch in [part(data(), rows)]
    ]
    message = r"^2 validation examples were seen.* 2 of 48 examples have text; shares and explanations are those of"
    with pytest.raises(ConfigurationError, match=message):
        measured(seeded(Fusion), passed)


def test_an_example_that_is_pinned_and_lacks_a_modality_is_named():
    found = measured(seeded(Fusion), by_row("nan"), pin=[LACKING[1], 1, 1000])
    notes = found.pop_notes()
    assert f"pin=[{LACKING[1]}]: not explained, since a modality is missing" in notes
    assert "pin=[1000]: the validation set has no such example" in notes
    assert 1 in found.positions


def test_labels_of_incomplete_examples_keep_their_class():
    """Strings are numbered in the order of all labels: a class that only incomplete examples have keeps its number."""
    names = ["a" if row in LACKING else "bc"[row % 2] for row in range(COUNT)]

    def batch(rows: Sequence[int]) -> Examples:
        whole = nan(part(data(), rows), rows)
        return whole | {"label": [names[row] for row in rows]}

    found = measured(seeded(Fusion), [(batch(rows), rows) for rows in cut(range(COUNT))])
    assert found.probe.label_names == ["a", "b", "c"]
    assert found.probe.target.tolist() == [1 + position % 2 for position in found.positions]


def test_three_modalities_are_scored_by_every_pattern_of_the_data():
    module = seeded(Sum)
    lacks = {"text": lambda row: row % 4 == 0, "audio": lambda row: row % 3 == 0}

    def batch(rows: Sequence[int]) -> Examples:
        examples = part(data() | {"audio": floats(COUNT, 2, seed=3)}, rows)
        masks = {name: torch.tensor([gone(row) for row in rows])[:, None] for name, gone in lacks.items()}
        return examples | {name: examples[name].masked_fill(gone, NAN) for name, gone in masks.items()}

    modalities = {name: name for name in ("image", "text", "audio")}
    passed = [batch(rows) for rows in cut(range(COUNT))]
    options = {"target": "label", "task": "multiclass", "num_examples": 24, "group_size": 12, "absence": True}
    report = explain(module, passed, modalities=modalities, predict=call_forward, **options)
    counted = {one.words: one.examples for one in report.patterns}
    expected = {"image + text + audio": 24, "image + text": 12, "image + audio": 8, "image only": 4, "text + audio": 0}
    assert counted == expected
    assert "48 examples have text" in report.notes.replace("36 of ", "")
    assert "32 have audio, 24 have all; shares" in report.notes
    complete = [row for row in range(COUNT) if row % 4 and row % 3]
    assert len(complete) == 24  # all of them are recombined
    everything = data() | {"audio": floats(COUNT, 2, seed=3)}
    parts = {name: net(everything[name][complete]) for name, net in module.nets.items()}
    for one in report.patterns:
        if one.present != ("text", "audio"):
            assert one.score == pytest.approx(accuracy(sum(parts[name] for name in one.present), complete))
    alone = {one.words: one.score for one in report.patterns}
    assert report.values["score_without/audio"] == alone["image + text"]
    assert report.values["score_without/text"] == alone["image + audio"]


class Sum(nn.Module):
    """``forward(batch)``: the sum of what the modalities say that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({"image": nn.Linear(4, 3), "text": nn.Linear(3, 3), "audio": nn.Linear(2, 3)})

    def forward(self, batch: Any) -> Tensor:
        said = [net(batch[name]).nan_to_num() for name, net in self.nets.items() if batch[name] is not None]
        return torch.stack(said).sum(0)


@pytest.mark.parametrize("given", [1, "text", None])
def test_absence_is_true_or_false(given):
    with pytest.raises(ConfigurationError, match=r"absence=.*: give True or False"):
        settings(absence=given)


def test_a_budget_that_is_spent_leaves_patterns_without_a_score():
    found = measured(seeded(Forgiving), by_row("nan"), absence=True, predict=call_forward, budget=2 * 144 + 30)
    run = found.run()
    assert "score_without/image" in run.values
    assert "score_without/text" not in run.values
    assert patterns(run)["image only"] == (9, None)
    assert run.rows == 2 * 144 + 24


def test_without_labels_nothing_is_compared_and_that_is_said():
    found = measured(seeded(Forgiving), by_row("nan"), absence=True, predict=call_forward, target=None)
    assert not [name for name in found.run().values if name.startswith("score")]
    assert "absence=True needs labels" in found.pop_notes()


def test_a_training_that_resumes_draws_the_same_examples_and_finds_the_same_donors():
    def found() -> Session:
        return Session(settings(absence=True, predict=call_forward))

    module, first = seeded(Forgiving), measured(seeded(Forgiving), by_row("nan"), absence=True, predict=call_forward)
    second = found()
    second.load(first.state(2**20))
    for batch, places in by_row("nan"):
        second.collect(batch, lambda _, places=places: places)
        second.dry_run(module)
    second.complete()
    assert not second.pop_renewed()
    assert second.positions == first.positions
    assert second.run().values == first.run().values


def test_examples_whose_outputs_are_nan_leave_the_absent_ones_too():
    class Broken(Forgiving):
        def forward(self, batch: Any) -> Tensor:
            found = super().forward(batch)
            image = batch["image"]
            return found if image is None else found.masked_fill(image[:, :1] == data()["image"][broken, 0], NAN)

    module = seeded(Broken)
    broken = scored_examples(measured(seeded(Forgiving), by_row("nan"), predict=call_forward))[0]
    found = measured(module, by_row("nan"), absence=True, predict=call_forward)
    run = found.run()
    assert broken not in found.positions
    rows = scored_examples(found)
    assert run.values["score_without/text"] == pytest.approx(accuracy(module.alone(data()["image"][rows]), rows))
