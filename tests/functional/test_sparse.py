"""Sparse linear models: optima, paths, what is chosen, and what is planted and found again."""

import numpy as np
import pytest
import sklearn
import torch
from helpers.batches import floats, integers
from helpers.few import spread
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import sparse as slow
from sklearn.linear_model import ElasticNet, LogisticRegression
from torch.nn.functional import one_hot

from mviz_lightning.functional import elastic_net, proximal, sparse, sparse_linear
from mviz_lightning.functional.proximal import MIXING
from mviz_lightning.functional.rounding import standardisation
from mviz_lightning.functional.sparse import FINE, losses

FAMILIES = ["multinomial", "bernoulli", "gaussian"]
EPSILON = torch.finfo(torch.float64).eps


def problem(family, *, examples=60, features=8, outputs=3, seed=0):
    """Standardised features, and targets that depend on some of them."""
    values = floats(examples, features, seed=seed).double()
    values = (values - values.mean(0)) / values.std(0, correction=0)
    weights = floats(features, outputs, seed=seed + 1).double() * (floats(features, outputs, seed=seed + 2) > 0.5)
    scores = 2 * values @ weights + floats(examples, outputs, seed=seed + 3)
    if family == "multinomial":
        return values, one_hot(scores.argmax(1), outputs).double()
    return values, (scores > 0).double() if family == "bernoulli" else scores


def halves(examples):
    return torch.arange(examples) % 2 == 1


@pytest.mark.parametrize("penalty", spread([0.3, 0.05, 0.01], 3))
@pytest.mark.parametrize("family", FAMILIES)
def test_an_elastic_net_is_that_of_plain_proximal_steps(family, penalty):
    values, targets = problem(family)
    weights, intercept = elastic_net(values, targets, penalty, family)
    expected, offset = slow.elastic_net(values.numpy(), targets.numpy(), penalty, family)
    np.testing.assert_allclose(weights.numpy(), expected, atol=2e-4)
    np.testing.assert_array_equal(weights.numpy() != 0, expected != 0)
    centred = (intercept - intercept.mean()).numpy(), offset - offset.mean()
    np.testing.assert_allclose(*(centred if family == "multinomial" else (intercept.numpy(), offset)), atol=2e-4)
    found = slow.objective(weights.numpy(), intercept.numpy(), values.numpy(), targets.numpy(), penalty, family)
    assert found <= slow.objective(expected, offset, values.numpy(), targets.numpy(), penalty, family) + 1e-8


def logistic(values, targets, penalty):
    """Return scikit-learn's weights and intercept, classes or a single label."""
    modern = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
    named = {} if modern else {"penalty": "elasticnet"}
    fit = LogisticRegression(
        l1_ratio=MIXING,
        C=1 / (len(values) * penalty),
        solver="saga",
        tol=1e-9,
        max_iter=20_000,
        random_state=0,
        **named,
    )
    fit.fit(values, targets.argmax(1) if targets.shape[1] > 1 else targets[:, 0])
    return fit.coef_.T, fit.intercept_


@pytest.mark.parametrize("penalty", [0.1, 0.02])
@pytest.mark.parametrize(("family", "outputs"), [("multinomial", 4), ("bernoulli", 1), ("gaussian", 1)])
def test_an_elastic_net_is_that_of_scikit_learn(family, outputs, penalty):
    values, targets = problem(family, outputs=outputs, features=20)
    weights, intercept = elastic_net(values, targets, penalty, family)
    if family == "gaussian":
        fit = ElasticNet(alpha=penalty, l1_ratio=MIXING, tol=1e-12, max_iter=20_000).fit(values, targets[:, 0])
        expected, offset = fit.coef_[:, None], np.atleast_1d(fit.intercept_)
    else:
        expected, offset = logistic(values.numpy(), targets.numpy(), penalty)
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-3)
    ours = slow.objective(weights.numpy(), intercept.numpy(), values.numpy(), targets.numpy(), penalty, family)
    theirs = slow.objective(expected, offset, values.numpy(), targets.numpy(), penalty, family)
    assert ours == pytest.approx(theirs, abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(FAMILIES), st.integers(12, 40), st.integers(1, 60), st.integers(2, 5),
    st.floats(0.01, 1), st.integers(0, 10**6),
)  # fmt: skip
def test_optimality_conditions_hold_for_every_weight(family, examples, features, outputs, part, seed):
    values, targets = problem(family, examples=examples, features=features, outputs=outputs, seed=seed)
    targets = targets[:, targets.amax(0) > targets.amin(0)]
    if targets.shape[1] < (2 if family == "multinomial" else 1):
        return
    penalty = part * slow.first_penalty(values.numpy(), targets.numpy())
    weights, intercept = (found.numpy() for found in elastic_net(values, targets, penalty, family))
    residual = slow.expected(values.numpy() @ weights + intercept, family) - targets.numpy()
    slope = values.numpy().T @ residual / examples + penalty * (1 - MIXING) * weights
    missed = np.where(
        weights != 0, np.abs(slope + penalty * MIXING * np.sign(weights)), np.abs(slope) - penalty * MIXING
    )
    assert missed.max() <= 3 * FINE * penalty
    assert np.abs(residual.mean(0)).max() <= 3 * FINE * penalty


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_penalty_of_a_path_is_the_smallest_that_leaves_no_weight(family):
    values, targets = problem(family)
    first = slow.first_penalty(values.numpy(), targets.numpy())
    assert int((elastic_net(values, targets, 1.0001 * first, family)[0] != 0).sum()) == 0
    assert int((elastic_net(values, targets, 0.99 * first, family)[0] != 0).sum()) >= 1


def test_of_orthogonal_features_each_weight_is_drawn_towards_0_by_the_penalty():
    values = torch.linalg.qr(floats(40, 7).double() - floats(40, 7).double().mean(0))[0] * 40**0.5
    planted = torch.tensor([[3.0], [-2.0], [1.0], [0.3], [0.0], [0.0], [-0.5]], dtype=torch.float64)
    weights, intercept = elastic_net(values, 5 + values @ planted, 0.4, "gaussian", mixing=0.75)
    shrunk = planted.sign() * (planted.abs() - 0.3).clamp(min=0) / (1 + 0.1)
    np.testing.assert_allclose(weights.numpy(), shrunk.numpy(), atol=1e-5)
    assert float(intercept) == pytest.approx(5, abs=1e-5)


def planted_values(seed, noise=0.3):
    """Return features, values that depend on 3 and 2 of them, and weights of the training half's standard scores."""
    features = 3 + 2 * floats(400, 30, seed=seed)
    planted = torch.zeros(30, 2).double()
    planted[[2, 5, 11], 0] = torch.tensor([1.0, -2.0, 0.5]).double()
    planted[[5, 17], 1] = torch.tensor([1.5, 1.0]).double()
    mean, spread = standardisation(features[~halves(400)])
    values = (features.double() - mean) / spread
    return features, 1 + values @ planted + noise * floats(400, 2, seed=seed + 50), planted


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_sparse_model_of_values_is_found_again(seed):
    features, targets, planted = planted_values(seed)
    found = sparse_linear(features, targets, halves(400), "gaussian")
    real = planted != 0
    assert torch.equal(found.weights.sign()[real], planted.sign()[real])
    # A penalty that foretells best lets in some noise (Meinshausen & Buehlmann 2006), but little of it.
    assert float(found.weights[~real].abs().max()) < 0.1
    assert float((found.weights - planted).abs().max()) < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_above_the_noise_the_support_of_a_planted_model_is_exact(seed):
    features, targets, planted = planted_values(seed)
    inside = ~halves(400)
    mean, spread = standardisation(features[inside])
    penalty = 2 * 0.3 * (2 * np.log(60) / 200) ** 0.5  # twice the largest pull of noise (Wainwright 2009)
    weights, _ = elastic_net((features[inside] - mean) / spread, targets[inside], penalty, "gaussian")
    assert torch.equal(weights != 0, planted != 0)
    assert float((weights - (planted - penalty * planted.sign())).abs().max()) < 0.1


def test_the_features_that_planted_classes_depend_on_are_found_again():
    features = floats(600, 40, seed=4)
    planted = torch.zeros(40, 3)
    planted[3, 0], planted[8, 1], planted[[3, 20], 2] = 3.0, 3.0, torch.tensor([-2.0, 3.0])
    noise = -torch.log(-torch.log(torch.rand(600, 3, generator=torch.Generator().manual_seed(5))))
    classes = (features @ planted + noise).argmax(1)  # draws of the multinomial model itself
    found = sparse_linear(features, one_hot(classes, 3), halves(600), "multinomial")
    strength = found.weights.abs().amax(1)
    assert set(strength.argsort(descending=True)[:3].tolist()) == {3, 8, 20}
    assert float(strength.sort(descending=True).values[3]) < 0.1 * float(strength.max())
    assert torch.equal(found.weights[[3, 8, 20], [0, 1, 2]].sign(), torch.ones(3).double())
    reached = (found.scores(features).argmax(1) == classes).double().mean()
    assert reached >= ((features @ planted).argmax(1) == classes).double().mean() - 0.03


def chosen(values, targets, held_out, family):
    """Choose a penalty as the docstring says, on a whole path without warm starts."""
    inside = values[~held_out].numpy(), targets[~held_out].numpy()
    first = slow.first_penalty(*inside)
    path = first * np.logspace(0, -2, sparse.PATH_LENGTH)
    fits = [tuple(part.numpy() for part in elastic_net(*map(torch.tensor, inside), p, family)) for p in path]
    unseen = values[held_out].numpy(), targets[held_out].numpy()
    found = np.array([slow.example_losses(unseen[0] @ w + b, unseen[1], family) for w, b in fits])
    means = found.mean(1)
    best = means.argmin()
    error = found[best].std(ddof=1) / found.shape[1] ** 0.5
    place = next(k for k in range(len(path)) if means[k] <= means[best] + error)
    return path[place], fits[place]


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_sparsest_model_within_a_standard_error_of_the_best_is_chosen(family, seed):
    features, targets = problem(family, examples=100, features=30, seed=seed)
    held_out = halves(100)
    mean, spread = standardisation(features[~held_out])
    penalty, (weights, intercept) = chosen((features - mean) / spread, targets, held_out, family)
    found = sparse_linear(features, targets, held_out, family)
    assert found.penalty == pytest.approx(penalty, rel=1e-9)
    np.testing.assert_allclose(found.weights.numpy(), weights, atol=2e-3)
    np.testing.assert_allclose(
        found.scores(features).numpy(), ((features - mean) / spread).numpy() @ weights + intercept, atol=2e-2
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_those_of_the_reference(family):
    scores, (_, targets) = floats(60, 3, seed=9).double(), problem(family)
    np.testing.assert_allclose(
        losses(scores, targets, family).numpy(), slow.example_losses(scores.numpy(), targets.numpy(), family), rtol=1e-9
    )


def test_where_there_is_nothing_to_learn_no_feature_is_used():
    found = sparse_linear(floats(200, 50), one_hot(integers(3, 200, seed=1), 3), halves(200), "multinomial")
    assert int((found.weights != 0).sum()) == 0


@pytest.mark.parametrize("ulps", [-4, -1, 0, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_penalty_that_is_rounding_away_from_the_first_leaves_no_weight(family, ulps):
    values, targets = problem(family)
    penalty = proximal.Problem(values, targets, family).start.penalty * (1 + ulps * EPSILON)
    for seed in range(5):  # processors differ in the order in which they add up
        rows = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
        weights, _ = elastic_net(values[rows], targets[rows], penalty, family)
        assert torch.equal(weights, torch.zeros(8, 3).double())


@pytest.mark.parametrize("error", [-1e-16, 1e-16])
@pytest.mark.parametrize("family", ["multinomial", "bernoulli"])
def test_slopes_that_are_rounding_decide_nothing(family, error, monkeypatch):
    labels = torch.arange(200) // 2 % 2  # in both halves as many of each
    targets = one_hot(labels, 2) if family == "multinomial" else labels.unsqueeze(1)
    exact = proximal.Problem.residual
    monkeypatch.setattr(proximal.Problem, "residual", lambda *asked: exact(*asked) + error)
    found = sparse_linear(floats(200, 50), targets, halves(200), family)
    assert not found.weights.any()
    assert torch.equal(found.scores(floats(3, 50)), found.intercept.expand(3, -1))
    even = torch.full((2,), 0.5).double().log() if family == "multinomial" else torch.zeros(1).double()
    assert torch.equal(found.intercept, even)


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1 / 3, 1e-3])
def test_features_that_tell_of_values_by_rounding_alone_are_not_fitted(scale):
    cycle = torch.arange(168) // 2
    features = 0.7 + scale * torch.stack([cycle % 4 // 2, cycle % 3], 1).double()
    values = scale * (cycle % 2).double().unsqueeze(1)  # of every value of a feature, as many of each
    for seed in range(5):
        pairs = torch.randperm(84, generator=torch.Generator().manual_seed(seed))
        rows = torch.stack([2 * pairs, 2 * pairs + 1], 1).flatten()
        found = sparse_linear(features[rows], values[rows], halves(168), "gaussian")
        assert (found.penalty, int((found.weights != 0).sum())) == (0, 0)


def test_values_that_vary_by_rounding_alone_are_not_fitted():
    features = floats(80, 5)
    wobbling = (0.1 + 7e-9 * (features[:, :1] > 0)).float()
    assert len(wobbling.unique()) == 2
    found = sparse_linear(features, wobbling, halves(80), "gaussian")
    assert (found.penalty, int((found.weights != 0).sum())) == (0, 0)
    assert float(found.intercept) == pytest.approx(0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_unit_and_origin_of_features_change_nothing(family):
    features, targets = problem(family, examples=80, features=12)
    found = sparse_linear(features, targets, halves(80), family)
    other = sparse_linear(features * torch.logspace(-6, 6, 12).double() + 3, targets, halves(80), family)
    assert int((found.weights != 0).sum()) > 0
    np.testing.assert_allclose(other.weights.numpy(), found.weights.numpy(), atol=1e-4)


def test_the_order_of_examples_and_of_features_changes_nothing():
    features, targets = problem("multinomial", examples=80, features=12)
    rows, columns = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in (80, 12))
    found = sparse_linear(features, targets, halves(80), "multinomial")
    other = sparse_linear(features[rows][:, columns], targets[rows], halves(80)[rows], "multinomial")
    np.testing.assert_allclose(other.weights.numpy(), found.weights[columns].numpy(), atol=1e-4)


def test_constant_features_count_for_nothing_and_small_ones_as_much_as_large():
    features, targets = problem("gaussian", examples=80, features=4, outputs=1)
    features = features.float()
    rounding = 1 + 1e-7 * (torch.arange(80) % 2)  # what varies by the last bit alone
    padded = torch.cat([features * 1e-20, torch.full((80, 1), 0.1), torch.zeros(80, 1), rounding.unsqueeze(1)], 1)
    found = sparse_linear(padded, targets, halves(80), "gaussian")
    assert found.spread.isinf().tolist() == [False] * 4 + [True] * 3
    assert torch.equal(found.weights[4:], torch.zeros(3, 1).double())
    alone = sparse_linear(features, targets, halves(80), "gaussian")
    np.testing.assert_allclose(found.weights[:4].numpy(), alone.weights.numpy(), atol=1e-4)
    assert found.scores(padded).isfinite().all()


def test_features_that_are_all_constant_leave_the_mean():
    found = sparse_linear(torch.ones(40, 3), torch.arange(40.0).unsqueeze(1), halves(40), "gaussian")
    assert (found.penalty, int((found.weights != 0).sum())) == (0, 0)
    assert torch.equal(found.scores(torch.ones(2, 3)), torch.full((2, 1), 19.0).double())


def test_copies_of_a_feature_share_its_weight():
    features, targets = problem("multinomial", examples=80, features=6)
    found = sparse_linear(torch.cat([features, features], 1), targets, halves(80), "multinomial")
    assert int((found.weights != 0).sum()) > 0
    np.testing.assert_allclose(found.weights[:6].numpy(), found.weights[6:].numpy(), atol=1e-6)


def test_a_class_that_is_not_in_the_training_part_is_never_foretold():
    features, targets = problem("multinomial", examples=80)
    known = sparse_linear(features, targets, halves(80), "multinomial")
    wider = torch.zeros(80, 6).double()
    wider[:, [0, 2, 5]] = targets
    wider[77] = torch.tensor([0.0, 0, 0, 1, 0, 0])  # an odd place: held out
    kept = torch.arange(80) != 77
    same = sparse_linear(features[kept], targets[kept], halves(80)[kept], "multinomial")
    found = sparse_linear(features, wider, halves(80), "multinomial")
    assert found.intercept.isinf().tolist() == [False, True, False, True, True, False]
    assert set(found.scores(features).argmax(1).tolist()) <= {0, 2, 5}
    np.testing.assert_allclose(found.weights[:, [0, 2, 5]].numpy(), same.weights.numpy(), atol=1e-6)
    assert int((known.weights != 0).sum()) > 0


@pytest.mark.parametrize("family", ["multinomial", "bernoulli"])
def test_decisions_that_do_not_vary_stay_as_they_are(family):
    features, targets = floats(40, 5), torch.tensor([[1.0, 0.0]]).expand(40, 2)
    found = sparse_linear(features, targets, halves(40), family)
    assert torch.equal(found.scores(features), torch.tensor([[torch.inf, -torch.inf]]).double().expand(40, 2))
    assert found.penalty == 0


def test_labels_of_which_some_do_not_vary_are_fitted_for_the_others():
    features, targets = problem("bernoulli", examples=80, outputs=2)
    padded = torch.cat([torch.ones(80, 1).double(), targets, torch.zeros(80, 1).double()], 1)
    found, alone = (sparse_linear(features, one, halves(80), "bernoulli") for one in (padded, targets))
    assert torch.equal(found.weights[:, 1:3], alone.weights)
    assert torch.equal(found.intercept[[0, 3]], torch.tensor([torch.inf, -torch.inf]).double())


def test_steps_grow_where_the_loss_of_many_classes_is_flat(monkeypatch):
    values, targets = problem("multinomial", examples=200, features=20, outputs=40)
    targets = targets[:, targets.any(0)]
    whole = proximal.Problem(values, targets, "multinomial")
    found = proximal.minimise(whole, whole.start, 0.01, FINE)
    monkeypatch.setattr(proximal, "LONGER", 1)
    safe = proximal.minimise(whole, whole.start, 0.01, FINE)
    assert found.settled
    assert safe.settled
    assert 2 * found.steps < safe.steps
    np.testing.assert_allclose(found.weights.numpy(), safe.weights.numpy(), atol=1e-4)


def test_an_optimum_that_is_not_reached_is_said(monkeypatch):
    values, targets = problem("multinomial")
    monkeypatch.setattr(proximal, "STEPS", 3)
    with pytest.raises(RuntimeError, match=r"the elastic net did not converge in 3 steps at penalty=0.01"):
        elastic_net(values, targets, 0.01, "multinomial")


def test_a_path_ends_where_its_steps_are_used_up(monkeypatch):
    values, targets = problem("multinomial", examples=200)
    whole = sparse_linear(values, targets, halves(200), "multinomial")
    monkeypatch.setattr(proximal, "STEPS", 30)
    part = sparse_linear(values, targets, halves(200), "multinomial")
    assert part.penalty > whole.penalty
    assert 0 < int((part.weights != 0).sum()) <= int((whole.weights != 0).sum())
