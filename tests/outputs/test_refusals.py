"""What cannot be measured says what would be needed, and costs the monitor; or prints a fix that works."""

import pytest
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
    return attempted(Model(kind, kind.net), loaders(), MODALITIES, folder, **(SMALL | dict(kind.options) | options))


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_says_what_is_needed_and_costs_the_monitor_alone(name, tmp_path):
    kind = KINDS[name]
    found, ended = tried(kind, tmp_path)
    assert bool(ended) == kind.ends
    said = ended or " ".join(found.warned)
    for part in kind.says:
        assert part in said
    if found is not None:
        assert found.same
        assert found.values == {}
        assert len(found.warned) == 1


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.fix])
def test_the_printed_fix_works(name, tmp_path):
    kind = KINDS[name]
    found, ended = tried(kind, tmp_path, **kind.fix)
    assert ended == ""
    assert {"total/image", "score"} <= found.values.keys()


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.ends])
def test_an_error_ends_the_training_where_that_is_asked_for(name, tmp_path):
    _, ended = tried(KINDS[name], tmp_path, on_error="raise")
    assert ended
