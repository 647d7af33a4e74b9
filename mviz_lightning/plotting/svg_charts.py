"""Bars, curves and matrices as SVG: intervals, real text, and the colour of the page's own text."""

import math
from collections.abc import Sequence

from mviz_lightning.plotting.diagrams import Bar, Bars, Curve, Curves, Mark, Matrix, number_words, ticks
from mviz_lightning.plotting.svg import FONT, LETTER, WIDTH, drawing, element, tinted, tip, words
from mviz_lightning.plotting.text_fitting import distinct, shortened

ROW, HEAD, FOOT = 22, 24, 20
"""Pixels: height of a row of bars, of the title above and of the axis below."""

LABELS, NUMBERS = 132, 150
"""Pixels: width of the names to the left of bars, and of the numbers to their right."""

PLOT_HEIGHT, PLOT_LEFT = 190, 42
"""Pixels: height of curves, and width of the numbers to their left."""

MOST_POINTS = 60
"""Largest number of runs of which each has a point; of more, the points would hide the curve."""

LARGEST_CELL, SMALLEST_CELL = 22, 7
"""Pixels: height of the rows of a matrix."""

MOST_NAMED = 14
"""Largest number of columns of a matrix whose names are written."""


def bars_svg(diagram: Bars) -> str:
    """Draw bars with their intervals, and the numbers beside them."""
    low, high = diagram.span
    left, right = LABELS, WIDTH - NUMBERS
    scale = (right - left) / (high - low)
    names = distinct([bar.label for bar in diagram.bars], int((LABELS - 10) / LETTER)) if diagram.bars else []
    height = HEAD + ROW * len(diagram.bars) + FOOT
    drawn = [_heading(diagram.title)]
    for tick in ticks(low, high):
        x = left + (tick - low) * scale
        drawn += [_line(x, HEAD, x, height - FOOT, 0.35 if tick == 0 else 0.12), _tick(tick, x, height, diagram)]
    for row, (bar, name) in enumerate(zip(diagram.bars, names, strict=True)):
        top = HEAD + row * ROW
        ends = [left + (min(max(number, low), high) - low) * scale for number in (0.0, bar.value, bar.low, bar.high)]
        label = words(name, left - 8, top + 15, text_anchor="end")
        number = words(diagram.words(bar), right + 8, top + 15)
        drawn.append(element("g", tip(f"{bar.label}: {diagram.words(bar)}"), label, *_bar(bar, ends, top), number))
    described = "; ".join(f"{bar.label}: {diagram.words(bar)}" for bar in diagram.bars)
    return drawing(height, diagram.title, described, *drawn)


def _tick(tick: float, x: float, height: float, diagram: Bars) -> str:
    return words(_tick_words(tick, percent=diagram.percent), x, height - 5, text_anchor="middle", class_="mviz-soft")


def _tick_words(tick: float, *, percent: bool) -> str:
    return f"{100 * tick:g} %" if percent else f"{tick:g}"


def _bar(bar: Bar, ends: Sequence[float], top: float) -> list[str]:
    zero, value, low, high = ends
    if not math.isfinite(bar.value):
        return []
    sides = {"x": min(zero, value), "width": max(abs(value - zero), 1.0)}
    box = element("rect", y=top + 4.0, height=ROW - 8.0, rx=2, fill=bar.colour, fill_opacity="0.85", **sides)
    return [box] if math.isnan(bar.low + bar.high) else [box, *_whisker(low, high, top + ROW / 2)]


def _whisker(low: float, high: float, y: float) -> list[str]:
    return [_line(low, y, high, y, 0.9, 1.5), *(_line(x, y - 4, x, y + 4, 0.9, 1.5) for x in (low, high))]


def _heading(title: str) -> str:
    return words(title, 0, 15, font_weight="600")


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float, width: float = 1.0) -> str:
    ends = {"x1": float(x1), "y1": float(y1), "x2": float(x2), "y2": float(y2)}
    return element("line", **ends, stroke="currentColor", stroke_opacity=f"{opacity:g}", stroke_width=float(width))


def curves_svg(diagram: Curves) -> str:
    """Draw curves with bands, a legend above them, and marks where a run needs attention."""
    legend, rows = _legend(diagram.curves)
    top = HEAD + 18 * rows + 6
    bottom, right = top + PLOT_HEIGHT, WIDTH - 12
    low, high = diagram.span
    first, last = min(diagram.places, default=0), max(diagram.places, default=0)
    middle = (PLOT_LEFT + right) / 2
    across = (right - 16 - PLOT_LEFT) / (last - first) if last > first else 0.0
    xs = [PLOT_LEFT + 8 + (place - first) * across if across else middle for place in diagram.places]

    def up(value: float) -> float:
        inside = value if math.isnan(value) else min(max(value, low), high)
        return bottom - (inside - low) / (high - low) * PLOT_HEIGHT

    drawn = [_heading(diagram.title), *legend]
    drawn += [mark for tick in ticks(low, high) for mark in _y_tick(diagram, tick, up(tick))]
    drawn += _x_ticks(diagram, xs, bottom)
    for curve in diagram.curves:
        bounds = [[up(value) for value in numbers] for numbers in (curve.values, curve.low, curve.high)]
        drawn.append(element("g", *_curve(diagram, curve, xs, bounds)))
    return drawing(bottom + 36, diagram.title, _last_run(diagram), *drawn)


def _last_run(diagram: Curves) -> str:
    """Return the numbers of the last run in words."""
    last = len(diagram.places) - 1
    told = (
        [f"{curve.label}: {diagram.words(curve, last)}" for curve in diagram.curves] if diagram.places else ["no run"]
    )
    return f"At the last run, {'; '.join(told)}"


def _y_tick(diagram: Curves, tick: float, y: float) -> list[str]:
    label = _tick_words(tick, percent=diagram.percent)
    line = _line(PLOT_LEFT, y, WIDTH - 12, y, 0.35 if tick == 0 else 0.12)
    return [line, words(label, PLOT_LEFT - 6, y + 4, text_anchor="end", class_="mviz-soft")]


def _x_ticks(diagram: Curves, xs: Sequence[float], bottom: float) -> list[str]:
    """Return the numbers below the curves: some runs, evenly, and what they count."""
    count = len(xs)
    step = max(1, math.ceil(count / 8))
    shown = list(range(0, count, step))
    style = {"text_anchor": "middle", "class_": "mviz-soft"}
    numbers = [words(f"{diagram.places[place]:g}", xs[place], bottom + 15, **style) for place in shown]
    return [*numbers, words(diagram.axis, (PLOT_LEFT + WIDTH - 12) / 2, bottom + 31, **style)]


def _legend(curves: Sequence[Curve]) -> tuple[list[str], int]:
    """Return a sample and the name of each curve and each state, and how many rows they take."""
    x, row, drawn = 0.0, 0, list[str]()
    states = {mark.words.rpartition(" ")[2]: mark for curve in curves for mark in curve.marks}
    samples: list[tuple[Curve | Mark, str]] = [(curve, curve.label) for curve in curves]
    samples += [(mark, name) for name, mark in states.items()]
    for shown, label in samples:
        name = shortened(label, 40)
        width = 28 + LETTER * len(name) + 14
        if x and x + width > WIDTH:
            x, row = 0.0, row + 1
        y = HEAD + 18 * row + 6
        sample = _stroke(f"M{x:.1f} {y}h20", shown) if isinstance(shown, Curve) else _mark(shown, x + 10, y)
        drawn += [sample, words(name, x + 26, y + 4)]
        x += width
    return drawn, row + 1


def _stroke(path: str, curve: Curve) -> str:
    """Return a line in the colour of a curve; one without a colour is dotted."""
    dots = None if curve.colour else "2 4"
    colour = curve.colour or "currentColor"
    return element("path", d=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dots)


def _curve(diagram: Curves, curve: Curve, xs: Sequence[float], bounds: Sequence[Sequence[float]]) -> list[str]:
    ys, lows, highs = bounds
    drawn = [tip(curve.label)]
    for run in _spells([not math.isnan(low + high) for low, high in zip(lows, highs, strict=True)]):
        edge = [(xs[place], highs[place]) for place in run] + [(xs[place], lows[place]) for place in reversed(run)]
        drawn.append(element("path", d=f"{_path(edge)}Z", fill=curve.colour or "currentColor", fill_opacity="0.18"))
    lines = [_path([(xs[place], ys[place]) for place in run]) for run in _spells([not math.isnan(y) for y in ys])]
    drawn += [_stroke(line, curve) for line in lines]
    alone = len(xs) == 1 and not math.isnan(sum(bound[0] for bound in bounds))
    drawn += [_line(xs[0], lows[0], xs[0], highs[0], 0.8, 1.5)] * alone
    drawn += _points(diagram, curve, xs, ys)
    return [*drawn, *_marks(diagram, curve, xs, ys)]


def _points(diagram: Curves, curve: Curve, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    """Return a point at each run, which tells its numbers to who points at it."""
    shown = [place for place, y in enumerate(ys) if not math.isnan(y)]
    fill = curve.colour or "currentColor"
    radius = 3.0 if len(shown) <= MOST_POINTS else 1.0
    return [
        element("circle", tip(_told(diagram, curve, place)), cx=xs[place], cy=ys[place], r=radius, fill=fill)
        for place in shown
    ]


def _told(diagram: Curves, curve: Curve, place: int) -> str:
    return f"{diagram.axis} {diagram.places[place]:g}, {curve.label}: {diagram.words(curve, place)}"


def _marks(diagram: Curves, curve: Curve, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    """Return the marks of a curve, each of which tells its state to who points at it."""
    return [
        _mark(mark, xs[mark.place], ys[mark.place], tip(f"{_told(diagram, curve, mark.place)}; {mark.words}"))
        for mark in curve.marks
        if not math.isnan(ys[mark.place])
    ]


def _mark(mark: Mark, x: float, y: float, *inside: str) -> str:
    """Return a cross for an alarm, and a ring for another state that needs attention."""
    style = {"fill": "none", "stroke": "currentColor", "stroke_width": 2}
    if mark.urgent:
        return element("path", *inside, d=f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10", **style)
    return element("circle", *inside, cx=float(x), cy=float(y), r=6, **style)


def _spells(known: Sequence[bool]) -> list[list[int]]:
    """Return the places of each unbroken spell of numbers that are known."""
    spells: list[list[int]] = [[]]
    for place, found in enumerate(known):
        if found:
            spells[-1].append(place)
        elif spells[-1]:
            spells.append([])
    return [spell for spell in spells if spell]


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def matrix_svg(diagram: Matrix) -> str:
    """Draw a matrix: a cell's colour is its number, and who points at it reads it."""
    rows, columns = diagram.weights.shape
    side = max(SMALLEST_CELL, min(LARGEST_CELL, 300 / max(rows, 1)))
    named = columns <= MOST_NAMED
    longest = max(map(len, diagram.columns), default=0) if named else 0
    wide = max(2.0, min((WIDTH - LABELS) / max(columns, 1), max(2.4 * side, LETTER * longest + 10)))
    top = HEAD + (18 if named else 4)
    heads = distinct(diagram.columns, max(2, int(wide / LETTER))) if named and columns else []
    middle = [LABELS + (column + 0.5) * wide for column in range(columns)]
    drawn = [_heading(diagram.title)]
    drawn += [words(name, x, top - 6, text_anchor="middle") for x, name in zip(middle, heads, strict=False)]
    names = distinct(diagram.rows, int((LABELS - 10) / LETTER)) if rows else []
    every = math.ceil((FONT + 1) / side)
    for row in range(rows):
        y = top + row * side
        drawn += [words(names[row], LABELS - 8, y + side / 2 + 4, text_anchor="end")] * (row % every == 0)
        drawn += [_cell(diagram, row, column, (LABELS + column * wide, y, wide, side)) for column in range(columns)]
    described = f"{rows} rows and {columns} columns; the largest number is {number_words(diagram.limit)}"
    return drawing(top + rows * side + 6, diagram.title, described, *drawn)


def _cell(diagram: Matrix, row: int, column: int, box: tuple[float, float, float, float]) -> str:
    weight = float(diagram.weights[row, column])
    tint = weight / diagram.limit if diagram.limit and math.isfinite(weight) else 0.0
    told = tip(f"{diagram.rows[row]} x {diagram.columns[column]}: {number_words(weight)}")
    x, y, wide, side = box
    edge = {"stroke": "currentColor", "stroke_opacity": "0.12", "stroke_width": "0.5"}
    return element("rect", told, x=x, y=y, width=wide, height=float(side), **tinted(tint), **edge)
