// What goes on in the service, asked for every few seconds while somebody looks, and a word where something is amiss.

import { get, Problem } from "./api.js";
import { announce, h, setText } from "./dom.js";
import { about, count, number, speed } from "./format.js";

const OFTEN_MS = 2_000;
const SELDOM_MS = 5_000;
const STUCK_MS = 30_000;

const AMISS = {
  redis: "The queue (Redis) does not answer: nothing can be submitted, and what is shown may be out of date.",
  storage:
    "The object store does not answer: pictures can be neither stored nor shown. Workers keep what they have made, and go on when it is back.",
  worker: "No worker is running: seeds wait in the queue until one does.",
};

const listeners = new Set();
const eager = new Set();
let timer = 0;
let stored = true;

/** The status as it was told last, null while there is none. */
export let latest = null;

/** Have `told` called with each new status, or with null while there is none; returns a function that ends it. */
export function listen(told) {
  listeners.add(told);
  return () => listeners.delete(told);
}

/** Ask more often for as long as `who` is at something. */
export function watch(who, yes) {
  if (yes) eager.add(who);
  else eager.delete(who);
}

/** Begin, or ask again at once. */
export function look() {
  clearTimeout(timer);
  timer = setTimeout(tick, 0);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

async function tick() {
  if (document.hidden) return;
  clearTimeout(timer);
  timer = setTimeout(tick, STUCK_MS); // should anything below fail
  let status = null;
  try {
    status = await get("v1/status", { timeoutMs: 8_000 });
    tell(amiss(status.checks));
    notice(status.checks.storage?.ok !== false);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    notice(false);
    if (error.status !== 401) tell([error.status ? error.message : "The API does not answer. Trying again …"]);
  } finally {
    latest = status;
    show(status);
    for (const told of listeners) told(status);
    clearTimeout(timer);
    timer = setTimeout(tick, eager.size ? OFTEN_MS : SELDOM_MS);
  }
}

/** Return what is to be said; whether there are workers, nobody knows without the queue. */
function amiss(checks) {
  const away = Object.keys(AMISS).filter((name) => checks[name]?.ok === false);
  return away.filter((name) => name !== "worker" || !away.includes("redis")).map((name) => AMISS[name]);
}

/** Tell those who show pictures when the store, or the API, is back, so that they try again. */
function notice(ok) {
  if (ok && !stored) dispatchEvent(new Event("store-is-back"));
  stored = ok;
}

/** Say what is amiss, which is read aloud when it changes. */
function tell(words) {
  const place = document.getElementById("notice");
  if (place.dataset.told === words.join(" ")) return;
  place.dataset.told = words.join(" ");
  place.replaceChildren(...words.map((text) => h("p", {}, text)));
  if (document.querySelector("dialog[open]")) announce(words.join(" ") || "All is well again");
}

function show(status) {
  const pulse = document.getElementById("pulse");
  pulse.hidden = false;
  pulse.dataset.state = status && Object.values(status.checks).every((check) => check.ok !== false) ? "good" : "bad";
  setText(pulse, status ? summary(status) : "not connected");
}

function summary(status) {
  const workers = count(status.workers.length, "worker");
  const waiting = status.seeds?.waiting ?? 0;
  return waiting
    ? `${workers} · ${number(waiting)} to do${status.seeds.per_s ? ` · ${speed(status.seeds.per_s)}` : ""}`
    : workers;
}

/** Return in words how long it takes until nothing waits, "" where that is not known. */
export function untilIdle(seeds) {
  return seeds?.eta_s ? `${about(seeds.eta_s)} at this speed` : "";
}
