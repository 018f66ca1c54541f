// Seeds as people write them: numbers and ranges, between blanks or commas.

export const MAX_SEED = 2 ** 32 - 1;

/** Most seeds that the page submits at once; the API takes more (limits.job_seeds of /v1/info). */
export const MOST = 10_000;

/** Return the seeds of a text, each once and in order. Raises an Error whose message says what is wrong. */
export function parseSeeds(text) {
  const seeds = new Set();
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const [first, last] = span(part);
    if (last - first >= MOST)
      throw new Error(`${part} has ${(last - first + 1).toLocaleString("en")} seeds: ${ADVICE}`);
    for (let seed = first; seed <= last; seed += 1) seeds.add(seed);
    if (seeds.size > MOST) throw new Error(`These are more than ${MOST.toLocaleString("en")} seeds: ${ADVICE}`);
  }
  return [...seeds];
}

const ADVICE = `up to ${MOST.toLocaleString("en")} fit on the page, and a million into a job of the API (seedmill submit).`;

function span(part) {
  const found = /^(\d{1,20})(?:\.\.\.?|-|–)(\d{1,20})$/.exec(part);
  const ends = found ? [found[1], found[2]] : [part, part];
  for (const end of ends) {
    if (!/^\d+$/.test(end))
      throw new Error(
        `“${cut(part)}” is no seed: write whole numbers from 0 to ${MAX_SEED}, or a range such as 0..63.`,
      );
    if (Number(end) > MAX_SEED) throw new Error(`${cut(end)} is too large: seeds go from 0 to ${MAX_SEED}.`);
  }
  const [first, last] = ends.map(Number);
  if (first > last) throw new Error(`${cut(part)} runs backwards: write ${last}..${first}.`);
  return [first, last];
}

function cut(text) {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

/** Return seeds as short as they can be written, for the job's notes. */
export function writeSeeds(seeds) {
  const parts = [];
  for (let start = 0; start < seeds.length;) {
    let end = start;
    while (end + 1 < seeds.length && seeds[end + 1] === seeds[end] + 1) end += 1;
    parts.push(end > start ? `${seeds[start]}..${seeds[end]}` : `${seeds[start]}`);
    start = end + 1;
  }
  return parts.join(" ");
}

/** Return so many seeds at random. */
export function randomSeeds(count) {
  return [...crypto.getRandomValues(new Uint32Array(count))];
}
