// A job by Node's own fetch: submit, follow the events even when the connection breaks, save a picture.
//
//   node examples/node.mjs [FIRST..LAST] [FILE]
//
// SEEDMILL_API_URL says where the API is, SEEDMILL_API_KEY who asks, where it wants to know that. Node 18 or newer.
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const api = process.env.SEEDMILL_API_URL || "http://127.0.0.1:8000";
const key = process.env.SEEDMILL_API_KEY;
const [range = "200..209", file = "seed.png"] = process.argv.slice(2);

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const answer = await fetch(new URL(path, api), { ...options, headers });
  if (!answer.ok) {
    const problem = await answer.json();
    throw new Error(`${problem.title}: ${problem.detail}`);
  }
  return answer;
}

// Yields the events of a job. After a break it goes on behind the last event that came, so that none is lost or doubled.
async function* events(job) {
  let last = "";
  for (;;) {
    try {
      const answer = await call(`/v1/jobs/${job}/events`, { headers: last ? { "Last-Event-ID": last } : {} });
      if (answer.status === 204) return; // everything was read
      let text = "";
      for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
        const blocks = (text + part).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
          if (!field("event")) continue; // a sign of life
          last = field("id") ?? last;
          yield { type: field("event"), data: JSON.parse(field("data")) };
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // what fetch throws when a connection breaks
      await sleep(1000);
    }
  }
}

const submitted = await call("/v1/jobs", {
  method: "POST",
  headers: { "Content-Type": "application/json", "Idempotency-Key": randomUUID() },
  body: JSON.stringify({ range, metadata: { who: "node.mjs" } }),
});
const job = await submitted.json();
console.log(`job ${job.id} ${job.status}`);

for await (const { type, data } of events(job.id)) {
  if (type === "result") console.log(data.seed, data.status, data.caption ?? data.error.message);
  if (type === "status") console.log(`job ${data.id} ${data.status}`);
}

const seed = range.split("..")[0];
const picture = await call(`/v1/images/${seed}`); // follows the redirect to the object store
await writeFile(file, Buffer.from(await picture.arrayBuffer()));
console.log(`${file} is the picture of seed ${seed}`);
