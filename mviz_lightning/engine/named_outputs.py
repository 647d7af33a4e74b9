"""Names of what a model returned: the key or attribute of each tensor, else its place."""

import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mviz_lightning.batch import tree
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.model_outputs import row_outputs
from mviz_lightning.errors import ConfigurationError

UNSAFE = re.compile(r"[^\w.-]+")
"""Characters that a head's part of a logged key must not contain: a slash would begin a new part."""


def distinct_keys(names: Sequence[str], reserved: Container[str] = ()) -> list[str]:
    """Return names that can begin a key: a reserved name gets a ``_``, a repeated one a number."""
    found: list[str] = []
    for name in names:
        plain = UNSAFE.sub("_", name).strip(".") or "head"
        plain = f"{plain}_" if plain in reserved else plain
        numbered = (f"{plain}{number}" for number in range(2, len(names) + 2))
        found.append(plain if plain not in found else next(one for one in numbered if one not in found))
    return found


def name_of_keys(keys: tree.Keys) -> str:
    """Return the last key or attribute that is a word; ``head<number>`` for an index of a tuple; ``""`` for no keys."""
    words = [str(key) for key in keys if isinstance(key, str) and not key.isdigit()]
    return words[-1] if words else f"head{keys[-1]}" if keys else ""


def named_outputs(outputs: Any, reserved: Container[str] = ()) -> dict[str, Tensor]:
    """Return the floating-point tensors that a model returned, by name."""
    found = row_outputs(outputs)
    names = distinct_keys([name_of_keys(one.keys) or "head0" for one in found], reserved)
    return {name: tree.get(outputs, one.keys) for name, one in zip(names, found, strict=True)}


@dataclass(frozen=True)
class PickedOutput:
    """A call of the model that returns one of several heads.

    Attributes:
        predict: Calls the model.
        name: Name of the head.
        reserved: First parts of logged keys; no head has one of these names.
    """

    predict: Predict
    name: str
    reserved: Collection[str] = ()

    def __call__(self, module: Any, batch: Any) -> Tensor:
        """Return the scores of the head."""
        found = named_outputs(self.predict(module, batch), self.reserved)
        if self.name not in found:
            raise ConfigurationError(f"there is no head {self.name!r} in what is returned; the heads are {[*found]}")
        return found[self.name]


@dataclass(frozen=True)
class JointPick:
    """A call of the model that returns several heads from the result of one call.

    Attributes:
        calls: Head -> the call that returns it alone; all pick from the same one.
    """

    calls: Mapping[str, PickedOutput]

    def __call__(self, module: Any, batch: Any) -> dict[str, Tensor]:
        """Return head -> its scores."""
        first = next(iter(self.calls.values()))
        found = named_outputs(first.predict(module, batch), first.reserved)
        return {name: found[call.name] for name, call in self.calls.items()}
