// Names of lines: at their ends if there is room, otherwise in a legend. charts.js uses this file.

// Makes the other lines faint while the pointer is on the name of a line.
function pointedOut(i) {
  const mark = (on) => (event) => {
    const all = event.target.closest(".chart").querySelectorAll(".one-line");
    all.forEach((line, k) => line.classList.toggle("faint", on && k !== i));
  };
  return { onpointerenter: mark(true), onpointerleave: mark(false) };
}

function drawNames({ x, y, box }, lines) {
  const ends = lines.map((line) =>
    stretches(line.xs.map((at, i) => [x(at), y(line.ys[i])]))
      .flat()
      .pop(),
  );
  const shown = lines.map((_, i) => i).filter((i) => ends[i]);
  const wanted = shown.map((i) => Math.max(box.top, Math.min(box.bottom, ends[i][1])));
  const placed = spread(wanted, LINE_HEIGHT, box.top, box.bottom),
    from = box.right + 3;
  return shown.map((i, k) =>
    svg(
      "g",
      { style: { color: lines[i].color }, ...pointedOut(i) },
      Math.abs(placed[k] - wanted[k]) > 3 &&
        svg("path", { class: "leader", d: `M${from} ${wanted[k]}L${from + 7} ${placed[k]}` }),
      svg(
        "text",
        { class: "name", x: from + 10, y: placed[k] + 4 },
        svg("title", null, lines[i].name),
        shorten(lines[i].name, NAME_WIDTH),
      ),
    ),
  );
}

function swatch({ color, dash }) {
  const line = svg("line", { class: "line", x1: 0, x2: 22, y1: 4, y2: 4, "stroke-dasharray": dash || null });
  return svg("svg", { class: "swatch", width: 22, height: 8, "aria-hidden": "true", style: { color } }, line);
}

function drawLegend({ lines }, legend, direct) {
  legend.hidden = direct || lines.length < 2;
  const entry = (line, i) => el("span", { class: "entry", ...pointedOut(i) }, swatch(line), cut(line.name));
  legend.replaceChildren(...(legend.hidden ? [] : lines.map(entry)));
}
