// Line charts with bands, markers, zoom, hover and keyboard.
//
// const chart = lineChart({
//   label: "Total effects over the training",   what is drawn, for screen readers and the table of figures
//   lines: [{ name, xs, ys, lows, highs, color, dash }],   xs ascending; NaN is a gap; lows and highs may be left out
//   xTitle: "epoch", yTitle: "share of the variance",
//   written: percent,                 how a value is written
//   placeWritten: (x) => "epoch 3",   how a place is written
//   range: [0, 1],                    values that the y-axis always contains
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
    name,
    xs: places,
    ys: records.map((record) => valueOf(record, key, head)),
    lows: bounds.map(([low]) => low),
    highs: bounds.map(([, high]) => high),
    ...seriesStyle(index),
  };
}

function lineChart(given) {
  const state = {
    height: 280,
    written: number,
    placeWritten: (x) => number(x),
    markers: [],
    ...given,
    xs: [], // until the chart is drawn, keys find no place
    pinned: null,
    hover: null,
    zoom: null,
  };
  const parts = {
    legend: el("div", { class: "legend" }),
    plot: el("div", {
      class: "plot",
      tabindex: 0,
      role: "slider",
      "aria-label": state.label,
      "aria-valuenow": 0,
      style: { height: `${state.height}px` },
    }),
    tip: el("div", { class: "tip", hidden: true }),
    markers: el("div", { class: "markers" }),
    reset: el("button", { class: "quiet reset", type: "button", hidden: true }, "Show all"),
    figures: el("div", { class: "figures" }),
    hint: el("span", { class: "hint" }, "drag to zoom"),
  };
  const node = el(
    "figure",
    { class: "chart" },
    parts.legend,
    el("div", { class: "frame" }, parts.plot, parts.tip, parts.markers),
    el("div", { class: "foot" }, parts.figures, parts.hint, parts.reset),
  );
  drawFigures(state, parts);
  lazily(node, () => start(state, parts));
  return {
    node,
    moveTo(x) {
      state.pinned = x;
      drawCursor(state, parts);
    },
    update(changes) {
      Object.assign(state, changes);
      drawFigures(state, parts);
      drawChart(state, parts);
    },
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
  const inside = linesInside(state),
    direct = hasRoomForNames(state, width);
  const yRange = rangeOf(
    inside.flatMap(({ ys, lows, highs }) => [...ys, ...(lows || []), ...(highs || [])]),
    state.range,
  );
  const yTicks = labelled(ticks(...yRange, 4), state.written);
  state.box = boxOf(state, width, yTicks, direct);
  state.xs = placesInside(state);
  state.span = spanOf(state);
  state.x = linear(state.span, [state.box.left, state.box.right]);
  state.y = linear(yRange, [state.box.bottom, state.box.top]);
  parts.plot.replaceChildren(
    svg(
      "svg",
      { width, height: state.height, "aria-hidden": "true" },
      drawAxes(state, yTicks),
      drawLines(state, inside),
      direct && drawNames(state, inside),
      svg("g", { class: "cursor" }),
    ),
  );
  drawLegend(state, parts.legend, direct);
  drawMarkers(state, parts.markers);
  parts.reset.hidden = !state.zoom;
  parts.hint.hidden = Boolean(state.zoom) || state.xs.length < 3;
  drawCursor(state, parts);
}

function labelled(values, written) {
  const texts = written === number ? tickTexts(values) : values.map(written);
  return values.map((value, i) => ({ value, text: texts[i] }));
}

function hasRoomForNames({ lines, height }, width) {
  return width >= NARROW && lines.length * LINE_HEIGHT <= height - 64;
}

function boxOf({ lines, markers, yTitle, height }, width, yTicks, direct) {
  const left = 12 + Math.max(...yTicks.map(({ text }) => textWidth(text)));
  const longest = Math.max(0, ...lines.map((line) => textWidth(line.name)));
  const right = width - (direct ? Math.min(NAME_WIDTH, longest) + 16 : 12);
  return { width, left, right, top: yTitle ? 28 : 12, bottom: height - (markers.length ? 56 : 38) };
}

// The ends of the x-axis: those of the zoom, or, without a zoom, of all places.
function spanOf({ lines, markers, zoom }) {
  const found = zoom || extent([...lines.flatMap((line) => line.xs), ...markers.map((marker) => marker.x)]) || [0, 1];
  return found[0] === found[1] ? [found[0] - 0.5, found[1] + 0.5] : found;
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
    const from = Math.max(0, line.xs.findIndex((x) => x >= zoom[0]) - 1),
      to = after < 0 ? line.xs.length : after + 1;
    const part = (list) => list && list.slice(from, to);
    return { ...line, xs: part(line.xs), ys: part(line.ys), lows: part(line.lows), highs: part(line.highs) };
  });
}

function drawAxes(state, yTicks) {
  const { x, y, box, span, markers } = state,
    below = box.bottom + (markers.length ? 36 : 18);
  const about = Math.max(2, (box.right - box.left) / 80);
  const xTicks = labelled(ticks(...span, about, state.integers !== false), number);
  const text = (words, at) => svg("text", { class: "tick", ...at }, words);
  const across = (at) => ({ x1: box.left, x2: box.right, y1: at, y2: at });
  const upright = (at) => ({ x1: at, x2: at, y1: box.top, y2: box.bottom });
  return svg(
    "g",
    null,
    markers.map((one) => svg("line", { class: one.urgent ? "alarm urgent" : "alarm", ...upright(x(one.x)) })),
    yTicks.map(({ value }) => svg("line", { class: value === 0 ? "grid zero" : "grid", ...across(y(value)) })),
    yTicks.map((tick) => text(tick.text, { x: box.left - 8, y: y(tick.value) + 4, "text-anchor": "end" })),
    xTicks.map((tick) => text(tick.text, { x: x(tick.value), y: below, "text-anchor": "middle" })),
    state.yTitle && text(state.yTitle, { x: box.left, y: 12 }),
    state.xTitle && text(state.xTitle, { x: box.right, y: below + 16, "text-anchor": "end" }),
  );
}

const MANY = 8; // largest number of lines with bands and dots; with more lines, these would hide the lines

function drawLines(state, lines) {
  const { left, right, top, bottom } = state.box,
    id = newId("clip");
  const area = svg("rect", { x: left - 5, y: top - 5, width: right - left + 10, height: bottom - top + 10 });
  return [
    svg("clipPath", { id }, area),
    svg(
      "g",
      { "clip-path": `url(#${id})`, class: lines.length > MANY ? "lines many" : "lines" },
      lines.map((line) => drawLine(state, line)),
    ),
  ];
}

function drawLine({ x, y }, { xs, ys, lows, highs, color, dash }) {
  const points = xs.map((at, i) => [x(at), y(ys[i])]),
    parts = stretches(points);
  const dots = points.length <= 40 ? parts.flat() : parts.filter((part) => part.length === 1).flat();
  return svg(
    "g",
    { class: "one-line", style: { color } },
    lows && svg("path", { class: "band", d: bandPath(xs.map((at, i) => [x(at), y(lows[i]), y(highs[i])])) }),
    svg("path", { class: "line", d: linePath(points), "stroke-dasharray": dash || null }),
    dots.map(([cx, cy]) => svg("circle", { class: "dot", cx, cy, r: 2.5 })),
  );
}

function drawMarkers({ markers, x, box, span }, lane) {
  const inside = markers.filter((marker) => marker.x >= span[0] && marker.x <= span[1]);
  const button = ({ x: at, name, urgent, open }) =>
    el(
      "button",
      {
        type: "button",
        class: urgent ? "marker urgent" : "marker",
        title: name,
        "aria-label": name,
        style: { left: `${x(at)}px` },
        onclick: open,
        onfocus: open,
      },
      urgent ? "▲" : "△",
    );
  lane.hidden = !markers.length;
  lane.style.top = `${box.bottom + 1}px`;
  lane.replaceChildren(...inside.map(button));
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
  return table(
    label,
    columns,
    all.map((at) => [placeWritten(at), ...lines.map((line) => cell(line, at))]),
  );
}
