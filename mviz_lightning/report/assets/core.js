// Elements, numbers, colours, sections: helpers for all other files of the page. All files share one scope.
//
// el("p", { class: "note", onclick: f }, "text", node)  an HTML element; text is always text, never markup
// svg("path", { d: "..." })                             the same for SVG
// numbers(list or packed list)                          weights as plain (nested) lists; a missing value is NaN
// number(3.14159), signed(x), percent(0.25), between(low, high, percent)   numbers as text
// aligned([8.61, 7.86, 0.741])                          numbers that are read together, with the same decimals
// seriesStyle(i)                                        { color, dash } of the i-th curve
// section({ id, title, short, build(run) })             registers a section; build returns a node, or null for none;
//                                                       short is its name in the bar where the title is long.
//                                                       With whole: true it gets all runs as one list. The payload is the second argument.
// valueOf(record, "total/image", head), boundsOf(...)   a value of a record of the history, NaN if there is none
// placeOf(record)                                       "epoch 3 (step 120)"
// unique(list), groupBy(list, f)                        small helpers

const SVG = "http://www.w3.org/2000/svg";
const TRUSTED = 0.2; // R² from which on a map is trusted; the same as in the pictures of the run
const INTERVAL = 1.96; // standard errors from a value to each end of its 95 % interval
const sections = [];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function section(described) {
  sections.push(described);
}

function unique(list) {
  return [...new Set(list)];
}

function groupBy(list, keyOf) {
  const groups = new Map();
  for (const item of list) {
    const key = keyOf(item);
    if (groups.has(key)) groups.get(key).push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

// ---- numbers

function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

// "f16 <scale> <shape, as 6x4> <base64>" as nested lists; another text replaces a list that was too large to store.
function unpack(packed) {
  const [kind, scale, shape, data] = packed.split(" "),
    flat = [];
  if (kind !== "f16") return [];
  const bytes = atob(data);
  for (let i = 0; i < bytes.length; i += 2) {
    flat.push(scale * halfToNumber(bytes.charCodeAt(i) | (bytes.charCodeAt(i + 1) << 8)));
  }
  return shape.split("x").map(Number).slice(1).reduceRight(rowsOf, flat);
}

function rowsOf(list, size) {
  const rows = [];
  for (let i = 0; i < list.length; i += size) rows.push(list.slice(i, i + size));
  return rows;
}

function numbers(given) {
  if (given === null || given === undefined) return [];
  if (typeof given === "string") return unpack(given);
  return given.map((one) => (Array.isArray(one) ? numbers(one) : one === null ? NaN : one));
}

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-4) return minus(value.toExponential(1).replace("e+", "e"));
  return minus(value.toFixed(Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size))))));
}

// Numbers of one unit that are compared: all have the same number of decimals.
function aligned(values, digits = 3) {
  const largest = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
  if (largest >= 1e6 || (largest > 0 && largest < 1e-4)) return values.map((value) => number(value, digits));
  const decimals = largest ? Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(largest)))) : 0;
  return values.map((value) => (Number.isFinite(value) ? minus(value.toFixed(decimals)) : number(value)));
}

function minus(text) {
  return /^-0(\.0*)?$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

function signed(value, digits = 3) {
  return (value > 0 ? "+" : "") + number(value, digits);
}

function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const size = Math.abs(100 * share);
  return `${minus((100 * share).toFixed(size >= 9.95 || size < 0.05 ? 0 : 1))}\u00a0%`;
}

function between(low, high, written = number) {
  return Number.isFinite(low) && Number.isFinite(high)
    ? `${written(low).replace(/\u00a0%$/, "")} to ${written(high)}`
    : "";
}

// A whole number with a comma at the thousands.
function grouped(n) {
  return minus(String(n).replace(/\B(?=(\d{3})+$)/g, ","));
}

function count(n, one, many = `${one}s`) {
  return `${grouped(n)} ${n === 1 ? one : many}`;
}

// ---- values of the history

function headed(head, name) {
  return head ? `${head}/${name}` : name;
}

function valueOf(record, name, head = "") {
  const value = record ? record.values[headed(head, name)] : null;
  return value === null || value === undefined ? NaN : value;
}

function boundsOf(record, name, head = "") {
  const slash = name.indexOf("/");
  const bound = (side) => (slash < 0 ? `${name}_${side}` : `${name.slice(0, slash)}_${side}${name.slice(slash)}`);
  return [valueOf(record, bound("low"), head), valueOf(record, bound("high"), head)];
}

function placeOf(record) {
  return `epoch ${record.epoch} (step ${record.step})`;
}

// ---- colours

const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

function seriesStyle(index) {
  return { color: `var(--series-${index % 8})`, dash: DASHES[(index + Math.floor(index / 8)) % DASHES.length] };
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

const themeColors = new Map(); // results of themeColor since the last change of the theme

function themeColor(name) {
  if (!themeColors.has(name)) {
    themeColors.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  }
  return themeColors.get(name);
}

const redraws = new WeakMap(); // canvas -> function that draws it again; a canvas does not follow changes of the style

function onTheme(canvas, draw) {
  redraws.set(canvas, draw);
  draw();
}

function changeTheme() {
  themeColors.clear();
  for (const canvas of document.querySelectorAll("canvas")) redraws.get(canvas)?.();
}
