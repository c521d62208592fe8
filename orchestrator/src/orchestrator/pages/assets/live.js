// Keeps a page as it would look if it were loaded now. It asks for the page's own address again and again with the
// entity tag of what it has: no connection stays open, so any number of tabs may show any number of runs.
"use strict";

const AWAY_MILLIS_MAX = 5_000;
const ANSWER_MILLIS_MAX = 10_000;
const SKEW_MILLIS_MIN = 2_000;
const root = document.documentElement;
const main = document.getElementById("main");
const badge = document.getElementById("badge");
const said = document.getElementById("said");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// --- the clock: what ticks is computed here, so that the server's answer stays the same ----------------------------

let skew = 0;

function noteClock(answer) {
  const server = Date.parse(answer.headers.get("Date") ?? "");
  const apart = server - Date.now();
  if (!Number.isNaN(apart)) skew = Math.abs(apart) > SKEW_MILLIS_MIN ? apart : 0;
}

const two = (n) => String(n).padStart(2, "0");

function duration(millis) {
  if (millis < 60_000) return `${(Math.floor(Math.max(0, millis) / 100) / 10).toFixed(1)} s`;
  const s = Math.floor(millis / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} m`;
  return `${Math.floor(s / 86400)} d ${two(Math.floor(s / 3600) % 24)} h`;
}

function ago(millis) {
  const s = Math.floor(millis / 1000);
  if (s < 3) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} m ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

function shown(time, how, now) {
  const at = new Date(time);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (how === "clock") return `${clock}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  if (how === "ago" && now - at < 7 * 86_400_000) return ago(now - at);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return new Date(now).toDateString() === at.toDateString() ? clock : `${day} ${clock}`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let ticking = 0;
let tickers = []; // what changes with the clock, found once after each change of the page

function keepTime() {
  clearInterval(ticking);
  const now = Date.now() + skew;
  for (const time of main.querySelectorAll("time")) {
    if (!time.title) time.title = time.dateTime;
    write(time, shown(time.dateTime, time.dataset.show, now));
  }
  const timeline = main.querySelector(".timeline");
  const fast = [
    ...tickersOf("span[data-start]", (span) => {
      const start = Date.parse(span.dataset.start);
      return (at) => write(span, duration(at - start));
    }),
    ...tickersOf("[data-until]", (span) => {
      const until = Date.parse(span.dataset.until);
      return (at) => write(span, until > at ? `in ${duration(until - at)}` : "now");
    }),
    ...tickersOf("[data-grow]", (bar) => {
      const x = parseFloat(bar.getAttribute("x"));
      return (at) => bar.setAttribute("width", `${Math.max(0.5, percent(timeline, at) - x).toFixed(2)}%`);
    }),
    ...tickersOf("[data-now]", (line) => (at) => {
      for (const x of ["x1", "x2"]) line.setAttribute(x, `${percent(timeline, at).toFixed(2)}%`);
    }),
  ];
  const slow = tickersOf("time[data-show=ago]", (time) => (at) => write(time, shown(time.dateTime, "ago", at)));
  tickers = [...fast, ...slow];
  tick();
  if (!document.hidden && tickers.length > 0) ticking = setInterval(tick, fast.length > 0 ? 100 : 1000);
}

function tickersOf(selector, make) {
  return Array.from(main.querySelectorAll(selector), make);
}

function percent(timeline, at) {
  return Math.min(100, ((at - Date.parse(timeline.dataset.start)) / (timeline.dataset.span / 1000)) * 100);
}

function tick() {
  const now = Date.now() + skew;
  for (const ticker of tickers) ticker(now);
}

// --- the morph: makes one tree equal to another and leaves alone what a reader may be using ------------------------

function morph(from, to) {
  if (from.hasAttribute("data-still")) return;
  if (from.localName === "time" && from.dateTime === to.dateTime) return;
  for (const { name, value } of to.attributes) {
    if (name !== "open" && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (name !== "open" && !to.hasAttribute(name)) from.removeAttribute(name);
  }
  if (from.dataset.start !== undefined && from.localName === "span") return;
  if (from.dataset.until !== undefined) return;
  morphChildren(from, to);
}

function morphChildren(from, to) {
  const byId = new Map();
  const wanted = new Set();
  for (const child of from.children) if (child.id) byId.set(child.id, child);
  for (const child of to.children) if (child.id) wanted.add(child.id);
  let at = from.firstChild;
  for (const next of [...to.childNodes]) {
    while (at !== null && (isGone(at, wanted) || isText(at, next))) at = drop(at);
    const same = next.id ? byId.get(next.id) : at !== null && !at.id && at.nodeName === next.nodeName ? at : undefined;
    if (same === undefined || same.nodeName !== next.nodeName) {
      from.insertBefore(next, at);
      appear(next);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else from.insertBefore(same, at);
    if (same.nodeType === Node.ELEMENT_NODE) morph(same, next);
    else if (same.nodeValue !== next.nodeValue) same.nodeValue = next.nodeValue;
  }
  while (at !== null) at = drop(at);
}

const isGone = (node, wanted) => node.id && !wanted.has(node.id);
const isText = (node, next) => node.nodeType === Node.TEXT_NODE && next.nodeType === Node.ELEMENT_NODE;

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function appear(node) {
  if (node.nodeType === Node.ELEMENT_NODE && node.id && !calm.matches) node.animate({ opacity: [0, 1] }, 400);
}

// --- asking --------------------------------------------------------------------------------------------------------

let etag = "";
let failures = 0;
let asking = false;
let timer = 0;

const isLive = () => main.dataset.live !== undefined;

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const headers = { Accept: "text/html" };
    if (etag) headers["If-None-Match"] = etag;
    const signal = AbortSignal.timeout(ANSWER_MILLIS_MAX);
    const answer = await fetch(location.href, { headers, signal, cache: "no-store" });
    if (answer.status === 429 || answer.status >= 500) throw new Error(`status ${answer.status}`);
    noteClock(answer);
    const text = await answer.text();
    if (answer.status !== 304) {
      show(new DOMParser().parseFromString(text, "text/html"));
      etag = answer.headers.get("ETag") ?? "";
    }
    failures = 0;
  } catch {
    failures += 1;
  }
  asking = false;
  later();
}

function show(page) {
  const next = page.getElementById("main");
  if (next === null) throw new Error("not one of our pages");
  const style = "link[rel=stylesheet]";
  if (page.querySelector(style)?.getAttribute("href") !== document.querySelector(style).getAttribute("href")) {
    location.reload(); // another release answers now
    return;
  }
  document.title = page.title;
  morph(main, next);
  keepTime();
}

function later() {
  clearTimeout(timer);
  const away = failures > 1;
  badge.hidden = !isLive() && failures === 0;
  badge.className = away ? "badge away" : "badge";
  write(badge, away ? "reconnecting" : "live");
  if (document.hidden || (!isLive() && failures === 0)) return;
  const pause = Number(main.dataset.live ?? 1000);
  const spread = 0.9 + Math.random() / 5;
  timer = setTimeout(ask, failures === 0 ? pause : Math.min(AWAY_MILLIS_MAX, pause * 2 ** failures) * spread);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  keepTime();
  if (!document.hidden) ask(); // once even when a run has ended: a redrive may have opened it again
});

window.addEventListener("pageshow", (event) => {
  for (const field of document.querySelectorAll("[data-auto] :disabled")) field.disabled = false;
  if (event.persisted) ask();
});

// --- what a reader does --------------------------------------------------------------------------------------------

function say(text, isBad) {
  said.textContent = text;
  said.className = isBad ? "bad" : "";
  said.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => (said.hidden = true), isBad ? 10_000 : 3_000);
}

function confirmed(form) {
  const { ask: question, yes, reason } = form.dataset;
  if (question === undefined) return Promise.resolve({});
  const dialog = document.getElementById("ask");
  const field = dialog.querySelector("input");
  document.getElementById("ask-text").textContent = question;
  document.getElementById("ask-yes").textContent = yes;
  document.getElementById("ask-reason").hidden = reason === undefined;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const close = () => {
      if (dialog.returnValue !== "yes") resolve(null);
      else resolve(field.value ? { reason: field.value } : {});
    };
    dialog.addEventListener("close", close, { once: true });
  });
}

async function send(form) {
  const body = await confirmed(form);
  if (body === null) return;
  const { method } = form.dataset;
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const headers = { Accept: "application/json", "Content-Type": "application/json" };
    const options = method === "DELETE" ? { method, headers } : { method, headers, body: JSON.stringify(body) };
    const answer = await fetch(form.getAttribute("action"), options);
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Error(problem.detail || problem.title || `The server answered ${answer.status}`);
    }
    say("Done");
  } catch (error) {
    say(error.message, true);
  }
  button.disabled = false;
  ask();
}

async function copy(button) {
  const text = button.dataset.copy || button.parentElement.querySelector("pre").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only a secure context has a clipboard; a server in the local network is none.
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  say("Copied");
}

async function download(link) {
  try {
    const answer = await fetch(link.href, { headers: { Accept: "application/json" }, cache: "no-store" });
    if (!answer.ok) throw new Error(`The server answered ${answer.status}`);
    const file = document.createElement("a");
    file.href = URL.createObjectURL(await answer.blob());
    file.download = `${link.pathname.split("/").filter(Boolean).pop()}.json`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 10_000);
  } catch (error) {
    say(error.message, true);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.method !== undefined) {
    event.preventDefault();
    send(form);
  } else if (form.dataset.auto !== undefined) {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.form?.dataset.auto !== undefined) event.target.form.requestSubmit();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) return copy(button);
  const link = event.target.closest("a[data-json]");
  if (link) {
    event.preventDefault();
    return download(link);
  }
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button") && getSelection().isCollapsed) {
    if (event.metaKey || event.ctrlKey) window.open(row.dataset.href, "_blank", "noopener");
    else location.href = row.dataset.href;
  }
});

function openTarget() {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (target?.localName === "details") target.open = true;
}

window.addEventListener("hashchange", openTarget);

document.getElementById("ask-no").addEventListener("click", () => document.getElementById("ask").close(""));

const THEMES = ["system", "light", "dark"];
const themeButton = document.getElementById("theme");

function nameTheme() {
  themeButton.title = `Colours: ${root.dataset.theme ?? "system"}`;
  themeButton.setAttribute("aria-label", themeButton.title);
}

themeButton.addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // Storage is forbidden: the choice holds for this page.
  }
  nameTheme();
});

nameTheme();
openTarget();
keepTime();
later();
