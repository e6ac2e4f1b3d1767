// A run packet by packet: what both ends know after each, and what stands in memory. All of it is worked out from the wire; what its responder does with a request is in the page's data.
"use strict";
function stepper({ data, P, S, count, make, draw, time, stamp, many, arrow, bytesOf, fieldsOf, choose, fates, details, headline }) {
const $ = id => document.getElementById(id);
const M = data.messages, messages = (M.first || []).length;
const indexOf = new Map();
for (let i = 0; i < count; i++) indexOf.set(P.number[i], i);

// The message of each packet, as far as one is known; an answer has that of its PSN.
const messageOf = P.message || [];
const ARRIVED = { taken: 1, early: 2, repeated: 3, refused: 4, dead: 5, notReady: 6 };
const isSent = i => P.fate[i] < 10 || P.fate[i] > 12;
const isDelivered = i => P.fate[i] < 2 || P.fate[i] > 9;
const kindOf = at => at < 0 ? "" : S[M.kind[at]];
// PSNs that a request takes: a READ as many as its answer has packets.
const spanOf = (i, at) => at >= 0 && kindOf(at).includes("READ") ? M.psns[at] : 1;

// Where a packet's payload belongs: a region at the responder, or the requester's own buffer for what it reads.
function placeOf(i, at) {
  if (at < 0 || P.bytes[i] <= 0) return null;
  const first = indexOf.get(M.first[at]), kind = kindOf(at), steps = P.offset[i] - P.offset[first];
  // A path MTU is a power of two, and all packets but the last are full.
  const whole = M.psns[at] > 1 ? 2 ** Math.ceil(Math.log2(M.bytes[at] / M.psns[at])) : M.bytes[at];
  const within = steps * whole;
  if (P.part[i] === 2) return kind.includes("READ") ? { name: `${S[M.requester[at]]}: what it reads from ${S[M.memory[at]] || "memory"}`, node: P.to[i], start: within } : null;
  if (P.part[i] !== 1) return null;
  if (kind.includes("WRITE")) {
    const parts = /^(.*)([+-]\d+)$/.exec(S[M.memory[at]]);
    return { name: parts ? parts[1] : S[M.memory[at]] || "memory", node: P.to[i], start: (parts ? Number(parts[2]) : 0) + within };
  }
  return kind.includes("SEND") ? { name: `${S[M.responder[at]]}: RECV of message ${at + 1}`, node: P.to[i], start: within } : null;
}

// Bytes of the whole place: a region as long as its program registers it, else as far as any message reaches; else the message.
function wholeOf(at) {
  for (const region of data.regions) {
    if (!kindOf(at).includes("WRITE") || !region.messages.some(([message]) => message === at)) continue;
    return region.length || Math.max(...region.messages.map(([message, offset]) => offset + M.bytes[message]));
  }
  return M.bytes[at];
}

// State after each packet: of each direction what its requester and its responder know, of each region what was written to it. Words are made of the last packet only.
const directionOf = i => P.counted[i] < 0 ? "" : `${P.connection[i]}:${P.counted[i]}`;
const nothing = () => ({ next: 0, directions: new Map(), memory: new Map(), connections: new Map() });
let reached = nothing();
const isReliable = i => !/^U[CD] /.test(S[P.words[i]]);
// What a NAK says: "remote access error", "RNR NAK 655.36 ms".
const nakOf = i => S[P.details[i]].replace(/ msn \d+.*$/, "").replace(/^NAK /, "");
function advance({ directions, memory, connections }, i, tell) {
  const delivered = isDelivered(i) && !P.damaged[i];
  if (P.part[i] === 0) return management(connections, i, delivered, tell);
  const key = directionOf(i);
  if (!key) return;
  let state = directions.get(key);
  if (!state) directions.set(key, state = { node: P.counted[i], connection: P.connection[i], next: P.offset[i], answered: P.offset[i], expected: P.offset[i], msn: 0, again: 0, peer: P.part[i] === 1 ? P.to[i] : P.from[i], said: "", refused: null, dead: [], isReliable: isReliable(i) });
  if (P.part[i] === 1) request(state, memory, i, delivered, tell);
  else answer(state, memory, i, delivered, tell);
}
const absent = i => P.fate[i] === 5 || P.fate[i] === 6 ? "It is held back, and does not arrive yet" : P.fate[i] >= 7 && P.fate[i] <= 9 ? "It does not arrive as it is, a changed copy does" : "It does not arrive";
function request(state, memory, i, delivered, tell) {
  const at = messageOf[i], responder = data.nodes[P.to[i]], kind = kindOf(at);
  if (isSent(i)) {
    state.next = Math.max(state.next, P.offset[i] + spanOf(i, at));
    if (P.again[i]) {
      state.again++;
      tell(() => `${data.nodes[state.node]} sends it again.`);
    }
  }
  if (!isDelivered(i)) return tell(() => `${absent(i)}: ${data.nodes[state.peer]} still expects ${psn(state, state.expected)}.`);
  if (P.damaged[i]) return tell(() => `Its ICRC is wrong: ${responder} drops it without a word.`);
  const says = P.about[i] ? `: packet ${P.about[i]} says so` : "";
  switch (P.arrival[i]) {
    case ARRIVED.refused:
      state.dead = [P.to[i]];
      return tell(() => `${responder} refuses it${says} (${P.about[i] ? nakOf(indexOf.get(P.about[i])) : "NAK"}). Nothing goes to memory, and its queue pair can do nothing more.`);
    case ARRIVED.notReady: return tell(() => `${responder} has no RECV for it${says} (RNR NAK). Nothing goes to memory, and it still expects ${psn(state, state.expected)}.`);
    case ARRIVED.dead: return tell(() => `${responder} does nothing with it: its queue pair is in the error state.`);
    case ARRIVED.early: return tell(() => `${responder} expects ${psn(state, state.expected)} first and drops this one${says}.`);
    case ARRIVED.repeated: return tell(() => `${responder} has had it already, ${kind.includes("READ") ? "and reads once more" : "does not do it again, and acknowledges it once more"}.`);
    case ARRIVED.taken:
      state.expected = P.offset[i] + spanOf(i, at);
      state.said = "";
      if (!put(memory, i, at, tell)) tell(() => `${responder} takes it${kind.includes("READ") ? ` and is to answer with ${many(spanOf(i, at), "packet")}` : ""}: it expects ${psn(state, state.expected)} next.`);
  }
}
function answer(state, memory, i, delivered, tell) {
  const requester = data.nodes[state.node], responder = data.nodes[state.peer], at = messageOf[i];
  const part = P.part[i], offset = P.offset[i], isAgain = part === 4 && /PSN sequence error/.test(S[P.details[i]]);
  if (part === 2) {
    if (P.msn[i] >= 0) state.msn = P.msn[i];
    state.said = "";
  } else state.said = part === 3 ? `no RECV for ${psn(state, offset)} (${nakOf(i)})` : isAgain ? `asks for ${psn(state, offset)} again` : `refused ${psn(state, offset)}: ${nakOf(i)}`;
  if (!delivered) return tell(() => `${P.damaged[i] && isDelivered(i) ? "Its ICRC is wrong" : absent(i)}: ${requester} goes on waiting.`);
  const was = state.answered;
  if (part === 2) {
    if (P.arrival[i] === ARRIVED.early) return tell(() => `${requester} misses a READ response before it (${psn(state, state.answered)}), drops this one, and is to ask for both again.`);
    if (P.arrival[i] === ARRIVED.repeated || offset < was && !(P.bytes[i] > 0)) return tell(() => `${requester} has had this answer already.`);
    state.answered = Math.max(state.answered, offset + 1);
    if (state.answered > was) tell(() => `${requester} knows that everything up to ${psn(state, state.answered - 1)} is done.`);
    put(memory, i, at, tell);
  } else if (part === 3) tell(() => `${requester} is to wait, and to send ${psn(state, offset)} again.`);
  else if (isAgain) {
    // It says that all before is done.
    state.answered = Math.max(state.answered, offset);
    tell(() => `${requester} ${state.answered > was ? `knows that everything up to ${psn(state, offset - 1)} is done, and ` : ""}is to send ${psn(state, offset)} again, and all after it.`);
  } else {
    state.answered = Math.max(state.answered, offset + 1);
    state.refused = offset;
    state.dead = [state.node, state.peer];
    tell(() => `${requester} learns that ${responder} has refused ${psn(state, offset)}. Neither queue pair can do anything more.`);
  }
}
// Both states around a packet. Steps forward go on from the last one; what was written is of the later state alone.
function around(i) {
  if (reached.next > i) reached = nothing();
  const quiet = () => {}, words = [];
  for (; reached.next < i; reached.next++) advance(reached, reached.next, quiet);
  const copy = map => new Map([...map].map(([key, value]) => [key, { ...value }]));
  const before = { directions: copy(reached.directions), connections: copy(reached.connections) };
  advance(reached, reached.next++, sentence => words.push(sentence()));
  return { now: { ...reached, words }, before };
}
const psn = (state, offset) => `${data.nodes[state.node]}${offset < 0 ? "" : "+"}${offset}`;
function management(connections, i, delivered, tell) {
  const key = P.connection[i], name = S[P.words[i]].replace("CM ", "");
  if (!connections.has(key)) connections.set(key, {});
  const ends = connections.get(key), { from, to } = { from: P.from[i], to: P.to[i] };
  const set = (node, state) => { ends[node] = state; };
  if (isSent(i)) {
    const own = { REQ: "asks to connect", REP: "has accepted, waits for the RTU", RTU: "connected", REJ: "has rejected", DREQ: "disconnects", DREP: "disconnected" }[name];
    if (own) set(from, own);
  }
  if (!delivered) return tell(() => `${absent(i)}.`);
  const peer = { REQ: "is asked to connect", REP: "is accepted", RTU: "connected", REJ: "is rejected", DREQ: "is told that the peer disconnects", DREP: "disconnected" }[name];
  if (peer) { set(to, peer); tell(() => `${data.nodes[to]}: ${peer}.`); }
}
function put(memory, i, at, tell) {
  const place = placeOf(i, at);
  if (!place) return false;
  if (!memory.has(place.name)) memory.set(place.name, { node: place.node, writes: [], low: place.start, high: place.start, whole: wholeOf(at) });
  const region = memory.get(place.name);
  region.writes.push({ i, start: place.start, length: P.bytes[i] });
  region.low = Math.min(region.low, place.start);
  region.high = Math.max(region.high, place.start + P.bytes[i]);
  tell(() => `${many(P.bytes[i], "byte")} go to ${place.name}, from ${place.start} on.`);
  return true;
}

// Shown: both ends of the packet, with what changed by it.
function row(name, value, before, title) {
  return make("div", { class: value === before ? "" : "changed-now", title }, make("dt", {}, name), make("dd", {}, value));
}
// Requests that wait for their answer.
function openOf(state) {
  const open = state.next - state.answered;
  if (open > 0) return `${many(open, "PSN")}, from ${psn(state, state.answered)}`;
  return state.refused === null ? "none" : `none: ${psn(state, state.refused)} was refused`;
}
function card(node, now, before, i) {
  const rows = [], connection = P.connection[i];
  const ends = state => (state.connections.get(connection) || {})[node];
  if (ends(now)) rows.push(row("CM state", ends(now), ends(before)));
  for (const [key, state] of now.directions) {
    if (state.connection !== connection) continue;
    const was = before.directions.get(key) || {};
    if (state.node === node) {
      rows.push(row("next PSN", psn(state, state.next), was.node === undefined ? "" : psn(was, was.next)));
      if (state.isReliable) rows.push(row("not answered", openOf(state), was.node === undefined ? "none" : openOf(was)));
      if (state.again) rows.push(row("sent again", many(state.again, "packet"), was.again ? many(was.again, "packet") : ""));
    } else if (state.peer === node) {
      rows.push(row("expects", psn(state, state.expected), was.node === undefined ? "" : psn(was, was.expected)));
      if (state.isReliable) rows.push(row("MSN", String(state.msn), String(was.msn || 0), "messages that it has done, as it last told"));
      if (state.said || was.said) rows.push(row("last word", state.said || "–", was.said || ""));
    }
    if (state.dead.includes(node)) rows.push(row("queue pair", "in error: it can do nothing more", (was.dead || []).includes(node) ? "in error: it can do nothing more" : ""));
  }
  if (!rows.length) rows.push(make("p", { class: "quiet" }, "nothing yet"));
  return make("div", { class: "end" }, make("h3", {}, data.nodes[node]), make("dl", {}, ...rows));
}
const WINDOW = 128;
function regionNode(name, region, i) {
  const last = region.writes[region.writes.length - 1], isNow = last.i === i;
  const start = Math.max(region.low, Math.floor((last.start - region.low) / 16) * 16 + region.low), end = Math.min(region.high, start + WINDOW);
  const bytes = new Array(end - start).fill(null), fresh = new Set();
  // The newest write of a byte counts; what is older is not decoded.
  for (let newest = region.writes.length - 1, left = bytes.length; newest >= 0 && left > 0; newest--) {
    const write = region.writes[newest];
    if (write.start >= end || write.start + write.length <= start) continue;
    const frame = bytesOf(write.i), payload = fieldsOf(write.i, frame).find(field => field.name === "payload");
    for (let at = Math.max(start, write.start); at < Math.min(end, write.start + write.length); at++) {
      if (bytes[at - start] !== null) continue;
      left--;
      const byte = payload && frame[payload.start + at - write.start];
      const isKept = payload && at - write.start < payload.length && byte !== undefined;
      bytes[at - start] = isKept ? byte : -1;
      if (write.i === i) fresh.add(at - start);
    }
  }
  const dump = make("div", { class: "hex", tabindex: "0", role: "img", "aria-label": `${name}, ${end - start} bytes from ${start} on` });
  const perRow = document.documentElement.clientWidth < 560 ? 8 : 16;
  for (let at = 0; at < bytes.length; at += perRow) {
    dump.append(make("span", { class: "o" }, String(start + at).padStart(6) + "  "));
    let text = "";
    for (let byte = at; byte < at + perRow; byte++) {
      if (byte >= bytes.length) { dump.append("   "); continue; }
      const value = bytes[byte];
      dump.append(make("b", { class: fresh.has(byte) ? "lit" : "" }, value === null ? "··" : value < 0 ? "??" : value.toString(16).padStart(2, "0")), " ");
      text += value >= 0x20 && value < 0x7f ? String.fromCharCode(value) : "·";
    }
    dump.append(make("span", { class: "c" }, " " + text), "\n");
  }
  const strip = draw("svg", { viewBox: "0 0 1000 22", preserveAspectRatio: "none", "aria-hidden": "true" });
  const whole = Math.max(region.whole, region.high), scale = at => 1000 * (at - Math.min(0, region.low)) / Math.max(1, whole - Math.min(0, region.low));
  for (const write of region.writes.slice(-2000)) {
    strip.append(draw("rect", { x: scale(write.start), width: Math.max(2, scale(write.start + write.length) - scale(write.start)), y: 3, height: 16, class: "p1", fill: "currentColor", "fill-opacity": write.i === i ? 1 : .4 }));
  }
  const left = region.high - end;
  return make("div", { class: "place" }, make("h4", {}, name, make("span", { class: "quiet" }, ` at ${data.nodes[region.node]}, bytes ${region.low} to ${region.high - 1} of ${whole.toLocaleString("en")} so far${isNow ? ", changed now" : ""}`)), strip, dump,
    left > 0 ? make("p", { class: "quiet" }, `and ${many(left, "byte")} after these`) : null);
}
function show(i) {
  const { now, before } = around(i);
  const left = Math.min(P.from[i], P.to[i]), right = P.from[i] === P.to[i] ? P.to[i] : Math.max(P.from[i], P.to[i]);
  const svg = draw("svg", { viewBox: "0 0 300 60", role: "img", "aria-label": `${data.nodes[P.from[i]]} to ${data.nodes[P.to[i]]}, ${fates[P.fate[i]][0]}` });
  for (const x of [20, 280]) svg.append(draw("line", { x1: x, x2: x, y1: 4, y2: 56, stroke: "var(--lane)", "stroke-width": 1.4 }));
  const isBack = P.from[i] === P.to[i] ? P.part[i] >= 2 : P.from[i] === right;
  svg.append(arrow(i, isBack ? 280 : 20, isBack ? 20 : 280, 30));
  const cards = [card(left, now, before, i), left === right ? make("div", { class: "end" }) : card(right, now, before, i)];
  const wire = make("div", { class: "wire" }, make("strong", { class: "p" + P.part[i] }, headline(i)), make("span", { class: "quiet" }, [S[P.psn[i]], P.bytes[i] > 0 ? many(P.bytes[i], "byte") : "", details(i)].filter(Boolean).join(", ")), svg,
    make("p", { role: "status" }, now.words.join(" ") || (cards.some(node => node.querySelector(".changed-now")) ? "What changes is marked." : "Nothing that the wire tells changes.")));
  $("ends").replaceChildren(cards[0], wire, cards[1]);
  const regions = [...now.memory].sort((a, b) => b[1].writes[b[1].writes.length - 1].i - a[1].writes[a[1].writes.length - 1].i).slice(0, 4);
  $("places").replaceChildren(...regions.map(([name, region]) => regionNode(name, region, i)));
  if (!regions.length) $("places").append(make("p", { class: "quiet" }, "No payload has been taken yet."));
  $("at").value = i;
  const words = `packet ${P.number[i]} at ${stamp(P.time[i])}, step ${(i + 1).toLocaleString("en")} of ${count.toLocaleString("en")}`;
  $("at-words").textContent = words;
  $("at").setAttribute("aria-valuetext", words);
}

if (!count) return () => {};
$("step").hidden = false;
$("at").max = count - 1;
let shown = 0, playing = 0, isSeen = false;
const to = i => choose(Math.max(0, Math.min(count - 1, i)));
function stop() {
  clearInterval(playing);
  playing = 0;
  $("play").textContent = "▶ play";
}
$("play").addEventListener("click", () => {
  if (playing) return stop();
  if (shown === count - 1) to(0);
  $("play").textContent = "❚❚ stop";
  playing = setInterval(() => shown >= count - 1 ? stop() : to(shown + 1), 900);
});
$("back").addEventListener("click", () => { stop(); to(shown - 1); });
$("forth").addEventListener("click", () => { stop(); to(shown + 1); });
$("at").addEventListener("input", () => { stop(); to(Number($("at").value)); });
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  // What scrolls sideways has these keys for itself.
  const area = document.activeElement.closest(".scroll, pre, .hex");
  if (!by || area && area.scrollWidth > area.clientWidth) return;
  event.preventDefault();
  stop();
  to(shown + by);
});
// Worked out when it is near the eye, so that a long page opens at once.
new IntersectionObserver(([entry]) => {
  isSeen = entry.isIntersecting;
  if (isSeen) show(shown);
}, { rootMargin: "200px" }).observe($("step"));
return i => {
  shown = i;
  if (isSeen) show(i);
};
}
