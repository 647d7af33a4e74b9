"""The input point of a modality, with respect to which outputs are derived: its values, or its tokens' embeddings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from mviz_lightning.batch.masking import Maskable
from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.module_calls import CallKey, wrapped_calls
from mviz_lightning.engine.row_tokens import entries_of
from mviz_lightning.errors import ConfigurationError

OTHERWISE = "Use a method that needs no gradients for this modality, occlusion for example."
"""Advice at the end of errors about a modality that gradients do not reach."""


@dataclass
class InputPoint:
    """Where one modality enters the model's differentiable part, and the points at which a forward is derived.

    Attributes:
        modality: Name of the modality.
        path: Path of the leaf that holds its values.
        embeddings: Names of the embedding layers that look up its tokens; empty if its values are real numbers.
    """

    modality: str
    path: str
    embeddings: tuple[str, ...] = ()
    _points: list[Tensor] = field(default_factory=list)
    _differences: list[Tensor] = field(default_factory=list)

    @classmethod
    def find(cls, module: nn.Module, predict: Predict, probe: Probe, modality: str, batch: Any) -> "InputPoint":
        """Find a modality's input point with one forward.

        Args:
            module: The model.
            predict: Calls the model.
            probe: Where the modality is in a batch.
            modality: Name of the modality.
            batch: A few rows.

        Raises:
            ConfigurationError: The values are not real numbers, and no embedding layer looks them up.
        """
        path = probe.schema.values[modality][0]
        leaf = entries_of(probe, modality, path, batch)
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            return cls(modality, path)
        names: list[str] = []
        lookups = {name for name, child in module.named_modules() if isinstance(child, nn.Embedding)}
        with wrapped_calls(module, lambda key, original: _noting_lookup(names, leaf, key, original), lookups):
            predict(module, batch)
        if not names and probe.maskable(modality) is not None:
            raise ConfigurationError(
                f"modalities[{modality!r}]: the forward looks up other tokens than those of {path!r}, whole answers "
                f"behind them for example, so outputs are not derived by its words. {OTHERWISE}"
            )
        if not names:
            raise ConfigurationError(
                f"modalities[{modality!r}]: {path!r} holds no real numbers, and no nn.Embedding of the model looks its "
                f"entries up, so outputs have no derivative with respect to it. {OTHERWISE}"
            )
        return cls(modality, path, tuple(dict.fromkeys(names)))

    def width(self, module: nn.Module) -> int:
        """Return the number of values that represent one entry: 1, or the length of the longest embedding."""
        found = [cast("nn.Embedding", module.get_submodule(name)).embedding_dim for name in self.embeddings]
        return max(found, default=1)

    @contextmanager
    def open(self, module: nn.Module, probe: Probe, batch: Any, masked: Any, shares: Tensor) -> Iterator[Any]:
        """Yield the batch for a forward in which the modality lies between its masked and its whole values.

        Call :meth:`derive` after the forward.

        Args:
            module: The model.
            probe: Where the modality is in a batch.
            batch: R rows.
            masked: The same rows with all segments of the modality masked.
            shares: ``(R,)`` position of each row, 0 masked and 1 whole; or ``(R, ...)`` position of each entry.
        """
        self._points, self._differences = [], []
        shape = None if probe.schema.padded(self.path) else probe.leaves[self.path].shape[1:]
        whole, without = (entries_of(probe, self.modality, self.path, rows, shape) for rows in (batch, masked))
        if not self.embeddings:
            yield probe.schema.with_leaves(batch, {self.path: self._point(whole, without, shares)})
            return
        # If masking hides tokens with an attention mask, the tokens stay the same: the masked embedding is then 0.
        hidden = _hidden(probe, self.modality, batch, masked, whole) if torch.equal(whole, without) else None

        def wrap(_: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            def masked_embeddings(found: Tensor) -> Tensor:
                return _masked_embeddings(found, original, without, hidden)

            return self._embedded(original, whole, masked_embeddings, shares)

        with wrapped_calls(module, wrap, set(self.embeddings)):
            yield batch

    def _embedded(
        self,
        original: Callable[..., Any],
        leaf: Tensor,
        empty: Callable[[Tensor], Tensor],
        shares: Tensor,
    ) -> Callable[..., Any]:
        def call(tokens: Tensor) -> Tensor:
            whole: Tensor = original(tokens)
            # The layer may look up other modalities' tokens as well.
            return self._point(whole, empty(whole), shares) if _same(tokens, leaf) else whole

        return call

    def _point(self, whole: Tensor, without: Tensor, shares: Tensor) -> Tensor:
        whole, without = whole.detach(), without.detach()
        if self.embeddings and shares.dim() > 1:  # given per entry of a mask, whose shape may differ
            shares = shares.reshape(whole.shape[:2])
        share = shares.to(whole).view(*shares.shape, *[1] * (whole.dim() - shares.dim()))
        known = whole.isfinite()
        if bool(known.all()):
            end, point = whole, torch.lerp(without, whole, share)
        else:  # a missing value (NaN) stays as it is and gets no derivative
            end = whole.where(known, without)
            point = torch.lerp(without, end, share).where(known, whole)
        self._points.append(point.requires_grad_())
        self._differences.append(end - without)
        return point * 1  # PyTorch forbids in-place changes of a leaf of the graph, and the model may change its input

    def derive(self, chosen: Tensor) -> Tensor:
        """Return ``(R, ...)``: the derivative of every row's chosen output, times (whole value - masked value).

        Derivatives with respect to embeddings are summed over their dimensions: one number per token of the batch.

        Args:
            chosen: ``(R, 1)`` the outputs to derive.

        Raises:
            RuntimeError: No gradient reaches the modality.
        """
        gradients = _gradients(chosen, self._points)
        if all(gradient is None for gradient in gradients):
            raise RuntimeError(
                f"no gradient of the outputs reaches {self.modality!r}: the model detaches it, runs its encoder "
                f"without gradients, or looks tokens up in another shape than that of the batch. {OTHERWISE}"
            )
        parts = [
            (gradient.detach() * difference).float().cpu()
            for gradient, difference in zip(gradients, self._differences, strict=True)
            if gradient is not None
        ]
        return torch.stack([part.sum(-1) if self.embeddings else part for part in parts]).sum(0)


def _hidden(probe: Probe, modality: str, batch: Any, masked: Any, tokens: Tensor) -> Tensor:
    """Return ``(R, T)``, True at tokens that the attention mask hides once all segments are masked.

    Special tokens are not hidden. Padding is False too, since the mask hid it before.
    """
    path = cast("Maskable", probe.segments[modality]).leaf
    before, after = (entries_of(probe, modality, path, rows) for rows in (batch, masked))
    changed: Tensor = (before != after).flatten(1)
    # A mask has one number per token or one per pair of tokens; a hidden token is hidden from all queries.
    return changed if changed.shape == tokens.shape else changed.view(len(tokens), -1, tokens.shape[1]).any(1)


def _gradients(chosen: Tensor, points: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not points or not chosen.requires_grad:
        return [None] * len(points)
    return torch.autograd.grad(chosen.sum(), points, allow_unused=True)


def _noting_lookup(names: list[str], leaf: Any, key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(tokens: Tensor) -> Any:
        if isinstance(leaf, Tensor) and _same(tokens, leaf):
            names.append(key[0])
        return original(tokens)

    return call


def _same(tokens: Tensor, leaf: Tensor) -> bool:
    return tokens.shape == leaf.shape and torch.equal(tokens, leaf)


def _masked_embeddings(whole: Tensor, original: Callable[..., Any], without: Tensor, hidden: Tensor | None) -> Tensor:
    """Return ``(R, T, D)`` embeddings with all segments of the modality masked."""
    found: Tensor = original(without) if hidden is None else whole.masked_fill(hidden.unsqueeze(-1), 0.0)
    return found
