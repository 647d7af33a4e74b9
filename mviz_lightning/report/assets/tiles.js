// Tiles with the last numbers: one for each modality, for the interaction and for the score.

const ICONS = [
  // a shape for each state, so that colour is not needed
  "M8 2a6 6 0 1 0 .001 0z",
  "M8 2.9a5.1 5.1 0 1 0 .001 0z",
  "M8 1.5L15 14H1z",
  "M8 2a6 6 0 1 0 .001 0zM8 3.6v8.8a4.4 4.4 0 0 0 0-8.8z",
];

function tilesOf(run, head) {
  return el(
    "div",
    { class: "tiles" },
    run.modalities.map((name, i) => modalityTile(run, name, i, head)),
    interactionTile(run, head),
    scoreTile(run, head),
  );
}

function tile(name, big, beside, ...rest) {
  return el(
    "article",
    { class: "tile" },
    el("h3", null, name),
    el("p", { class: "figure" }, el("b", null, big), beside && el("span", null, beside)),
    rest,
  );
}

function modalityTile(run, name, i, head) {
  const last = lastOf(run, head),
    total = valueOf(last, `total/${name}`, head);
  const [low, high] = boundsOf(last, `total/${name}`, head),
    { state } = stateSince(run, name, head);
  const node = tile(
    cut(name),
    percent(total),
    intervalWords(low, high),
    el("p", { class: "meaning" }, "of the outputs’ variance is lost without it"),
    shareBar(total, low, high, seriesStyle(i).color),
    stateLine(run, name, head),
    el("ul", { class: "more" }, losses(last, name, head)),
  );
  node.classList.toggle("alarmed", state === 2);
  return node;
}

function intervalWords(low, high) {
  const words = between(low, high, percent);
  return words && [el("span", { class: "unseen" }, "95 % interval: "), words];
}

// A share on a line from 0 to 100 %, with its interval.
function shareBar(value, low, high, color) {
  const clip = (share) => Math.max(0, Math.min(100, 100 * share)),
    known = Number.isFinite(low) && Number.isFinite(high);
  return svg(
    "svg",
    { viewBox: "0 0 100 8", class: "share", preserveAspectRatio: "none", "aria-hidden": "true", style: { color } },
    svg("rect", { class: "track", width: 100, height: 8 }),
    Number.isFinite(value) && svg("rect", { class: "filled", width: clip(value), height: 8 }),
    known &&
      svg("rect", { class: "whisker", x: clip(low), y: 3, width: Math.max(0.8, clip(high) - clip(low)), height: 2 }),
  );
}

function stateIcon(state) {
  const hollow = state === 1;
  return svg(
    "svg",
    { class: "state-icon", viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" },
    svg("path", {
      d: ICONS[state],
      "fill-rule": "evenodd",
      fill: hollow ? "none" : "currentColor",
      stroke: hollow ? "currentColor" : "none",
      "stroke-width": 1.8,
    }),
  );
}

function stateLine(run, name, head) {
  const { state, since, always } = stateSince(run, name, head);
  if (state === null || !STATES[state])
    return el("p", { class: "state" }, el("span", { class: "muted" }, "not judged: no alarm was attached"));
  if (isEarly(run, name, head, state))
    return el("p", { class: "state", title: EARLY }, el("span", { class: "muted" }, "no alarm yet"));
  const { word, means } = STATES[state];
  return el(
    "p",
    { class: `state ${word}`, title: means },
    stateIcon(state),
    el("b", null, word),
    el("span", { class: "muted" }, always ? "at every check" : `${state ? "found at" : "since"} epoch ${since.epoch}`),
  );
}

const EARLY = "It is hardly used. The alarm judges it once the model has learned, after several checks in a row.";

// Whether a modality has no alarm yet, although its total is below the alarm's limit.
function isEarly(run, name, head, state) {
  const [, high] = boundsOf(lastOf(run, head), `total/${name}`, head);
  const alarm = (run.description.configuration || {}).alarm || {};
  return state === 0 && high < (Number.isFinite(alarm.max_total) ? alarm.max_total : 0.05);
}

// Further measures of a modality besides the share, if they were measured.
const LOSSES = [
  ["perceptual", (x) => `${minus(x.toFixed(3))} of the score lost when swapped`, (x) => x >= 0.0005],
  ["perceptual", () => "none of the score lost when swapped", (x) => Math.abs(x) < 0.0005],
  ["perceptual", (x) => `${minus((-x).toFixed(3))} of the score gained when swapped`, (x) => x <= -0.0005],
  ["flips", (x) => `${percent(Math.min(1, x))} of decisions depend on it`, () => true],
  ["nats", (x) => `${number(x)} nats per token are lost without it`, () => true],
  ["retrieval", (x) => `its own answer is likeliest for ${percent(x)} of examples`, () => true],
  ["score_without", (x) => `score without it: ${number(x)}`, () => true],
  ["effective_rank", (x) => `embeddings vary in ${number(x)} directions`, () => true],
];

function losses(record, name, head) {
  const known = LOSSES.map(([key, words, holds]) => [valueOf(record, `${key}/${name}`, head), words, holds]);
  return known
    .filter(([value, , holds]) => Number.isFinite(value) && holds(value))
    .map(([value, words]) => el("li", null, words(value)));
}

function interactionTile(run, head) {
  const last = lastOf(run, head),
    value = valueOf(last, "interaction", head);
  if (Number.isNaN(value)) return null;
  const [low, high] = boundsOf(last, "interaction", head);
  return tile(
    "interaction",
    percent(value),
    intervalWords(low, high),
    el("p", { class: "meaning" }, "of the outputs’ variance comes from combinations alone"),
    shareBar(value, low, high, "var(--ink)"),
  );
}

function scoreTile(run, head) {
  const last = lastOf(run, head);
  const [score, additive, gap, distance] = ["score", "emap_score", "emap_gap", "modality_gap"].map((key) =>
    valueOf(last, key, head),
  );
  if (Number.isNaN(score)) return noScore(run, last);
  const interval = between(...boundsOf(last, "emap_gap", head), (x) => number(x, 2));
  const lines = [
    Number.isFinite(additive) && `${number(additive)} without interactions (EMAP)`,
    Number.isFinite(gap) && `${signed(gap, 2)} from interactions${interval && ` (${interval})`}`,
    Number.isFinite(distance) && `modality gap ${number(distance)}`,
  ];
  return tile(
    "score",
    number(score),
    scoreName(run, head),
    el("p", { class: "meaning" }, scoreMeaning(last)),
    el(
      "ul",
      { class: "more" },
      lines.filter((line) => line).map((line) => el("li", null, line)),
    ),
  );
}

function scoreName(run, head) {
  const { score } = run.heads.find(({ name }) => name === head) || {};
  return typeof score === "string" ? cut(score) : "";
}

function scoreMeaning({ evidence }) {
  if (!evidence || evidence.retrieval !== 1) return "of the model as it is";
  const chance = Number.isFinite(evidence.chance) ? `; random answers have ${number(evidence.chance)}` : "";
  return `retrieval within groups${chance}`;
}

// Language models whose own answers are scored have nats instead of a score.
function noScore(run, last) {
  if (run.modalities.some((name) => Number.isFinite(valueOf(last, `nats/${name}`)))) return null;
  return tile("score", "–", "", el("p", { class: "meaning" }, "No labels were found, so no score was measured."));
}
