"""What the monitor finds of modules around models of transformers, and whether the truth written for them is true.

The truth of a case is compared with what its own step gives to its loss, or with what the model says is the score, on
the user's rows and on recombined ones; no part of the monitor's reading of outputs takes part in that.
"""

import copy
from functools import cache

import pytest
import torch
from benchmarks.observation.harness import run
from benchmarks.observation.hub_pending import HUB_ASKED
from benchmarks.observation.hub_positions import VOID
from benchmarks.observation.table import line
from benchmarks.observation.zoo import hub_cases
from helpers.batches import probe_of
from torch.overrides import TorchFunctionMode

CASES = {case.name: case for case in hub_cases()}
KNOWN = [name for name, case in CASES.items() if case.scores is not None]
OF_CLASSES = {"cross_entropy", "nll_loss", "kl_div"}
LOSSES = OF_CLASSES | {"binary_cross_entropy_with_logits", "mse_loss", "log_sigmoid"}

OTHER_ROWS = {"ViLT, one of four images", "ViLT, two of four patches drawn"}
"""Cases whose loss is given scores of rows that the step itself recombines, or with noise of their own."""


WITHOUT_ANSWERS = {
    "LLaVA, loss over the answer",
    "LLaVA, validation writes answers",
    "SmolVLM, loss over the answer",
}
"""Cases of causal models whose loss is given all tokens, and whose scores are read where the answers begin."""


class LossCalls(TorchFunctionMode):
    """Keeps what losses are given: ``(name, scores, target or None)``."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in LOSSES:
            self.kept.append((name, args[0].detach().clone(), args[1].clone() if len(args) > 1 else None))
        return func(*args, **(kwargs or {}))


def module_of(case):
    """Return a case's module in evaluation; nothing is logged."""
    module = case.module().eval()
    module.log = lambda *_, **__: None
    return module


def loss_calls(module, batch):
    """Return what the losses of the step are given."""
    with torch.no_grad(), LossCalls() as calls:
        module.common_step(copy.deepcopy(batch))
    return calls.kept


def truth(case, module, batch):
    with torch.no_grad():
        return case.scores(module, copy.deepcopy(batch))


def off(expected, given, centred):
    """Return the largest difference relative to the spread over examples; ``inf`` for other shapes."""
    if given.shape == (len(expected), len(expected)) and expected.shape[1:] == (1,):
        given = given.diagonal()
    if expected.numel() != given.numel():
        return float("inf")
    if expected.dim() == 3 and given.dim() == 2:  # of words one after the other, the classes last
        expected = expected.movedim(1, -1)
    left, right = expected.double().flatten(1), given.double().reshape(len(expected), -1)
    if centred and left.shape[1] > 1:
        left, right = (values - values.mean(1, keepdim=True) for values in (left, right))
    return float((left - right).abs().max() / left.std(0).max())


def recombined(case, batch, moved=0):
    """Return a batch in which one modality comes from the row before."""
    probe = probe_of(copy.deepcopy(batch), case.modalities)
    sources = torch.arange(probe.size).unsqueeze(1).repeat(1, len(case.modalities))
    sources[:, moved] = sources[:, moved].roll(1)
    return probe.batch(sources, {})


def first_rows(case, batch, count):
    probe = probe_of(copy.deepcopy(batch), case.modalities)
    return probe.batch(torch.arange(count).unsqueeze(1).expand(-1, len(case.modalities)), {})


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in OTHER_ROWS | WITHOUT_ANSWERS])
@pytest.mark.parametrize("of", ["own rows", "recombined rows"])
def test_scores_and_labels_are_those_that_the_loss_is_given(name, of):
    case = CASES[name]
    module, batch = module_of(case), case.batches()[0]
    batch = batch if of == "own rows" else recombined(case, batch)
    scores, calls = truth(case, module, batch), loss_calls(module, batch)
    distances = [off(scores, given, kind in OF_CLASSES) for kind, given, _ in calls]
    assert min(distances) < 1e-5
    if case.target is not None:
        label = calls[distances.index(min(distances))][2].float().flatten()
        assert torch.equal(case.target(batch).float().flatten(), label.masked_fill(label == VOID, -100))


@pytest.mark.parametrize("name", KNOWN)
def test_rows_are_independent_and_every_modality_matters(name):
    case = CASES[name]
    module, batch = module_of(case), case.batches()[0]
    scores = truth(case, module, batch)
    spread = scores.std(0).max()
    assert (truth(case, module, first_rows(case, batch, 5)) - scores[:5]).abs().max() < 1e-5 * spread
    for moved in range(len(case.modalities)):
        assert (truth(case, module, recombined(case, batch, moved)) - scores).abs().max() > 0.1 * spread


@cache
def outcome(name):
    return run(CASES[name])


def cases():
    failing = pytest.mark.xfail(reason="listed in hub_pending.py", strict=True)
    return [pytest.param(name, id=name, marks=[failing] if name in HUB_ASKED else []) for name in CASES]


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_a_model_of_transformers_is_measured_as_its_own_step_has_it(name):
    assert outcome(name).allowed, line(outcome(name))


@pytest.mark.slow
def test_a_detector_is_refused_with_the_reason():
    said = "l1_loss is called 16 times for a batch of 16 examples, example by example"
    assert said in outcome("YOLOS, boxes of a phrase").message


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nothing_of_transformers_is_silently_wrong(name):
    assert outcome(name).verdict in {"right", "asked", "refused"}, line(outcome(name))


def test_every_case_of_transformers_has_its_own_name_and_what_is_pending_exists():
    assert len(hub_cases()) == len(CASES) >= 40
    assert set(HUB_ASKED) <= set(CASES)
