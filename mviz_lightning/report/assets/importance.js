// Unimodal importance: what each part of an input adds to an output, on the input itself.

const ATTRIBUTIONS = {
  gradient: "gradient × input", integrated_gradients: "integrated gradients", occlusion: "occlusion", lime: "LIME",
  shap: "Shapley values",
};
const NOTABLE = 0.05; // gap from which on the page notes that weights do not add up; the same as in the pictures of the run
const LISTED = 5; // parts that are listed by name

section({
  id: "importance", title: "What each part adds", short: "Importance",
  build: (run) => eachStage(run, "importance", (stage) => importanceStage(run, stage)),
});

function importanceStage(run, stage) {
  const explorer = exampleExplorer(run, stage, (lines, example) => importanceOf(run, lines, example));
  const shares = run.modalities.map((name) => [name, `share/${name}`]);
  const course = stageCourse(run, stage, "Share of each modality in the importance of all parts", shares, explorer, { written: percent, range: [0, 1] });
  return [
    el("p", { class: "lead" }, "How each part moves the output, from what it is with all parts of its modality masked; the other modalities stay as they are. ",
      "Red raises the output, blue lowers it."),
    explorer.node,
    course && [el("h3", null, "Over the training"), el("p", { class: "lead" }, "Share of each modality in the sum of absolute weights, mean over the examples."), course],
  ].flat().filter(Boolean);
}

function importanceOf(run, lines, example) {
  const names = Object.keys(lines[0].weights);
  return el("div", null, importanceTotals(run, lines, names), names.map((name) => importanceRow(lines, example, name)), methodNote(lines, example, names));
}

function weightsOf(line, name) {
  return numbers(line.weights[name].weights);
}

function sizeOf(weights) {
  return weights.reduce((sum, weight) => sum + Math.abs(weight || 0), 0);
}

// One bar for each output: the share of each modality in the absolute weights.
function importanceTotals(run, lines, names) {
  const bar = (line) => {
    const sizes = names.map((name) => sizeOf(weightsOf(line, name))), all = sizes.reduce((a, b) => a + b, 0);
    const parts = names.map((name, i) => ({ name, share: all ? sizes[i] / all : 0, color: modalityColor(run, name) }));
    return el("div", { class: "share-line" }, el("span", { class: "share-title" }, outputTitle(line)), stackedShares(parts));
  };
  return el("div", { class: "share-lines" }, lines.map(bar));
}

function outputName({ output_name: name, output, role }) {
  return `${outcomeText(name ?? output)}${!role || role === "output" ? "" : ` (${role})`}`;
}

function outputTitle(line) {
  return `${outputName(line)}: ${number(line.value)}`;
}

function importanceRow(lines, example, name) {
  const modality = example && example.modalities[name];
  if (!modality) return null;
  const limit = limitOf(lines.map((line) => weightsOf(line, name)));
  const maps = lines.map((line) => importanceMap(line, name, modality, limit, lines.length > 1));
  const beside = lines.length === 1 && strongestParts(modality.segments, weightsOf(lines[0], name), limit);
  return el("div", { class: "map-line" }, el("h3", { class: "small" }, name), el("div", { class: "map-grid" }, inputFigure(modality), maps, beside && el("div", { class: "map" }, el("p", { class: "map-title beside" }, "strongest parts"), beside)), colourBar(limit));
}

function inputFigure(modality) {
  return titled("input", mapOf(modality, null));
}

function importanceMap(line, name, modality, limit, several) {
  const part = line.weights[name], weights = weightsOf(line, name), { words, trusted } = sumVerdict(part, weights);
  const figure = titled(outputName(line), mapOf(modality, words === "no effect" ? weights.map(() => 0) : weights, limit), words, trusted);
  if (several) figure.append(strongestParts(modality.segments, weights, limit) || "");
  return figure;
}

function sumVerdict({ r2, change, floor, method }, weights) {
  const scale = Math.max(Math.abs(change), sizeOf(weights)), sum = weights.reduce((a, b) => a + (b || 0), 0);
  if (!(scale > floor)) return { words: "no effect", trusted: true };
  if (r2 !== null && r2 !== undefined) return trustOf(r2);
  if (Math.abs(sum - change) <= NOTABLE * scale) return { words: `adds up to ${signed(change)}`, trusted: true };
  return { words: `adds up to ${signed(sum)}, not ${signed(change)}`, trusted: method === "occlusion" };
}

function strongestParts(segments, weights, limit) {
  const order = weights.map((_, i) => i).filter((i) => Math.abs(weights[i]) > 0);
  order.sort((a, b) => Math.abs(weights[b]) - Math.abs(weights[a]));
  if (!order.length || segments.length <= LISTED) return null;
  const row = (i) => el("li", null, cut(segments[i]), weightBar(weights[i], limit), el("b", null, signed(weights[i], 2)));
  return el("ol", { class: "strongest", "aria-label": "strongest parts" }, order.slice(0, LISTED).map(row));
}

function methodNote(lines, example, names) {
  const method = (part) => ATTRIBUTIONS[part.method] || part.method;
  const parts = names.map((name) => lines[0].weights[name]);
  const groups = groupBy(names.map((name, i) => ({ name, by: `${method(parts[i])}${parts[i].reason ? ` (${parts[i].reason})` : ""}` })), ({ by }) => by);
  const methods = [...groups].map(([by, found]) => (groups.size > 1 ? `${found.map(({ name }) => name).join(", ")} by ${by}` : by));
  const apart = lines.some((line) => names.some((name) => sumVerdict(line.weights[name], weightsOf(line, name)).words.includes(", not ")));
  return el("p", { class: "note" }, `Method: ${methods.join("; ")}. `, maskNote(example, names),
    apart && " “Adds up to a, not b”: b is what the parts add if they are masked all at once.");
}

function maskNote(example, names) {
  const baselines = names.map((name) => [name, example && example.modalities[name] && example.modalities[name].baseline]);
  const said = baselines.filter(([, baseline]) => baseline).map(([name, baseline]) => `${name}: ${baseline}`);
  return said.length ? `Masked parts become: ${said.join("; ")}.` : "";
}
