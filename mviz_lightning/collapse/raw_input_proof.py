"""Does a modality have information about the label? A ridge regression on its raw inputs, without the model."""

from dataclasses import dataclass

from torch import Tensor

from mviz_lightning.batch.probe import Probe
from mviz_lightning.collapse.raw_inputs import RawInputs
from mviz_lightning.functional import Task, gaussian_kernel, kernel_ridge_predictions


@dataclass(frozen=True)
class RawInputProof:
    """How much of the labels' variance a ridge regression on one modality's raw inputs explains, on held-out examples.

    Attributes:
        explained: Share of the labels' variance, with one-hot classes; 0 or negative if the regression explains
            nothing.
        error: Standard error of ``explained``.
        examples: Number of held-out examples.
    """

    explained: float
    error: float
    examples: int


def fit_raw_input_proof(
    probe: Probe, target: Tensor, task: Task, outputs: int, seed: int = 0, kin: Tensor | None = None
) -> dict[str, RawInputProof]:
    """Predict the labels from the raw inputs of each modality alone, without the user's model.

    Linear and Gaussian ridge regression; kernel and penalty are chosen on the training part and evaluated on held-out
    fifths. A large share proves information. A share near 0 proves little for photographs or long texts. Near
    duplicates and kin are in one fold. Examples that are similar for another reason (sorted by label and time) make a
    modality look informative, as in any split that does not group them.

    Args:
        probe: The examples, of which up to 1,024 are used.
        target: ``(N, ...)`` their labels; examples without one are left out.
        task: Type of the prediction task.
        outputs: Number of outputs of one example, C.
        seed: Seed of the folds.
        kin: ``(N,)`` long: examples with equal numbers are related (kin); None if no two are.

    Returns:
        Modality -> its proof, without modalities that have no numbers; empty if there are too few labels.
    """
    inputs = RawInputs.of(probe, target, task, outputs, seed, kin)
    return {} if inputs is None else {name: prove_alone(inputs, name) for name in inputs.things}


def prove_alone(inputs: RawInputs, name: str) -> RawInputProof:
    """Return how much of the labels' variance the raw inputs of one modality explain."""
    kernel, folds = inputs.kernels[name], inputs.folds(name)
    predicted = kernel_ridge_predictions([kernel, gaussian_kernel(kernel)], inputs.wanted, folds)
    by_mean = (inputs.wanted - inputs.usual(folds)).square().sum(1)
    gained = by_mean - (inputs.wanted - predicted).square().sum(1)
    mean, error = inputs.mean_and_error(gained, name)
    variance = by_mean.mean()
    return RawInputProof(float(mean / variance), float(error / variance), inputs.count)
