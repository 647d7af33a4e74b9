"""What units of two modalities add together, on models whose interactions are known."""

from collections.abc import Callable
from copy import deepcopy
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import floats, integers, probe_of, seeded
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.font_manager import FontProperties
from reference import interactions as slow
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mviz_lightning import ConfigurationError, Modality, explain
from mviz_lightning.explainers import CrossModalInteraction
from mviz_lightning.explainers.cross_modal_interaction.result import CrossModalResult, PairInteraction
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.functional.interactions import mixed_differences, pair_masks
from mviz_lightning.modalities.of_probe import modality_types_of
from mviz_lightning.plotting.canvas import DPI, Canvas
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.plotting.panels import GAP, PANEL
from mviz_lightning.plotting.text_rendering import font
from mviz_lightning.sinks.records import Picture, Table

COUNT = 64
X, Y, TOKENS = floats(COUNT, 4), floats(COUNT, 3, seed=1), integers(9, COUNT, 5, seed=2) + 1
WORDS = ["<pad>", *"abcdefghij"]
ZERO = {"image": Modality("x", kind="tabular", baseline=0.0), "text": Modality("y", kind="tabular", baseline=0.0)}
METHODS = ("difference", "second_order")


def batch() -> dict[str, Tensor]:
    return {"x": X, "y": Y, "label": integers(2, COUNT)}


class Bilinear(nn.Module):
    """``x W_c y`` beside what each adds alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.alone = nn.Parameter(floats(2, 4, 3, seed=5)), nn.Linear(7, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("ru,cuv,rv->rc", x, self.weight, y) + self.alone(torch.cat([x, y], 1))


class Smooth(nn.Module):
    def __init__(self, width: int = 4, *, relu: bool = False) -> None:
        super().__init__()
        bend = nn.ReLU() if relu else nn.Tanh()
        self.net = nn.Sequential(nn.Linear(width + 3, 16), bend, nn.Linear(16, 2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([x, y], 1))


def found(module: nn.Module, given: Any = None, modalities: Any = None, **options: Any) -> CrossModalResult:
    explainer = CrossModalInteraction(**{"num_examples": 3, **options})
    report = explain(module, [given or batch()], modalities=modalities or ZERO, target="label", explainers=[explainer])
    result = report.results[explainer.name]
    assert isinstance(result, CrossModalResult)
    return result


def pairs_of(result: CrossModalResult) -> list[tuple[int, int, PairInteraction]]:
    """Return example, output and what acts together on it."""
    return [
        (one.example, output.output, pair) for one in result.examples for output in one.outputs for pair in output.pairs
    ]


# -- The mathematics ---------------------------------------------------------------------------------------------------


CORNERS = (1, 2, 4)


@given(st.integers(1, 5), st.integers(1, 4), st.sampled_from(CORNERS), st.integers(0, 100))
def test_mixed_differences_are_those_of_one_pair_at_a_time(first: int, second: int, corners: Any, seed: int) -> None:
    game = Game(first, second, seed)
    expected = slow.mixed_difference(game.play, first, second, corners)
    np.testing.assert_allclose(game.found(corners), expected, atol=1e-12)


class Game:
    """A function of what stays of two modalities: the Moebius transform of random numbers.

    Args:
        first: Units of the first modality.
        second: Units of the second modality.
        seed: Of the numbers.
        allowed: Tells, by how many units it holds of each modality, which terms there are.
    """

    def __init__(
        self, first: int, second: int, seed: int, allowed: Callable[[int, int], bool] = lambda one, other: True
    ) -> None:
        self.first, self.second = first, second
        terms = [
            set(units) for size in range(first + second + 1) for units in combinations(range(first + second), size)
        ]
        weights = floats(len(terms), seed=seed).tolist()
        kept = [allowed(sum(k < first for k in units), sum(k >= first for k in units)) for units in terms]
        self.terms = [(units, weight) for units, weight, keep in zip(terms, weights, kept, strict=True) if keep]

    def play(self, one: set[int], other: set[int]) -> float:
        present = one | {self.first + v for v in other}
        return sum(weight for units, weight in self.terms if units <= present)

    def found(self, corners: Any) -> np.ndarray:
        rows = zip(*pair_masks(self.first, self.second, corners), strict=True)
        values = [self.play(*({k for k, stays in enumerate(mask.tolist()) if stays} for mask in row)) for row in rows]
        outputs = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
        return mixed_differences(outputs, self.first, self.second, corners)[..., 0].numpy()

    def exact(self) -> np.ndarray:
        return slow.shapley_interaction_index(self.play, self.first, self.second)


ORDERS: dict[str, tuple[Callable[[int, int], bool], set[int]]] = {
    "two units": (lambda one, other: one + other <= 2, {1, 2, 4}),
    "three units": (lambda one, other: one + other <= 3, {2, 4}),
    "two units of each modality": (lambda one, other: one <= 2 and other <= 2, {4}),
    "any": (lambda one, other: True, set()),
}
"""Which interactions a game has -> with how many corners the Shapley interaction index is exact."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("corners", CORNERS)
def test_of_games_of_low_order_corners_give_the_shapley_interaction_index(corners: int, order: str) -> None:
    allowed, right = ORDERS[order]
    games = [Game(4, 3, seed, allowed) for seed in range(3)]
    off = [np.abs(game.found(corners) - game.exact()).max() for game in games]
    assert max(off) < 1e-12 if corners in right else min(off) > 0.1


def test_the_slow_shapley_interaction_index_is_that_of_shapiq() -> None:
    shapiq = pytest.importorskip("shapiq", exc_type=ImportError)
    game = Game(3, 4, seed=1)

    def play(present: np.ndarray) -> np.ndarray:
        return np.array([game.play({*np.flatnonzero(row[:3])}, {*np.flatnonzero(row[3:])}) for row in present])

    theirs = shapiq.ExactComputer(play, n_players=7)("SII", order=2)
    expected = np.array([[theirs[u, 3 + v] for v in range(4)] for u in range(3)])
    np.testing.assert_allclose(game.exact(), expected, atol=1e-10)
    assert np.abs(expected).max() > 1


@pytest.mark.parametrize(
    "options", [{"method": "second_order"}, *({"corners": corners} for corners in CORNERS)], ids=str
)
def test_of_a_bilinear_model_all_methods_find_its_weights(options: dict[str, Any]) -> None:
    module, method = seeded(Bilinear), options.get("method", "difference")
    for example, output, pair in pairs_of(found(module, outputs=[0, 1], **options)):
        expected = X[example, :, None] * module.weight[output].detach() * Y[example]
        torch.testing.assert_close(pair.weights.float(), expected, rtol=1e-4, atol=1e-5)
        assert (pair.method, pair.reason) == (method, "")


def test_second_derivatives_are_the_maps_of_multiviz_but_for_the_sign_of_the_importance() -> None:
    module = seeded(Smooth)
    for example, output, pair in pairs_of(found(module, method="second_order")):
        for name, (own, other) in {"image": (X, Y), "text": (Y, X)}.items():

            def logit(a: Tensor, b: Tensor, output: int = output, *, swap: bool = name == "text") -> Tensor:
                first, second = (b, a) if swap else (a, b)
                return module(first.unsqueeze(0), second.unsqueeze(0))[0, output]

            segments = [[e] for e in range(own.shape[1])]
            maps, signs = slow.multiviz(logit, own[example], other[example], segments)
            np.testing.assert_allclose(pair.of(name).numpy(), maps * signs[:, None], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("options", [{}, *({"corners": corners} for corners in CORNERS)], ids=str)
def test_differences_are_those_of_the_model_asked_one_row_at_a_time(options: dict[str, Any]) -> None:
    module, corners = seeded(Smooth), options.get("corners", 2)
    for example, output, pair in pairs_of(found(module, outputs=[1], **options)):

        def play(one: set[int], other: set[int], example: int = example, output: int = output) -> float:
            kept = [torch.tensor([float(k in part) for k in range(n)]) for part, n in ((one, 4), (other, 3))]
            with torch.no_grad():
                return float(module((X[example] * kept[0])[None], (Y[example] * kept[1])[None])[0, output])

        np.testing.assert_allclose(pair.weights.numpy(), slow.mixed_difference(play, 4, 3, corners), atol=1e-5)
        assert pair.corners == corners


class Additive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), nn.Linear(3, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.one(x) + self.other(y)


@pytest.mark.parametrize("method", METHODS)
def test_of_an_additive_model_nothing_acts_together(method: str) -> None:
    result = found(seeded(Additive), method=method)
    assert result.values == {"total/image+text": pytest.approx(0, abs=1e-5)}
    for _, _, pair in pairs_of(result):
        assert float(pair.weights.abs().max()) < 1e-6


def test_a_network_of_straight_pieces_is_found_out_and_differences_are_taken() -> None:
    module = seeded(lambda: Smooth(relu=True))
    bent, straight = found(module, method="difference"), found(module, method="second_order")
    for (*_, expected), (*_, pair) in zip(pairs_of(bent), pairs_of(straight), strict=True):
        assert pair.method == "difference"
        assert "piecewise linear (ReLU)" in pair.reason
        assert float(pair.weights.abs().max()) > 1e-3
        torch.testing.assert_close(pair.weights, expected.weights, atol=1e-5, rtol=1e-4)


# -- Architectures -----------------------------------------------------------------------------------------------------


class Attending(nn.Module):
    """Tokens that attend to patches, by one of several ways to write attention."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.words, self.patches = how, nn.Embedding(len(WORDS), 8), nn.Linear(4, 8)
        if how == "mha":
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        elif how in ("lstm", "gru"):
            self.reads = (nn.LSTM if how == "lstm" else nn.GRU)(16, 8, batch_first=True)
        elif how == "encoder":
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 2)

    def forward(self, series: Tensor, tokens: Tensor) -> Tensor:
        words, patches = self.words(tokens), self.patches(series)
        if self.how == "sdpa":
            met = scaled_dot_product_attention(words, patches, patches)
        elif self.how == "mha":
            met = self.attention(words, patches, patches, need_weights=False)[0]
        elif self.how == "encoder":
            met = self.layer(torch.cat([words, patches], 1))
        else:
            met = self.reads(torch.cat([words, patches[:, :5]], 2))[0]
        return self.head(met.mean(1))


SEQUENCES = {"series": floats(COUNT, 6, 4, seed=3), "tokens": TOKENS, "label": integers(2, COUNT)}
READ = {
    "series": Modality("series", max_segments=3, baseline=0.0),
    "text": Modality("tokens", decode=WORDS, pad_value=0),
}


@pytest.mark.long
@pytest.mark.parametrize("how", ["sdpa", "mha", "encoder", "lstm", "gru"])
def test_attention_and_recurrent_layers_can_be_derived_twice(how: str) -> None:
    module = seeded(lambda: Attending(how))
    for example, output, pair in pairs_of(found(module, SEQUENCES, READ, method="second_order", num_examples=2)):
        assert (pair.method, pair.reason) == ("second_order", "")
        expected = _by_steps(module, SEQUENCES["series"][[example]], TOKENS[[example]], output, pair.weights.shape)
        torch.testing.assert_close(pair.weights.float(), expected, rtol=0.02, atol=2e-4)


def _by_steps(module: Attending, series: Tensor, tokens: Tensor, output: int, shape: torch.Size) -> Tensor:
    """Return mixed second differences of small steps, in float64: nothing is derived."""
    exact = deepcopy(module).double().eval()
    own, empty = exact.words(tokens).detach(), exact.words(torch.zeros_like(tokens)).detach()
    blocks, step = torch.arange(6) * shape[0] // 6, 1e-3

    def play(u: int, v: int, a: float, b: float) -> float:
        scale = 1 - b * (torch.arange(5) == v).double().unsqueeze(1)
        exact.words = nn.Module()
        exact.words.forward = lambda _: empty + scale * (own - empty)
        scaled = series.double() * (1 - a * (blocks == u).double().unsqueeze(1))
        return float(exact(scaled, tokens)[0, output].detach())

    corners = [(step, step, 1), (-step, step, -1), (step, -step, -1), (-step, -step, 1)]
    return torch.tensor(
        [
            [sum(sign * play(u, v, a, b) for a, b, sign in corners) / (4 * step**2) for v in range(shape[1])]
            for u in range(shape[0])
        ]
    )


def test_a_layer_that_looks_up_two_modalities_is_derived_by_each_alone() -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.weight = nn.Embedding(len(WORDS), 4), nn.Parameter(floats(2, 4, 4, seed=7))

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.einsum("ra,cab,rb->rc", self.words(first).sum(1), self.weight, self.words(second).sum(1))

    texts = {"first": TOKENS, "second": integers(9, COUNT, 3, seed=8) + 1, "label": integers(2, COUNT)}
    read = {name: Modality(name, decode=WORDS, pad_value=0) for name in ("first", "second")}
    module = seeded(Siamese)
    embedded = module.words.weight.detach()
    for example, output, pair in pairs_of(found(module, texts, read, method="second_order")):
        first, second = (embedded[texts[name][example]] - embedded[0] for name in ("first", "second"))
        expected = first @ module.weight[output].detach() @ second.T
        torch.testing.assert_close(pair.weights.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_under_autocast_second_derivatives_are_those_of_the_full_precision_nearly() -> None:
    class Autocast(Smooth):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x, y).float()

    half, full = (pairs_of(found(seeded(kind), method="second_order")) for kind in (Autocast, Smooth))
    for (*_, rough), (*_, exact) in zip(half, full, strict=True):
        assert rough.method == "second_order"
        torch.testing.assert_close(rough.weights, exact.weights, atol=0.05 * float(exact.weights.abs().max()), rtol=0.2)


# -- What cannot be derived, and what is wrong -------------------------------------------------------------------------


def test_strings_are_masked_instead_and_so_is_what_is_detached() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor, text: list[str]) -> Tensor:
            count = torch.tensor([float(len(words.split())) for words in text]).unsqueeze(1)
            return torch.cat([x[:, :1] * count, x[:, 1:2]], 1)

    given = {"x": X, "text": ["one two three"] * COUNT, "label": integers(2, COUNT)}
    read = {"image": ZERO["image"], "text": "text"}
    for example, _, pair in pairs_of(found(Reads(), given, read, method="second_order", outputs=[0])):
        assert (pair.method, pair.reason) == ("difference", "strings have no derivatives")
        expected = X[example, :, None] * torch.tensor([[1.0], [0], [0], [0]]).expand(4, 3)
        torch.testing.assert_close(pair.weights.float(), expected, atol=1e-5, rtol=1e-4)

    class Detached(Smooth):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return super().forward(x.detach(), y)

    for *_, pair in pairs_of(found(seeded(Detached), method="second_order")):
        assert pair.method == "difference"
        assert "reaches one of the two modalities" in pair.reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": -1}, r"num_examples=-1\): give 0 or more"),
        ({"every_n_validations": 0}, "every_n_validations=0"),
        ({"top_segments": 0}, "top_segments=0"),
        ({"method": "gradient"}, "method='gradient'\\): choose one of difference, second_order"),
        ({"corners": 3}, r"corners=3\): choose one of 1, 2, 4\.$"),
        ({"outputs": []}, "outputs=\\[\\]"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CrossModalInteraction(**options)


def test_a_string_of_units_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"give a list of names or numbers, {'text': \['red'\]}"):
        CrossModalInteraction(segments={"text": "red"})


@pytest.mark.parametrize("shape", [(COUNT, 5), (COUNT, 1, 5), (COUNT, 5, 5)])
def test_second_derivatives_follow_tokens_whatever_the_axes_of_their_mask(shape: tuple[int, ...]) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.weight = nn.Embedding(len(WORDS), 5), nn.Parameter(floats(2, 4, 5, seed=9))

        def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
            kept = mask.reshape(len(mask), -1, 5).amin(1).float().unsqueeze(2)
            return torch.einsum("rx,cxd,rd->rc", x, self.weight, (self.words(tokens) * kept).sum(1))

    given = {"x": X, "tokens": TOKENS, "mask": torch.ones(shape, dtype=torch.long), "label": integers(2, COUNT)}
    read = {"image": ZERO["image"], "text": Modality("tokens", mask="mask", decode=WORDS)}
    module = seeded(Masked)
    for example, output, pair in pairs_of(found(module, given, read, method="second_order")):
        own = module.words.weight.detach()[TOKENS[example]]
        expected = X[example, :, None] * (module.weight[output].detach() @ own.T)
        assert pair.method == "second_order"
        torch.testing.assert_close(pair.weights.float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_text_without_words_is_drawn_without_parts(method: str) -> None:
    tokens = TOKENS.clone()
    tokens[:] = 0
    pictures, table = drawn(seeded(lambda: Attending("sdpa")), {**SEQUENCES, "tokens": tokens}, READ, method=method)
    assert len(pictures) == 1
    assert table.rows[0][-1] == ""


def test_rounding_of_half_precision_is_no_interplay() -> None:
    class Half(Additive):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return super().forward(x, y).bfloat16()

    result = found(seeded(Half))
    assert not any(pair.has_effect for *_, pair in pairs_of(result))
    assert any(pair.weights.any() for *_, pair in pairs_of(result))
    assert result.values == {"total/image+text": 0.0}


def test_outputs_and_modalities_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="the model has 2 outputs; 2 is out of range; allowed are 0 to 1"):
        found(seeded(Smooth), outputs=[2])
    with pytest.raises(ConfigurationError, match="there is no modality 'sound'; name one of image, text"):
        found(seeded(Smooth), segments={"sound": [0]})


# -- More modalities, all tasks, costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_all_pairs_of_three_modalities_are_looked_at(method: str) -> None:
    class Three(nn.Module):
        def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
            return torch.stack([(x[:, 0] * y[:, 0]) + z[:, 0] * y[:, 1], x[:, 0] * y[:, 0] * z[:, 0]], 1)

    given = {**batch(), "z": floats(COUNT, 2, seed=3)}
    read = {**ZERO, "sound": Modality("z", kind="tabular", baseline=0.0)}
    result = found(Three(), given, read, method=method, outputs=[0])
    assert list(result.values) == ["total/image+text", "total/image+sound", "total/text+sound"]
    assert result.values["total/image+sound"] == pytest.approx(0, abs=1e-5)
    examples = [one.example for one in result.examples]
    expected = float((X[examples, 0] * Y[examples, 0]).abs().mean())
    assert result.values["total/image+text"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("task", "roles"),
    [("multilabel", {"predicted", "true and predicted"}), ("regression", {"output"}), ("binary", {"output"})],
)
def test_one_output_is_explained_whatever_the_task(task: str, roles: set[str]) -> None:
    label = {"multilabel": integers(2, COUNT, 2).float(), "regression": floats(COUNT, 2), "binary": integers(2, COUNT)}

    class Model(Smooth):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return super().forward(x, y)[:, : 1 if task == "binary" else 2]

    given, explainer = {**batch(), "label": label[task]}, CrossModalInteraction()
    report = explain(seeded(Model), [given], modalities=ZERO, target="label", task=task, explainers=[explainer])
    examples = report.results["cross_modal"].examples
    assert len(examples) == 4
    assert all(len(one.outputs) == 1 and one.outputs[0].role in roles for one in examples)


def test_without_examples_nothing_is_asked() -> None:
    result = found(seeded(Smooth), num_examples=0)
    assert (result.values, result.examples) == ({}, ())


@pytest.mark.slow
def test_rows_are_those_of_the_documentation_and_a_budget_is_kept() -> None:
    def rows(**options: Any) -> int:
        settings = {"modalities": ZERO, "target": "label", "num_examples": 32, "group_size": 16}
        return explain(seeded(Smooth), [batch()], **settings, **options).rows

    alone = rows()
    for corners in CORNERS:
        asked = CrossModalInteraction(num_examples=3, corners=corners, segments={"image": [0]})
        assert rows(explainers=[asked]) - alone == 3 * corners * 5 * 4
    second = rows(explainers=[CrossModalInteraction(num_examples=3, method="second_order")]) - alone
    assert second == 3 + 3 * 3  # the masks were not needed
    assert rows(explainers=[CrossModalInteraction(num_examples=3)], budget=alone + 120) == alone + 120
    assert rows(explainers=[CrossModalInteraction(num_examples=3)], budget=alone + 119) == alone


# -- Pictures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what is written on pictures."""
    seen: list[str] = []
    write = Canvas.text

    def collect(canvas: Canvas, left: float, top: float, written: str, **style: Any) -> None:
        seen.append(written)
        write(canvas, left, top, written, **style)

    monkeypatch.setattr(Canvas, "text", collect)
    return seen


def drawn(module: nn.Module, given: Any, read: Any, **options: Any) -> tuple[list[Picture], Table]:
    """Return the pictures and the table of one example."""
    result = found(module, given, read, num_examples=1, **options)
    probe = probe_of(given, read, "label")
    *pictures, table = CrossModalInteraction().draw(
        result, DrawingContext(modality_types_of(probe), Labels("multiclass")), "epoch 3"
    )
    return pictures, table


def test_a_picture_has_the_matrix_and_a_map_for_each_of_the_top_segments(words: list[str]) -> None:
    module = seeded(lambda: Attending("sdpa"))
    (picture,), table = drawn(module, SEQUENCES, READ, method="second_order")
    assert picture.key.startswith("cross_modal/example_")
    assert picture.pixels.shape[1] == 640
    assert any(line.startswith(f"Example {table.rows[0][1]}, epoch 3: predicted class") for line in words)
    assert "parts of series by parts of text" in words
    assert "text, then its parts together with one of series" in words
    assert "series, then its parts together with one of text" in words
    assert "By second derivative" in picture.note


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "beside"),
    [
        ({"corners": 1}, "all else as it is"),
        ({}, "averaged over two contexts: all other parts of both modalities present, and all masked"),
        ({"corners": 4}, "averaged over four contexts: the other parts of each modality present or masked"),
        ({"method": "second_order"}, "all else as it is"),
    ],
)
def test_the_note_of_a_picture_says_what_else_was_present(options: dict[str, Any], beside: str) -> None:
    (picture,), _ = drawn(seeded(Bilinear), batch(), ZERO, **options)
    assert f"beyond their single effects, {beside}. Red raises" in picture.note


def test_three_modalities_have_a_picture_for_every_pair() -> None:
    given = {**batch(), "z": floats(COUNT, 2, seed=3)}
    read = {**ZERO, "sound": Modality("z", kind="tabular", baseline=0.0)}
    pictures, table = drawn(Sum(), given, read)
    ends = ["_image+text", "_image+sound", "_text+sound"]
    assert all(picture.key.endswith(end) for picture, end in zip(pictures, ends, strict=True))
    assert [row[4] for row in table.rows] == ["image, text", "image, sound", "text, sound"]


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        both = x.sum(1) + y.sum(1) + z.sum(1)
        return torch.stack([both, -both], 1)


def test_it_is_said_where_nothing_acts_together_but_by_rounding(words: list[str]) -> None:
    for *_, pair in pairs_of(found(seeded(Additive))):
        assert pair.weights.any()
        assert not pair.has_effect
    drawn(seeded(Additive), batch(), ZERO)
    assert "No part of image acts together with a part of text." in words


@pytest.mark.long
@pytest.mark.parametrize(
    ("wanted", "captions"), [(["c2"], ["c2"]), ([0, 2], ["c1", "c3"]), ([2, 1, 0], ["c1", "c2", "c3"]), (["c9"], None)]
)
def test_named_and_numbered_units_are_drawn(
    wanted: list[int | str], captions: list[str] | None, words: list[str]
) -> None:
    read = {**ZERO, "text": Modality("y", kind="tabular", baseline=0.0, feature_names=["c1", "c2", "c3"])}
    drawn(seeded(Bilinear), batch(), read, segments={"text": wanted})
    shown = [line.removeprefix("with ") for line in words if line in ("with c1", "with c2", "with c3")]
    assert len(shown) == 2 if captions is None else shown == captions


def test_names_of_units_are_drawn_whatever_they_are(words: list[str]) -> None:
    names = ["$^$", "a$\\frac$", "\u732b"]
    read = {**ZERO, "text": Modality("y", kind="tabular", baseline=0.0, feature_names=names)}
    (picture,), _ = drawn(seeded(Bilinear), batch(), read, segments={"text": [0, 1, 2]})
    assert picture.pixels.std() > 10
    assert ["with " + name in words for name in names] == [True] * 3


@pytest.mark.slow
def test_captions_of_long_names_stay_apart_and_can_be_told_apart(words: list[str]) -> None:
    names = [f"WMWMWMWM measurement of the WMWMWMWM {number} in WMWMWM" for number in range(3)]
    read = {**ZERO, "text": Modality("y", kind="tabular", baseline=0.0, feature_names=names)}
    drawn(seeded(Bilinear), batch(), read, segments={"text": [0, 1, 2]})
    captions = {line for line in words if line.startswith("with ") and "\u2026" in line}
    assert len(captions) == 3
    letters = font(FontProperties(size=8), 8 * DPI / 72)
    assert all(letters.getlength(caption) <= DPI * (PANEL + GAP) for caption in captions)


def test_pairs_of_units_are_listed_the_strongest_first() -> None:
    module = seeded(Bilinear)
    _, table = drawn(module, batch(), ZERO)
    strongest = table.rows[0][-1].split("; ")
    values = [abs(float(pair.rsplit(" ", 1)[1])) for pair in strongest]
    assert len(values) == 5
    assert values == sorted(values, reverse=True)
