"""What the user says of the modalities."""

import pytest

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.batch import parse_modalities


def test_a_path_is_a_modality() -> None:
    parsed = parse_modalities({"image": "pixel_values", "text": "input_ids"})
    assert {name: modality.leaves for name, modality in parsed.items()} == {
        "image": ["pixel_values"],
        "text": ["input_ids"],
    }


def test_declared_order_is_kept() -> None:
    assert list(parse_modalities({"z": "0", "a": "1", "m": "2"})) == ["z", "a", "m"]


def test_a_sequence_of_paths_names_the_modalities_at_once() -> None:
    parsed = parse_modalities(["inputs.image", "text"])
    assert {name: modality.leaves for name, modality in parsed.items()} == {
        "inputs_image": ["inputs.image"],
        "text": ["text"],
    }


@pytest.mark.parametrize(
    "paths", [["input_ids", "attention_mask", "token_types"], ("input_ids", "token_types", "attention_mask")]
)
def test_of_several_leaves_the_first_holds_the_values_and_one_named_mask_is_the_mask(paths) -> None:
    text = parse_modalities({"text": paths, "image": "x"})["text"]
    assert text == Modality("input_ids", "attention_mask", ["token_types"])
    assert text.leaves == ["input_ids", "attention_mask", "token_types"]


def test_the_mask_is_told_by_the_last_part_of_its_path() -> None:
    parsed = parse_modalities({"a": ["masked.values", "masked.length"], "b": ["values", "inputs.mask"]})
    assert parsed["a"].mask is None
    assert parsed["b"].mask == "inputs.mask"


def test_a_first_leaf_that_is_named_mask_holds_the_values() -> None:
    assert parse_modalities({"a": ["face_mask", "b"], "c": "d"})["a"] == Modality("face_mask", None, ["b"])


def test_a_second_mask_travels_along() -> None:
    parsed = parse_modalities({"a": ["x", "pad_mask", "time_mask"], "b": "y"})["a"]
    assert (parsed.mask, list(parsed.companions)) == ("pad_mask", ["time_mask"])


def test_a_modality_passes_through() -> None:
    given = Modality("x", mask="y", companions=("z",), pad_value=1)
    assert parse_modalities({"a": given, "b": "c"})["a"] is given
    assert given.leaves == ["x", "y", "z"]


@pytest.mark.parametrize("modalities", [{}, {"image": "pixel_values"}, ["image"]])
def test_one_modality_is_refused(modalities) -> None:
    with pytest.raises(
        ConfigurationError, match=r"modalities=\[.*\]: contributions compare modalities, so name 2 or more"
    ):
        parse_modalities(modalities)


@pytest.mark.parametrize("modalities", ["image", None, 2])
def test_what_names_no_modalities_is_refused(modalities) -> None:
    with pytest.raises(ConfigurationError, match=rf"modalities={modalities!r}: pass a mapping from names to paths"):
        parse_modalities(modalities)


@pytest.mark.parametrize("name", ["a/b", "a b", "", "a.b", "²", "a\n", "\u200b"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"the name .* becomes part of logged keys; use letters, digits and underscores"
    ):
        parse_modalities({name: "x", "b": "y"})


def test_positions_may_be_numbers() -> None:
    parsed = parse_modalities({"a": 0, "b": [1, 2], "c": Modality(3)})  # type: ignore[arg-type]
    assert [modality.leaves for modality in parsed.values()] == [["0"], ["1", "2"], ["3"]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"values": ["a", "b"]}, r"Modality\(values=\['a', 'b'\]\): give the path of one leaf"),
        ({"values": "x", "max_segments": 0}, r"Modality\('x', max_segments=0\): give 1 or more"),
        ({"values": "x", "max_segments": "9"}, r"Modality\('x', max_segments='9'\): give a whole number, 1 or more"),
    ],
)
def test_an_impossible_modality_is_refused(settings, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Modality(**settings)


@pytest.mark.parametrize("given", ["", [], [""], ["x", None], ["x", ""], None, 1.5])
def test_a_modality_without_a_leaf_is_refused(given) -> None:
    with pytest.raises(
        ConfigurationError, match=r"modalities\['a'\]=.* names no leaf; give the path of one leaf or more"
    ):
        parse_modalities({"a": given, "b": "y"})


def test_a_leaf_in_two_modalities_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"the leaf 'x' is given twice, in 'a' and in 'b'; a leaf belongs to one"
    ):
        parse_modalities({"a": "x", "b": ["y", "x"]})


def test_a_leaf_twice_in_one_modality_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the leaf 'x' is given twice, in 'a' and in 'a'"):
        parse_modalities({"a": Modality("x", mask="x"), "b": "y"})


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'image' is given twice; name every modality once"):
        parse_modalities(["image", "text", "image"])


def test_paths_that_become_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two modalities would get the same name"):
        parse_modalities(["a.b", "a_b", "c"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"decode": ...}, "decode of 'x' is still `...`: put your tokenizer there."),
        ({"mean": ...}, "mean of 'x' is still `...`: put your value there."),
        ({"std": [0.5, ...]}, "std of 'x' is still `...`: put your value there."),
        ({"baseline": ...}, "baseline of 'x' is still `...`: put your value there."),
    ],
)
def test_a_placeholder_of_our_own_advice_is_named(options, error):
    with pytest.raises(ConfigurationError) as caught:
        Modality("x", **options)
    assert str(caught.value) == error
