"""Where one modality enters a model so that outputs can be derived by it: its values, or its tokens' embeddings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mviz_lightning.batch import tree
from mviz_lightning.batch.probe import Probe
from mviz_lightning.engine.calling import Predict
from mviz_lightning.engine.dependency_trace import CallKey, wrapped
from mviz_lightning.errors import ConfigurationError

OTHERWISE = "Say another method for it, occlusion for one, which asks for outputs alone."


@dataclass
class InputPoint:
    """Where one modality enters the model's differentiable part, and the points of a forward at which it is derived.

    Attributes:
        modality: Its name.
        path: The leaf that holds its values.
        embeddings: Names of the layers that look its tokens up; none where the values themselves are real.
    """

    modality: str
    path: str
    embeddings: tuple[str, ...] = ()
    _points: list[Tensor] = field(default_factory=list)
    _ways: list[Tensor] = field(default_factory=list)

    @classmethod
    def find(cls, module: nn.Module, predict: Predict, probe: Probe, modality: str, batch: Any) -> "InputPoint":
        """Find it with one forward of a few rows.

        Raises:
            ConfigurationError: The values are no numbers, or tokens that no embedding layer looks up.
        """
        path = probe.layout.values[modality][0]
        leaf = tree.get(batch, probe.layout.keys[path])
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            return cls(modality, path)
        names: list[str] = []
        lookups = {name for name, child in module.named_modules() if isinstance(child, nn.Embedding)}
        with wrapped(module, lambda key, original: _noting(names, leaf, key, original), lookups):
            predict(module, batch)
        if not names:
            raise ConfigurationError(
                f"modalities[{modality!r}]: {path!r} holds no real numbers, and no nn.Embedding of the model looks its "
                f"entries up, so that nothing can be derived by it. {OTHERWISE}"
            )
        return cls(modality, path, tuple(dict.fromkeys(names)))

    @contextmanager
    def open(self, module: nn.Module, probe: Probe, batch: Any, masked: Any, shares: Tensor) -> Iterator[Any]:
        """Yield the batch of a forward that is derived at points between the masked and the whole modality.

        Args:
            module: The model.
            probe: Where the modality lives in a batch.
            batch: R rows.
            masked: The same with all units of the modality masked.
            shares: ``(R,)`` how far on the way to the whole one, or ``(R, ...)`` of every entry.
        """
        self._points, self._ways = [], []
        keys = probe.layout.keys[self.path]
        whole, without = tree.get(batch, keys), tree.get(masked, keys)
        if not self.embeddings:
            yield tree.replace(batch, {keys: self._point(whole, without, shares)})
            return
        # Where an attention mask hides tokens, these are as they were: then nothing stands in their place.
        hidden = _hidden(probe, self.modality, batch, masked, whole) if torch.equal(whole, without) else None

        def wrap(_: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
            return self._embedded(original, whole, lambda found: _emptied(found, original, without, hidden), shares)

        with wrapped(module, wrap, set(self.embeddings)):
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
        if self.embeddings and shares.dim() > 1:  # of a mask, which may have other axes than the tokens
            shares = shares.reshape(whole.shape[:2])
        share = shares.to(whole).view(*shares.shape, *[1] * (whole.dim() - shares.dim()))
        # A missing value is no end of a way: it stays, and nothing is derived by it.
        known = whole.isfinite()
        end = whole.where(known, without)
        point = torch.lerp(without, end, share).where(known, whole).requires_grad_()
        self._points.append(point)
        self._ways.append(end - without)
        return point * 1  # the model may work in place, which a leaf does not bear

    def derive(self, chosen: Tensor) -> Tensor:
        """Return ``(R, ...)`` the derivative of every row's chosen output, times the whole way.

        Raises:
            RuntimeError: No gradient reaches the modality.
        """
        gradients = _gradients(chosen, self._points)
        if all(gradient is None for gradient in gradients):
            raise RuntimeError(
                f"no gradient of the outputs reaches {self.modality!r}: the model detaches it, runs its encoder "
                f"without gradients, or looks tokens up in another shape than the batch has. {OTHERWISE}"
            )
        parts = [
            (gradient.detach() * way).float().cpu()
            for gradient, way in zip(gradients, self._ways, strict=True)
            if gradient is not None
        ]
        return torch.stack([part.sum(-1) if self.embeddings else part for part in parts]).sum(0)


def _hidden(probe: Probe, modality: str, batch: Any, masked: Any, tokens: Tensor) -> Tensor:
    """Return ``(R, T)`` True at tokens that an attention mask hides where all units are masked.

    Special tokens stay; so does padding, which was hidden before.
    """
    keys = probe.layout.keys[probe.segments[modality].leaf]
    changed: Tensor = (tree.get(batch, keys) != tree.get(masked, keys)).flatten(1)
    # One number a token, or one a pair: what is hidden is hidden from all queries.
    return changed if changed.shape == tokens.shape else changed.view(len(tokens), -1, tokens.shape[1]).any(1)


def _gradients(chosen: Tensor, points: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not points or not chosen.requires_grad:
        return [None] * len(points)
    return torch.autograd.grad(chosen.sum(), points, allow_unused=True)


def _noting(names: list[str], leaf: Any, key: CallKey, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(tokens: Tensor) -> Any:
        if isinstance(leaf, Tensor) and _same(tokens, leaf):
            names.append(key[0])
        return original(tokens)

    return call


def _same(tokens: Tensor, leaf: Tensor) -> bool:
    return tokens.shape == leaf.shape and torch.equal(tokens, leaf)


def _emptied(whole: Tensor, original: Callable[..., Any], without: Tensor, hidden: Tensor | None) -> Tensor:
    """Return ``(R, T, D)`` what stands in the place of masked tokens' embeddings."""
    found: Tensor = original(without) if hidden is None else whole.masked_fill(hidden.unsqueeze(-1), 0.0)
    return found
