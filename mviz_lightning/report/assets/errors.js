// Error analysis: categories of wrong decisions over the training, by class, and in single cases.

const FAILURES = {
  right: ["right", "var(--right)", "UC alone and the model are right"],
  rescued: ["rescued", "var(--rescued)", "UC alone is wrong, the model is right"],
  spoiled: ["spoiled", "var(--spoiled)", "UC alone is right, the model is wrong"],
  unrepaired: ["unrepaired", "var(--unrepaired)", "both are wrong, and MI helps too little or not"],
  misled: ["misled", "var(--misled)", "both are wrong, and MI lowers the margin of the truth"],
  unchanged: ["unchanged", "var(--right)", "MI changes the absolute error of UC by less than a tenth"],
  lowered: ["lowered", "var(--rescued)", "MI lowers the absolute error of UC by a tenth or more"],
  raised: ["raised", "var(--spoiled)", "MI raises the absolute error of UC by a tenth or more"],
};
const GAINS = ["rescued", "lowered"], SAME = ["right", "unchanged"];
const CLASSES = 20; // classes that are shown; the rest is in a fold

section({
  id: "errors", title: "What failed", short: "Errors",
  build: (run) => eachStage(run, "errors", (stage) => errorStage(run, stage)),
});

function failureOf(category) {
  const [name, color, meaning] = ownOf(FAILURES, category) || [category, "var(--faint)", ""];
  return { category, name, color, meaning };
}

function isWrong(category) {
  return !GAINS.includes(category) && !SAME.includes(category);
}

function errorStage(run, stage) {
  const moments = momentsOf(stage.lines), slot = el("div");
  const show = (moment) => slot.replaceChildren(...errorsAt(run, moment));
  const slider = momentSlider(moments, (moment) => { show(moment); if (course && course.places.includes(moment.step)) course.chart.choose(course.places.indexOf(moment.step)); });
  const course = errorCourse(stage, (step) => slider.choose(closestMoment(moments, { step, stage: "fit" })));
  show(moments[lastOfTraining(moments)]);
  return [
    el("p", { class: "lead" }, "UC: what the modalities add by themselves. MI: what they add only together. An error is laid to the part that made it."),
    course && course.chart.node, slider.node, slot,
  ].filter(Boolean);
}

// The counts of all checks: from the lines, and from the history in the last line.
function errorCourse(stage, onMove) {
  const summaries = stage.lines.filter((line) => !hasExample(line) && line.counts && line.stage === "fit");
  const remembered = summaries.flatMap(({ history }) => (history || []).map(([epoch, step, counts]) => ({ epoch, step, counts })));
  const found = [...new Map([...remembered, ...summaries].map((one) => [one.step, one])).values()].sort((a, b) => a.step - b.step);
  if (found.length < 2) return null;
  const series = Object.keys(found[0].counts).filter((category) => !SAME.includes(category)).map((category) => ({ ...failureOf(category), values: found.map(({ counts }) => counts[category] || 0) }));
  const chart = stackedChart({ label: "Categories over the training", columns: found.map(placeOf), series, onMove: (i) => onMove(found[i].step) });
  return { chart, places: found.map(({ step }) => step) };
}

function errorsAt(run, moment) {
  const summary = moment.lines.find((line) => !hasExample(line)), cases = moment.lines.filter(hasExample);
  return [
    summary && el("p", { class: "headline" }, errorWords(summary)), summary && categoryKey(summary),
    summary && summary.classes && summary.classes.length > 1 && classErrors(summary), casesView(run, cases),
  ].filter(Boolean);
}

function errorWords({ counts, head }) {
  const all = Object.values(counts).reduce((a, b) => a + b, 0), wrong = Object.entries(counts).filter(([category]) => isWrong(category)).reduce((sum, [, n]) => sum + n, 0);
  if ("lowered" in counts) return `Of ${all} values, MI lowers the error of ${counts.lowered} and raises the error of ${counts.raised}.`;
  return `${wrong} of ${all} decisions are wrong (${percent(wrong / Math.max(1, all))}), ${counts.spoiled || 0} of them spoiled by MI; MI rescued ${counts.rescued || 0}.`;
}

function categoryKey({ counts }) {
  const entry = (category) => {
    const { name, color, meaning } = failureOf(category);
    return el("li", null, colourDot(color), el("span", null, el("b", null, `${counts[category]} ${name}`), meaning && `: ${meaning}`));
  };
  return el("ul", { class: "key" }, Object.keys(counts).filter((category) => !SAME.includes(category)).map(entry));
}

// ---- by class

function classErrors({ classes, counts }) {
  const categories = Object.keys(counts).filter((category) => !SAME.includes(category)), wrong = (one) => categories.filter(isWrong).reduce((sum, category) => sum + (one.counts[category] || 0), 0);
  const quarters = classes.some(({ between: range }) => range), order = quarters ? classes : [...classes].sort((a, b) => wrong(b) - wrong(a));
  const sizes = order.map((one) => wrong(one)), gains = order.map((one) => (one.counts.rescued || 0) + (one.counts.lowered || 0));
  const span = [Math.max(0, ...gains), Math.max(1, ...sizes)];
  const row = (one) => el("tr", null, el("th", { scope: "row" }, cut(classTitle(one))), el("td", { class: "fall" }, classBar(one.counts, categories, span)),
    categories.map((category) => el("td", { class: one.counts[category] ? "number" : "number none" }, one.counts[category] || 0)), el("td", { class: "number" }, Object.values(one.counts).reduce((a, b) => a + b, 0)));
  const head = el("tr", null, el("th", { scope: "col" }, quarters ? "values" : "class"), el("th", { scope: "col" }, el("span", { class: "unseen" }, "as a bar")), categories.map((category) => el("th", { scope: "col", class: "number" }, colourDot(failureOf(category).color), " ", failureOf(category).name)), el("th", { scope: "col", class: "number" }, "of"));
  const rows = (part, label) => el("div", { class: "table", tabindex: 0, role: "region", "aria-label": label }, el("table", { class: "classes" }, el("thead", null, head.cloneNode(true)), el("tbody", null, part.map(row))));
  return el("div", null, el("h3", null, quarters ? "By size of the target" : "By class, most errors first"), rows(order.slice(0, CLASSES), "errors by class"),
    order.length > CLASSES && fold(`${order.length - CLASSES} more`, () => rows(order.slice(CLASSES), "errors of further classes")));
}

function classTitle({ name, index, between: range }) {
  return range ? `${number(range[0])} to ${number(range[1])}` : outcomeText(name ?? index);
}

// Gains to the left of the middle, errors to the right.
function classBar(counts, categories, [left, right]) {
  const x = linear([-left, right], [0, 100]);
  let from = 0;
  const pieces = categories.map((category) => {
    const size = counts[category] || 0, isGain = GAINS.includes(category), start = isGain ? -size : from;
    if (!isGain) from += size;
    return size && svg("rect", { x: x(start), y: 0, width: Math.max(0.3, x(start + size) - x(start) - 0.4), height: 10, style: { fill: failureOf(category).color } });
  });
  return svg("svg", { class: "weight-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, pieces, svg("line", { x1: x(0), x2: x(0), y1: 0, y2: 10 }));
}

// ---- cases

function casesView(run, cases) {
  const lists = [["worst", "The worst, largest loss first"], ["rescued", "Rescued by the interaction"]].filter(([name]) => cases.some(({ list }) => list === name));
  if (!lists.length) return null;
  const slot = el("div", { class: "cases" }), show = (name) => slot.replaceChildren(...cases.filter(({ list }) => list === name).map((line) => caseCard(run, line)));
  show(lists[0][0]);
  return el("div", null, el("h3", null, "Single cases"), lists.length > 1 ? el("div", { class: "controls" }, radios("cases", lists, lists[0][0], show)) : el("p", { class: "share-title" }, lists[0][1]), slot);
}

function caseCard(run, line) {
  const example = run.examples[line.example], { name, color } = failureOf(line.category);
  const inputs = example ? Object.entries(example.modalities).map(([modality, found]) => titled(modality, mapOf(found, null))) : [];
  const alone = outcomeText(line.alone_name ?? line.alone), fact = (term, words) => [el("dt", null, term), el("dd", null, words)];
  return el("article", { class: "case" }, el("h4", null, `#${line.example}`, el("span", { class: "pill" }, colourDot(color), ` ${name}`)), el("div", { class: "case-inputs" }, inputs),
    el("dl", { class: "case-facts" }, fact("target", outcomeText(line.target_name ?? line.target)),
      fact("predicted", `${outcomeText(line.predicted_name ?? line.predicted)}${Number.isFinite(line.probability) ? ` (${line.probability.toFixed(2)})` : ""}`), fact("UC alone", alone),
      fact(outcomeText(line.output_name ?? line.output), splitWords(line)), fact("loss", number(line.loss))));
}
