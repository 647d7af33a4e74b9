// Explanations of single predictions: the list of examples, and the choices. example_view.js shows the chosen example.

section({
  id: "examples",
  title: "Why single predictions came out as they did",
  short: "Examples",
  build: buildExamples,
});

const ORDERS = [
  ["given", "as explained"],
  ["interaction", "most interaction"],
  ["change", "largest change"],
  ["wrong", "wrong first"],
];
const FILTERS = [
  ["all", "All"],
  ["wrong", "Wrong"],
  ["interaction", "By interaction"],
];

function buildExamples(run) {
  const lines = linesOf(run, "dime").filter((line) => line.example !== null);
  if (!lines.length) return empty(noMaps(run));
  const state = {
    filter: "all",
    order: "given",
    id: null,
    method: lines[0].method,
    head: lines[0].head,
    stage: lines[0].stage,
  };
  const controls = el("div"),
    list = el("div", { class: "example-list" }),
    detail = el("div", { class: "example-view" });
  const open = (item) => {
    state.id = item.id;
    detail.replaceChildren(exampleView(run, item));
  };
  const show = () => {
    const chosen = lines.filter((line) => ["method", "head", "stage"].every((field) => line[field] === state[field]));
    const cases = casesOf(run, chosen);
    controls.replaceChildren(exampleControls(run, lines, cases, state, show));
    const shown = arranged(cases, state),
      current = shown.find(({ id }) => id === state.id) || shown[0];
    list.replaceChildren(exampleList(shown, current, open));
    if (current) open(current);
    else detail.replaceChildren(empty("No example is left: choose All."));
  };
  show();
  return el("div", null, hintOf(run), controls, el("div", { class: "browser" }, list, detail));
}

function noMaps(run) {
  if (run.explanations.length) return "No explainer has given maps of single predictions: add DIME() to explainers=.";
  return "No prediction was explained in this run: pass explainers=[DIME()] to MultimodalMonitor.";
}

function hintOf(run) {
  return el(
    "p",
    { class: "lead" },
    "Each prediction is a sum: what each modality adds alone (UC), and what they add only together (MI).",
    run.description.show_inputs === false &&
      " The inputs were not kept (show_inputs=False), so only maps and names of segments are shown.",
  );
}

function exampleControls(run, lines, cases, state, show) {
  const choose = (name) => (value) => {
    state[name] = value;
    refocus(show, name);
  };
  const mark = (name, node) => {
    node.dataset.control = name;
    return node;
  };
  const pick = (name, label, words) => {
    const found = unique(lines.map((line) => line[name]));
    return (
      found.length > 1 &&
      mark(
        name,
        picker(
          label,
          found.map((value) => [value, words(value)]),
          state[name],
          choose(name),
        ),
      )
    );
  };
  const filters = FILTERS.map(([value, text]) => [
    value,
    `${text} ${cases.filter((one) => passes(one, value)).length}`,
  ]);
  return el(
    "div",
    { class: "controls" },
    mark("filter", radios("Examples that are listed", filters, state.filter, choose("filter"))),
    mark("order", picker("Sort", ORDERS, state.order, choose("order"))),
    pick("method", "Method", String),
    pick("stage", "Stage", String),
    pick("head", "Head", (name) => (run.heads.find((head) => head.name === name) || {}).called || name || "main head"),
  );
}

// ---- cases: an example with all its explained outputs at all moments

function casesOf(run, lines) {
  return [...groupBy(lines, (line) => line.example)].map(([id, own]) => {
    const moments = [...groupBy(own, (line) => `${line.epoch}/${line.step}`).values()];
    const last = moments[moments.length - 1],
      shown = last.find((line) => /predicted/.test(line.role)) || last[0];
    return {
      id,
      example: run.examples[id] || { modalities: {} },
      moments,
      last: shown,
      right: isRight(shown),
      ...driversOf(shown),
      change: changeOf(moments),
    };
  });
}

// Whether a prediction equals its target; null without a label, and for values.
function isRight({ predicted, target, target_name: name, predicted_name: made }) {
  if (target === null || target === undefined || predicted === null || predicted === undefined) return null;
  if (Array.isArray(target)) return name === made && JSON.stringify(target) === JSON.stringify(predicted);
  return Number.isInteger(target) && Number.isInteger(predicted) ? target === predicted : null;
}

// The parts of an output: |MI| and |UC|, and |UC| divided by the weights of the modalities.
function driversOf({ uc, mi, error, weights }) {
  const sizes = Object.entries(weights || {}).map(([name, found]) => [name, sumOf(numbers(found.uc))]);
  const all = sizes.reduce((sum, [, size]) => sum + size, 0) || 1,
    whole = Math.abs(uc) + Math.abs(mi) || 1;
  const shares = sizes.map(([name, size]) => ({ name, share: (size / all) * (Math.abs(uc) / whole) }));
  const interaction = Math.abs(mi) / whole,
    sure = !(Math.abs(mi) < INTERVAL * error);
  const parts = [...shares, { name: "interaction", share: interaction, combined: true }];
  const most = parts.reduce(
    (best, part) => (part.share > best.share && (sure || !part.combined) ? part : best),
    parts[0],
  );
  return { parts, most, interaction: sure ? interaction : 0 };
}

function sumOf(weights) {
  return weights.flat(2).reduce((sum, weight) => sum + (Number.isFinite(weight) ? Math.abs(weight) : 0), 0);
}

function changeOf(moments) {
  const [first] = moments[0],
    output = moments[moments.length - 1].find((line) => line.output === first.output);
  return Math.abs((output || moments[moments.length - 1][0]).value - first.value);
}

function passes(item, filter) {
  return filter === "all" || (filter === "wrong" ? item.right === false : Boolean(item.most.combined));
}

function arranged(cases, { filter, order }) {
  const by = {
    interaction: (one) => -one.interaction,
    change: (one) => -one.change,
    wrong: (one) => (one.right === false ? 0 : 1),
    given: () => 0,
  };
  return cases.filter((one) => passes(one, filter)).sort((a, b) => by[order](a) - by[order](b));
}

// ---- the list

function exampleList(cases, current, open) {
  const name = newId("example");
  return el(
    "fieldset",
    { class: "cards" },
    el("legend", { class: "unseen" }, "Examples"),
    cases.map((one) =>
      el(
        "label",
        { class: "card" },
        el("input", { type: "radio", name, checked: one === current, onchange: () => open(one) }),
        el(
          "span",
          { class: "card-body" },
          thumbnail(one.example),
          el(
            "span",
            { class: "card-text" },
            cut(`${one.id} ${firstWords(one.example)}`.trim()),
            verdictOf(one),
            driverLine(one),
          ),
        ),
      ),
    ),
  );
}

function verdictOf({ right, last }) {
  const made = last.predicted_name ?? valueText(last.predicted),
    wanted = last.target_name ?? valueText(last.target);
  if (right === null) return cut(wanted ? `${made}, target ${wanted}` : made, "small");
  return el(
    "small",
    { class: right ? "right" : "wrong" },
    el("b", null, right ? "✓ " : "✗ "),
    el("span", { class: "unseen" }, right ? "right: " : "wrong: "),
    cut(right ? made : `${made}, not ${wanted}`),
  );
}

function valueText(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.slice(0, 6).map(valueText).join(", ");
  return typeof value === "number" ? number(value) : String(value);
}

function driverLine({ parts, most }) {
  return el(
    "small",
    { class: "driver", title: parts.map(({ name, share }) => `${name} ${percent(share)}`).join(", ") },
    stackedBar(parts),
    cut(`${most.name} ${percent(most.share)}`),
  );
}

function stackedBar(parts) {
  let x = 0;
  const part = ({ share, combined }, i) => {
    const rect = svg("rect", {
      x,
      width: 100 * share,
      height: 6,
      style: { fill: combined ? "var(--ink)" : seriesStyle(i).color },
    });
    x += 100 * share;
    return rect;
  };
  return svg(
    "svg",
    { class: "stacked", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    parts.map(part),
  );
}
