// Alarms of a run: markers on the axis of the curves, a button for each, and the whole text of the open alarm.

// alarmPanel(run, state) -> { node, markers(places), show() }; state.head is the head that is shown.
function alarmPanel(run, state) {
  const text = el("div", { class: "alarm-text", "aria-live": "polite" }),
    list = el("div", { class: "alarm-list" });
  const node = el("div", { class: "alarms" }, list, text);
  let open = lasting(run);
  const show = () => {
    const shown = alarmsOf(run, state.head);
    node.hidden = !shown.length;
    if (!shown.includes(open)) open = null;
    list.replaceChildren(
      el("h3", null, "Alarms"),
      ...shown.map((alarm) => alarmButton(alarm, alarm === open, () => choose(alarm))),
    );
    text.replaceChildren(...(open ? alarmText(open) : []));
  };
  const choose = (alarm) => {
    open = alarm;
    show();
  };
  const markers = (places) =>
    alarmsOf(run, state.head).map((alarm) => ({
      x: placeOfAlarm(run, alarm, places, state.axis),
      name: `${alarm.title}, ${placeOf(alarm)}`,
      urgent: alarm.urgent,
      open: () => choose(alarm),
    }));
  return { node, markers, show };
}

function alarmsOf(run, head) {
  return run.alerts.filter((alarm) => alarm.stage === "fit" && (alarm.head || "") === head);
}

// The last alarm that has not ended: it is open when the page opens.
function lasting(run) {
  const latest = new Map(run.alerts.map((alarm) => [`${alarm.head || ""}/${alarm.modality}`, alarm]));
  return (
    [...latest.values()].filter((alarm) => alarm.urgent).pop() ||
    run.alerts.filter((alarm) => alarm.urgent).pop() ||
    null
  );
}

function placeOfAlarm(run, alarm, places, axis) {
  const at = run.checks.findIndex((record) => record.step === alarm.step);
  return at >= 0 ? places[at] : alarm[axis];
}

function alarmButton(alarm, isOpen, choose) {
  return el(
    "button",
    { type: "button", class: "quiet alarm-choice", "aria-pressed": String(isOpen), onclick: choose },
    el("span", { class: alarm.urgent ? "bad" : "muted", "aria-hidden": "true" }, alarm.urgent ? "▲" : "△"),
    cut(alarm.title),
    el("span", { class: "muted" }, `epoch ${alarm.epoch}`),
  );
}

// The text of an alarm: its first line, its evidence, and what to try as a list.
function alarmText({ text, urgent }) {
  const [headline, ...lines] = text.split("\n").filter((line) => line.trim()),
    advice = lines.findIndex((line) => /^What to try/.test(line));
  const evidence = advice < 0 ? lines : lines.slice(0, advice),
    rest = advice < 0 ? [] : lines.slice(advice + 1);
  const isItem = (line) => /^\s+- /.test(line),
    item = (line) => el("li", null, line.trim().replace(/^- /, ""));
  return [
    el("p", { class: urgent ? "headline bad" : "headline" }, headline),
    el("ul", null, evidence.map(item)),
    rest.length > 0 && el("h4", null, "What to try"),
    el("ul", { class: "advice" }, rest.filter(isItem).map(item)),
    ...rest.filter((line) => !isItem(line)).map((line) => el("p", null, line.trim())),
  ].filter((node) => node && (node.tagName !== "UL" || node.firstChild));
}
