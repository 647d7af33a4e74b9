"""End the training at an alarm."""

from mviz_lightning.actions.base import Action, Alarms

STOPS = {True: "The training is stopped (action='stop').", False: "The training stops when min_epochs/min_steps allow."}


class StopTraining(Action):
    """Ends the training at the first check with an alarm that ``min_epochs`` and ``min_steps`` allow.

    The same as ``UnimodalCollapse("stop")``. All processes stop together. There is nothing to undo.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import SaveCheckpoint, StopTraining
        >>> alarm = UnimodalCollapse(action=[SaveCheckpoint(), StopTraining()])
    """

    def announce(self, alarms: Alarms) -> str:
        """Say whether the training ends now."""
        return STOPS[alarms.may_stop]

    def after_check(self, alarms: Alarms) -> None:
        """Ask the trainer to stop; before its minimum it would stop later even if the alarm has ended by then."""
        if alarms.may_stop:
            trainer = alarms.trainer
            trainer.should_stop = True
