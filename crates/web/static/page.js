// Small conveniences; every page works without this file.
// "/" puts the cursor into the query, as analysts expect from other consoles.
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing) {
    const input = document.querySelector("input[name=q]");
    if (input) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  }
});

// "Follow live" shows events of the query above its results, as they come. Values are put in as text.
const LIVE_ROWS_MAX = 200;
const follow = document.querySelector("#follow");
if (follow && window.EventSource) {
  const live = document.querySelector("#live");
  const status = document.querySelector("#live-status");
  const rows = live.querySelector("tbody");
  let source = null;
  let shown = 0;
  let leftOut = 0;
  const tell = (state) => {
    const missing = leftOut ? `, ${leftOut} more left out` : "";
    status.textContent = `${state}: ${shown} events${missing}`;
  };
  const cell = (row, kind, text) => {
    const made = row.insertCell();
    made.className = kind;
    made.textContent = text ?? "";
    return made;
  };
  const show = (event) => {
    const row = rows.insertRow(0);
    const time = event["@timestamp"] ?? "";
    const id = event.event?.id;
    const first = cell(row, "time", "");
    const link = document.createElement(id ? "a" : "span");
    if (id) link.href = `/events/${encodeURIComponent(id)}`;
    link.textContent = time.replace("T", " ").replace(/Z$/, "");
    first.append(link);
    cell(row, "short", event.host?.name);
    cell(row, "short", event.event?.dataset);
    const summary = event.message ?? event.process?.command_line ?? event.event?.action;
    cell(row, "text", summary ?? event.event?.original);
    while (rows.rows.length > LIVE_ROWS_MAX) rows.deleteRow(-1);
  };
  follow.hidden = false;
  follow.addEventListener("click", () => {
    const begin = source === null;
    follow.setAttribute("aria-pressed", String(begin));
    follow.textContent = begin ? "Stop" : "Follow live";
    live.hidden = false;
    if (!begin) {
      source.close();
      source = null;
      tell("stopped");
      return;
    }
    source = new EventSource(follow.dataset.tail);
    source.addEventListener("open", () => tell("following"));
    source.addEventListener("error", () => tell("connection lost"));
    source.addEventListener("message", (message) => {
      show(JSON.parse(message.data));
      shown += 1;
      tell("following");
    });
    source.addEventListener("left_out", (message) => {
      const counts = Object.values(JSON.parse(message.data));
      leftOut += counts.reduce((sum, count) => sum + count, 0);
      tell("following");
    });
  });
}
