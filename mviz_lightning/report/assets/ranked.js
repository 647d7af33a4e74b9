// Examples ranked by what drives their predictions, and maps of each modality's effects by position.

const RANKED = 24; // examples in the table; the rest is in a fold
const SURE = 2; // smallest number of standard errors of a sure driver

section({
  id: "drivers", title: "What drives single examples", short: "Drivers",
  build: (run) => eachStage(run, "ranking", (stage) => rankingStage(run, stage)),
});

section({
  id: "positions", title: "Where each modality matters", short: "Positions",
  build: (run) => eachStage(run, "positions", (stage) => positionStage(run, stage)),
});

function rankingStage(run, stage) {
  const moments = momentsOf(stage.lines), slot = el("div"), show = (moment) => slot.replaceChildren(...rankingAt(run, moment.lines));
  const slider = momentSlider(moments, show);
  const keys = [...run.modalities.map((name) => [`${name} only`, `only_${name}`]), ["interaction", "interaction"], ["mixed", "mixed"]];
  const course = stageCourse(run, stage, "Fraction of examples that surely have this driver", keys,
    { moveTo: (step) => slider.choose(closestMoment(moments, { step, stage: "fit" })) }, { written: percent, range: [0, 1] });
  show(moments[lastOfTraining(moments)]);
  return [
    el("p", { class: "lead" }, "A driver's effect on the predicted output is at least twice as large as all others together. It is sure if it is 2 standard errors or more away from another driver."),
    course, slider.node, slot,
  ].filter(Boolean);
}

function rankingAt(run, lines) {
  const drivers = groupBy(lines, ({ driver }) => driver), all = `all ${lines.length}`, slot = el("div");
  const sure = (found) => found.filter(({ sureness }) => sureness >= SURE).length;
  const options = [["", all], ...[...drivers].map(([driver, found]) => [driver, `${driver}: ${found.length}, ${sure(found)} sure`])];
  const show = (driver) => slot.replaceChildren(...rankingTables(run, driver ? drivers.get(driver) : lines));
  show("");
  return [el("div", { class: "controls" }, radios("driver", options, "", show)), slot];
}

function rankingTables(run, lines) {
  const names = Object.keys(lines[0].effects), order = [...lines].sort((a, b) => b.sureness - a.sureness);
  const limit = limitOf([lines.flatMap((line) => [...Object.values(line.effects), line.interaction])]);
  const cell = (value, error) => el("td", { class: "effect" }, weightBar(value, limit), el("span", null, `${signed(value, 2)} ± ${number(INTERVAL * error, 2)}`));
  const row = (line) => el("tr", null, el("th", { scope: "row" }, thumb(run, line.example, null)), el("td", null, line.driver, el("small", null, line.sureness >= SURE ? `sure (${number(line.sureness, 2)} errors)` : "not sure")),
    el("td", null, outcomeText(line.output_name ?? line.output), el("small", null, [Number.isFinite(line.value) && number(line.value), `target ${outcomeText(line.target_name ?? line.target)}`].filter(Boolean).join("; "))),
    names.map((name) => cell(line.effects[name], line.errors[name])), cell(line.interaction, line.interaction_error));
  const head = ["example", "driver", "output", ...names, "interaction"].map((name) => el("th", { scope: "col" }, name));
  const rows = (part) => el("div", { class: "table", tabindex: 0, role: "region", "aria-label": "examples by what drives them" },
    el("table", { class: "ranking" }, el("thead", null, el("tr", null, head.map((cellOfHead) => cellOfHead.cloneNode(true)))), el("tbody", null, part.map(row))));
  return [rows(order.slice(0, RANKED)), order.length > RANKED && fold(`${order.length - RANKED} more`, () => rows(order.slice(RANKED)))].filter(Boolean);
}

// ---- positions

function positionStage(run, stage) {
  const explorer = exampleExplorer(run, stage, (lines, example) => positionsOf(run, lines[0], example));
  return [
    el("p", { class: "lead" }, "How far the outputs move at each position when a modality is taken from other examples, as a share of their mean variance. Darker: further."),
    explorer.node,
  ];
}

function positionsOf(run, line, example) {
  const effects = numbers(line.effects), most = limitOf(effects);
  const input = example ? Object.values(example.modalities).find(({ view }) => view && view.view === "picture") : null;
  const lattice = (title, values, colorOf, said) => titled(title, latticeDrawing(line.shape, values, colorOf, said));
  const classes = [["target", line.labels], ["predicted", line.decisions]].filter(([, values]) => values);
  const head = run.heads.find(({ name }) => name === (line.head || "")) || {}, named = (value) => (value === -100 ? "no label" : (head.class_names || [])[value] ?? String(value));
  return el("div", null, el("div", { class: "map-grid" }, input && inputFigure(input),
    line.modalities.map((name, i) => lattice(name, effects[i], (value) => heat(value / most), (value) => number(value))),
    classes.map(([title, values]) => lattice(title, numbers(values), classColor, named))), classes.length > 0 && barLegend(classesIn(classes).map((value) => ({ name: named(value), color: classColor(value) }))), effectBar(most));
}

function classColor(value) {
  return value < 0 ? "var(--neutral)" : seriesStyle(value).color;
}

function classesIn(maps) {
  return unique(maps.flatMap(([, values]) => numbers(values))).sort((a, b) => a - b).slice(0, 24);
}

function effectBar(most) {
  return el("div", { class: "colour-bar" }, el("span", null, "0"), el("span", { class: "gradient", style: { background: `linear-gradient(90deg, ${[0, 0.5, 1].map(heat).join(", ")})` } }), el("span", null, number(most, 2)));
}

function latticeDrawing(shape, values, colorOf, said) {
  const columns = shape[shape.length - 1], rows = values.length / columns, groups = groupBy(values.map((value, i) => [colorOf(value), i]), ([color]) => color);
  const box = ([, i]) => `M${i % columns} ${Math.floor(i / columns)}h1v1h-1z`, status = el("output", { class: "bar-said" }, `${rows} × ${columns} positions`);
  const plot = svg("svg", { class: "lattice", viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", role: "img", "aria-label": `map of ${rows} by ${columns} positions`, "shape-rendering": "crispEdges",
    onpointermove: (event) => {
      const area = event.currentTarget.getBoundingClientRect(), at = (px, size, n) => Math.max(0, Math.min(n - 1, Math.floor((px / size) * n)));
      const row = at(event.clientY - area.top, area.height, rows), column = at(event.clientX - area.left, area.width, columns);
      status.textContent = `row ${row + 1}, column ${column + 1}: ${said(values[row * columns + column])}`;
    } }, [...groups].map(([color, found]) => svg("path", { d: found.map(box).join(""), style: { fill: color } })));
  return [plot, status];
}
