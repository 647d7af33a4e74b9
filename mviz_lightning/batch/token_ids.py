"""Ids of tokens, as users and configurations give them."""

from typing import Any


def token_ids(given: Any) -> tuple[int, ...]:
    """Return one id or several from any container of whole numbers; an empty tuple for anything else."""
    plain = _plain(given)
    listed = [_plain(one) for one in plain] if isinstance(plain, list | tuple | set | frozenset) else [plain]
    return tuple(listed) if all(type(one) is int for one in listed) else ()


def _plain(given: Any) -> Any:
    """Return an array, or a number in an array type, as plain Python numbers."""
    return given.tolist() if hasattr(given, "tolist") else given
