// Geometry of charts: scales, ticks, paths with gaps and bands, labels that do not overlap.
//
// ticks(low, high, about, integers)     round numbers between two values
// tickTexts(ticks)                      the same as text
// linear([low, high], [from, to])       a function from values to pixels
// linePath(points), bandPath(points)    paths through [x, y] or [x, low, high]; a NaN is a gap
// spread(wanted, gap, low, high)        places near the wanted ones that lie at least a gap apart
// textWidth(text), shorten(text, width) text of 12 px

function ticks(low, high, about = 5, integers = false) {
  if (!(high > low)) return [low];
  const rough = (high - low) / about,
    power = 10 ** Math.floor(Math.log10(rough));
  let step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  if (integers) step = Math.max(1, Math.ceil(step));
  const first = Math.ceil(low / step - 1e-9),
    last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// Ticks as text, with enough decimals to differ.
function tickTexts(values) {
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : Math.abs(values[0]) || 1;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const plain = step < 1e6 && decimals < 6;
  return values.map((value) => (!plain ? number(value) : decimals ? minus(value.toFixed(decimals)) : grouped(value)));
}

function linear([low, high], [from, to]) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

// The finite stretches of a list of points.
function stretches(points) {
  const found = [[]];
  for (const point of points) {
    if (point.every(Number.isFinite)) found[found.length - 1].push(point);
    else if (found[found.length - 1].length) found.push([]);
  }
  return found.filter((stretch) => stretch.length);
}

function through(points) {
  return points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
}

function linePath(points) {
  return stretches(points)
    .map((stretch) => `M${through(stretch)}`)
    .join("");
}

function bandPath(points) {
  return stretches(points)
    .filter((stretch) => stretch.length > 1)
    .map((stretch) => {
      const above = stretch.map(([x, , high]) => [x, high]),
        below = stretch.map(([x, low]) => [x, low]).reverse();
      return `M${through([...above, ...below])}Z`;
    })
    .join("");
}

function spread(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]);
  const placed = wanted.slice();
  let free = low;
  for (const i of order) free = (placed[i] = Math.max(placed[i], free)) + gap;
  let limit = high;
  for (const i of order.reverse()) limit = (placed[i] = Math.min(placed[i], limit)) - gap;
  return placed;
}

const ruler = document.createElement("canvas").getContext("2d");

function textWidth(text) {
  if (!ruler.measured) ruler.font = `600 12px ${getComputedStyle(document.body).fontFamily}`;
  ruler.measured = true;
  return ruler.measureText(text).width;
}

function shorten(text, width) {
  if (textWidth(text) <= width) return text;
  let kept = [...text];
  while (kept.length > 1 && textWidth(`${kept.join("")}…`) > width) kept = kept.slice(0, -1);
  return `${kept.join("").trimEnd()}…`;
}

function nearest(list, value) {
  return list.reduce((best, one) => (Math.abs(one - value) < Math.abs(best - value) ? one : best), list[0]);
}

// The smallest and the largest of the finite numbers of a list; null where there are none.
function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low && value > -Infinity) low = value;
    if (value > high && value < Infinity) high = value;
  }
  return high >= low ? [low, high] : null;
}

// The extent of numbers and of a given range, with a small margin if the numbers exceed the range.
function rangeOf(values, given = []) {
  const found = extent([...values, ...given]);
  if (!found) return [0, 1];
  const [low, high] = found,
    air = 0.04 * (high - low || Math.abs(high) || 1),
    [least, most] = extent(given) || [];
  return [low === least ? low : low - air, high === most ? high : high + air];
}
