// Small parts of the page: controls, tables, folds, and what is built late.
//
// radios(label, [[value, "text"]], chosen, f)           real radio buttons; f(value) when another is chosen
// picker(label, [[value, "text"]], chosen, f)           a select
// table(caption, ["column"], [[cell]])                  cells are text, numbers (right-aligned) or nodes
// fold("summary", () => node)                           closed; built when it is opened
// empty("No labels were given.")                        the words of an empty state
// cut("text")                                           one line, with an ellipsis and a title where it is too long
// lazily(node, build)                                   calls build when the node comes near the window

let lastId = 0;

function newId(stem) {
  return `${stem}-${++lastId}`;
}

function radios(label, options, chosen, onChange) {
  const name = newId("choice");
  const button = ([value, text]) =>
    el(
      "label",
      { class: "radio" },
      el("input", { type: "radio", name, checked: value === chosen, onchange: () => onChange(value) }),
      el("span", null, text),
    );
  return el("fieldset", { class: "radios" }, el("legend", { class: "unseen" }, label), options.map(button));
}

function picker(label, options, chosen, onChange) {
  const choose = (event) => onChange(options[event.target.selectedIndex][0]);
  const list = el(
    "select",
    { onchange: choose },
    options.map(([, text]) => el("option", null, text)),
  );
  list.selectedIndex = Math.max(
    0,
    options.findIndex(([value]) => value === chosen),
  );
  return el("label", { class: "picker" }, el("span", null, label), list);
}

function table(caption, columns, rows) {
  const isNumber = (cell) => typeof cell === "number";
  const numeric = columns.map((_, i) => rows.some((row) => isNumber(row[i])));
  const kind = (i) => (numeric[i] ? "number" : null);
  const body = rows.map((row) =>
    el(
      "tr",
      null,
      row.map((cell, i) =>
        el(i ? "td" : "th", { scope: i ? null : "row", class: kind(i) }, isNumber(cell) ? number(cell) : cell),
      ),
    ),
  );
  const head = el(
    "tr",
    null,
    columns.map((name, i) => el("th", { scope: "col", class: kind(i) }, name)),
  );
  return el(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": caption },
    el("table", null, el("caption", { class: "unseen" }, caption), el("thead", null, head), el("tbody", null, body)),
  );
}

function fold(summary, build) {
  const body = el("div", { class: "fold-body" });
  const open = (event) => event.target.open && !body.firstChild && body.append(build());
  return el("details", { class: "fold", ontoggle: open }, el("summary", null, summary), body);
}

function empty(words) {
  return el("p", { class: "empty" }, words);
}

// A text that is cut if it is too long; its title has the whole text.
function cut(text, tag = "span") {
  return el(tag, { class: "cut", title: text }, text);
}

// The result of build; if it fails, a text about the failure, so that the rest of the page is shown.
function attempt(build) {
  try {
    return build();
  } catch (error) {
    console.error(error);
    return empty(`This part could not be drawn: ${error.message}`);
  }
}

// Calls build once: when the node comes near the window, when the browser has time, or before the page is printed.
const waiting = new Map();

function lazily(node, build) {
  waiting.set(node, build);
  nearby.observe(node);
}

function buildNow(node) {
  const build = waiting.get(node);
  waiting.delete(node);
  nearby.unobserve(node);
  if (build && node.isConnected) build();
}

const nearby = new IntersectionObserver(
  (entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => buildNow(entry.target));
  },
  { rootMargin: "400px" },
);

function buildWhenIdle() {
  const [node] = waiting.keys();
  if (node) buildNow(node);
  if (waiting.size) (window.requestIdleCallback || setTimeout)(buildWhenIdle);
}

addEventListener("beforeprint", () => [...waiting.keys()].forEach(buildNow));
