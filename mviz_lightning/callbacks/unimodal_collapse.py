"""The alarm: a callback that judges, run by run, whether the model still uses every modality."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any

from mviz_lightning.batch import Modality
from mviz_lightning.callbacks.acting_alarm import ActingAlarm, Actions, resolved
from mviz_lightning.callbacks.alarm_pairing import Judgement, Unguarded, monitors
from mviz_lightning.callbacks.error_policy import ErrorPolicy
from mviz_lightning.callbacks.lightning_packages import LightningModule, Trainer, rank_zero_info, rank_zero_only
from mviz_lightning.callbacks.return_address import ReturnAddress, Returned
from mviz_lightning.collapse.messages import NEVER_LEARNED, alert, headline, without_score
from mviz_lightning.collapse.rule import CollapseRule, state_name
from mviz_lightning.collapse.score_reference import ScoreReference
from mviz_lightning.collapse.towers import rule_for
from mviz_lightning.collapse.verdict import Verdict
from mviz_lightning.errors import CollapseWarning, ConfigurationError, Guard, warn_user
from mviz_lightning.errors.arguments import at_least, listed
from mviz_lightning.session.history import History
from mviz_lightning.session.session import Session
from mviz_lightning.sinks.records import Alert, RunRecord, State, of_head


class UnimodalCollapse(ActingAlarm):
    """Raises an alarm when the model stops using a modality that carries information, or never begins to use it.

    It reads the measurements of a :class:`MultimodalMonitor` of the same trainer, in any order of the two callbacks. It
    logs ``collapse/<m>`` under the monitor's name for every modality m:

    * 0: used.
    * 1: unused. Swapping m among examples changes next to nothing, and no evidence shows that m could help. A notice.
    * 2: collapsed. Unused, although m carries information about the label. An alarm with its evidence and advice:
      as a warning on the console, in the loggers, and as an alert in W&B.
    * 3: redundant. Unused; m carries information, and the other modalities carry the same, as far as a regression can
      detect. A notice: the model may not need m, or the others contain a leaked label.

    A modality whose total effect still rises towards the limit is 1 (unused) with a notice that it is not yet learned.

    Limits: it cannot detect a shortcut that training and validation data share. It cannot detect information that only
    a deep network finds in the raw inputs, for example in photographs; name such modalities in ``expected``.

    Args:
        action: What an alarm does besides the warning. ``"warn"``: nothing more. ``"stop"``: the training ends as soon
            as ``min_epochs`` and ``min_steps`` allow. An action of ``mviz_lightning.actions``, such as
            ``ModalityDropout()``: it undoes its changes when the alarm ends. A function or its dotted path: every
            process calls it as ``action(trainer, pl_module, verdict)`` when a modality collapses; an error in it ends
            the training. A list: all of them.
        patience: Number of checks in a row that must find a modality unused.
        expected: Names of modalities that are known to be informative. They count as collapsed when they are unused,
            and no other modality raises an alarm. By default a modality counts as informative if its raw inputs predict
            the labels in a regression, unless the others' raw inputs contain the same information.
        monitor: Name of the monitor to read, if the trainer has several.
        kin: Path of a leaf of the batch with equal entries for related examples, for example ``"metadata.patient"``:
            one string or number per example, such as a patient, a video or a site. The proofs from raw inputs never
            predict an example from its kin.
        max_total: Total effect, a share of the outputs' variance, below which a modality does not matter to the
            outputs.
        max_flips: Share of changed predictions (``flips/<m>``) below which it does not matter to the decisions.
        max_drop: Loss of skill when it is swapped, below which it does not matter to the score. If the skill is below
            ``min_skill``, the limit is reduced in proportion.
        min_skill: Skill above which the model is judged, or three of its standard errors if these are less; 0 is the
            score of a constant answer, 1 a perfect score. It is the skill on all examples that the monitor keeps.
        min_alone: Smallest share of the labels' variance, from 0 to 1, that the raw inputs of an informative modality
            explain alone; it must also exceed three standard errors.
        min_gain: Smallest share of the labels' variance that the raw inputs of an informative modality explain beyond
            the others; it must also exceed three standard errors.
        max_gain: Gain beyond the others, plus two standard errors, below which the modality is redundant.
        max_single: Share of one output's variance from which a modality counts as used, with more than 16 outputs: it
            may decide one of forty labels.
        min_nats: Loss of a language model's own answers when it is swapped (``nats/<m>``), in nats per token, below
            which it does not matter to them.
        wait: Number of checks within which a rising total must reach the limit to count as not yet learned; 0 for no
            waiting.

    Attributes:
        verdicts: Modality -> verdict of the latest check of the main head, ``"<head>/<modality>"`` -> that of a further
            head; empty before the first check.

    Raises:
        ConfigurationError: An argument has a value that is not allowed, or the trainer has no such monitor.

    Example:
        >>> from mviz_lightning import MultimodalMonitor, UnimodalCollapse
        >>> callbacks = [MultimodalMonitor({"image": "0", "text": "1"}, target="2"), UnimodalCollapse(action="stop")]
    """

    RETURNED = frozenset({"verdicts"})
    verdicts = Returned[dict[str, Verdict]]()

    def __init__(
        self,
        action: Actions = "warn",
        *,
        patience: int = 2,
        expected: Sequence[str] | None = None,
        monitor: str | None = None,
        kin: str | None = None,
        max_total: float = CollapseRule.max_total,
        max_flips: float = CollapseRule.max_flips,
        max_drop: float = CollapseRule.max_drop,
        min_skill: float = CollapseRule.min_skill,
        min_alone: float = CollapseRule.min_alone,
        min_gain: float = CollapseRule.min_gain,
        max_gain: float = CollapseRule.max_gain,
        max_single: float = CollapseRule.max_single,
        min_nats: float = CollapseRule.min_nats,
        wait: int = CollapseRule.wait,
    ) -> None:
        self.action = resolved(action)
        self.monitor, self.kin = monitor, str(kin) if isinstance(kin, int) else kin  # like target=, it may be a number
        if not isinstance(self.kin, str | None):
            raise ConfigurationError(f"kin={kin!r}: give the path of one leaf of the batch, such as 'patient'.")
        shares = {"max_total": max_total, "max_flips": max_flips, "max_drop": max_drop}
        shares |= {"min_skill": min_skill, "min_alone": min_alone, "min_gain": min_gain, "max_gain": max_gain}
        shares |= {"max_single": max_single, "min_nats": min_nats}
        for name, value in shares.items():
            if not isinstance(value, Real) or not math.isfinite(value) or (value < 0 and name != "min_skill"):
                example = getattr(CollapseRule, name)
                allowed = "a number of 0 or more" if name == "min_nats" else "a share from 0 to 1"
                raise ConfigurationError(f"{name}={value!r}: give {allowed}, for example {name}={example:g}.")
        if isinstance(expected, str):
            raise ConfigurationError(f"expected={expected!r}: give a list of names, [{expected!r}].")
        named = None if expected is None else listed("expected", expected)
        self.rule = CollapseRule(named, at_least(1, "patience", patience), wait=at_least(0, "wait", wait), **shares)
        self._address = ReturnAddress()
        self.verdicts = {}
        self._changed: list[Verdict] = []
        self._said: set[str] = set()
        self._anchored: set[str] = set()
        self._error_policy = ErrorPolicy(speaker="UnimodalCollapse")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a ConfigurationError if the trainer has no monitor to read."""
        self._error_policy.guard(partial(self._require_monitor, trainer), failed="no monitor could be found")

    on_validation_start = on_fit_start
    on_test_start = on_fit_start

    def _require_monitor(self, trainer: Trainer) -> None:
        names = monitors(trainer)
        if not names or self.monitor not in (None, *names):
            asked = f", name={self.monitor!r}" if self.monitor else ""
            refused = ConfigurationError(
                f"UnimodalCollapse reads what a monitor measures, and there is none among {names}; add "
                f"MultimodalMonitor(...{asked}) to the trainer's callbacks."
            )
            self._error_policy.absorb(refused, fatal=True)

    def begin(self, modalities: Mapping[str, Modality], history: History) -> None:
        """Begin to watch these modalities in the runs of a history.

        Raises:
            ConfigurationError: ``expected`` names another modality.
        """
        unknown = [name for name in self.rule.expected or () if name not in modalities]
        if unknown:
            raise ConfigurationError(f"expected={unknown}: choose among the modalities {list(modalities)}.")
        self.verdicts, self._changed, self._said, self._anchored = {}, [], set(), set()
        self._prepare(modalities, history)

    def judge(self, row: RunRecord, history: History, session: Session, guard: Guard) -> Judgement:
        """Judge a run; a run without values is not changed.

        Args:
            row: The run.
            history: The runs before it.
            session: Measures the reference for the scores.
            guard: Calls functions that may fail.
        """
        if not row.values:
            return Judgement(row, history.score_references)
        fits, known = row.phase == "fit", dict(history.score_references)
        sessions = {head: one for head, one in {"": session, **session.heads}.items() if row.of_head(head).values}
        judged = {head: self._judge_head(head, row, history, one, guard) for head, one in sessions.items()}
        for head, (found, _) in judged.items():
            self.verdicts |= {of_head(head, name): one for name, one in found.items()}
        self._changed = self._changes(judged, row, history)
        named = ((head, name, one) for head, (found, _) in judged.items() for name, one in found.items())
        states = {of_head(head, state_name(name)): float(one.state) for head, name, one in named}
        if fits:
            self._find_encoders(self.verdicts, history, session, guard)
            for head, (_, reference) in judged.items():
                known = {name: one for name, one in known.items() if name != head}
                known |= {} if reference is None else {head: reference}
        return Judgement(replace(row, values=row.values | states), known)

    def _judge_head(
        self, head: str, row: RunRecord, history: History, session: Session, guard: Guard
    ) -> tuple[dict[str, Verdict], ScoreReference | None]:
        """Return the verdicts on one head, and the reference for its scores from now on.

        Args:
            head: The head; ``""`` for the main one.
            row: The run of all heads.
            history: The runs before it.
            session: Measures the reference for the scores of the head.
            guard: Calls functions that may fail.
        """
        fits, runs = row.phase == "fit", [*history.judged_before(head), row.of_head(head)]
        known = history.score_references.get(head)
        measured = self._measured(head, known, session, guard) if fits else guard(session.score_reference, None)
        runs = runs if fits and history.tells_training else runs[-1:]
        judge = partial(self._judged, runs, modalities=history.modalities, alone=not (fits and history.tells_training))
        reference, found = self._proven(judge, measured or ScoreReference(), session, guard)
        if measured is not None and measured.skill(0) is None:
            told = without_score(runs[-1], self.rule.expected)
            self._note(f"head {head}: {told}" if head else told)
        if fits and measured is not None:
            self._anchored.add(head)
        names, agreed = session.class_names or (), session.ranks.gather(found)[0]
        verdicts = {name: replace(one, head=head, class_names=names) for name, one in agreed.items()}
        for name in (name for name in session.unread if name in verdicts):  # for example in an auxiliary head
            collapsed = verdicts[name].state is State.COLLAPSED
            verdicts[name] = replace(verdicts[name], state=State.UNUSED) if collapsed else verdicts[name]
        return verdicts, None if measured is None else reference

    def _measured(
        self, head: str, known: ScoreReference | None, session: Session, guard: Guard
    ) -> ScoreReference | None:
        """Return the reference for scores, measured once in a fit; a resumed training keeps its proofs."""
        if head in self._anchored:
            return known
        found: ScoreReference | None = guard(session.score_reference, None)
        return found and (replace(found, alone=known.alone, beyond=known.beyond) if known else found)

    def _proven(
        self,
        judge: Callable[[ScoreReference], dict[str, Verdict]],
        reference: ScoreReference,
        session: Session,
        guard: Guard,
    ) -> tuple[ScoreReference, dict[str, Verdict]]:
        """Return the verdicts. Where a modality is not used, fit the proofs from the raw inputs, once."""
        verdicts = judge(reference)
        unproven = not reference.proven and any(verdict.state for verdict in verdicts.values())
        if not any(session.ranks.gather(unproven)):  # all processes fit the proof, or none
            return reference, verdicts
        reference = reference.with_proofs(guard(session.fit_proofs, None))
        return reference, judge(reference)

    def _judged(
        self, runs: Sequence[RunRecord], reference: ScoreReference, modalities: Sequence[str], *, alone: bool
    ) -> dict[str, Verdict]:
        """Judge by the whole training, or, with ``alone``, by the last run only."""
        if not alone:
            return rule_for(runs[-1], self.rule).judge(runs, reference, modalities)
        found = rule_for(runs[-1], replace(self.rule, patience=1)).judge(runs, reference, modalities)
        return {name: replace(verdict, since=None) for name, verdict in found.items()}

    def _changes(
        self, judged: Mapping[str, tuple[Mapping[str, Verdict], Any]], row: RunRecord, history: History
    ) -> list[Verdict]:
        """Return the verdicts that differ from the run before; outside the fit, those that are not "used"."""
        changed = []
        for head, (found, _) in judged.items():
            runs = history.fitted_of(head) if row.phase == "fit" else []
            before = runs[-1].values if runs else {}
            changed += [one for name, one in found.items() if one.state != before.get(f"collapse/{name}", 0)]
        return changed

    def announce(self, trainer: Trainer, row: RunRecord) -> list[Alert]:
        """Report the changes of a run on the console; return the alerts for the loggers."""
        alerts = [alert(verdict, self._announced(trainer, verdict, row)) for verdict in self._changed]
        for said in alerts:
            _say(said)
        return alerts

    def act(self, trainer: Trainer, pl_module: LightningModule, row: RunRecord, unguarded: Unguarded) -> None:
        """Call the actions when a modality collapses during the fit; a user's function may raise."""
        changed, self._changed = self._changed, []
        if row.phase == "fit":
            self._act(trainer, pl_module, row, changed, unguarded)

    def conclude(self, history: History) -> str:
        """Return the state of every modality at the end of the fit, one line each; ``""`` if none was judged."""
        for head, reference in history.score_references.items():
            found = [verdict for verdict in self.verdicts.values() if verdict.head == head]
            if found and reference.skill(0) is not None and all(verdict.row is None for verdict in found):
                told = NEVER_LEARNED.format(self.rule.min_skill)
                self._note(f"head {head}: {told}" if head else told)
        return "\n".join(headline(verdict) for verdict in self.verdicts.values() if verdict.row is not None)

    def _note(self, message: str) -> None:
        """Log a message about something that is not judged, once."""
        if message not in self._said:
            self._said.add(message)
            rank_zero_info(f"UnimodalCollapse: {message}")


def _say(said: Alert) -> None:
    message = f"UnimodalCollapse: {said.text}"
    if said.urgent:
        rank_zero_only(warn_user)(message, CollapseWarning)
    else:
        rank_zero_info(message)
