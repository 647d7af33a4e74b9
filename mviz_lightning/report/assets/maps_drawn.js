// Views of a modality that are drawn: pictures and boxes on a canvas, lines and graphs as SVG. maps.js chooses among them.

const CANVAS = 448; // px of a canvas's longest side: two for each px on the page, for fine screens
const FAINT = { false: 0.34, true: 0.2 }; // opacity of a picture below its weights, in the light and the dark theme
const STRONGEST = 0.8; // opacity of the colour at the limit: the picture below can still be seen
const SMALL = 72; // px of a picture below which it is shown with its pixels, not blurred

// The picture of a view, decoded once; draw is called after decoding, or at once.
function withPicture(view, draw) {
  const source = pictureSource(view);
  if (!source) return draw(null);
  if (!view.image) Object.assign(view, { image: new Image() }).image.src = source;
  if (view.image.complete && view.image.naturalWidth) return draw(view.image);
  draw(null);
  view.image.addEventListener("load", () => draw(view.image));
  return undefined;
}

// The segment of every pixel of a view, row by row; -1 for none.
function indexOf(view) {
  if (!view.pixels)
    view.pixels = Int32Array.from(view.index.flatMap(([segment, length]) => Array(length).fill(segment)));
  return view.pixels;
}

function drawPicture(modality, weights, limit) {
  const { view, segments } = modality,
    [height, width] = view.size,
    zoom = CANVAS / Math.max(height, width);
  const canvas = el("canvas", {
    class: "picture",
    width: Math.round(width * zoom),
    height: Math.round(height * zoom),
    role: "img",
    "aria-label": describeMap(modality, weights),
  });
  const paper = canvas.getContext("2d");
  onTheme(canvas, () => withPicture(view, (picture) => paint(paper, canvas, view, picture, weights, limit)));
  if (!weights && !pictureSource(view))
    return el("p", { class: "hidden-input" }, "The input is not kept (show_inputs=False).");
  const tip = el("div", { class: "tip", hidden: true });
  const told = (event) => tellSegment(event, canvas, tip, view, segments, weights);
  canvas.addEventListener("pointermove", told);
  canvas.addEventListener("pointerdown", told);
  canvas.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
  return el("div", { class: "picture-frame" }, canvas, tip);
}

function paint(paper, canvas, view, picture, weights, limit) {
  const { width, height } = canvas;
  paper.globalAlpha = 1;
  paper.fillStyle = themeColor(weights ? "--neutral" : "--surface");
  paper.fillRect(0, 0, width, height);
  if (picture) {
    paper.imageSmoothingEnabled = picture.naturalWidth > SMALL;
    paper.filter = weights ? "grayscale(1)" : "none";
    paper.globalAlpha = weights ? FAINT[isDark()] : 1;
    paper.drawImage(picture, 0, 0, width, height);
    paper.filter = "none";
  }
  if (weights) paintWeights(paper, canvas, view, weights, limit);
  if (view.boxes) outlineBoxes(paper, canvas, view);
}

function paintWeights(paper, canvas, view, weights, limit) {
  const colours = { true: themeColor("--raise"), false: themeColor("--lower") };
  const brush = (weight) => {
    paper.fillStyle = colours[weight > 0];
    paper.globalAlpha = strengthOf(weight / limit) * STRONGEST;
  };
  rectangles(view, canvas).forEach(([segment, x, y, w, h]) => {
    if (segment < 0) return;
    brush(weights[segment]);
    paper.fillRect(x, y, w, h);
  });
  paper.globalAlpha = 1;
}

// [segment, x, y, width, height] in px of the canvas: cells of a grid, runs of a map of segments, or boxes.
function rectangles(view, { width, height }) {
  const [rows, columns] = view.size,
    sx = width / columns,
    sy = height / rows;
  if (view.grid) return cells(view.grid, width, height);
  if (view.boxes) return view.boxes.map(([x0, y0, x1, y1], i) => [i, x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy]);
  const edge = (at, scale) => Math.round(at * scale);
  return rowRuns(view.index || [], columns).map(([segment, x, y, length]) => [
    segment,
    edge(x, sx),
    edge(y, sy),
    edge(x + length, sx) - edge(x, sx),
    edge(y + 1, sy) - edge(y, sy),
  ]);
}

function cells([rows, columns], width, height) {
  const edge = (i, n, size) => Math.round((i * size) / n);
  return Array.from({ length: rows * columns }, (_, i) => {
    const row = Math.floor(i / columns),
      column = i % columns;
    const x = edge(column, columns, width),
      y = edge(row, rows, height);
    return [i, x, y, edge(column + 1, columns, width) - x, edge(row + 1, rows, height) - y];
  });
}

// Runs of a row-major index, broken at the ends of rows: [segment, x, y, length].
function rowRuns(index, columns) {
  const found = [];
  let at = 0;
  for (const [segment, length] of index) {
    for (let left = length; left > 0;) {
      const x = at % columns,
        part = Math.min(left, columns - x);
      found.push([segment, x, Math.floor(at / columns), part]);
      at += part;
      left -= part;
    }
  }
  return found;
}

function outlineBoxes(paper, canvas, view) {
  paper.strokeStyle = themeColor("--ink");
  paper.lineWidth = 2;
  rectangles(view, canvas).forEach(([, x, y, w, h]) => paper.strokeRect(x, y, w, h));
}

function segmentAt(view, canvas, x, y) {
  if (view.index) {
    const [rows, columns] = view.size;
    return indexOf(view)[Math.floor((y * rows) / canvas.height) * columns + Math.floor((x * columns) / canvas.width)];
  }
  const hit = rectangles(view, canvas).filter(
    ([, left, top, w, h]) => x >= left && x < left + w && y >= top && y < top + h,
  );
  return hit.length ? hit[hit.length - 1][0] : -1;
}

function tellSegment(event, canvas, tip, view, segments, weights) {
  const box = canvas.getBoundingClientRect(),
    px = event.clientX - box.left,
    py = event.clientY - box.top;
  const segment = segmentAt(view, canvas, (px * canvas.width) / box.width, (py * canvas.height) / box.height);
  tip.hidden = segment === undefined || segment < 0;
  if (tip.hidden) return;
  tip.replaceChildren(el("span", null, segments[segment]), weights ? el("b", null, signed(weights[segment])) : "");
  Object.assign(tip.style, {
    left: `${Math.max(0, Math.min(px + 12, box.width - tip.offsetWidth))}px`,
    top: `${py + 14}px`,
  });
}

// ---- lines: series, sounds

const LINES_WIDTH = 320;

function drawSeries(modality, weights, limit) {
  const { view, segments } = modality,
    n = Math.max(1, view.channels.length);
  const each = Math.max(16, Math.min(56, 260 / n)),
    height = n * each + 20;
  const rows = view.spans.map(([channel, from, to], i) => {
    const [y, h] = channel < 0 ? [0, n * each] : [channel * each, each];
    const shade = svg(
      "rect",
      {
        x: from * LINES_WIDTH,
        y,
        width: (to - from) * LINES_WIDTH,
        height: h,
        style: { fill: weights ? heat(weights[i] / limit) : "none" },
      },
      svg("title", null, weights ? `${segments[i]} ${signed(weights[i])}` : segments[i]),
    );
    return shade;
  });
  const curves = (view.values || []).map((values, i) =>
    svg("path", { class: "wave", d: wave(numbers(values), i * each, each) }),
  );
  const names =
    n > 1
      ? view.channels.map((name, i) => svg("text", { class: "tick", x: 3, y: i * each + 11 }, shorten(name, 120)))
      : [];
  return svg(
    "svg",
    {
      class: "series",
      viewBox: `0 0 ${LINES_WIDTH} ${height}`,
      role: "img",
      "aria-label": describeMap(modality, weights),
    },
    rows,
    curves,
    names,
    svg("line", { class: "grid", x1: 0, x2: LINES_WIDTH, y1: n * each, y2: n * each }),
    svg("text", { class: "tick", x: 0, y: height - 5 }, "0"),
    svg(
      "text",
      { class: "tick", x: LINES_WIDTH, y: height - 5, "text-anchor": "end" },
      `${number(view.length)} ${view.x || ""}`.trim(),
    ),
  );
}

function wave(values, top, height) {
  const range = rangeOf(values),
    x = linear([0, Math.max(1, values.length - 1)], [0, LINES_WIDTH]);
  const y = linear(range, [top + height - 3, top + 3]);
  return linePath(values.map((value, i) => [x(i), y(value)]));
}

// ---- graphs

function drawGraph(modality, weights, limit) {
  const { view, segments } = modality,
    at = ([x, y]) => [12 + 276 * x, 12 + 276 * y];
  const radius = Math.max(3, Math.min(10, 60 / Math.sqrt(view.nodes.length)));
  const edges = view.edges.map(([a, b]) =>
    svg("path", { class: "edge", d: linePath([at(view.nodes[a]), at(view.nodes[b])]) }),
  );
  const nodes = view.nodes.map((node, i) => {
    const segment = view.segment[i],
      [cx, cy] = at(node),
      weight = weights && segment >= 0 ? weights[segment] : null;
    return svg(
      "circle",
      { class: "node", cx, cy, r: radius, style: { fill: weight === null ? "var(--neutral)" : heat(weight / limit) } },
      svg("title", null, `${segments[segment] ?? "no segment"}${weight === null ? "" : ` ${signed(weight)}`}`),
    );
  });
  return svg(
    "svg",
    { class: "graph", viewBox: "0 0 300 300", role: "img", "aria-label": describeMap(modality, weights) },
    edges,
    nodes,
  );
}
