// Calls of the API that serves this page, with the visitor's key if there is one.

import { tab } from "./memory.js";

/** Where the page is, below whatever path a proxy gives it; the API's paths are relative to it. */
export const BASE = new URL(".", document.baseURI);

const KEY = "seedmill-key";
const TIMEOUT_MS = 20_000;

/** Something went wrong: `message` is a sentence for people, `type` the end of the problem's type, `status` 0 for no answer. */
export class Problem extends Error {
  constructor(message, { status = 0, type = "unreachable", retryAfterS = null, canMake = false } = {}) {
    super(message);
    this.status = status;
    this.type = type;
    this.retryAfterS = retryAfterS;
    this.canMake = canMake; // a job would mend it
  }
}

export const key = {
  get: () => tab.get(KEY) ?? "",
  set: (text) => tab.set(KEY, text),
};

/** Return the headers that each request has. */
export function headers(more = {}) {
  return key.get() ? { Authorization: `Bearer ${key.get()}`, ...more } : more;
}

/**
 * Ask the API and return the answer; a signal ends the wait. Raises a Problem whatever goes wrong, but hands on that it was
 * broken off by the signal.
 */
export async function ask(path, { method = "GET", body, more = {}, signal, timeoutMs = TIMEOUT_MS } = {}) {
  const sent = key.get();
  const timeout = timeoutMs ? [AbortSignal.timeout(timeoutMs)] : [];
  const options = {
    method,
    headers: headers(body === undefined ? more : { "Content-Type": "application/json", ...more }),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.any([...(signal ? [signal] : []), ...timeout]),
    cache: "no-store",
  };
  let response;
  try {
    response = await fetch(new URL(path, BASE), options);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The API does not answer.");
  }
  if (!response.ok) throw await problem(response, sent);
  return response;
}

/** Ask for JSON. */
export async function get(path, options = {}) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem("The answer of the API broke off.");
  }
}

async function problem(response, sent) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    /* a proxy's own words are no problem details */
  }
  const type =
    String(told.type ?? "")
      .split(":")
      .pop() || "unknown";
  if (response.status === 401 && sent === key.get()) {
    dispatchEvent(new CustomEvent("key-needed", { detail: sent ? told.detail : "" }));
  }
  const retryAfterS = Number(response.headers.get("Retry-After")) || null;
  const message = told.detail ? sentence(told.detail) : `The API answers with status ${response.status}.`;
  return new Problem(message, { status: response.status, type, retryAfterS, canMake: Boolean(told.enqueue) });
}

function sentence(text) {
  const cut = text.replace(/: send (POST|GET|PUT) .*$/s, "");
  return `${cut.charAt(0).toUpperCase()}${cut.slice(1)}${/[.!?]$/.test(cut) ? "" : "."}`;
}

/** Return a name for a new job; sent again with it, a submit makes no second one. */
export function newJobId() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return `page-${Array.from(bytes, (byte) => byte.toString(36).padStart(2, "0"))
    .join("")
    .slice(0, 16)}`;
}
