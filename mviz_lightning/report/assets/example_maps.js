// The maps of one example at one check: a row for each modality, with UC and MI side by side.

const INPUT_SHOWN = ["picture", "boxes", "lines", "graph"]; // views with a column for the input; words show it anyway

// The largest weight of a modality in UC and MI: over the training, so that maps of all checks compare, or of this check.
function limitNow(view, name) {
  const { scale, at, follow, item } = view,
    ofCheck = scale === "check";
  const key = JSON.stringify([name, follow, ofCheck ? at : null]);
  const lines = ofCheck ? [shownLine(view)] : item.moments.map((_, i) => lineAt(view, i)).filter((line) => line);
  view.limits = view.limits || new Map();
  if (!view.limits.has(key)) view.limits.set(key, limitOf(lines.flatMap((line) => weightLists(line, name))));
  return view.limits.get(key);
}

function weightLists({ weights }, name) {
  const found = weights && ownOf(weights, name);
  return found ? [numbers(found.uc), numbers(found.mi)] : [];
}

const MOST_ROWS = 6; // modalities whose maps are drawn at once

function mapRows(view, line) {
  const sized = Object.entries(line.weights || {}).map(([name, found]) => [
    name,
    found,
    sumOf([numbers(found.uc), numbers(found.mi)]),
  ]);
  const few = sized.length <= MOST_ROWS,
    order = few ? sized : sized.sort((a, b) => b[2] - a[2]);
  const shown = order
    .slice(0, few || view.all ? order.length : MOST_ROWS)
    .map(([name, found]) => mapRow(view, name, found));
  const rest = order.length - shown.length,
    all = () => {
      view.all = true;
      drawExample(view);
    };
  return rest
    ? [
        ...shown,
        el("button", { type: "button", class: "quiet", onclick: all }, `Show ${rest} modalities with smaller weights`),
      ]
    : shown;
}

function mapRow(view, name, { uc, mi, uc_r2: ucTrust, mi_r2: miTrust }) {
  const [alone, together] = [numbers(uc), numbers(mi)],
    limit = limitNow(view, name);
  const modality = withSegments(view.item.example.modalities[name], alone.length),
    shape = modality.view || {};
  const input = INPUT_SHOWN.includes(shape.view) && hasInput(shape);
  return el(
    "div",
    { class: "map-row" },
    el(
      "div",
      { class: "map-head" },
      el("h4", null, cut(name), modality.baseline && el("span", { class: "muted" }, ` masked: ${modality.baseline}`)),
      colourBar(limit, "the output"),
    ),
    el(
      "div",
      { class: input ? "map-columns three" : "map-columns" },
      input && mapFigure("input", modality, null, 1, NaN),
      mapFigure("alone (UC)", modality, alone, limit, ucTrust),
      mapFigure("together (MI)", modality, together, limit, miTrust),
    ),
  );
}

function hasInput(view) {
  return Boolean(pictureSource(view) || view.values || view.nodes);
}

// A modality with a name for each segment, also if the line of the example is lost.
function withSegments(modality = {}, n) {
  const names = modality.segments || [];
  return {
    ...modality,
    segments: Array.from({ length: Math.max(n, names.length) }, (_, i) => names[i] ?? `segment ${i + 1}`),
  };
}
