// SPDX-License-Identifier: MIT
// The page of an incident. Texts of events reach the document as text nodes only.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const { strings, types, events, processes } = page;
  const ROW = 22;
  // Places in a row of `events`; the values of its fields follow.
  const TYPE = 0, TIME = 1, RECORD = 2, HOST = 3, PROCESS = 4, WHAT = 5, TAG = 6, VALUES = 7;
  // Places in a row of `processes`; parents stand before their children.
  const PID = 0, NAME = 1, USER = 2, PARENT = 3, START = 4, END = 5, LIVED = 6;
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
})();
