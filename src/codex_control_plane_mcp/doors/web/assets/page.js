// Keeps an open page true: it listens to the worker, reads the page again when something changed,
// and puts the difference in place. Sends forms, tells the time, takes keys. The server decides
// everything; this shows it.
"use strict";

const root = document.documentElement;
const base = root.dataset.base;
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

// --- What is said at the foot --------------------------------------------------------------------

function toast(words, kind = "ok") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = words;
  $("#toasts").append(line);
  setTimeout(() => line.remove(), kind === "ok" ? 5000 : 12000);
}

// --- The present page in place of the former one -------------------------------------------------

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || null : null);
const isField = (node) => node.matches("input, textarea, select");

// What the reader has opened or typed stays the reader's.
const OWN = new Set(["open"]);

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.hasAttribute("data-keep")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !OWN.has(name)) old.setAttribute(name, value);
  }
  if (!isField(old)) morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const known = new Map();
  for (const child of old.childNodes) if (keyOf(child)) known.set(keyOf(child), child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    const same = key ? known.get(key) : null;
    if (key && !same) {
      if (wanted.classList) wanted.classList.add("fresh");
      old.insertBefore(wanted, place);
    } else if (same) {
      known.delete(key);
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      morph(same, wanted);
    } else {
      while (place && keyOf(place)) place = place.nextSibling;
      if (place) {
        const next = place.nextSibling;
        morph(place, wanted);
        place = next;
      } else {
        old.append(wanted);
      }
    }
  }
  for (const gone of known.values()) gone.remove();
  while (place) {
    const next = place.nextSibling;
    if (!keyOf(place)) place.remove();
    place = next;
  }
}

let reading = false;
let again = false;

async function refresh() {
  if (reading) { again = true; return; }
  reading = true;
  try {
    do {
      again = false;
      const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
      if (answer.status === 401) { sessionIsOver(); return; }
      if (answer.status >= 500) { await pause(500); again = true; continue; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.title = fresh.title;
      for (const region of $$("[data-live]")) {
        const wanted = fresh.getElementById(region.id);
        if (wanted) morph(region, wanted);
      }
      tellTime();
    } while (again);
  } catch {
    lost();
  } finally {
    reading = false;
  }
}

// --- Listening -----------------------------------------------------------------------------------

const PATIENCE = 65000; // The worker pings every 20 s.
const WAITS = [200, 400, 800, 1500, 3000, 5000];
const timeline = $("#timeline");
let after = timeline ? Number(timeline.dataset.after) : 0;
let source = null;
let watchdog = null;
let retry = null;
let tries = 0;
let worker = root.dataset.worker;
let isLost = false;

function listen() {
  hangUp();
  const address = new URL(`${base}live`, location.origin);
  if (timeline) {
    address.searchParams.set("task", timeline.dataset.task);
    address.searchParams.set("after", after);
  }
  source = new EventSource(address);
  source.addEventListener("hello", (event) => hello(JSON.parse(event.data)));
  source.addEventListener("changed", () => { alive(); refresh(); });
  source.addEventListener("lines", (event) => { alive(); addLines(JSON.parse(event.data).html); });
  source.addEventListener("ping", alive);
  source.addEventListener("bye", lost);
  source.onerror = lost;
  alive();
}

function hangUp() {
  clearTimeout(watchdog);
  clearTimeout(retry);
  if (source) source.close();
  source = null;
}

function alive() {
  clearTimeout(watchdog);
  watchdog = setTimeout(lost, PATIENCE);
}

function hello(told) {
  alive();
  if (told.release !== root.dataset.release && !isTyping()) { location.reload(); return; }
  if (isLost) {
    const isNew = told.worker !== worker;
    status("live", isNew ? "A new worker took over. The page is up to date again." : "The worker answers again.");
    toast(isNew ? "A new worker took over." : "The worker answers again.");
  } else {
    status("live", "");
  }
  worker = told.worker;
  isLost = false;
  tries = 0;
  refresh(); // Something may have changed before we listened.
}

function lost() {
  hangUp();
  if (root.dataset.connection === "over") return;
  if (!isLost) {
    isLost = true;
    const time = new Date().toLocaleTimeString();
    status("lost", `The worker does not answer. What you see is as of ${time}. Trying again…`);
  }
  const wait = WAITS[Math.min(tries, WAITS.length - 1)];
  tries += 1;
  retry = setTimeout(tryAgain, wait);
}

async function tryAgain() {
  try {
    const answer = await fetch(`${base}alive`, { cache: "no-store" });
    if (answer.status === 401) { sessionIsOver(); return; }
    listen();
  } catch {
    lost();
  }
}

function sessionIsOver() {
  hangUp();
  status("over", "This page's session is over. Run `codex-control-plane-mcp-admin open` for a new one.");
}

function status(state, words) {
  root.dataset.connection = state;
  $("#connection-words").textContent = words;
  $("#connection").title = { live: "Live", lost: "Not connected", over: "Session over" }[state];
  $("#connection .name").textContent = $("#connection").title;
}

const isTyping = () => $$("textarea, input[type=text], input[type=password]").some((field) => field.value !== field.defaultValue);

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Browsers allow six connections to one server. A hidden page gives its own up, but for one of
// them: that one goes on to say in its title when somebody is wanted.
let letGo = null;

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    if (letGo) letGo();
    letGo = null;
    if (!source) listen();
  } else if (navigator.locks) {
    navigator.locks.request(`${base}hidden`, { ifAvailable: true }, (lock) => {
      if (!document.hidden) return null;
      if (lock) return new Promise((done) => { letGo = done; });
      hangUp();
      return null;
    });
  }
});

// --- The timeline --------------------------------------------------------------------------------

function addLines(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const list = $("ol", timeline);
  const follows = timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 60;
  for (const line of [...holder.content.children]) {
    // What is there already is not written twice, whatever was sent again.
    if (Number(line.dataset.first) <= after) continue;
    after = Number(line.dataset.seq);
    const last = list.lastElementChild;
    if (line.dataset.item && last && last.dataset.item === line.dataset.item) {
      $(".text", last).append($(".text", line).textContent);
      last.dataset.seq = line.dataset.seq;
    } else {
      line.classList.add("fresh");
      list.append(line);
    }
  }
  timeline.dataset.after = after;
  tellTime();
  if (follows) timeline.scrollTop = timeline.scrollHeight;
}

if (timeline && timeline.dataset.follow !== undefined) timeline.scrollTop = timeline.scrollHeight;

// --- Forms ---------------------------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  event.preventDefault();
  if (form.dataset.busy) return;
  form.dataset.busy = "yes";
  const buttons = $$("button", form);
  const body = new URLSearchParams(new FormData(form, event.submitter));
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    if (answer.status === 401) { sessionIsOver(); return; }
    const told = await answer.json();
    toast(told.said, answer.ok ? "ok" : "bad");
    if (answer.ok) {
      form.reset();
      const here = location.pathname.replace(/\/$/, "");
      const goes = told.go && told.go.replace(/\/$/, "") !== here && form.dataset.stay === undefined;
      if (goes) { location.assign(told.go); return; }
    }
    await refresh();
  } catch {
    toast("The worker does not answer: nothing was sent, or its answer was lost. Look before you try again.", "bad");
  } finally {
    delete form.dataset.busy;
    buttons.forEach((button) => { button.disabled = false; });
  }
});

// A choice by keyboard or mouse takes back what was typed, and typing takes back the choice.
document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-question]");
  if (!field) return;
  if (event.target.type === "radio") $$("[data-typed]", field).forEach((one) => { one.value = ""; });
  else $$("input[type=radio]", field).forEach((one) => { one.checked = false; });
});

// --- Long lists ----------------------------------------------------------------------------------

const more = "IntersectionObserver" in window
  ? new IntersectionObserver((seen) => seen.forEach((one) => { if (one.isIntersecting) nextPage(one.target); }), { rootMargin: "1200px" })
  : null;

async function nextPage(link) {
  more.unobserve(link);
  try {
    const answer = await fetch(`${link.href}&part=1`, { cache: "no-store" });
    if (!answer.ok) return;
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    const rows = $("#task-rows");
    const known = new Set($$("[data-key]", rows).map((row) => row.dataset.key));
    const last = link.closest("li");
    for (const row of $$("[data-key]", holder.content)) if (!known.has(row.dataset.key)) last.before(row);
    const next = $("a.more", holder.content);
    link.replaceWith(next || "");
    tellTime();
    if (next) more.observe(next);
  } catch { /* The link stays, to be clicked. */ }
}

if (more) $$("a.more[data-more]").forEach((link) => more.observe(link));

// --- Time ----------------------------------------------------------------------------------------

function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const big = seconds < 86400 ? [3600, "h", 60, "min"] : [86400, "d", 3600, "h"];
  const small = Math.floor((seconds % big[0]) / big[2]);
  return `${Math.floor(seconds / big[0])} ${big[1]}${small ? ` ${small} ${big[3]}` : ""}`;
}

function tellTime() {
  const now = Date.now();
  for (const time of $$("time[data-ago], time[data-for]")) {
    const seconds = Math.max(0, (now - Date.parse(time.dateTime)) / 1000);
    const words = time.dataset.for !== undefined ? span(seconds) : seconds < 5 ? "just now" : `${span(seconds)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
}

tellTime();
setInterval(() => { if (!document.hidden) tellTime(); }, 1000);

// --- Keys and theme ------------------------------------------------------------------------------

function turnTheme() {
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* for this page only */ }
}

function step(by) {
  const stops = $$("[data-nav]").filter((one) => one.offsetParent !== null);
  if (!stops.length) return;
  const at = stops.findIndex((one) => one === document.activeElement || one.contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : stops.length - 1) : Math.min(stops.length - 1, Math.max(0, at + by));
  stops[next].focus();
  stops[next].scrollIntoView({ block: "nearest" });
}

const PLACES = { n: "", t: "tasks", i: "inbox", p: "plans", s: "search", h: "health", u: "usage" };
let goes = 0;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const key = event.key;
  const isGoing = Date.now() - goes < 1500;
  goes = 0;
  if (isGoing && key in PLACES) location.assign(base + PLACES[key]);
  else if (key === "g") goes = Date.now();
  else if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "t") turnTheme();
  else if (key === "?") $("#keys").showModal();
  else if (key === "/") {
    if ($("#q")) $("#q").focus();
    else location.assign(`${base}search`);
  } else return;
  event.preventDefault();
});

$("#theme").addEventListener("click", turnTheme);
$("#help").addEventListener("click", () => $("#keys").showModal());

listen();
