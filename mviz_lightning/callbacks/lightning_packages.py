"""The one door to Lightning: to the package ``lightning``, to ``pytorch_lightning``, or to both, which are two copies.

A callback must inherit from the ``Callback`` of the package whose Trainer it is given to: a bare ``callbacks=monitor``
and LightningCLI look at its class. Importing a second copy would cost time, and Lightning's lines would go to another
logger. So the bases grow: the first package is imported here, and the other one is joined when the user imports it.
"""

import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import lightning_utilities.core.rank_zero as rank_zero_module
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_only

__all__ = ["LightningModule", "PackageCallback", "Trainer", "rank_zero_info", "rank_zero_module", "rank_zero_only"]

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""Names of the two copies; where neither is imported yet, the first that is installed is."""

NOT_INSTALLED = (
    "{} needs Lightning, and neither lightning nor pytorch_lightning can be imported; run: pip install lightning"
)


class WithoutLightning:
    """Base of the callbacks where no Lightning is installed: they can be imported, and not made."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Raise a ModuleNotFoundError that says what to install."""
        raise ModuleNotFoundError(NOT_INSTALLED.format(cls.__name__), name="lightning")


class Joining:
    """A class whose bases grow."""

    @classmethod
    def join(cls, bases: Iterable[type]) -> None:
        """Inherit from further classes too."""
        cls.__bases__ += tuple(base for base in bases if base not in cls.__bases__)


def callback_module(package: str) -> str:
    """Return the name of the module in which a package defines its ``Callback``."""
    return f"{package}.callbacks.callback"


def imported_callbacks() -> list[type]:
    """Return the ``Callback`` of each package that is imported so far."""
    modules = [sys.modules.get(callback_module(package)) for package in PACKAGES]
    return [module.Callback for module in modules if module is not None and hasattr(module, "Callback")]


def import_one() -> None:
    """Import the first package that can be, unless one is imported already."""
    for package in () if imported_callbacks() else PACKAGES:
        with suppress(ImportError):
            import_module(callback_module(package))
            return


def is_installed(package: str) -> bool:
    """Tell whether a package can be found; nothing is imported."""
    try:
        return find_spec(package.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


if TYPE_CHECKING:
    import lightning.pytorch
    import pytorch_lightning

    Trainer: TypeAlias = lightning.pytorch.Trainer | pytorch_lightning.Trainer
    LightningModule: TypeAlias = lightning.pytorch.LightningModule | pytorch_lightning.LightningModule

    class PackageCallback(Joining, lightning.pytorch.Callback, pytorch_lightning.Callback):  # type: ignore[misc]
        """The callbacks of both packages, whose hooks take the Trainer of either."""
else:
    import_one()

    Trainer: TypeAlias = Any
    """A Trainer of either package."""

    LightningModule: TypeAlias = Any
    """A LightningModule of either package."""

    class PackageCallback(Joining, *(imported_callbacks() or [WithoutLightning])):
        """Base of this package's callbacks: it inherits from the ``Callback`` of every Lightning that is imported."""


class JoiningFinder(MetaPathFinder):
    """Notices, among the imports of a process, when the other package has defined its ``Callback``; it finds nothing.

    Every import asks the finders of ``sys.meta_path``. A package defines its ``Callback`` early and imports many more
    modules, so ``PackageCallback`` inherits from it before the package's own import is over.
    """

    def __init__(self, package: str) -> None:
        self._awaited = callback_module(package)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Join the package's ``Callback`` once it is there."""
        if self._awaited and hasattr(sys.modules.get(self._awaited), "Callback"):
            self._awaited = ""
            with suppress(TypeError):  # a class of the user's own, whose bases would have no common order
                PackageCallback.join(imported_callbacks())


def await_others() -> None:
    """Wait for the package that is installed and not imported yet, if there is one."""
    for package in PACKAGES if imported_callbacks() else ():
        if callback_module(package) not in sys.modules and is_installed(package):
            sys.meta_path.insert(0, JoiningFinder(package))


await_others()
