// Total effects within classes and subgroups, where they were measured: those that use a modality least come first.

function groupsOf(run) {
  const last = run.checks.filter(hasValues).pop();
  return ["class", "subgroup"].map((kind) => groupTable(run, last, kind));
}

function groupTable(run, record, kind) {
  const names = unique(
    Object.keys(record.values)
      .map((key) => key.match(`^${kind}/(.+)/total/`)?.[1])
      .filter((name) => name),
  );
  if (!names.length) return null;
  const totals = (name) => run.modalities.map((modality) => valueOf(record, `${kind}/${name}/total/${modality}`));
  const order = names.sort(
    (a, b) => Math.min(...totals(a).filter(Number.isFinite)) - Math.min(...totals(b).filter(Number.isFinite)),
  );
  const cell = (name, modality, i) => {
    const key = `${kind}/${name}/total/${modality}`,
      value = valueOf(record, key),
      [low, high] = boundsOf(record, key);
    return el(
      "div",
      { class: "share-cell" },
      shareBar(value, low, high, seriesStyle(i).color),
      el("span", null, `${percent(value)} `, el("span", { class: "muted" }, between(low, high, percent))),
    );
  };
  const rows = order.map((name) => [cut(name), ...run.modalities.map((modality, i) => cell(name, modality, i))]);
  return el(
    "div",
    { class: "outside" },
    el("h3", null, `By ${kind}, at the last check`),
    table(`Total effects within each ${kind}`, [kind, ...run.modalities], rows),
  );
}
