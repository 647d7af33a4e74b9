// The same example in two runs: predictions and maps of both, side by side.

function comparedExamples(first, second) {
  const result = ["dime", "importance"].find((kind) => linesOf(first, kind).length && linesOf(second, kind).length);
  const ids = result ? commonExamples(first, second, result) : [];
  if (!ids.length) return null;
  const slot = el("div"), show = (id) => slot.replaceChildren(sameExample([first, second], result, id));
  show(ids[0]);
  const words = (id) => [`#${id}`, first.examples[id].target_name && outcomeText(first.examples[id].target_name), firstWords(first.examples[id])].filter(Boolean).join(" ");
  return el("div", null, el("h3", null, "The same example in both runs"),
    ids.length > 1 && el("div", { class: "controls" }, picker("example", ids.map((id) => [id, shorten(words(id), 320)]), ids[0], show)), slot);
}

// Examples at the same position with the same target and parts: their maps can be compared.
function commonExamples(first, second, result) {
  const explained = (run) => new Set(linesOf(run, result).filter(({ stage, head }) => stage === "fit" && !head).map(({ example }) => example));
  const others = explained(second), content = (run, id) => run.examples[id] && JSON.stringify([run.examples[id].target, Object.entries(run.examples[id].modalities).map(([name, { segments }]) => [name, segments])]);
  return [...explained(first)].filter((id) => others.has(id) && content(first, id) && content(first, id) === content(second, id));
}

function lastLineOf(run, result, id) {
  const lines = linesOf(run, result).filter((line) => line.example === id && line.stage === "fit" && !line.head);
  const last = lines.filter(({ step }) => step === lines[lines.length - 1].step);
  return last.find(({ role }) => role.includes("true")) || last[0];
}

// Weights of a modality: its UC and MI, or its importance.
function mapsOfLine(line, name) {
  const part = line.weights[name];
  if (!part) return [];
  if (line.result === "importance") return [["what each part adds", numbers(part.weights), part.r2]];
  return [["alone (UC)", numbers(part.uc), part.uc_r2], ["in interaction (MI)", numbers(part.mi), part.mi_r2]];
}

function sameExample(runs, result, id) {
  const lines = runs.map((run) => lastLineOf(run, result, id)), names = Object.keys(runs[0].examples[id].modalities);
  const limits = Object.fromEntries(names.map((name) => [name, limitOf(lines.flatMap((line) => mapsOfLine(line, name).map(([, weights]) => weights)))]));
  const column = (run, line) => el("div", { class: "same-run" }, el("h4", null, runBadge(run)),
    el("p", { class: "headline" }, `${outcomeOf(line)}, ${placeOf(line)} `, markOf(line)), el("p", { class: "note" }, `${outcomeText(line.output_name ?? line.output)}: ${splitWords(line)}`),
    names.map((name) => el("div", { class: "map-line" }, el("h5", null, name), el("div", { class: "map-grid" }, mapsOfLine(line, name).map(([title, weights, r2]) => comparedMap(title, run.examples[id].modalities[name], weights, limits[name], r2))))));
  return el("div", null, el("div", { class: "same" }, runs.map((run, i) => column(run, lines[i]))), el("p", { class: "note" }, "Both runs share the colours of a modality."));
}

function comparedMap(title, modality, weights, limit, r2) {
  if (r2 !== null && r2 !== undefined) return mapFigure(title, modality, weights, limit, r2);
  return titled(title, mapOf(modality, weights, limit));
}

function splitWords(line) {
  const [value, uc, mi, error] = aligned([line.value, line.uc, Math.abs(line.mi), INTERVAL * line.error]);
  const interval = Number.isFinite(line.error) ? ` (±\u00a0${error})` : "";
  return Number.isFinite(line.uc) ? `${value} = UC\u00a0${uc} ${line.mi < 0 ? "−" : "+"} MI\u00a0${mi}${interval}` : number(line.value);
}
