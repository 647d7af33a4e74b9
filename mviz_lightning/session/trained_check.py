"""The checks of the dry run, repeated on the drawn examples once the model is trained.

Before the training, weights that are 0 hide dependencies of the outputs, and the first batch shows few examples.
"""

from dataclasses import dataclass, field, replace

from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.batch.probe import fingerprint
from mviz_lightning.engine import dry_run_checks
from mviz_lightning.engine.decomposed_calls import without_logits
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.model_call import ModelCall
from mviz_lightning.engine.noise_spread import noise_line, noise_spread
from mviz_lightning.engine.processes import Ranks
from mviz_lightning.session.remarks import Remarks
from mviz_lightning.session.unmasked_leaves import UnmaskedLeaves


@dataclass
class TrainedCheck:
    """Checks the model at the first run, and at the first run after it with other outputs.

    Attributes:
        named: Modalities and leaves that warnings named; each is named once.
        unmasked: Leaves that are in no segment and change the outputs; more may be found.
        remarks: Takes a line about the noise of a model that samples.
    """

    named: set[str]
    unmasked: UnmaskedLeaves = field(default_factory=UnmaskedLeaves)
    remarks: Remarks = field(default_factory=Remarks)
    _first: str = ""
    _done: bool = False

    def run(self, outputs: Tensor, evaluator: Evaluator, probe: Probe, call: ModelCall, ranks: Ranks) -> None:
        """Check that rows are independent, and warn of what the outputs depend on; all processes do the same.

        Args:
            outputs: ``(R, C)`` outputs of the run on this process.
            evaluator: Runs the model.
            probe: The drawn examples.
            call: The call of the model.
            ranks: The processes.

        Raises:
            ConfigurationError: A row's outputs depend on other rows; then the next run is checked too.
        """
        if self._done:
            return
        found = "".join(ranks.gather(fingerprint({"": outputs})))
        if found == self._first:
            return
        with ranks.raise_on_all_ranks():
            self._check(replace(without_logits(evaluator), draws=1), probe, call, evaluator.draws)
        self._first, self._done = found, bool(self._first)

    def _check(self, evaluator: Evaluator, probe: Probe, call: ModelCall, draws: int) -> None:
        outputs = dry_run_checks.check_independence(evaluator, probe, draws)
        dry_run_checks.warn_of_outputs(evaluator, probe, call, self.named, trained=True)
        dry_run_checks.warn_of_stray_leaves(evaluator, probe, outputs, call, self.named)
        self.unmasked.check(evaluator, probe, outputs)
        if evaluator.noisy or draws > 1:
            self.remarks.say(noise_line(noise_spread(evaluator, probe), draws), once="noise")
