// Line charts with bands, markers, zoom, hover and keyboard.
//
// const chart = lineChart({
//   label: "Total effects over the training",   what is drawn, for screen readers and the table of figures
//   lines: [{ name, xs, ys, lows, highs, color, dash }],   xs ascending; NaN is a gap; lows and highs may be left out
//   xTitle: "epoch", yTitle: "share of the variance",
//   written: percent,                 how a value is written
//   placeWritten: (x) => "epoch 3",   how a place is written
//   range: [0, 1],                    values that the y-axis holds in any case
//   markers: [{ x, name, urgent, open() }],   buttons on the x-axis
//   height: 280, integers: true,      ticks of the x-axis at whole numbers
//   onMove: (x) => ...,               the reader moved the cursor
// })
// chart.node, chart.update({ lines, ... }), chart.moveTo(x) (without onMove)
//
// lineOf(records, places, name, key, head, index)   a line with its interval from the history
// placesOf(records, "epoch" | "step")               x of each record; runs within an epoch lie between two whole numbers

const NARROW = 560; // px of width below which names stand in a legend
const LINE_HEIGHT = 16; // px between two names at the ends of lines
const NAME_WIDTH = 180; // px of the longest name at the end of a line

function placesOf(records, axis) {
  if (axis === "step") return records.map((record) => record.step);
  const runs = groupBy(records, (record) => record.epoch);
  return records.map((record) => {
    const same = runs.get(record.epoch);
    return record.epoch - 1 + (same.indexOf(record) + 1) / same.length;
  });
}

function lineOf(records, places, name, key, head, index) {
  const bounds = records.map((record) => boundsOf(record, key, head));
  return {
    name, xs: places, ys: records.map((record) => valueOf(record, key, head)),
    lows: bounds.map(([low]) => low), highs: bounds.map(([, high]) => high), ...seriesStyle(index),
  };
}

function lineChart(given) {
  const state = {
    height: 280, written: number, placeWritten: (x) => number(x), markers: [], ...given,
    pinned: null, hover: null, zoom: null,
  };
  const parts = {
    legend: el("div", { class: "legend" }),
    plot: el("div", { class: "plot", tabindex: 0, role: "slider", "aria-label": state.label, "aria-valuenow": 0,
      style: { height: `${state.height}px` } }),
    tip: el("div", { class: "tip", hidden: true }),
    markers: el("div", { class: "markers" }),
    reset: el("button", { class: "quiet reset", type: "button", hidden: true }, "Show all"),
    figures: el("div", { class: "figures" }),
  };
  const node = el("figure", { class: "chart" }, parts.legend,
    el("div", { class: "frame" }, parts.plot, parts.tip, parts.markers, parts.reset), parts.figures);
  drawFigures(state, parts);
  lazily(node, () => start(state, parts));
  return {
    node,
    moveTo(x) { state.pinned = x; drawCursor(state, parts); },
    update(changes) { Object.assign(state, changes); drawFigures(state, parts); drawChart(state, parts); },
  };
}

function start(state, parts) {
  let width = 0;
  listen(state, parts);
  new ResizeObserver(() => {
    if (parts.plot.clientWidth !== width) drawChart(state, parts);
    width = parts.plot.clientWidth;
  }).observe(parts.plot);
}

// ---- drawing

function drawChart(state, parts) {
  const width = parts.plot.clientWidth;
  if (!width) return;
  const inside = linesInside(state), direct = hasRoomForNames(state, width);
  const yRange = rangeOf(inside.flatMap(({ ys, lows, highs }) => [...ys, ...(lows || []), ...(highs || [])]), state.range);
  const yTicks = ticks(...yRange, 4);
  state.box = boxOf(state, width, yTicks, direct);
  state.xs = placesInside(state);
  state.x = linear(state.zoom || xRange(state), [state.box.left, state.box.right]);
  state.y = linear(yRange, [state.box.bottom, state.box.top]);
  parts.plot.replaceChildren(svg("svg", { width, height: state.height, "aria-hidden": "true" },
    drawAxes(state, yTicks), drawLines(state, inside), direct && drawNames(state, inside), svg("g", { class: "cursor" })));
  drawLegend(state, parts.legend, direct);
  drawMarkers(state, parts.markers);
  parts.reset.hidden = !state.zoom;
  drawCursor(state, parts);
}

function hasRoomForNames({ lines, height }, width) {
  return width >= NARROW && lines.length * LINE_HEIGHT <= height - 64;
}

function boxOf({ lines, markers, yTitle, height, written }, width, yTicks, direct) {
  const left = 12 + Math.max(...yTicks.map((value) => textWidth(written(value))));
  const longest = Math.max(0, ...lines.map((line) => textWidth(line.name)));
  const right = width - (direct ? Math.min(NAME_WIDTH, longest) + 16 : 12);
  return { width, left, right, top: yTitle ? 28 : 12, bottom: height - (markers.length ? 56 : 38) };
}

function xRange({ lines, markers }) {
  const all = [...lines.flatMap((line) => line.xs), ...markers.map((marker) => marker.x)];
  const [low, high] = rangeOf([], [Math.min(...all, Infinity), Math.max(...all, -Infinity)]);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function placesInside({ lines, zoom }) {
  const all = unique(lines.flatMap((line) => line.xs)).sort((a, b) => a - b);
  return zoom ? all.filter((x) => x >= zoom[0] && x <= zoom[1]) : all;
}

// The lines between the ends of the zoom, with one point beyond each end so that they reach the edge.
function linesInside({ lines, zoom }) {
  if (!zoom) return lines;
  return lines.map((line) => {
    const after = line.xs.findIndex((x) => x > zoom[1]);
    const from = Math.max(0, line.xs.findIndex((x) => x >= zoom[0]) - 1), to = after < 0 ? line.xs.length : after + 1;
    const part = (list) => list && list.slice(from, to);
    return { ...line, xs: part(line.xs), ys: part(line.ys), lows: part(line.lows), highs: part(line.highs) };
  });
}

function drawAxes(state, yTicks) {
  const { x, y, box, zoom } = state;
  const [first, last] = zoom || xRange(state);
  const xTicks = ticks(first, last, Math.max(2, (box.right - box.left) / 80), state.integers !== false);
  const label = (attributes, text) => svg("text", { class: "tick", ...attributes }, text);
  const below = state.markers.length ? 36 : 18;
  return svg("g", null,
    state.markers.map((marker) => svg("line", { class: marker.urgent ? "alarm urgent" : "alarm", x1: x(marker.x), x2: x(marker.x), y1: box.top, y2: box.bottom })),
    yTicks.map((value) => svg("line", { class: value === 0 ? "grid zero" : "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) })),
    yTicks.map((value) => label({ x: box.left - 8, y: y(value) + 4, "text-anchor": "end" }, state.written(value))),
    xTicks.map((value) => label({ x: x(value), y: box.bottom + below, "text-anchor": "middle" }, Number.isInteger(value) ? grouped(value) : number(value))),
    state.yTitle && label({ x: box.left, y: 12 }, state.yTitle),
    state.xTitle && label({ x: box.right, y: box.bottom + below + 16, "text-anchor": "end" }, state.xTitle));
}

function drawLines(state, lines) {
  const { x, y, box } = state, id = newId("clip");
  const clip = svg("clipPath", { id }, svg("rect", { x: box.left - 5, y: box.top - 5, width: box.right - box.left + 10, height: box.bottom - box.top + 10 }));
  const drawn = lines.map((line) => {
    const points = line.xs.map((at, i) => [x(at), y(line.ys[i])]);
    const band = line.lows ? line.xs.map((at, i) => [x(at), y(line.lows[i]), y(line.highs[i])]) : [];
    const dots = points.length <= 40 ? points.filter((point) => point.every(Number.isFinite)) : stretches(points).filter((s) => s.length === 1).flat();
    return svg("g", { style: { color: line.color } },
      svg("path", { class: "band", d: bandPath(band) }),
      svg("path", { class: "line", d: linePath(points), "stroke-dasharray": line.dash || null }),
      dots.map(([cx, cy]) => svg("circle", { class: "dot", cx, cy, r: 2.5 })));
  });
  return [clip, svg("g", { "clip-path": `url(#${id})` }, drawn)];
}

function drawNames({ x, y, box }, lines) {
  const ends = lines.map((line) => stretches(line.xs.map((at, i) => [x(at), y(line.ys[i])])).flat().pop());
  const shown = lines.map((_, i) => i).filter((i) => ends[i]);
  const wanted = shown.map((i) => Math.max(box.top, Math.min(box.bottom, ends[i][1])));
  const placed = spread(wanted, 16, box.top, box.bottom);
  return shown.map((i, k) => svg("g", { style: { color: lines[i].color } },
    Math.abs(placed[k] - wanted[k]) > 3 && svg("path", { class: "leader", d: `M${box.right + 3} ${wanted[k]}L${box.right + 10} ${placed[k]}` }),
    svg("text", { class: "name", x: box.right + 13, y: placed[k] + 4 }, svg("title", null, lines[i].name), shorten(lines[i].name, 178))));
}

function swatch({ color, dash }) {
  return svg("svg", { class: "swatch", width: 22, height: 8, "aria-hidden": "true", style: { color } },
    svg("line", { class: "line", x1: 0, x2: 22, y1: 4, y2: 4, "stroke-dasharray": dash || null }));
}

function drawLegend({ lines }, legend, direct) {
  legend.hidden = direct || lines.length < 2;
  legend.replaceChildren(...(legend.hidden ? [] : lines.map((line) => el("span", { class: "entry" }, swatch(line), cut(line.name)))));
}

function drawMarkers({ markers, x, box, zoom }, lane) {
  const inside = markers.filter((marker) => !zoom || (marker.x >= zoom[0] && marker.x <= zoom[1]));
  lane.hidden = !markers.length;
  lane.replaceChildren(...inside.map((marker) => el("button", {
    type: "button", class: marker.urgent ? "marker urgent" : "marker", title: marker.name, "aria-label": marker.name,
    style: { left: `${x(marker.x)}px` }, onclick: marker.open, onfocus: marker.open,
  }, marker.urgent ? "▲" : "△")));
  lane.style.top = `${box.bottom + 1}px`;
}

// ---- the figures as a table

function drawFigures(state, parts) {
  parts.figures.replaceChildren(fold("Figures as a table", () => tableOfLines(state)));
}

function tableOfLines({ lines, label, placeWritten, written }) {
  const all = unique(lines.flatMap((line) => line.xs)).sort((a, b) => a - b);
  const cell = (line, at) => {
    const [found] = readings({ lines: [line], written }, at);
    return found ? `${found.value}${found.interval && ` (${found.interval})`}` : "–";
  };
  const columns = ["where", ...lines.map((line) => line.name)];
  return table(label, columns, all.map((at) => [placeWritten(at), ...lines.map((line) => cell(line, at))]));
}
