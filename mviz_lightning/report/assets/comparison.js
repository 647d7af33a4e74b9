// Two runs or more, each compared with the first: differences of results by moment, and of configurations.

const VALUE_NAMES = {
  total: (name) => `${name}: lost without it`, contribution: (name) => `${name}: alone`,
  interaction: (name) => (name ? `interaction of ${name.replace("+", " and ")}` : "interaction"), flips: (name) => `${name}: decisions that change with it`,
  score: () => "score", emap_score: () => "score without interactions", emap_gap: () => "score that interactions add",
  perceptual: (name) => `${name}: score lost when swapped`,
}; // first part of a key -> its name in the table; other values are in a fold
const SHARES = ["total", "contribution", "interaction", "flips"]; // values that are written in percent
const RUN_DASHES = ["", "6 4", "2 3", "9 3 2 3", "1 5"];
const COMPARED_CURVES = [["total", "Lost without it"], ["contribution", "Alone"], ["perceptual", "Score lost"], ["score", "Score"], ["interaction", "Interaction"]];

section({
  id: "comparison", title: "How the runs differ", short: "Comparison", whole: true,
  build: (runs, page) => (page.comparison && runs.length > 1 ? comparisonView(runs, page.comparison) : null),
});

function letterOf(index) {
  return index < 26 ? String.fromCharCode(65 + index) : String(index + 1);
}

function comparisonView(runs, { pairs }) {
  const slot = el("div"), curves = comparedCurves(runs), show = (pair) => slot.replaceChildren(comparedPair(runs, pair, curves));
  const badge = (run) => el("li", null, runBadge(run), el("span", { class: "note" }, count(run.checks.length, "check"), run.checks.length > 0 && `, last ${placeOf(run.checks[run.checks.length - 1])}`));
  show(pairs[0]);
  return el("div", { class: "comparison" }, el("ul", { class: "run-names" }, runs.map(badge)),
    pairs.length > 1 && el("div", { class: "controls" }, radios("runs that are compared", pairs.map((pair) => [pair, `${letterOf(pair.second)} against ${letterOf(pair.first)}`]), pairs[0], show)),
    slot, comparedAlarms(runs));
}

function runBadge(run) {
  return el("span", { class: "run-name" }, el("b", { class: "letter" }, letterOf(run.index)), cut(run.name));
}

// The letter alone, for columns of tables; the names stand above.
function runLetter(run) {
  return el("b", { class: "letter", title: run.name }, letterOf(run.index));
}

function comparedPair(runs, pair, curves) {
  const both = [runs[pair.first], runs[pair.second]], said = el("div"), tables = el("div");
  const show = ({ heads }) => {
    said.replaceChildren(...heads.map((head) => differencesInWords(heads, head)));
    tables.replaceChildren(...heads.map((head) => differencesInFigures(both, heads, head)));
  };
  if (pair.moments.length) show(pair.moments[0]);
  else said.append(empty("One of the runs has no values yet, so nothing can be compared."));
  const label = ({ label: words, first, second }) => (first.epoch === second.epoch ? words : `${words} (${letterOf(pair.first)} epoch ${first.epoch}, ${letterOf(pair.second)} epoch ${second.epoch})`);
  const when = pair.moments.map((moment) => [moment, label(moment)]);
  const choice = when.length > 1 ? radios("moment", when, pair.moments[0], show) : el("p", { class: "note" }, "Compared at ", when.map(([, words]) => words), ".");
  return el("div", null, when.length > 0 && el("div", { class: "controls" }, choice), said, curves, tables, comparedExamples(...both), comparedSettings(both, pair.configuration));
}

// ---- one head at one moment

function differencesInWords(heads, { head, states, sentences }) {
  return el("div", null, heads.length > 1 && el("h3", { class: "head-name" }, head || "main head"),
    el("ul", { class: "differences" }, sentences.map((words, i) => el("li", { class: i ? null : "first" }, words.replaceAll(" %", "\u00a0%")))), states.length > 0 && comparedStates(states));
}

function differencesInFigures(both, heads, { head, values }) {
  const isMain = ({ key }) => ownOf(VALUE_NAMES, key.split("/")[0]), main = values.filter(isMain).sort(byValueName), rest = values.filter((one) => !isMain(one));
  return el("div", null, el("h3", null, "All differences", heads.length > 1 && `, ${head || "main head"}`), main.length > 0 && differenceTable(both, main),
    rest.length > 0 && fold(`${rest.length} more values`, () => differenceTable(both, rest)));
}

function byValueName(a, b) {
  const order = Object.keys(VALUE_NAMES), place = ({ key }) => order.indexOf(key.split("/")[0]);
  return place(a) - place(b);
}

function comparedStates(states) {
  const word = (state) => el("span", { class: state === "collapsed" ? "pill bad" : "pill" }, state || "not judged");
  const change = ({ modality, first, second }) => el("li", null, cut(modality, "b"), word(first), first === second ? el("span", { class: "note" }, "in both") : ["→", word(second)]);
  return el("ul", { class: "states", "aria-label": "state of each modality" }, states.map(change));
}

function valueName(key) {
  const [kind, ...of] = key.split("/");
  return ownOf(VALUE_NAMES, kind) ? VALUE_NAMES[kind](of.join("/")) : key;
}

function isShare(key) {
  return SHARES.includes(key.split("/")[0]) || key.includes("/total/");
}

// Values of one unit have one scale in the drawing: shares and scores, or those of one kind.
function unitOf({ key }) {
  const kind = key.split("/")[0];
  return ownOf(VALUE_NAMES, kind) || isShare(key) ? "share" : kind;
}

// Scores are compared with one another, so all have three decimals.
function figureOf(value) {
  return value === null || Math.abs(value) >= 10 ? number(value) : minus(value.toFixed(3));
}

function differenceTable(both, values) {
  const limits = groupBy(values, unitOf);
  const limit = (one) => limitOf([limits.get(unitOf(one)).flatMap(({ difference, low, high }) => [difference, low, high]).filter(Number.isFinite)]);
  const row = (one) => {
    const share = isShare(one.key), written = share ? percent : figureOf, points = (value) => (share ? number(100 * value, 2) : figureOf(value));
    return [valueName(one.key), el("span", { class: "figure-cell" }, written(one.first)), el("span", { class: "figure-cell" }, written(one.second)),
      el("span", { class: one.clear ? "clear" : null }, `${share ? signed(100 * one.difference, 2) : `${one.difference > 0 ? "+" : ""}${figureOf(one.difference)}`}${share ? " points" : ""}`,
        el("small", null, one.low === null ? "no interval" : `95\u00a0%: ${between(one.low, one.high, points)}`)), forest(one, limit(one)), clearWords(one)];
  };
  return table("values of both runs and their difference", ["value", ...both.map(runLetter), `${letterOf(both[1].index)} less ${letterOf(both[0].index)}`, "as a line", "in words"], values.map(row));
}

function clearWords({ clear, low, difference }) {
  if (low === null) return el("span", { class: "note" }, "");
  return clear ? el("b", null, difference > 0 ? "clearly more" : "clearly less") : el("span", { class: "note" }, "not clear");
}

// The difference as a dot with its interval; 0 is in the middle.
function forest({ difference, low, high, clear }, limit) {
  const x = linear([-limit, limit], [4, 136]), line = (a, b, name) => svg("line", { class: name, x1: x(a), x2: x(b), y1: 8, y2: 8 });
  return svg("svg", { class: clear ? "forest clear" : "forest", viewBox: "0 0 140 16", "aria-hidden": "true" }, svg("line", { class: "zero", x1: 70, x2: 70, y1: 0, y2: 16 }),
    low !== null && line(low, high, "whisker"), difference !== null && svg("circle", { class: "dot", cx: x(difference), cy: 8, r: 4 }));
}

// ---- configuration

function comparedSettings(both, differences) {
  const cell = (value) => (value === null ? el("span", { class: "note" }, "–") : el("code", null, value));
  const rows = differences.map(({ name, first, second }) => [name.replace(/^configuration\./, ""), cell(first), cell(second)]);
  return el("div", null, el("h3", null, "Configured otherwise"), rows.length ? table("what was configured otherwise", ["setting", ...both.map(runLetter)], rows) : empty("Both runs have the same configuration and versions."));
}

// ---- curves of all runs: a colour for each modality, a dash for each run

function comparedCurves(runs) {
  const names = unique(runs.flatMap((run) => run.modalities));
  const keysOf = (kind) => (["score", "interaction"].includes(kind) ? [[kind, kind]] : names.map((name) => [`${kind}/${name}`, name]));
  const linesFor = (kind) => runs.flatMap((run) => keysOf(kind).map(([key, name], i) => comparedLine(run, key, name, kind === name ? names.length : i)))
    .filter(({ ys }) => ys.some(Number.isFinite));
  const options = COMPARED_CURVES.filter(([kind]) => linesFor(kind).length);
  if (!options.length || runs.every((run) => run.checks.length < 2)) return null;
  const lines = (kind) => ({ lines: linesFor(kind), label: `${kind} of each run over the training`, written: SHARES.includes(kind) ? percent : number });
  const chart = lineChart({ ...lines(options[0][0]), xTitle: "epoch", height: 300, range: [0, 0], placeWritten: (x) => `epoch ${number(x)}` });
  return el("div", null, el("h3", null, "Over the training"), el("p", { class: "lead" }, "A colour for each modality, a dash for each run."),
    el("div", { class: "controls" }, radios("what is drawn", options, options[0][0], (kind) => chart.update(lines(kind)))), chart.node);
}

function comparedLine(run, key, name, index) {
  const found = lineOf(run.checks, placesOf(run.checks, "epoch"), `${letterOf(run.index)}: ${name}`, key, "", index);
  return { ...found, dash: RUN_DASHES[run.index % RUN_DASHES.length] };
}

function comparedAlarms(runs) {
  const one = (alert) => el("li", null, fold(`${alert.title}, ${placeOf(alert)}`, () => el("pre", { class: "alarm-whole" }, alert.text)));
  const list = (run) => el("div", { class: "setting" }, el("h4", null, runBadge(run)), run.alerts.length ? el("ul", { class: "plain" }, run.alerts.map(one)) : el("p", { class: "note" }, "no alarm"));
  return el("div", null, el("h3", null, "Alarms of each run"), el("div", { class: "settings" }, runs.map(list)));
}
