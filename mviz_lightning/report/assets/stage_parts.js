// Common parts of the sections of the stages: lines of one explainer, choice of a moment and of an example.
//
// stagesOf(run, "importance")          [{ name, head, lines }]: a stage for each explainer and head
// eachStage(run, result, draw)         a node with draw(stage) for each; null where there are none
// momentsOf(lines)                     [{ key, label, epoch, step, lines }] in the order of the training
// momentSlider(moments, onChange)      { node, choose(i) }: a slider over moments; nothing for a single one
// exampleExplorer(run, stage, draw)    an example, a moment, and draw(lines, example, moment) at both; { node, moveTo(step) }
// stageCourse(run, stage, title, keys, explorer, range)   curves of a stage's scalars; a place moves the explorer there
// outcomeOf(line)                      "predicted symbols (0.99), target symbols", with a mark for right or wrong
// thumb(run, id, words)                a small picture of an example with its number; words where it has no picture
// titled(title, drawn, words, trusted)  a figure of a map; words stand below, and it is greyed where it is not trusted
// ownOf(object, key)                   a value under a key that may be any text, such as "constructor"
// modalityColor(run, name)             the colour of a modality on the whole page

const STAGES = ["fit", "validate", "test", "explain"];

function stagesOf(run, result) {
  const groups = groupBy(linesOf(run, result), (line) => JSON.stringify([line.method, line.head || ""]));
  return [...groups.values()].map((found) => ({ name: found[0].method, head: found[0].head || "", lines: found }));
}

function eachStage(run, result, draw) {
  const stages = stagesOf(run, result);
  if (!stages.length) return null;
  const title = ({ name, head }) => [name, head && `head ${head}`].filter(Boolean).join(", ");
  return el("div", null, stages.map((stage) => {
    const node = el("div", { class: "stage" }, stages.length > 1 && el("h3", null, title(stage)));
    lazily(node, () => node.append(attempt(() => el("div", null, draw(stage)))));
    return node;
  }));
}

function momentsOf(lines) {
  const groups = groupBy(lines, (line) => `${line.stage}/${line.step}/${line.epoch}`);
  const moments = [...groups].map(([key, found]) => {
    const { stage, epoch, step } = found[0];
    const place = `epoch ${epoch} (step ${step})`;
    return { key, label: stage === "fit" ? place : `${stage}, ${place}`, stage, epoch, step, lines: found };
  });
  return moments.sort((a, b) => STAGES.indexOf(a.stage) - STAGES.indexOf(b.stage) || a.step - b.step || a.epoch - b.epoch);
}

function momentSlider(moments, onChange) {
  const slider = el("input", { type: "range", min: 0, max: moments.length - 1, value: lastOfTraining(moments), "aria-label": "moment of the training" });
  const said = el("output", { class: "moment" });
  const show = (i) => {
    slider.value = i;
    slider.setAttribute("aria-valuetext", moments[i].label);
    said.textContent = moments[i].label;
  };
  const choose = (i) => { show(i); onChange(moments[i]); };
  slider.addEventListener("input", () => choose(Number(slider.value)));
  show(lastOfTraining(moments));
  return { node: el("div", { class: "moment-slider" }, moments.length > 1 && slider, said), choose };
}

// Whether a line is about one example; other lines are about all examples.
function hasExample(line) {
  return line.example !== null && line.example !== undefined;
}

// ---- an example at a moment

function exampleExplorer(run, stage, draw, { ownSlider = true } = {}) {
  const byExample = groupBy(stage.lines.filter(hasExample), (line) => line.example);
  const ids = [...byExample.keys()];
  const state = { id: ids[0], moment: null, slider: null, moments: [] };
  const content = el("div", { class: "explored" }), slot = el("div");
  const show = (moment) => {
    state.moment = moment;
    content.replaceChildren(headlineOf(moment.lines[0]), draw(moment.lines, run.examples[state.id], moment));
  };
  const choose = (id) => {
    const before = state.moment;
    Object.assign(state, { id, moments: momentsOf(byExample.get(id)) });
    state.slider = momentSlider(state.moments, show);
    slot.replaceChildren(...(ownSlider ? [state.slider.node] : []));
    state.slider.choose(before ? closestMoment(state.moments, before) : lastOfTraining(state.moments));
  };
  if (ids.length) choose(ids[0]);
  const node = ids.length ? el("div", { class: "explorer" }, exampleStrip(run, byExample, state.id, choose), slot, content)
    : el("div", { class: "explorer" });
  return { node, moveTo: (step, of = "fit") => ids.length && state.slider.choose(closestMoment(state.moments, { step, stage: of })) };
}

// The last moment of the training: checks of validate and test follow, and are chosen by hand.
function lastOfTraining(moments) {
  const last = moments.map(({ stage }) => stage).lastIndexOf("fit");
  return last < 0 ? moments.length - 1 : last;
}

function closestMoment(moments, { stage, step }) {
  const distance = (moment) => Math.abs(moment.step - step) + (moment.stage === stage ? 0 : 0.5);
  return moments.reduce((best, moment, i) => (distance(moment) < distance(moments[best]) ? i : best), moments.length - 1);
}

// Real radio buttons with pictures: arrow keys go through the examples.
function exampleStrip(run, byExample, chosen, onChange) {
  const name = newId("example");
  const card = ([id, lines]) => {
    const input = el("input", { type: "radio", name, checked: id === chosen, onchange: () => onChange(id) });
    return el("label", { class: "example-card" }, input, el("span", { class: "example-face" }, thumb(run, id, lines[lines.length - 1].target_name)));
  };
  return el("fieldset", { class: "example-strip" }, el("legend", { class: "unseen" }, "example"), [...byExample].map(card));
}

function thumb(run, id, words) {
  const example = run.examples[id];
  const shown = example && (thumbnail(example) || el("span", { class: "no-picture" }, wordsOf(run, example)));
  return el("span", { class: "thumb" }, shown, el("small", null, `#${id}`), words && cut(outcomeText(words), "small"));
}

// The words of an example instead of a picture; none if inputs are not stored.
function wordsOf(run, example) {
  return (run.description.show_inputs !== false && firstWords(example)) || "";
}

function outcomeText(found) {
  if (found === null || found === undefined) return "unknown";
  if (Array.isArray(found)) return found.length ? found.map(outcomeText).join(", ") : "none";
  return typeof found === "number" ? number(found) : String(found);
}

function outcomeOf(line) {
  const said = (name) => outcomeText(line[`${name}_name`] ?? line[name]);
  const sure = Number.isFinite(line.probability) ? ` (${line.probability.toFixed(2)})` : "";
  return `predicted ${said("predicted")}${sure}, target ${said("target")}`;
}

function rightOf({ predicted, target, probability }) {
  if (target === null || target === undefined || !Number.isFinite(probability)) return null;
  return JSON.stringify(predicted) === JSON.stringify(target);
}

function markOf(line) {
  const right = rightOf(line);
  if (right === null) return null;
  return el("span", { class: right ? "outcome right" : "outcome wrong" }, right ? "✓ right" : "✗ wrong");
}

function headlineOf(line) {
  return el("p", { class: "headline" }, el("strong", null, `Example ${line.example}`), `: ${outcomeOf(line)} `, markOf(line),
    line.region && el("span", { class: "note" }, ` ${line.region}`), line.note && el("span", { class: "note" }, ` ${line.note}`));
}

// ---- curves of a stage

function stageCourse(run, stage, label, keys, explorer = null, more = {}) {
  const full = (key) => `${stage.name}/${key}`;
  const measured = run.checks.filter((record) => keys.some(([, key]) => Number.isFinite(valueOf(record, full(key), stage.head))));
  if (measured.length < 2) return null;
  const places = placesOf(measured, "epoch");
  const lines = keys.map(([name, key, style], i) => ({ ...lineOf(measured, places, name, full(key), stage.head, i), ...style, lows: null, highs: null }));
  const at = (x) => measured[places.indexOf(x)] || measured[measured.length - 1];
  return lineChart({
    label, lines: lines.filter(({ ys }) => ys.some(Number.isFinite)), xTitle: "epoch", height: 220,
    placeWritten: (x) => placeOf(at(x)), onMove: explorer && ((x) => explorer.moveTo(at(x).step)), ...more,
  }).node;
}

function titled(title, drawn, words = "", trusted = true) {
  return el("figure", { class: trusted ? "map" : "map faded" }, el("figcaption", { class: "map-title" }, title), el("div", { class: "map-body" }, drawn), words && el("p", { class: "trust" }, words));
}

function ownOf(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

// ---- modalities

function modalityColor(run, name) {
  const place = run.modalities.indexOf(name);
  return place < 0 ? "var(--faint)" : seriesStyle(place).color;
}
