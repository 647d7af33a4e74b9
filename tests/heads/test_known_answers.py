"""Every head of a model is measured as if the model had this head alone."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.few import few
from helpers.heads import FORMS, LABELS, MODALITIES, OneHead, ThreeHeads, batch, step
from torch import Tensor, nn

from mviz_lightning import MonitorWarning, ShareReport, explain
from mviz_lightning.batch import parse_modalities
from mviz_lightning.explainers import DIME
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

TASKS = {"a": "multiclass", "b": "multiclass", "c": "regression"}
PLACES = {"a": 0, "b": 1, "c": 2}


def found(model: nn.Module, data: Any = None, **settings: Any) -> ShareReport:
    chosen = {"modalities": MODALITIES, "step": step, "num_examples": 64, **settings}
    return explain(model, [batch() if data is None else data], **chosen)


def fail(name: str, error: Exception) -> None:
    raise AssertionError(name) from error


def session_of(model: nn.Module, **settings: Any) -> Session:
    """Return a session whose examples are complete."""
    step_of_user, chosen = settings.pop("step", None), {"num_examples": 64, **settings}
    session = Session(SessionConfig(modalities=parse_modalities(MODALITIES), **chosen))
    session.collect(batch(), lambda count: range(count))
    session.dry_run(model, step=step_of_user)
    session.complete()
    return session


def alone(model: ThreeHeads, head: str, main: Session, **settings: Any) -> Session:
    """Return the session of a model with one head, of which the user says all; in the groups of another session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)  # of the input that the head does not read
        session = session_of(OneHead(model, PLACES[head]), target=LABELS[head], task=TASKS[head], **settings)
    assert main.probe is not None
    assert session.probe is not None
    assert session.positions == main.positions
    collected, probe = session._ready()[0], replace(session.probe, groups=main.probe.groups)
    session._collected = replace(collected, probe=probe)
    return session


def equal(found: Any, expected: Any) -> bool:
    """Tell whether nested plain data are the same to the last bit."""
    if isinstance(found, Tensor):
        return torch.equal(found, expected)
    if isinstance(found, Mapping):
        return found.keys() == expected.keys() and all(equal(found[key], expected[key]) for key in found)
    if isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(equal, found, expected))
    return bool(found == expected or (found != found and expected != expected))  # noqa: PLR0124 - NaN


def measured(session: Session) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MonitorWarning)
        return session.run().values


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_totals_of_heads_that_read_other_inputs(form: str) -> None:
    report = found(ThreeHeads(form))
    names = ["a", "b", "c"] if form not in ("tuple", "list") else ["head0", "head1", "head2"]
    assert list(report.heads) == names[:2]  # the main head is the one that depends on both inputs
    of = dict(zip(names, [*report.heads.values(), report], strict=True))
    totals = {name: [of[name].values[f"total/{m}"] for m in MODALITIES] for name in names}
    assert totals[names[0]] == pytest.approx([1, 0], abs=1e-12)
    assert totals[names[1]] == pytest.approx([0, 1], abs=1e-12)
    assert totals[names[2]] == pytest.approx([1, 1], abs=0.05)
    assert report.values["interaction"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("form", few(FORMS, 2))
def test_each_head_has_the_bits_of_a_model_with_this_head_alone(form: str) -> None:
    model = ThreeHeads(form)
    session = session_of(model, step=step)
    values = [
        *(one.values for one in (session.run_heads(fail) if session.run() else {}).values()),
        session.run().values,
    ]
    for head, found_of_head in zip("abc", values, strict=True):
        assert found_of_head.pop("agreement") == 1
        assert found_of_head == measured(alone(model, head, session))


def test_explanations_have_the_bits_of_a_model_with_this_head_alone() -> None:
    model, method = ThreeHeads(), DIME(num_examples=2)
    session = session_of(model, step=step, explainers=[method])
    session.run()
    session.run_heads(fail)
    shown = session.explain(method).result
    assert shown is not None
    pinned = [one.position for one in shown.examples]
    for head, one in session.heads.items():
        other = alone(model, head, session, explainers=[method], pin=pinned)
        measured(other)
        found_of_head, expected = one.explain(method).result, other.explain(method).result
        assert found_of_head is not None and expected is not None  # noqa: PT018
        assert [example.position for example in found_of_head.examples] == pinned  # those of the main head
        assert equal(
            [example.state() for example in found_of_head.examples], [one.state() for one in expected.examples]
        )
        assert found_of_head.values == expected.values
