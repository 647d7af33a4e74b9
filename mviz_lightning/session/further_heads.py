"""The further heads of a model: find them, configure each of them, and share one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.joint_outputs import JointOutputs, JointPredict, with_joint
from mviz_lightning.engine.model_call import Predict
from mviz_lightning.engine.named_outputs import JointPick, PickedOutput
from mviz_lightning.engine.output_reader import ROW_READER
from mviz_lightning.engine.positions import EvenReader
from mviz_lightning.errors import ConfigurationError, describe_error
from mviz_lightning.explainers import Explainer
from mviz_lightning.observation.joint_call import JointCall
from mviz_lightning.observation.observed_step import ObservedStep
from mviz_lightning.observation.settling import ObservedModel, settled_head
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.head_arguments import require_heads
from mviz_lightning.session.tried_model import TriedModel


@dataclass(frozen=True)
class FurtherHead:
    """A further head before it is tried.

    Attributes:
        config: Its configuration.
        observed: What the user's own step showed about it; None if a function returns it.
    """

    config: SessionConfig
    observed: ObservedModel | None = None


@dataclass(frozen=True)
class FoundHeads:
    """The heads of a model.

    Attributes:
        main: Name of the main head; ``""`` if heads have no names.
        further: Name of each further head that can be measured -> its description.
        lines: Parts of the log line about all heads, one for each further head.
        modalities: Names of the modalities that the main head depends on; empty means all.
    """

    main: str = ""
    further: Mapping[str, FurtherHead] | None = None
    lines: Sequence[str] = ()
    modalities: Sequence[str] = ()

    def line(self, main: str) -> str:
        """Return the line of the log that lists all heads, the main one first; ``main`` is the text about it."""
        return "; ".join([f"main head {self.main}: {main}", *self.lines]) if self.lines else main


def heads_of_step(
    seen: ObservedStep,
    main: ObservedModel,
    module: nn.Module,
    trial: Probe,
    evaluator_of: Callable[[Predict], Evaluator],
    config: SessionConfig,
) -> FoundHeads:
    """Return the heads that the user's own step shows; one that cannot be settled is left out alone.

    Args:
        seen: The step and what it showed.
        main: What it showed about the main head.
        module: The user's model.
        trial: The first examples of the batch that the step was given.
        evaluator_of: Makes the evaluator that calls the model in one way.
        config: The configuration of the measurement.

    Raises:
        ConfigurationError: An argument names a head that does not exist.
    """
    require_heads(config.by_head, [main.name, *main.further])
    found, lines = {}, list[str]()
    for name, head in main.further.items():
        try:
            observed = settled_head(seen, module, trial, evaluator_of, head)
            own = config.of_head(name, main=False).of_modalities(observed.modalities)
        except Exception as error:
            lines.append(f"head {name} is not measured: {first_sentence(error)}")
            continue
        found[name] = FurtherHead(own, replace(observed, name=name, line=""))  # one line of the log lists all
        lines.append(f"head {name}: {observed.line}")
    return FoundHeads(main.name, found, lines, main.modalities)


def heads_of_function(predict: Predict, config: SessionConfig) -> FoundHeads:
    """Return the heads that the user named in ``target=``, for a function that returns the outputs of all heads.

    Args:
        predict: Calls the model.
        config: The configuration of the measurement.
    """
    main, *others = heads_named(config)
    further = {
        name: FurtherHead(replace(config.of_head(name, main=False), predict=picked(predict, name, config)))
        for name in others
    }
    return FoundHeads(main, further)


def heads_named(config: SessionConfig) -> list[str]:
    """Return the heads that ``target=`` names and ``heads=`` chooses; empty if ``target=`` names none.

    Raises:
        ConfigurationError: ``heads=`` names another one.
    """
    there = list(config.by_head.get("target", {}))
    if there:
        for argument in ("task", "score", "class_names"):
            require_heads({argument: config.by_head.get(argument, {})}, there)
        require_heads({"heads": dict.fromkeys(config.heads or ())}, there)
    return [name for name in config.heads or there if name in there]


def picked(predict: Predict, name: str, config: SessionConfig) -> PickedOutput:
    """Return a call that returns one head from the result of another call."""
    return PickedOutput(predict, name, config.reserved)


def joint_predict(models: Mapping[str, tuple[Predict, ObservedModel | None]]) -> JointPredict | None:
    """Return a function that computes the outputs of all heads in one forward; None if there is none.

    Args:
        models: Head -> its own call, and what the step showed about it.
    """
    ways = {name: observed.way for name, (_, observed) in models.items() if observed is not None}
    if len(ways) == len(models):
        return JointCall(ways)
    calls = {name: call for name, (call, _) in models.items() if isinstance(call, PickedOutput)}
    if ways or len(calls) < len(models):
        return None
    return JointPick(calls)


def joint_of_trial(evaluator: Evaluator, main: ObservedModel, heads: FoundHeads) -> JointOutputs | None:
    """Return the outputs that all heads of a step share while they are tried; None if they cannot share any.

    Args:
        evaluator: Runs the model.
        main: What the step showed about the main head.
        heads: The further heads.
    """
    further = {name: one.observed for name, one in (heads.further or {}).items() if one.observed is not None}
    known = {main.name: main, **further}
    if any(one.head.contrastive for one in known.values()):
        return None
    readers = {name: ROW_READER if one.head.axes is None else EvenReader(one.head.axes) for name, one in known.items()}
    calls = {
        name: replace(evaluator, predict=one.way.call.predict, reader=readers[name]) for name, one in known.items()
    }
    return with_joint(calls, JointCall({name: one.way for name, one in known.items()}))[1]


def fitting(config: SessionConfig, outputs: int) -> SessionConfig:
    """Return the configuration of a head without the explainers that cannot explain this number of outputs."""

    def fits(explainer: Explainer) -> bool:
        with suppress(ConfigurationError):
            explainer.check(outputs)
            return True
        return False

    return replace(config, explainers=list(filter(fits, config.explainers)))


def at_path(probe: Probe, path: str) -> Probe:
    """Return a probe whose labels are a leaf.

    Raises:
        ConfigurationError: There is no such leaf.
    """
    if path not in probe.schema.owners:
        raise ConfigurationError(
            f"target: there is no leaf {path!r} in the batch; leaves found: {', '.join(probe.schema.paths)}."
        )
    return replace(probe, schema=replace(probe.schema, target=path), labels=None)


def labelling(target: str | None, named: str | None, tried: TriedModel) -> Callable[[Probe], Probe] | None:
    """Return a function that gives examples their labels; None if their schema already does, or nothing does.

    Args:
        target: Path of the labels of this head, if the user named it.
        named: Path of the labels in the schema of the examples.
        tried: The model, and what the user's own step showed about this head.
    """
    observed, module = tried.observed, tried.evaluator.module
    if tried.positions is not None:
        return partial(tried.positions.labelled, module=module)
    if target is not None and (observed is None or not observed.tells_labels(target)):
        return None if target == named else partial(at_path, path=target)
    return None if observed is None else partial(observed.labelled, module=module)


def without_labels(probe: Probe) -> Probe:
    """Return a probe without the labels of another head."""
    return replace(probe, schema=replace(probe.schema, target=None), labels=None, label_names=())


def first_sentence(error: Exception) -> str:
    """Return why something failed, in one line."""
    return describe_error(error).partition("\n")[0]
