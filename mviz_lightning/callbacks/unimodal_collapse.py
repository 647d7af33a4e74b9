"""The alarm: a callback that reads the monitor's history."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, TypeAlias

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from mviz_lightning.callbacks import lightning_adapter as trainer_facts
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.portable import Portable
from mviz_lightning.collapse.messages import alert, headline
from mviz_lightning.collapse.rule import CollapseRule, Verdict, state_names
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.engine.calling import resolve
from mviz_lightning.errors import CollapseWarning, ConfigurationError, at_least
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import Alert, RunRecord, State

Action: TypeAlias = Callable[[Trainer, LightningModule, Verdict], None]
Guard: TypeAlias = Callable[[Callable[[], Any], Any], Any]

WITHOUT_LABELS = (
    "without labels (target=), flips alone are judged (totals in a regression), from the third check on, and only "
    "modalities named in expected= can be called collapsed."
)
WITHOUT_SCALE = (
    "score= does not tell one constant answer from the labels themselves; flips alone are judged (totals in a "
    "regression), from the third check on."
)
NEVER_LEARNED = (
    "no modality was judged, since the score never came min_skill={:g} of the way from chance to perfection; of a "
    "model that has not learned, shares mean nothing."
)
STOPS = {True: "The training is stopped (action='stop').", False: "The training stops when min_epochs/min_steps allow."}


class UnimodalCollapse(Portable):
    """Tells, while the training runs, that the model has stopped using a modality, or never began to.

    Reads what a :class:`MultimodalMonitor` in the same list measures, before or after it. Logs ``collapse/<m>`` under
    the monitor's name: 0 used; 1 unused, a notice; 2 collapsed, unused although it carries information, an alarm with
    its evidence and what to try, on the console, in the loggers, and as an alert of W&B.

    A shortcut that training and validation share one to one, and information that only a network finds in the raw
    inputs, cannot be seen.

    Args:
        action: What an alarm does besides: ``"warn"`` nothing, ``"stop"`` ends the training when ``min_epochs`` allow
            it; or a function, or its dotted path, called on every process with ``(trainer, pl_module, verdict)``
            whenever a modality collapses. What it raises ends the training.
        patience: Checks in a row at which a modality must be found unused.
        expected: Modalities that must be used, known to be informative: unused, they are collapsed; no alarm is ever
            raised for others. By default all, where a regression on the raw inputs shows that they are informative.
        monitor: Name of the monitor that is read, where there are several.
        max_total: Total effect below which a modality does not matter to the outputs.
        max_flips: Share of changed predictions (``flips``) below which it does not matter to the decisions.
        max_drop: Skill lost when it is swapped, below which it does not matter to the score.
        min_skill: Skill of the model from which on it is judged: 0 is a constant answer, 1 perfection.
        min_alone: Share of the labels' variance that raw inputs must explain to count as informative.

    Attributes:
        verdicts: Modality -> what is known of it after the latest check; empty before the first.

    Raises:
        ConfigurationError: An argument is impossible, or there is no such monitor.

    Example:
        >>> from mviz_lightning import MultimodalMonitor, UnimodalCollapse
        >>> callbacks = [MultimodalMonitor({"image": "0", "text": "1"}, target="2"), UnimodalCollapse(action="stop")]
    """

    def __init__(
        self,
        action: str | Action = "warn",
        *,
        patience: int = 2,
        expected: Sequence[str] | None = None,
        monitor: str | None = None,
        max_total: float = CollapseRule.max_total,
        max_flips: float = CollapseRule.max_flips,
        max_drop: float = CollapseRule.max_drop,
        min_skill: float = CollapseRule.min_skill,
        min_alone: float = CollapseRule.min_alone,
    ) -> None:
        self.action = _resolved(action)
        self.monitor = monitor
        shares = {"max_total": max_total, "max_flips": max_flips, "max_drop": max_drop}
        shares |= {"min_skill": min_skill, "min_alone": min_alone}
        for name, value in shares.items():
            if not isinstance(value, Real) or not math.isfinite(value) or (value < 0 and name != "min_skill"):
                raise ConfigurationError(f"{name}={value!r}: give a share, such as the default.")
        if isinstance(expected, str):
            raise ConfigurationError(f"expected={expected!r}: give a list of names, [{expected!r}].")
        named = None if expected is None else tuple(expected)
        self.rule = CollapseRule(named, at_least(1, "patience", patience), **shares)
        self.verdicts: dict[str, Verdict] = {}
        self._changed: list[Verdict] = []
        self._said: set[str] = set()
        self._fresh = True
        self._error_policy = ErrorPolicy(speaker="UnimodalCollapse")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse to watch over nothing."""
        self._error_policy.guard(partial(self._require_monitor, trainer), failed="the monitor cannot be looked for")

    on_validation_start = on_fit_start
    on_test_start = on_fit_start

    def _require_monitor(self, trainer: Trainer) -> None:
        names = trainer_facts.monitors(trainer)
        if not names or self.monitor not in (None, *names):
            asked = f", name={self.monitor!r}" if self.monitor else ""
            refused = ConfigurationError(
                f"UnimodalCollapse reads what a monitor measures, and there is none among {names}; add "
                f"MultimodalMonitor(...{asked}) to the trainer's callbacks."
            )
            self._error_policy.absorb(refused, fatal=True)

    def reads(self, monitor: str, monitors: Sequence[str]) -> bool:
        """Tell whether it is this monitor that is read.

        Raises:
            ConfigurationError: There are several, and none was named.
        """
        if self.monitor is None and len(monitors) > 1:
            raise ConfigurationError(f"UnimodalCollapse: there are the monitors {list(monitors)}; say monitor=.")
        return self.monitor in (None, monitor)

    def begin(self, modalities: Sequence[str]) -> None:
        """Begin to watch.

        Raises:
            ConfigurationError: There is no such modality as was expected.
        """
        unknown = [name for name in self.rule.expected or () if name not in modalities]
        if unknown:
            raise ConfigurationError(f"expected={unknown}: choose among the modalities {list(modalities)}.")
        self.verdicts, self._changed, self._said, self._fresh = {}, [], set(), True

    def judge(self, row: RunRecord, history: History, session: Session, guard: Guard) -> RunRecord:
        """Return a run with the states of all modalities; one that gave no values as it is.

        Args:
            row: The run.
            history: Those before it.
            session: Knows what scores and modalities are measured against.
            guard: Does what may fail, or returns something instead.
        """
        if not row.values:
            return row
        measured = (
            self._measured(history, session, guard) if row.stage == "fit" else guard(session.score_reference, None)
        )
        score_reference = measured or ScoreReference()
        self._judge(row, history, score_reference)
        unproven = score_reference.alone is None and any(verdict.state for verdict in self.verdicts.values())
        if any(session.ranks.gather(unproven)):  # or one rank would ask and wait for the others
            score_reference = replace(score_reference, alone=guard(session.fit_raw_input_proof, None))
            self._judge(row, history, score_reference)
            if row.stage == "fit" and history.score_reference is not None:
                history.score_reference = replace(history.score_reference, alone=score_reference.alone)
        if measured is not None and measured.skill(0) is None:
            self._note(WITHOUT_SCALE if "score" in row.values else WITHOUT_LABELS)
        self.verdicts = session.ranks.gather(self.verdicts)[0]
        self._changed = self._changes(row, history)
        states = [float(verdict.state) for verdict in self.verdicts.values()]
        return replace(row, values=row.values | dict(zip(state_names(history.modalities), states, strict=True)))

    def _measured(self, history: History, session: Session, guard: Guard) -> ScoreReference | None:
        """Return what scores are measured against, asked once; a training that goes on keeps its proofs."""
        if self._fresh:
            found = guard(session.score_reference, None)
            known = history.score_reference.alone if history.score_reference else None
            history.score_reference = found and replace(found, alone=known)
            self._fresh = found is None
        return history.score_reference

    def _judge(self, row: RunRecord, history: History, score_reference: ScoreReference) -> None:
        """Judge by the whole training, or by one run outside it."""
        fits = row.stage == "fit"
        rule = self.rule if fits else replace(self.rule, patience=1)
        found = rule.judge([*history.fitted, row] if fits else [row], score_reference, history.modalities)
        self.verdicts = {name: verdict if fits else replace(verdict, since=None) for name, verdict in found.items()}

    def _changes(self, row: RunRecord, history: History) -> list[Verdict]:
        """Return what is not as it was at the run before; outside the fit, what is not as it should be."""
        before = history.fitted[-1].values if row.stage == "fit" and history.fitted else {}
        return [
            verdict for name, verdict in self.verdicts.items() if verdict.state != before.get(f"collapse/{name}", 0)
        ]

    def announce(self, trainer: Trainer, row: RunRecord) -> list[Alert]:
        """Say what has changed with a run; return what the loggers should show."""
        alerts = [alert(verdict, self._footer(trainer, verdict, row)) for verdict in self._changed]
        for said in alerts:
            _say(said)
        return alerts

    def act(self, trainer: Trainer, pl_module: LightningModule, row: RunRecord, guard: Guard) -> None:
        """Do what was asked for when a modality collapses, during the fit; a function of the user's may raise."""
        changed, self._changed = self._changed, []
        if row.stage != "fit":
            return
        if callable(self.action):
            for verdict in changed:
                if verdict.state is State.COLLAPSED:
                    self.action(trainer, pl_module, verdict)
        elif self.action == "stop":
            guard(partial(self._stop, trainer, row), None)

    def _stop(self, trainer: Trainer, row: RunRecord) -> None:
        collapsed = any(row.values.get(name) == State.COLLAPSED for name in state_names(list(self.verdicts)))
        if collapsed and trainer_facts.may_stop(trainer):
            trainer.should_stop = True

    def _footer(self, trainer: Trainer, verdict: Verdict, row: RunRecord) -> str:
        stops = self.action == "stop" and verdict.state is State.COLLAPSED and row.stage == "fit"
        return STOPS[trainer_facts.may_stop(trainer)] if stops else ""

    def conclude(self, history: History) -> str:
        """Return how every modality stands at the end of the fit, in lines; empty where nothing was judged."""
        scaled = history.score_reference is not None and history.score_reference.skill(0) is not None
        if scaled and self.verdicts and all(verdict.row is None for verdict in self.verdicts.values()):
            self._note(NEVER_LEARNED.format(self.rule.min_skill))
        return "\n".join(headline(verdict) for verdict in self.verdicts.values() if verdict.row is not None)

    def _note(self, message: str) -> None:
        """Say once what is not judged, and why."""
        if message not in self._said:
            self._said.add(message)
            rank_zero_info(f"UnimodalCollapse: {message}")


def _say(said: Alert) -> None:
    message = f"UnimodalCollapse: {said.text}"
    if said.urgent:
        rank_zero_warn(message, category=CollapseWarning)
    else:
        rank_zero_info(message)


def watching(trainer: Trainer, monitor: str, modalities: Sequence[str]) -> UnimodalCollapse | None:
    """Return the callback that reads a monitor, wherever it stands in the list.

    Raises:
        ConfigurationError: There are several.
    """
    callbacks, names = trainer.callbacks, trainer_facts.monitors(trainer)  # type: ignore[attr-defined]
    found = [each for each in callbacks if isinstance(each, UnimodalCollapse) and each.reads(monitor, names)]
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} UnimodalCollapse read the monitor {monitor!r} and would log the same keys; keep one."
        )
    for alarm in found:
        alarm.begin(modalities)
    return found[0] if found else None


def _resolved(action: Any) -> Any:
    """Return the name or the function of an action.

    Raises:
        ConfigurationError: There is no such action.
    """
    if action in ("warn", "stop") or callable(action):
        return action
    if isinstance(action, str) and "." in action:
        return resolve(action, "action")
    raise ConfigurationError(
        f"action={action!r}: choose 'warn' or 'stop', or give a function of (trainer, pl_module, verdict) or its path."
    )
