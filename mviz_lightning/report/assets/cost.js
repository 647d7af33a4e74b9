// Cost of the measurement, and its description: settings, versions, observations of the model.

section({
  id: "cost", title: "Cost",
  build(run) {
    const measured = run.measured.filter((record) => Number.isFinite(valueOf(record, "seconds")));
    return measured.length ? el("div", null, costTiles(measured), costChart(run)) : null;
  },
});

section({
  id: "configuration", title: "Configuration",
  build: (run) => (Object.keys(run.description).length ? configurationView(run) : null),
});

function duration(seconds) {
  if (seconds < 60) return `${number(seconds, 2)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function costTiles(measured) {
  const all = (key) => measured.map((record) => valueOf(record, key)).filter(Number.isFinite), sum = (values) => values.reduce((a, b) => a + b, 0);
  const seconds = all("seconds"), rows = all("rows"), overhead = all("overhead");
  const tile = (name, value, note) => el("div", { class: "cost-tile" }, el("span", { class: "note" }, name), el("strong", null, value), el("span", { class: "note" }, note));
  return el("div", { class: "cost-tiles" }, tile("time of all checks", duration(sum(seconds)), `${count(seconds.length, "check")}, ${duration(sum(seconds) / seconds.length)} each`),
    rows.length > 0 && tile("rows of the model", sum(rows).toLocaleString("en"), `${Math.round(sum(rows) / rows.length).toLocaleString("en")} in each check`),
    overhead.length > 0 && tile("share of the time since the check before", percent(sum(overhead) / overhead.length), `mean; at most ${percent(Math.max(...overhead))}`));
}

function costChart(run) {
  const records = run.checks.filter((record) => Number.isFinite(valueOf(record, "seconds")));
  if (records.length < 2) return null;
  const places = placesOf(records, "epoch"), at = (x) => records[places.indexOf(x)] || records[records.length - 1], slot = el("div");
  const options = [["seconds", "seconds"], ["rows", "rows"], ["overhead", "share of the time"]].filter(([key]) => records.some((record) => Number.isFinite(valueOf(record, key))));
  const lines = (key) => [lineOf(records, places, options.find(([name]) => name === key)[1], key, "", 0)];
  const written = (key) => (key === "overhead" ? percent : (value) => number(value));
  const chart = lineChart({ label: "Cost of each check", lines: lines("seconds"), xTitle: "epoch", height: 200, range: [0, 0], written: written("seconds"), placeWritten: (x) => placeOf(at(x)) });
  slot.append(el("div", { class: "controls" }, radios("what", options, "seconds", (key) => chart.update({ lines: lines(key), written: written(key) }))), chart.node);
  return slot;
}

// ---- configuration

function configurationView(run) {
  const { description } = run, { configuration = {}, versions = {}, examples = {} } = description;
  const groups = [
    ["Run", { name: run.name, started: dateOf(description.started), finished: dateOf(description.finished), ...plainModel(description.model), ...renamed(examples, "examples") }],
    ["Modalities", Object.fromEntries((description.modalities || []).map(({ name, kind, leaves }) => [name, `${kind}, from ${(leaves || []).join(", ")}`]))],
    ["Outputs", Object.fromEntries((description.heads || []).map((head) => [head.called || head.name || "output", headWords(head)]))],
    ["Monitor", configuration.monitor], ...Object.entries(configuration.explainers || {}).map(([name, { name: _, ...settings }]) => [`Explainer ${name}`, settings]), ["Alarm", configuration.alarm], ["Versions", versions],
  ].filter(([, found]) => found && Object.keys(found).length);
  return el("div", null, el("div", { class: "controls" }, copyButton(() => JSON.stringify(description, null, 2))),
    el("div", { class: "settings columns" }, groups.map(([title, found]) => el("div", { class: "setting" }, el("h3", null, title), settingsList(found)))), observedList(description.observed || []));
}

function plainModel(model) {
  return model ? { model: model.class, parameters: Number.isFinite(model.parameters) ? model.parameters.toLocaleString("en") : null } : {};
}

function renamed(found, what) {
  return Object.fromEntries(Object.entries(found).map(([name, value]) => [`${name.replaceAll("_", " ")}${name === "recombined" ? ` ${what}` : ""}`, value]));
}

function headWords({ task, class_names: names, score }) {
  return [task, names && names.length && `${count(names.length, "class", "classes")} (${names.slice(0, 8).join(", ")}${names.length > 8 ? ", ..." : ""})`, score && `scored by ${score}`].filter(Boolean).join("; ");
}

function settingsList(found) {
  const words = (value) => (value === null || typeof value !== "object" ? String(value) : JSON.stringify(value));
  const shown = Object.entries(found).filter(([, value]) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length));
  return el("dl", null, shown.map(([name, value]) => [el("dt", null, name), el("dd", null, words(value))]));
}

function observedList(lines) {
  return lines.length ? el("div", { class: "setting" }, el("h3", null, "What was observed of the model"), el("ul", { class: "observed" }, lines.map((line) => el("li", null, line)))) : null;
}

// Copies text in a local file: by the clipboard if the browser allows it, otherwise by a selection.
function copyButton(textOf) {
  const button = el("button", { class: "quiet", type: "button", onclick: async () => {
    button.textContent = (await copied(textOf())) ? "Copied" : "Copying is not allowed here";
    setTimeout(() => { button.textContent = "Copy as JSON"; }, 2500);
  } }, "Copy as JSON");
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "unseen", "aria-hidden": "true", value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
