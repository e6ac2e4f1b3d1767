// The packets as a picture: what is seen of it, the packet that is open, its bytes, and the numbers over time. Everything from the page's own data.
"use strict";
(() => {
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const blob = $("bytes").textContent;
// Columns come as they are, as runs of equal values, or as runs of equal steps.
function unpacked(column) {
  if (Array.isArray(column)) return column;
  const runs = column.runs || column.steps, out = [];
  let last = 0;
  for (let at = 0; at < runs.length; at += 2) {
    for (let left = runs[at + 1]; left > 0; left--) out.push(column.runs ? runs[at] : (last += runs[at]));
  }
  return out;
}
for (const table of [data.packets, data.messages, data.calls]) for (const name in table) table[name] = unpacked(table[name]);
const S = data.strings, P = data.packets, C = data.calls, calls = (C.time || []).length, count = (P.number || []).length;
const HEIGHT = 40, WIDE = 108, SVG = "http://www.w3.org/2000/svg";

// Elements; text is never markup.
function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") node.className = value; else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined && child !== ""));
  return node;
}
function draw(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function time(ns) {
  const size = Math.abs(ns);
  if (size >= 1e9) return (ns / 1e9).toFixed(3) + " s";
  if (size >= 1e6) return (ns / 1e6).toFixed(2) + " ms";
  return (ns / 1e3).toFixed(1) + " µs";
}
// A point in time, in the same unit all through a list, with digits that tell neighbours apart.
const LAST = Math.max(0, ...[P.time, C.time].map(column => column && column.length ? column[column.length - 1] : 0));
const stamp = ns => LAST >= 1e9 ? (ns / 1e9).toFixed(6) + " s" : LAST >= 1e6 ? (ns / 1e6).toFixed(3) + " ms" : (ns / 1e3).toFixed(2) + " µs";
// A program's call has its time by a clock that is matched only so well.
function callStamp(call) {
  const doubt = data.clocks[C.node[call]], ns = C.time[call];
  if (!(doubt >= 500)) return doubt < 0 ? "≈" + stamp(ns) : stamp(ns);
  const [unit, size] = LAST >= 1e9 ? ["s", 1e9] : LAST >= 1e6 ? ["ms", 1e6] : ["µs", 1e3];
  return `≈${(ns / size).toFixed(Math.max(0, Math.round(Math.log10(size / doubt)) + (doubt < 1e3 ? 0 : 1)))} ${unit}`;
}
const many = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

// What the trace says of a packet; a key that nobody gave out is no region here.
const nobodys = data.regions.filter(region => region.unknown);
const details = i => S[P.details[i]].split(" ").map(word => {
  const region = nobodys.find(({ name }) => word.startsWith(name + "+") || word.startsWith(name + "-"));
  return region ? "unknown rkey " + region.rkey : word;
}).join(" ");

// Everything by packet.
const findings = new Map();
for (const finding of data.findings) {
  if (!findings.has(finding[2])) findings.set(finding[2], []);
  findings.get(finding[2]).push(finding);
}
// Lost packets, by number: the packets at which their loss breaks a rule.
const shownAt = new Map();
for (const [rule, , packet, , missing] of data.findings) if (missing) shownAt.set(missing, [...(shownAt.get(missing) || []), [rule, packet]]);
const indexOf = new Map();
const offsets = new Array(count + 1), values = unpacked(data.values), owned = new Array(count + 1);
const own = data.layouts.map(layout => layout.filter(slot => slot[4] === "o").length);
offsets[0] = owned[0] = 0;
for (let i = 0; i < count; i++) {
  indexOf.set(P.number[i], i);
  offsets[i + 1] = offsets[i] + P.kept[i];
  owned[i + 1] = owned[i] + (P.layout[i] < 0 ? 0 : own[P.layout[i]]);
}
const derived = new Map(); // by number of the record: what the switch made of it
for (let i = 0; i < count; i++) if (P.fate[i] >= 10 && P.fate[i] <= 12) derived.set(P.amount[i], i);

const FATES = [
  ["forwarded", "The switch gave it on as it came."],
  ["queued", "A rate held it back, in the order of its direction."],
  ["dropped", "The switch threw it away: the receiver never got it."],
  ["link cut", "The link was cut: the receiver never got it."],
  ["port full", "The receiver's port had no room: it never got it."],
  ["delayed", "The switch held it back for a time."],
  ["reordered", "The switch held it back until others had passed."],
  ["corrupted", "The switch changed bytes of it: the receiver got the changed copy instead."],
  ["truncated", "The switch cut it short: the receiver got the shorter copy instead."],
  ["ECN marked", "The switch set “congestion experienced” in its IP header: the receiver got that copy."],
  ["released", "It was held back, and reached the receiver here."],
  ["altered", "The switch made it of another: this is what the receiver got."],
  ["duplicate", "The switch gave it on once more."],
  ["comment", "The capture has a comment of its own on it."],
];
const AGAIN = {
  "go-back-N": "Sent again: the responder had asked for it with a NAK “PSN sequence error”, and everything after it follows.",
  "RNR retry": "Sent again: the responder had no receive buffer, and its RNR NAK asked to wait.",
  "READ retry": "Sent again: a READ response was missing.",
  "timeout": "Sent again: nothing answered it until the ACK timeout ran out.",
  "spurious": "Sent again, though it had been acknowledged.",
  "duplicate": "A copy that the network made.",
};

// A NAK that asks for what is missing; the queue pair lives on.
const isGapNak = i => P.part[i] === 4 && /PSN sequence error/.test(S[P.details[i]]);
// Findings at a packet, at the answer that refuses it, or at one that shows its loss.
const isCulprit = i => P.part[i] === 1 && (P.arrival[i] === 4 || P.arrival[i] === 6) && findings.has(P.about[i]);
const isInFinding = i => findings.has(P.number[i]) || shownAt.has(P.number[i]) || isCulprit(i);

// Kinds that the legend tells apart.
const KINDS = {
  request: ["request", "p1", i => P.part[i] === 1],
  response: ["response", "p2", i => P.part[i] === 2],
  management: ["connection management", "p0", i => P.part[i] === 0],
  lost: ["lost", "lost", i => P.fate[i] >= 2 && P.fate[i] <= 4],
  late: ["late", "late", i => P.fate[i] === 5 || P.fate[i] === 6 || P.fate[i] === 10],
  altered: ["altered", "altered", i => P.fate[i] >= 7 && P.fate[i] <= 9 || P.fate[i] === 11 || P.damaged[i] === 1],
  repeated: ["repeated", "repeated", i => P.again[i] !== 0 || P.fate[i] === 12],
  refused: ["refused for good", "p4", i => P.part[i] === 4 && !isGapNak(i)],
  asks: ["asks again (PSN gap)", "p4", i => isGapNak(i)],
  waits: ["asks to wait (RNR)", "p3", i => P.part[i] === 3],
  finding: ["in a finding", "p4", i => isInFinding(i)],
};
const MARKS = ["lost", "late", "altered", "repeated", "refused", "asks", "waits", "finding"];
const isMarked = i => MARKS.some(kind => KINDS[kind][2](i));
function kindOf(i) {
  return ["lost", "late", "altered", "refused", "asks", "waits", "repeated"].find(kind => KINDS[kind][2](i)) || "";
}

// Signs, drawn around the origin.
const SIGNS = {
  lost: () => [draw("path", { d: "M-6 -6 L6 6 M-6 6 L6 -6", "stroke-width": 2.8, class: "arrow", stroke: "currentColor" })],
  late: () => [draw("path", { d: "M-5 -7 H5 L-5 7 H5 Z", fill: "var(--page)", stroke: "currentColor", "stroke-width": 1.8 })],
  altered: () => [draw("path", { d: "M-9 0 L-5 -6 L-1 6 L3 -6 L7 6 L9 0", fill: "none", stroke: "currentColor", "stroke-width": 2.2 })],
  repeated: () => [draw("circle", { r: 7, fill: "var(--page)" }), draw("path", { d: "M5 -3 A6 6 0 1 0 6 2", fill: "none", stroke: "currentColor", "stroke-width": 2.2 }), draw("path", { d: "M7 -8 V-1 H0 Z", fill: "currentColor" })],
  refused: () => [draw("path", { d: "M-3 -7 H3 L7 -3 V3 L3 7 H-3 L-7 3 V-3 Z", fill: "currentColor" }), draw("path", { d: "M-4 0 H4", stroke: "var(--page)", "stroke-width": 2.4 })],
  asks: () => [draw("circle", { r: 7, fill: "var(--page)", stroke: "currentColor", "stroke-width": 1.8 }), draw("path", { d: "M-2.5 -2 A2.5 2.5 0 1 1 0 0.5 V2", fill: "none", stroke: "currentColor", "stroke-width": 1.8 }), draw("circle", { cy: 4.4, r: 1.2, fill: "currentColor" })],
  waits: () => [draw("circle", { r: 7, fill: "var(--page)", stroke: "currentColor", "stroke-width": 1.8 }), draw("path", { d: "M-2 -3 V3 M2 -3 V3", stroke: "currentColor", "stroke-width": 2 })],
  finding: () => [draw("path", { d: "M-4 7 V-7 L6 -3 L-4 1", fill: "currentColor", stroke: "currentColor", "stroke-width": 1.6 })],
};
const DASH = { lost: "6 5", late: "2 4", altered: "9 3 2 3" };
function sign(kind, x, y) {
  return draw("g", { transform: `translate(${x} ${y})` }, ...SIGNS[kind]());
}

// One arrow, from x to x.
function arrow(i, from, to, y) {
  const kind = kindOf(i), fate = P.fate[i], part = P.part[i];
  const group = draw("g", { class: kind && !KINDS[kind][1].startsWith("p") ? kind : "p" + part });
  const isGone = fate >= 2 && fate <= 9, isMade = fate >= 10 && fate <= 12;
  const middle = (from + to) / 2, way = Math.sign(to - from);
  const start = isMade ? middle : from, end = isGone ? middle : to;
  const line = { class: "arrow", stroke: "currentColor", x1: start, x2: isGone ? end : end - way * 7, y1: y, y2: y };
  if (DASH[kind]) line["stroke-dasharray"] = DASH[kind];
  if (kind === "repeated") {
    group.append(draw("line", { ...line, y1: y - 2, y2: y - 2 }), draw("line", { ...line, y1: y + 2, y2: y + 2 }));
  } else group.append(draw("line", line));
  if (!isGone) group.append(draw("path", { class: "head", fill: "currentColor", d: `M${end} ${y} L${end - way * 10} ${y - 5} V${y + 5} Z` }));
  if (fate >= 2 && fate <= 4) group.append(sign("lost", end, y));
  if (KINDS.late[2](i)) group.append(sign("late", middle, y));
  if (KINDS.altered[2](i)) group.append(sign("altered", fate >= 7 || fate === 0 ? middle : from + way * 40, y));
  if (KINDS.repeated[2](i)) group.append(sign("repeated", start + way * 22, y));
  if (part >= 3) group.append(sign(part === 3 ? "waits" : isGapNak(i) ? "asks" : "refused", start + way * 22, y));
  return group;
}

// A packet's name; of a refusal its reason, since it is an "Acknowledge" by its opcode.
const headline = i => P.part[i] >= 3 ? `${S[P.details[i]].replace(/ msn \d+.*$/, "")} (${S[P.words[i]]})` : S[P.words[i]];

// What is shown: packets that the terms ask for, and pauses between them.
// Of what is shown one row is open: a packet's, or that of a call; the packet stays the one that is stepped to.
let items = [], rowOf = new Map(), rowOfCall = new Map(), chosen = -1, opened = -1, shownWords = "";
const here = () => opened >= 0 ? rowOfCall.get(opened) : rowOf.get(chosen);
const wanted = new Set();
const list = $("list"), space = $("space");
const heads = i => i > 0 ? P.time[i] - P.time[i - 1] : 0;
function pauseFrom() {
  const steps = [];
  for (let i = 1; i < count; i += Math.max(1, Math.floor(count / 2000))) steps.push(Math.max(0, heads(i)));
  steps.sort((a, b) => a - b);
  return Math.max(5e6, Math.min(1e8, (steps[Math.floor(steps.length / 2)] || 0) * 20));
}
const PAUSE = pauseFrom();
function haystack(i) {
  const kinds = Object.values(KINDS).filter(([, , is]) => is(i)).map(([words]) => words);
  return [`#${P.number[i]} packet ${P.number[i]}`, ...kinds, stamp(P.time[i]), S[P.words[i]], S[P.psn[i]], S[P.details[i]], S[P.source[i]], S[P.destination[i]], S[P.again[i]], FATES[P.fate[i]][0]]
    .concat((findings.get(P.number[i]) || []).map(finding => finding[0])).join(" ").toLowerCase();
}
const hay = [];
function filter() {
  // A number alone is that packet's.
  const asked = /^\s*(?:packet\s+|#)?(\d+)\s*$/i.exec($("find").value), number = asked && indexOf.has(Number(asked[1])) ? Number(asked[1]) : null;
  const terms = number === null ? $("find").value.toLowerCase().split(/\s+/).filter(Boolean) : [];
  const connection = Number($("connection").value);
  items = [];
  rowOf = new Map();
  rowOfCall = new Map();
  let shown = 0, before = null, isRough = false, call = 0;
  const withCalls = calls > 0 && $("calls").checked && !connection && !wanted.size && number === null;
  const add = (item, time) => {
    if (before !== null && time - before > PAUSE) items.push({ pause: time - before, isRough: isRough || item.call !== undefined });
    [before, isRough] = [time, item.call !== undefined];
    items.push(item);
  };
  const callsUntil = time => {
    for (; withCalls && call < calls && C.time[call] < time; call++) {
      const text = terms.length ? S[C.text[call]].toLowerCase() : "";
      if (terms.every(term => text.includes(term))) {
        add({ call }, C.time[call]);
        rowOfCall.set(call, items.length - 1);
      }
    }
  };
  for (let i = 0; i < count; i++) {
    callsUntil(P.time[i]);
    const isWanted = () => !(connection && P.connection[i] !== connection) && (!wanted.size || [...wanted].some(kind => KINDS[kind][2](i)));
    if (number !== null ? P.number[i] !== number : !isWanted()) continue;
    if (terms.length) {
      const text = hay[i] ??= haystack(i);
      if (!terms.every(term => text.includes(term))) continue;
    }
    add({ i }, P.time[i]);
    rowOf.set(i, items.length - 1);
    shown++;
  }
  callsUntil(Infinity);
  if (opened >= 0 && !rowOfCall.has(opened)) {
    opened = -1;
    open(chosen);
  }
  const also = terms.length && rowOfCall.size ? ` and ${many(rowOfCall.size, "call")}` : "";
  shownWords = (shown === count ? many(count, "packet") : `${shown.toLocaleString("en")} of ${many(count, "packet")}`) + also;
  $("shown").textContent = shownWords;
  space.style.height = Math.max(items.length, 1) * HEIGHT + "px";
  list.style.maxHeight = Math.max(items.length, 2) * HEIGHT + 2 + "px";
  drawn.clear();
  space.replaceChildren();
  // A list box without an option is none.
  list.setAttribute("role", items.length ? "listbox" : "group");
  if (!items.length) space.append(make("p", { class: "gap" }, make("span", {}, count ? "No packet matches." : "The capture has no packet of RoCE.")));
  render();
}

const drawn = new Map();
let width = 0, left = 0;
const lane = node => {
  const lanes = Math.max(2, data.nodes.length);
  const edge = width < 420 ? 18 : Math.min(60, width * 0.07);
  return left + edge + (width - left - 2 * edge) * node / (lanes - 1);
};
function measure() {
  width = list.clientWidth;
  left = width < 520 ? 58 : WIDE;
  const labels = data.nodes.map((name, at) => {
    const label = make("b", {}, name);
    label.style.left = Math.min(Math.max(lane(at), 30), width - 24) + "px";
    return label;
  });
  const lanes = $("lanes"), room = lane(1) - lane(0);
  lanes.classList.remove("crowded");
  lanes.replaceChildren(...labels);
  // Names that are wider than their lanes are apart stand on two levels.
  if (labels.length > 2 && labels.some(label => label.offsetWidth > room - 6)) {
    lanes.classList.add("crowded");
    for (const label of labels) label.style.maxWidth = 2 * room - 6 + "px";
  }
}
function lanesIn(svg) {
  const lanes = data.nodes.length === 1 ? 2 : data.nodes.length;
  for (let at = 0; at < lanes; at++) svg.append(draw("line", { x1: lane(at), x2: lane(at), y1: 0, y2: HEIGHT, stroke: "var(--lane)", "stroke-width": 1.4 }));
}
function ends(i) {
  // What a node sends to itself goes to a second line and back.
  if (P.from[i] === P.to[i] && data.nodes.length === 1) return P.part[i] >= 2 ? [lane(1), lane(0)] : [lane(0), lane(1)];
  if (P.from[i] === P.to[i]) return [lane(P.from[i]), lane(P.from[i]) + (P.from[i] === data.nodes.length - 1 ? -60 : 60)];
  return [lane(P.from[i]), lane(P.to[i])];
}
// What the arrow says to eyes.
function said(i) {
  const parts = [`, ${data.nodes[P.from[i]]} to ${data.nodes[P.to[i]]}`];
  if (P.fate[i] > 1) parts.push(FATES[P.fate[i]][0]);
  if (P.part[i] >= 3) parts.push(KINDS[P.part[i] === 3 ? "waits" : isGapNak(i) ? "asks" : "refused"][0]);
  if (isCulprit(i)) parts.push(`not taken, as packet ${P.about[i]} says`);
  for (const finding of findings.get(P.number[i]) || []) parts.push("breaks " + finding[0]);
  return parts.join(", ");
}
// The one parameter of a connection management message that tells most.
function management(i) {
  const said = data.parameters[i];
  if (!said) return "";
  const of = name => (said.find(([key]) => key === name) || [])[1];
  const text = of("reason") || (of("private data") !== "none" && of("private data")) || of("service") || of("queue pair") || "";
  return text.length > 90 ? text.slice(0, 90) + "…" : text;
}
// A program's call, beside the line of its node.
const CALLS = [
  ["posted", "call-posted", () => draw("path", { d: "M-5 -6 L6 0 L-5 6 Z", fill: "currentColor" })],
  ["completed", "call-done", () => draw("path", { d: "M-6 0 L-2 5 L7 -6", fill: "none", stroke: "currentColor", "stroke-width": 2.6 })],
  ["failed", "call-failed", () => draw("path", { d: "M-5 -5 L5 5 M-5 5 L5 -5", fill: "none", stroke: "currentColor", "stroke-width": 2.6 })],
  ["CM event", "call-cm", () => draw("path", { d: "M0 -6 L6 0 L0 6 L-6 0 Z", fill: "currentColor" })],
  ["CM call", "call-cm", () => draw("path", { d: "M0 -6 L6 0 L0 6 L-6 0 Z", fill: "var(--page)", stroke: "currentColor", "stroke-width": 1.8 })],
  ["state", "call-state", () => draw("path", { d: "M-5 -5 H5 V5 H-5 Z", fill: "var(--page)", stroke: "currentColor", "stroke-width": 1.8 })],
];
// What a call says in short: its addresses and keys are in the list below the packets.
function callWords(call) {
  // The status first, where it is an error.
  return S[C.text[call]].replace(/^completion wr_id (\d+): (\S+) (?!SUCCESS)(\S+),/, "$3: completion $1, $2,").replace(/^completion wr_id (\d+): /, "completion $1: ").replace(/^ibv_post_(send|recv): qp \d+, /, "post_$1: ")
    .replace(/ at 0x[0-9a-f]+ lkey 0x[0-9a-f]+/, "").replace(/, remote 0x[0-9a-f]+ rkey 0x[0-9a-f]+/, "").replace(/, status 0$/, "");
}
function callNode(call, at) {
  const [words, colour, shape] = CALLS[C.kind[call]], x = lane(C.node[call]), isRight = x > (lane(0) + lane(data.nodes.length - 1)) / 2;
  const svg = draw("svg", { width, height: HEIGHT, "aria-hidden": "true" });
  lanesIn(svg);
  const mark = draw("g", { class: colour, transform: `translate(${x} 20)` }, draw("circle", { r: 9, fill: "var(--page)" }), shape());
  svg.append(mark);
  const text = make("span", { class: "words " + colour }, callWords(call));
  if (isRight) text.style.right = width - x + 14 + "px"; else text.style.left = x + 14 + "px";
  text.style.maxWidth = `min(50% + 60px, ${Math.max(40, (isRight ? x : width - x) - 20)}px)`;
  const node = make("div", { class: "row call" + (at === here() ? " chosen" : ""), role: "option", id: "c" + call, "aria-selected": at === here(), "aria-posinset": at + 1, "aria-setsize": items.length, title: S[C.text[call]] },
    make("span", { class: "at" }, make("br"), callStamp(call)), svg, make("span", { class: "unseen" }, `${data.nodes[C.node[call]]}, ${words}: `), text);
  node.style.top = at * HEIGHT + "px";
  return node;
}
function rowNode(at) {
  const item = items[at];
  if (item.pause !== undefined) {
    const svg = draw("svg", { width, height: HEIGHT });
    for (let node = 0; node < Math.max(2, data.nodes.length); node++) {
      const x = lane(node);
      svg.append(draw("path", { d: `M${x} 0 V10 L${x - 5} 15 L${x + 5} 25 L${x} 30 V40`, stroke: "var(--lane)", "stroke-width": 1.4, fill: "none" }));
    }
    const node = make("div", { class: "gap", role: "presentation" }, svg, make("span", {}, `${item.isRough ? "≈" : ""}${time(item.pause)} pass`));
    node.style.top = at * HEIGHT + "px";
    return node;
  }
  if (item.call !== undefined) return callNode(item.call, at);
  const i = item.i, found = findings.get(P.number[i]), missed = shownAt.get(P.number[i]), isMarkedRow = isInFinding(i);
  const [from, to] = ends(i);
  const svg = draw("svg", { width, height: HEIGHT, "aria-hidden": "true" });
  lanesIn(svg);
  svg.append(arrow(i, from, to, 29));
  // The word that matters first: what does not fit is cut off at the end. That is the reason of a refusal.
  const isRefusal = P.part[i] >= 3, reason = S[P.details[i]].replace(/ msn \d+/, "");
  const again = P.again[i] ? "again: " + S[P.again[i]] : "", isNarrow = width < 520;
  const odd = isNarrow ? [P.fate[i] > 1 && P.fate[i] < 13 ? FATES[P.fate[i]][0] : "", P.again[i] ? "again" : ""].filter(Boolean).map(word => word + ": ").join("") : "";
  const name = isRefusal ? reason : isNarrow ? odd + S[P.words[i]].replace(/^[RU][CD] (RDMA )?/, "") : S[P.words[i]];
  const discarded = P.arrival[i] === 2 || P.arrival[i] === 5 ? "discarded" : "";
  const beside = [management(i), isNarrow && isCulprit(i) ? details(i) : "", S[P.psn[i]], discarded, again, isRefusal ? S[P.words[i]] : details(i), P.bytes[i] > 0 ? many(P.bytes[i], "byte") : ""].filter(Boolean).join(" · ");
  const label = make("div", { class: "label" }, make("b", { class: "p" + P.part[i] }, name), " ", make("span", {}, beside));
  const [low, high] = from < to ? [from, to] : [to, from];
  label.style.left = low + 8 + "px";
  label.style.width = Math.max(high - low - 16, 60) + "px";
  const node = make("div", { class: "row" + (isMarkedRow ? " marked" : "") + (at === here() ? " chosen" : ""), role: "option", id: "p" + i,
    "aria-selected": at === here(), "aria-posinset": at + 1, "aria-setsize": items.length },
    make("span", { class: "at" }, make("b", {}, String(P.number[i])), make("br"), stamp(P.time[i])), svg, label, make("span", { class: "unseen" }, said(i)));
  if (isMarkedRow) {
    const mark = draw("svg", { width, height: HEIGHT });
    mark.append(draw("g", { class: "p4" }, sign("finding", width - 12, 12)));
    node.append(mark);
    node.title = [...(found || []).map(finding => `${finding[0]}: ${finding[3]}`), ...(missed || []).map(([rule, packet]) => `lost: packet ${packet} shows it (${rule})`), ...(isCulprit(i) ? [`not taken: packet ${P.about[i]} says so`] : [])].join("\n");
  }
  node.style.top = at * HEIGHT + "px";
  return node;
}
function render() {
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 8);
  const last = Math.min(items.length - 1, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 8);
  for (const [at, node] of drawn) if (at < first || at > last) { node.remove(); drawn.delete(at); }
  for (let at = first; at <= last; at++) {
    if (drawn.has(at)) continue;
    const node = rowNode(at);
    drawn.set(at, node);
    space.append(node);
  }
  // Only what is drawn can be pointed at.
  if (drawn.has(here())) list.setAttribute("aria-activedescendant", drawn.get(here()).id);
  else list.removeAttribute("aria-activedescendant");
}

// Bytes and fields of one packet.
function bytesOf(i) {
  const start = offsets[i], end = offsets[i + 1];
  if (start === end) return new Uint8Array();
  const from = Math.floor(start / 3) * 4, to = Math.ceil(end / 3) * 4;
  const text = atob(blob.slice(from, to));
  const skip = start % 3, out = new Uint8Array(end - start);
  for (let at = 0; at < out.length; at++) out[at] = text.charCodeAt(at + skip);
  return out;
}
const hex = byte => byte.toString(16).padStart(2, "0");
function valueOf(slot, bytes, own) {
  const part = [...bytes.slice(slot[2], slot[2] + slot[3])];
  switch (slot[4]) {
    case "s": return S[slot[5]];
    case "o": return S[own.shift()];
    case "d": return part.reduce((number, byte) => number * 256n + BigInt(byte), 0n).toString();
    case "x": return "0x" + part.map(hex).join("");
    case "b": return part.map(hex).join("");
    case "m": return part.map(hex).join(":");
    case "4": return part.join(".");
  }
  return "";
}
// A field's name as people write it: PSN, P_Key.
function spelled(name) {
  return name.replaceAll("_", " ").replace(/\bp key\b/, "P_Key").replace(/\bq key\b/, "Q_Key")
    .replace(/\b(psn|qpn|msn|va|rnr|srq|guid|cm|ack|fecn|becn|gid|lid|mtu|dma|eecn|dscp)\b/g, word => word.toUpperCase());
}
function fieldsOf(i, bytes) {
  const layout = P.layout[i] < 0 ? [] : data.layouts[P.layout[i]], own = values.slice(owned[i], owned[i + 1]);
  return layout.map(slot => {
    const value = valueOf(slot, bytes, own), name = S[slot[1]];
    let note = S[slot[6]];
    if (name === "PSN" || name === "psn") note = note || S[P.psn[i]];
    if (/^destination.qpn$/i.test(name)) note = note || S[P.destination[i]];
    return { header: S[slot[0]], name: spelled(name), start: slot[2], length: slot[3], value, note };
  });
}
function packetButton(number, words) {
  const node = make("button", { type: "button", class: "go" }, words || `packet ${number}`);
  node.addEventListener("click", () => goTo(number));
  return node;
}
function say(kind, ...children) {
  return make("div", { class: "said " + kind }, make("div", {}, ...children));
}

function fill(out, moveFocus) {
  const pane = $("packet");
  pane.replaceChildren(...out);
  pane.scrollTop = 0;
  if (moveFocus) pane.focus({ preventScroll: false });
}
function steps() {
  // The pane is made anew with each row, and the button that was pressed is the one to press again.
  const buttons = [[-1, "row before", "↑"], [1, "next row", "↓"]].map(([by, label, sign], at) => {
    const button = make("button", { type: "button", "aria-label": label }, sign);
    button.addEventListener("click", () => {
      step(by);
      $("packet").querySelectorAll(".nav button")[at].focus();
    });
    return button;
  });
  return make("div", { class: "nav" }, ...buttons);
}

// What becomes of a packet that arrives and is not taken, where no NAK tells; the numbers are those of the page's data.
const IN_VAIN = {
  2: "discards it: one before it is missing, and has to come first.",
  3: "has had the same before, and does not take it again.",
  5: "does nothing with it: its queue pair is in the error state.",
};
// The packet that another one repeats.
function firstSent(i) {
  for (let before = i - 1; before >= 0; before--) {
    const isSame = P.part[before] === P.part[i] && P.connection[before] === P.connection[i] && P.message[before] === P.message[i] && P.offset[before] === P.offset[i] && P.from[before] === P.from[i];
    // Neither another repetition nor what the switch made of the first.
    if (isSame && !P.again[before] && !(P.fate[before] >= 10 && P.fate[before] <= 12)) {
      return [" It was sent first as ", packetButton(P.number[before]), "."];
    }
  }
  return [];
}
function open(i, moveFocus) {
  const number = P.number[i];
  const out = [steps(), make("h3", { id: "h-packet" }, `${number} · ${headline(i)}`),
    make("p", {}, `${S[P.source[i]]} → ${S[P.destination[i]]}`, S[P.psn[i]] ? `, PSN ${S[P.psn[i]]}` : "", P.bytes[i] > 0 ? `, ${many(P.bytes[i], "byte")}` : ""),
    make("p", { class: "quiet" }, `${stamp(P.time[i])} after the first frame`, i > 0 ? `, ${time(heads(i))} after the packet before` : "")];
  if (S[P.details[i]] && !data.parameters[i]) out.push(make("p", {}, details(i)));
  if (P.fate[i] > 0) {
    const [, words] = FATES[P.fate[i]], amount = P.amount[i];
    const kind = kindOf(i) || "late", parts = [words];
    if (P.fate[i] === 1) parts.push(` By ${time(amount * 1e3)}.`);
    if (P.fate[i] === 5) parts.push(` For ${amount} ms.`);
    if (P.fate[i] >= 10 && P.fate[i] <= 12) parts.push(" See ", packetButton(amount), ".");
    const made = derived.get(number);
    if (made !== undefined) parts.push(" It went on as ", packetButton(P.number[made]), ".");
    out.push(say(kind, ...parts));
  }
  if (P.again[i]) out.push(say("repeated", AGAIN[S[P.again[i]]] || "Sent again.", ...firstSent(i)));
  if (IN_VAIN[P.arrival[i]]) out.push(say("late", `${data.nodes[P.to[i]]} ${IN_VAIN[P.arrival[i]]}`));
  if (P.part[i] >= 3 || P.arrival[i] === 4 || P.arrival[i] === 6) out.push(refusal(i));
  for (const [rule, packet] of shownAt.get(number) || []) out.push(say("p4", "Its loss shows at ", packetButton(packet), `, which breaks ${rule} because this one is missing.`));
  for (const [rule, severity, , evidence, missing] of findings.get(number) || []) {
    const about = data.rules[rule] || {};
    const fault = missing ? [" The fault is ", packetButton(missing), ", which did not arrive; this packet only shows it."] : [];
    out.push(say("p4", make("p", {}, make("strong", {}, rule), ` (${severity}): ${about.title || ""}. `, make("em", {}, evidence), ".", ...fault), make("p", { class: "quiet" }, about.explanation || "")));
  }
  const at = P.message[i];
  if (at >= 0) {
    const M = data.messages;
    out.push(make("p", {}, `${P.part[i] === 1 || P.bytes[i] > 0 ? "Part of" : "Answers"} message ${at + 1}: ${S[M.kind[at]]}, ${many(M.bytes[at], "byte")}${S[M.memory[at]] ? " at " + S[M.memory[at]] : ""}, ${S[M.outcome[at]]}`,
      M.took[at] >= 0 ? ` ${time(M.took[at])} after its first packet (${M.first[at]})` : "", "."));
  }
  const parameters = data.parameters[i];
  if (parameters) {
    out.push(make("h4", {}, "Says"), make("table", {}, make("tbody", {}, ...parameters.map(([name, value]) => make("tr", {}, make("td", {}, name), make("td", {}, explained(value)))))));
  }
  out.push(...bytesAndFields(i));
  fill(out, moveFocus);
}

// What a CM message says, with what its names stand for.
function explained(value) {
  const start = /starting PSN (.+)[+]0$/.exec(value), known = data.regions.find(region => value.endsWith("rkey " + region.name));
  if (start) return `${value}: ${start[1]} is to begin its requests with it`;
  return known ? `${value} (rkey ${known.rkey}, va ${known.base})` : value.includes("<") ? `${value} (of this run: see the bytes)` : value;
}

// Of a NAK the packet that caused it, and of a request the NAK that it caused.
function refusal(i) {
  const psn = S[P.psn[i]], about = P.about[i] ? packetButton(P.about[i]) : "";
  if (P.part[i] === 1) return say("p4", P.arrival[i] === 6 ? "The responder has no RECV for it: " : "The responder refuses it: ", about, " says so.");
  const cause = about ? ["Caused by ", about, ". "] : [];
  if (P.part[i] === 3) {
    const wait = (/RNR NAK ([0-9.]+ ms)/.exec(S[P.details[i]]) || [])[1];
    const node = data.nodes[P.from[i]], code = wait === "655.36 ms" ? ` ${wait} is code 0, the longest; a queue pair has it where its program sets none.` : "";
    return say("p3", ...cause, make("p", {}, `${node} has no RECV for ${psn}. ${data.nodes[P.to[i]]} is to wait at least ${wait || "the time that this RNR NAK names"}, and to send it again, as often as its rnr_retry_count says (7: without end).`),
      make("p", {}, `${node} chooses the time, by min_rnr_timer of its queue pair.${code} A RECV that is posted meanwhile ends no wait: nothing tells ${data.nodes[P.to[i]]} of it. One that is posted before the peer may send makes none.`));
  }
  const lost = (findings.get(P.about[i]) || []).map(finding => finding[4]).find(Boolean);
  if (isGapNak(i)) return say("p4", ...cause, `The responder asks for ${psn} again, and for all that was sent after it.`, ...(lost ? [" It is ", packetButton(lost), ", which did not arrive."] : []));
  return say("p4", ...cause, `The responder refuses ${psn} for good (${S[P.details[i]].replace(/ msn \d+.*$/, "")}): neither queue pair can do anything more.`);
}

function bytesAndFields(i) {
  const bytes = bytesOf(i), fields = fieldsOf(i, bytes);
  const out = [make("h4", {}, "Bytes")];
  const headers = [...new Set(fields.map(field => field.header))];
  const tint = header => "h" + headers.indexOf(header) % 9;
  // The narrowest field of each byte.
  const owner = new Array(bytes.length).fill(-1);
  fields.forEach((field, at) => {
    for (let byte = field.start; byte < Math.min(field.start + field.length, bytes.length); byte++) {
      if (owner[byte] < 0 || fields[owner[byte]].length > field.length) owner[byte] = at;
    }
  });
  const dump = make("div", { class: "hex", tabindex: "0", role: "img", "aria-label": `${bytes.length} bytes of the frame in hexadecimal` });
  const nodes = [], perRow = $("packet").clientWidth < 540 ? 8 : 16;
  for (let start = 0; start < bytes.length; start += perRow) {
    dump.append(make("span", { class: "o" }, start.toString(16).padStart(4, "0") + "  "));
    let text = "";
    for (let at = start; at < start + perRow; at++) {
      if (at >= bytes.length) { dump.append("   "); continue; }
      const node = make("b", owner[at] < 0 ? {} : { class: tint(fields[owner[at]].header) }, hex(bytes[at]));
      nodes.push(node);
      dump.append(node, at % 8 === 7 && at % perRow !== perRow - 1 ? "  " : " ");
      text += bytes[at] >= 0x20 && bytes[at] < 0x7f ? String.fromCharCode(bytes[at]) : "·";
    }
    dump.append(make("span", { class: "c" }, " " + text), "\n");
  }
  const rows = [];
  const light = at => {
    nodes.forEach(node => node.classList.remove("lit"));
    rows.forEach(row => row.classList.remove("lit"));
    if (at < 0) return;
    const { start, length } = fields[at];
    for (let byte = start; byte < start + length && byte < nodes.length; byte++) nodes[byte].classList.add("lit");
    rows[at].classList.add("lit");
    const node = nodes[start];
    if (node && (node.offsetTop < dump.scrollTop || node.offsetTop > dump.scrollTop + dump.clientHeight - 20)) dump.scrollTop = node.offsetTop - 40;
  };
  nodes.forEach((node, byte) => {
    if (owner[byte] < 0) return;
    node.title = `${fields[owner[byte]].header}: ${fields[owner[byte]].name}`;
    node.addEventListener("mouseenter", () => light(owner[byte]));
    node.addEventListener("click", () => { light(owner[byte]); rows[owner[byte]].scrollIntoView({ block: "nearest" }); });
  });
  out.push(dump);
  if (P.captured[i] > bytes.length) out.push(make("p", { class: "quiet" }, `and ${many(P.captured[i] - bytes.length, "byte")} of payload that the page leaves out`));
  if (P.original[i] > P.captured[i]) out.push(make("p", { class: "quiet" }, `The capture has ${P.captured[i]} of ${many(P.original[i], "byte")}.`));
  for (const header of headers) {
    const body = make("tbody");
    fields.forEach((field, at) => {
      if (field.header !== header) return;
      const place = field.length === 1 ? `byte ${field.start}` : `bytes ${field.start} to ${field.start + field.length - 1}`;
      const row = make("tr", { "data-slot": at, tabindex: rows.length ? "-1" : "0", title: place }, make("td", {}, field.name), make("td", {}, field.value.length > 72 ? field.value.slice(0, 72) + "…" : field.value), make("td", {}, field.note));
      row.addEventListener("mouseenter", () => light(at));
      row.addEventListener("focus", () => light(at));
      row.addEventListener("keydown", event => {
        const to = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (!to) return;
        event.preventDefault();
        (rows[at + to] || row).focus();
      });
      rows[at] = row;
      body.append(row);
    });
    out.push(make("table", {}, make("caption", {}, make("i", { class: tint(header), "aria-hidden": "true" }), header), body));
  }
  return out;
}

// The address tells the packet that is open once keys rest: browsers refuse one that changes with each repeat of a held key.
let addressed;
function address(i) {
  clearTimeout(addressed);
  addressed = setTimeout(() => history.replaceState(null, "", "#packet-" + P.number[i]), 200);
}
function mark(isChosen) {
  const node = drawn.get(here());
  if (!node) return;
  node.classList.toggle("chosen", isChosen);
  node.setAttribute("aria-selected", String(isChosen));
}
function select(change, scroll) {
  mark(false);
  change();
  const top = here() * HEIGHT;
  if (scroll && (top < list.scrollTop || top + HEIGHT > list.scrollTop + list.clientHeight)) list.scrollTop = Math.max(0, top - list.clientHeight / 3);
  render();
  mark(true);
}
// The open row is the third that is seen, so that it stands on the first screen.
function reveal() {
  list.scrollTop = Math.max(0, ((here() ?? 0) - 2) * HEIGHT);
  render();
}
function chooseCall(call, scroll = true) {
  select(() => { opened = call; }, scroll);
  const doubt = data.clocks[C.node[call]];
  fill([steps(), make("h3", { id: "h-packet" }, `${data.nodes[C.node[call]]}: ${CALLS[C.kind[call]][0]}`), make("p", { class: "whole" }, S[C.text[call]]),
    make("p", { class: "quiet" }, `${callStamp(call)} after the first frame. The program logged it by a clock of its own, which ${doubt < 0 ? "the wire bounds on one side only" : `is matched with the wire’s to ±${time(doubt)}`}.`)]);
}
function choose(i, { scroll = true, moveFocus = false, isAsked = true } = {}) {
  if (i < 0 || i >= count) return;
  if (!rowOf.has(i)) {
    wanted.clear();
    $("find").value = "";
    $("connection").value = "0";
    showLegend();
    filter();
  }
  select(() => { [chosen, opened] = [i, -1]; }, scroll);
  open(i, moveFocus);
  stepped(i);
  if (isAsked) address(i);
}
function goTo(number) {
  if (!indexOf.has(number)) return;
  // The way back leads to where the reader was.
  clearTimeout(addressed);
  if (chosen >= 0) history.replaceState(null, "", "#packet-" + P.number[chosen]);
  if (chosen < 0 || P.number[chosen] !== number) history.pushState(null, "", "#packet-" + number);
  choose(indexOf.get(number));
  // Where both do not stand side by side, what was asked for comes first.
  const isNarrow = matchMedia("(max-width: 1000px)").matches;
  (isNarrow ? $("packet") : $("ladder")).scrollIntoView({ block: "start" });
  (isNarrow ? $("packet") : list).focus({ preventScroll: true });
}
function step(by) {
  let at = (here() ?? -1) + by;
  while (items[at] && items[at].pause !== undefined) at += Math.sign(by);
  at = Math.max(0, Math.min(items.length - 1, at));
  chooseItem(items[at]);
}
function chooseItem(item) {
  if (item && item.i !== undefined) choose(item.i);
  else if (item && item.call !== undefined) chooseCall(item.call);
}
function nextMarked(by) {
  const isOdd = ({ i, call }) => i !== undefined ? isMarked(i) : call !== undefined && CALLS[C.kind[call]][0] === "failed";
  for (let at = (here() ?? -1) + by; at >= 0 && at < items.length; at += by) {
    if (!isOdd(items[at])) continue;
    chooseItem(items[at]);
    $("shown").textContent = shownWords;
    return list.scrollIntoView({ block: "nearest" });
  }
  $("shown").textContent = `No row with a sign ${by > 0 ? "after" : "before"} this one.`;
}

// The legend, which is the filter too.
const legend = [];
function showLegend() {
  for (const [kind, button] of legend) button.setAttribute("aria-pressed", String(wanted.has(kind)));
}
function makeLegend() {
  for (const [kind, [words, colour, is]] of Object.entries(KINDS)) {
    let number = 0;
    for (let i = 0; i < count; i++) if (is(i)) number++;
    if (!number) continue;
    const svg = draw("svg", { viewBox: "0 0 44 16", "aria-hidden": "true" });
    const group = draw("g", { class: colour });
    if (kind === "finding") group.append(sign("finding", 22, 8));
    else {
      const line = { class: "arrow", stroke: "currentColor", x1: 2, x2: kind === "lost" ? 22 : 34, y1: 8, y2: 8 };
      if (DASH[kind]) line["stroke-dasharray"] = DASH[kind];
      if (kind === "repeated") group.append(draw("line", { ...line, y1: 6, y2: 6 }), draw("line", { ...line, y1: 10, y2: 10 }));
      else group.append(draw("line", line));
      if (kind !== "lost") group.append(draw("path", { fill: "currentColor", d: "M42 8 L32 3 V13 Z" }));
      if (SIGNS[kind]) group.append(sign(kind, kind === "lost" ? 22 : 16, 8));
    }
    svg.append(group);
    const button = make("button", { type: "button", "aria-pressed": "false" }, svg, ` ${words} ${number.toLocaleString("en")}`);
    button.addEventListener("click", () => {
      if (!wanted.delete(kind)) wanted.add(kind);
      showLegend();
      filter();
    });
    legend.push([kind, button]);
    $("legend").append(button);
  }
}

// PSN and MSN over time.
const points = [];
let isCharted = false;
function chart() {
  if (!isCharted) return;
  const series = [];
  let low = 0, high = 0, most = 0;
  for (let i = 0; i < count; i++) {
    if (P.counted[i] < 0) continue;
    const offset = P.offset[i];
    if (Math.abs(offset) > 1 << 22) continue;
    series.push(i);
    low = Math.min(low, offset);
    high = Math.max(high, offset);
    most = Math.max(most, P.msn[i]);
  }
  if (series.length < 2) return;
  marks(series);
  $("chart-words").textContent = `Requests climb from PSN +${low} to +${high}, counted from each requester's first; a step back is something sent again. ` +
    `${most > 0 ? `Answers count ${many(most, "message")} as complete (MSN, below). ` : ""}A click on a point, or Enter at it, opens its packet.`;
  const canvas = $("canvas"), context = canvas.getContext("2d");
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const ratio = window.devicePixelRatio || 1, wide = canvas.clientWidth, tall = 300;
  canvas.width = wide * ratio;
  canvas.height = tall * ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, wide, tall);
  const hasMsn = most > 0 && most < 1 << 23, top = 28, floor = hasMsn ? 200 : 268, second = [224, 278];
  const first = P.time[series[0]], last = P.time[series[series.length - 1]];
  const isEven = $("evenly").checked || last <= first;
  const x = i => 58 + (wide - 74) * (isEven ? i / Math.max(1, count - 1) : (P.time[i] - first) / (last - first));
  const y = offset => floor - (floor - top) * (offset - low) / Math.max(1, high - low);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour("quiet");
  context.strokeStyle = colour("line");
  for (const value of new Set([low, Math.round((low + high) / 2), high])) {
    context.fillText(`+${value}`.replace("+-", "−"), 8, y(value) + 4);
    context.beginPath(); context.moveTo(56, y(value)); context.lineTo(wide - 12, y(value)); context.stroke();
  }
  context.fillText("PSN", 8, 12);
  // Five marks along the bottom: times, or numbers of packets.
  for (let quarter = 0; quarter <= 4; quarter++) {
    const at = 58 + (wide - 74) * quarter / 4, words = isEven ? `packet ${P.number[Math.round((count - 1) * quarter / 4)]}` : stamp(Math.round(first + (last - first) * quarter / 4));
    context.textAlign = quarter === 0 ? "left" : quarter === 4 ? "right" : "center";
    if (wide > 620 || quarter % 4 === 0) context.fillText(words, at, 297);
    context.beginPath(); context.moveTo(at, top); context.lineTo(at, hasMsn ? second[1] : floor); context.stroke();
  }
  context.textAlign = "left";
  points.length = 0;
  point(-1);
  const msnAt = msn => second[1] - (second[1] - second[0]) * msn / most;
  if (hasMsn) {
    context.fillText("MSN", 8, second[0] - 4);
    context.fillText(String(most), 8, second[0] + 12);
    context.fillText("0", 8, second[1] + 4);
    for (const owner of data.nodes.keys()) {
      context.strokeStyle = colour(owner % 2 ? "request" : "response");
      context.beginPath();
      let before = null;
      for (const i of series) {
        if (P.msn[i] < 0 || P.counted[i] !== owner) continue;
        if (before === null) context.moveTo(x(i), msnAt(P.msn[i]));
        else { context.lineTo(x(i), before); context.lineTo(x(i), msnAt(P.msn[i])); }
        before = msnAt(P.msn[i]);
      }
      context.lineWidth = 1.8;
      context.stroke();
    }
  }
  const plain = [[], []];
  for (const i of series) {
    points.push([x(i), y(P.offset[i]), i]);
    if (!kindOf(i)) plain[P.part[i] === 1 ? 0 : 1].push(points.length - 1);
  }
  plain.forEach((some, which) => {
    context.fillStyle = context.strokeStyle = colour(which ? "response" : "request");
    context.lineWidth = 1.4;
    for (const at of some) {
      const [px, py] = points[at];
      if (series.length > 1000) { context.fillRect(px - 1, py - 1, 2, 2); continue; }
      context.beginPath();
      context.arc(px, py, 3.2, 0, 7);
      if (which) context.stroke(); else context.fill();
    }
  });
  for (const i of series) {
    const kind = kindOf(i), px = x(i), py = y(P.offset[i]);
    if (!kind) continue;
    context.fillStyle = context.strokeStyle = colour(kind === "lost" || P.part[i] >= 3 ? "refused" : kind);
    context.lineWidth = 2;
    context.beginPath();
    if (kind === "lost") { context.moveTo(px - 5, py - 5); context.lineTo(px + 5, py + 5); context.moveTo(px - 5, py + 5); context.lineTo(px + 5, py - 5); context.stroke(); }
    else if (kind === "repeated") { context.moveTo(px - 5, py + 4); context.lineTo(px, py - 5); context.lineTo(px + 5, py + 4); context.closePath(); context.stroke(); }
    else if (P.part[i] >= 3) context.fillRect(px - 4, py - 4, 8, 8);
    else { context.moveTo(px, py - 5); context.lineTo(px + 5, py); context.lineTo(px, py + 5); context.lineTo(px - 5, py); context.closePath(); context.fill(); }
  }
}

// What the chart's shapes mean, of those that it has.
function marks(series) {
  const SHAPES = [
    ["request", "request", i => !kindOf(i) && P.part[i] === 1, { d: "M3 8 A5 5 0 1 0 13 8 A5 5 0 1 0 3 8", fill: "currentColor" }],
    ["answer", "response", i => !kindOf(i) && P.part[i] !== 1, { d: "M3 8 A5 5 0 1 0 13 8 A5 5 0 1 0 3 8", fill: "none" }],
    ["lost", "refused", i => kindOf(i) === "lost", { d: "M3 3 L13 13 M3 13 L13 3" }],
    ["sent again", "repeated", i => kindOf(i) === "repeated", { d: "M2 13 L8 3 L14 13 Z", fill: "none" }],
    ["NAK or RNR NAK", "refused", i => P.part[i] >= 3 && kindOf(i) !== "lost", { d: "M3 3 H13 V13 H3 Z", fill: "currentColor" }],
    ["late", "late", i => kindOf(i) === "late", { d: "M8 2 L14 8 L8 14 L2 8 Z", fill: "currentColor" }],
    ["altered", "altered", i => kindOf(i) === "altered", { d: "M8 2 L14 8 L8 14 L2 8 Z", fill: "currentColor" }],
  ];
  const shown = SHAPES.filter(([, , is]) => series.some(is)).map(([words, colour, , shape]) =>
    make("span", {}, draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", style: `color: var(--${colour})` }, draw("path", { fill: "none", stroke: "currentColor", "stroke-width": 1.8, ...shape })), words));
  $("marks").replaceChildren(...shown);
}

// Memory: what was written, read and changed where.
function regions() {
  const M = data.messages;
  if (!data.regions.length) return;
  $("memory").hidden = false;
  for (const region of data.regions) {
    const keys = make("p", { class: "quiet" }, "rkey ", make("code", {}, region.rkey), region.unknown ? ", address " : ", base ", make("code", {}, region.base), region.length ? `, ${many(region.length, "byte")} registered` : "");
    if (region.unknown) {
      $("regions").append(make("div", { class: "region" }, make("h3", {}, `${region.rkey}: an rkey that nobody gave out`),
        make("p", {}, `No region has this key, so nothing was written or read with it. ${region.given ? `${region.name.split(".")[0]} gave out ${region.given}.` : "No key of its node is known."}`), keys));
      continue;
    }
    if (!region.messages.length) {
      $("regions").append(make("div", { class: "region" }, make("h3", {}, region.name), make("p", {}, "Given out, and no message reached it."), keys));
      continue;
    }
    let low = 0, high = region.length || 1;
    for (const [at, offset] of region.messages) {
      low = Math.min(low, offset);
      high = Math.max(high, offset + Math.max(1, M.bytes[at]));
    }
    const scale = offset => 10 + 980 * (offset - low) / (high - low);
    const shown = region.messages.slice(0, 400);
    const svg = draw("svg", { viewBox: "0 0 1000 52", role: "img", "aria-label": `${region.name}: ${many(region.messages.length, "message")} between byte ${low} and byte ${high}` });
    for (const [at, offset] of shown) {
      const kind = S[M.kind[at]], isRead = kind.includes("READ"), isWrite = kind.includes("WRITE");
      const isBad = S[M.outcome[at]].startsWith("refused") || S[M.outcome[at]] === "never answered";
      const rect = draw("rect", { x: scale(offset), width: Math.max(3, scale(offset + M.bytes[at]) - scale(offset)), y: isRead ? 30 : isWrite ? 10 : 20, height: 14, rx: 2,
        class: isBad ? "p4" : isRead ? "p2" : isWrite ? "p1" : "repeated", fill: isRead || isBad ? "none" : "currentColor", "fill-opacity": ".55", stroke: "currentColor", "stroke-width": 1.6 });
      rect.append(draw("title", {}, `${kind}, ${many(M.bytes[at], "byte")} at ${offset}, ${S[M.outcome[at]]}`));
      rect.addEventListener("click", () => goTo(M.first[at]));
      svg.append(rect);
    }
    const kinds = new Map();
    for (const [at] of region.messages) {
      const kind = S[M.kind[at]] + ", " + S[M.outcome[at]], sum = kinds.get(kind) || [0, 0];
      kinds.set(kind, [sum[0] + 1, sum[1] + M.bytes[at]]);
    }
    const words = [...kinds].map(([kind, [number, bytes]]) => `${number.toLocaleString("en")} × ${kind} (${many(bytes, "byte")})`).join("; ");
    $("regions").append(make("div", { class: "region" }, make("h3", {}, region.name), make("p", {}, words), keys, svg, make("p", { class: "bounds quiet", "aria-hidden": "true" }, make("span", {}, `+${low}`), make("span", {}, `+${high}`))));
  }
}
// Requests that were sent again, by message.
const repeats = new Map();
for (let i = 0; i < count; i++) {
  if (!P.again[i] || P.message[i] < 0 || P.part[i] !== 1) continue;
  if (!repeats.has(P.message[i])) repeats.set(P.message[i], []);
  repeats.get(P.message[i]).push(i);
}
// Packets of a message's own, as ranges; what else passes between them is not among them.
const ownOf = new Map();
for (let i = 0; i < count; i++) {
  if (P.message[i] < 0 || P.again[i] || !(P.part[i] === 1 || P.part[i] === 2 && P.bytes[i] > 0)) continue;
  if (!ownOf.has(P.message[i])) ownOf.set(P.message[i], []);
  ownOf.get(P.message[i]).push(i);
}
function ranges(packets) {
  const found = [];
  for (const i of packets) {
    const last = found[found.length - 1];
    if (last && last[1] === i - 1) last[1] = i; else found.push([i, i]);
  }
  const words = found.slice(0, 3).map(([from, to]) => from === to ? `${P.number[from]}` : `${P.number[from]}–${P.number[to]}`).join(", ");
  return words + (found.length > 3 ? ` … ${P.number[found[found.length - 1][1]]}` : "");
}
let listed = 0;
function messages() {
  const M = data.messages, all = (M.first || []).length;
  if (!all) return;
  $("messages").hidden = false;
  const end = Math.min(all, listed + 100);
  for (; listed < end; listed++) {
    const at = listed;
    const cells = [S[M.kind[at]] + (S[M.immediate[at]] ? `, immediate ${S[M.immediate[at]]}` : ""), S[M.requester[at]], S[M.responder[at]], S[M.psn[at]], M.bytes[at].toLocaleString("en"), S[M.memory[at]], S[M.outcome[at]], M.took[at] < 0 ? "–" : time(M.took[at])];
    const again = repeats.get(at) || [];
    const own = ranges(ownOf.get(at) || []) || String(M.first[at]);
    const first = make("td", {}, packetButton(M.first[at], own + (again.length ? `, again ${ranges(again)}` : "")));
    $("rows").append(make("tr", {}, first, ...cells.map((cell, column) => make("td", column === 4 ? { class: "number" } : {}, cell))));
  }
  $("more").hidden = listed >= all;
  $("more").textContent = `show 100 more of ${(all - listed).toLocaleString("en")}`;
}

// Everything together.
const stepped = stepper({ data, P, S, count, make, draw, time, stamp, many, arrow, bytesOf, fieldsOf, choose, fates: FATES, details, headline });
$("ladder").hidden = false;
makeLegend();
if (data.connections.length > 1) {
  $("of-connection").hidden = false;
  data.connections.slice(0, 500).forEach((name, at) => $("connection").append(make("option", { value: at + 1 }, `${at + 1}: ${name}`)));
}
measure();
filter();
// The rest when the packets are there, and the chart when somebody comes near it.
setTimeout(() => { regions(); messages(); });
// A chart of one PSN would be a line.
const levels = new Set();
for (let i = 0; i < count && levels.size < 2; i++) if (P.counted[i] >= 0) levels.add(P.offset[i]);
$("chart").hidden = levels.size < 2;
new IntersectionObserver(([entry], observer) => {
  if (!entry.isIntersecting) return;
  isCharted = true;
  observer.disconnect();
  chart();
}, { rootMargin: "200px" }).observe($("canvas"));
list.addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
space.addEventListener("click", event => {
  const row = event.target.closest(".row");
  if (!row) return;
  if (row.id[0] === "p") choose(Number(row.id.slice(1)), { scroll: false });
  else chooseCall(Number(row.id.slice(1)), false);
});
list.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor(list.clientHeight / HEIGHT) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length };
  if (event.key in steps) step(steps[event.key]);
  else if (event.key === "Enter" && here() !== undefined) $("packet").focus();
  else return;
  event.preventDefault();
});
$("packet").addEventListener("keydown", event => { if (event.key === "Escape") list.focus(); });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.activeElement.matches("input:not([type=checkbox]), select")) return;
  if (event.key === "/") {
    event.preventDefault();
    $("find").focus();
  } else if (event.key === "n" || event.key === "p") nextMarked(event.key === "n" ? 1 : -1);
});
addEventListener("popstate", () => {
  const back = /^#packet-(\d+)$/.exec(location.hash);
  if (back && indexOf.has(Number(back[1]))) choose(indexOf.get(Number(back[1])), { isAsked: false });
});
$("find").addEventListener("input", filter);
$("find").addEventListener("keydown", event => {
  if (event.key !== "Escape" && event.key !== "Enter") return;
  if (event.key === "Escape") { $("find").value = ""; filter(); }
  event.preventDefault();
  list.focus();
});
$("connection").addEventListener("change", filter);
$("with-calls").hidden = !calls;
$("calls").addEventListener("change", filter);
$("evenly").addEventListener("change", chart);
$("more").addEventListener("click", messages);
// The point that the mouse or the arrow keys are at.
let pointed = -1;
function point(at) {
  pointed = at;
  const ring = $("ring");
  ring.hidden = at < 0;
  if (at < 0) return;
  const [x, y, i] = points[at];
  ring.style.left = x + "px";
  ring.style.top = y + "px";
  $("pointed").textContent = `packet ${P.number[i]}: ${[S[P.words[i]], S[P.psn[i]], details(i), P.again[i] ? "again: " + S[P.again[i]] : ""].filter(Boolean).join(", ")}, at ${stamp(P.time[i])}`;
}
function nearest(event) {
  const box = $("canvas").getBoundingClientRect();
  let best = -1, least = 400;
  points.forEach(([x, y], at) => {
    const far = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
    if (far < least) [best, least] = [at, far];
  });
  return best;
}
$("canvas").addEventListener("mousemove", event => point(nearest(event)));
$("canvas").addEventListener("click", event => {
  const at = nearest(event);
  if (at >= 0) goTo(P.number[points[at][2]]);
});
$("canvas").addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowRight: 1, ArrowLeft: -1, Home: -points.length, End: points.length }[event.key];
  if (by && points.length) point(Math.max(0, Math.min(points.length - 1, pointed + by)));
  else if (event.key === "Enter" && pointed >= 0) goTo(P.number[points[pointed][2]]);
  else return;
  event.preventDefault();
  event.stopPropagation();
});
// Packets that a cause names lead there.
for (const place of document.querySelectorAll(".cause p, .cause pre")) {
  for (const text of [...place.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)) {
    const parts = text.data.split(/\bpacket (\d+)\b/);
    if (parts.length > 1) text.replaceWith(...parts.map((part, at) => at % 2 && indexOf.has(Number(part)) ? packetButton(Number(part)) : at % 2 ? "packet " + part : part));
  }
}
for (const button of document.querySelectorAll("button[data-packet]")) button.addEventListener("click", () => goTo(Number(button.dataset.packet)));
let settled;
new ResizeObserver(() => {
  if (list.clientWidth === width) return;
  clearTimeout(settled);
  settled = setTimeout(() => { measure(); drawn.clear(); space.replaceChildren(); filter(); chart(); reveal(); }, 60);
}).observe(list);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", chart);
// Opens what the address asks for, else the first packet that is marked, else the first.
const asked = /^#packet-(\d+)$/.exec(location.hash);
let first = asked && indexOf.has(Number(asked[1])) ? indexOf.get(Number(asked[1])) : -1;
for (let i = 0; first < 0 && i < count; i++) if (isMarked(i)) first = i;
for (let i = 0; first < 0 && i < count; i++) if (P.part[i] > 0) first = i;
if (count) {
  choose(Math.max(first, 0), { isAsked: false });
  reveal();
}
else $("packet").hidden = true;
})();
