"""DIME: local explanations of unimodal contributions and multimodal interactions (Lyu et al. 2022)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError, MonitorWarning
from mviz_lightning.explainers.base import Explainer, ProbeContext
from mviz_lightning.explainers.checks import require_least, require_outputs
from mviz_lightning.explainers.dime.result import Attribution, Explanation, OutputExplanation
from mviz_lightning.explainers.outcome import outcome
from mviz_lightning.functional import draw_masks, surrogate
from mviz_lightning.functional.surrogate import ALPHA

FEWEST_MASKS = 64
MASKS_PER_UNIT = 4

ROUNDED = 4
"""How often the rounding of the largest output may add up in what masks change."""


@dataclass(frozen=True, kw_only=True)
class DIME(Explainer):
    """Which units of each modality drive a prediction alone (UC), and which in interaction with the others (MI).

    For example i and modality m, S masks over the units of m are run against J donors of the other modalities and
    against i's own: ``r_s[j] = f(masked x_m, donor j)``. UC is the weighted ridge regression of their mean on the
    masks, MI that of what the own partner adds; both together are LIME exactly (Lyu et al. 2022, section 3.3, with the
    example itself left out of its donors). Costs ``S (J + 1)`` forwards for each modality, S = max(64, 4 x units).

    Args:
        num_examples: Examples that are explained, the same through the training: spread over classes, mistakes first.
        every_n_validations: How often: at the first validation, every n-th, and at the end of the training.
        donors: J, examples whose other modalities are put beside the masked one; by default all others of the group.
        masks: S, for every modality; by default 4 for each unit, 64 at the least. All there are, where fewer exist.
        outputs: Indices of the outputs to explain; by default the true and the predicted class, the strongest label
            and the strongest true one, or the first value.
        name: Of the pictures' keys; tells several of them apart.

    Raises:
        ConfigurationError: An argument is impossible.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    donors: int | None = None
    masks: int | None = None
    outputs: Sequence[int] | None = None
    name: str = "dime"

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1, "donors": 1, "masks": 2})
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError("DIME(outputs=[]): name outputs, or leave it out to explain what was predicted.")

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, probe_context: ProbeContext, example: int) -> list[Query]:
        """Ask for the masked rows of every modality, and for the recombinations of the example's group."""
        group, _ = probe_context.group(example)
        names = probe_context.probe.layout.names
        partners = self.partners(probe_context, example)
        sources = torch.full((len(names),), example)
        masked = [
            masked_rows(sources, partners, names.index(name), name, self.masks_of(probe_context, example, name))
            for name in probe_context.probe.segments
        ]
        return [Query(group[probe_context.design.tuples]), *masked]

    def masks_of(self, probe_context: ProbeContext, example: int, name: str) -> Tensor:
        """Return ``(S, U)`` the masks of one modality, the same for all examples of so many units."""
        segments = probe_context.probe.segments[name].count(example)
        return draw_masks(segments, self._samples(segments), probe_context.seed)

    def _samples(self, segments: int) -> int:
        return self.masks or max(FEWEST_MASKS, MASKS_PER_UNIT * segments)

    def _attributions(self, outputs: Tensor, masks: Tensor, precision: float) -> list[Attribution]:
        """Return what one modality's units add to each of K outputs, from ``(S * (1 + J), K)`` answers.

        A single unit needs no surrogate: what it adds is a difference. Where all masks there are stand for more draws,
        the penalty shrinks with them.
        """
        segments = masks.shape[1]
        alpha = ALPHA * len(masks) / self._samples(segments) if segments > 1 else 0.0
        return attributions(outputs, masks, alpha=alpha, precision=precision)

    def partners(self, probe_context: ProbeContext, example: int) -> Tensor:
        """Return ``(J, M)`` donors of every modality: other examples, a different one for each modality of a row."""
        group, place = probe_context.group(example)
        own = torch.cat([group[:place], group[place + 1 :]])
        everyone = probe_context.probe.groups.flatten()
        rest = everyone[~torch.isin(everyone, torch.cat([own, torch.tensor([example])]))]
        others, modalities = torch.cat([own, rest]), len(probe_context.probe.layout.names)
        wanted = len(own) if self.donors is None else self.donors
        if len(others) < wanted:
            warnings.warn(
                f"DIME(donors={wanted}): there are {len(others)} other examples; raise num_examples of the monitor.",
                MonitorWarning,
                stacklevel=2,
            )
        pool = others[: max(wanted, modalities)]  # of fewer, a row's modalities would come from one example
        return torch.stack([pool.roll(-shift) for shift in range(modalities)], 1)[:wanted]

    def explain(self, probe_context: ProbeContext, example: int, responses: Sequence[Tensor]) -> Explanation:
        """Fit the surrogates of every output that is explained."""
        _, place = probe_context.group(example)
        position = probe_context.positions[example]
        own = probe_context.design.own(responses[0].double())[place]
        recombined, *masked = (probe_context.decomposable(response) for response in responses)
        value, unimodal = probe_context.design.own(recombined)[place], probe_context.design.unimodal(recombined)[place]
        if not bool((value + unimodal).isfinite().all()):
            raise RuntimeError(f"outputs of validation example {position} or of its group are NaN or infinite.")
        found = outcome(own, probe_context.label(example), probe_context.task)
        roles = found.roles if self.outputs is None else dict.fromkeys(self.outputs, "output")
        columns, precision = torch.tensor(list(roles), device=own.device), torch.finfo(responses[0].dtype).eps
        parts = {
            name: self._attributions(response[:, columns], self.masks_of(probe_context, example, name), precision)
            for name, response in zip(probe_context.probe.segments, masked, strict=True)
        }
        outputs = [
            OutputExplanation(
                output,
                role,
                float(value[output]),
                float(unimodal[output]),
                float(value[output] - unimodal[output]),
                {name: part[k] for name, part in parts.items()},
            ).times(probe_context.unit(output))
            for k, (output, role) in enumerate(roles.items())
        ]
        return Explanation(example, position, found.predicted, found.target, found.probability, outputs)


def masked_rows(sources: Tensor, partners: Tensor, modality: int, name: str, masks: Tensor) -> Query:
    """Ask for one modality of an example, masked in S ways, beside its own partner and beside J donors.

    Args:
        sources: ``(M,)`` the example; or, in recombinations of one's own, where each modality is taken from.
        partners: ``(J, M)`` donors; the column of the masked modality is not used.
        modality: Position of the masked modality.
        name: Its name.
        masks: ``(S, U)`` True where a unit stays.

    Returns:
        ``S * (1 + J)`` rows: for each mask the own partner, then the donors.
    """
    beside = torch.cat([sources.unsqueeze(0), partners])
    beside[:, modality] = sources[modality]
    return Query(beside.repeat(len(masks), 1), {name: masks.repeat_interleave(len(beside), 0)})


def attributions(outputs: Tensor, masks: Tensor, *, alpha: float = ALPHA, precision: float = 0.0) -> list[Attribution]:
    """Return, for each of K outputs, what the units of one modality add to UC and to MI.

    Args:
        outputs: ``(S * (1 + J), K)`` answers to :func:`masked_rows`.
        masks: ``(S, U)``.
        alpha: Of the ridge penalty.
        precision: Relative rounding of the outputs as the model gave them; what varies no more has no effect.

    Raises:
        RuntimeError: Most masks gave outputs that are NaN or infinite.
    """
    by_mask = outputs.view(len(masks), -1, outputs.shape[1])
    finite = by_mask.isfinite().flatten(1).all(1)
    if int(finite.sum()) < max(min(2, len(masks)), len(masks) / 2):
        raise RuntimeError(
            f"{int((~finite).sum())} of {len(masks)} masks gave outputs that are NaN or infinite; the model cannot "
            "bear the baseline. Say Modality(baseline=...)."
        )
    own, donors = by_mask[finite, 0], by_mask[finite, 1:].mean(1)
    kept = masks[finite.to(masks.device)]
    floor = ROUNDED * precision * float(by_mask[finite].abs().max())
    alone, together = (surrogate(kept, found, alpha=alpha, floor=floor) for found in (donors, own - donors))
    return [
        Attribution(alone.weights[:, k].cpu(), together.weights[:, k].cpu(), float(alone.r2[k]), float(together.r2[k]))
        for k in range(outputs.shape[1])
    ]
