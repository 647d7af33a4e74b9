"""Leaves of a modality that no segment covers although they change the outputs: maps do not show their effect."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mviz_lightning.batch import Probe
from mviz_lightning.engine.evaluator import Evaluator
from mviz_lightning.engine.leaf_swaps import own_leaf_matters
from mviz_lightning.errors.arguments import enumerated
from mviz_lightning.modalities import ModalityType
from mviz_lightning.session.remarks import Remarks


@dataclass
class UnmaskedLeaves:
    """Collects, over the checks of a session, the leaves that are never masked although they change the outputs.

    Attributes:
        candidates: Modality -> its leaves that no segment covers; empty if nothing is explained.
        found: Modality -> the candidates that changed the outputs.
    """

    candidates: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    _content: dict[str, list[str]] = field(default_factory=dict)

    def consider(self, modality_types: Mapping[str, ModalityType]) -> None:
        """Take the leaves that the segments of these modalities leave out."""
        for name, modality_type in modality_types.items():
            self._content[name] = modality_type.content
            self.candidates[name] = [path for path in modality_type.companions if path not in modality_type.content]

    def check(self, evaluator: Evaluator, probe: Probe, outputs: Tensor) -> None:
        """Swap each candidate among examples, and keep those that change the outputs.

        Args:
            evaluator: Runs the model.
            probe: Some examples.
            outputs: ``(R, C)`` outputs of the trial rows, not recombined.
        """
        for name, paths in self.candidates.items():
            known = self.found.get(name, [])
            # With sharded weights, all processes must run equally many forward passes, so known leaves are tried again.
            tried = [path for path in paths if evaluator.sharded or path not in known]
            matter = [path for path in tried if own_leaf_matters(evaluator, probe, name, path, outputs)]
            more = [path for path in matter if path not in known]
            if more:
                self.found[name] = [*known, *more]

    def report(self, remarks: Remarks) -> None:
        """Write a line into the log for each leaf, once."""
        for name, paths in self.found.items():
            for path in paths:
                remarks.say(
                    f"the segments of {name} are those of {enumerated(self._content[name])}; {path} also changes the "
                    f"output and is never masked: the shares of {name} include its effect, the maps do not"
                )
