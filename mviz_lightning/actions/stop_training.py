"""End the training at an alarm."""

from mviz_lightning.actions.base import Action, Alarms

STOPS = {True: "The training is stopped (action='stop').", False: "The training stops when min_epochs/min_steps allow."}


class StopTraining(Action):
    """Ends the training at the first check with an alarm that ``min_epochs`` and ``min_steps`` allow.

    Equivalent to ``UnimodalCollapse("stop")``. All processes stop together. There is nothing to undo.

    Example:
        >>> from mviz_lightning import UnimodalCollapse
        >>> from mviz_lightning.actions import SaveCheckpoint, StopTraining
        >>> alarm = UnimodalCollapse(action=[SaveCheckpoint(), StopTraining()])
    """

    def announce(self, alarms: Alarms) -> str:
        """Return whether the training ends now, in words."""
        return STOPS[alarms.may_stop]

    def after_check(self, alarms: Alarms) -> None:
        """Stop the trainer once its minimum is reached: a request before it would count even after the alarm's end."""
        if alarms.may_stop:
            trainer = alarms.trainer
            trainer.should_stop = True
