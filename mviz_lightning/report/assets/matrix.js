// A matrix of segments as a heat map: names at the side, values by pointer and arrow keys.
//
// heatMatrix({ rows, columns, values, row, column }, limit, onChoose)   { node, choose(i, k) }; onChoose(i, k) when a
//                                       cell is chosen by pointer, key or choose; row and column name the modalities

const MATRIX = { name: 110, cell: 26, least: 9, named: 26, below: 84 }; // px: names, cells, a name below each column

function heatMatrix(grid, limit, onChoose) {
  const state = { row: 0, column: 0, drawn: null };
  const { rows, columns, values } = grid;
  const said = el("output", { class: "matrix-said", role: "status" });
  const plot = el("div", {
    class: "matrix", tabindex: 0, role: "application", "aria-roledescription": "heat map",
    "aria-label": `${grid.row} by ${grid.column}: ${rows.length} rows, ${columns.length} columns; arrow keys read its cells`,
  });
  const choose = (row, column) => {
    Object.assign(state, { row, column });
    said.textContent = pairWords(grid, row, column);
    if (state.drawn) state.drawn.mark(row, column);
    onChoose(row, column);
  };
  onWidth(plot, (width) => {
    state.drawn = matrixDrawing(grid, limit, width);
    plot.replaceChildren(state.drawn.node);
    state.drawn.mark(state.row, state.column);
  });
  listenToMatrix(plot, state, values, choose);
  return { node: el("div", { class: "matrix-frame" }, el("p", { class: "matrix-axes" }, `${grid.row} ↓ × ${grid.column} →`), plot, said), choose };
}

function listenToMatrix(plot, state, values, choose) {
  const rows = values.length, columns = values[0].length, inside = (at, n) => Math.max(0, Math.min(n - 1, at));
  const hovered = (event) => {
    const cell = state.drawn && state.drawn.cellAt(event.clientX, event.clientY);
    if (cell && (cell[0] !== state.row || cell[1] !== state.column)) choose(...cell);
  };
  plot.addEventListener("pointermove", hovered);
  plot.addEventListener("pointerdown", hovered);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -columns], End: [0, columns] }[event.key];
    if (!move) return;
    event.preventDefault();
    choose(inside(state.row + move[0], rows), inside(state.column + move[1], columns));
  });
}

function matrixDrawing({ rows, columns, values }, limit, width) {
  const left = Math.min(MATRIX.name, Math.max(24, ...rows.map((name) => textWidth(name) + 8)), width / 3);
  const wide = Math.min(56, (width - left - 2) / columns.length), tall = Math.max(MATRIX.least, Math.min(MATRIX.cell, 420 / rows.length));
  const named = wide >= 14 && columns.length <= MATRIX.named, below = named ? MATRIX.below : 22, height = rows.length * tall;
  const at = (row, column) => [left + column * wide, row * tall];
  const marker = svg("rect", { class: "cell-mark", width: wide, height: tall });
  const node = svg("svg", { width, height: height + below, "aria-hidden": "true" },
    matrixCells(values, limit, at, wide, tall), matrixNames(rows, columns, { left, wide, tall, height, named }), marker);
  const cellAt = (x, y) => {
    const box = node.getBoundingClientRect(), row = Math.floor((y - box.top) / tall), column = Math.floor((x - box.left - left) / wide);
    if (row < 0 || row >= rows.length || column >= columns.length) return null;
    return [row, column < 0 ? strongestOf(values[row]) : column];
  };
  return { node, cellAt, mark: (row, column) => { const [x, y] = at(row, column); marker.setAttribute("x", x); marker.setAttribute("y", y); } };
}

function strongestOf(weights) {
  return weights.reduce((best, weight, i) => (Math.abs(weight) > Math.abs(weights[best]) ? i : best), 0);
}

// One path for each of a few shades, so a large matrix needs only a few elements.
function matrixCells(values, limit, at, wide, tall) {
  const shades = new Map(), gap = Math.min(wide, tall) > 6 ? 1 : 0;
  values.forEach((row, i) => row.forEach((weight, k) => {
    const shade = Math.round(20 * Math.max(-1, Math.min(1, (weight || 0) / limit))), [x, y] = at(i, k);
    const box = `M${x.toFixed(1)} ${y.toFixed(1)}h${(wide - gap).toFixed(1)}v${(tall - gap).toFixed(1)}h${(gap - wide).toFixed(1)}z`;
    shades.set(shade, (shades.get(shade) || "") + box);
  }));
  return svg("g", null, [...shades].map(([shade, d]) => svg("path", { d, style: { fill: heat(shade / 20) } })));
}

function matrixNames(rows, columns, { left, wide, tall, height, named }) {
  const every = Math.ceil(11 / tall), text = (attributes, name, width) => svg("text", { class: "tick", ...attributes }, svg("title", null, name), shorten(name, width));
  const side = rows.map((name, i) => i % every === 0 && text({ x: left - 6, y: (i + 0.5) * tall + 4, "text-anchor": "end" }, name, left - 8));
  const under = (name, i) => {
    const x = left + (i + 0.5) * wide + 4, y = height + 8;
    return text({ x, y, "text-anchor": "end", transform: `rotate(-55 ${x} ${y})` }, name, MATRIX.below);
  };
  const ends = [[0, "start"], [columns.length - 1, "end"]].map(([i, anchor]) => text({ x: left + (i + (i ? 1 : 0)) * wide, y: height + 16, "text-anchor": anchor }, columns[i], 160));
  return svg("g", null, side, named ? columns.map(under) : ends);
}
