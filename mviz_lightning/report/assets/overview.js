// What the model uses, over the training: curves of shares, scores and decisions; notes; checks outside of fit.

// Kinds of curves: start of the keys, words of the choice, what the numbers are. Keys of all modalities come first, then
// those in also; share: written as per cent; pairs: of pairs of modalities.
const CURVES = [
  {
    key: "total",
    choice: "Total effect",
    share: true,
    means: "share of the outputs’ variance that would be lost without the modality",
  },
  {
    key: "contribution",
    choice: "Alone",
    share: true,
    also: { interaction: "interaction" },
    means: "share of the outputs’ variance that each modality explains alone, and that only combinations explain",
  },
  {
    key: "interaction",
    choice: "Pairs",
    share: true,
    pairs: true,
    also: { interaction: "all interactions" },
    means: "share of the outputs’ variance that only the combination of a pair explains",
  },
  {
    key: null,
    choice: "Score",
    also: { score: "score", emap_score: "without interactions" },
    means: "score of the model, and of its unimodal contributions alone (EMAP)",
  },
  {
    key: "perceptual",
    choice: "Score lost",
    means: "score that is lost when the modality is taken from other examples",
  },
  {
    key: "flips",
    choice: "Decisions",
    share: true,
    means: "decisions that swapping the modality changes, of those that swapping everything changes",
  },
  { key: "nats", choice: "Nats", means: "nats per token that the model’s own answer loses without the modality" },
  {
    key: "retrieval",
    choice: "Retrieval",
    share: true,
    means: "share of the examples whose own modality makes their answer likeliest in the group",
  },
];

section({ id: "use", title: "What the model uses", short: "Use", build: buildUse });

function buildUse(run) {
  if (!run.checks.length) return null;
  const state = { head: "", axis: "epoch", curve: CURVES[0] };
  const alarms = alarmPanel(run, state),
    lead = el("p", { class: "lead" }),
    controls = el("div");
  const chart = lineChart({ label: "Curves over the training", lines: [] });
  const show = () => {
    const places = placesOf(run.checks, state.axis);
    const offered = CURVES.filter((curve) => linesFor(run, curve, state.head, places).length);
    if (!offered.includes(state.curve)) state.curve = offered[0];
    lead.textContent = `The vertical axis is the ${state.curve.means}. Bands are 95 % intervals.`;
    controls.replaceChildren(useControls(run, state, offered, show));
    chart.update({ ...chartOf(run, state, places), markers: alarms.markers(places), zoom: null });
    alarms.show();
  };
  show();
  return el("div", null, lead, controls, chart.node, alarms.node, notesOf(run), outsideOf(run));
}

function useControls(run, state, offered, show) {
  const choose = (name) => (value) => {
    state[name] = value;
    refocus(show, name);
  };
  const curves = offered.map((curve) => [curve, curve.choice]);
  const named = run.heads.map(({ name, called }) => [name, called || name || "main head"]);
  const mark = (name, node) => {
    node.dataset.control = name;
    return node;
  };
  return el(
    "div",
    { class: "controls" },
    mark(
      "curve",
      curves.length > 6
        ? picker("Show", curves, state.curve, choose("curve"))
        : radios("What is drawn", curves, state.curve, choose("curve")),
    ),
    named.length > 1 && mark("head", picker("Head", named, state.head, choose("head"))),
    el("span", { class: "push" }),
    mark(
      "axis",
      radios(
        "Horizontal axis",
        [
          ["epoch", "Epoch"],
          ["step", "Step"],
        ],
        state.axis,
        choose("axis"),
      ),
    ),
  );
}

// Draws anew, and gives the focus back to the control that was used.
function refocus(show, name) {
  show();
  const again = document.querySelector(`[data-control="${name}"]`);
  const target = again && again.querySelector("input:checked, select");
  if (target) target.focus({ preventScroll: true });
}

function linesFor(run, curve, head, places) {
  const own = curve.pairs ? pairsOf(run.modalities) : run.modalities;
  const keys = [
    ...(curve.key ? own.map((name) => [`${curve.key}/${name}`, name]) : []),
    ...Object.entries(curve.also || {}),
  ];
  const lines = keys.map(([key, name], i) => lineOf(run.checks, places, name, key, head, i));
  const known = lines.filter((line) => line.ys.some(Number.isFinite));
  known
    .filter((line) => line.name === "interaction")
    .forEach((line) => Object.assign(line, { color: "var(--ink)", dash: "2 3" }));
  return curve.pairs && known.length < 3 ? [] : known;
}

function pairsOf(names) {
  return names.flatMap((a, i) => names.slice(i + 1).map((b) => `${a}+${b}`));
}

function chartOf(run, { curve, head, axis }, places) {
  const epochs = groupBy(run.checks, (record) => record.epoch);
  const written = (x) => {
    const record = run.checks[places.indexOf(x)];
    if (!record) return `${axis} ${number(x)}`;
    const same = epochs.get(record.epoch),
      which = same.length > 1 ? `, check ${same.indexOf(record) + 1} of ${same.length}` : "";
    return placeOf(record) + which;
  };
  return {
    label: `${curve.choice}: ${curve.means}, over the training`,
    lines: linesFor(run, curve, head, places),
    xTitle: axis,
    written: curve.share ? percent : number,
    placeWritten: written,
    range: curve.share ? [0, 1] : [0, 0],
  };
}

// ---- below the curves

function notesOf(run) {
  const place = (record) => el("span", { class: "muted" }, `${stageName(record)}${placeOf(record)}: `);
  const noted = run.history.filter((record) => record.note).map((record) => [place(record), record.note]);
  const notes = [...noted, ...run.remarks];
  if (!notes.length) return null;
  return el(
    "div",
    { class: "notes" },
    el("h3", null, "Notes"),
    el(
      "ul",
      null,
      notes.map((note) => el("li", null, note)),
    ),
  );
}

function stageName({ stage }) {
  return stage === "fit" ? "" : `${stage}, `;
}

function outsideOf(run) {
  const records = run.measured.filter((record) => record.stage !== "fit");
  if (!records.length || run.checks.includes(records[0])) return null;
  const scored = records.some((record) => Number.isFinite(valueOf(record, "score")));
  const total = (record, name) => {
    const key = `total/${name}`,
      interval = between(...boundsOf(record, key), percent);
    return [percent(valueOf(record, key)), interval && el("span", { class: "muted" }, ` (${interval})`)];
  };
  const row = (record) => [
    record.stage,
    placeOf(record),
    ...run.modalities.map((name) => el("span", null, total(record, name))),
    percent(valueOf(record, "interaction")),
    ...(scored ? [number(valueOf(record, "score"))] : []),
  ];
  const columns = ["stage", "model of", ...run.modalities, "interaction", ...(scored ? ["score"] : [])];
  return el(
    "div",
    { class: "outside" },
    el("h3", null, "Checks outside of the training"),
    table("Total effects of validate and test", columns, records.map(row)),
  );
}
