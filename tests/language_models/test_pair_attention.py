"""Models whose attention takes no mask of all pairs of tokens, and models in 16 bits, are packed all the same."""

import pytest

pytest.importorskip("transformers")

import copy
from dataclasses import replace
from typing import Any

import torch
from helpers.few import spread
from language_models.families import FAMILIES
from language_models.packing import GRID, SCORES, first_tokens, forwards, own_answers, same, score_of
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import flash_attention_mask, sdpa_mask

from mviz_lightning.engine import packed_evaluation
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.packing_gate import BIDIRECTIONAL
from mviz_lightning.engine.pair_attention import other_attentions, taking_pairs


def by_padding(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any) -> Any:
    """Attend as FlashAttention does: told what is padded, ``(B, T)``, and refusing a mask of all pairs."""
    if attention_mask is not None and attention_mask.dim() != 2:
        raise ValueError("FlashAttention takes no mask of all pairs")
    length = query.shape[2]
    seen = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    seen = seen if attention_mask is None else seen & attention_mask[:, None, None].bool()
    return sdpa_attention_forward(module, query, key, value, seen, **given)


def of_all(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **given: Any) -> Any:
    """Attend to all tokens, also to those behind."""
    return sdpa_attention_forward(module, query, key, value, None, **given | {"is_causal": False})


AttentionInterface.register("by_padding", by_padding)
AttentionMaskInterface.register("by_padding", flash_attention_mask)
AttentionInterface.register("of_all", of_all)
AttentionMaskInterface.register("of_all", sdpa_mask)


def attending(evaluator: Evaluator, name: str) -> Evaluator:
    """Return an evaluator of a copy of the model that attends in another way."""
    model = copy.deepcopy(evaluator.module)
    text = getattr(model.model, "language_model", None) or model.model.text_model
    text.set_attn_implementation(name)
    language = replace(evaluator.predict.language, module=model)
    return Evaluator(model, replace(evaluator.predict, language=language))


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack the few tokens of tiny items too."""
    monkeypatch.setattr(packed_evaluation, "WORTHWHILE", 0)


@pytest.mark.parametrize("kind", spread(SCORES, 3))
def test_attention_without_masks_of_pairs_is_changed_for_packed_rows_alone(kind: Any) -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], kind)
    flash = attending(evaluator, "by_padding")
    outputs, tokens = forwards(flash.module, lambda: flash(probe, [GRID])[0])
    assert same(outputs, replace(evaluator, reuse=False)(probe, [GRID])[0])
    assert flash.packing.said
    assert max(tokens) > 30  # packed, and not only plain rows
    assert other_attentions(flash.module) == ["by_padding"]


def run_out(model: nn.Module) -> None:
    """Fail as a forward may."""
    assert not other_attentions(model)
    raise RuntimeError("out of memory")


def test_attention_is_restored_after_an_error() -> None:
    flash = attending(score_of(FAMILIES["Qwen2-VL"], first_tokens)[0], "by_padding").module
    before = copy.deepcopy([vars(child.config) for child in flash.modules() if hasattr(child, "config")])
    with pytest.raises(RuntimeError, match="memory"), taking_pairs(flash):
        run_out(flash)
    after = [vars(child.config) for child in flash.modules() if hasattr(child, "config")]
    assert [str(one) for one in after] == [str(one) for one in before]
    assert flash.model.language_model.config._attn_implementation == "by_padding"


def test_attention_that_cannot_be_changed_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, probe = score_of(FAMILIES["LLaVA"], first_tokens)
    flash = attending(evaluator, "by_padding")
    for child in flash.module.modules():
        if hasattr(child, "set_attn_implementation"):
            monkeypatch.setattr(child, "set_attn_implementation", lambda _: None)
    flash(probe, [GRID])
    assert flash.packing.closed == "its attention 'by_padding' does not accept a mask of all pairs of tokens"


def narrowed(evaluator: Evaluator) -> Evaluator:
    """Return an evaluator of a copy of the model in bfloat16."""
    model = copy.deepcopy(evaluator.module).to(torch.bfloat16)
    return Evaluator(model, replace(evaluator.predict, language=replace(evaluator.predict.language, module=model)))


OTHERS = ["Qwen2.5-VL", "SmolVLM", "InternVL", "Qwen2-Audio"]
"""Families on which no tolerance was chosen."""


@pytest.mark.parametrize("name", spread(OTHERS, 2))
def test_models_in_16_bits_stay_packed(name: str) -> None:
    evaluator, probe = score_of(FAMILIES[name], own_answers)
    narrow = narrowed(evaluator)
    found = narrow(probe, [GRID])[0]
    assert narrow.packing.said
    exact = replace(evaluator, reuse=False)(probe, [GRID])[0]
    assert (found - exact).square().mean().sqrt() < 0.1 * (exact - exact.mean(0)).square().mean().sqrt()


@pytest.mark.parametrize("name", spread(OTHERS, 2))
def test_models_in_16_bits_whose_items_see_the_text_are_not(name: str) -> None:
    evaluator, probe = score_of(FAMILIES[name], own_answers)
    broken = attending(narrowed(evaluator), "of_all")
    broken(probe, [GRID])
    assert broken.packing.closed == BIDIRECTIONAL
