"""All fused features in one picture: numbers by class, and the shares of each."""

from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from mviz_lightning.explainers.multimodal_representation.result import Representation
from mviz_lightning.functional.features import CONSTANT, UNIMODAL
from mviz_lightning.plotting.canvas import DPI, WIDTH, picture, title_lines
from mviz_lightning.plotting.panels import COLOURS, INTERACTION
from mviz_lightning.plotting.system_fonts import legible
from mviz_lightning.plotting.text_fitting import FONT_SIZE, shortened
from mviz_lightning.sinks.records import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = 0.05
"""Distance of two features, in shares, at which both numbers are legible."""


def colours_of(result: Representation) -> list[str]:
    """Return a colour for every modality, and the colour of interactions."""
    return [*islice(cycle(COLOURS), len(result.modalities)), INTERACTION]


def kind_name(result: Representation, kind: int) -> str:
    """Return the class of a feature in words."""
    return "constant" if kind == CONSTANT else [*(f"{name} only" for name in result.modalities), "multimodal"][kind]


def share_names_of(result: Representation) -> list[str]:
    """Return the names of a feature's shares."""
    return [*(f"{name} alone" for name in result.modalities), "interaction"]


def overview_title(result: Representation, when: str) -> str:
    """Return the title of the overview."""
    return f"What {len(result.kinds)} fused features respond to" + (f", {when}" if when else "")


def overview(result: Representation, key: str, title: str) -> Picture:
    """Draw the numbers of features by class, and the shares of each feature."""
    from matplotlib.figure import Figure  # plotting is loaded when a picture is drawn, not at import

    figure = Figure(figsize=(WIDTH, 3.3), dpi=DPI, layout="constrained")
    layer = f"\nAll features depend on {result.unfused} alone, the outputs do not: give a later layer="
    note = "" if result.unfused is None else layer
    words = "\n".join(legible(line) for told in f"{title}{note}".split("\n") for line in title_lines(told))
    figure.suptitle(words, fontsize=10, weight="bold", x=0.02, ha="left")
    counts, shares = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_counts(counts, result)
    live = result.kinds != CONSTANT
    if len(result.modalities) == 2 and bool(live.any()):
        _draw_scatter(shares, result)
    else:
        _draw_stacks(shares, result)
    for axes in (counts, shares):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return picture(figure, f"{key}/overview", title)


def _draw_counts(axes: "Axes", result: Representation) -> None:
    classes = [*range(len(result.modalities) + 1), CONSTANT]
    counts = [int((result.kinds == kind).sum()) for kind in classes]
    names = [shortened(legible(kind_name(result, kind)), 16) for kind in classes]
    axes.barh(range(len(classes)), counts, color=[*colours_of(result), "#ffffff"], edgecolor="#555555", linewidth=0.6)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count}", va="center", fontsize=8)
    axes.set_yticks(range(len(classes)), names, parse_math=False, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(*counts, 1) * 1.18)
    axes.set_xlabel("features", fontsize=8)


def _draw_scatter(axes: "Axes", result: Representation) -> None:
    """Draw a point for each feature; below the diagonal, where shares sum to 1, the rest is the interaction."""
    live = result.kinds != CONSTANT
    first, second, interaction = result.shares[live].clamp(-0.1, 1.1).unbind(1)
    axes.plot([0, 1], [1, 0], color="#555555", linewidth=0.8)
    for line in (axes.axvline, axes.axhline):
        line(UNIMODAL, color="#999999", linewidth=0.8, linestyle=":")
    style: dict[str, Any] = {"cmap": "viridis_r", "vmin": 0, "vmax": 1, "edgecolors": "#333333", "linewidths": 0.4}
    points = axes.scatter(first, second, c=interaction, s=22, **style)
    bar = axes.figure.colorbar(points, ax=axes, fraction=0.06, pad=0.02)
    bar.set_label("interaction", fontsize=8)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    for (x, y), numbers in _places(result).items():
        axes.annotate(", ".join(numbers), (x, y), (4, 3), textcoords="offset points", fontsize=FONT_SIZE, ha="left")
    names = [f"share of {shortened(legible(name), 16)} alone" for name in result.modalities]
    axes.set_xlabel(names[0], fontsize=8, parse_math=False)
    axes.set_ylabel(names[1], fontsize=8, parse_math=False)
    ticks = [0, 0.5, 1]
    axes.set(xlim=(-0.12, 1.2), ylim=(-0.12, 1.12), xticks=ticks, yticks=ticks)


def _places(result: Representation) -> dict[tuple[float, float], list[str]]:
    """Return position -> numbers of the shown features there; numbers that would overlap are joined."""
    found: dict[tuple[float, float], list[str]] = {}
    for feature in result.shown:
        if feature.kind != CONSTANT:
            x, y = (round(share / APART) * APART for share in feature.shares[:2])
            found.setdefault((x, y), []).append(str(feature.number))
    return found


def _draw_stacks(axes: "Axes", result: Representation) -> None:
    """Stack the shares of every feature that varies, by class."""
    live = (result.kinds != CONSTANT).nonzero().flatten()
    keys = [(int(result.kinds[k]), -float(result.shares[k].max()), int(k)) for k in live]
    shares = result.shares[[k for *_, k in sorted(keys)]].clamp(min=0)
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-12)
    floor = shares.new_zeros(len(shares))
    for k, (name, colour) in enumerate(zip(share_names_of(result), colours_of(result), strict=True)):
        label = shortened(legible(name), 18)
        axes.bar(range(len(shares)), shares[:, k], 1.0, bottom=floor, color=colour, linewidth=0, label=label)
        floor = floor + shares[:, k]
    axes.set(ylim=(0, 1), xticks=[])
    axes.set_xlabel("features that vary, by class", fontsize=8)
    axes.set_ylabel("share of variance", fontsize=8)
    axes.legend(fontsize=FONT_SIZE, ncols=2, loc="lower right", bbox_to_anchor=(1.02, 1.0), frameon=False)
