// Starts the page: reads the data, draws the header, the choice of the run and all sections.

function hasValues(record) {
  return Object.keys(record.values).length > 0;
}

// A run for the sections: the lines of its files, and values that several sections read.
function prepareRun(raw, index, all) {
  const { description, history } = raw;
  const measured = history.filter(hasValues);
  const trained = history.filter((record) => record.stage === "fit"),
    checks = trained.some(hasValues) ? trained : measured;
  const fromKeys = unique(
    measured.flatMap((record) =>
      Object.keys(record.values)
        .filter((key) => key.startsWith("total/"))
        .map((key) => key.slice("total/".length)),
    ),
  );
  const declared = (description.modalities || []).map(({ name }) => name);
  const heads =
    description.heads || unique(["", ...measured.flatMap((record) => record.heads || [])]).map((name) => ({ name }));
  const explanations = linesFrom(raw.explanations);
  return {
    ...raw,
    explanations,
    index,
    alone: all.length === 1,
    checks,
    measured,
    modalities: declared.length ? declared : fromKeys,
    heads,
    byResult: groupBy(explanations, (line) => line.result),
  };
}

// The lines of explanations.jsonl, from tables whose fields are named once.
function linesFrom(tables) {
  const lines = [];
  for (const { same, fields, rows, at } of tables) {
    rows.forEach((row, i) => {
      const line = (lines[at[i]] = { ...same });
      fields.forEach((name, k) => {
        line[name] = row[k];
      });
    });
  }
  return lines;
}

// All lines of one kind of result ("dime", "importance", ...), in the order in which they were written.
function linesOf(run, result) {
  return run.byResult.get(result) || [];
}

// ---- the page

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function dateOf(iso) {
  const date = new Date(iso || "");
  if (Number.isNaN(date.getTime())) return "";
  const two = (n) => String(n).padStart(2, "0");
  return `${date.getDate()} ${MONTHS[date.getMonth()]} ${date.getFullYear()}, ${two(date.getHours())}:${two(date.getMinutes())}`;
}

// The time of a run; the day is written once if the run ended on the day of its start.
function timeOf({ started, finished }) {
  const [from, to] = [dateOf(started), dateOf(finished)];
  if (!from) return "";
  if (!to) return `started ${from}, not finished`;
  const [day, clock] = to.split(", ");
  return `${from} to ${from.startsWith(`${day},`) ? clock : to}`;
}

function headerOf(page, runs, chosen) {
  const { description, name } = chosen,
    model = description.model || {};
  const facts = [
    model.class && `${model.class}${model.parameters ? `, ${count(model.parameters, "parameter")}` : ""}`,
    chosen.modalities.length &&
      `${count(chosen.modalities.length, "modality", "modalities")}: ${chosen.modalities.slice(0, 6).join(", ")}`,
    count(chosen.checks.length, "check"),
    timeOf(description),
  ];
  const versions = Object.entries(description.versions || {}).filter(([, version]) => version);
  return [
    el("h1", null, runs.length > 1 ? runs.map((run) => run.name).join(" and ") : name),
    el(
      "div",
      { class: "facts" },
      facts.filter((fact) => fact).map((fact) => el("span", null, fact)),
    ),
    versions.length > 0 &&
      fold("Versions", () =>
        el(
          "p",
          { class: "facts" },
          versions.map(([what, version]) => el("span", null, `${what} ${version}`)),
        ),
      ),
  ].filter((part) => part);
}

function themeButton() {
  const button = el("button", { type: "button", class: "quiet theme" });
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    changeTheme();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  return button;
}

function barOf(runs, chosen, nodes, choose) {
  const links = nodes.map((node) => el("a", { href: `#${node.id}` }, node.dataset.short));
  return el(
    "div",
    { class: "inner" },
    el("nav", { "aria-label": "Sections" }, links),
    runs.length > 1 &&
      el(
        "div",
        { class: "run-choice", role: "region", "aria-label": "Run that is shown" },
        radios(
          "run",
          runs.map((run) => [run, run.name]),
          chosen,
          choose,
        ),
      ),
    themeButton(),
  );
}

function buildSections(page, runs, chosen) {
  return sections
    .map((described) => {
      const body = attempt(() => described.build(described.whole ? runs : chosen, page));
      const heading = el(
        "h2",
        { id: `${described.id}-title`, class: described.unseen ? "unseen" : null },
        described.title,
      );
      return (
        body &&
        el(
          "section",
          { id: described.id, "aria-labelledby": heading.id, "data-short": described.short || described.title },
          heading,
          body,
        )
      );
    })
    .filter((node) => node);
}

// Marks, in the bar, the section that is being read.
function followReading(nodes, bar) {
  const links = new Map(nodes.map((node) => [node, bar.querySelector(`a[href="#${node.id}"]`)]));
  const watcher = new IntersectionObserver(
    (entries) => entries.forEach(({ target, isIntersecting }) => mark(links.get(target), isIntersecting)),
    { rootMargin: "-20% 0px -75% 0px" },
  );
  const mark = (link, on) => (on ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));
  nodes.forEach((node) => watcher.observe(node));
}

function showRun(page, runs, chosen) {
  const nodes = buildSections(page, runs, chosen);
  document.getElementById("top").replaceChildren(...headerOf(page, runs, chosen));
  document.getElementById("content").replaceChildren(...nodes);
  const bar = document.getElementById("bar");
  bar.replaceChildren(
    barOf(runs, chosen, nodes, (run) => {
      showRun(page, runs, run);
      const again = bar.querySelector(".radios input:checked");
      if (again) again.focus({ preventScroll: true });
    }),
  );
  followReading(nodes, bar);
}

function openPage() {
  const page = JSON.parse(document.getElementById("data").textContent);
  const runs = page.runs.map(prepareRun);
  showRun(page, runs, runs[0]);
  (window.requestIdleCallback || setTimeout)(buildWhenIdle);
}

openPage();
