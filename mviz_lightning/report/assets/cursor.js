// The cursor of a line chart: values at a place, by pointer and keyboard, and the zoom. charts.js alone uses this file.
//
// state.pinned is the place that was chosen by key, click or moveTo; state.hover the place under the pointer.

function cursorOf({ xs, hover, pinned }) {
  const at = hover === null ? pinned : hover;
  return at === null || !xs.length ? null : nearest(xs, at);
}

function readings({ lines, written }, at) {
  return lines
    .map((line) => {
      const i = line.xs.indexOf(at);
      if (i < 0 || !Number.isFinite(line.ys[i])) return null;
      const interval = line.lows ? between(line.lows[i], line.highs[i], written) : "";
      return { line, y: line.ys[i], value: written(line.ys[i]), interval };
    })
    .filter((reading) => reading);
}

function drawCursor(state, parts) {
  const layer = parts.plot.querySelector(".cursor");
  if (!layer) return;
  const at = cursorOf(state),
    found = at === null ? [] : readings(state, at);
  layer.replaceChildren();
  if (at !== null) layer.append(cursorLine(state, at), ...found.map((reading) => cursorDot(state, at, reading)));
  parts.tip.hidden = at === null || !(state.hover !== null || parts.plot.matches(":focus-visible"));
  if (!parts.tip.hidden) drawTip(state, parts.tip, at, found);
  describe(state, parts.plot, at);
}

function cursorLine({ x, box }, at) {
  return svg("line", { x1: x(at), x2: x(at), y1: box.top, y2: box.bottom });
}

function cursorDot({ x, y }, at, { line, y: value }) {
  return svg("circle", { class: "dot", cx: x(at), cy: y(value), r: 4, style: { color: line.color } });
}

// The slider's text for a screen reader: all values at this place.
function describe(state, plot, at) {
  const { xs, label, placeWritten } = state,
    shown = at === null ? xs[xs.length - 1] : at;
  const said = xs.length
    ? readings(state, shown).map(({ line, value, interval }) => `${line.name} ${value}${interval && ` (${interval})`}`)
    : ["no values"];
  const told = {
    label,
    valuemin: 0,
    valuemax: Math.max(0, xs.length - 1),
    valuenow: Math.max(0, xs.indexOf(shown)),
    valuetext: `${xs.length ? `${placeWritten(shown)}: ` : ""}${said.join(", ")}`,
  };
  for (const [name, value] of Object.entries(told)) plot.setAttribute(`aria-${name}`, value);
}

function drawTip(state, tip, at, found) {
  const row = ({ line, value, interval }) => [
    swatch(line),
    cut(line.name),
    el("b", null, value),
    el("span", null, interval),
  ];
  tip.classList.toggle("many", found.length > 12);
  tip.replaceChildren(el("strong", null, state.placeWritten(at)), el("div", { class: "readings" }, found.map(row)));
  const { box } = state,
    where = state.x(at),
    width = tip.offsetWidth;
  const beside = where + 14 + width <= box.width ? where + 14 : where - width - 14;
  Object.assign(tip.style, { left: `${Math.max(0, beside)}px`, top: `${box.top}px` });
}

function placeAt({ box, span: [low, high] }, px) {
  return low + ((px - box.left) / (box.right - box.left)) * (high - low);
}

// Pins a place, and calls the chart's onMove.
function pin(state, parts, at) {
  state.pinned = at;
  drawCursor(state, parts);
  if (at !== null && state.onMove) state.onMove(at);
}

function zoomTo(state, parts, range) {
  state.zoom = range;
  drawChart(state, parts);
}

function listen(state, parts) {
  const { plot, reset } = parts,
    drag = { from: null };
  const px = (event) => event.clientX - plot.getBoundingClientRect().left;
  const on = (name, act) => plot.addEventListener(name, act);
  const leave = () => {
    drag.from = state.hover = null;
    drawCursor(state, parts);
  };
  on("pointerdown", (event) => {
    drag.from = event.button === 0 ? px(event) : null;
  });
  on("pointermove", (event) => moved(state, parts, drag.from, px(event)));
  on("pointerup", (event) => {
    released(state, parts, drag.from, px(event));
    drag.from = null;
  });
  on("pointerleave", leave);
  on("pointercancel", leave);
  on("dblclick", () => zoomTo(state, parts, null));
  on("keydown", (event) => pressed(event, state, parts));
  on("focus", () => drawCursor(state, parts));
  on("blur", () => drawCursor(state, parts));
  reset.addEventListener("click", () => {
    zoomTo(state, parts, null);
    plot.focus();
  });
}

function moved(state, parts, from, px) {
  if (!state.xs.length) return;
  state.hover = nearest(state.xs, placeAt(state, px));
  drawCursor(state, parts);
  if (from !== null && Math.abs(px - from) > 4) drawSelection(state, parts.plot, from, px);
}

function drawSelection({ box }, plot, from, to) {
  const area = { x: Math.min(from, to), y: box.top, width: Math.abs(to - from), height: box.bottom - box.top };
  plot.querySelector(".cursor").append(svg("rect", area));
}

// A drag over at least one place zooms; a click pins the place.
function released(state, parts, from, px) {
  if (from === null || !state.xs.length) return;
  const range = [placeAt(state, Math.min(from, px)), placeAt(state, Math.max(from, px))];
  const holds = state.xs.some((x) => x >= range[0] && x <= range[1]);
  if (Math.abs(px - from) > 8 && holds) zoomTo(state, parts, range);
  else pin(state, parts, nearest(state.xs, placeAt(state, px)));
}

const STEPS = {
  ArrowLeft: -1,
  ArrowDown: -1,
  ArrowRight: 1,
  ArrowUp: 1,
  PageDown: -10,
  PageUp: 10,
  Home: -Infinity,
  End: Infinity,
};

function pressed(event, state, parts) {
  const { xs } = state,
    at = cursorOf({ ...state, hover: null }),
    last = xs.length - 1;
  const here = at === null ? last : xs.indexOf(at);
  if (event.key in STEPS && xs.length) {
    state.hover = null;
    pin(
      state,
      parts,
      xs[at === null && event.key !== "Home" ? last : Math.max(0, Math.min(last, here + STEPS[event.key]))],
    );
  } else if (event.key === "+" && xs.length > 2) {
    const reach = Math.max(1, Math.floor(xs.length / 4));
    zoomTo(state, parts, [xs[Math.max(0, here - reach)], xs[Math.min(last, here + reach)]]);
  } else if (event.key === "-" || event.key === "Escape") {
    state.hover = null;
    if (!state.onMove) state.pinned = null;
    zoomTo(state, parts, null);
  } else return;
  event.preventDefault();
}
