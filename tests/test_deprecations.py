"""Old spellings of arguments, attributes and names go on working, with a warning that names the new one."""

import inspect
import pickle
import sys
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.toy import Toy
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningCLI

from mviz_lightning import ConfigurationError, Modality, MultimodalMonitor
from mviz_lightning.batch import Probe
from mviz_lightning.errors.deprecations import renamed_arguments
from mviz_lightning.explainers import CrossModalInteraction, MultimodalRepresentation
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional import draw_masks
from mviz_lightning.kinds import blocks, fill
from mviz_lightning.testing import MemorySink

RENAMED = [
    (lambda **said: Modality("x", **said), "units", "max_segments", 9),
    (CrossModalInteraction, "units", "segments", {"text": ["red"]}),
    (CrossModalInteraction, "top_units", "top_segments", 3),
    (MultimodalRepresentation, "units", "features", [4, 0]),
]

OLD_NAMES = {
    "mviz_lightning.batch": ["Layout", "Units", "WordUnits"],
    "mviz_lightning.explainers": ["Answers", "Asked", "Finding", "Method", "Subject", "Survey"],
    "mviz_lightning.kinds": ["Kind", "kind_of"],
    "mviz_lightning.functional": [
        "ALPHA", "CONSTANT", "Head", "NOTEWORTHY", "UNIMODAL", "bent", "bound_name", "classify", "copies",
        "decided", "decisions", "graded", "held_out", "kernel", "labelled", "largest", "levelled", "logits_of",
        "masked_classes", "noise_floor", "one_each", "overlap", "own", "predictions", "rounding_floor",
        "share_names", "shares", "smallest_group", "strongest", "varies",
    ],
}  # fmt: skip
"""Names that were in the ``__all__`` of a public module in the last release and are not any more."""


@pytest.mark.parametrize(("make", "old", "new", "value"), RENAMED)
def test_an_old_argument_and_its_attribute_work_and_name_the_new_one(make, old: str, new: str, value: Any) -> None:
    with pytest.warns(
        DeprecationWarning, match=rf"^\w+\({old}=\.\.\.\) is deprecated; use \w+\({new}=\.\.\.\)\.$"
    ) as said:
        made = make(**{old: value})
    assert said[0].filename == __file__
    assert made == make(**{new: value})
    assert getattr(made, new) == value
    with pytest.warns(DeprecationWarning, match=rf"^\w+\.{old} is deprecated; use \w+\.{new}\.$") as said:
        assert getattr(made, old) == value
    assert said[0].filename == __file__


@pytest.mark.parametrize(("make", "old", "new", "value"), RENAMED)
def test_old_and_new_together_are_refused(make, old: str, new: str, value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"{old}=.*, {new}=.*\): {old} is the old name of {new}; give {new} only"
    ):
        make(**{old: value, new: value})


@pytest.mark.parametrize(("make", "old", "new", "value"), RENAMED)
def test_none_for_an_old_argument_means_not_given(make, old: str, new: str, value: Any) -> None:
    assert make(**{old: None}) == make()
    assert make(**{old: None, new: value}) == make(**{new: value})


def test_an_old_argument_that_is_impossible_is_refused_as_the_new_one_is() -> None:
    with (
        pytest.warns(DeprecationWarning, match="units"),
        pytest.raises(ConfigurationError, match=r"Modality\('x', max_segments=0\)"),
    ):
        Modality("x", units=0)


def test_positional_arguments_go_where_they_went() -> None:
    given = Modality("x", "mask", ("more",), 0.0, "text", 7)
    assert (given.values, given.mask, given.kind, given.max_segments) == ("x", "mask", "text", 7)
    with pytest.raises(ConfigurationError, match=r"^Modality\(units=9, max_segments=7\): units is the old name"):
        Modality("x", "mask", ("more",), 0.0, "text", 7, units=9)
    with pytest.raises(TypeError, match="unexpected keyword argument 'unit'"):
        Modality("x", unit=9)


def test_a_modality_is_still_a_plain_value() -> None:
    given = Modality("x", max_segments=9)
    assert [field.name for field in fields(Modality)][:6] == [
        "values", "mask", "companions", "pad_value", "kind", "max_segments",
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(given)) == given == deepcopy(given)  # noqa: S301 (its own)
    assert replace(given, kind="text") == Modality("x", kind="text", max_segments=9)
    assert "units" not in repr(given)
    with pytest.warns(DeprecationWarning, match="units"):
        assert replace(Modality("x"), units=9) == given
    with pytest.raises(ConfigurationError, match=r"Modality\(units=8, max_segments=9\)"):
        replace(given, units=8)


def test_a_subclass_takes_old_arguments_too() -> None:
    class Plain(Modality):
        pass

    @renamed_arguments(units="max_segments")
    @dataclass(frozen=True)
    class Larger(Modality):
        more: int = 0

    for kind in (Plain, Larger):
        with pytest.warns(DeprecationWarning, match=rf"^{kind.__name__}\(units=\.\.\.\)"):
            assert kind("x", units=9) == kind("x", max_segments=9)
    with pytest.warns(DeprecationWarning, match="Larger"):
        assert Larger("x", units=9, more=2).more == 2


def test_an_old_argument_of_a_function_works_too() -> None:
    with pytest.warns(
        DeprecationWarning, match=r"^draw_masks\(units=\.\.\.\) is deprecated; use draw_masks\(segments="
    ) as said:
        found = draw_masks(units=3, samples=4)
    assert said[0].filename == __file__
    assert torch.equal(found, draw_masks(3, 4))
    with pytest.raises(
        ConfigurationError, match=r"^draw_masks\(units=3, segments=5\): units is the old name of segments"
    ):
        draw_masks(5, 4, units=3)
    with pytest.warns(DeprecationWarning, match=r"^blocks\(parts=\.\.\.\) is deprecated; use blocks\(count="):
        assert torch.equal(blocks(7, parts=3), blocks(7, 3))
    assert "kind" in inspect.signature(fill).parameters


@pytest.mark.parametrize(
    ("owner", "old", "new"),
    [
        (MultimodalMonitor, "album", "explanation_history"),
        (Probe, "units", "segments"),
        (Probe, "layout", "schema"),
        (MemorySink, "layouts", "dashboards"),
        (DrawingContext, "kinds", "modality_types"),
    ],
)
def test_old_attributes_are_found(owner: type, old: str, new: str) -> None:
    kept = object()
    found = owner({"image": "0", "text": "1"}) if owner is MultimodalMonitor else owner.__new__(owner)
    object.__setattr__(found, new, kept)
    with pytest.warns(
        DeprecationWarning, match=rf"^{owner.__name__}\.{old} is deprecated; use {owner.__name__}\.{new}\.$"
    ):
        assert getattr(found, old) is kept


def test_both_spellings_stand_in_the_signature() -> None:
    parameters = inspect.signature(Modality).parameters
    assert parameters["max_segments"].default == 49
    assert parameters["units"].default is None
    assert parameters["units"].kind is inspect.Parameter.KEYWORD_ONLY


def monitor(units: str, explainer: str, said: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration file's content with a modality and an explainer."""
    modality = {"class_path": "mviz_lightning.Modality", "init_args": {"values": "1", "kind": "series", units: 6}}
    found = {"class_path": f"mviz_lightning.explainers.{explainer}", "init_args": said}
    arguments = {"modalities": {"image": "0", "text": modality}, "explainers": [found]}
    callback = {"class_path": "mviz_lightning.MultimodalMonitor", "init_args": arguments}
    return {"trainer": {"callbacks": [callback], "logger": False, "accelerator": "cpu"}}


def from_yaml(folder, config: dict[str, Any]) -> tuple[Any, ArgumentParser]:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    cli = LightningCLI(Toy, args=["--config", str(folder / "config.yaml")], run=False, save_config_callback=None)
    (found,) = (one for one in cli.trainer.callbacks if type(one).__name__ == "MultimodalMonitor")
    return found.config, cli


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("CrossModalInteraction", {"units": {"text": ["red", 1]}}), {"segments": {"text": ["red", 1]}}),
        (("CrossModalInteraction", {"top_units": 3}), {"top_segments": 3}),
        (("MultimodalRepresentation", {"units": [4, 0]}), {"features": [4, 0]}),
    ],
)
def test_old_arguments_come_from_yaml_and_the_saved_file_is_read_again(tmp_path, old, new) -> None:
    name, said = old
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        config, cli = from_yaml(tmp_path, monitor("units", name, said))
    messages = {str(one.message) for one in seen if one.category is DeprecationWarning}
    assert "Modality(units=...) is deprecated; use Modality(max_segments=...)." in messages
    assert any(message.startswith(f"{name}({next(iter(said))}=...)") for message in messages)

    expected, _ = from_yaml(tmp_path, monitor("max_segments", name, new))
    assert config.modalities == expected.modalities
    assert config.modalities["text"].max_segments == 6
    assert config.explainers == expected.explainers

    (tmp_path / "saved.yaml").write_text(cli.parser.dump(cli.config, skip_none=False))
    again = LightningCLI(Toy, args=["--config", str(tmp_path / "saved.yaml")], run=False, save_config_callback=None)
    (read,) = (one for one in again.trainer.callbacks if type(one).__name__ == "MultimodalMonitor")
    assert read.config.explainers == expected.explainers


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in OLD_NAMES.items() for name in names])
def test_an_old_name_is_found_and_names_what_replaces_it(module: str, name: str) -> None:
    room = import_module(module)
    assert name not in room.__all__
    with pytest.warns(DeprecationWarning, match=rf"^{module}\.{name} is deprecated; use mviz_lightning\.") as said:
        found = getattr(room, name)
    assert said[0].filename == __file__
    new = str(said[0].message).partition("; use ")[2].removesuffix(".")
    holder, _, new_name = new.rpartition(".")
    assert vars(import_module(holder))[new_name] is found


@pytest.mark.parametrize("module", OLD_NAMES)
def test_the_table_of_old_names_is_complete_and_other_names_are_no_names(module: str) -> None:
    room = import_module(module)
    assert sorted(room.MOVED) == sorted(OLD_NAMES[module])
    with pytest.raises(AttributeError, match=f"^module '{module}' has no attribute 'Nothing'$"):
        room.Nothing  # noqa: B018
    assert not hasattr(room, "Nothing")


def own_kind() -> type:
    """The last release's README, to the letter."""
    from mviz_lightning.batch import Units
    from mviz_lightning.kinds import Kind, blocks, fill

    class Points(Kind):
        """Clouds of points, ``(N, P, 3)``; neighbours in the file are one part."""

        name = "points"

        def cut(self):
            index = blocks(self.values.shape[1], self.modality.units)
            return Units(self.path, index[None, :, None], fill(self, self.values, dims=[0, 1]))

        def draw(self, axes, example):
            axes.scatter(*self.values[example, :, :2].T, s=4, c="black")

        def paint(self, axes, example, weights, colours, *, inputs=True):
            places = self.values[example, :, :2] if inputs else self.values[:, :, :2].mean(0)
            parts = self.units.index[0, :, 0]
            axes.scatter(*places.T, s=4, c=colours.to_rgba(weights[parts]))

    return Points


def warned(act: Callable[[], Any]) -> tuple[Any, set[str]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = act()
    assert {one.category for one in seen} <= {DeprecationWarning}
    return found, {str(one.message) for one in seen}


def test_a_kind_written_for_the_last_release_works(monkeypatch) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from mviz_lightning.modalities import base

    monkeypatch.setattr(base, "REGISTRY", dict(base.REGISTRY))
    points, said = warned(own_kind)
    assert said == {
        "mviz_lightning.batch.Units is deprecated; use mviz_lightning.batch.Segments.",
        "mviz_lightning.kinds.Kind is deprecated; use mviz_lightning.kinds.ModalityType.",
    }
    cloud = torch.arange(2 * 6 * 3.0).view(2, 6, 3)
    assert base.modality_type_of(Modality("cloud", kind="points"), cloud) is points

    kind, said = warned(lambda: points(Modality("cloud", max_segments=3), {"cloud": cloud}, "cloud"))
    assert said == {"Modality.units is deprecated; use Modality.max_segments."}
    assert kind.segments.index.flatten().tolist() == [0, 0, 1, 1, 2, 2]

    axes = Figure().subplots()
    _, said = warned(lambda: kind.paint(axes, 0, np.array([1.0, -1.0, 0.0]), ScalarMappable()))
    assert said == {"Points.units is deprecated; use Points.segments."}
    assert len(axes.collections[0].get_offsets()) == 6


def test_nothing_of_the_package_uses_an_old_name(request: pytest.FixtureRequest) -> None:
    """The suite runs with warnings as errors; this one says so."""
    if request.config.getoption("pythonwarnings"):
        pytest.skip("with old versions, tests/run_with.sh filters such warnings")
    with pytest.raises(DeprecationWarning):
        Modality("x", units=3)
    assert not {name for name in sys.modules if name.startswith("mviz_lightning.kinds.")}
