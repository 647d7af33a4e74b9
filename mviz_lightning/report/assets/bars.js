// Stacked bars: one line of shares, and counts over the training.
//
// stackedShares([{ name, share, color, interval }])     a bar of shares with its names; shares are of 1
// stackedChart({ label, columns: ["epoch 3 (step 9)"], series: [{ name, values, color }], onMove })
//                                                  counts as stacked bars, a column for each moment; { node, choose(i) }
// barLegend([{ name, color }])                     names of colours

const BARS = { height: 210, top: 8, left: 44, bottom: 26, widest: 110 }; // px

function stackedShares(parts) {
  const all = parts.reduce((sum, { share }) => sum + Math.max(0, share), 0) || 1;
  let from = 0;
  const pieces = parts.map(({ name, share, color }) => {
    const width = (100 * Math.max(0, share)) / all, x = from;
    from += width;
    return svg("rect", { x, y: 0, width: Math.max(0, width - 0.4), height: 12, style: { fill: color } }, svg("title", null, `${name} ${percent(share)}`));
  });
  const named = ({ name, share, color, interval }) => el("span", { class: "entry" }, colourDot(color), cut(name), el("b", null, percent(share)),
    interval && el("span", { class: "note" }, `(${interval})`));
  return el("div", { class: "stacked-shares" },
    svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" }, pieces), el("div", { class: "legend" }, parts.map(named)));
}

function colourDot(color) {
  return svg("svg", { class: "colour-dot", viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" },
    svg("rect", { width: 10, height: 10, rx: 2, style: { fill: color } }));
}

function barLegend(series) {
  return el("div", { class: "legend" }, series.map(({ name, color }) => el("span", { class: "entry" }, colourDot(color), cut(name))));
}

function stackedChart({ label, columns, series, onMove = null }) {
  const state = { at: columns.length - 1, drawn: null };
  const said = el("output", { class: "bar-said" });
  const plot = el("div", { class: "count-bars", tabindex: 0, role: "slider", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": columns.length - 1 });
  const show = (i) => {
    const values = series.map(({ name, values: all }) => `${name} ${all[i] ?? 0}`);
    said.textContent = `${columns[i]}: ${values.join(", ")}`;
    if (state.drawn) state.drawn.mark(i);
  };
  const choose = (i) => {
    state.at = Math.max(0, Math.min(columns.length - 1, i));
    plot.setAttribute("aria-valuenow", state.at);
    show(state.at);
    plot.setAttribute("aria-valuetext", said.textContent);
  };
  const move = (i) => { choose(i); if (onMove) onMove(state.at); };
  listenToBars(plot, columns.length, { move, show, at: () => state.at });
  onWidth(plot, (width) => {
    state.drawn = stackedDrawing(columns, series, width);
    plot.replaceChildren(state.drawn.node);
    show(state.at);
  });
  choose(state.at);
  const figures = fold("Figures as a table", () => table(label, ["where", ...series.map(({ name }) => name)],
    columns.map((column, i) => [column, ...series.map(({ values }) => values[i] ?? 0)])));
  return { node: el("figure", { class: "chart" }, barLegend(series), plot, said, figures), choose };
}

// Calls draw with the width of a node in px, now and at every change; never for a hidden node.
function onWidth(node, draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = node.clientWidth;
    if (now && now !== width) draw(now);
    width = now;
  }).observe(node);
}

function listenToBars(plot, n, { move, show, at }) {
  const column = (event) => {
    const box = plot.getBoundingClientRect(), x = event.clientX - box.left - BARS.left;
    return Math.max(0, Math.min(n - 1, Math.floor(x / barStep(box.width, n))));
  };
  plot.addEventListener("pointermove", (event) => show(column(event)));
  plot.addEventListener("pointerleave", () => show(at()));
  plot.addEventListener("click", (event) => move(column(event)));
  plot.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: at() - 1, ArrowDown: at() - 1, ArrowRight: at() + 1, ArrowUp: at() + 1, Home: 0, End: n - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
}

// px of a column: a few columns do not fill the width.
function barStep(width, n) {
  return Math.min(BARS.widest, (width - BARS.left) / n);
}

function stackedDrawing(columns, series, width) {
  const totals = columns.map((_, i) => series.reduce((sum, { values }) => sum + (values[i] ?? 0), 0)), most = Math.max(1, ...totals);
  const y = linear([0, most], [BARS.height - BARS.bottom, BARS.top]), step = barStep(width, columns.length);
  const floor = columns.map(() => 0);
  const bars = series.map(({ name, values, color }) => {
    const boxes = columns.map((_, i) => {
      const from = floor[i], to = (floor[i] += values[i] ?? 0);
      return to > from ? barPath(BARS.left + i * step, step, y(from), y(to)) : "";
    });
    return svg("path", { d: boxes.join(""), style: { fill: color } }, svg("title", null, name));
  });
  const marker = svg("rect", { class: "bar-mark", y: 2, width: step, height: BARS.height - BARS.bottom });
  const node = svg("svg", { width, height: BARS.height, "aria-hidden": "true" }, stackedAxes(y, most, columns, width, step), bars, marker);
  return { node, mark: (i) => marker.setAttribute("x", BARS.left + i * step) };
}

// A bar with a gap of 1 px above it, so that neighbours with similar colours can be distinguished.
function barPath(x, step, low, high) {
  const gap = Math.min(8, step * 0.25);
  return `M${(x + gap / 2).toFixed(1)} ${low.toFixed(1)}V${Math.min(low - 0.5, high + 1).toFixed(1)}h${(step - gap).toFixed(1)}V${low.toFixed(1)}z`;
}

function stackedAxes(y, most, columns, width, step) {
  const every = Math.ceil(64 / step), short = (column) => column.replace(/^epoch (\S+).*$/, "$1").replace(/,.*$/, "");
  const row = (value) => [
    svg("line", { class: value ? "grid" : "grid zero", x1: BARS.left, x2: width, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: BARS.left - 8, y: y(value) + 4, "text-anchor": "end" }, value.toLocaleString("en"))];
  const name = (column, i) => i % every === 0 && svg("text", { class: "tick", x: BARS.left + (i + 0.5) * step, y: BARS.height - 8, "text-anchor": "middle" },
    shorten(short(column), step * every));
  return svg("g", null, ticks(0, most, 4, true).map(row), columns.map(name));
}
