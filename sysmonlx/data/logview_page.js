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
  if (tag) parts.push(make("span", "tag", titleOf(tag)));
  element.replaceChildren(...parts);
  element.className = `row${tag ? ` hit ${levelOf(tag)}` : ""}${at === chosen ? " chosen" : ""}`;
}

const SIGNS = { critical: "\u203c ", high: "! " };
const levelOf = (tag) => levels[tag] || "";
const titleOf = (tag) => (SIGNS[levelOf(tag)] || "") + strings[tag];

function tagOf(row) {
  if (row.kind === "event") return events[row.at][TAG];
  if (row.kind === "group") return 0;
  const process = processes[row.at], start = events[process[START]], end = events[process[END]];
  return (start && start[TAG]) || (end && end[TAG]) || 0;
}

function treeParts(row, isOpen) {
  const fold = make("span", "fold", row.fold ? (isOpen ? "\u25be" : "\u25b8") : "");
  fold.style.marginLeft = `${Math.min(row.depth, 24) * 16}px`;
  if (row.kind === "process") {
    const process = processes[row.at], start = events[process[START]];
    const what = start ? strings[start[WHAT]] : page.cut ? "(its start is left out)"
      : `(${strings[process[BEGINNING]]})`;
    const next = strings[process[NEXT]];
    const lived = next ? `then ran ${next}`
      : process[LIVED] === null ? "" : `ran ${(process[LIVED] / 1000).toFixed(2)} s`;
    const user = strings[process[USER]];
    return [
      make("span", "time", start ? clock(start[TIME]) : ""), fold,
      make("span", "name", strings[process[NAME]] || "?"),
      make("span", "number", strings[process[PID]]),
      make("span", user === "root" ? "owner root" : "owner", user),
      make("span", start ? "what" : "what dim", what), make("span", "dim", lived),
    ];
  }
  if (row.kind === "group") {
    const type = types[row.type];
    return [
      make("span", "time", clock(events[row.first][TIME])), fold,
      make("span", "mark", type.mark),
      make("span", "what", `${row.own.toLocaleString("en")} \u00d7 ${type.title}: ${strings[events[row.first][WHAT]]} \u2026`),
    ];
  }
  const event = events[row.at], type = types[event[TYPE]];
  const mark = make("span", "mark", type.mark);
  mark.title = type.title;
  const parts = [make("span", "time", clock(event[TIME])), fold, mark];
  if (type.verb) parts.push(make("span", "dim", type.verb));
  return [...parts, make("span", "what", strings[event[WHAT]])];
}

function listParts(event) {
  const process = processes[event[PROCESS]], type = types[event[TYPE]];
  return [
    make("span", "time", clock(event[TIME])), make("span", "mark", type.mark),
    make("span", "kind", type.title),
    make("span", "pid mono", process ? strings[process[PID]] : ""),
    make("span", process && strings[process[USER]] === "root" ? "user root" : "user",
      process ? strings[process[USER]] : ""),
    make("span", "image", process ? strings[process[NAME]] : ""),
    make("span", "what", strings[event[WHAT]]),
  ];
}

// --- choosing and folding

function choose(at, isMiddle) {
  if (at < 0 || at >= rows.length) return;
  chosen = at;
  if (isMiddle) list.scrollTop = Math.max(0, (at + 0.5) * ROW - list.clientHeight / 2);
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
    parts.push(make("p", "dim", didOf(row.at) +
      (process[LIVED] === null ? "" : `; ended after ${(process[LIVED] / 1000).toFixed(2)} s`)));
    parts.push(...hitsOf(row.at));
    if (!event) {
      const how = strings[process[BEGINNING]];
      parts.push(make("p", "dim", `${how}: only its children and events tell of it`));
    }
  } else {
    parts.push(make("h2", "", types[event[TYPE]].title));
    if (state.tree === false && processes[event[PROCESS]]) {
      parts.push(goTo("show it in the tree", event[PROCESS]));
    }
  }
  if (event) parts.push(fieldsOf(event));
  details.replaceChildren(...parts);
}

// How often a process did what, the most frequent first.
function didOf(at) {
  const counts = new Map();
  for (const item of itemsOf[at]) {
    const name = item < 0 ? "ProcessCreate" : types[events[item][TYPE]].title;
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  const parts = [...counts].sort((one, other) => other[1] - one[1])
    .map(([name, count]) => `${name} ${count.toLocaleString("en")}`);
  return parts.join(", ") || "no events of its own";
}

// Rules that hit what a process did: buttons that lead there.
function hitsOf(at) {
  const found = new Map();
  for (const item of itemsOf[at]) {
    const tag = item < 0 ? 0 : events[item][TAG];
    if (tag && !found.has(tag)) found.set(tag, item);
  }
  return [...found].map(([tag, item]) => chip(tag, () => goToEvent(item)));
}

function chip(tag, act, count) {
  const button = make("button", `chip ${levelOf(tag)}`, titleOf(tag) + (count > 1 ? ` \u00d7 ${count.toLocaleString("en")}` : ""));
  button.addEventListener("click", act);
  return button;
}

const rowOf = (at) => rows.findIndex((row) => (row.kind === "event" && row.at === at) ||
  (row.kind === "process" && (processes[row.at][START] === at || processes[row.at][END] === at)));

// Choose the row of an event, whatever hides it.
function goToEvent(at) {
  let place = rowOf(at);
  if (place < 0) {
    for (let process = events[at][PROCESS]; process >= 0; process = processes[process][PARENT]) folded.delete(process);
    refresh();
    place = rowOf(at);
  }
  if (place < 0) {
    filter.value = state.words = "";
    state.off.clear();
    for (const button of byId("kinds").children) pressed(button, true);
    setRange(null, null);
    place = rowOf(at);
  }
  choose(place, true);
}

const hits = events.flatMap((event, at) => (event[TAG] ? [at] : []));
let lastHit = -1;

function goToHit(step, tag) {
  const own = tag ? hits.filter((at) => events[at][TAG] === tag) : hits;
  if (!own.length) return;
  const next = step > 0 ? own.find((at) => at > lastHit) : own.findLast((at) => at < lastHit);
  lastHit = next === undefined ? own[step > 0 ? 0 : own.length - 1] : next;
  goToEvent(lastHit);
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
  } else if ((press.key === "n" || press.key === "N") && document.activeElement !== filter &&
      !press.ctrlKey && !press.altKey && !press.metaKey) {
    goToHit(press.key === "n" ? 1 : -1);
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
const RANK = ["critical", "high", "", "medium", "low"];
const byTag = new Map();
for (const at of hits) byTag.set(events[at][TAG], (byTag.get(events[at][TAG]) || 0) + 1);
const tags = [...byTag.keys()].sort((one, other) => RANK.indexOf(levelOf(one)) - RANK.indexOf(levelOf(other)));
byId("found").append(...tags.map((tag) => chip(tag, () => goToHit(1, tag), byTag.get(tag))));
setTree(true);
if (tags.length) goToHit(1, tags[0]);
document.documentElement.dataset.ready = "yes";
