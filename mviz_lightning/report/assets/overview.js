// What the model uses: the verdict tiles, the curves over the training, alarms and notes.

section({
  id: "use", title: "What the model uses",
  build(run) {
    const records = run.checks, places = placesOf(records, "epoch");
    const lines = run.modalities.map((name, i) => lineOf(records, places, name, `total/${name}`, "", i));
    return lineChart({ label: "Total effects", lines, xTitle: "epoch", yTitle: "Total effect", written: percent, range: [0, 1] }).node;
  },
});
