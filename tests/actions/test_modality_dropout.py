"""ModalityDropout on batches of every form: what is hidden, and what stays."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch_geometric.data import Batch, Data

from mviz_lightning import ConfigurationError, Modality
from mviz_lightning.actions import Alarms, ModalityDropout
from mviz_lightning.batch import parse_modalities, tree

N = 40


@dataclass(frozen=True)
class Record:
    image: Tensor
    text: Tensor
    label: Tensor


class Pair(NamedTuple):
    inputs: Any
    label: Tensor


def alarms(modalities: Any, *silent: str) -> Alarms:
    return Alarms(SimpleNamespace(), nn.Identity(), parse_modalities(modalities), silent)


def columns(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = 1 + torch.rand(N, 3, 4, 4, generator=generator)
    return image, 1 + torch.rand(N, 5, generator=generator), torch.arange(N)


def forms() -> dict[str, tuple[Any, Any]]:
    image, text, label = columns()
    return {
        "dict": ({"image": image, "text": text, "label": label, "name": "x"}, ("image", "text")),
        "tuple": ((image, text, label), ("0", "1")),
        "nested": (Pair({"a": [image, 3], "b": text}, label), ("inputs.a.0", "inputs.b")),
        "dataclass": (Record(image, text, label), ("image", "text")),
    }


@pytest.mark.parametrize("form", forms())
def test_the_others_are_hidden_in_the_drawn_examples_and_nothing_else_changes(form):
    batch, paths = forms()[form]
    standing = alarms({"image": paths[0], "text": paths[1]}, "text")
    before = copy.deepcopy(batch)
    changed = ModalityDropout(0.5).change_batch(batch, standing, 3)
    own = {tree.path(keys): node for keys, node in tree.nodes(batch)}
    now = {tree.path(keys): node for keys, node in tree.nodes(changed)}
    then = {tree.path(keys): node for keys, node in tree.nodes(before)}
    hidden = (now[paths[0]] == 0).flatten(1).all(1)
    assert 0.2 < hidden.float().mean() < 0.8
    assert torch.equal(now[paths[0]][~hidden], own[paths[0]][~hidden])
    assert type(changed) is type(batch)
    for path, leaf in own.items():
        if isinstance(leaf, Tensor):
            assert torch.equal(leaf, then[path]), "the batch itself was changed"
            assert (now[path] is leaf) == (path != paths[0])


def test_each_example_is_drawn_with_probability_p_from_a_generator_of_its_own():
    batch, _ = forms()["tuple"]
    standing, action = alarms({"image": "0", "text": "1"}, "text"), ModalityDropout(0.3)
    state = torch.get_rng_state()
    found = [(action.change_batch(batch, standing, number)[0] == 0).flatten(1).all(1) for number in range(100)]
    assert torch.equal(state, torch.get_rng_state())
    share = torch.stack(found).float()
    assert abs(float(share.mean()) - 0.3) < 4 * (0.3 * 0.7 / share.numel()) ** 0.5
    assert float(share.mean(0).std()) < 0.1  # no example is favoured
    again = [(action.change_batch(batch, standing, number)[0] == 0).flatten(1).all(1) for number in (0, 1)]
    assert torch.equal(found[0], again[0])
    assert not torch.equal(found[0], found[1])
    other = (ModalityDropout(0.3, seed=1).change_batch(batch, standing, 0)[0] == 0).flatten(1).all(1)
    assert not torch.equal(found[0], other)


def test_all_modalities_in_alarm_leave_nothing_to_hide():
    batch, _ = forms()["tuple"]
    assert ModalityDropout(1).change_batch(batch, alarms({"image": "0", "text": "1"}, "text", "image"), 0) is batch


def test_of_three_modalities_all_that_are_in_use_are_hidden_together():
    batch = {"a": torch.ones(N, 2), "b": torch.ones(N, 2), "c": torch.ones(N, 2)}
    one = ModalityDropout(0.5).change_batch(batch, alarms(["a", "b", "c"], "b"), 0)
    assert torch.equal(one["a"], one["c"])
    assert one["b"] is batch["b"]
    two = ModalityDropout(0.5).change_batch(batch, alarms(["a", "b", "c"], "b", "c"), 0)
    assert torch.equal(two["a"], one["a"])
    assert two["c"] is batch["c"]


def hidden(leaf: Any, modality: Modality, **more: Any) -> Any:
    batch = {"x": leaf, "other": torch.ones(len(leaf), 2), **more}
    return ModalityDropout(1).change_batch(batch, alarms({"x": modality, "other": "other"}, "other"), 0)


class Tokenizer:
    pad_token_id, all_special_ids, unk_token_id = 7, [0, 7], None

    def convert_ids_to_tokens(self, ids):
        return [f"t{number}" for number in ids]


def test_words_become_the_padding_token_and_special_tokens_padding_and_mask_stay():
    ids = torch.tensor([[0, 4, 5, 6], [0, 9, 7, 7]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    modality = Modality("x", mask="mask", decode=Tokenizer())
    found = hidden(ids, modality, mask=mask)
    assert found["x"].tolist() == [[0, 7, 7, 7], [0, 7, 7, 7]]
    assert found["mask"] is mask


@pytest.mark.parametrize(
    ("leaf", "modality", "expected"),
    [
        (["a red cat", "two dogs"], Modality("x"), ["", ""]),
        (torch.tensor([3, 3, 5]), Modality("x"), [3, 3, 3]),
        (torch.tensor([[3.0, 1.0], [4.0, 2.0]]), Modality("x"), [[0, 0], [0, 0]]),
        (torch.tensor([[3.0, 1.0], [4.0, 2.0]]), Modality("x", baseline=9), [[9, 9], [9, 9]]),
        (torch.tensor([[3.0, 1.0], [5.0, 2.0]]), Modality("x", baseline="mean"), [[4, 1.5], [4, 1.5]]),
        (torch.tensor([[[3.0], [-1.0]]]), Modality("x", mask="mask"), [[[0.0], [-1.0]]]),
    ],
    ids=["strings", "categories", "zero", "given", "mean", "padding"],
)
def test_a_hidden_leaf_is_what_the_modality_says(leaf, modality, expected):
    more = {"mask": torch.tensor([[1, 0]])} if modality.mask else {}
    found = hidden(leaf, modality, **more)["x"]
    assert (found if isinstance(found, list) else found.tolist()) == expected


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"baseline": "blur"}, {"superpixels": True}], ids=str)
def test_images_of_every_type_are_hidden_whole(dtype, settings):
    image = (torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 200).to(dtype)
    found = hidden(image, Modality("x", kind="image", **settings))["x"]
    assert found.dtype == dtype
    assert (found == found[:1, :, :1, :1]).all()


def test_a_batch_without_the_leaves_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="no leaf 'image' in the batch; leaves found: 0 "):
        ModalityDropout().change_batch((torch.ones(3, 2),), alarms(["image", "text"], "text"), 0)


@pytest.mark.parametrize("p", [-0.1, 1.5, "half", float("nan"), None])
def test_impossible_probabilities_are_refused(p):
    with pytest.raises(ConfigurationError, match=r"ModalityDropout\(p=.*give a number, from 0 to 1, for example 0.5"):
        ModalityDropout(p)


def test_examples_that_lack_a_modality_keep_the_others_and_so_do_batches():
    image, text = torch.ones(6, 2), torch.tensor([[1.0, 2.0]] * 3 + [[float("nan")] * 2] * 3)
    found = ModalityDropout(1.0).change_batch({"image": image, "text": text}, alarms(["image", "text"], "text"), 0)
    assert found["image"].tolist() == [[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 3
    lacking = {"image": image, "text": None}
    assert ModalityDropout(1.0).change_batch(lacking, alarms(["image", "text"], "text"), 0) is lacking


def test_all_columns_of_a_modality_with_several_leaves_are_hidden():
    batch = {"cont": torch.rand(6, 2) + 5, "cat": torch.tensor([3, 1, 3, 2, 3, 0]), "other": torch.rand(6, 2)}
    changed = ModalityDropout(1).change_batch(batch, alarms({"x": ["cont", "cat"], "other": "other"}, "other"), 0)
    assert not changed["cont"].any()
    assert changed["cat"].tolist() == [3] * 6
    assert changed["other"] is batch["other"]


@pytest.mark.parametrize("form", ["a batch of graphs", "padded"])
def test_the_nodes_of_a_graph_are_hidden_and_its_edges_stay(form):
    nodes = [torch.rand(count, 2) + 1 for count in (3, 2, 4)]
    edges = [torch.tensor([[0, 1], [1, count - 1]]) for count in (3, 2, 4)]
    table = torch.rand(3, 2)
    if form == "padded":
        batch = {
            "x": pad_sequence(nodes, True),
            "edge_index": torch.stack(edges),
            "m": pad_sequence([x[:, 0] > 0 for x in nodes], True),
        }
        given = {"graph": Modality("x", mask="m", companions=["edge_index"]), "table": "tab"}
        batch["tab"] = table
    else:
        rows = zip(nodes, edges, table.unsqueeze(1), strict=True)
        batch = Batch.from_data_list([Data(x=x, edge_index=edge, tab=row) for x, edge, row in rows])
        given = {"graph": ["x", "edge_index"], "table": "tab"}
    before = copy.deepcopy(batch)
    changed = ModalityDropout(1).change_batch(batch, alarms(given, "table"), 0)
    assert changed["x"].shape == before["x"].shape
    assert not changed["x"].any()
    assert torch.equal(changed["edge_index"], before["edge_index"])
    assert torch.equal(changed["tab"], before["tab"])
    assert torch.equal(batch["x"], before["x"])


def test_patches_are_hidden_where_a_grid_counts_the_rows_of_each_example():
    batch = {"x": torch.rand(10, 12) + 1, "grid_thw": torch.tensor([[1, 2, 3], [1, 2, 2]]), "tab": torch.rand(2, 2)}
    given = {"image": ["x", "grid_thw"], "table": "tab"}
    changed = ModalityDropout(1).change_batch(batch, alarms(given, "table"), 0)
    assert changed["x"].tolist() == [[0.0] * 12] * 10
    assert torch.equal(changed["grid_thw"], batch["grid_thw"])
