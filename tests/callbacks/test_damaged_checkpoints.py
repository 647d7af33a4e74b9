"""A damaged entry of the monitor's part of a checkpoint costs itself, and never the training that goes on."""

import copy
import math
import random
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.few import spread
from helpers.toy import Toy, loader, monitor, trainer
from torch import Tensor

from mviz_lightning import MonitorWarning, MultimodalMonitor, UnimodalCollapse
from mviz_lightning.checkpoint.saved import DamagedError
from mviz_lightning.collapse.rule import CollapseRule
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.explainers import DIME, ErrorAnalysis, MultimodalPrediction, MultimodalRepresentation
from mviz_lightning.explainers.contribution_shares.figure import share_curves

Path_ = tuple[Any, ...]


def absent(_: Any) -> Any:
    """Stand for the entry that is taken out."""
    raise KeyError


def halved(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(list(value.items())[: len(value) // 2])
    return value[: len(value) // 2] if isinstance(value, str | list | tuple) or _is_array(value) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "missing": absent,
    "nothing": lambda _: None,
    "a text": lambda _: "rubbish",
    "a number": lambda _: -7.5,
    "a tensor": lambda _: torch.zeros(2, 3),
    "a half": halved,
}


def watching(**settings: Any) -> MultimodalMonitor:
    remembering = [kind(every_n_validations=1) for kind in (ErrorAnalysis, MultimodalRepresentation)]
    methods = [DIME(num_examples=2), *remembering, MultimodalPrediction(num_examples=1)]
    return monitor(explainers=methods, **settings)


def train(folder: Path, epochs: int, state: Any = None) -> tuple[MultimodalMonitor, Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    watch, module = watching(), Toy()
    chosen = trainer(folder, watch, UnimodalCollapse("stop"), max_epochs=epochs)
    chosen.fit(module, loader(48, shuffle=True), loader(48, seed=1), ckpt_path=state)
    return watch, chosen, module.state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> dict[str, Any]:
    """Return what a training of two epochs saves."""
    folder = tmp_path_factory.mktemp("first")
    _, chosen, _ = train(folder, 2)
    chosen.save_checkpoint(folder / "whole.ckpt")
    return torch.load(folder / "whole.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def resumed(checkpoint: dict[str, Any], tmp_path_factory: Any) -> dict[str, Tensor]:
    """Return the weights of a training that went on with all of it."""
    folder = tmp_path_factory.mktemp("whole")
    torch.save(checkpoint, folder / "whole.ckpt")
    watch, _, weights = train(folder, 3, folder / "whole.ckpt")
    assert [row.epoch for row in watch.history] == [0, 1, 2]
    return weights


KEY = "MultimodalMonitor{'name': 'mviz'}"


def entries(value: Any, depth: int, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the places of all entries, the whole first; of lists the first two entries."""
    yield at
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list | tuple) else ()
    )
    for key, one in inner if len(at) < depth else ():
        yield from entries(one, depth, (*at, key))


def damaged(state: Any, at: Path_, damage: Callable[[Any], Any]) -> Any:
    """Return a state of which one entry is damaged; None where the damage would leave it as it is."""
    if not at:
        return damage(state)
    key, *rest = at
    found = copy.copy(state) if not isinstance(state, tuple) else list(state)
    try:
        found[key] = damaged(state[key], tuple(rest), damage)
    except KeyError:
        del found[key]
    return found if not isinstance(state, tuple) else tuple(found)


def resume(
    folder: Path, checkpoint: dict[str, Any], state: Any
) -> tuple[MultimodalMonitor, dict[str, Tensor], set[str]]:
    """Go on with another state of the monitor; return it, the weights and the warnings."""
    torch.save(checkpoint | {"callbacks": checkpoint["callbacks"] | {KEY: state}}, folder / "damaged.ckpt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MonitorWarning)
        watch, _, weights = train(folder, 3, folder / "damaged.ckpt")
    return watch, weights, {str(one.message) for one in caught if "took more than" not in str(one.message)}


def fuzzed(
    folder: Path,
    checkpoint: dict[str, Any],
    resumed: dict[str, Tensor],
    places: list[Path_],
    damages: Sequence[str] = tuple(DAMAGES),
) -> list[str]:
    """Return what went wrong with any of the damages of these places."""
    wrong = []
    for at in places:
        for name in damages:
            state = damaged(checkpoint["callbacks"][KEY], at, DAMAGES[name])
            try:
                watch, weights, said = resume(folder, checkpoint, state)
            except Exception as error:
                wrong.append(f"{at} {name}: {type(error).__name__}: {error}")
                continue
            if not all(torch.equal(weights[key], resumed[key]) for key in resumed):
                wrong.append(f"{at} {name}: other weights")
            if not watch.history[-1].values or len(said) > 1:
                wrong.append(f"{at} {name}: {watch.history[-1].note} {said}")
    return wrong


SHALLOW = ["history", "album", "validations", "explained", "probe"]


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("part", spread(SHALLOW, 2))
def test_a_training_goes_on_without_a_part(
    tmp_path: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor], part: str
) -> None:
    state = checkpoint["callbacks"][KEY]
    watch, weights, said = resume(tmp_path, checkpoint, state | {part: None})
    assert all(torch.equal(weights[key], resumed[key]) for key in resumed)
    assert watch.history[-1].values
    assert len(said) == 1
    assert f"or of another version and are left out: {part} (of type NoneType, not " in said.pop()
    assert len(watch.history) == (1 if part == "history" else 3)


@pytest.mark.long
@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("entry", [{"pool": 1}, {"pool": 5}, {"pool": 20}, {"positions": [-5] * 48}])
def test_examples_that_are_not_those_that_were_saved_are_drawn_anew(
    tmp_path: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor], entry: dict[str, Any]
) -> None:
    state = checkpoint["callbacks"][KEY]
    watch, weights, said = resume(tmp_path, checkpoint, state | {"probe": state["probe"] | entry})
    assert all(torch.equal(weights[key], resumed[key]) for key in resumed)
    assert said == {TOLD.format("probe (the examples are not those that were saved)")}
    assert len(watch.history) == 3
    assert watch.history[-1].values
    assert "anew" not in watch.history[-1].note  # the data are the same, and so are the examples drawn from them


TOLD = (
    "MultimodalMonitor: these parts of the checkpoint are damaged or of another version and are left out: {}. The "
    "training goes on."
)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"future": 1}, "future (unknown)"),
        ({"explained": "x"}, "explained (of type str, not dict)"),
        ([], "the state (of type list, not dict)"),
    ],
)
def test_the_warning_names_each_damage_once(checkpoint: dict[str, Any], state: Any, told: str) -> None:
    whole = checkpoint["callbacks"][KEY]
    assert loaded(whole | state if isinstance(state, dict) else state) == [TOLD.format(told)]


@pytest.mark.slow
def test_damages_end_the_training_where_the_user_wants_that(checkpoint: dict[str, Any]) -> None:
    watch = watching(on_error="raise")
    watch._phase = "fit"
    with pytest.raises(DamagedError, match=r"left out: future \(unknown\)$"):
        watch.load_state_dict(checkpoint["callbacks"][KEY] | {"future": 1})


@pytest.mark.slow
@pytest.mark.parametrize("first", range(PARTS := 8))
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_training_goes_on_whatever_is_damaged(
    tmp_path: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor], damage: str, first: int
) -> None:
    places = [at for at in entries(checkpoint["callbacks"][KEY], 2) if at]
    assert len(places) > 15
    assert fuzzed(tmp_path, checkpoint, resumed, places[first::PARTS], [damage]) == []


@pytest.mark.slow
def test_a_survey_that_fails_on_what_it_remembers_begins_anew(
    tmp_path: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor]
) -> None:
    state = copy.deepcopy(checkpoint["callbacks"][KEY])
    state["probe"]["remembered"]["representation"]["top"] = {"rubbish": None}
    state["probe"]["remembered"]["errors"]["history"] = 7
    watch, weights, said = resume(tmp_path, checkpoint, state)
    assert said == set()
    assert all(torch.equal(weights[key], resumed[key]) for key in resumed)
    assert "errors failed with the memory of earlier runs (TypeError" in watch.history[-1].note
    assert "representation failed with the memory of earlier runs" in watch.history[-1].note
    assert {"errors/spoiled", "representation/only_image"} <= watch.history[-1].values.keys()


@pytest.mark.slow
def test_any_damaged_entry_is_left_out_with_one_warning_that_names_it(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["callbacks"][KEY]
    places = list(entries(state, 4))
    assert len(places) > 60
    for number, at in enumerate(places):
        damage = list(DAMAGES.values())[number % len(DAMAGES)] if at else DAMAGES["a text"]
        said = loaded(damaged(state, at, damage))
        assert len(said) <= 1
        assert all(str(at[0] if at else "the state") in message for message in said)


@pytest.mark.slow
def test_every_damage_of_every_entry_is_borne(checkpoint: dict[str, Any]) -> None:
    for at in entries(checkpoint["callbacks"][KEY], 9):
        for damage in DAMAGES.values():
            if at or damage is not absent:
                assert len(loaded(damaged(checkpoint["callbacks"][KEY], at, damage))) <= 1


def loaded(state: Any, *, drawn: bool = False) -> list[str]:
    """Load a state as a training does that goes on, and use all that is left of it; return what was said."""
    watch = watching()
    watch._phase = "fit"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watch.load_state_dict(state)
        use(watch, drawn=drawn)
    return [str(one.message) for one in caught]


def use(watch: MultimodalMonitor, *, drawn: bool) -> None:
    """Use all that a checkpoint gave."""
    for batch in loader(48, seed=1):
        watch._run.session.collect(batch, range)
    watch._run.session.check(complete=False)
    assert str(watch.history)
    assert watch.explanation_history.moments_by_example() is not None
    CollapseRule().judge(watch.history.fitted, watch.history.score_reference or ScoreReference(), ["image", "text"])
    if drawn and watch.history.fitted:
        share_curves(watch.history.fitted, ["image", "text"])
    watch._schedule.due()
    watch._schedule.count()
    assert isinstance(watch.state_dict(), dict)


def rubbish(draw: random.Random) -> Any:
    """Return something that a checkpoint may hold, and that nothing of ours wrote."""
    deep: Any = 1
    for _ in range(50):
        deep = {"deep": [deep]}
    numbers = [0, -1, 2**70, -(2**70), 1e308, -1e-308, math.nan, math.inf, -math.inf, True, 1 + 2j]
    texts = ["", "total/image", "\x00\udcff", "é" * 10_000, b"bytes", "../../x", "=1+1", "<script>"]
    tensors = [torch.empty(0), torch.full((3, 2), math.nan), torch.zeros(2, dtype=torch.complex64), torch.tensor(7)]
    return draw.choice([*numbers, *texts, *tensors, None, [], {}, (), deep, [None] * 100, {1: {2: 3}}])


def changed(value: Any, draw: random.Random) -> Any:
    """Return an entry as a fault of a disk, another version or a hand may leave it."""
    if isinstance(value, dict) and value:
        keys = draw.sample(list(value), len(value))
        fewer, renamed = {key: value[key] for key in keys[1:]}, {f"{key}x": one for key, one in value.items()}
        more, swapped = value | {"more": rubbish(draw)}, value | {keys[0]: value[keys[-1]]}
        return draw.choice([fewer, renamed, more, swapped, dict.fromkeys(keys)])
    if isinstance(value, list | tuple) and value:
        return draw.choice([list(reversed(value)), value[1:], [*value, *value], [*value, rubbish(draw)], tuple(value)])
    if _is_array(value):
        return draw.choice([value * -3, value.flatten(), value[:0], value.half(), value.unsqueeze(0), value.tolist()])
    if isinstance(value, int | float):
        return draw.choice([-value, value + 1, value * 1e12, str(value), [value], float(value)])
    return rubbish(draw)


def mutated(state: Any, seed: int) -> Any:
    """Return a state of which one to three entries, anywhere, are others."""
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 3)):
        at = draw.choice([place for place in entries(state, 9) if place])
        state = damaged(state, at, lambda old: rubbish(draw) if draw.random() < 0.5 else changed(old, draw))
    return state


MORE = re.compile("checkpoints store numbers|the checkpoint has the modalities")
"""What is said beside the damages: what the next checkpoint is written without, and other names of modalities."""


def misread(state: Any, seeds: Sequence[int], *, drawn: bool = False) -> list[str]:
    """Return what raised, and where more than one warning was given, of mutations of a state."""
    wrong = []
    for seed in seeds:
        try:
            said = [one for one in loaded(mutated(state, seed), drawn=drawn) if not MORE.search(one)]
        except Exception as error:
            wrong.append(f"{seed}: {type(error).__name__}: {error}"[:300])
        else:
            wrong += [f"{seed}: {said}"[:300]] if len(said) > 1 else []
    return wrong


@pytest.mark.slow
def test_mutated_states_cost_at_most_one_warning(checkpoint: dict[str, Any]) -> None:
    assert misread(checkpoint["callbacks"][KEY], range(10)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_500_mutated_states_cost_at_most_one_warning(checkpoint: dict[str, Any]) -> None:
    state = checkpoint["callbacks"][KEY]
    assert misread(state, range(450)) == []
    assert misread(state, [232, *range(450, 500)], drawn=True) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("blank_pictures")
def test_a_training_goes_on_with_mutated_states(
    tmp_path: Path, checkpoint: dict[str, Any], resumed: dict[str, Tensor]
) -> None:
    for seed in range(1000, 1040):
        watch, weights, said = resume(tmp_path, checkpoint, mutated(checkpoint["callbacks"][KEY], seed))
        assert all(torch.equal(weights[key], resumed[key]) for key in resumed), seed
        assert watch.history[-1].values, seed
        assert len({one for one in said if not MORE.search(one)}) <= 1, (seed, said)
