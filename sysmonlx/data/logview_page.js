// SPDX-License-Identifier: MIT
// The page of an incident: what is seen and what can be done with it.
// Texts of events reach the document as text nodes only.

// --- the rows that are in sight

const pool = [];

function paint() {
  const top = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const bottom = Math.min(rows.length, top + Math.ceil(list.clientHeight / ROW) + 8);
  while (pool.length < bottom - top) {
    const element = make("div", "row");
    element.setAttribute("role", "treeitem");
    space.append(element);
    pool.push(element);
  }
  pool.forEach((element, n) => {
    const at = top + n;
    element.hidden = at >= bottom;
    element.style.display = at >= bottom ? "none" : "";
    if (at < bottom) fill(element, rows[at], at);
  });
}

function fill(element, row, at) {
  element.dataset.at = at;
  element.id = `row${at}`;
  element.style.transform = `translateY(${at * ROW}px)`;
  element.setAttribute("aria-level", row.depth + 1);
  element.setAttribute("aria-selected", at === chosen);
  const isOpen = row.kind === "group" ? opened.has(`${row.at}/${row.type}`) : !folded.has(row.at);
  if (row.fold) element.setAttribute("aria-expanded", isOpen);
  else element.removeAttribute("aria-expanded");
  const parts = state.tree ? treeParts(row, isOpen) : listParts(events[row.at]);
  const tag = tagOf(row);
  if (tag) parts.push(make("span", "tag", tag));
  element.replaceChildren(...parts);
  element.className = `row${tag ? " hit" : ""}${at === chosen ? " chosen" : ""}`;
}

function tagOf(row) {
  if (row.kind === "event") return strings[events[row.at][TAG]];
  if (row.kind === "group") return "";
  const process = processes[row.at], start = events[process[START]], end = events[process[END]];
  return strings[(start && start[TAG]) || (end && end[TAG]) || 0];
}

function treeParts(row, isOpen) {
  const fold = make("span", "fold", row.fold ? (isOpen ? "\u25be" : "\u25b8") : "");
  fold.style.marginLeft = `${Math.min(row.depth, 24) * 16}px`;
  if (row.kind === "process") {
    const process = processes[row.at], start = events[process[START]];
    const what = start ? strings[start[WHAT]] : page.cut ? "(its start is left out)" : "(began before this log)";
    const lived = process[LIVED] === null ? "" : `${(process[LIVED] / 1000).toFixed(2)} s`;
    return [
      make("span", "time", start ? clock(start[TIME]) : ""), fold,
      make("span", "name", strings[process[NAME]] || "?"),
      make("span", "number", strings[process[PID]]),
      make("span", "owner", strings[process[USER]]),
      make("span", start ? "what" : "what dim", what), make("span", "dim", lived),
    ];
  }
  if (row.kind === "group") {
    const type = types[row.type];
    return [
      make("span", "time", clock(events[row.first][TIME])), fold,
      make("span", "mark", type.mark),
      make("span", "what", `${type.title} \u00d7 ${row.own.toLocaleString("en")}: ${strings[events[row.first][WHAT]]} \u2026`),
    ];
  }
  const event = events[row.at], type = types[event[TYPE]];
  const mark = make("span", "mark", type.mark);
  mark.title = type.title;
  return [make("span", "time", clock(event[TIME])), fold, mark, make("span", "what", strings[event[WHAT]])];
}

function listParts(event) {
  const process = processes[event[PROCESS]], type = types[event[TYPE]];
  return [
    make("span", "time", clock(event[TIME])), make("span", "mark", type.mark),
    make("span", "kind", type.title),
    make("span", "pid mono", process ? strings[process[PID]] : ""),
    make("span", "user", process ? strings[process[USER]] : ""),
    make("span", "image", process ? strings[process[NAME]] : ""),
    make("span", "what", strings[event[WHAT]]),
  ];
}

// --- choosing and folding

function choose(at) {
  if (at < 0 || at >= rows.length) return;
  chosen = at;
  if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
  const end = (at + 1) * ROW - list.clientHeight;
  if (end > list.scrollTop) list.scrollTop = end;
  paint();
  list.setAttribute("aria-activedescendant", `row${at}`);
  showDetails(rows[at]);
}

function toggle(at, open) {
  const row = rows[at];
  if (!row || !row.fold) return;
  const key = row.kind === "group" ? `${row.at}/${row.type}` : row.at;
  const set = row.kind === "group" ? opened : folded;
  const adds = (row.kind === "group") === (open === undefined ? !isOpenRow(row) : open);
  if (adds) set.add(key); else set.delete(key);
  refresh();
}

const isOpenRow = (row) => (row.kind === "group" ? opened.has(`${row.at}/${row.type}`) : !folded.has(row.at));

function showDetails(row) {
  const at = row.kind === "process" ? processes[row.at][START] : row.kind === "group" ? row.first : row.at;
  const event = events[at];
  const parts = [];
  if (row.kind === "process") {
    const process = processes[row.at], parent = processes[process[PARENT]];
    parts.push(make("h2", "", `${strings[process[NAME]] || "?"} ${strings[process[PID]]}`));
    if (parent) parts.push(goTo(`parent: ${strings[parent[NAME]] || "?"} ${strings[parent[PID]]}`, process[PARENT]));
    parts.push(make("p", "dim", `${eventCounts[row.at].toLocaleString("en")} events` +
      (process[LIVED] === null ? "" : `, ended after ${(process[LIVED] / 1000).toFixed(2)} s`)));
    if (!event) parts.push(make("p", "dim", "It began before this log; only its children and events tell of it."));
  } else {
    parts.push(make("h2", "", types[event[TYPE]].title));
    if (state.tree === false && processes[event[PROCESS]]) {
      parts.push(goTo("show it in the tree", event[PROCESS]));
    }
  }
  if (event) parts.push(fieldsOf(event));
  details.replaceChildren(...parts);
}

function fieldsOf(event) {
  const found = make("dl"), type = types[event[TYPE]];
  const pairs = type.fields.map((name, at) => [name, strings[event[VALUES + at]]]);
  pairs.push(["EventRecordID", String(event[RECORD] || "-")], ["Computer", strings[event[HOST]]]);
  for (const [name, value] of pairs) {
    if (value !== "-" && value !== "") found.append(make("dt", "", name), make("dd", "", value));
  }
  return found;
}

function goTo(text, process) {
  const button = make("button", "", text);
  button.addEventListener("click", () => {
    setTree(true);
    const at = rows.findIndex((row) => row.kind === "process" && row.at === process);
    if (at >= 0) choose(at);
  });
  return button;
}

list.addEventListener("scroll", paint, { passive: true });
list.addEventListener("click", (press) => {
  const element = press.target.closest(".row");
  if (!element) return;
  const at = Number(element.dataset.at);
  choose(at);
  if (press.target.classList.contains("fold")) toggle(at);
});
list.addEventListener("dblclick", (press) => {
  const element = press.target.closest(".row");
  if (element && !press.target.classList.contains("fold")) toggle(Number(element.dataset.at));
});
const pageRows = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
const keys = {
  ArrowDown: () => choose(Math.min(chosen + 1, rows.length - 1)),
  ArrowUp: () => choose(Math.max(chosen - 1, 0)),
  PageDown: () => choose(Math.min(chosen + pageRows(), rows.length - 1)),
  PageUp: () => choose(Math.max(chosen - pageRows(), 0)),
  Home: () => choose(0),
  End: () => choose(rows.length - 1),
  ArrowRight: () => toggle(chosen, true),
  ArrowLeft: () => toggle(chosen, false),
};
list.addEventListener("keydown", (press) => {
  if (!keys[press.key] || press.ctrlKey || press.altKey || press.metaKey) return;
  press.preventDefault();
  keys[press.key]();
});
document.addEventListener("keydown", (press) => {
  if (press.key === "/" && document.activeElement !== filter) {
    press.preventDefault();
    filter.focus();
  }
});

// --- the time line

const context = canvas.getContext("2d");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
let drag = null;

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  context.scale(ratio, ratio);
  const bins = Math.max(1, Math.floor(width / 4)), span = Math.max(1, last - first);
  const all = new Uint32Array(bins), tagged = new Uint32Array(bins);
  events.forEach((event, at) => {
    if (!kept[at] || event[TIME] === null) return;
    const bin = Math.min(bins - 1, Math.floor((event[TIME] - first) / span * bins));
    all[bin]++;
    if (event[TAG]) tagged[bin]++;
  });
  const most = all.reduce((one, other) => Math.max(one, other), 1);
  const bar = colour("--bar"), hit = colour("--hit"), step = width / bins;
  // Roots, so that a few events are seen beside many.
  const tall = (count) => Math.max(2, Math.sqrt(count / most) * (height - 4));
  all.forEach((count, bin) => {
    if (!count) return;
    context.fillStyle = bar;
    context.fillRect(bin * step, height - tall(count), step - 1, tall(count));
    if (!tagged[bin]) return;
    context.fillStyle = hit;
    context.fillRect(bin * step, height - tall(tagged[bin]), step - 1, tall(tagged[bin]));
  });
  if (state.from !== null || drag) {
    const [from, to] = drag ? [drag.from, drag.to] : [state.from, state.to].map((ms) => (ms - first) / span * width);
    context.fillStyle = colour("--accent");
    context.globalAlpha = 0.2;
    context.fillRect(Math.min(from, to), 0, Math.max(2, Math.abs(to - from)), height);
    context.globalAlpha = 1;
  }
}

const xOf = (press) => press.clientX - canvas.getBoundingClientRect().left;
canvas.addEventListener("pointerdown", (press) => {
  canvas.setPointerCapture(press.pointerId);
  drag = { from: xOf(press), to: xOf(press) };
});
canvas.addEventListener("pointermove", (press) => {
  if (!drag) return;
  drag.to = xOf(press);
  draw();
});
canvas.addEventListener("pointerup", () => {
  const ends = [drag.from, drag.to].sort((one, other) => one - other);
  const isClick = ends[1] - ends[0] < 4;
  drag = null;
  if (!isClick) setRange(...ends.map((x) => first + x / canvas.clientWidth * (last - first)));
  else draw();
});
canvas.addEventListener("dblclick", () => setRange(null, null));

function setRange(from, to) {
  state.from = from;
  state.to = to;
  byId("range").textContent = from === null
    ? "drag for a range of time, double click for all"
    : `${day(from)} to ${day(to)} \u2013 double click for all`;
  refresh();
}

// --- the tools

let waiting = 0;
filter.addEventListener("input", () => {
  window.clearTimeout(waiting);
  waiting = window.setTimeout(() => { state.words = filter.value; refresh(); }, 60);
});
filter.addEventListener("keydown", (press) => {
  if (press.key === "Escape") { filter.value = state.words = ""; refresh(); }
  if (press.key === "Enter" || press.key === "ArrowDown") { list.focus(); choose(Math.max(chosen, 0)); }
});
function pressed(button, is) { button.setAttribute("aria-pressed", is); }
function setTree(is) {
  state.tree = is;
  pressed(byId("tree"), is);
  pressed(byId("rows"), !is);
  list.scrollTop = 0;
  chosen = -1;
  refresh();
}
byId("tree").addEventListener("click", () => setTree(true));
byId("rows").addEventListener("click", () => setTree(false));
byId("tagged").addEventListener("click", () => {
  state.tagged = !state.tagged;
  pressed(byId("tagged"), state.tagged);
  refresh();
});
const counts = new Map();
for (const event of events) counts.set(event[TYPE], (counts.get(event[TYPE]) || 0) + 1);
for (const [type, count] of [...counts].sort((one, other) => one[0] - other[0])) {
  const button = make("button", "", `${types[type].mark} ${types[type].title} ${count.toLocaleString("en")}`);
  pressed(button, true);
  button.addEventListener("click", () => {
    if (state.off.has(type)) state.off.delete(type); else state.off.add(type);
    pressed(button, !state.off.has(type));
    refresh();
  });
  byId("kinds").append(button);
}
if (timed.length) {
  byId("first").textContent = `${day(first)} UTC`;
  byId("last").textContent = `${day(last)} UTC`;
}
window.addEventListener("resize", () => { paint(); draw(); });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
setTree(true);
document.documentElement.dataset.ready = "yes";
