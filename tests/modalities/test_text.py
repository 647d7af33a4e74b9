"""Texts: words, special tokens, decoding, running text in a panel."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from mviz_lightning.batch import Modality, Segments, WordSegments
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.modalities import Text
from mviz_lightning.plotting.canvas import Canvas
from mviz_lightning.plotting.panels import PANEL
from mviz_lightning.plotting.text_wrapping import fit_words, with_ellipses, wrap_words

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "dog", "."]
UNKNOWN, END = {"unk_token": "[UNK]"}, {"eos_token": "<|end|>"}
TEXTS = "A  quick brown fox.", "", "one"


def text(ids: Any, *, mask: Any = None, **options: Any) -> Text:
    values = torch.tensor(ids) if isinstance(ids[0], list) else ids
    leaves = {"ids": values} if mask is None else {"ids": values, "mask": mask}
    return Text(Modality("ids", mask=None if mask is None else "mask", **options), leaves, "ids")


def index(modality_type: Text) -> list[Any]:
    assert isinstance(modality_type.segments, Segments)
    return modality_type.segments.index.tolist()


def masked(modality_type: Text, example: int, segment: int) -> Any:
    """Return the leaf of one example without one segment."""
    kept = torch.ones(1, modality_type.segments.count(example), dtype=torch.bool)
    kept[0, segment] = False
    return modality_type.segments.mask(
        modality_type.leaves[modality_type.segments.leaf][[example]], kept, torch.tensor([example])
    )[0].tolist()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A real one, built without any network."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(WORDPIECE)}
    made = Tokenizer(models.WordPiece(vocabulary, **UNKNOWN))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    names = {"pad_token": "[PAD]", "mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **UNKNOWN, **names)


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """A tokenizer whose tokens are bytes: "é" is two of them."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"caf": 0, "Ã": 1, "©": 2, "Ġau": 3, "Ġlait": 4, "<|end|>": 5}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, **END)


def test_subwords_are_one_word_and_special_tokens_and_padding_are_none(tokenizer: Any) -> None:
    modality_type = text([[2, 5, 6, 7, 1, 3, 0], [2, 7, 3, 0, 0, 0, 0]], decode=tokenizer)

    assert index(modality_type) == [[-1, 0, 0, 1, 2, -1, -1], [-1, 0, -1, -1, -1, -1, -1]]
    assert modality_type.names(0) == ["playing", "dog", "[UNK]"]
    assert modality_type.names(0, inputs=False) == ["word 1", "word 2", "word 3"]
    assert [modality_type.segments.count(example) for example in (0, 1)] == [3, 1]


def test_bytes_read_as_letters(byte_level: Any) -> None:
    modality_type = text([[0, 1, 2, 3, 4, 5]], decode=byte_level)

    assert index(modality_type) == [[0, 0, 0, 1, 2, -1]]
    assert modality_type.names(0) == ["café", "au", "lait"]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["play", "##ing", "dog"], ["playing", "dog"]),
        (["▁play", "ing", "▁dog"], ["playing", "dog"]),
        (["play", "ing", "Ġdog"], ["playing", "dog"]),
        (["play", "ing</w>", "dog</w>"], ["playing", "dog"]),
        ([" play", "ing", " dog"], ["playing", "dog"]),
        (["play", "ing", "dog"], ["play", "ing", "dog"]),
    ],
)
def test_every_style_of_subwords_is_joined(tokens: list[str], words: list[str]) -> None:
    assert text([[0, 1, 2]], decode=tokens).names(0) == words


@pytest.mark.parametrize(
    "decode",
    [
        WORDPIECE,
        dict(enumerate(WORDPIECE)),
        {token: number for number, token in enumerate(WORDPIECE)},
        lambda ids: [WORDPIECE[number] for number in ids],
        "tests_decode.words",
    ],
)
def test_decode_may_be_given_in_many_ways(decode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    module = ModuleType("tests_decode")
    module.words = WORDPIECE  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_decode", module)

    assert text([[5, 6, 7]], decode=decode).names(0) == ["playing", "dog"]


def test_a_tokenizer_of_the_package_tokenizers_is_understood(tokenizer: Any) -> None:
    assert text([[5, 6, 7]], decode=tokenizer.backend_tokenizer).names(0) == ["playing", "dog"]


@pytest.mark.parametrize(
    ("decode", "options"),
    [
        (
            lambda ids: 1 / 0,
            r"raised ZeroDivisionError: division by zero; it must return a list of 3 strings for 3 ids",
        ),
        (lambda ids: ["a"], r"returned 1 tokens; it must return a list of 3 strings"),
        (lambda ids: "abc", r"returned a str that is not a list of strings"),
        (lambda ids: [1, 2, 3], r"returned a list that is not a list of strings"),
    ],
)
def test_a_decode_that_fails_warns_once_and_ids_are_shown(decode: Any, options: str) -> None:
    with pytest.warns(MonitorWarning, match=options) as caught:
        modality_type = text([[5, 6, 7]], decode=decode)

    # And what is asked later warns no more.
    assert modality_type.names(0) == ["#5", "#6", "#7"]
    assert len(caught) == 1


def test_a_vocabulary_that_is_too_short_names_what_it_knows() -> None:
    with pytest.warns(
        MonitorWarning, match=r"decode of 'ids' has no token for 1 of the 2 ids that occur, for example 9"
    ):
        assert text([[5, 9]], decode=WORDPIECE).names(0) == ["play", "#9"]


def test_without_decode_ids_are_shown_without_a_warning() -> None:
    assert text([[5, 9]]).names(0) == ["#5", "#9"]


def test_ids_below_zero_stand_for_something_else_and_are_never_masked(tokenizer: Any) -> None:
    modality_type = text([[-200, 5, 6, -200, 7]], decode=tokenizer)
    assert index(modality_type) == [[-1, 0, 0, -1, 1]]


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
def test_words_are_hidden_from_the_attention_mask(tokenizer: Any, dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1, 0]]).to(dtype)
    modality_type = text([[2, 5, 6, 7, 3, 7]], mask=mask, decode=tokenizer)

    assert modality_type.segments.leaf == "mask"
    assert masked(modality_type, 0, 0) == [1, 0, 0, 1, 1, 0]
    assert modality_type.baseline == "left out (attention mask 0)"
    assert modality_type.segments.mask(mask, torch.zeros(1, 2, dtype=torch.bool), torch.tensor([0])).dtype == dtype


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (2, 3, 1), (2, 3, 3)])
def test_masks_of_other_shapes_hide_words_from_all_queries(shape: tuple[int, ...]) -> None:
    modality_type = text([[5, 7, 9], [5, 7, 9]], mask=torch.ones(shape))

    assert modality_type.segments.leaf == "mask"
    hidden = torch.tensor(masked(modality_type, 1, 1))
    assert hidden.shape == shape[1:]
    assert torch.equal(hidden.flatten() == 0, torch.tensor([False, True, False]).repeat(hidden.numel() // 3))


def test_a_baseline_that_is_an_id_replaces_the_ids(tokenizer: Any) -> None:
    modality_type = text([[2, 5, 6, 7, 3]], mask=torch.ones(1, 5), decode=tokenizer, baseline=4)

    assert masked(modality_type, 0, 0) == [2, 4, 4, 7, 3]
    assert modality_type.baseline == "token 4 ([MASK])"


@pytest.mark.parametrize(("options", "becomes"), [({}, 0), ({"pad_value": 8}, 8), ({"baseline": "zero"}, 0)])
def test_without_a_mask_ids_are_replaced_by_padding(options: Any, becomes: int) -> None:
    modality_type = text([[5, 7]], **options)
    assert masked(modality_type, 0, 1) == [5, becomes]
    assert modality_type.baseline == f"token {becomes}"


def test_special_ids_that_the_user_names_are_the_only_ones(tokenizer: Any) -> None:
    assert index(text([[2, 5, 7, 3]], decode=tokenizer, special_ids=[7])) == [[0, 1, -1, 2]]


def test_padding_is_known_by_its_value_where_there_is_no_mask() -> None:
    assert index(text([[5, 7, 8, 8]], pad_value=8)) == [[0, 1, -1, -1]]


def test_many_words_are_joined_to_runs() -> None:
    modality_type = text([list(range(1, 101))], max_segments=7)

    segments = torch.tensor(index(modality_type)[0])
    assert segments.diff().unique().tolist() == [0, 1]
    assert segments.bincount().tolist() == [15, 14, 14, 15, 14, 14, 14]
    assert modality_type.names(0, inputs=False)[:2] == ["words 1-15", "words 16-29"]
    assert modality_type.names(0)[0].split() == [f"#{number}" for number in range(1, 16)]


def test_strings_lose_their_words() -> None:
    modality_type = text(list(TEXTS))

    assert isinstance(modality_type.segments, WordSegments)
    assert [modality_type.segments.count(example) for example in range(3)] == [4, 0, 1]
    kept = torch.tensor([[True, False, True, True], [True] * 4, [False] * 4])
    assert modality_type.segments.mask(list(TEXTS), kept, torch.arange(3)) == ["A brown fox.", "", ""]
    assert modality_type.names(0) == ["A", "quick", "brown", "fox."]
    assert modality_type.baseline == "left out"


def test_neighbouring_words_of_long_strings_are_joined() -> None:
    modality_type = text(["a b c d e"], max_segments=2)
    assert modality_type.names(0) == ["a b c", "d e"]
    assert modality_type.names(0, inputs=False) == ["words 1-3", "words 4-5"]


@pytest.mark.parametrize("ids", [[[0, 0]], [[2, 3]]])
def test_a_text_without_words_has_no_segments(tokenizer: Any, ids: Any) -> None:
    modality_type = text(ids, decode=tokenizer)
    assert modality_type.segments.count(0) == 0
    assert modality_type.names(0) == []


@pytest.mark.parametrize(
    ("values", "options", "error"),
    [
        (
            torch.zeros(2, 3),
            {},
            r"kind='text' of 'ids': expected \(N, T\) token ids or a list of strings; found \(2, 3\)",
        ),
        (["a b"], {"baseline": 3}, r"baseline=3 of 'ids': masked words of strings are left out"),
        (torch.ones(1, 2).long(), {"baseline": "mean"}, r"baseline='mean' of 'ids': give 'zero' or the id of a token"),
        (
            torch.ones(1, 2).long(),
            {"decode": "no.such.thing"},
            r"decode='no.such.thing' of 'ids': No module named 'no'",
        ),
        (torch.ones(1, 2).long(), {"decode": 3}, r"decode=3\): give a tokenizer, a function from ids"),
        (torch.ones(1, 2).long(), {"decode": ...}, r"^decode of 'ids' is still `...`: put your tokenizer there.$"),
    ],
)
def test_what_is_no_text_is_refused(values: Tensor, options: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        text(values, **options)


def test_lines_are_full_and_never_longer_than_the_panel() -> None:
    placed = wrap_words([(word, 0) for word in ["aa", "bb", "cc", "incomprehensible", "d"]], 8)
    assert [(word.line, word.column, word.word) for word in placed] == [
        (0, 0, "aa"), (0, 3, "bb"), (0, 6, "cc"), (1, 0, "incompre"), (2, 0, "hensible"), (3, 0, "d"),
    ]  # fmt: skip


def test_what_does_not_fit_is_dots_and_the_most_important_stays() -> None:
    pieces = [(word, segment) for segment, word in enumerate(["aaa", "bbb", "ccc", "ddd", "eee"])]

    assert with_ellipses(pieces, {0, 3}) == [("aaa", 0), ("…", -1), ("ddd", 3), ("…", -1)]
    shown = [word.word for word in fit_words(pieces, 9, 1, order=[3, 0, 1, 2, 4])]
    assert shown == ["…", "ddd", "…"]
    assert [word.word for word in fit_words(pieces, 9, 3, order=[0, 1, 2, 3, 4])] == ["aaa", "bbb", "ccc", "ddd", "eee"]


def test_the_panel_grows_with_the_text_within_limits() -> None:
    heights = [text([" ".join(["word"] * count)]).aspect(0) for count in (0, 20, 40, 500)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0.35, 1.6)


@pytest.mark.parametrize("count", [1, 3, 6, 12])
def test_the_panel_has_room_for_all_words(count: int) -> None:
    words = [f"{'word' * (1 + place % 3)}{place}" for place in range(count)]
    kind, canvas = text([" ".join(words)]), Canvas(3.0)
    axes = canvas.panel(0.1, 0.1, PANEL, PANEL * kind.aspect(0))
    kind.draw(axes, 0)
    assert [word for line in axes.texts for word in line.get_text().split()] == words


def test_a_usual_text_warns_of_nothing(tokenizer: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text([[2, 5, 6, 7, 3, 0]], decode=tokenizer).names(0)
