"""From a batch to outputs without a line of the user's code, and what is said where that fails."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.batches import (
    Example,
    LateFusion,
    OnBatch,
    Pair,
    call_named,
    floats,
    learn,
    pair_batch,
    seeded,
    with_logits,
)
from helpers.calls import chosen, outputs_of, pasted, refusal
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from mviz_lightning import ConfigurationError
from mviz_lightning.engine.forward_arguments import candidate_calls
from mviz_lightning.engine.model_call import resolve_function
from mviz_lightning.engine.model_outputs import scores

# Many of these models name their parameters as they like; that this is said is tested with the trainer.
pytestmark = pytest.mark.filterwarnings("ignore:the parameters of forward have other names")

NET = seeded(LateFusion)
IMAGE, TEXT, LABELS = pair_batch(5).values()
EXPECTED = NET(IMAGE, TEXT).detach()


class Named(nn.Module):
    def forward(self, image, text):
        return NET(image, text)


class Reversed(nn.Module):
    def forward(self, text, image):
        return NET(image, text)


class KeywordOnly(nn.Module):
    def forward(self, *, image, text):
        return NET(image, text)


class PositionalOnly(nn.Module):
    def forward(self, image, text, /):
        return NET(image, text)


class OtherNames(nn.Module):
    def forward(self, x, y):
        return NET(x, y)


class Starred(nn.Module):
    def forward(self, *inputs):
        image, text = inputs
        return NET(image, text)


class WholeBatch(nn.Module):
    def forward(self, batch):
        return NET(batch["image"], batch["text"])


class WholeInputs(nn.Module):
    def forward(self, x):
        return NET(x["image"], x["text"])


class Spread(nn.Module):
    def forward(self, **inputs):
        return NET(inputs["image"], inputs["text"])


class Optional(nn.Module):
    """Hugging Face's way: everything may be left out, the loss comes with the labels."""

    def forward(self, image=None, mask=None, text=None, labels=None, return_dict=None, **kwargs):
        assert mask is None
        assert labels is None
        return with_logits(NET(image, text))


def of_pair(pair: Any) -> Tensor:
    return NET(pair["image"], pair["text"]) if isinstance(pair, dict) else NET(*pair)


class OfInputs(nn.Module):
    def forward(self, inputs):
        return of_pair(inputs)


class OfX(nn.Module):
    def forward(self, x):
        return of_pair(x)


class OfBatch(nn.Module):
    def forward(self, batch):
        return of_pair(batch)


BY_NAME = [Named, Reversed, KeywordOnly, PositionalOnly, WholeBatch, WholeInputs, Spread, OtherNames, Starred, Optional]


@pytest.mark.parametrize("kind", BY_NAME)
def test_a_dict_batch_is_passed_as_forward_wants_it(kind: type[nn.Module]) -> None:
    assert torch.equal(outputs_of(kind(), pair_batch(5), target="labels"), EXPECTED)


@pytest.mark.parametrize("kind", [Named, Reversed, KeywordOnly, WholeBatch, WholeInputs, Spread])
def test_the_call_does_not_depend_on_the_order_of_the_batch(kind: type[nn.Module]) -> None:
    batch = dict(reversed(pair_batch(5).items()))
    assert torch.equal(outputs_of(kind(), batch, target="labels"), EXPECTED)


@pytest.mark.parametrize("kind", [Named, Reversed, KeywordOnly, PositionalOnly, OtherNames, Starred, Optional])
def test_leaves_are_bound_by_the_names_of_their_modalities(kind: type[nn.Module]) -> None:
    batch = {"pixels": IMAGE, "tokens": TEXT, "y": LABELS}
    assert torch.equal(outputs_of(kind(), batch, {"image": "pixels", "text": "tokens"}), EXPECTED)


@pytest.mark.parametrize("kind", [Named, PositionalOnly, OtherNames, Starred])
@pytest.mark.parametrize("batch", [(IMAGE, TEXT, LABELS), [IMAGE, TEXT, LABELS]], ids=["tuple", "list"])
def test_leaves_of_a_tuple_are_bound_by_order(kind: type[nn.Module], batch: Any) -> None:
    assert torch.equal(outputs_of(kind(), batch, ["0", "1"], "2"), EXPECTED)


def test_order_is_that_of_the_batch_not_of_the_modalities() -> None:
    batch = (IMAGE, TEXT, LABELS)
    assert torch.equal(outputs_of(OtherNames(), batch, {"b": "1", "a": "0"}), EXPECTED)


@pytest.mark.parametrize("kind", [Named, Reversed, KeywordOnly, OtherNames])
@pytest.mark.parametrize(
    "batch", [Pair(IMAGE, TEXT, LABELS), Example(IMAGE, TEXT, LABELS)], ids=["namedtuple", "dataclass"]
)
def test_fields_are_bound_by_name(kind: type[nn.Module], batch: Any) -> None:
    assert torch.equal(outputs_of(kind(), batch, target="labels"), EXPECTED)


@pytest.mark.parametrize("kind", [Named, Reversed, OtherNames, Optional])
def test_leaves_deep_in_the_batch_are_bound_too(kind: type[nn.Module]) -> None:
    batch = {"inputs": {"image": IMAGE, "text": TEXT}, "y": LABELS}
    assert torch.equal(outputs_of(kind(), batch, ["inputs.image", "inputs.text"], "y"), EXPECTED)


@pytest.mark.parametrize(
    ("inputs", "paths"),
    [
        ({"image": IMAGE, "text": TEXT}, ["0.image", "0.text"]),
        ([IMAGE, TEXT], ["0.0", "0.1"]),
        ((IMAGE, TEXT), ["0.0", "0.1"]),
    ],
    ids=["dict", "list", "tuple"],
)
@pytest.mark.parametrize("kind", [OfInputs, OfX, OfBatch])
def test_inputs_beside_labels_are_passed_whole(inputs: Any, paths: list[str], kind: type[nn.Module]) -> None:
    assert torch.equal(outputs_of(kind(), (inputs, LABELS), paths, "1"), EXPECTED)


def test_a_list_batch_is_passed_whole() -> None:
    class OfList(nn.Module):
        def forward(self, inputs):
            return NET(inputs[0], inputs[1])

    assert torch.equal(outputs_of(OfList(), [IMAGE, TEXT, LABELS], ["0", "1"], "2"), EXPECTED)


def test_parameters_named_like_entries_get_the_whole_entry() -> None:
    class OfEntries(nn.Module):
        def forward(self, text, image):
            return NET(image["pixels"], text["ids"])

    batch = {"image": {"pixels": IMAGE, "size": LABELS}, "text": {"ids": TEXT}, "y": LABELS}
    modalities = {"image": ["image.pixels", "image.size"], "text": "text.ids"}
    assert torch.equal(outputs_of(OfEntries(), batch, modalities, "y"), EXPECTED)


def test_companions_reach_forward_by_their_own_names() -> None:
    class Masked(nn.Module):
        def forward(self, text, image, attention_mask):
            return NET(image, text * attention_mask)

    mask = torch.tensor([[1, 1, 0]] * 5)
    batch = {"text": TEXT, "attention_mask": mask, "image": IMAGE}
    found = outputs_of(Masked(), batch, {"image": "image", "text": ["text", "attention_mask"]})
    assert torch.equal(found, NET(IMAGE, TEXT * mask).detach())


def test_keyword_arguments_take_further_entries_of_the_batch() -> None:
    class Open(nn.Module):
        def forward(self, image, **kwargs):
            assert "labels" not in kwargs
            return NET(image, kwargs["text"])

    assert torch.equal(outputs_of(Open(), pair_batch(5), target="labels"), EXPECTED)


def test_labels_are_never_bound() -> None:
    class Wanting(nn.Module):
        def forward(self, image, text, labels=None):
            assert labels is None
            return NET(image, text)

    for batch, modalities, target in [
        (pair_batch(5), ("image", "text"), "labels"),
        ((IMAGE, TEXT, LABELS), ("0", "1"), "2"),
        ({"image": IMAGE, "text": TEXT, "y": LABELS}, ("image", "text"), "y"),
    ]:
        assert torch.equal(outputs_of(Wanting(), batch, modalities, target), EXPECTED)


def test_a_call_that_fails_gives_way_to_the_next() -> None:
    class Misnamed(nn.Module):
        """What it calls an image is the text of the batch."""

        def forward(self, text, image):
            if image.shape[1] != 4:
                raise ValueError("not an image")
            return NET(image, text)

    batch = {"image": TEXT, "text": IMAGE}
    assert chosen(Misnamed(), batch).description == "forward(image, text)"


def test_entries_that_forward_refuses_are_left_out_before_order_is_tried() -> None:
    class Strict(nn.Module):
        def forward(self, image=None, mask=None, text=None, **kwargs):
            if kwargs:
                raise TypeError(f"unexpected keyword arguments {list(kwargs)}")
            if text is None:
                return NET(image, mask)  # takes the text for a mask, silently
            return NET(image, text)

    call = chosen(Strict(), {"pixels": IMAGE, "tokens": TEXT, "id": LABELS}, {"image": "pixels", "text": "tokens"})
    assert call.description == "forward(image=pixels, text=tokens)"


@pytest.mark.parametrize(
    ("kind", "batch", "modalities", "description"),
    [
        (Named, pair_batch(5), ["image", "text"], "forward(image=image, text=text)"),
        (Named, {"p": IMAGE, "q": TEXT}, {"image": "p", "text": "q"}, "forward(image=p, text=q)"),
        (OtherNames, pair_batch(5), ["image", "text"], "forward(image, text)"),
        (WholeBatch, pair_batch(5), ["image", "text"], "forward(batch=batch)"),
        (WholeInputs, pair_batch(5), ["image", "text"], "forward(x=batch)"),
        (OtherNames, (IMAGE, TEXT, LABELS), ["0", "1"], "forward(0, 1)"),
    ],
)
def test_the_call_is_named(kind: type[nn.Module], batch: Any, modalities: Any, description: str) -> None:
    assert chosen(kind(), batch, modalities).description == description


def test_predict_replaces_all_other_calls() -> None:
    call = chosen(WholeBatch(), pair_batch(5), predict=lambda _, batch: batch["image"][:, :2])
    assert call.description == "predict(module, batch)"
    assert torch.equal(call.predict(None, pair_batch(5)), IMAGE[:, :2])


def test_a_function_passes_through_and_a_path_names_one() -> None:
    assert resolve_function(None) is None
    assert resolve_function(call_named) is call_named
    assert resolve_function("torch.nn.functional.relu") is nn.functional.relu
    assert resolve_function("torch.nn.functional:relu") is nn.functional.relu


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "torch.nn.no_such_function",
            r"predict='torch.nn.no_such_function' cannot be imported \(.*no_such_function.*\); give package",
        ),
        (
            "no_such_package.predict",
            r"cannot be imported \(No module named 'no_such_package'\); give package.module.function",
        ),
        ("predict", r"predict='predict' cannot be imported \(.+\); give package.module.function"),
        ("", r"predict='' cannot be imported"),
        ("torch.nn.", r"predict='torch.nn.' cannot be imported"),
        ("torch.pi", r"predict='torch.pi' is a float, not a function; give package"),
    ],
)
def test_a_path_to_no_function_is_refused(path: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_function(path)


SCORES = floats(5, 3)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (SCORES, SCORES),
        (SCORES.bfloat16(), SCORES.bfloat16()),
        (SCORES[:, 0], SCORES[:, :1]),
        (with_logits(SCORES), SCORES),
        ({"loss": SCORES.mean(), "logits": SCORES}, SCORES),
        (SequenceClassifierOutput(loss=SCORES.mean(), logits=SCORES), SCORES),
        ((SCORES, floats(5, 9)), SCORES),
        ([SCORES, "hidden"], SCORES),
        ((with_logits(SCORES[:, 1]), None), SCORES[:, 1:2]),
        (((SCORES,),), SCORES),
        (({"logits": SCORES}, 1), SCORES),
    ],
    ids=[
        "tensor",
        "bfloat16",
        "vector",
        "object",
        "dict",
        "model output",
        "tuple",
        "list",
        "nested",
        "deep",
        "tuple of dict",
    ],
)
def test_scores_are_found_in_what_models_return(outputs: Any, expected: Tensor) -> None:
    found = scores(outputs)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            None,
            r"the model returned 'NoneType'; allowed are floating-point scores \(batch, outputs\), an object",
        ),
        ({"pooled": SCORES}, r'the model returned a dict: \["pooled"\] \(5, 3\); allowed are floating-point scores'),
        ((), r"the model returned a tuple of 0; allowed"),
        (("text", SCORES), r"the model returned a tuple: \[0\] str, \[1\] \(5, 3\); allowed"),
        (SCORES.argmax(1), r"the model returned a int64 tensor of shape \(5,\); allowed"),
        (SCORES.mean(), r"the model returned a float32 tensor of shape \(\); allowed"),
        (
            SimpleNamespace(hidden=SCORES),
            r"the model returned a SimpleNamespace: \.hidden \(5, 3\); allowed .* Pass predict=, .*, to pick them",
        ),
        (with_logits(None), r"the model returned a SimpleNamespace: \.logits NoneType; allowed"),
    ],
    ids=["nothing", "dict", "empty", "text first", "integers", "loss", "object", "no logits"],
)
def test_outputs_without_scores_are_refused(outputs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        scores(outputs)


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 2, 4, 4)])
def test_scores_with_positions_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"scores of shape \(5, .*\); allowed is one row of scores per .*Pass predict=, .*, to choose a position",
    ):
        scores(floats(*shape))


class Broken(nn.Module):
    def forward(self, image, text):
        raise ValueError("no such luck")


def test_a_failure_says_what_was_tried_and_which_function_to_write() -> None:
    with pytest.raises(ConfigurationError) as caught:
        chosen(Broken(), pair_batch(5))
    message = str(caught.value)
    assert "no call of Broken returned scores. Tried:" in message
    assert "  forward(image=image, text=text): ValueError: no such luck" in message
    assert "  forward(image, text): ValueError: no such luck" in message
    assert "on a batch with the leaves image (5, 4), text (5, 3), labels (5,)." in message
    assert message.count("predict=") == 1
    assert message.endswith('predict=lambda module, batch: module(image=batch["image"], text=batch["text"]).')


def test_a_failing_predict_is_named_with_a_call_that_works() -> None:
    message = refusal(NET, pair_batch(5), predict=lambda _, batch: batch["nothing"])
    assert "Tried:\n  predict(module, batch): KeyError: 'nothing'\n" in message
    assert "A call that works is forward(image=image, text=text): leave predict= out, or pass" in message
    assert torch.equal(pasted(message)(NET, pair_batch(5)), EXPECTED)


def test_scores_that_are_none_are_a_failure_of_the_call() -> None:
    module = OnBatch(lambda _, batch: {"hidden": batch["image"]})
    message = refusal(module, pair_batch(5))
    assert torch.equal(pasted(message)(module, pair_batch(5)), IMAGE)
    assert message == (
        'the model returned a dict: ["hidden"] (5, 4). It has no entry "logits". '
        'Pass predict=lambda module, batch: module(batch)["hidden"].'
    )


class LossFirst(nn.Module):
    """A mean loss before the scores."""

    def forward(self, image, text):
        scores = NET(image, text)
        return scores.square().mean(), scores


class NoLossFirst(nn.Module):
    """Without labels there is no loss, and yet a place for it."""

    def forward(self, image, text, labels=None):
        scores = with_logits(NET(image, text))
        return None if labels is None else nn.functional.cross_entropy(scores.logits, labels), scores, floats(5, 2, 2)


class LossOfBatch(nn.Module):
    """The same; the parameter does not say that it is the batch."""

    def forward(self, b):
        return LossFirst()(b["image"], b["text"])


class LossOfWord(nn.Module):
    """The same, of one entry of the batch."""

    def forward(self, x):
        return LossFirst()(x["image"], x["text"])


BESIDE_A_LOSS = [
    (LossFirst, pair_batch(5), ("image", "text"), "[1]"),
    (LossFirst, (IMAGE, TEXT), ("0", "1"), "[1]"),
    (LossOfBatch, pair_batch(5), ("image", "text"), "[1]"),
    (LossOfWord, {"x": pair_batch(5)}, ("x.image", "x.text"), "[1]"),
    (NoLossFirst, pair_batch(5), ("image", "text"), "[1].logits"),
]


@pytest.mark.parametrize(("kind", "batch", "modalities", "place"), BESIDE_A_LOSS)
def test_the_only_scores_behind_a_loss_are_taken(kind, batch, modalities, place):
    assert chosen(kind(), batch, modalities).outputs.taken == place
    assert torch.equal(outputs_of(kind(), batch, modalities), EXPECTED)


def test_the_only_scores_behind_a_loss_in_ones_own_predict_are_taken():
    call = chosen(LossFirst(), pair_batch(5), predict=lambda module, batch: module(**call_arguments(batch)))
    assert call.outputs.taken == "[1]"


def call_arguments(batch: Any) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("image", "text")}


def test_of_several_outputs_beside_a_loss_the_first_is_proposed_as_one_of_them():
    module = OnBatch(lambda _, batch: (SCORES.mean(), EXPECTED, batch["image"]))
    message = refusal(module, pair_batch(5))
    assert message.startswith("the model returned a tuple: [0] (), [1] (5, 3), [2] (5, 4). [0] is not one row of")
    assert "If [1] is not the scores, write another place. Pass predict=" in message
    assert torch.equal(pasted(message)(module, pair_batch(5)), EXPECTED)


def test_where_nothing_returned_has_a_row_per_example_the_call_that_was_tried_is_written():
    class Summed(nn.Module):
        def forward(self, b):
            return NET(b["image"], b["text"]).sum()

    message = refusal(Summed(), pair_batch(5))
    assert "forward(b=batch): the model returned a float32 tensor of shape ()" in message
    assert message.endswith("pass predict=lambda module, batch: module(batch).")


def test_a_model_without_inputs_has_no_outputs() -> None:
    class Deaf(nn.Module):
        def forward(self):
            return SCORES

    with pytest.raises(ConfigurationError, match="no call of Deaf returned scores"):
        chosen(Deaf(), pair_batch(5))


class Headless(nn.Module):
    """Its steps call the submodule themselves; ``forward`` is torch's own, which only raises."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class HeadlessLightning(LightningModule):
    """The same; Lightning's ``forward`` hands on to torch's."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class HeadlessBase(Headless):
    """A base class of the user's own says that its forward is not written."""

    def forward(self, *inputs, **options):
        raise NotImplementedError("write forward in your subclass")


OF_LIST = OnBatch(lambda self, batch: [self.net(*batch)], net=NET)
ONLY_CHILD = [
    ({"net": NET}, pair_batch(5), ("image", "text"), "net.forward(image=image, text=text)"),
    ({"loss": nn.CrossEntropyLoss(), "net": NET}, (IMAGE, TEXT), ("0", "1"), "net.forward(0, 1)"),
    ({"near": nn.CosineSimilarity(), "net": NET}, (IMAGE, TEXT), ("0", "1"), "net.forward(0, 1)"),
    ({"0": NET}, (IMAGE, TEXT), ("0", "1"), "0.forward(0, 1)"),
    ({"net": OF_LIST}, (IMAGE, TEXT), ("0", "1"), "net.forward(batch=batch)"),
    ({"look": nn.Linear(4, 2), "net": NET}, pair_batch(5), ("image", "text"), "net.forward(image=image, text=text)"),
]


@pytest.mark.parametrize("kind", [Headless, HeadlessLightning, HeadlessBase])
@pytest.mark.parametrize(("parts", "batch", "modalities", "description"), ONLY_CHILD)
def test_of_a_module_without_forward_the_only_child_that_returns_scores_is_called(
    kind, parts, batch, modalities, description
):
    module = kind(**parts)
    call = chosen(module, batch, modalities)
    assert torch.equal(scores(call.predict(module, batch)), EXPECTED)
    assert call.remark == f"{kind.__name__} has no forward; its submodule is called: {description}"
    line = call.advice().removeprefix("pass predict=")
    assert torch.equal(scores(eval(line)(module, batch)), EXPECTED)  # noqa: S307 - it is our own


TWIN = seeded(LateFusion, 1)
TWINS = [
    (
        {"net": NET, "twin": TWIN},
        pair_batch(5),
        ("image", "text"),
        'module.net(image=batch["image"], text=batch["text"])',
    ),
    ({"0": NET, "1": TWIN}, (IMAGE, TEXT), ("0", "1"), 'module.get_submodule("0")(batch[0], batch[1])'),
    ({"net": OF_LIST, "twin": TWIN}, (IMAGE, TEXT), ("0", "1"), "module.net(batch)"),
]


@pytest.mark.parametrize("kind", [Headless, HeadlessLightning])
@pytest.mark.parametrize(("parts", "batch", "modalities", "call"), TWINS, ids=["by name", "by order", "list"])
def test_of_several_children_that_return_scores_the_first_is_proposed(kind, parts, batch, modalities, call):
    module = kind(**parts)
    message = refusal(module, batch, modalities)
    assert message.startswith(f"{kind.__name__} has no forward; its submodules are: {', '.join(parts)}. To call ")
    assert message.endswith(f"pass predict=lambda module, batch: {call}.")
    assert torch.equal(scores(pasted(message)(module, batch)), EXPECTED)
    assert chosen(module, batch, modalities, predict=pasted(message)).description == "predict(module, batch)"


@pytest.mark.parametrize("kind", [Headless, HeadlessLightning])
def test_where_no_submodule_gives_scores_alone_they_are_named(kind):
    message = refusal(kind(look=nn.Linear(4, 2), read=nn.Linear(3, 2)), pair_batch(5))
    assert message.startswith(
        f"{kind.__name__} has no forward; its submodules are: look, read. Add a method forward(self, batch) to it, or"
    )
    assert refusal(kind(), pair_batch(5)).count("its submodules are: none. Add a method forward(self, batch)") == 1


def test_a_forward_of_the_instance_counts():
    module = Headless(net=NET)
    module.forward = lambda image, text: module.net(image, text)
    assert chosen(module, pair_batch(5)).description == "forward(image=image, text=text)"


def test_a_failing_predict_of_a_module_without_forward_is_told_so_too():
    message = refusal(Headless(net=NET), pair_batch(5), predict=lambda module, batch: module(batch))
    assert message.startswith("Headless has no forward; its submodules are: net. To call net, pass predict=")
    assert torch.equal(pasted(message)(Headless(net=NET), pair_batch(5)), EXPECTED)
    message = refusal(Headless(net=NET), pair_batch(5), predict=lambda module, batch: module.net(batch["nothing"]))
    assert "Tried:\n  predict(module, batch): KeyError: 'nothing'\n" in message
    assert "Headless has no forward; its submodules are: net. To call net, pass predict=" in message


class Starring(nn.Module):
    def forward(self, *inputs, **options):
        raise ValueError("no such luck")


class Keywords(nn.Module):
    def forward(self, **options):
        raise ValueError("no such luck")


class Placed(nn.Module):
    def forward(self, image, text, /):
        raise ValueError("no such luck")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Starring, 'batch["image"], batch["text"]'),
        (Keywords, "**{name: entry for name, entry in batch.items() if name != 'labels'}"),
        (Placed, 'batch["image"], batch["text"]'),
    ],
)
def test_parameters_that_no_name_reaches_are_not_proposed_by_name(kind, arguments):
    message = refusal(kind(), pair_batch(5))
    assert message.endswith(f"predict=lambda module, batch: module({arguments}).")


def test_memory_that_runs_out_is_not_taken_for_a_wrong_call() -> None:
    def predict(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        chosen(NET, pair_batch(5), predict=predict)


def test_every_call_has_a_name_of_its_own() -> None:
    for kind in BY_NAME:
        found = [call.description for call in candidate_calls(kind(), learn(pair_batch(5)))]
        assert len(set(found)) == len(found)
