"""Which heads are monitored, how they are called, and what the user says of each."""

import re
from typing import Any

import pytest
import torch
from helpers.few import spread
from helpers.heads import LABELS, MODALITIES, ThreeHeads, batch, step, three
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassF1Score

from mviz_lightning import ConfigurationError, ShareReport, explain
from mviz_lightning.engine.named_outputs import distinct_keys, name_of_keys


def found(model: nn.Module | None = None, data: Any = None, **settings: Any) -> ShareReport:
    chosen = {"modalities": MODALITIES, "step": step, "num_examples": 32, **settings}
    return explain(ThreeHeads() if model is None else model, [batch() if data is None else data], **chosen)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (("noun",), "noun"),
        (("heads", "noun"), "noun"),
        (("noun", 0), "noun"),
        ((1,), "head1"),
        ((0, 2), "head2"),
        ((), ""),
    ],
)
def test_names_are_keys_or_places(keys: tuple[Any, ...], name: str) -> None:
    assert name_of_keys(keys) == name


def test_names_are_parts_of_keys_and_differ() -> None:
    names = distinct_keys(["total", "total", "a/b c", "x", "x", "x", "été"], {"total"})
    assert names == ["total_", "total_2", "a_b_c", "x", "x2", "x3", "été"]


class Named(nn.Module):
    """Two heads of both inputs under given names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names, self.layers = names, nn.ModuleList(nn.Linear(6, 3) for _ in names)

    def forward(self, one: Tensor, two: Tensor) -> dict[str, Tensor]:
        both = torch.cat([one, two], 1)
        return {name: layer(both) for name, layer in zip(self.names, self.layers, strict=True)}


def two_labels(model: nn.Module, data: Any) -> Tensor:
    first, second = model(data["one"], data["two"]).values()
    return functional.cross_entropy(first, data["label_a"]) + functional.cross_entropy(second, data["label_b"])


@pytest.mark.long
@pytest.mark.parametrize("name", ["score", "total", "collapse", "class", "contribution", "dime", "rows", "shares"])
def test_a_name_of_a_key_of_ours_gets_a_trailing_underscore(name: str) -> None:
    from mviz_lightning.explainers import DIME

    report = found(Named("first", name), step=two_labels, explainers=[DIME(num_examples=1)])
    assert list(report.heads) == [f"{name}_"]


def test_the_line_of_the_log_lists_all_heads_main_first(caplog: pytest.LogCaptureFixture) -> None:
    found()
    (line,) = [message for message in caplog.messages if "outputs:" in message]
    assert line == (
        'MultimodalMonitor: main head c: outputs: self(batch["one"], batch["two"])["c"] -> (B, 2); '
        'target: batch["label_c"]; task: regression, from mse_loss; '
        'head a: outputs: self(batch["one"], batch["two"])["a"] -> (B, 3); '
        'target: batch["label_a"]; task: multiclass, from cross_entropy; '
        'head b: outputs: self(batch["one"], batch["two"])["b"] -> (B, 2); '
        'target: batch["label_b"]; task: multiclass, from cross_entropy'
    )


def test_one_head_has_the_line_that_it_always_had(caplog: pytest.LogCaptureFixture) -> None:
    found(Named("only"), step=lambda model, data: functional.cross_entropy(
        model(data["one"], data["two"])["only"], data["label_a"]
    ))  # fmt: skip
    (line,) = [message for message in caplog.messages if "outputs:" in message]
    assert "head" not in line


def test_heads_are_chosen_and_the_likeliest_of_them_stays_the_main_one() -> None:
    report = found(heads=["a", "c"])
    assert list(report.heads) == ["a"]
    assert report.values["interaction"] > 0.9


def test_the_first_chosen_head_is_the_main_one_where_the_likeliest_is_not_chosen() -> None:
    with pytest.warns(match="swapping 'one'"):
        report = found(heads=["b", "a"])
    assert list(report.heads) == ["a"]
    assert report.values["total/two"] == pytest.approx(1)


def test_an_unknown_head_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no head 'noun'.*\['a', 'b', 'c'\].*heads=\['a', 'b'\]"):
        found(heads=["noun"])


def test_no_head_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"heads=\[\]: give one name or more, or leave it out"):
        found(heads=[])


@pytest.mark.parametrize("argument", ["task", "target", "score", "class_names"])
def test_an_unknown_head_in_an_argument_is_refused(argument: str) -> None:
    value = {"task": "multiclass", "target": "label_a", "score": MulticlassF1Score(3), "class_names": ["x"]}[argument]
    with pytest.raises(ConfigurationError, match=rf"^{argument}=.*no head 'noun'; the heads are \['c', 'a', 'b'\]"):
        found(**{argument: {"noun": value}})


@pytest.mark.slow
def test_arguments_by_head() -> None:
    plain = found()
    report = found(
        score={"a": MulticlassF1Score(3, average="macro")}, class_names={"a": ["x", "y", "z"], "c": ["u", "v"]}
    )
    assert report.values == plain.values
    assert report.heads["b"].values == plain.heads["b"].values
    assert report.heads["a"].values["score"] != plain.heads["a"].values["score"]
    assert report.heads["a"].values["total/one"] == plain.heads["a"].values["total/one"]


def test_what_is_said_of_a_head_is_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match="task='multi': choose one of"):
        found(task={"a": "multi"})
    with pytest.raises(ConfigurationError, match="score=3: give a torchmetric"):
        found(score={"a": 3})


@pytest.mark.slow
def test_the_target_of_a_head_replaces_that_of_its_loss() -> None:
    other = batch() | {"other": (batch()["label_a"] + 1) % 3}
    plain, report = found(), found(data=other, target={"a": "other"})
    own, shifted = plain.heads["a"].values, report.heads["a"].values
    assert own["contribution/one"] == shifted["contribution/one"]
    assert own["score"] != shifted["score"]
    assert plain.values == report.values


def predict(model: nn.Module, data: Any) -> Any:
    return model(data["one"], data["two"])


@pytest.mark.slow
@pytest.mark.parametrize("form", spread(["dict", "nested", "dataclass", "tuple"], 2))
@pytest.mark.parametrize("given", [True, False])
def test_heads_of_what_a_function_or_forward_returns(form: str, given: bool) -> None:
    names = ["head0", "head1", "head2"] if form == "tuple" else ["a", "b", "c"]
    a, b, c = names
    settings = {"step": None, "target": {c: LABELS["c"], a: LABELS["a"], b: LABELS["b"]}, "task": {c: "regression"}}
    report = found(ThreeHeads(form), predict=predict if given else None, **settings)
    seen = found(ThreeHeads(form))
    assert list(report.heads) == [a, b]
    for of, expected in [(report, seen), *zip(report.heads.values(), seen.heads.values(), strict=True)]:
        assert of.values == {key: value for key, value in expected.values.items() if key != "agreement"}


def test_a_function_beside_a_step() -> None:
    report = found(predict=predict, target={"c": "label_c", "b": "label_b"}, task={"c": "regression"})
    assert list(report.heads) == ["b"]
    assert report.heads["b"].values["total/two"] == pytest.approx(1)


def test_an_unknown_head_of_a_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=re.escape("no head 'd' in what is returned; the heads are ['a', ")):
        found(step=None, predict=predict, target={"d": "label_a"})
    with pytest.raises(ConfigurationError, match=r"heads=.*no head 'b'; the heads are \['a'\]"):
        found(step=None, predict=predict, target={"a": "label_a"}, heads=["b"])


def test_heads_of_which_nothing_tells_the_main_one_are_asked_about_unless_they_are_named() -> None:
    def supervised(model: nn.Module, data: Any) -> Tensor:
        first, second = model(data["one"], data["two"]).values()
        return functional.cross_entropy(first, data["label_a"]) + functional.cross_entropy(second, data["label_a"])

    with pytest.raises(ConfigurationError, match="2 outputs are compared with the same labels"):
        found(Named("deep", "shallow"), step=supervised)
    report = found(Named("deep", "shallow"), step=supervised, heads=["shallow", "deep"])
    assert list(report.heads) == ["deep"]


def test_start_and_end_are_two_heads() -> None:
    data = batch()
    data |= {"start": data["one"].argmax(1), "end": data["two"].argmax(1)}

    def span(model: nn.Module, data: Any) -> Tensor:
        start, end = model(data["one"], data["two"]).values()
        return functional.cross_entropy(start, data["start"]) + functional.cross_entropy(end, data["end"])

    report = found(Named("start_logits", "end_logits"), data, step=span)
    assert list(report.heads) == ["end_logits"]


def test_losses_without_named_outputs_are_named_as_submodules() -> None:
    def in_the_step(model: ThreeHeads, data: Any) -> Tensor:
        u, v = model.first(data["one"]), model.second(data["two"])
        first, second = model.head_a(u * v), model.head_b(u + v)
        return functional.cross_entropy(first, data["label_a"]) + functional.cross_entropy(second, data["label_b"])

    report = found(step=in_the_step)
    assert list(report.heads) == ["head_b"]
    assert report.heads["head_b"].values["interaction"] < 1e-6 < report.values["interaction"]


def test_scores_that_no_submodule_returns_are_numbered() -> None:
    def in_the_step(model: ThreeHeads, data: Any) -> Tensor:
        both = model.first(data["one"]) * model.second(data["two"])
        first, second = both @ model.head_a.weight.T, both @ model.head_b.weight.T
        return functional.cross_entropy(first, data["label_a"]) + functional.cross_entropy(second, data["label_b"])

    assert list(found(step=in_the_step).heads) == ["head1"]


def test_scores_that_a_loss_gets_come_before_those_that_a_metric_alone_gets() -> None:
    class Watched(Named):
        def __init__(self) -> None:
            super().__init__("answer", "side")
            self.accuracy = MulticlassF1Score(3)

    def watched(model: Watched, data: Any) -> Tensor:
        answer, side = model(data["one"], data["two"]).values()
        model.accuracy.update(side, data["label_b"])
        return functional.cross_entropy(answer, data["label_a"])

    assert list(found(Watched(), step=watched).heads) == ["side"]


def test_rows_that_a_mask_picks_of_one_column_are_those_of_the_head() -> None:
    data = batch()
    value = data["label_c"][:, 0].clone()
    value[::3] = float("nan")

    class Valued(ThreeHeads):
        def forward(self, one: Tensor, two: Tensor) -> Any:
            heads = super().forward(one, two)
            return {"c": heads["c"], "size": heads["a"][:, :1]}

    def masked(model: nn.Module, data: Any) -> Tensor:
        heads, known = model(data["one"], data["two"]), ~data["value"].isnan()
        main = functional.mse_loss(heads["c"], data["label_c"])
        return main + functional.mse_loss(heads["size"][known, 0], data["value"][known])

    report = found(Valued(), data | {"value": value}, step=masked)
    assert list(report.heads) == ["size"]
    assert report.heads["size"].values["total/one"] == pytest.approx(1)


def test_unimodal_auxiliary_heads_are_heads_of_their_own() -> None:
    def auxiliary(model: ThreeHeads, data: Any) -> Tensor:
        u, v = model.first(data["one"]), model.second(data["two"])
        logits = [model.head_a(u * v), model.head_a(u), model.head_a(v)]
        return torch.stack([functional.cross_entropy(one, data["label_a"]) for one in logits]).sum()

    report = found(step=auxiliary)
    assert [of.values["total/one"] for of in report.heads.values()] == pytest.approx([1, 0])
    assert report.values["total/one"] > 0.5 < report.values["total/two"]


def test_a_tuple_with_features_beside_heads_takes_the_heads_alone() -> None:
    class Featured(ThreeHeads):
        def forward(self, one: Tensor, two: Tensor) -> Any:
            return {"features": self.first(one), **super().forward(one, two)}

    assert list(found(Featured()).heads) == ["a", "b"]
    assert three({"a": 1, "b": 2, "c": 3}) == (1, 2, 3)
