// Totals within classes and subgroups, measures of other papers, embeddings, and all other values.

const SUBSETS = 24; // classes or subgroups that are shown; the rest is in a fold
const OTHERS = [
  ["Score without a modality", "score_without", "The score of the same examples without the modality, as your own data lack it.", ["score"]],
  ["Nats lost without a modality", "nats", "Nats per token that an example's own answer loses when the modality is taken from other examples."],
  ["Retrieval", "retrieval", "Share of the examples whose own modality makes their answer likeliest in their group."],
  ["Shapley shares", "shapley", "Share of each modality in the absolute Shapley values of the predicted class's logit."],
  ["InterSHAP", "intershap", "Share of what modalities add only together in the probability of the predicted class."],
  ["MM-SHAP", "mm_shap", "Share of each modality's segments in the absolute Shapley values of all segments."],
  ["Modality gap", "modality_gap", "Distance of the mean embeddings of both modalities."],
  ["Alignment", "alignment", "Mean squared distance of embeddings that belong together."],
  ["Uniformity", "uniformity", "Logarithm of the mean Gaussian potential of the embeddings: 0 is one point."],
  ["Effective rank", "effective_rank", "Number of directions in which the embeddings vary: 1 is one line."],
]; // title, first part of the keys, what it is, values that are drawn beside

section({
  id: "subsets", title: "Where and for whom", short: "For whom",
  build(run) {
    const parts = ["class", "subgroup"].map((kind) => subsetView(run, kind)).filter(Boolean);
    return parts.length ? el("div", null, el("p", { class: "lead" }, "How far the outputs move when a modality is swapped, as a fraction of how far they move when everything is swapped. Compare classes with one another."), parts) : null;
  },
});

section({
  id: "measures", title: "Other measures", short: "Measures",
  build(run) {
    const keys = unique(run.checks.flatMap(({ values }) => Object.keys(values))), heads = run.heads.map(({ name }) => name);
    const charts = heads.flatMap((head) => OTHERS.map((one) => measureChart(run, keys, head, one))).filter(Boolean), rest = restOfValues(run, keys);
    return charts.length || rest ? el("div", null, el("div", { class: "small-charts" }, charts), rest) : null;
  },
});

// ---- classes and subgroups

function subsetsOf(run, kind) {
  const record = [...run.measured].reverse().find(({ values }) => Object.keys(values).some((key) => key.startsWith(`${kind}/`) && key.includes("/total/")));
  if (!record) return null;
  const names = unique(Object.keys(record.values).filter((key) => key.startsWith(`${kind}/`) && key.split("/")[2] === "total").map((key) => key.split("/")[1]));
  return { record, names };
}

function subsetView(run, kind) {
  const found = subsetsOf(run, kind);
  if (!found) return null;
  const { record, names } = found, value = (name, modality, side = "") => valueOf(record, `${kind}/${name}/total${side}/${modality}`);
  const slot = el("div"), options = [["name", `by ${kind}`], ...run.modalities.map((modality) => [modality, `least ${modality} first`])];
  const show = (by) => {
    const order = by === "name" ? names : [...names].sort((a, b) => value(a, by) - value(b, by));
    const most = Math.max(1, ...names.flatMap((name) => run.modalities.map((modality) => value(name, modality, "_high"))).filter(Number.isFinite));
    const rows = (part) => el("div", { class: "table", tabindex: 0, role: "region", "aria-label": `total effects by ${kind}` }, subsetTable(run, kind, part, value, most));
    slot.replaceChildren(rows(order.slice(0, SUBSETS)), order.length > SUBSETS ? fold(`${order.length - SUBSETS} more`, () => rows(order.slice(SUBSETS))) : "");
  };
  show("name");
  return el("div", null, el("h3", null, `By ${kind}, ${placeOf(record)}`), el("div", { class: "controls" }, radios("order of the rows", options, "name", show)), slot);
}

function subsetTable(run, kind, names, value, most) {
  const cell = (name, modality) => {
    const [at, low, high] = ["", "_low", "_high"].map((side) => value(name, modality, side));
    return el("td", null, el("span", { class: "dot-line" }, dotWithInterval(at, low, high, most, modalityColor(run, modality)), el("b", null, percent(at)), el("small", null, between(low, high, percent))));
  };
  return el("table", { class: "subsets" },
    el("thead", null, el("tr", null, el("th", { scope: "col" }, kind), run.modalities.map((modality) => el("th", { scope: "col" }, colourDot(modalityColor(run, modality)), ` total effect of ${modality}`)))),
    el("tbody", null, names.map((name) => el("tr", null, el("th", { scope: "row" }, cut(name.replaceAll("_", " "))), run.modalities.map((modality) => cell(name, modality))))));
}

function dotWithInterval(at, low, high, most, color) {
  const x = linear([0, most], [3, 117]), inside = (value) => Math.max(1, Math.min(119, x(value)));
  return svg("svg", { class: "dot-interval", viewBox: "0 0 120 14", "aria-hidden": "true", style: { color } }, svg("line", { class: "grid", x1: 3, x2: 117, y1: 7, y2: 7 }),
    Number.isFinite(low) && svg("line", { class: "whisker", x1: inside(low), x2: inside(high), y1: 7, y2: 7 }), Number.isFinite(at) && svg("circle", { class: "dot", cx: inside(at), cy: 7, r: 4 }));
}

// ---- curves of other values

function measureChart(run, keys, head, [title, prefix, meaning, beside = []]) {
  const plain = (key) => (head ? key.startsWith(`${head}/`) && key.slice(head.length + 1) : key);
  const found = keys.map(plain).filter((key) => key && (key === prefix || key.startsWith(`${prefix}/`)));
  if (!found.length) return null;
  const records = run.checks.filter((record) => found.some((key) => Number.isFinite(valueOf(record, key, head)))), places = placesOf(records, "epoch");
  const lineNamed = (key, name, i) => ({ ...lineOf(records, places, name, key, head, i), ...(run.modalities.includes(name) ? seriesStyle(run.modalities.indexOf(name)) : {}) });
  const lines = [...found.map((key, i) => lineNamed(key, key.slice(prefix.length + 1) || title, i)), ...beside.map((key, i) => lineNamed(key, key, found.length + i))];
  const at = (x) => records[places.indexOf(x)] || records[records.length - 1];
  return el("div", { class: "small-chart" }, el("h3", null, head ? `${title}, head ${head}` : title), el("p", { class: "note" }, meaning),
    records.length > 1 ? lineChart({ label: title, lines, xTitle: "epoch", height: 190, placeWritten: (x) => placeOf(at(x)) }).node : table(title, ["", placeOf(records[0])], lines.map(({ name, ys }) => [name, ys[0]])));
}

const SHOWN_ELSEWHERE = /(^|\/)(contribution|total|interaction|score|emap|perceptual|flips|collapse|weakest_total|seconds|rows|overhead|agreement|class|subgroup)(_low|_high|_score|_gap)*(\/|$)/;

// All values that no other part of the page shows, such as values of a user's method.
function restOfValues(run, all) {
  const shown = [...OTHERS.map(([, prefix]) => prefix), ...run.explanations.filter(({ result }) => result !== "other").map(({ method }) => method)];
  const keys = all.filter((key) => !SHOWN_ELSEWHERE.test(key) && !shown.includes(key.replace(/_(low|high)(?=\/|$)/, "").split("/")[0]) && !run.heads.some(({ name }) => name && key.startsWith(`${name}/`)));
  if (!keys.length) return null;
  const records = run.checks, places = placesOf(records, "epoch"), at = (x) => records[places.indexOf(x)] || records[records.length - 1];
  const lines = (key) => [{ ...lineOf(records, places, key, key, "", 0), lows: null, highs: null }];
  return fold("Other values of this run", () => {
    const chart = lineChart({ label: "Other values", lines: lines(keys[0]), xTitle: "epoch", height: 200, placeWritten: (x) => placeOf(at(x)) });
    return el("div", null, el("div", { class: "controls" }, picker("value", keys.map((key) => [key, key]), keys[0], (key) => chart.update({ lines: lines(key) }))), chart.node);
  });
}
