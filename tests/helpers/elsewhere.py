"""A stand-in for a GPU: tensors of the CPU that claim another device, and operations that refuse to mix both.

It finds what works on a CPU alone: tensors of two devices in one operation, NumPy on a GPU, factories without a device.
The rules are those of PyTorch: numbers without a dimension may lie anywhere, a CPU's index may index a GPU's tensor.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchmetrics import Metric

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

PLACED = ("device", "is_cuda", "is_cpu")
"""Attributes that say where a tensor lies."""


class MixedDevicesError(RuntimeError):
    """An operation got tensors of both devices."""


class Elsewhere(TorchFunctionMode):
    """Lets tensors claim to lie on a GPU, inside of the mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = _name(func)
        if name in PLACED and args and isinstance(args[0], Tensor):
            return _placed(name, args[0])
        if name == "numpy" and is_elsewhere(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if name in {"to", "cpu", "cuda"}:
            return self._moved(func, name, args, kwargs)
        if func is torch.autograd.grad:
            return _gradients(func, args, kwargs)
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = CPU
        given = list(tensors_in((args, kwargs)))
        elsewhere = self._of(name, given, args) if wanted is None else torch.device(wanted).type == "cuda"
        found = func(*args, **kwargs)
        if name == "as_tensor" and wanted is not None and elsewhere != is_elsewhere(found):
            found = found.clone()
        if name not in {"__set__", "__get__"} or elsewhere:
            mark(found, elsewhere=elsewhere, unless=given)
        return found

    def _moved(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        own, *rest = args
        devices = [one for one in (*rest, *kwargs.values()) if isinstance(one, torch.device)]
        devices += [torch.device(one) for one in (*rest, kwargs.get("device")) if isinstance(one, str)]
        devices += [GPU if is_elsewhere(one) else CPU for one in rest if isinstance(one, Tensor)]
        elsewhere = is_elsewhere(own)
        target = name == "cuda" or (name != "cpu" and (devices[0].type == "cuda" if devices else elsewhere))
        types = [one.dtype if isinstance(one, Tensor) else one for one in rest if isinstance(one, Tensor | torch.dtype)]
        kwargs = {key: value for key, value in kwargs.items() if key not in {"device", "non_blocking"}}
        found = func(own, *types, **kwargs) if name == "to" and (types or kwargs) else own
        if target != elsewhere and found is own:
            found = own.detach().clone() if not own.requires_grad else own * 1
        mark(found, elsewhere=target, unless=[own])
        return found

    def _of(self, name: str, given: list[Tensor], args: Any) -> bool:
        """Return whether the results of an operation lie elsewhere.

        Raises:
            MixedDevicesError: Its tensors do not lie together.
        """
        places = [is_elsewhere(one) for one in given]
        if not any(places):
            return False
        indexing = name in {"__getitem__", "__setitem__", "index_put_", "index_put"}
        if indexing and is_elsewhere(args[0]):
            return True
        if name == "copy_" or (name == "__setitem__" and all(one.dim() == 0 for one in given[1:])):
            return is_elsewhere(args[0])
        strays = [one for one, there in zip(given, places, strict=True) if not there and one.dim()]
        if strays:
            raise MixedDevicesError(
                f"{name}: expected all tensors to be on the same device, {[tuple(s.shape) for s in strays]} is on cpu"
            )
        return True


def _name(func: Any) -> str:
    name = str(getattr(func, "__name__", ""))
    if name in {"__get__", "__set__"}:
        return str(getattr(func.__self__, "__name__", name))
    return name


def _placed(name: str, tensor: Tensor) -> Any:
    there = is_elsewhere(tensor)
    return (GPU if there else CPU) if name == "device" else there == (name == "is_cuda")


def _gradients(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return gradients, each where its tensor lies."""
    found, of = func(*args, **kwargs), args[1]
    for gradient, tensor in zip(found, [of] if isinstance(of, Tensor) else of, strict=True):
        mark(gradient, elsewhere=is_elsewhere(tensor))
    return found


def is_elsewhere(tensor: Any) -> bool:
    """Tell whether a tensor claims to lie on the GPU."""
    return getattr(tensor, "__dict__", {}).get("_elsewhere", False)


def mark(found: Any, *, elsewhere: bool, unless: list[Tensor] = ()) -> None:
    """Let the tensors of a result claim where they lie; those that were given stay where they are."""
    for one in tensors_in(found):
        if not any(one is other for other in unless):
            one.__dict__["_elsewhere"] = elsewhere


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)


def moved(module: nn.Module) -> nn.Module:
    """Let a module's weights, buffers and states of metrics claim to lie on the GPU."""
    metrics = [vars(child) for child in module.modules() if isinstance(child, Metric)]
    mark([*module.parameters(), *module.buffers(), *metrics], elsewhere=True)
    return module
