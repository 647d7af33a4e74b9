"""Placeholder tokens: ids in a text that are replaced by the patches of a picture, so that both belong together."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from torch import Tensor, nn

from mviz_lightning.batch import Modality, Probe
from mviz_lightning.batch.interleaved.placeholders import PlaceholderTokens
from mviz_lightning.batch.token_ids import token_ids
from mviz_lightning.engine.model_call import resolve_function
from mviz_lightning.errors import NotMeasurableError

NAME = re.compile(r"(image|video|audio|vision)_token_(ids?|index)")
"""Names under which configurations of vision- and audio-language models keep the id of a placeholder."""

EDGE = re.compile(r"(boi|eoi|boa|eoa|(image|video|audio|vision)_(start|end|begin|bos|eos|break))_token_(id|index)")
"""Names under which configurations keep the ids of tokens that begin or end the placeholders of an item."""

TOKENIZERS = ("tokenizer", "processor")
"""Names of attributes, or of properties, under which users keep a tokenizer."""

INNER = re.compile(r"[a-z]\w*_config")
"""Names under which a configuration keeps the configurations of its parts."""

SPACE = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n", "ĉ": "\t"})
"""White space in the tokens of byte-level and SentencePiece vocabularies."""


def placeholder_tokens(module: nn.Module, modalities: Mapping[str, Modality]) -> PlaceholderTokens:
    """Return the tokens with a meaning beyond words that a model's configurations and its tokenizer name.

    Args:
        module: The user's model.
        modalities: Name -> modality; the tokenizer is ``decode`` of one of them, or an attribute of the model.
    """
    kinds: dict[str, tuple[int, ...]] = {}
    for token, name in _named(module, NAME):
        kind = name.partition("_")[0]
        kinds[kind] = tuple(dict.fromkeys((*kinds.get(kind, ()), token)))
    edges = frozenset(token for token, _ in _named(module, EDGE))
    if not kinds and not any(modality.placeholders for modality in modalities.values()):
        return PlaceholderTokens()
    tokenizer = next(tokenizers_of(module, modalities), None)
    return PlaceholderTokens(kinds, edges, _special(tokenizer), _blank(tokenizer), tokenizer)


def refuse_placeholders(module: nn.Module, probe: Probe) -> None:
    """Refuse texts with placeholder tokens of another modality that cannot be rebuilt with those of another example.

    Recombined leaf by leaf, placeholders would be combined with another picture's patches. Models check the number of
    placeholders of a whole batch only, so no other error would show it.

    Args:
        module: The user's model.
        probe: Some examples.

    Raises:
        NotMeasurableError: A leaf of a modality holds such a token.
    """
    placeholders = {} if probe.schema.interleaving is not None else dict(_named(module, NAME))
    for name, paths in probe.schema.values.items():
        for path in paths:
            found = _first(probe.leaves[path], placeholders)
            if found is not None:
                raise NotMeasurableError(
                    f"modalities[{name!r}]: the leaf {path!r} holds the placeholder token {found} "
                    f"({placeholders[found]} of the model's config). It stands for a part of another modality, so text "
                    "and picture of different examples cannot be combined. Allowed are ids (B, T) of whole numbers, "
                    "which are rebuilt with the placeholders of another example; give the tokenizer's input_ids."
                )


def _named(module: nn.Module, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Yield the ids of tokens in the configurations of a model and its submodules, with their names."""
    configs = [getattr(child, "config", None) for child in _every_module(module)]
    for config in {id(one): one for one in configs}.values():
        for name, value in _entries(config, pattern):
            yield from ((token, name) for token in token_ids(value))


def _every_module(module: nn.Module) -> Iterator[nn.Module]:
    """Yield a model, its submodules, and modules in plain lists and mappings, which PyTorch does not register."""
    seen, left = set[int](), [module]
    while left:
        child = left.pop(0)
        if id(child) not in seen:
            seen.add(id(child))
            yield child
            left += [one for value in vars(child).values() for one in _listed(value) if isinstance(one, nn.Module)]


def _listed(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]


def _entries(config: Any, pattern: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    """Yield the entries with these names of a configuration, and of configurations one level inside it."""
    inner = (value for _, value in _named_values(config, INNER) if not callable(value))
    for one in (config, *inner):
        yield from _named_values(one, pattern)


def _named_values(config: Any, pattern: re.Pattern[str]) -> Iterator[tuple[str, Any]]:
    mapping = isinstance(config, Mapping)
    for name in [] if config is None else list(config) if mapping else dir(config):
        if isinstance(name, str) and pattern.fullmatch(name):
            with suppress(Exception):  # a property may fail
                yield name, config[name] if mapping else getattr(config, name)


def tokenizers_of(module: nn.Module, modalities: Mapping[str, Modality]) -> Iterator[Any]:
    """Yield the tokenizers that are ``decode`` of a modality, or attributes of the user's own objects.

    These objects are the model, its trainer's data module, and the data sets and collators of validation. A tokenizer
    may be inside a processor.
    """
    given = [modality.decode for modality in modalities.values()]
    held = (value for holder in _holders(module) for value in _attributes(holder))
    for value in (*given, *held):
        found = _imported(value) if isinstance(value, str) and value in given else value
        for one in (found, getattr(found, "tokenizer", None) if not isinstance(found, Tensor | nn.Module) else None):
            if hasattr(one, "all_special_ids") and hasattr(one, "get_vocab"):
                yield one


def _holders(module: nn.Module) -> Iterator[Any]:
    yield from module.modules()
    trainer = getattr(module, "_trainer", None)
    yield getattr(trainer, "datamodule", None)
    for loader in _listed(getattr(trainer, "val_dataloaders", None)):
        yield from (getattr(loader, name, None) for name in ("dataset", "collate_fn"))


def _attributes(holder: Any) -> list[Any]:
    """Return what an object holds; for a ``functools.partial``, also the arguments that it gives."""
    computed = []
    for name in TOKENIZERS:
        with suppress(Exception):  # a property may fail
            computed.append(getattr(holder, name, None))
    given = (*holder.args, *holder.keywords.values()) if isinstance(holder, partial) else ()
    return [*computed, *given, *getattr(holder, "__dict__", {}).values()]


def _imported(path: str) -> Any:
    with suppress(Exception):  # the code that decodes reports what is wrong with the path
        return resolve_function(path, "decode")
    return None


def _special(tokenizer: Any) -> frozenset[int]:
    """Return the ids of a tokenizer's special tokens, including added ones."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = [number for number, token in added.items() if getattr(token, "special", False)]
    return frozenset(map(int, (*special, *getattr(tokenizer, "all_special_ids", ()))))


def _blank(tokenizer: Any) -> frozenset[int]:
    """Return the ids of a tokenizer's tokens of white space."""
    words = {} if tokenizer is None else tokenizer.get_vocab()
    return frozenset(number for word, number in words.items() if word.translate(SPACE).isspace())


def _first(leaf: Any, placeholders: dict[int, str]) -> int | None:
    """Return the first placeholder among the integers of a leaf; None if there is none."""
    if not isinstance(leaf, Tensor) or leaf.is_floating_point() or leaf.is_complex() or leaf.dim() < 2:
        return None
    return next((token for token in placeholders if bool((leaf == token).any())), None)
