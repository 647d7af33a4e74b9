"""Proofs by regressions without the user's model: information of a modality alone, and beyond the others."""

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
        alone: Modality -> proof from its raw inputs alone. Modalities without numbers are not included.
        beyond: Modality -> proof of the gain of its raw inputs over the others'. Empty if only one modality has
            numbers.
    """

    alone: Mapping[str, RawInputProof] = field(default_factory=dict)
    beyond: Mapping[str, BeyondOthersProof] = field(default_factory=dict)


def fit_proofs(
    probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0, kin: Tensor | None = None
) -> Proofs:
    """Predict the labels from the raw inputs of each modality alone, and of all modalities with and without it.

    Args:
        probe: The examples; up to 1,024 are used.
        target: ``(N, ...)`` their labels; examples without one are left out.
        task: Type of the prediction task.
        outputs: Number of outputs of one example, C.
        seed: Seed of the folds.
        kin: ``(N,)`` long: examples with equal numbers are related (kin) and are in one fold; None if no two are.

    Returns:
        The proofs; empty if there are too few labels.
    """
    return proofs_from(RawInputs.of(probe, target, task, outputs, seed, kin))


def proofs_from(inputs: RawInputs | None) -> Proofs:
    """Return the proofs of every modality; empty without inputs."""
    if inputs is None:
        return Proofs()
    beyond = {name: prove_beyond_others(inputs, name) for name in inputs.things}
    told = {name: proof for name, proof in beyond.items() if proof is not None}
    return Proofs({name: prove_alone(inputs, name) for name in inputs.things}, told)
