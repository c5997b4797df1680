// SPDX-License-Identifier: MIT
// The page of an incident: its events, which of them are shown, in which order.
// Joined with logview_page.js into one script; texts of events are never code.

const page = JSON.parse(document.getElementById("data").textContent);
const { strings, types, events, processes, levels } = page;
const ROW = 22;
// Places in a row of `events`; the values of its fields follow.
const TYPE = 0, TIME = 1, RECORD = 2, HOST = 3, PROCESS = 4, WHAT = 5, TAG = 6, VALUES = 7;
// Places in a row of `processes`; parents stand before their children.
const PID = 0, NAME = 1, USER = 2, PARENT = 3, START = 4, END = 5, LIVED = 6, BEGINNING = 7, NEXT = 8;
const GROUPED = 8;

const byId = (id) => document.getElementById(id);
const list = byId("list"), space = byId("space"), details = byId("details");
const filter = byId("filter"), canvas = byId("chart"), shown = byId("shown");

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- what is known of events and processes

for (const type of Object.values(types)) {
  type.places = new Map(type.fields.map((name, at) => [name.toLowerCase(), at]));
}
const fieldNames = new Set(["event", "computer"]);
for (const type of Object.values(types)) {
  for (const name of type.places.keys()) fieldNames.add(name);
}
// Below each process, and at the top: events by number, processes by -1 - number.
const itemsOf = processes.map(() => []), top = [], eventCounts = processes.map(() => 0);
processes.forEach((process, at) => (itemsOf[process[PARENT]] || top).push(-1 - at));
events.forEach((event, at) => {
  const process = processes[event[PROCESS]];
  if (process && (process[START] === at || process[END] === at)) return;
  (process ? itemsOf[event[PROCESS]] : top).push(at);
  if (process) eventCounts[event[PROCESS]]++;
});
const timeOf = (item) => (events[item < 0 ? processes[-1 - item][START] : item] || [])[TIME] || 0;
for (const items of [...itemsOf, top]) {
  if (items.some((item) => item < 0)) items.sort((one, other) => timeOf(one) - timeOf(other));
}
const lowered = strings.map((text) => text.toLowerCase());
const timed = events.filter((event) => event[TIME] !== null);
const first = timed.length ? timed[0][TIME] : 0;
const last = timed.length ? timed[timed.length - 1][TIME] : 0;

const clock = (ms) => (ms === null ? "" : new Date(ms).toISOString().slice(11, 23));
const day = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");

// --- the filter

const state = { words: "", from: null, to: null, off: new Set(), tagged: false, tree: true };
const folded = new Set(), opened = new Set();
let kept = new Uint8Array(events.length).fill(1), keptCount = events.length;
let rows = [], chosen = -1;

function flagsOf(test) {
  const flags = new Uint8Array(strings.length);
  lowered.forEach((text, at) => { if (test(text)) flags[at] = 1; });
  return flags;
}

function testOf(token) {
  if (token.length > 1 && token[0] === "-") {
    const inner = testOf(token.slice(1));
    return (event) => !inner(event);
  }
  const parts = /^([A-Za-z]+)(!=|=|~)(.*)$/s.exec(token);
  const name = parts ? parts[1].toLowerCase() : "";
  if (!fieldNames.has(name)) {
    const wanted = token.toLowerCase();
    const flags = flagsOf((text) => text.includes(wanted));
    return (event) => {
      for (let at = VALUES; at < event.length; at++) if (flags[event[at]]) return true;
      return false;
    };
  }
  const [, , sign, value] = parts, wanted = value.toLowerCase();
  const holds = sign === "~" ? (text) => text.includes(wanted) : (text) => text === wanted;
  if (name === "event") {
    return (event) => holds(types[event[TYPE]].title.toLowerCase()) === (sign !== "!=");
  }
  const flags = flagsOf(holds), asked = sign === "!=" ? 0 : 1;
  return (event) => {
    if (name === "computer") return flags[event[HOST]] === asked;
    const at = types[event[TYPE]].places.get(name);
    return at !== undefined && flags[event[VALUES + at]] === asked;
  };
}

function refresh() {
  const tokens = (state.words.match(/(?:[^\s"]|"[^"]*"?)+/g) || [])
    .map((token) => token.replaceAll('"', "")).filter(Boolean);
  const tests = tokens.map(testOf);
  keptCount = 0;
  events.forEach((event, at) => {
    const ok = !state.off.has(event[TYPE]) && (!state.tagged || event[TAG] > 0) &&
      (state.from === null || (event[TIME] >= state.from && event[TIME] <= state.to)) &&
      tests.every((test) => test(event));
    kept[at] = ok ? 1 : 0;
    keptCount += ok ? 1 : 0;
  });
  const chosenRow = rows[chosen];
  rows = state.tree ? treeRows(tokens.length > 0) : listRows();
  chosen = chosenRow ? rows.findIndex((row) => same(row, chosenRow)) : -1;
  space.style.height = `${rows.length * ROW}px`;
  byId("none").hidden = rows.length > 0;
  shown.textContent = `${keptCount.toLocaleString("en")} of ${events.length.toLocaleString("en")} shown`;
  paint();
  draw();
}

const same = (one, other) => one.kind === other.kind && one.at === other.at && one.type === other.type;

function listRows() {
  const found = [];
  kept.forEach((is, at) => { if (is) found.push({ kind: "event", at, depth: 0 }); });
  return found;
}

function treeRows(hasWords) {
  const isShown = new Uint8Array(processes.length);
  const isFiltered = keptCount < events.length;
  if (!isFiltered) isShown.fill(1);
  events.forEach((event, at) => {
    let process = kept[at] && isFiltered ? event[PROCESS] : -1;
    while (process >= 0 && !isShown[process]) {
      isShown[process] = 1;
      process = processes[process][PARENT];
    }
  });
  if (hasWords) {
    const below = new Uint8Array(processes.length);
    processes.forEach((process, at) => {
      const parent = process[PARENT];
      below[at] = kept[process[START]] || (parent >= 0 && below[parent]) ? 1 : 0;
      if (below[at]) isShown[at] = 1;
    });
  }
  const found = [], stack = [{ items: top, next: 0, depth: 0 }];
  while (stack.length) {
    const frame = stack[stack.length - 1], item = frame.items[frame.next++];
    if (item === undefined) stack.pop();
    else if (item < 0) addProcess(found, stack, frame.depth, -1 - item, isShown);
    else if (kept[item]) addEvent(found, frame, item);
  }
  return found;
}

function addProcess(found, stack, depth, at, isShown) {
  if (!isShown[at]) return;
  const counts = new Map();
  let hasMore = false;
  for (const item of itemsOf[at]) {
    const type = item < 0 || !kept[item] ? 0 : events[item][TYPE];
    if (type) counts.set(type, (counts.get(type) || 0) + 1);
    hasMore ||= type > 0 || (item < 0 && isShown[-1 - item] > 0);
  }
  found.push({ kind: "process", at, depth, fold: hasMore });
  if (!folded.has(at)) {
    stack.push({ items: itemsOf[at], next: 0, depth: depth + 1, process: at, counts, told: new Set() });
  }
}

// Many events of one kind are one row, which can be opened; those under a rule stay.
function addEvent(found, frame, at) {
  const type = events[at][TYPE], own = frame.counts ? frame.counts.get(type) : 0;
  const many = own > GROUPED, depth = frame.depth;
  if (many && !frame.told.has(type)) {
    frame.told.add(type);
    found.push({ kind: "group", at: frame.process, type, depth, fold: true, own, first: at });
  }
  const isOpen = opened.has(`${frame.process}/${type}`);
  if (!many || isOpen || events[at][TAG]) {
    found.push({ kind: "event", at, depth: depth + (many && isOpen ? 1 : 0) });
  }
}
