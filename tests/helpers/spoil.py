"""Anything made to raise, and then as it was."""

import inspect
from typing import Any


class Spoil:
    """Makes something raise."""

    def __init__(self, where: Any, name: str, error: type[Exception]) -> None:
        self.where, self.name, self.error, self.hits = where, name, error, 0
        self.original, self.inherited = inspect.getattr_static(where, name), name not in vars(where)

    def __enter__(self) -> "Spoil":  # noqa: PYI034
        def failing(*_: Any, **__: Any) -> Any:
            self.hits += 1
            raise self.error

        setattr(self.where, self.name, property(failing) if isinstance(self.original, property) else failing)
        return self

    def __exit__(self, *_: object) -> None:
        if self.inherited:
            delattr(self.where, self.name)
        else:
            setattr(self.where, self.name, self.original)
