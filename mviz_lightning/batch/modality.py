"""Declaration of modalities by the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mviz_lightning.batch.modality_arguments import checked_arguments
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.errors.arguments import in_short, is_iterable, is_whole, plain_argument, require_name
from mviz_lightning.errors.deprecations import renamed_arguments


@renamed_arguments(units="max_segments")
@dataclass(frozen=True)
class Modality:
    """One modality: leaves of the batch that are recombined together.

    Only ``values`` is required. The other arguments control how the modality is padded, segmented, masked and drawn.

    Attributes:
        values: Path of the leaf with the content, or of a container whose leaves all belong to the modality.
        mask: Path of the leaf that is 1 at real entries and 0 at padding. If the data show the opposite (as in
            PyTorch's ``key_padding_mask``), it is read as ``padding_mask``, and a log line reports it.
        companions: Paths of further leaves, for example token types or positions.
        pad_value: Value with which examples of different shapes are padded. By default the most frequent value at
            padding according to the mask; 0 without a mask.
        kind: Type of the modality: ``image``, ``video``, ``text``, ``series``, ``audio``, ``tabular``, ``regions``,
            ``graph``, ``patches``, ``pictures``, ``sounds``, the name of your own type, or the dotted path of its
            class. By default inferred from data type and rank.
        max_segments: Largest number of segments; each is masked separately.
        baseline: Value of a masked segment: ``"zero"``, ``"mean"`` of the examples, ``"blur"`` (images), or a value
            such as the id of a mask token. The default depends on the type.
        decode: Text: the tokenizer, a function from ids to tokens (or its dotted path), or the vocabulary by id.
        special_ids: Text: tokens that are never masked; by default the tokenizer's own special tokens.
        mean: Images and video: the mean that was subtracted from every channel, in 0..1; it is added back for display.
        std: Images and video: the standard deviation by which every channel was divided; undone for display.
        superpixels: Images: mask superpixels instead of patches (needs scikit-image).
        feature_names: Tabular: names of the columns; series: names of the channels; graph: names of the node types, if
            each node has one (a one-hot row, or a whole number).
        boxes: Regions: path of the leaf ``(N, R, 4)`` with corners (x0, y0, x1, y1), in 0..1 or in pixels.
        picture: Regions: path of the leaf with the image of the boxes.
        time_axis: Series, audio, video: the time axis of the leaf; by default 1 for series, the last axis for audio.
        rate: Series, audio, video: time steps per second, to label the time axis.
        sample_rate: Audio: samples per second of waveforms. With it, loggers get the waveforms as sound; without it,
            only as curves.
        padding_mask: Path of the leaf that is True at padding and False at real entries, in place of ``mask``. Its
            direction is not checked against the data.
        lengths: If ``values`` has the rows of all examples one after another: path of the leaf with the number of rows
            of each example. It has counts ``(B,)``, a grid ``(B, k)`` whose products are counts, boundaries ``(B +
            1,)``, offsets ``(B,)``, or the example of each row. By default it is found automatically. If ``values`` is
            padded ``(B, T, ...)``: path of the counts ``(B,)`` of real entries. A whole number: rows of every example.
        blocks: With a number as ``lengths``: whether blocks of all examples follow one another (``torch.cat`` of
            crops).
        edges: Graph: path of the leaf ``(N, 2, E)`` with the two nodes of every edge, from 0, padded with 0; by default
            the companion whose name ends in ``edge_index``. A companion whose name ends in ``pos`` has the positions of
            the nodes for drawings.
        grid: Patches: path of the leaf ``(N, 2)`` or ``(N, 3)`` with the rows and columns (before them the frames) of
            patches of each example's picture; ``(N, K, 2)`` or ``(N, K, 3)`` for up to K pictures per example, padded
            with 0. By default the companion with ``grid`` in its name, ``image_sizes`` or ``spatial_shapes``, if its
            products are the numbers of patches of all examples.
        merge: Patches: number of patches along a side that the model joins into one token (2 in Qwen2-VL); segments
            consist of whole tokens. By default computed from the number of placeholders in a text; without such a text,
            1.
        present: Path of the leaf that is 0 or False for examples without the modality; these are left out. Examples are
            also left out if an entry of the modality is None, only NaN, or an empty sequence.
        placeholders: Text: the ids of tokens at the positions of items of another modality, by its name: ``{"image":
            32000}``, or several ids, ``{"image": [32000, 32001]}``. By default the ids in the model's configuration.
        answer_start: Text: the ids of the tokens right before the answer, for example of ``"ASSISTANT:"``, if labels do
            not mark its start. By default the answer starts at the first label that is not -100.

    Raises:
        ConfigurationError: ``values`` is not a path, a number is out of range, an argument is still ``...``, or both
            ``mask`` and ``padding_mask`` are given.
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
    padding_mask: str | None = None
    lengths: str | int | None = None
    edges: str | None = None
    grid: str | None = None
    present: str | None = None
    blocks: bool = False
    placeholders: Mapping[str, Any] | None = None
    answer_start: Sequence[int] | None = None
    merge: int | None = None

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, plain_argument(value))
        self._refuse_placeholders()
        for name, value in checked_arguments(vars(self)).items():
            object.__setattr__(self, name, value)
        if self.blocks and self.views is None:
            raise ConfigurationError(f"Modality({self.values!r}, blocks=True): give the rows of an example, lengths=2.")
        if self.mask is not None and self.padding_mask is not None:
            raise ConfigurationError(
                f"Modality({self.values!r}, mask={self.mask!r}, padding_mask={self.padding_mask!r}): give one of them, "
                "mask= if it is 1 at real entries, padding_mask= if it is True at padding."
            )

    @property
    def views(self) -> int | None:
        """Number of rows of each example if it is the same for all; None if rows are stacked or counted."""
        return self.lengths if isinstance(self.lengths, int) else None

    def _refuse_placeholders(self) -> None:
        """Raise if an argument is ``...``, which this package's suggested code has for values without a literal."""
        for name, value in vars(self).items():
            if any(one is ... for one in (value if isinstance(value, list | tuple) else [value])):
                own = "tokenizer" if name == "decode" else "value"
                raise ConfigurationError(f"{name} of {self.values!r} is still `...`: put your {own} there.")

    @property
    def mask_leaf(self) -> str | None:
        """Path of ``mask`` or ``padding_mask``; None without a mask."""
        return self.mask if self.padding_mask is None else self.padding_mask

    @property
    def hiding(self) -> int:
        """Value of the mask at padding: 0, or 1 for a ``padding_mask``."""
        return 0 if self.padding_mask is None else 1

    def real_entries(self, leaves: Mapping[str, Any]) -> Tensor | None:
        """Return the mask as booleans, True at real entries and False at padding; None without a mask.

        Args:
            leaves: Path -> leaf of any number of examples.
        """
        mask = leaves.get(self.mask_leaf or "")
        if isinstance(mask, Tensor):
            return mask == 0 if self.hiding else mask != 0
        return self._entries_by_length(leaves) if self.mask_leaf is None else None

    def _entries_by_length(self, leaves: Mapping[str, Any]) -> Tensor | None:
        """Return ``(N, T)`` bool, True at the first ``lengths`` entries of each example."""
        values, lengths = leaves.get(self.values), leaves.get(str(self.lengths))
        if not isinstance(values, Tensor) or not isinstance(lengths, Tensor) or values.dim() < 2 or lengths.dim() != 1:
            return None
        return torch.arange(values.shape[1]) < lengths.cpu().unsqueeze(1)

    @property
    def leaves(self) -> list[str]:
        """Paths of all leaves, the values first."""
        named = [self.values, *([] if self.mask_leaf is None else [self.mask_leaf]), *self.companions]
        further = (self.boxes, self.edges, self.grid, self.present)
        return [*named, *(path for path in further if path is not None and path not in named)]


Modalities: TypeAlias = Mapping[str, str | Sequence[str] | Modality] | Sequence[str | Modality]
"""Name -> a path, several paths, or a :class:`Modality`; or a list of paths or modalities, named by their paths."""


def parse_modalities(modalities: Modalities) -> dict[str, Modality]:
    """Return name -> modality, in the order in which they were declared.

    Raises:
        ConfigurationError: There are fewer than two modalities, a name is malformed or repeated, a modality has no
            leaf, or a leaf is given twice.
    """
    named = {name: _parse(name, given) for name, given in _items(plain_argument(modalities))}
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
    if isinstance(modalities, str | set | frozenset) or not is_iterable(modalities):
        raise ConfigurationError(
            f"modalities={in_short(modalities)}: pass a mapping from names to paths, for example "
            '{"image": "pixel_values", "text": "input_ids"}.'
        )
    return _named_by_paths(list(modalities))


def _named_by_paths(listed: Sequence[Any]) -> list[tuple[str, str | Sequence[str] | Modality]]:
    """Return each path or modality of a list with a name made from its path."""
    paths = [_path_of(one, listed) for one in listed]
    repeated = sorted({path for path in paths if paths.count(path) > 1})
    if repeated:
        raise ConfigurationError(f"modalities: {repeated[0]!r} is given twice; name every modality once.")
    names = [path.replace(".", "_") for path in paths]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"modalities={in_short(listed)}: two modalities would get the same name; pass a mapping from names to "
            "paths."
        )
    return list(zip(names, listed, strict=True))


def _path_of(one: Any, listed: Sequence[Any]) -> str:
    """Return the path of an entry of a list of modalities.

    Raises:
        ConfigurationError: The entry is neither a path nor a modality. Pairs are ambiguous: name and path, or two
            paths.
    """
    found = one.values if isinstance(one, Modality) else str(one) if is_whole(one) else one
    if isinstance(found, str) and found:
        return found
    pairs = all(isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in listed)
    mapping = in_short(dict(listed)) if pairs else '{"image": "pixel_values", "text": ["input_ids", "attention_mask"]}'
    raise ConfigurationError(
        f"modalities={in_short(listed)}: {in_short(one)} is no path; pass a mapping from names to paths, "
        f"modalities={mapping}."
    )


def _parse(name: str, given: str | Sequence[str] | Modality) -> Modality:
    require_name("modalities", name)
    if isinstance(given, Modality):
        return given
    if isinstance(given, Mapping):
        return _of_arguments(name, given)
    listed: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    paths = [str(path) if isinstance(path, int) else path for path in listed]
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise ConfigurationError(
            f"modalities[{name!r}]={in_short(given)} names no leaf; give the path of one leaf or more."
        )
    return of_paths(paths)


def _of_arguments(name: str, given: Mapping[str, Any]) -> Modality:
    """Return the modality of a mapping of arguments, for example from a configuration file."""
    known = [field.name for field in fields(Modality)]
    unknown = [key for key in given if key not in known]
    if "values" not in given or unknown:
        wrong = f"{unknown[0]!r} is no argument of Modality" if unknown else "it lacks 'values', the path of a leaf"
        raise ConfigurationError(
            f"modalities[{name!r}]={in_short(dict(given))}: {wrong}; those are {', '.join(known)}."
        )
    return Modality(**given)


def of_paths(paths: Sequence[str]) -> Modality:
    """Return the modality of a list of leaves: the first has the values; one whose name ends in mask is the mask."""
    masks = [path for path in paths[1:] if path.rpartition(".")[2].endswith("mask")]
    mask = masks[0] if masks else None
    return Modality(paths[0], mask, [path for path in paths[1:] if path != mask])


def _refuse_repeated_leaves(named: Mapping[str, Modality]) -> None:
    owner: dict[str, str] = {}
    for name, modality in named.items():
        for path in modality.leaves:
            if path in owner:
                raise ConfigurationError(
                    f"modalities: the leaf {path!r} is given twice, in {owner[path]!r} and in {name!r}; "
                    "a leaf travels with one modality. Remove it from the other."
                )
            owner[path] = name
