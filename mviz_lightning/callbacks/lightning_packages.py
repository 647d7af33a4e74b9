"""The only imports of Lightning: ``lightning``, ``pytorch_lightning``, or both, which are two copies of one package.

A callback must inherit from the ``Callback`` of its Trainer's package: ``callbacks=monitor`` without a list, and
LightningCLI, check its class. Importing a second copy would take time, and Lightning's lines would go to another
logger. So this module imports one package. When the user imports the other one, its ``Callback`` becomes another base.
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
"""Names of the two copies. If neither is imported yet, the first installed one is imported."""

NOT_INSTALLED = (
    "{} needs Lightning, and neither lightning nor pytorch_lightning can be imported; run: pip install lightning"
)


class WithoutLightning:
    """Base of the callbacks if no Lightning is installed: they can be imported, but not created."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Raise a ModuleNotFoundError with the package to install."""
        raise ModuleNotFoundError(NOT_INSTALLED.format(cls.__name__), name="lightning")


class Joining:
    """A class that can get further base classes."""

    @classmethod
    def join(cls, bases: Iterable[type]) -> None:
        """Inherit from further classes."""
        cls.__bases__ += tuple(base for base in bases if base not in cls.__bases__)


def callback_module(package: str) -> str:
    """Return the name of the module in which a package defines its ``Callback``."""
    return f"{package}.callbacks.callback"


def imported_callbacks() -> list[type]:
    """Return the ``Callback`` of each package that is imported so far."""
    modules = [sys.modules.get(callback_module(package)) for package in PACKAGES]
    return [module.Callback for module in modules if module is not None and hasattr(module, "Callback")]


def import_one() -> None:
    """Import the first package that can be imported, unless one is imported already."""
    for package in () if imported_callbacks() else PACKAGES:
        with suppress(ImportError):
            import_module(callback_module(package))
            return


def is_installed(package: str) -> bool:
    """Return whether a package can be found; nothing is imported."""
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
    """Watches the imports of a process until the other package has defined its ``Callback``; it never finds a module.

    Every import calls the finders of ``sys.meta_path``. A package defines its ``Callback`` early and imports many more
    modules, so ``PackageCallback`` inherits from it before the package's own import is over.
    """

    def __init__(self, package: str) -> None:
        self._awaited = callback_module(package)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Add the package's ``Callback`` as a base once it is defined."""
        if self._awaited and hasattr(sys.modules.get(self._awaited), "Callback"):
            self._awaited = ""
            with suppress(TypeError):  # a user's class for which no order of the bases exists
                PackageCallback.join(imported_callbacks())


def await_others() -> None:
    """Wait for the package that is installed and not imported yet, if there is one."""
    for package in PACKAGES if imported_callbacks() else ():
        if callback_module(package) not in sys.modules and is_installed(package):
            sys.meta_path.insert(0, JoiningFinder(package))


await_others()
