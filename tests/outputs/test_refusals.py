"""What cannot be measured says what would be needed, and costs the monitor; or prints a fix that works."""

import re

import pytest
import torch
from helpers.few import few
from outputs.heads import MODALITIES, SMALL, Model, loaders
from outputs.refusals import ARGUMENTS, KINDS
from outputs.watching import attempted

from mviz_lightning import ConfigurationError, MultimodalMonitor


@pytest.mark.parametrize("name", ARGUMENTS)
def test_impossible_arguments_are_refused_at_once(name):
    with pytest.raises(ConfigurationError) as refused:
        MultimodalMonitor(MODALITIES, **ARGUMENTS[name].options)
    for part in ARGUMENTS[name].says[:2]:
        assert part in str(refused.value)


def tried(kind, folder, **options):
    return attempted(Model(kind), loaders(), MODALITIES, folder, **(SMALL | dict(kind.options) | options))


def pasted(said):
    """Return the arguments of the line to paste, or None."""
    line = re.search(r"^ {4}(\w+=.*)$", said, re.MULTILINE)
    return line and eval(f"dict({line[1]})", {"torch": torch})  # noqa: S307 - a line that we printed ourselves


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_says_what_is_needed_and_costs_the_monitor_alone(name, tmp_path):
    kind = KINDS[name]
    found, ended = tried(kind, tmp_path)
    said = ended or " ".join(found.warned)
    for part in kind.says:
        assert part in said
    assert bool(ended) <= kind.fixable
    if found is not None:
        assert found.same
        assert found.values == {}
        assert len(found.warned) == 1


@pytest.mark.parametrize("name", few(name for name, kind in KINDS.items() if kind.fixable))
def test_the_printed_fix_works(name, tmp_path):
    kind = KINDS[name]
    _, ended = tried(kind, tmp_path)
    found, again = tried(kind, tmp_path, **(pasted(ended) or {}) | dict(kind.fix or {}))
    assert again == ""
    assert "total/image" in found.values


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.fixable])
def test_an_error_ends_the_training_where_that_is_asked_for(name, tmp_path):
    _, ended = tried(KINDS[name], tmp_path, on_error="raise")
    assert ended
