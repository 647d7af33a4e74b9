// One example over the training: a slider over the checks, the parts of its output, maps of UC and MI, and their curve.

const STEP_TIME = 650; // ms between two checks while it plays

function exampleView(run, item) {
  const view = { run, item, at: item.moments.length - 1, follow: keysOf(item.last)[0], scale: "training", timer: null };
  view.parts = {
    title: el("div", { class: "example-title" }),
    sum: el("p", { class: "sum", "aria-live": "polite" }),
    controls: el("div", { class: "controls" }),
    maps: el("div", { class: "maps" }),
    place: el("output", { class: "place" }),
  };
  view.chart = lineChart({ ...curveOf(view), onMove: (x) => moveTo(view, placesOfMoments(view).indexOf(x)) });
  view.slider = el("input", {
    type: "range",
    min: 0,
    max: Math.max(1, item.moments.length - 1),
    step: 1,
    value: view.at,
    class: "slider",
    hidden: item.moments.length < 2,
    "aria-label": "Check of the training",
    disabled: item.moments.length < 2,
    oninput: () => moveTo(view, Number(view.slider.value)),
  });
  moveTo(view, view.at);
  const { title, sum, controls, maps } = view.parts;
  return el(
    "div",
    null,
    title,
    playerOf(view),
    controls,
    sum,
    maps,
    el("h4", null, "Over the training"),
    view.chart.node,
  );
}

// ---- what is shown

// The keys by which an output is followed over the training: its roles, or its number without a role.
function keysOf({ role, output, region }) {
  const roles = role === "output" ? [`output ${output}`] : String(role).split(" and ");
  return roles.map((one) => (region ? `${one}, ${region}` : one));
}

function lineAt({ item, follow }, at) {
  return item.moments[at].find((line) => keysOf(line).includes(follow));
}

function shownLine(view) {
  return lineAt(view, view.at) || view.item.moments[view.at][0];
}

function placesOfMoments({ item }) {
  return placesOf(
    item.moments.map(([line]) => line),
    "epoch",
  );
}

function moveTo(view, at) {
  view.at = Math.max(0, Math.min(view.item.moments.length - 1, at));
  view.slider.value = view.at;
  view.chart.moveTo(placesOfMoments(view)[view.at]);
  drawExample(view);
}

function drawExample(view) {
  const { parts, item, slider } = view,
    line = shownLine(view),
    held = parts.controls.contains(document.activeElement);
  parts.place.textContent = placeOf(line);
  parts.title.replaceChildren(...titleOf(item, line));
  parts.sum.replaceChildren(...sumWords(line));
  parts.controls.replaceChildren(...viewControls(view));
  parts.maps.replaceChildren(...mapRows(view, line));
  slider.setAttribute("aria-valuetext", `${placeOf(line)}: ${parts.sum.textContent}`);
  if (held) parts.controls.querySelector("input:checked, select")?.focus({ preventScroll: true });
}

function titleOf(item, line) {
  const made = line.predicted_name ?? valueText(line.predicted),
    wanted = line.target_name ?? valueText(line.target);
  const sure = Number.isFinite(line.probability) ? ` (${percent(line.probability)})` : "",
    right = isRight(line);
  return [
    el("h3", null, `Example ${item.id}`),
    el(
      "p",
      null,
      made && ["predicted ", el("b", null, cut(made)), sure],
      made && wanted && ", ",
      wanted && ["target ", el("b", null, cut(wanted))],
      right !== null && el("span", { class: right ? "badge right" : "badge wrong" }, right ? "✓ right" : "✗ wrong"),
    ),
    line.note && el("p", { class: "muted" }, line.note),
  ].filter((part) => part);
}

function sumWords(line) {
  const [value, uc, mi, error] = aligned([line.value, line.uc, Math.abs(line.mi), INTERVAL * line.error]);
  const name = line.output_name ?? (Number.isInteger(line.output) ? `output ${line.output}` : "output");
  return [
    cut(name),
    " ",
    el("b", null, value),
    " = ",
    el("b", { class: "uc" }, uc),
    ` each alone (UC) ${line.mi < 0 ? "−" : "+"} `,
    el("b", { class: "mi" }, mi),
    " only together (MI)",
    Number.isFinite(line.error) ? el("span", { class: "muted" }, ` ± ${error} (95 %)`) : "",
  ];
}

// ---- controls

function viewControls(view) {
  const lines = view.item.moments[view.at],
    current = shownLine(view);
  const options = lines.map((line) => [
    line,
    `${line.output_name ?? `output ${line.output}`} (${[line.role, line.region].filter((word) => word && word !== "output").join(", ") || "output"})`,
  ]);
  const choose = (line) => {
    view.follow = keysOf(line)[0];
    view.chart.update(curveOf(view));
    moveTo(view, view.at);
  };
  const few = options.length <= 3,
    outputs = options.length > 1 && (few ? radios : picker)("Output that is explained", options, current, choose);
  const scale = (value) => {
    view.scale = value;
    drawExample(view);
  };
  return [
    outputs,
    el("span", { class: "push" }),
    view.item.moments.length > 1 &&
      radios(
        "Range of the colours",
        [
          ["training", "Colours of the training"],
          ["check", "of this check"],
        ],
        view.scale,
        scale,
      ),
  ].filter((part) => part);
}

function playerOf(view) {
  const last = view.item.moments.length - 1,
    still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const play = el(
    "button",
    { type: "button", class: "quiet", hidden: still || last < 1, "aria-label": "Play the training" },
    "▶",
  );
  const stop = () => {
    clearInterval(view.timer);
    view.timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play the training");
  };
  const next = () => (view.at >= last || !play.isConnected ? stop() : moveTo(view, view.at + 1));
  play.addEventListener("click", () => {
    if (view.timer) return stop();
    if (view.at >= last) moveTo(view, 0);
    Object.assign(view, { timer: setInterval(next, STEP_TIME) });
    play.textContent = "❚❚";
    return play.setAttribute("aria-label", "Pause");
  });
  const to = (step, label, text) =>
    el(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-label": label,
        hidden: last < 1,
        onclick: () => moveTo(view, view.at + step),
      },
      text,
    );
  return el(
    "div",
    { class: "player" },
    play,
    to(-1, "Check before", "‹"),
    view.slider,
    to(1, "Next check", "›"),
    view.parts.place,
  );
}

// ---- the curve

function curveOf(view) {
  const { moments } = view.item,
    xs = placesOfMoments(view),
    found = moments.map((_, at) => lineAt(view, at) || {});
  const values = (field) => found.map((line) => line[field] ?? NaN);
  const bound = (field, sign) => found.map((line) => (line[field] ?? NaN) + sign * INTERVAL * (line.error ?? NaN));
  const line = (name, field, style, banded) => ({
    name,
    xs,
    ys: values(field),
    ...style,
    ...(banded && found.some(({ error }) => Number.isFinite(error))
      ? { lows: bound(field, -1), highs: bound(field, 1) }
      : {}),
  });
  return {
    label: `Output, UC and MI of example ${view.item.id} over the training`,
    xTitle: "epoch",
    height: 210,
    range: [0, 0],
    placeWritten: (x) => placeOf(moments[xs.indexOf(x)][0]),
    lines: [
      line("output", "value", { color: "var(--ink)", dash: "2 3" }),
      line("alone (UC)", "uc", seriesStyle(0), true),
      line("together (MI)", "mi", { color: "var(--series-1)", dash: "7 4" }, true),
    ],
  };
}
