"""The language model inside the user's module: it takes arguments by name and returns logits for each token."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import BatchSchema, tree
from mviz_lightning.batch.interleaved.interleaving import Interleaving
from mviz_lightning.batch.rows import to_device
from mviz_lightning.engine.devices import device_of
from mviz_lightning.engine.mask_positions import PositionCounter, position_counter
from mviz_lightning.errors import NotMeasurableError

TEMPORARY = "use_cache"
"""Argument that makes a model keep keys and values for further tokens; they take memory and are never needed."""


POSITIONS, MASK = "position_ids", "attention_mask"
"""Arguments of transformers' models."""

OTHER_POSITIONS = (
    "the model returns {logits} logits per row for {ids} tokens: one placeholder becomes several features, so the "
    "start of an answer cannot be located. Give ids with a placeholder for each feature, as the processors of "
    "transformers do, or pass predict=, a function (module, batch) -> (B, C), the logits of a few answers at the end "
    "of the prompt."
)

VIRTUAL = (
    "the model is fine-tuned with virtual tokens in front of the text, which rebuilt texts do not have. Use LoRA, or "
    "pass predict=, a function (module, batch) -> (B, C), the logits of a few answers at the end of the prompt."
)

LISTED = (
    "the model takes {path!r}, a list that belongs to no modality, and it is unknown which example each entry belongs "
    "to. Give a tensor with an entry for each item: torch.tensor(batch[{path!r}])."
)


@dataclass(frozen=True)
class GivenArguments:
    """The arguments that the user's own step gives a language model, without labels.

    Attributes:
        leaves: Name of each argument that is a leaf of the batch as it is -> the path of the leaf.
        others: Names of the other arguments.
        source: Description of where these come from.
        made: Takes a batch and returns the other arguments by name.
        retold: Whether some of the other arguments are made from per-token leaves.
    """

    leaves: Mapping[str, str]
    others: Sequence[str]
    source: str
    made: Callable[[Any], Mapping[str, Any]]
    retold: bool = False


@dataclass(frozen=True)
class LanguageModel:
    """A model that takes a text and its items by name and returns logits ``(B, T, V)``.

    Attributes:
        module: The model; a LightningModule or adapters of a fine-tuning may be around it.
        schema: Where the leaves are in a batch.
        interleaving: The part of the schema that describes the text.
        given: What the user's own step gives it; None where this is not known, and leaves are given by their names.
    """

    module: nn.Module
    schema: BatchSchema
    interleaving: Interleaving
    given: GivenArguments | None = None

    @cached_property
    def names(self) -> list[str]:
        """Names of the arguments."""
        return _argument_names(self.module)

    @property
    def call(self) -> str:
        """Description of its call."""
        made = [] if self.given is None else list(self.given.others)
        source = f", {' and '.join(made)} from {self.given.source}" if self.given is not None and made else ""
        return f"{type(self.module).__name__}({', '.join([*self.taken, *made])}){source}"

    @property
    def ids(self) -> str:
        """Name of the argument that takes the ids."""
        own = (name for name, path in self.taken.items() if path == self.interleaving.ids)
        return next(own, self.interleaving.ids.rpartition(".")[2])

    @property
    def by_token(self) -> dict[str, str]:
        """Name of each argument with an entry for each token -> the path of its leaf, labels aside."""
        tokenwise = self.interleaving.tokenwise
        return {name: path for name, path in self.taken.items() if path in tokenwise}

    @property
    def number_type(self) -> torch.dtype:
        """The type in which the model computes: the type of autocast, else the type of its weights."""
        device = device_of(self.module).type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return next((one.dtype for one in self.module.parameters() if one.is_floating_point()), torch.float)

    def takes(self, name: str) -> bool:
        """Return whether the model has an argument of this name."""
        return name in self.names

    def arguments(self, batch: Any) -> dict[str, Any]:
        """Return what a batch holds for the model, by the names of its arguments, without labels."""
        nodes = {name: tree.get(batch, self.schema.keys[path]) for name, path in self.taken.items()}
        nodes |= {} if self.given is None else self.given.made(batch)
        return nodes | self._positions(batch, nodes) | ({TEMPORARY: False} if self._may_cache else {})

    @cached_property
    def _may_cache(self) -> bool:
        """Whether the model takes ``use_cache``: as an argument, or in ``**kwargs`` while a configuration names it."""
        further = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(self.module.forward).parameters.values())
        configs = (getattr(child, "config", None) for child in self.module.modules())
        return self.takes(TEMPORARY) or (further and any(hasattr(config, TEMPORARY) for config in configs))

    @property
    def taken(self) -> dict[str, str]:
        """Name of each argument that a batch holds -> the path of its leaf, labels aside."""
        if self.given is not None:
            return dict(self.given.leaves)
        found, labels = _by_name(self.schema), (self.interleaving.labels, self.schema.target)
        return {name: path for name, path in found.items() if self.takes(name) and path not in labels}

    def require_arrays(self) -> None:
        """Check that the model takes no list beside the modalities: nothing shows which example an entry belongs to.

        Raises:
            NotMeasurableError: It takes one.
        """
        lists = [keys for keys, node in tree.nodes(self.schema.template) if keys and isinstance(node, list | tuple)]
        lists += [self.schema.keys[path] for path in self.schema.unowned if self.schema.listed(path)]
        for keys in lists:
            path = tree.path(keys)
            if self.takes(str(keys[-1])) if self.given is None else path in self.given.leaves.values():
                raise NotMeasurableError(LISTED.format(path=path))

    def own_tokens(self, batch: Any) -> Tensor:
        """Return ``(B, T)`` bool on the CPU: True at each row's tokens, masked words included; False at padding."""
        return self.interleaving.own.with_masked(batch)

    def _positions(self, batch: Any, nodes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the positions of the unmasked rows, if words are masked and the model counts positions by the mask.

        Otherwise the words behind a masked word would move up, as if it were deleted and not hidden.
        """
        own = self.own_tokens(batch)
        if torch.equal(own, self.interleaving.own.of(batch)) or self._count is None or not self.takes(POSITIONS):
            return {}
        device = next(node.device for node in nodes.values() if isinstance(node, Tensor))
        return {POSITIONS: self._count({**nodes, MASK: own.long().to(device)})}

    @cached_property
    def _count(self) -> PositionCounter | None:
        """How the model counts positions by the mask; None where it does not."""
        return position_counter(self.module)

    def logits(self, batch: Any, positions: Tensor | None = None, **further: Any) -> Tensor:
        """Return ``(B, K, V)`` logits.

        Args:
            batch: A batch on the model's device.
            positions: ``(K,)`` positions in the padded texts; all by default. Models that take ``logits_to_keep``
                compute only these.
            further: Further arguments of the model, which replace those of the batch.
        """
        return self.logits_of(self.arguments(batch) | further, positions)

    def logits_of(self, arguments: Mapping[str, Any], positions: Tensor | None = None) -> Tensor:
        """Return ``(B, K, V)`` logits; see :meth:`logits`.

        Args:
            arguments: The arguments of the model.
            positions: ``(K,)`` positions.

        Raises:
            NotMeasurableError: The model returns other logits than one row for each token.
        """
        device = device_of(self.module)
        given = to_device(dict(arguments), device)
        if positions is None or not self.takes("logits_to_keep"):
            found, ids = logits_in(self.module(**given)), given.get(self.ids)
            if ids is not None and found.shape[1] != ids.shape[1]:  # the step may give embeddings in place of ids
                raise NotMeasurableError(OTHER_POSITIONS.format(logits=found.shape[1], ids=ids.shape[1]))
            return found if positions is None else found[:, positions.to(found.device)]
        return logits_in(self.module(**given, logits_to_keep=positions.to(device)))


def find_language_model(module: nn.Module, schema: BatchSchema) -> LanguageModel | None:
    """Return the outermost submodule that takes the text and its items by name; None where there is none.

    Args:
        module: The user's model.
        schema: The schema of a batch whose text holds placeholders.
    """
    interleaving = schema.interleaving
    if interleaving is None:
        return None
    wanted = {path.rpartition(".")[2] for path in (interleaving.ids, *(own[0] for own in interleaving.media.values()))}
    fitting = (child for child in module.modules() if wanted <= set(_argument_names(child)))
    return next((LanguageModel(child, schema, interleaving) for child in fitting), None)


def refuse_virtual_tokens(module: nn.Module) -> None:
    """Refuse fine-tuning with virtual tokens in front of the text (prompt tuning): the model inside lacks them.

    Args:
        module: The user's model.

    Raises:
        NotMeasurableError: The model is fine-tuned like this.
    """
    held = (getattr(child, "peft_config", None) for child in module.modules())
    adapters = [one for configs in held if isinstance(configs, Mapping) for one in configs.values()]
    if any(getattr(one, "is_prompt_learning", False) for one in adapters):
        raise NotMeasurableError(VIRTUAL)


def logits_in(returned: Any) -> Tensor:
    """Return the logits among what a language model returned: its ``logits``, or its first per-token tensor.

    Raises:
        TypeError: It returned none.
    """
    named = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    listed = [named, *(returned if isinstance(returned, Sequence) else [returned])]
    found = next((one for one in listed if isinstance(one, Tensor) and one.dim() == 3), None)
    if found is None:
        raise TypeError(f"the language model returned a {type(returned).__name__} without logits (B, T, V)")
    return found


def last_positions(own: Tensor) -> Tensor:
    """Return ``(B,)`` long: the position of each row's last token.

    Args:
        own: ``(B, T)`` bool, True at own tokens.
    """
    return own.shape[1] - 1 - own.flip(1).long().argmax(1)


def _by_name(schema: BatchSchema) -> dict[str, str]:
    """Return the last name in each leaf's path -> the path; of several leaves with one name, one of a modality."""
    owned = [path for paths in schema.values.values() for path in paths]
    return {path.rpartition(".")[2]: path for path in [*schema.unowned, *owned]}


def _argument_names(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)
