"""What the user says of a modality."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from mviz_lightning.errors import ConfigurationError, at_least, renamed_arguments, require_name


@renamed_arguments(units="max_segments")
@dataclass(frozen=True)
class Modality:
    """Leaves of the batch that belong together and travel together when examples are recombined.

    Only ``values`` is needed; the rest says how the modality is padded, cut into parts, masked and shown.

    Attributes:
        values: Path of the leaf that holds the content, or of a container all of whose leaves belong to the modality.
        mask: Path of the leaf that marks real entries with 1 and padding with 0.
        companions: Paths of further leaves: token types, positions.
        pad_value: What ragged values are padded with; by default what stands where the mask is 0 tells, else 0.
        kind: ``image``, ``video``, ``text``, ``series``, ``audio``, ``tabular``, ``regions``, the name of a kind of
            your own or the dotted path of its class; guessed from type and rank when not given.
        segments: Parts that are masked one by one, at the most.
        baseline: What a masked part turns into: ``"zero"``, ``"mean"`` of the examples, ``"blur"`` (images), or a
            value (the id of a mask token, say). Every kind has its default.
        decode: Text: the tokenizer, a function from ids to tokens (or its dotted path), or the vocabulary by id.
        special_ids: Text: tokens that are never masked; the tokenizer's own by default.
        mean: Images and video: what was subtracted from every channel, in 0..1; undone for display.
        std: Images and video: by what every channel was divided.
        superpixels: Images: mask superpixels instead of patches (needs scikit-image).
        feature_names: Tabular: of the columns; series: of the channels.
        boxes: Regions: path of the leaf ``(N, R, 4)`` with corners (x0, y0, x1, y1), in 0..1 or pixels.
        picture: Regions: path of the leaf with the picture that the boxes lie on.
        time_axis: Series, audio, video: which axis of the leaf is time; by default 1 for series, the last for audio.
        rate: Series, audio, video: steps a second, to label the time axis.
        sample_rate: Audio: samples a second of waveforms, which loggers then play; without it they are seen alone.
    """

    values: str
    mask: str | None = None
    companions: Sequence[str] = ()
    pad_value: float | None = None
    kind: str | None = None
    max_segments: int = 49
    baseline: str | float | None = None
    decode: Any = None
    special_ids: Sequence[int] | None = None
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    superpixels: bool = False
    feature_names: Sequence[str] | None = None
    boxes: str | None = None
    picture: str | None = None
    time_axis: int | None = None
    rate: float | None = None
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.values, int):
            object.__setattr__(self, "values", str(self.values))  # a place in a tuple
        if not isinstance(self.values, str):
            raise ConfigurationError(
                f"Modality(values={self.values!r}): give the path of one leaf, 'pixel_values' say."
            )
        for name in ("max_segments", "sample_rate"):
            value = getattr(self, name)
            if value is not None:
                at_least(1, name, value, f"Modality({self.values!r}, {{}})")

    @property
    def leaves(self) -> list[str]:
        """Paths of all leaves, the values first."""
        named = [self.values, *([] if self.mask is None else [self.mask]), *self.companions]
        return named if self.boxes is None or self.boxes in named else [*named, self.boxes]


Modalities: TypeAlias = Mapping[str, str | Sequence[str] | Modality] | Sequence[str]
"""Name -> a path, several paths, or a :class:`Modality`; or a sequence of paths that are names at once."""


def parse_modalities(modalities: Modalities) -> dict[str, Modality]:
    """Return the modalities by name, in the order in which they were declared.

    Raises:
        ConfigurationError: Fewer than two, a malformed or repeated name, no leaf, or a leaf given twice.
    """
    named = {name: _parse(name, given) for name, given in _items(modalities)}
    if len(named) < 2:
        raise ConfigurationError(
            f"modalities={list(named)}: contributions compare modalities, so name 2 or more, "
            'for example modalities={"image": "pixel_values", "text": ["input_ids", "attention_mask"]}.'
        )
    _refuse_repeated_leaves(named)
    return named


def _items(modalities: Modalities) -> list[tuple[str, str | Sequence[str] | Modality]]:
    if isinstance(modalities, Mapping):
        return list(modalities.items())
    if isinstance(modalities, str) or not isinstance(modalities, Iterable):
        raise ConfigurationError(f"modalities={modalities!r}: pass a mapping from names to paths.")
    repeated = sorted({name for name in modalities if list(modalities).count(name) > 1})
    if repeated:
        raise ConfigurationError(f"modalities: {repeated[0]!r} is given twice; name every modality once.")
    named = {path.replace(".", "_"): path for path in modalities}
    if len(named) < len(modalities):
        raise ConfigurationError(f"modalities={list(modalities)!r}: a name would stand there twice; pass a mapping.")
    return list(named.items())


def _parse(name: str, given: str | Sequence[str] | Modality) -> Modality:
    require_name("modalities", name)
    if isinstance(given, Modality):
        return given
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    paths = [str(path) if isinstance(path, int) else path for path in listed]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ConfigurationError(f"modalities[{name!r}]={given!r} names no leaf; give the path of one leaf or more.")
    return _of_paths(paths)


def _of_paths(paths: Sequence[str]) -> Modality:
    """Return the modality that a list of leaves stands for: the first holds the values, one that ends in mask masks."""
    masks = [path for path in paths[1:] if path.rpartition(".")[2].endswith("mask")]
    mask = masks[0] if masks else None
    return Modality(paths[0], mask, [path for path in paths[1:] if path != mask])


def spelled(modalities: Mapping[str, Modality], more: Mapping[str, Sequence[str]]) -> str:
    """Return the argument ``modalities={...}`` as it is written in Python, with further leaves for some of them.

    Args:
        modalities: By name.
        more: Name -> paths that it gets besides. Values that have no literal, tokenizers, are written ``...``.
    """
    entries = (f"{_quoted(name)}: {_spelled(modality, more.get(name, ()))}" for name, modality in modalities.items())
    return f"modalities={{{', '.join(entries)}}}"


def _spelled(modality: Modality, more: Sequence[str]) -> str:
    """Return a path, a list of paths where that says it all, or the whole call."""
    paths = [*modality.leaves, *more]
    guess = _of_paths(paths).mask
    mask = guess if modality.mask is None and guess in more else modality.mask
    companions = [path for path in (*modality.companions, *more) if path != mask]
    given = {field.name: getattr(modality, field.name) for field in fields(Modality)[1:]}
    said = {
        name: value for name, value in (given | {"mask": mask, "companions": companions}).items() if _says(name, value)
    }
    if said.keys() <= {"mask", "companions"} and guess == mask:
        return _literal(paths if len(paths) > 1 else paths[0])
    arguments = (f"{name}={_literal(value)}" for name, value in said.items())
    return f"Modality({', '.join([_quoted(modality.values), *arguments])})"


def _says(name: str, value: Any) -> bool:
    """Tell whether an argument is other than its default; arrays compare with nothing."""
    default = getattr(Modality, name)
    return value is not None if default is None else value not in (default, [])


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value) if isinstance(value, bool | int | float) else "..."


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _refuse_repeated_leaves(named: Mapping[str, Modality]) -> None:
    owner: dict[str, str] = {}
    for name, modality in named.items():
        for path in modality.leaves:
            if path in owner:
                raise ConfigurationError(
                    f"modalities: the leaf {path!r} is given twice, in {owner[path]!r} and in {name!r}; "
                    "a leaf travels with one modality."
                )
            owner[path] = name
