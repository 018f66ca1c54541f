// Pictures that have a place in the bucket: their links, and URLs that are signed again when they are out of date.

import { get, Problem } from "./api.js";

const EARLY_MS = 30_000;
const AT_ONCE = 6;

let busy = 0;
const waiting = [];

/** Return the address of a picture within the page, for whom it is sent to. */
export function permalink(seed, model) {
  return `#/seed/${seed}${model ? `?model=${encodeURIComponent(model)}` : ""}`;
}

/** Return the path of something about a picture in the API. */
export function path(seed, model, what = "") {
  return `v1/images/${seed}${what && `/${what}`}${model ? `?model=${encodeURIComponent(model)}` : ""}`;
}

/** Whether a presigned URL opens nothing any more, or soon will not; its own parameters say until when it does. */
export function isStale(url) {
  const query = new URL(url, document.baseURI).searchParams;
  const found = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get("X-Amz-Date") ?? "");
  if (!found) return false;
  const [year, month, day, hour, minute, second] = found.slice(1).map(Number);
  const lifetime = Number(query.get("X-Amz-Expires")) * 1000;
  const ends = Date.UTC(year, month - 1, day, hour, minute, second) + lifetime;
  return Date.now() > ends - Math.min(EARLY_MS, lifetime / 4);
}

/** Ask for all there is to know of a picture, its URL signed anew; some at a time. Raises a Problem. */
export async function details(seed, model, signal, isWanted = () => true) {
  if (busy >= AT_ONCE) await new Promise((go) => waiting.push(go));
  busy += 1;
  try {
    if (!isWanted()) throw new Problem("It is wanted no more.", { type: "unwanted" });
    return await get(path(seed, model, "details"), { signal });
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}

/** Whether a Problem says that the picture is not there. */
export function isAbsent(error) {
  return error instanceof Problem && error.type === "not-published";
}

/**
 * Show a picture in an image element, whose URL is renewed if need be. `done` is called when it is seen, `failed` with a
 * word on why it cannot be.
 */
export async function show(image, picture, { done, failed }) {
  await Promise.resolve(); // until it is in the document
  let renewed = false;
  const renew = async () => {
    renewed = true;
    try {
      picture.image_url = (await details(picture.seed, picture.model_id, undefined, () => image.isConnected)).image_url;
    } catch (error) {
      failed(isAbsent(error) ? "gone" : "unreadable");
      return false;
    }
    return true;
  };
  image.addEventListener("load", () => done());
  image.addEventListener("error", async () => {
    if (renewed) failed("unreadable");
    else if (await renew()) load();
  });
  const load = () => {
    if (picture.image_url) image.src = picture.image_url;
    else failed("unsigned");
  };
  if (!picture.image_url || !isStale(picture.image_url) || (await renew())) load();
}

/** What is said in place of a picture that cannot be shown. */
export const WORDS = {
  gone: "No longer in the store",
  unreadable: "Cannot be shown at present",
  unsigned: "The API has no keys to sign its URL",
};
