"""Evaluators that return a model's fused features beside its outputs."""

from dataclasses import dataclass, field, replace

from mviz_lightning.engine.answer_outputs import OwnAnswers, WholeAnswers
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.feature_maps import find_map_layer
from mviz_lightning.engine.features import find_layer, require_layer, with_features
from mviz_lightning.engine.isolation import isolated
from mviz_lightning.engine.shape_buckets import alike
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import Explainer, ProbeContext
from mviz_lightning.session.given_positions import WITHOUT

TRIED = 4
"""Number of rows of the forward pass in which the last linear layer is searched."""

LIKELIHOODS = (
    "the output is the likelihood of answers of several tokens, which have no single feature vector. Remove this "
    "explainer, or use answers whose first tokens differ."
)
"""Reason why own answers and whole answers have no features, for the error message."""


@dataclass
class FeatureEvaluators:
    """Makes and keeps the evaluator that each explainer needs.

    Attributes:
        probe_context: The fixed examples and how their outputs are read.
        evaluator: Evaluates the model's outputs.
    """

    probe_context: ProbeContext
    evaluator: Evaluator
    _featured: dict[str, Evaluator] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows that all evaluators of this process have evaluated so far."""
        return self.evaluator.rows + sum(evaluator.rows for evaluator in self._featured.values())

    def of(self, explainer: Explainer) -> Evaluator:
        """Return an explainer's evaluator, the same one every time.

        Raises:
            ConfigurationError: The explainer needs features, and the model has none, or not the named layer.
        """
        regions = explainer.needs_regions and self.probe_context.maps is not None
        if not (explainer.needs_positions or explainer.needs_features or regions):
            return self.evaluator
        if explainer.name not in self._featured:
            self._featured[explainer.name] = self._made(explainer)
        return self._featured[explainer.name]

    def _made(self, explainer: Explainer) -> Evaluator:
        if explainer.needs_positions:
            return self._with_positions(explainer)
        found = replace(self.evaluator, rows=0)
        if explainer.needs_features:
            found = self._with_features(explainer)
        maps = self.probe_context.maps
        if maps is None or not explainer.needs_regions:
            return found
        return maps.group_evaluator(found, self.probe_context.probe.groups)

    def _with_positions(self, explainer: Explainer) -> Evaluator:
        maps = self.probe_context.maps
        if maps is None:
            raise ConfigurationError(f"{explainer.name}: {WITHOUT} leave this explainer out.")
        return replace(maps.lattice_evaluator(self.evaluator), rows=0)

    def outputs_of(self, explainer: Explainer, outputs: int) -> int:
        """Return the number of output values that an explainer gets for every row, features not included.

        Args:
            explainer: The method.
            outputs: Number of outputs of one prediction, C.
        """
        maps = self.probe_context.maps
        if maps is not None and explainer.needs_positions:
            return outputs * maps.places.shape[1]
        return outputs * (self.probe_context.regions_read if explainer.needs_regions else 1)

    def _with_features(self, explainer: Explainer) -> Evaluator:
        evaluator, probe, maps = self.evaluator, self.probe_context.probe, self.probe_context.maps
        layer = explainer.layer
        if evaluator.all_pairs is not None:
            raise ConfigurationError("a model that scores all pairs has no fused features; leave this explainer out.")
        if isinstance(evaluator.predict, OwnAnswers | WholeAnswers):
            raise ConfigurationError(f"{explainer.name}: {LIKELIHOODS}")
        if layer is None:
            layer = self._last_layer()
        require_layer(evaluator.module, layer)
        if maps is None:
            found = replace(evaluator, predict=with_features(evaluator.predict, layer))
        else:
            found = maps.featured_evaluator(evaluator, layer)
        # It searches again for what can be reused: the features are outputs too.
        found = replace(found, rows=0, _plan=None, _planned_for=None)
        with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
            plan = found.plan_for(probe)
        # A layer inside a replayed submodule would not be called.
        hidden = plan is not None and any(layer.startswith(f"{name}.") for name in plan.modules)
        return replace(found, reuse=found.reuse and not hidden)

    def _last_layer(self) -> str:
        evaluator, probe, maps = self.evaluator, self.probe_context.probe, self.probe_context.maps
        with isolated(evaluator.module, seed=evaluator.seed), evaluator.precision():
            batch = probe.batch(alike(probe, TRIED).sources, {}, evaluator.device)
            if maps is None:
                return find_layer(evaluator.module, evaluator.predict, batch)
            return find_map_layer(evaluator.module, evaluator.predict, batch, maps.axes)
