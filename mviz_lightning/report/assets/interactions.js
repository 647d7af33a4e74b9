// Cross-modal interactions: which part of one modality acts together with which part of the other.

const CONTEXTS = {
  1: "all else as it is",
  2: "averaged over two contexts: all other parts of both modalities present, and all masked",
  4: "averaged over four contexts: the other parts of each modality present or masked",
};
const CROSS_METHODS = { difference: "difference of masks", second_order: "second derivative" };
const FEW = 4; // largest number of choices that are all visible at once
const PAIRS = 8; // pairs of parts that are listed in words

section({
  id: "interactions", title: "What acts together", short: "Interactions",
  build: (run) => linesOf(run, "cross_modal").some(({ pairs }) => pairs.length) && eachStage(run, "cross_modal", (stage) => interactionStage(run, stage)),
});

function interactionStage(run, stage) {
  const explorer = exampleExplorer(run, stage, (lines, example) => interactionsOf(lines, example));
  const pairs = unique(stage.lines.flatMap((line) => (line.pairs || []).map(({ first, second }) => `${first}+${second}`)));
  const course = stageCourse(run, stage, "Sum of absolute interactions", pairs.map((pair) => [pair, `total/${pair}`]), explorer);
  return [
    el("p", { class: "lead" }, "Effect of two parts together, beyond their single effects. Red raises the output, blue lowers it."),
    explorer.node,
    course && [el("h3", null, "Over the training"), el("p", { class: "lead" }, "Sum of absolute weights over all pairs of parts, mean over the examples."), course],
  ].flat().filter(Boolean);
}

function interactionsOf(lines, example) {
  if (!lines.some(({ pairs }) => pairs.length)) return empty("No pair of modalities was measured here.");
  const words = (line, pair) => [lines.length > 1 && outputTitle(line), line.pairs.length > 1 && `${pair.first} × ${pair.second}`].filter(Boolean).join(", ");
  const options = lines.flatMap((line, i) => line.pairs.map((pair, k) => [`${i}/${k}`, words(line, pair)]));
  const slot = el("div");
  if (!options.length) return empty("No pair of modalities was measured here.");
  const show = (value) => {
    const [i, k] = value.split("/").map(Number);
    slot.replaceChildren(pairView(lines[i].pairs[k], example));
  };
  show(options[0][0]);
  const choose = options.length > FEW ? picker("Output and pair", options, options[0][0], show) : radios("output and pair of modalities", options, options[0][0], show);
  return el("div", null, lines.length === 1 && el("p", { class: "share-title" }, outputTitle(lines[0])), options.length > 1 && el("div", { class: "controls" }, choose), slot);
}

// A pair of modalities with a row for each part of the one with fewer parts, as nested lists.
function turned(pair, example) {
  const weights = numbers(pair.weights), names = (name, n) => segmentNames(example, name, n);
  const wide = (weights[0] || []).length >= weights.length;
  const flipped = (weights[0] || []).map((_, v) => weights.map((row) => row[v]));
  const [rows, columns, values] = wide ? [pair.first, pair.second, weights] : [pair.second, pair.first, flipped];
  return { rows: names(rows, values.length), columns: names(columns, (values[0] || []).length), values, row: rows, column: columns };
}

function segmentNames(example, modality, n) {
  const found = example && example.modalities[modality];
  return Array.from({ length: n }, (_, i) => (found && found.segments[i]) || `${modality} ${i + 1}`);
}

function pairView(pair, example) {
  const grid = turned(pair, example), all = grid.values.flat(), floor = pair.floor || 0;
  if (!all.some((weight) => Math.abs(weight) > floor)) return el("div", null, empty(`No part of ${pair.first} acts together with a part of ${pair.second}.`), pairNote(pair, example));
  const limit = limitOf(grid.values), order = strongestCells(grid.values, floor), maps = el("div", { class: "map-grid together" });
  const matrix = heatMatrix(grid, limit, (row, column) => { drawTogether(maps, grid, example, limit, row, column); mark(row, column); });
  const list = pairList(grid, order, limit, matrix.choose);
  const mark = (row, column) => list.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", order[i][0] === row && order[i][1] === column));
  matrix.choose(...order[0]);
  return el("div", null, el("div", { class: "pair-view" }, el("div", null, matrix.node, colourBar(limit), maps), list), pairNote(pair, example));
}

function strongestCells(values, floor) {
  const cells = values.flatMap((row, i) => row.map((weight, k) => [i, k, Math.abs(weight)])).filter(([, , size]) => size > floor);
  return cells.sort((a, b) => b[2] - a[2]).slice(0, PAIRS);
}

function pairWords({ rows, columns, values }, row, column) {
  return `“${rows[row]}” × ${columns[column]}: ${signed(values[row][column], 2)}`;
}

function pairList(grid, order, limit, choose) {
  const item = ([row, column]) => el("li", null, el("button", {
    type: "button", class: "pair", "aria-pressed": "false", onclick: () => choose(row, column), onpointerenter: () => choose(row, column), onfocus: () => choose(row, column),
  }, el("span", { class: "pair-name" }, `“${grid.rows[row]}” × ${grid.columns[column]}`), weightBar(grid.values[row][column], limit), el("b", null, signed(grid.values[row][column], 2))));
  return el("div", { class: "pair-list" }, el("h3", { class: "small" }, "Strongest pairs"), el("ol", null, order.map(item)));
}

// The maps of both modalities: what each part adds together with the chosen part of the other.
function drawTogether(maps, grid, example, limit, row, column) {
  const inputs = example ? example.modalities : {};
  const figure = (name, weights, other) => inputs[name] && titled(`${name}, together with “${other}”`, mapOf(inputs[name], weights, limit));
  maps.replaceChildren(...[
    figure(grid.column, grid.values[row], grid.rows[row]),
    figure(grid.row, grid.values.map((values) => values[column]), grid.columns[column]),
  ].filter(Boolean));
}

function pairNote({ method, corners, reason, first, second }, example) {
  const context = method === "difference" ? CONTEXTS[corners] || "" : CONTEXTS[1];
  const by = `By ${CROSS_METHODS[method] || method}${context && `, ${context}`}${reason ? ` (${reason})` : ""}. `;
  return el("p", { class: "note" }, by, maskNote(example, [first, second]));
}
