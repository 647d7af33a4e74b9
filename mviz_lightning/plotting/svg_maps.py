"""What the segments of one input add to an output, as SVG: on the picture, the words, the values, the curve."""

import math
from collections.abc import Callable, Sequence

from mviz_lightning.functional.numerals import fixed
from mviz_lightning.plotting.diagrams import SegmentMap
from mviz_lightning.plotting.svg import LETTER, drawing, element, tinted, tip, words
from mviz_lightning.plotting.text_fitting import shortened

NARROW, HALF = 190, 292
"""Pixels: width of a map of a picture, and of words, values and curves: two of them fit beside one another."""

HEAD, LINE = 24, 24
"""Pixels: height of the title, and of a line of words or values."""

FINEST = 64
"""Largest number of rows and columns in which segments of any shape are drawn."""

MOST_LISTED = 24
"""Largest number of segments that are drawn by name; more are in the table."""

CURVE = 46
"""Pixels: height of one channel of a series."""

EDGE = {"stroke": "currentColor", "stroke_opacity": "0.2", "stroke_width": "0.5"}
"""Outline of a segment: whoever sees no colour finds its place."""

DrawnMap = tuple[list[str], float, float]
"""Elements, and the width and the height that they take in pixels."""


def map_svg(diagram: SegmentMap) -> str:
    """Draw a map in the way of its input; a list of names where that is not known."""
    draw = DRAWN.get(str(diagram.view.get("view")), _listed)
    inside, width, height = draw(diagram)
    shown = [words(shortened(diagram.title, int(width / LETTER)), 0, 15, font_weight="600")]
    shown += [words(diagram.foot, 0, height + 16, class_="mviz-soft")] * bool(diagram.foot)
    whole = height + (24 if diagram.foot else 4)
    return drawing(whole, diagram.title, _described(diagram), *shown, *inside, width=width)


def _described(diagram: SegmentMap) -> str:
    """Name the strongest segments for screen readers."""
    strongest = sorted(range(len(diagram.weights)), key=lambda segment: -abs(diagram.tint(segment)))[:3]
    listed = ", ".join(f"{_name(diagram, segment)} {_weight(diagram, segment)}" for segment in strongest)
    return f"strongest: {listed}. {diagram.foot}" if listed else "no segments"


def _name(diagram: SegmentMap, segment: int) -> str:
    return diagram.names[segment] if segment < len(diagram.names) else f"segment {segment + 1}"


def _weight(diagram: SegmentMap, segment: int) -> str:
    return fixed(float(diagram.weights[segment]), 2, "+") if math.isfinite(diagram.weights[segment]) else "not known"


def _told(diagram: SegmentMap, segment: int) -> str:
    return tip(f"{_name(diagram, segment)}: {_weight(diagram, segment)}")


def _picture(diagram: SegmentMap) -> DrawnMap:
    """Draw the segments over the faded picture: a grid, or segments of any shape."""
    view = diagram.view
    height, width = view["size"]
    across = NARROW / max(width, 1)
    tall = height * across
    under = _underlay(diagram, NARROW, tall)
    if "grid" not in view:
        return [*under, *_shapes(diagram, across)], NARROW, HEAD + tall
    rows, columns = view["grid"]
    box = {"width": NARROW / columns, "height": tall / rows}
    cells = [
        element(
            "rect",
            _told(diagram, segment),
            x=segment % columns * box["width"],
            y=HEAD + segment // columns * box["height"],
            **box,
            **tinted(diagram.tint(segment)),
            **EDGE,
        )
        for segment in range(min(rows * columns, len(diagram.weights)))
    ]
    return [*under, *cells], NARROW, HEAD + tall


def _underlay(diagram: SegmentMap, width: float, height: float) -> list[str]:
    """Return the picture, if inputs are shown: faded below weights, and as it is where there are none."""
    view, faded = diagram.view, "mviz-under" if len(diagram.weights) else None
    if not view.get("webp"):
        return []
    place = {"x": 0, "y": HEAD, "width": float(width), "height": float(height), "preserveAspectRatio": "none"}
    return [element("image", href=f"data:image/webp;base64,{view['webp']}", class_=faded, **place)]


def _shapes(diagram: SegmentMap, across: float) -> list[str]:
    """Return one path for each segment of any shape, from a run-length index, coarsely."""
    height, width = diagram.view["size"]
    flat = [segment for segment, run in diagram.view["index"] for _ in range(run)]
    step = max(1, math.ceil(max(height, width) / FINEST))
    paths: dict[int, list[str]] = {}
    for row in range(0, height, step):
        line, start = flat[row * width : (row + 1) * width], 0
        for column in range(step, width + step, step):
            if column >= width or line[column] != line[start]:
                ends = (start * across, HEAD + row * across, (min(column, width) - start) * across, step * across)
                paths.setdefault(line[start], []).append("M{0:.1f} {1:.1f}h{2:.1f}v{3:.1f}h-{2:.1f}z".format(*ends))
                start = column
    return [
        element("path", _told(diagram, segment), d="".join(path), **tinted(diagram.tint(segment)))
        for segment, path in sorted(paths.items())
        if 0 <= segment < len(diagram.weights)
    ]


def _boxes(diagram: SegmentMap) -> DrawnMap:
    view = diagram.view
    height, width = view["size"]
    across = NARROW / max(width, 1)
    drawn = [
        element(
            "rect",
            _told(diagram, segment),
            x=x0 * across,
            y=HEAD + y0 * across,
            width=(x1 - x0) * across,
            height=(y1 - y0) * across,
            **tinted(diagram.tint(segment)),
            **EDGE,
        )
        for segment, (x0, y0, x1, y1) in enumerate(view["boxes"][: len(diagram.weights)])
    ]
    return [*_underlay(diagram, NARROW, height * across), *drawn], NARROW, HEAD + height * across


def _words(diagram: SegmentMap) -> DrawnMap:
    """Draw words in a row, each on the colour of its weight."""
    return _chips(diagram, [_name(diagram, segment) for segment in range(len(diagram.weights))])


def _chips(diagram: SegmentMap, names: Sequence[str]) -> DrawnMap:
    x, y, drawn = 0.0, float(HEAD), list[str]()
    for segment, name in enumerate(names):
        label = shortened(name, 40)
        width = LETTER * len(label) * 1.06 + 12
        if x and x + width > HALF:
            x, y = 0.0, y + LINE
        box = element("rect", x=x, y=y, width=width, height=LINE - 4, rx=4, **tinted(diagram.tint(segment)), **EDGE)
        label = words(label, x + width / 2, y + 14, text_anchor="middle")
        drawn.append(element("g", _told(diagram, segment), box, label))
        x += width + 4
    return drawn, HALF, y + LINE


def _values(diagram: SegmentMap) -> DrawnMap:
    """Draw each column of a table: its name, its value and a bar for its weight."""
    values = [str(value) for value in diagram.view.get("values", ())]
    return _rows(diagram, [f"{_name(diagram, place)} = {value}" for place, value in enumerate(values)])


def _listed(diagram: SegmentMap) -> DrawnMap:
    return _rows(diagram, [])


def _rows(diagram: SegmentMap, labels: Sequence[str]) -> DrawnMap:
    """Draw a bar for each segment, from a middle line to the left or the right; the strongest, where there are many."""
    count = len(diagram.weights)
    order = sorted(range(count), key=lambda segment: -abs(diagram.tint(segment)))[:MOST_LISTED]
    middle, half = HALF - 84.0, 80.0
    drawn = []
    for row, segment in enumerate(sorted(order)):
        y, tint = HEAD + row * 18.0, diagram.tint(segment)
        label = labels[segment] if segment < len(labels) else _name(diagram, segment)
        name = words(shortened(label, int((middle - half) / LETTER)), 0, y + 12)
        side = middle if tint > 0 else middle - half * abs(tint)
        bar = element("rect", x=side, y=y + 2, width=half * abs(tint), height=13, **tinted(math.copysign(1, tint)))
        drawn.append(element("g", _told(diagram, segment), name, bar))
    height = HEAD + 18.0 * len(order)
    axis = element("path", d=f"M{middle} {HEAD}V{height}", stroke="currentColor", stroke_opacity="0.35")
    rest = count - len(order)
    further = [words(f"and {rest} weaker ones", 0, height + 14, class_="mviz-soft")] if rest else []
    return [*drawn, axis, *further], HALF, height + (18 if rest else 4)


def _lines(diagram: SegmentMap) -> DrawnMap:
    """Draw each channel of a series, over the colours of its spans."""
    view = diagram.view
    channels = view.get("channels") or [""]
    height = HEAD + CURVE * len(channels)
    drawn = []
    for segment, (channel, start, stop) in enumerate(view["spans"][: len(diagram.weights)]):
        top, tall = (HEAD, height - HEAD) if channel < 0 else (HEAD + CURVE * channel, CURVE)
        box = {"x": start * HALF, "y": float(top), "width": (stop - start) * HALF, "height": float(tall)}
        drawn.append(element("rect", _told(diagram, segment), **box, **tinted(diagram.tint(segment)), **EDGE))
    for channel, values in enumerate(view.get("values") or ()):
        drawn.append(_curve(values, HEAD + CURVE * channel))
    named = [words(name, 3, HEAD + CURVE * place + 11, class_="mviz-soft") for place, name in enumerate(channels)]
    return [*drawn, *(named if len(channels) > 1 else [])], HALF, height


def _curve(values: Sequence[float | None], top: float) -> str:
    """Return one channel as a line between its smallest and its largest value."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    across, up = HALF / max(len(values) - 1, 1), (CURVE - 8) / (high - low or 1.0)
    path, pen = "", "M"
    for place, value in enumerate(values):
        known_here = value is not None and math.isfinite(value)
        if known_here:
            path += f"{pen}{place * across:.1f} {top + CURVE - 4 - ((value or 0.0) - low) * up:.1f}"
        pen = "L" if known_here else "M"
    return element(
        "path", d=path or "M0 0", fill="none", stroke="currentColor", stroke_width="1", pointer_events="none"
    )


def _graph(diagram: SegmentMap) -> DrawnMap:
    """Draw nodes in the colours of their segments, and the edges between them."""
    view = diagram.view
    places = [(8 + x * (NARROW - 16), HEAD + 8 + y * (NARROW - 16)) for x, y in view["nodes"]]
    ends = "".join(
        f"M{places[a][0]:.1f} {places[a][1]:.1f}L{places[b][0]:.1f} {places[b][1]:.1f}" for a, b in view["edges"]
    )
    edges = element("path", d=ends or "M0 0", stroke="currentColor", stroke_opacity="0.3", fill="none")
    nodes = [
        element("circle", _told(diagram, segment), cx=x, cy=y, r=6, **tinted(diagram.tint(segment)), **EDGE)
        for (x, y), segment in zip(places, view["segment"], strict=True)
        if 0 <= segment < len(diagram.weights)
    ]
    return [edges, *nodes], NARROW, HEAD + NARROW


DRAWN: dict[str, Callable[[SegmentMap], DrawnMap]] = {
    "picture": _picture,
    "words": _words,
    "values": _values,
    "lines": _lines,
    "graph": _graph,
    "boxes": _boxes,
    "list": _listed,
}
"""Name of a view -> function that draws it."""
