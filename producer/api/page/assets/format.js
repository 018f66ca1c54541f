// Numbers, times and sizes in words.

export function number(value, digits = 0) {
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

/** Return "1 seed" or "12 seeds". */
export function count(value, word) {
  return `${number(value)} ${word}${value === 1 ? "" : "s"}`;
}

/** Return a speed, with a digit more where it is slow. */
export function speed(seedsPerS) {
  return `${number(seedsPerS, seedsPerS < 10 ? 1 : 0)} seeds/s`;
}

export function duration(seconds) {
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** Return a time that is reckoned. */
export function about(seconds) {
  return seconds < 1 ? duration(seconds) : `about ${duration(seconds)}`;
}

export function milliseconds(value) {
  return value < 1000 ? `${number(value, value < 10 ? 1 : 0)} ms` : `${number(value / 1000, 1)} s`;
}

export function bytes(value) {
  return value < 1000 ? `${value} bytes` : `${number(value / 1000, 1)} kB`;
}

export function moment(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? ""
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

const STAGES = [
  ["total_ms", "in the worker"],
  ["queue_ms", "until the device was free"],
  ["generate_ms", "in its batch"],
  ["encode_ms", "encoding"],
  ["put_image_ms", "storing the picture"],
  ["put_metadata_ms", "storing the metadata"],
];

/** Return what each stage of a worker took, as pairs of its name and its time. */
export function stages(timings) {
  return STAGES.filter(([name]) => typeof timings?.[name] === "number").map(([name, words]) => [
    words,
    milliseconds(timings[name]),
  ]);
}
