"""A run that is read from its files: description, history, alarms, examples and explanations as plain objects."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import in_short
from mviz_lightning.sinks.plain import Brief
from mviz_lightning.sinks.records import RunRecord


@dataclass(frozen=True)
class StoredModality(Brief):
    """One modality of an example.

    Attributes:
        kind: Name of the modality type: ``image``, ``text`` and so on.
        baseline: The replacement of a masked segment, in words.
        segments: Names of the segments, in the order of the weights.
        view: The input for display and the position of its segments, as in the file; ``"view"`` is the kind of display.
    """

    kind: str
    baseline: str
    segments: Sequence[str]
    view: Mapping[str, Any] = field(repr=False)

    @property
    def picture(self) -> npt.NDArray[np.uint8] | None:
        """The picture, ``(H, W, 3)`` in 0..255, with sides of up to 224 pixels; None if there is none."""
        from PIL import Image

        data = self.view.get("webp")
        if not isinstance(data, str):
            return None
        with Image.open(BytesIO(base64.b64decode(data))) as picture:
            return np.asarray(picture.convert("RGB"))

    @property
    def index(self) -> npt.NDArray[np.int64] | None:
        """The segment of each pixel of the picture, ``(H, W)``; -1 at pixels that are never masked; None if unknown."""
        if "size" not in self.view or not ("grid" in self.view or "index" in self.view):
            return None
        height, width = self.view["size"]
        if "index" in self.view:
            segments, lengths = np.array(self.view["index"], dtype=np.int64).reshape(-1, 2).T
            return np.repeat(segments, lengths).reshape(height, width)
        rows, columns = self.view["grid"]
        y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
        return np.asarray(y[:, None] * columns + x)


@dataclass(frozen=True)
class StoredExample(Brief):
    """An explained example.

    Attributes:
        id: Its name in the files: the position, followed by a number if several examples had this position.
        position: Index in the validation set.
        stage: The stage in which it was explained first: ``fit``, ``validate``, ``test`` or ``explain``.
        target: Class, list of labels or value of the main head; None if unknown.
        target_name: The target in words.
        modalities: Name -> the stored input.
    """

    id: str
    position: int
    stage: str
    target: Any
    target_name: str | None
    modalities: Mapping[str, StoredModality]


@dataclass(frozen=True)
class StoredExplanation(Brief):
    """A line of ``explanations.jsonl``: an explained output, feature or case.

    Attributes:
        method: Name of the explainer.
        result: Kind of the result: ``dime``, ``importance``, ``cross_modal``, ``representation``, ``prediction``,
            ``errors``, ``ranking``, ``positions``, or ``other`` for a user's method.
        stage: ``fit``, ``validate``, ``test`` or ``explain``.
        epoch: Epoch of the training.
        step: Step on the x-axis of the loggers.
        head: The head; ``""`` is the main one.
        example: Id of the example; None for a line about all examples.
        fields: All other fields of the line, such as ``value``, ``uc``, ``mi`` and ``weights``.
    """

    method: str
    result: str
    stage: str
    epoch: int
    step: int
    head: str
    example: str | None
    fields: Mapping[str, Any] = field(repr=False)

    def weights(self, modality: str, kind: str = "weights") -> npt.NDArray[np.float64]:
        """Return the weight of each segment of a modality, ``(U,)``.

        Args:
            modality: Its name.
            kind: ``"uc"`` or ``"mi"`` of DIME, ``"weights"`` of unimodal importance.

        Raises:
            ConfigurationError: There are no such weights.
        """
        kept = self.fields.get("weights")
        found = kept.get(modality) if isinstance(kept, Mapping) else None
        if not isinstance(found, Mapping) or kind not in found:
            names = ", ".join(kept) if isinstance(kept, Mapping) else "none"
            raise ConfigurationError(
                f"weights({modality!r}, {kind!r}) of {self.method}: modalities with weights are {names}, and the kinds "
                "'uc' and 'mi' of DIME, 'weights' of unimodal importance."
            )
        return np.array(found[kind], dtype=np.float64)


@dataclass(frozen=True)
class StoredAlert(Brief):
    """An alarm, a notice or an all-clear.

    Attributes:
        stage: ``fit``, ``validate`` or ``test``.
        epoch: Epoch of the training.
        step: Step on the x-axis of the loggers.
        head: The head; ``""`` is the main one.
        modality: The modality of the alert.
        state: 0 used, 1 unused, 2 collapsed, 3 redundant.
        title: A few words.
        text: The whole text with the evidence.
        urgent: True for an alarm, False for a notice or an all-clear.
    """

    stage: str
    epoch: int
    step: int
    head: str
    modality: str
    state: int | None
    title: str
    text: str
    urgent: bool


@dataclass(frozen=True)
class StoredRun(Brief):
    """A run of the monitor, read from its folder.

    Attributes:
        folder: The monitor's folder.
        description: ``run.json``: versions, model, modalities, heads, configuration; empty for runs of older versions.
        history: Runs of the monitor, oldest first; values that were not finite are NaN.
        alerts: Alarms and all-clears, oldest first.
        examples: Id -> example.
        explanations: Explained outputs, features and cases, oldest first.
        remarks: Texts about damaged parts that were left out.
    """

    folder: Path
    description: Mapping[str, Any] = field(repr=False)
    history: Sequence[RunRecord] = field(repr=False)
    alerts: Sequence[StoredAlert] = field(repr=False)
    examples: Mapping[str, StoredExample] = field(repr=False)
    explanations: Sequence[StoredExplanation] = field(repr=False)
    remarks: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Name of the run: the logger's name and version, or the names of the folders that contain it."""
        return str(self.description.get("run") or "/".join(self.folder.resolve().parts[-3:-1]))

    @cached_property
    def modalities(self) -> list[str]:
        """Names of the modalities, in declared order; for runs of older versions, from the names of the values."""
        described = self.description.get("modalities")
        if isinstance(described, list):
            return [str(one["name"]) for one in described if isinstance(one, dict) and "name" in one]
        names = (key.partition("/") for row in self.history for key in row.values)
        return list(dict.fromkeys(name for kind, _, name in names if kind == "total" and "/" not in name))

    def explained(
        self, method: str | None = None, example: str | None = None, head: str | None = None
    ) -> list[StoredExplanation]:
        """Return the explanations of a method, an example or a head, oldest first; all explanations without arguments.

        Args:
            method: Name of an explainer, for example ``"dime"``.
            example: Id of an example.
            head: Name of a head; ``""`` is the main one.
        """
        wanted = {"method": method, "example": example, "head": head}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return [one for one in self.explanations if all(getattr(one, name) == value for name, value in asked.items())]

    def to_pandas(self) -> dict[str, Any]:
        """Return the run as pandas data frames.

        Returns:
            ``history`` (a row for each run of the monitor, a column for each value), ``alerts``, ``examples`` (a row
            for each modality of each example), ``explanations`` (a row for each line), and ``weights`` (a row for each
            segment of each explained output).

        Raises:
            ModuleNotFoundError: pandas is not installed.

        Example:
            >>> frames = load("lightning_logs/version_0").to_pandas()  # doctest: +SKIP
            >>> frames["weights"].query("method == 'dime'").groupby(["modality", "segment"]).mi.mean()  # doctest: +SKIP
        """
        from mviz_lightning.report.frames import frames_of

        return frames_of(self)

    def __str__(self) -> str:
        kept = {"runs": len(self.history), "alarms": sum(one.urgent for one in self.alerts)}
        kept |= {"examples": len(self.examples), "explanations": len(self.explanations)}
        counts = ", ".join(f"{count} {name}" for name, count in kept.items())
        return "\n".join([f"{self.name}: {counts}", *self.remarks])


def text_or_short(value: Any) -> str | None:
    """Return texts and None unchanged, and any other value as a short text: a damaged line may contain anything."""
    return value if value is None or isinstance(value, str) else in_short(value)
