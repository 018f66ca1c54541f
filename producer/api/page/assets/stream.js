// A job as it goes on: server-sent events, gone on with where a connection broke, or polling where they do not come.
//
// EventSource cannot send a key, so the stream is read by fetch.

import { ask, get, Problem } from "./api.js";

const SILENCE_MS = 20_000; // the API sends a comment every 15 seconds
const FIRST_MS = 5_000; // it sends the job at once; a proxy that keeps it back is known by that
const TRIES = 2; // streams in a row that brought nothing, after which it is polled
const MOST_STREAMS = 2; // a browser opens six connections to a server, of all tabs together
const SLOWEST_MS = 8_000;
const LINGER_MS = 10_000; // the API's streams stay as long
const TERMINAL = new Set(["succeeded", "failed", "canceled", "expired"]);

export function hasEnded(job) {
  return TERMINAL.has(job.status);
}

let streams = 0;

/** Whether a job may be streamed: a tab that nobody sees leaves the connection to others, and looks now and then. */
function mayStream() {
  return !document.hidden && streams < MOST_STREAMS;
}

/**
 * Follow a job until it has ended. `on.job` is called with the job as it is, `on.results` with what has come, some of it
 * perhaps again, if `on.wantsResults()`, and `on.trouble` with a Problem while the API is away, or null when it is back. Raises a Problem that
 * waiting does not mend, such as an unknown job.
 */
export async function follow(id, on, signal) {
  const place = { path: `v1/jobs/${encodeURIComponent(id)}`, last: "", dry: 0, done: -1, over: null, away: false };
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 1.6, SLOWEST_MS)) {
    const before = place.last;
    try {
      if (!place.known) on.job(await get(place.path, { signal }));
      place.known = true;
      const look = place.dry < TRIES && mayStream() ? stream : poll;
      if (await look(place, on, signal)) return;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem) || !passes(error)) throw error;
      place.away = true;
      on.trouble(error);
      pause = Math.max(pause, (error.retryAfterS ?? 0) * 1000);
    }
    if (place.last !== before) pause = 500;
    await sleep(pause, signal);
  }
}

function passes(problem) {
  return [0, 401, 429].includes(problem.status) || problem.status >= 500;
}

/** Read events for as long as they come; returns whether the job has ended. Polling tells why none come. */
async function stream(place, on, signal) {
  const watch = watchdog(signal);
  streams += 1;
  place.dry += 1; // until it brings something
  let ended = false;
  try {
    const more = { Accept: "text/event-stream", ...(place.last ? { "Last-Event-ID": place.last } : {}) };
    const response = await ask(`${place.path}/events${on.wantsResults() ? "" : "?results=false"}`, {
      more,
      signal: watch.signal,
      timeoutMs: 0,
    });
    if (response.status === 204) {
      on.job(await get(place.path, { signal }));
      return true;
    }
    for await (const event of read(response.body, watch.heard)) {
      place.dry = 0;
      if (event.id) place.last = event.id;
      const data = JSON.parse(event.data);
      if (event.name === "result") on.results([data]);
      else on.job(data);
      ended ||= event.name === "status" && hasEnded(data);
      on.trouble(null);
    }
  } catch (error) {
    if (signal.aborted || (error instanceof Problem && !passes(error))) throw error;
  } finally {
    streams -= 1;
    watch.stop();
  }
  if (ended) on.job(await get(place.path, { signal })); // of a cancelled one, what was let go of since
  return ended;
}

/** Ask how the job is, and for its results if there are more; returns whether that is all. */
async function poll(place, on, signal) {
  const job = await get(place.path, { signal });
  if (document.hidden && !hasEnded(job)) {
    on.job(job); // nobody sees what has come
    return false;
  }
  const done = job.counts.succeeded + job.counts.failed;
  for (let after = done === place.done || !on.wantsResults() ? null : ""; after !== null;) {
    const page = await get(`${place.path}/results?limit=1000${after && `&after=${encodeURIComponent(after)}`}`, {
      signal,
    });
    on.results(page.data);
    after = page.next;
  }
  place.done = done;
  on.job(job);
  on.trouble(null);
  if (place.away) place.dry = 0; // it is back, and may have streams again
  place.away = false;
  if (!hasEnded(job)) return false;
  place.over ??= Date.now(); // of a cancelled one, workers may yet bring what they were at
  return !job.counts.running || Date.now() - place.over > LINGER_MS;
}

/** A signal that also comes when nothing was heard for too long, or the tab is hidden. */
function watchdog(signal) {
  const broken = new AbortController();
  let timer = setTimeout(() => broken.abort(), FIRST_MS);
  document.addEventListener("visibilitychange", () => document.hidden && broken.abort(), { signal: broken.signal });
  return {
    signal: AbortSignal.any([signal, broken.signal]),
    heard() {
      clearTimeout(timer);
      timer = setTimeout(() => broken.abort(), SILENCE_MS);
    },
    stop() {
      clearTimeout(timer);
      broken.abort();
    },
  };
}

/** Yield the events of a stream, as the HTML standard has them. */
async function* read(body, heard) {
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = body.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", data: "", id: "" };
      for (const line of block.split("\n")) {
        const [, field, text] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === "event") event.name = text;
        else if (field === "data") event.data += text;
        else if (field === "id") event.id = text;
      }
      if (event.data) yield event;
    }
  }
}

/** Wait for so long, or until the tab is seen again. */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const woken = new AbortController();
    const wake = () => {
      clearTimeout(timer);
      woken.abort();
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal.addEventListener("abort", wake, { signal: woken.signal });
    document.addEventListener("visibilitychange", wake, { signal: woken.signal });
  });
}
