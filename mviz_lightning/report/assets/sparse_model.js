// Multimodal prediction: a sparse linear model that repeats the model's predictions from a few features.

const OUTPUTS = 24; // outputs whose features are listed; the rest is in a fold
const STANDING = 3; // examples shown for a feature

section({
  id: "prediction", title: "How features make the prediction", short: "Prediction",
  build: (run) => eachStage(run, "prediction", (stage) => sparseStage(run, stage)),
});

function sparseStage(run, stage) {
  const explorer = exampleExplorer(run, stage, (lines, example, moment) => effectsView(run, lines[0], sparseModelAt(stage, moment)), { ownSlider: false });
  const moments = momentsOf(stage.lines.filter((line) => !hasExample(line))), slot = el("div");
  const show = (moment) => { slot.replaceChildren(sparseModelView(run, stage, moment)); explorer.moveTo(moment.step, moment.stage); };
  if (moments.length) show(moments[lastOfTraining(moments)]);
  const slider = moments.length > 1 ? momentSlider(moments, show) : null;
  const course = stageCourse(run, stage, "How well the sparse model predicts, on held-out examples",
    [["repeats the model", "fidelity"], ["most frequent one", "fidelity_baseline"], ["fitted to the labels", "accuracy"]],
    slider && { moveTo: (step) => slider.choose(closestMoment(moments, { step, stage: "fit" })) }, fidelityAxis(run, stage));
  return [
    el("p", { class: "lead" }, "A sparse linear model of the fused features is fitted to the model's own predictions: few features, with a weight for each output."),
    course, slider && slider.node, slot, el("h3", null, "What one prediction is made of"), explorer.node,
  ].filter(Boolean);
}

function isRegression(run, head) {
  const found = run.heads.find(({ name }) => name === head);
  return Boolean(found && found.task === "regression");
}

function fidelityAxis(run, { head }) {
  return isRegression(run, head) ? {} : { range: [0, 1], written: percent };
}

function sparseModelAt(stage, moment) {
  return stage.lines.find((line) => !hasExample(line) && line.step === moment.step && line.stage === moment.stage) || { activating: {}, weights: [], outputs: {} };
}

function sparseModelView(run, stage, moment) {
  const model = moment.lines[0], record = run.history.find(({ step, stage: of }) => step === moment.step && of === moment.stage);
  const outputs = groupBy(model.weights || [], ([, output]) => output), limit = limitOf([(model.weights || []).map(([, , weight]) => weight)]);
  const row = ([output, weights]) => el("tr", null, el("th", { scope: "row" }, outcomeText((model.outputs || {})[output] ?? output)),
    el("td", null, el("ul", { class: "chips" }, weights.map(([feature, , weight]) => featureChip(run, model, feature, weight, limit)))));
  const rows = (part) => el("table", { class: "outputs" }, el("tbody", null, part.map(row))), all = [...outputs].sort(([a], [b]) => a - b);
  return el("div", null, fidelityWords(run, stage, model, record), rows(all.slice(0, OUTPUTS)), all.length > OUTPUTS && fold(`${all.length - OUTPUTS} more outputs`, () => rows(all.slice(OUTPUTS))), colourBar(limit, "the output"));
}

function fidelityWords(run, { name, head }, { features, constant, penalty, held_out: heldOut }, record) {
  const value = (key) => valueOf(record, `${name}/${key}`, head), fidelity = value("fidelity"), baseline = value("fidelity_baseline");
  const regression = isRegression(run, head), written = regression ? (x) => `R² ${number(x)}` : percent;
  const said = Number.isFinite(fidelity) && `It predicts ${regression ? "the model's held-out values with" : ""} ${written(fidelity)}${regression ? "" : " of the model's held-out predictions"}${Number.isFinite(baseline) ? ` (${regression ? "a constant" : "the most frequent one"}: ${written(baseline)})` : ""}. `;
  return el("p", { class: "headline" }, said, el("span", { class: "note" }, `${count(features, "feature")}, ${constant} of them constant; penalty ${number(penalty)}, chosen on ${count(heldOut, "held-out example")}.`));
}

function featureChip(run, model, feature, weight, limit) {
  const stand = standing(run, model, feature);
  return el("li", { style: { background: heat(weight / limit) }, title: `feature ${feature} ${signed(weight)}` }, el("span", null, `feature ${feature}`), stand, el("b", null, signed(weight, 2)));
}

// Small pictures of the examples that activate a feature most.
function standing(run, { activating }, feature) {
  const ids = ((activating || {})[feature] || []).slice(0, STANDING).map((one) => (typeof one === "object" ? one.example : one));
  const shown = (id) => run.examples[id] && (thumbnail(run.examples[id]) || el("small", null, wordsOf(run, run.examples[id]) || `#${id}`)), pictures = ids.map(shown).filter(Boolean);
  return pictures.length ? el("span", { class: "standing" }, pictures) : null;
}

// ---- one example: the effects as a waterfall

function effectsView(run, line, model) {
  const { effects } = line;
  if (!effects.length) return empty(`In the fitted predictions, ${outcomeText(line.output_name ?? line.output)} occurs always or never, so it has no features.`);
  const verdict = line.agrees === true ? "Here the sparse model predicts the same as the model." : line.agrees === false ? "Here the sparse model predicts something else than the model." : "";
  let at = 0;
  const steps = effects.map((effect) => ({ ...effect, from: at, to: (at += effect.effect) }));
  const ends = [0, ...steps.map(({ to }) => to)], low = Math.min(...ends), high = Math.max(...ends), x = linear([low, high], [0, 100]);
  const row = ({ feature, weight, activation, effect, from, to }) => el("tr", null,
    el("th", { scope: "row" }, `feature ${feature}`, standing(run, model, feature)), el("td", { class: "formula" }, `${signed(weight, 2)} × ${signed(activation, 2)}`),
    el("td", { class: "fall" }, waterfallBar(x, from, to)), el("td", { class: "number" }, signed(effect, 2)));
  const total = el("tr", { class: "total" }, el("th", { scope: "row" }, "together"), el("td"), el("td", { class: "fall" }, waterfallBar(x, 0, at, true)), el("td", { class: "number" }, signed(at, 2)));
  return el("div", null, el("p", { class: "share-title" }, `What the strongest features add to ${outcomeText(line.output_name ?? line.output)}: weight × standardised activation. `, el("span", { class: "note" }, verdict)),
    el("table", { class: "waterfall" }, el("caption", { class: "unseen" }, "effects of features"), el("tbody", null, steps.map(row), total)));
}

function waterfallBar(x, from, to, isTotal = false) {
  const left = Math.min(x(from), x(to)), width = Math.max(0.4, Math.abs(x(to) - x(from)));
  return svg("svg", { class: "weight-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { x: left, y: isTotal ? 2 : 0, width, height: isTotal ? 6 : 10, class: isTotal ? "sum" : to < from ? "lowers" : "raises" }), svg("line", { x1: x(0), x2: x(0), y1: 0, y2: 10 }));
}
