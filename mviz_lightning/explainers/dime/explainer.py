"""DIME: local explanations of unimodal contributions and multimodal interactions (Lyu et al. 2022)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mviz_lightning.engine.query import Query
from mviz_lightning.errors import ConfigurationError, warn_user
from mviz_lightning.explainers.argument_checks import require_least, require_outputs
from mviz_lightning.explainers.base import Explainer, ProbeContext, Request, Responses
from mviz_lightning.explainers.dime.kept import dime_lines
from mviz_lightning.explainers.dime.result import Attribution, DIMEResult, Explanation, Moment, OutputExplanation
from mviz_lightning.explainers.found import Result
from mviz_lightning.explainers.predictions import outcome
from mviz_lightning.functional import donor_error, draw_masks, surrogate
from mviz_lightning.functional.rounding import ROUNDED
from mviz_lightning.functional.surrogate import ALPHA
from mviz_lightning.sinks.records import Record

if TYPE_CHECKING:
    from mviz_lightning.explainers.drawing import DrawingContext
    from mviz_lightning.explainers.kept import KeepingContext

FEWEST_MASKS = 48
"""Smallest default number of masks for a modality."""

MASKS_PER_SEGMENT = 3
"""Default number of masks for each segment."""

FEWEST_DONORS = 20
"""Smallest default number of donors. With equal numbers of rows, 20 donors and 3 masks per segment estimate MI better
than 15 donors and 4 masks, and UC equally well (tests/benchmarks/dime_donors.py)."""

CHEAP_ROWS = 1024
"""Default number of rows of a modality with few possible masks. With U segments, ``1,024 / 2^U - 1`` donors give it."""


@dataclass(frozen=True, kw_only=True)
class DIME(Explainer):
    """Weights of each modality's segments for a prediction: alone (UC), and in interaction with other modalities (MI).

    DIME (Lyu et al. 2022, section 3.3) explains example i and modality m as follows. It evaluates the model with S
    masks over the segments of m. The other modalities come from J donors in turn, and from i itself: ``r_s[j] =
    f(masked x_m, donor j)``. For the unimodal contribution (UC), the mean over donors is fitted on the masks by
    weighted ridge regression. For the multimodal interaction (MI), the output with i's own modalities less this mean is
    fitted in the same way. UC and MI add up to LIME exactly. Unlike in the paper, an example is not its own donor.

    It evaluates ``S (J + 1)`` rows for each example and modality.

    Args:
        num_examples: Number of explained examples, from all classes in turn, mistakes first. They are fixed during the
            training.
        every_n_validations: It runs at the first validation, at every n-th, and at the end of the training.
        donors: J, the number of donors of the other modalities, equal for all masks. They may come from all fixed
            examples. By default 20; more for a modality with up to 5 segments, which then takes up to 1,024 rows.
        masks: S, the number of masks for each modality; by default 3 for each segment and at least 48. If fewer masks
            exist, all are used.
        outputs: Indices of the outputs to explain. By default the true and the predicted class; for labels the
            strongest one and the strongest true one; for values the first one.
        name: First part of the keys of its pictures and tables. Give each DIME a different name.

    Raises:
        ConfigurationError: An argument has a value that is not allowed.
    """

    num_examples: int = 4
    every_n_validations: int = 5
    donors: int | None = None
    masks: int | None = None
    outputs: Sequence[int] | None = None
    name: str = "dime"
    one_by_one = True
    over_epochs = True

    def __post_init__(self) -> None:
        require_least(self, {"num_examples": 0, "every_n_validations": 1, "donors": 1, "masks": 2})
        if self.outputs is not None and not self.outputs:
            raise ConfigurationError(
                "DIME(outputs=[]): name at least one output, or leave outputs= out to explain what was predicted."
            )

    def check(self, outputs: int) -> None:
        """Raise a ConfigurationError for an output that the model does not have."""
        require_outputs(self, self.outputs, outputs)

    def plan(self, probe_context: ProbeContext, examples: Sequence[int]) -> Request:
        """Request the masked rows of every modality, and the recombinations of the example's group."""
        (example,) = examples
        group, _ = probe_context.group(example)
        masked = [self._masked(probe_context, example, name) for name in probe_context.probe.segments]
        recombined = Query(group[probe_context.design.tuples])
        return Request([probe_context.reading(one, example) for one in (recombined, *masked)])

    def _masked(self, probe_context: ProbeContext, example: int, name: str) -> Query:
        """Request one modality with every mask, with the example's own other modalities and with every donor."""
        names, masks = probe_context.probe.schema.names, self.masks_of(probe_context, example, name)
        partners = self.partners(probe_context, example, masks.shape[1])
        return masked_rows(torch.full((len(names),), example), partners, names.index(name), name, masks)

    def masks_of(self, probe_context: ProbeContext, example: int, name: str) -> Tensor:
        """Return the ``(S, U)`` masks of one modality, the same for all examples with U segments."""
        segments = probe_context.probe.segments[name].count(example)
        return draw_masks(segments, self._samples(segments), probe_context.seed)

    def _samples(self, segments: int) -> int:
        return self.masks or max(FEWEST_MASKS, MASKS_PER_SEGMENT * segments)

    def _attributions(self, outputs: Tensor, masks: Tensor, precision: float) -> list[Attribution]:
        """Return the weights of one modality's segments for each of K outputs, from ``(S * (1 + J), K)`` outputs.

        A single segment needs no surrogate, because its weight is a difference. If there are fewer than S masks, the
        penalty is reduced in proportion.
        """
        segments = masks.shape[1]
        alpha = ALPHA * len(masks) / self._samples(segments) if segments > 1 else 0.0
        return attributions(outputs, masks, alpha=alpha, precision=precision)

    def partners(self, probe_context: ProbeContext, example: int, segments: int) -> Tensor:
        """Return ``(J, M)`` donors of every modality: other examples, different for each modality of a row.

        Donors of the example's own group come first, because its recombinations are evaluated anyway. Donors of a text
        with placeholders have as many pictures as the example.

        Args:
            probe_context: The fixed examples.
            example: The explained example.
            segments: Number of segments of the masked modality. With few segments there are few masks, and by default
                more donors.
        """
        group, place = probe_context.group(example)
        own = torch.cat([group[:place], group[place + 1 :]])
        everyone, kinds = probe_context.probe.groups.flatten(), probe_context.probe.kinds
        everyone = everyone[kinds[everyone] == kinds[example]]
        rest = everyone[~torch.isin(everyone, torch.cat([own, torch.tensor([example])]))]
        others, modalities = torch.cat([own, rest]), len(probe_context.probe.schema.names)
        wanted = self.donors or max(FEWEST_DONORS, CHEAP_ROWS // 2**segments - 1)
        if self.donors and len(others) < wanted:
            warn_user(
                f"DIME(donors={wanted}): there are {len(others)} other examples; raise num_examples= of the monitor."
            )
        pool = others[: max(wanted, modalities)]  # otherwise a row's modalities would share donors
        return torch.stack([pool.roll(-shift) for shift in range(modalities)], 1)[:wanted]

    def explain(self, probe_context: ProbeContext, examples: Sequence[int], responses: Responses) -> DIMEResult:
        """Fit the surrogates of every explained output.

        Raises:
            RuntimeError: Outputs are NaN or infinite for the example, its group, or most masks.
        """
        (example,) = examples
        _, place = probe_context.group(example)
        design, raw = probe_context.design, responses.outputs
        recombined = probe_context.decomposable(raw[0])
        value, unimodal = design.own(recombined)[place], design.unimodal(recombined)[place]
        if not bool((value + unimodal).isfinite().all()):
            position = probe_context.positions[example]
            raise RuntimeError(f"outputs of validation example {position} or of its group are NaN or infinite.")
        found = outcome(design.own(raw[0].double())[place], probe_context.label(example), probe_context.task)
        roles = found.roles if self.outputs is None else dict.fromkeys(self.outputs, "output")
        parts = self._parts(probe_context, example, raw[1:], list(roles))
        errors = donor_error(design.unimodal_without_donors(recombined[:, list(roles)], place)).tolist()
        outputs = [
            OutputExplanation(
                output,
                role,
                float(value[output]),
                float(unimodal[output]),
                float(value[output] - unimodal[output]),
                {name: part[k] for name, part in parts.items()},
                errors[k],
            ).times(probe_context.unit(output))
            for k, (output, role) in enumerate(roles.items())
        ]
        return DIMEResult(examples=[Explanation(**vars(probe_context.prediction(example, found)), outputs=outputs)])

    def _parts(
        self,
        probe_context: ProbeContext,
        example: int,
        masked: Sequence[Tensor],
        columns: Sequence[int],
    ) -> dict[str, list[Attribution]]:
        """Return for each modality the weights of its segments for each chosen output."""
        return {
            name: self._attributions(
                probe_context.decomposable(outputs)[:, torch.tensor(columns, device=outputs.device)],
                self.masks_of(probe_context, example, name),
                torch.finfo(outputs.dtype).eps,
            )
            for name, outputs in zip(probe_context.probe.segments, masked, strict=True)
        }

    def join(self, results: Sequence[Result]) -> DIMEResult:
        """Return the explanations of all examples."""
        return DIMEResult(examples=[one for result in results for one in cast("DIMEResult", result).examples])

    def kept(self, result: DIMEResult, context: "KeepingContext") -> Iterable[Mapping[str, Any]]:
        """Return a line for each explained output."""
        return dime_lines(result, context)

    def draw(self, result: DIMEResult, drawing: "DrawingContext", when: str) -> Sequence[Record]:
        """Draw a picture of each example, and list all in a table."""
        from mviz_lightning.explainers.dime.figure import explanation_records

        return explanation_records(result.examples, self.name, drawing, when)

    def draw_over_epochs(self, moments: Sequence[Moment], drawing: "DrawingContext") -> Sequence[Record]:
        """Draw how one example's explanation changed during the training."""
        from mviz_lightning.explainers.dime.over_epochs import picture_over_epochs

        return [
            picture_over_epochs(moments, drawing, f"{self.name}/example_{moments[0].explanation.position}_over_epochs")
        ]


def masked_rows(sources: Tensor, partners: Tensor, modality: int, name: str, masks: Tensor) -> Query:
    """Return the rows of one modality of an example with S masks, with its own other modalities and with J donors.

    Args:
        sources: ``(M,)`` the example; or, for a recombined row, the example from which each modality is taken.
        partners: ``(J, M)`` donors; the column of the masked modality is not used.
        modality: Position of the masked modality.
        name: Name of the masked modality.
        masks: ``(S, U)`` True where a segment stays.

    Returns:
        ``S * (1 + J)`` rows: for each mask, first with the own modalities, then with the donors.
    """
    beside = torch.cat([sources.unsqueeze(0), partners])
    beside[:, modality] = sources[modality]
    return Query(beside.repeat(len(masks), 1), {name: masks.repeat_interleave(len(beside), 0)})


def attributions(outputs: Tensor, masks: Tensor, *, alpha: float = ALPHA, precision: float = 0.0) -> list[Attribution]:
    """Return for each of K outputs the weights of one modality's segments for UC and for MI.

    Args:
        outputs: ``(S * (1 + J), K)`` outputs of the rows of :func:`masked_rows`.
        masks: ``(S, U)``.
        alpha: Strength of the ridge penalty.
        precision: Relative rounding of the model's outputs; smaller variation counts as no effect.

    Raises:
        RuntimeError: Most masks gave outputs that are NaN or infinite.
    """
    by_mask = outputs.view(len(masks), -1, outputs.shape[1])
    finite = by_mask.isfinite().flatten(1).all(1)
    if int(finite.sum()) < max(min(2, len(masks)), len(masks) / 2):
        raise RuntimeError(
            f"{int((~finite).sum())} of {len(masks)} masks gave outputs that are NaN or infinite; the model "
            "does not accept the baseline. Choose another one with Modality(baseline=...)."
        )
    own, donors = by_mask[finite, 0], by_mask[finite, 1:].mean(1)
    kept = masks[finite.to(masks.device)]
    floor = ROUNDED * precision * float(by_mask[finite].abs().max())
    alone, together = (surrogate(kept, found, alpha=alpha, floor=floor) for found in (donors, own - donors))
    return [
        Attribution(alone.weights[:, k].cpu(), together.weights[:, k].cpu(), float(alone.r2[k]), float(together.r2[k]))
        for k in range(outputs.shape[1])
    ]
