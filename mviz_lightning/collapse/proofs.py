"""What regressions without the user's model prove of every modality: what it tells alone, and beyond the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.collapse.beyond_others_proof import BeyondOthersProof, prove_beyond_others
from mviz_lightning.collapse.raw_input_proof import RawInputProof, prove_alone
from mviz_lightning.collapse.raw_inputs import RawInputs
from mviz_lightning.functional import Task


@dataclass(frozen=True)
class Proofs:
    """The proofs of all modalities of one set of examples.

    Attributes:
        alone: Modality -> what its raw inputs tell alone. A modality without numbers is absent.
        beyond: Modality -> what its raw inputs add to those of the others. Absent too where no other has numbers.
    """

    alone: Mapping[str, RawInputProof] = field(default_factory=dict)
    beyond: Mapping[str, BeyondOthersProof] = field(default_factory=dict)


def fit_proofs(
    probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0, kin: Tensor | None = None
) -> Proofs:
    """Predict the labels from the raw inputs of each modality, and from those of all with and without it.

    Args:
        probe: The examples, of which up to 1,024 are used.
        target: ``(N, ...)`` their labels; examples without one are left out.
        task: What the outputs stand for.
        outputs: Scores of one example, C.
        seed: Seed of the folds.
        kin: ``(N,)`` long: examples with the same number are kin and lie in one fold; None where no two are.

    Returns:
        The proofs; empty where there are too few labels.
    """
    return proofs_from(RawInputs.of(probe, target, task, outputs, seed, kin))


def proofs_from(inputs: RawInputs | None) -> Proofs:
    """Return what regressions prove of every modality; nothing where there is nothing to read."""
    if inputs is None:
        return Proofs()
    beyond = {name: prove_beyond_others(inputs, name) for name in inputs.things}
    told = {name: proof for name, proof in beyond.items() if proof is not None}
    return Proofs({name: prove_alone(inputs, name) for name in inputs.things}, told)
