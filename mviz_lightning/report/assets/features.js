// Multimodal representation: the inputs that activate the fused features.

const CONSTANT = "constant", SEVERAL = "multimodal";
const FEATURE_THUMBS = 6; // examples shown for a feature

section({
  id: "features", title: "What the features respond to", short: "Features",
  build: (run) => eachStage(run, "representation", (stage) => featureStage(run, stage)),
});

function featureStage(run, stage) {
  const moments = momentsOf(stage.lines), slot = el("div");
  const show = (moment) => slot.replaceChildren(...featuresAt(run, moment));
  const slider = momentSlider(moments, (moment) => { show(moment); if (counts) counts.choose(moments.indexOf(moment)); });
  const counts = moments.length > 1 ? featureCounts(run, moments, (i) => slider.choose(i)) : null;
  show(moments[lastOfTraining(moments)]);
  if (counts) counts.choose(lastOfTraining(moments));
  return [
    el("p", { class: "lead" }, "Each feature of the fused layer is classed by what moves it: one modality alone, several, or nothing."),
    counts && counts.node, slider.node, slot,
  ].filter(Boolean);
}

function overviewOf(moment) {
  return moment.lines.find(({ feature }) => feature === null || feature === undefined);
}

function featureKinds(run) {
  return [...run.modalities, SEVERAL, CONSTANT];
}

function kindColor(run, kind) {
  if (kind === CONSTANT) return "var(--rule)";
  return kind === SEVERAL ? "var(--several)" : modalityColor(run, kind);
}

function kindName(kind) {
  if (kind === CONSTANT) return kind;
  return kind === SEVERAL ? "several modalities" : `${kind} alone`;
}

function featureCounts(run, moments, onMove) {
  const counts = moments.map((moment) => (overviewOf(moment) || {}).counts || {});
  const series = featureKinds(run).map((kind) => ({ name: kindName(kind), color: kindColor(run, kind), values: counts.map((found) => ownOf(found, kind) || 0) }))
    .filter(({ values }) => values.some((value) => value));
  return stackedChart({ label: "Features by what moves them, over the training", columns: moments.map(({ label }) => label), series, onMove });
}

function featuresAt(run, moment) {
  const overview = overviewOf(moment), shown = moment.lines.filter((line) => line !== overview);
  return [
    overview && featureSummary(run, overview), overview && featureStrip(run, overview),
    el("div", { class: "feature-cards" }, shown.map((line) => featureCard(run, line, overview))),
  ].filter(Boolean);
}

function featureSummary(run, { counts, layer, unfused }) {
  const all = Object.values(counts).reduce((a, b) => a + b, 0);
  const parts = featureKinds(run).filter((kind) => ownOf(counts, kind) !== undefined).map((kind) => `${counts[kind]} ${kind === CONSTANT ? "never change" : kind === SEVERAL ? "follow several modalities" : `follow ${kind} alone`}`);
  const before = typeof unfused === "string" ? ` All follow ${unfused}, and the outputs do not: this layer lies before the fusion.` : "";
  return el("p", { class: "headline" }, `Of ${count(all, "feature")}${layer ? ` of ${layer}` : ""}, ${parts.join(", ")}.${before}`);
}

// ---- all features as thin columns, sorted by what they follow

function featureStrip(run, { all_shares: packed }) {
  const shares = numbers(packed);
  if (!shares.length) return null;
  const names = [...run.modalities, "interaction"], main = (row) => row.reduce((best, value, i) => (value > row[best] ? i : best), 0);
  const varies = (row) => Number(row.some((share) => share > 0));
  const order = shares.map((_, i) => i).sort((a, b) => varies(shares[b]) - varies(shares[a]) || main(shares[a]) - main(shares[b]) || shares[b][main(shares[b])] - shares[a][main(shares[a])]);
  const colors = names.map((name, i) => (i < run.modalities.length ? modalityColor(run, name) : "var(--several)"));
  const said = el("output", { class: "bar-said" }, "Point at a column to read its feature.");
  const tell = (i) => { said.textContent = `feature ${order[i]}: ${names.map((name, k) => `${name} ${percent(Math.max(0, shares[order[i]][k]))}`).join(", ")}`; };
  const plot = el("div", { class: "strip-plot", tabindex: 0, role: "slider", "aria-label": "features and their shares", "aria-valuemin": 0, "aria-valuemax": order.length - 1, "aria-valuenow": 0 }, stripDrawing(order, shares, colors));
  listenToStrip(plot, order.length, tell, said);
  return el("figure", { class: "chart" }, el("h3", null, "All features by their shares"),
    barLegend(names.map((name, i) => ({ name: i < run.modalities.length ? `${name} alone` : name, color: colors[i] }))), plot, said);
}

function stripDrawing(order, shares, colors) {
  const floor = order.map(() => 0);
  const layers = colors.map((color, k) => svg("path", { style: { fill: color }, d: order.map((feature, i) => {
    const from = floor[i], size = Math.max(0, shares[feature][k] || 0);
    floor[i] += size;
    return size ? `M${i} ${(100 - 100 * from).toFixed(2)}v${(-100 * size).toFixed(2)}h0.92v${(100 * size).toFixed(2)}z` : "";
  }).join("") }));
  return svg("svg", { viewBox: `0 0 ${order.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" }, layers);
}

function listenToStrip(plot, n, tell, said) {
  const state = { at: 0 };
  const move = (i) => {
    state.at = Math.max(0, Math.min(n - 1, i));
    tell(state.at);
    plot.setAttribute("aria-valuenow", state.at);
    plot.setAttribute("aria-valuetext", said.textContent);
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    move(Math.floor(((event.clientX - box.left) / box.width) * n));
  });
  plot.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: state.at - 1, ArrowDown: state.at - 1, ArrowRight: state.at + 1, ArrowUp: state.at + 1, Home: 0, End: n - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
}

// ---- one feature

function featureCard(run, line, overview) {
  const names = [...run.modalities.map((name) => `${name} alone`), "interaction"];
  const parts = line.shares.map((share, i) => ({
    name: names[i], share, color: i < run.modalities.length ? modalityColor(run, run.modalities[i]) : "var(--several)",
    interval: between(line.low && line.low[i], line.high && line.high[i], percent),
  }));
  const common = conceptWords(run, line.concepts || []);
  return el("article", { class: "feature-card" },
    el("h4", null, `Feature ${line.feature}`, el("span", { class: "pill" }, kindName(line.kind))), stackedShares(parts),
    common && el("p", { class: "concepts" }, "Its strongest examples share: ", common),
    el("p", { class: "note" }, "Examples that activate it most", Number.isFinite(line.overlap) && ` (overlap with the check before: ${percent(line.overlap)})`),
    featureExamples(run, line), partsFold(run, line));
}

function featureExamples(run, { examples }) {
  const one = ({ example, activation, target_name: target }) => el("li", null, thumb(run, example, target), el("b", null, number(activation)));
  return el("ol", { class: "thumbs" }, examples.slice(0, FEATURE_THUMBS).map(one));
}

// “keycap” in 5 of 41 (of all: 5 of 411)
function conceptWords(run, concepts) {
  const classes = (run.heads[0] && run.heads[0].class_names) || [];
  const one = (concept) => {
    const { kind, source, value, hits, drawn, having, total } = concept;
    const what = kind === "class" ? `target ${classes[value] ?? value}` : kind === "value" ? `${source} = ${value}` : `“${value}”`;
    return total ? `${what} in ${hits} of ${drawn} (of all: ${having} of ${total})` : what;
  };
  return concepts.map(one).join("; ");
}

function partsFold(run, { parts, examples }) {
  const example = examples.length ? run.examples[examples[0].example] : null, names = Object.keys(parts || {}).filter((name) => example && example.modalities[name]);
  if (!names.length) return null;
  const weights = Object.fromEntries(names.map((name) => [name, numbers(parts[name])])), limit = limitOf(Object.values(weights));
  const figure = (name) => titled(name, mapOf(example.modalities[name], weights[name], limit));
  return fold(`Effect of each part on the feature in #${examples[0].example}`, () => el("div", null, el("div", { class: "map-grid" }, names.map(figure)), colourBar(limit), el("p", { class: "note" }, "What is lost without the part (occlusion). ", maskNote(example, names))));
}
