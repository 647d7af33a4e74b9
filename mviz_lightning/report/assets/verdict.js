// The verdict: one sentence per head on the modality that is used least. tiles.js has the numbers below it.

const STATES = [
  { word: "used", means: "Swapping it among examples changes outputs or decisions." },
  { word: "unused", means: "Swapping it changes almost nothing, and no information about the label is found in it." },
  { word: "collapsed", means: "Swapping it changes almost nothing, although it carries information about the label." },
  { word: "redundant", means: "Swapping it changes almost nothing; the other modalities carry the same information." },
];

const MOST_TILES = 6; // largest number of modalities with a tile each; more modalities are rows of a table

section({ id: "verdict", title: "Verdict", unseen: true, build: buildVerdict });

function buildVerdict(run) {
  if (!run.checks.length) return empty(noChecks(run));
  const measured = run.heads.filter(({ name }) => run.checks.some((record) => totalsOf(run, record, name).length));
  if (!measured.length) return empty("The checks of this run hold no shares of its modalities.");
  return el(
    "div",
    { class: "verdict" },
    !run.alone && el("h3", { class: "run-shown" }, runBadge(run)),
    measured.map((head, i) => [
      measured.length > 1 && el("h3", { class: "head-name" }, head.called || head.name || "main head"),
      el("p", { class: i ? "lead" : "sentence" }, sentenceOf(run, head.name)),
      run.modalities.length > MOST_TILES ? tableOfModalities(run, head.name) : tilesOf(run, head.name),
    ]),
  );
}

function noChecks(run) {
  const notes = run.history.map((record) => record.note).filter((note) => note);
  const why = notes.length
    ? ` Last note: ${notes[notes.length - 1]}`
    : " The first one follows the first validation.";
  return `No check has been kept of this run yet.${why}`;
}

// ---- values from the history

function lastOf(run, head) {
  return run.checks.filter((record) => totalsOf(run, record, head).length).pop();
}

function totalsOf(run, record, head) {
  const found = run.modalities.map((name) => ({ name, total: valueOf(record, `total/${name}`, head) }));
  return found.filter(({ total }) => !Number.isNaN(total)).sort((a, b) => a.total - b.total);
}

// The first of the last consecutive records for which a test is true.
function sinceWhen(records, holds) {
  let first = null;
  for (const record of records.slice().reverse()) {
    if (!holds(record)) break;
    first = record;
  }
  return first;
}

function stateSince(run, name, head) {
  const key = `collapse/${name}`,
    judged = run.checks.filter((record) => Number.isFinite(valueOf(record, key, head)));
  if (!judged.length) return { state: null, since: null };
  const state = valueOf(judged[judged.length - 1], key, head);
  const since = sinceWhen(judged, (record) => valueOf(record, key, head) === state);
  return { state, since, always: since === judged[0] };
}

// ---- the sentence

function sentenceOf(run, head) {
  const checks = run.checks.filter((record) => totalsOf(run, record, head).length);
  const last = checks[checks.length - 1];
  const [least, next] = totalsOf(run, last, head);
  const since = sinceWhen(checks, (record) => totalsOf(run, record, head)[0].name === least.name);
  return [
    "The model uses ",
    el("b", null, least.name),
    ` least, ${howLong(checks, since)}. Without it, ${percent(least.total)} of the outputs’ variance would be lost`,
    intervalOf(last, least.name, head),
    next && withoutNext(last, least, next, head),
    ".",
    run.modalities.map((name) => stateSentence(run, name, head)),
    recoveredSentence(run, head),
    unskilled(last),
  ];
}

function howLong(checks, since) {
  if (since !== checks[0]) return `since ${placeOf(since)}`;
  return checks.length > 1 ? "at every check" : "at the only check";
}

function intervalOf(record, name, head) {
  const interval = between(...boundsOf(record, `total/${name}`, head), percent);
  return interval && el("span", { class: "muted" }, ` (95 %: ${interval})`);
}

function withoutNext(last, least, next, head) {
  const [, high] = boundsOf(last, `total/${least.name}`, head);
  const [low] = boundsOf(last, `total/${next.name}`, head);
  return `; without ${next.name}, ${percent(next.total)}${high > low ? ", which is about the same: the intervals overlap" : ""}`;
}

// A modality that is not used, and what that means; there is a state where an alarm was attached. The check is that of
// the verdict: the alarm's text tells since when the modality has not been used.
function stateSentence(run, name, head) {
  const { state, since } = stateSince(run, name, head);
  if (!(state > 0)) return null;
  const { word, means } = STATES[state];
  const found = el("b", { class: state === 2 ? "bad" : null }, `${name} ${word}`);
  return [` The check of ${placeOf(since)} found `, found, `: ${means.replace("Swapping it", "swapping it")}`];
}

// Modalities that are used now and were collapsed before.
function recoveredSentence(run, head) {
  return run.modalities.map((name) => {
    const collapsed = run.checks.filter((record) => valueOf(record, `collapse/${name}`, head) === 2);
    if (!collapsed.length || stateSince(run, name, head).state === 2) return null;
    const [first, last] = [collapsed[0].epoch, collapsed[collapsed.length - 1].epoch];
    return ` ${name} was collapsed ${first === last ? `in epoch ${first}` : `between epochs ${first} and ${last}`}.`;
  });
}

function unskilled(record) {
  const { skill, skill_error: error } = record.evidence || {};
  return skill - 2 * error <= 0 ? " The model is not above chance yet, so these numbers mean little." : null;
}

// ---- many modalities

function tableOfModalities(run, head) {
  const last = lastOf(run, head);
  const rows = totalsOf(run, last, head).map(({ name, total }) => {
    const [low, high] = boundsOf(last, `total/${name}`, head);
    const lost = valueOf(last, `perceptual/${name}`, head);
    return [
      cut(name),
      shareBar(total, low, high, "var(--accent)"),
      percent(total),
      stateLine(run, name, head),
      Number.isNaN(lost) ? "–" : signed(-lost),
    ];
  });
  return el(
    "div",
    null,
    table(
      "All modalities, the least used first",
      ["modality", "total effect", "of the variance", "state", "score when swapped"],
      rows,
    ),
    el("div", { class: "tiles" }, interactionTile(run, head), scoreTile(run, head)),
  );
}
