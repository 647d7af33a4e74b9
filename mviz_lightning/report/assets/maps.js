// One modality of one example with the weights of its segments: pictures, words, values, lines, graphs, boxes, names.
//
// mapOf(modality, weights, limit)      a node; modality as in examples.jsonl, weights a plain list or null for the
//                                      input alone; limit is the weight with the strongest colour
// mapFigure(title, modality, weights, limit, r2)   the same with a title, and R² below; greyed where R² is low
// trustOf(r2)                          { words, trusted }
// limitOf([weights, ...])              the largest absolute weight, at least a tiny number
// heat(t)                              CSS colour of a weight from -1 (lowers) to 1 (raises), for both themes
// colourBar(limit, unit)               what the colours mean
// strongest(segments, weights, n)      "mark +3.71, red −1.28": for labels and tables
// thumbnail(example), firstWords(example)          an example in a list
// More kinds of views: maps_drawn.js has those that are drawn (picture, boxes, lines, graph).

const MAX_BLEND = 60; // per cent of the colour at the limit: the text on it can still be read
const LIFT = 0.65; // exponent that makes small weights visible; also used by the colour bar

// Strength of a weight's colour, 0 to 1; t is the weight relative to the limit.
function strengthOf(t) {
  return Number.isFinite(t) ? Math.min(1, Math.abs(t)) ** LIFT : 0;
}

function heat(t) {
  const share = Math.round(strengthOf(t) * MAX_BLEND);
  return share
    ? `color-mix(in srgb, var(${t > 0 ? "--raise" : "--lower"}) ${share}%, var(--neutral))`
    : "var(--neutral)";
}

function limitOf(lists) {
  const largest = lists.flat(2).reduce((most, one) => (Math.abs(one) > most ? Math.abs(one) : most), 0);
  return largest || 1e-9;
}

function colourBar(limit, unit = "") {
  const stops = [-1, -0.6, -0.3, -0.1, 0, 0.1, 0.3, 0.6, 1].map((t) => `${heat(t)} ${50 + 50 * t}%`).join(", ");
  return el(
    "div",
    { class: "colour-bar" },
    el("span", null, "lowers"),
    el("span", { class: "end" }, signed(-limit, 2)),
    el("span", { class: "gradient", style: { background: `linear-gradient(90deg, ${stops})` } }),
    el("span", { class: "end" }, signed(limit, 2)),
    el("span", null, `raises ${unit}`.trim()),
  );
}

function trustOf(r2) {
  if (r2 === null || r2 === undefined || Number.isNaN(r2)) return { words: "no effect", trusted: true };
  const trusted = r2 >= TRUSTED,
    written = `R² ${minus(r2.toFixed(2))}`;
  return { words: trusted ? written : `${written}: not to be trusted`, trusted };
}

function strongest(segments, weights, n = 3) {
  const order = weights.map((_, i) => i).filter((i) => Number.isFinite(weights[i]) && weights[i] !== 0);
  order.sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a]));
  return order
    .slice(0, n)
    .map((i) => `${segments[i]} ${signed(weights[i])}`)
    .join(", ");
}

function mapFigure(title, modality, weights, limit, r2) {
  const { words, trusted } = trustOf(r2);
  return el(
    "figure",
    { class: trusted ? "map" : "map faded" },
    el("figcaption", { class: "map-title" }, title),
    el("div", { class: "map-body" }, mapOf(modality, weights, limit)),
    weights && el("p", { class: "trust" }, words),
  );
}

const views = {
  picture: drawPicture,
  boxes: drawPicture,
  lines: drawSeries,
  graph: drawGraph,
  words: drawWords,
  values: drawValues,
  list: drawValues,
};

function mapOf(modality, weights, limit = 1) {
  const draw = views[modality.view && modality.view.view] || drawValues;
  return draw(modality, weights, limit);
}

function describeMap({ segments }, weights) {
  if (!weights) return `input: ${segments.slice(0, 12).join(", ")}`;
  return strongest(segments, weights) ? `strongest: ${strongest(segments, weights)}` : "no effect";
}

// ---- words, values and names: plain elements

const NUMBERED = 24; // largest number of words with their numbers below

function drawWords({ segments }, weights, limit) {
  const chip = (word, i) => {
    const weight = weights ? weights[i] : null,
      shown = weights && segments.length <= NUMBERED;
    return el(
      "li",
      { style: weights && { background: heat(weight / limit) }, title: weights && `${word} ${signed(weight)}` },
      word || "␣",
      shown && el("small", null, signed(weight, 2)),
    );
  };
  return el("ol", { class: weights ? "words weighed" : "words" }, segments.map(chip));
}

const ROWS = 16; // rows of a table of values; the rest is in a fold

function drawValues(modality, weights, limit) {
  const { segments } = modality,
    values = (modality.view && modality.view.values) || [];
  const order = segments.map((_, i) => i);
  if (weights && segments.length > ROWS) order.sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a]));
  const row = (i) =>
    el(
      "tr",
      null,
      el("th", { scope: "row" }, cut(segments[i])),
      values.length > 0 && el("td", null, cut(values[i] ?? "–")),
      weights && el("td", { class: "bar-cell" }, weightBar(weights[i], limit)),
      weights && el("td", { class: "number" }, signed(weights[i], 2)),
    );
  const rows = (part) => el("table", { class: "values" }, el("tbody", null, part.map(row)));
  const rest = order.slice(ROWS);
  return el(
    "div",
    { class: "values-view" },
    rows(order.slice(0, ROWS)),
    rest.length > 0 && fold(`${rest.length} more`, () => rows(rest)),
  );
}

// A bar from the middle: to the right if the weight raises the output.
function weightBar(weight, limit) {
  const width = 50 * Math.min(1, Math.abs(weight || 0) / limit),
    from = weight < 0 ? 50 - width : 50;
  return svg(
    "svg",
    { class: "weight-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { x: from, y: 0, width, height: 10, class: weight < 0 ? "lowers" : "raises" }),
    svg("line", { x1: 50, x2: 50, y1: 0, y2: 10 }),
  );
}

// ---- an example in a list

function pictureSource({ webp, href }) {
  return href || (webp ? `data:image/webp;base64,${webp}` : null);
}

function thumbnail(example) {
  const shown = Object.values(example.modalities)
    .map(({ view }) => view && pictureSource(view))
    .find((source) => source);
  return shown ? el("img", { class: "thumbnail", src: shown, alt: "", decoding: "async" }) : null;
}

function firstWords(example) {
  const text = Object.values(example.modalities).find(({ view }) => view && view.view === "words");
  return text ? text.segments.slice(0, 12).join(" ") : "";
}
