// Starts the page: reads the data, draws the header, the choice of the run and all sections.

// A run as the sections get it: the lines of its files, and what is read of them again and again.
function prepareRun(raw, index, all) {
  const { description, history } = raw;
  const measured = history.filter((record) => Object.keys(record.values).length);
  const checks = measured.filter((record) => record.stage === "fit");
  const fromKeys = unique(measured.flatMap((record) => Object.keys(record.values)
    .filter((key) => key.startsWith("total/")).map((key) => key.slice("total/".length))));
  const declared = (description.modalities || []).map(({ name }) => name);
  const heads = description.heads || unique(["", ...measured.flatMap((record) => record.heads || [])]).map((name) => ({ name }));
  return {
    ...raw, index, alone: all.length === 1, checks: checks.length ? checks : measured, measured,
    modalities: declared.length ? declared : fromKeys, heads, byResult: groupBy(raw.explanations, (line) => line.result),
  };
}

// All lines of one kind of result ("dime", "importance", ...), in the order in which they were written.
function linesOf(run, result) {
  return run.byResult.get(result) || [];
}

function buildSections(runs, chosen) {
  return sections.map((described) => {
    const body = described.build(described.whole ? runs : chosen);
    return body && el("section", { id: described.id, "aria-labelledby": `${described.id}-title` },
      el("h2", { id: `${described.id}-title` }, described.title), body);
  }).filter((node) => node);
}

function openPage() {
  const page = JSON.parse(document.getElementById("data").textContent);
  const runs = page.runs.map(prepareRun);
  document.getElementById("content").replaceChildren(...buildSections(runs, runs[0]));
}

openPage();
