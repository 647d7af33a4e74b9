"""The description of a measurement for ``run.json``: model, modalities, heads, versions and configuration."""

import platform
from collections.abc import Mapping, Sequence, Sized
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

PACKAGES = {"torch": "torch", "lightning": "lightning", "numpy": "numpy", "mviz_lightning": "mviz-lightning"}
"""Name in ``run.json`` -> name of the installed package."""

GROUPS = "recombined", "group_size"
"""Keys in ``run.json``: number of recombined examples, and number of examples in a group."""

MOST_ENTRIES = 16
"""Largest number of entries of an argument that is written out."""

APART = {"class_names", "modalities", "explainers", "by_head", "of_one_head", "predict"}
"""Fields of the session's configuration that are described elsewhere, or differ from what the user gave."""


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of packages that results depend on; None if one is not installed."""
    return {"python": platform.python_version()} | {name: _version(package) for name, package in PACKAGES.items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def described_run(session: Session, module: Any, heads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the description of a measurement, in a training or outside one.

    Args:
        session: The session that measures.
        module: The model.
        heads: The heads, as :func:`described_heads` returns them.
    """
    sizes = () if session.probe is None else (session.probe.groups.numel(), session.probe.groups.shape[1])
    return {
        "versions": versions(),
        "model": described_model(module),
        "modalities": _modalities(session),
        "heads": list(heads),
        "observed": list(session.remarks.told),
        "examples": dict(zip(GROUPS, sizes, strict=True)) if sizes else None,
    }


def described_model(module: Any) -> dict[str, Any]:
    """Return class and number of parameters of a model; None for a lazy one that has not run yet."""
    try:
        count = sum(one.numel() for one in module.parameters())
    except ValueError:  # a lazy layer has no shape yet
        count = None
    return {"class": type(module).__name__, "parameters": count}


def described_heads(session: Session) -> list[dict[str, Any]]:
    """Return name, task, classes and score of each head; only after a run, when they have been read."""
    return [
        {
            "name": head,
            "called": one.called,
            "task": one.task,
            "class_names": None if one.class_names is None else list(one.class_names),
            "score": one.score_name,
        }
        for head, one in {"": session, **session.heads}.items()
    ]


def _modalities(session: Session) -> list[dict[str, Any]]:
    """Return the modalities in declared order; the kind is None before anything is explained."""
    types = session.modality_types
    return [
        {
            "name": name,
            "leaves": list(modality.leaves),
            "kind": types[name].name if name in types else modality.kind,
            "arguments": arguments_of(modality),
        }
        for name, modality in session.config.modalities.items()
    ]


def session_arguments(config: SessionConfig) -> dict[str, Any]:
    """Return the user's arguments; those of single heads by the head's name."""
    given = {one.name: shortened_list(getattr(config, one.name)) for one in fields(config) if one.name not in APART}
    by_head = {name: found for name, found in config.by_head.items() if found and name != "class_names"}
    return {**given, **by_head, **({} if config.predict is None else {"predict": config.predict})}


def explainer_arguments(config: SessionConfig) -> dict[str, dict[str, Any]]:
    """Return the arguments of each explainer, by its name."""
    return {one.name: arguments_of(one) for one in config.explainers}


def arguments_of(one: Any) -> dict[str, Any]:
    """Return the arguments of an explainer, a rule or a modality: its public attributes that are not None."""
    found = vars(one) if hasattr(one, "__dict__") else {}
    return {name: shortened_list(value) for name, value in found.items() if name[:1] != "_" and value is not None}


def shortened_list(value: Any) -> Any:
    """Return an argument; for a long list, such as a vocabulary, only its length."""
    long = isinstance(value, Sized) and not isinstance(value, str) and len(value) > MOST_ENTRIES
    return f"{len(value)} entries" if long else value
