// One job on the page: what it is at, and a tile for each seed.

import { ask, get } from "./api.js";
import { announce, button, h, setText } from "./dom.js";
import { about, count, duration, number, speed } from "./format.js";
import { Grid } from "./grid.js";
import { latest, listen, watch } from "./live.js";
import { MOST, parseSeeds, writeSeeds } from "./seeds.js";
import { follow, hasEnded } from "./stream.js";
import { pictureTile, seedTile } from "./tile.js";

export class JobPanel {
  /** `seeds` are null where they are not known; `open(source, index)` shows a picture large; `gone()` closes the panel. */
  constructor({ id, seeds = null, open, gone }) {
    this.id = id;
    this.job = null;
    this._open = open;
    this._gone = gone;
    this._ended = new AbortController();
    this._slots = [];
    this._places = new Map();
    this._grid = new Grid({ label: "Seeds of the job", make: (index) => this._tile(index) });
    this._chip = h("span", { class: "chip" }, "sending");
    this._title = h("h2", {}, seeds ? titleOf(seeds) : id);
    this._facts = h("p", { class: "soft small" });
    this._trouble = h("p", { class: "trouble", role: "alert", hidden: true });
    this._bar = h("progress", { max: 1, value: 0, "aria-label": "Progress of the job" });
    this._cancel = button("Cancel", () => this._stop(), "tight quiet");
    this._hide = button("Hide", gone, "tight quiet");
    this._hide.hidden = true;
    this.element = h(
      "section",
      { class: "job", "aria-label": `Job ${id}` },
      h(
        "header",
        { class: "job-head" },
        this._title,
        this._chip,
        this._facts,
        h("div", { class: "actions" }, this._cancel, this._hide),
      ),
      this._bar,
      this._trouble,
      this._grid.element,
    );
    this._long = h("p", { class: "soft" }, "It has too many seeds for a tile each: its pictures are in the gallery.");
    this._retry = () => this._grid.retry();
    addEventListener("store-is-back", this._retry);
    if (seeds) this._lay(seeds, seeds.length);
  }

  /** Follow the job until it has ended; raises a Problem if there is no such job. */
  async run() {
    watch(this, true);
    const stop = listen(() => this._findPlace());
    try {
      await follow(
        this.id,
        {
          job: (job) => this.update(job),
          results: (results) => this._take(results),
          wantsResults: () => this._slots.length > 0,
          trouble: (problem) => this.tell(problem?.message),
        },
        this._ended.signal,
      );
      if (!this._ended.signal.aborted && this.job) announce(`Job ended: ${this._summary()}`);
    } finally {
      stop();
      watch(this, false);
    }
  }

  /** Events do not tell how many are ahead in the queue: ask. */
  async _findPlace() {
    if (this.job?.status !== "queued" || this._asking) return;
    this._asking = true;
    try {
      const job = await get(`v1/jobs/${encodeURIComponent(this.id)}`, { signal: this._ended.signal });
      if (this.job.status === "queued") this.update(job);
    } catch {
      // the notice tells of an API that is away
    } finally {
      this._asking = false;
    }
  }

  /** Say what is wrong, or with nothing that all is well. */
  tell(words) {
    this._trouble.hidden = !words;
    setText(this._trouble, words ?? "");
  }

  /** Let go of everything; the job goes on. */
  close() {
    this._ended.abort();
    this._grid.close();
    removeEventListener("store-is-back", this._retry);
    this.element.remove();
  }

  /** Show the job as it is now. */
  update(job) {
    const ahead = job.queue_position ?? this.job?.queue_position ?? null; // events do not tell
    this.job = { ...job, queue_position: ahead };
    if (job.counts.total > MOST) this._grid.element.replaceWith(this._long);
    else if (!this._slots.length) this._lay(seedsOf(job), job.counts.total);
    this._mark();
    const { counts, status } = job;
    setText(this._chip, status);
    this._chip.dataset.status = status;
    setText(this._facts, this._summary());
    this._bar.value = (counts.succeeded + counts.failed) / counts.total;
    this._bar.hidden = status === "succeeded";
    const focused = document.activeElement === this._cancel;
    this._cancel.hidden = hasEnded(job);
    this._hide.hidden = !hasEnded(job);
    if (focused && this._cancel.hidden) this._hide.focus();
  }

  /** Comes when the panel is closed. */
  get signal() {
    return this._ended.signal;
  }

  // What the viewer goes through.

  get count() {
    return this._slots.length;
  }

  at(index) {
    const { seed, result } = this._slots[index];
    return result?.image_uri ? result : { seed, model_id: null };
  }

  indexOf(seed) {
    return this._places.get(seed) ?? -1;
  }

  focus(index) {
    this._grid.focus(index);
  }

  _summary() {
    const { counts, status, queue_position: ahead, seeds_per_s: perS, eta_s: eta } = this.job;
    const done = `${number(counts.succeeded)} of ${count(counts.total, "picture")}`;
    if (status === "queued") {
      const known = ahead ? `${number(ahead)} ahead in the queue` : "next in the queue";
      const place = ahead === null ? "in the queue" : known;
      return [place, latest?.seeds?.eta_s ? `all that waits takes ${about(latest.seeds.eta_s)}` : ""]
        .filter(Boolean)
        .join(" · ");
    }
    if (!hasEnded(this.job))
      return [done, perS ? speed(perS) : "", eta ? `${about(eta)} left` : ""].filter(Boolean).join(" · ");
    const took = (Date.parse(this.job.completed_at) - Date.parse(this.job.created_at)) / 1000;
    const parts = [
      done,
      counts.failed ? `${number(counts.failed)} failed` : "",
      counts.canceled ? `${number(counts.canceled)} canceled` : "",
    ];
    return [...parts, took >= 0 ? `in ${took < 10 ? `${number(took, 1)} s` : duration(took)}` : ""]
      .filter(Boolean)
      .join(" · ");
  }

  _lay(seeds, total) {
    this._slots = Array.from({ length: total }, (_, index) => ({
      seed: seeds?.[index] ?? null,
      state: "queued",
      result: null,
    }));
    this._slots.forEach(({ seed }, index) => {
      if (seed !== null) this._places.set(seed, index);
    });
    this._free = seeds ? total : 0;
    this._grid.count = total;
    if (seeds) setText(this._title, titleOf(seeds));
  }

  _take(results) {
    for (const result of results) {
      const index = this._place(result.seed);
      const slot = this._slots[index];
      if (!slot || (slot.result && slot.result.status === result.status)) continue;
      Object.assign(slot, { seed: result.seed, result, state: result.status === "succeeded" ? "published" : "failed" });
      this._grid.refresh(index);
    }
  }

  /** Return where a seed stands; one that was not known gets the next place. */
  _place(seed) {
    if (!this._places.has(seed)) {
      this._places.set(seed, this._free);
      this._free += 1;
    }
    return this._places.get(seed);
  }

  /** Of those that have not ended, workers have the first ones. */
  _mark() {
    const { counts, status } = this.job;
    let running = counts.running;
    this._slots.forEach((slot, index) => {
      if (slot.result) return;
      const over = status === "canceled" || status === "expired" || status === "failed";
      const state = running > 0 ? "running" : over ? "canceled" : "queued";
      running -= 1;
      if (state === slot.state) return;
      slot.state = state;
      this._grid.refresh(index);
    });
  }

  _tile(index) {
    const { seed, state, result } = this._slots[index];
    if (state === "published") return pictureTile(result, () => this._open(this, index));
    return seedTile(seed, state, result?.error?.message ?? "");
  }

  async _stop() {
    if (!this.job) return this._gone(); // it is not accepted yet, and need not be
    this._cancel.disabled = true;
    try {
      await ask(`v1/jobs/${encodeURIComponent(this.id)}/cancel`, { method: "POST" });
      this.update(await get(`v1/jobs/${encodeURIComponent(this.id)}`));
      this.tell();
    } catch (error) {
      this.tell(`Not cancelled. ${error.message}`);
    } finally {
      this._cancel.disabled = false;
    }
  }
}

function titleOf(seeds) {
  const text = writeSeeds(seeds);
  return `${seeds.length === 1 ? "Seed" : "Seeds"} ${text.length > 60 ? `${text.slice(0, 60).replace(/\s\S*$/, "")} …` : text}`;
}

/** Return the seeds that the page noted with a job, null if it is none of the page's. */
function seedsOf(job) {
  try {
    const seeds = job.seed === null ? parseSeeds(String(job.metadata?.seeds ?? "")) : [job.seed];
    return seeds.length === job.counts.total ? seeds : null;
  } catch {
    return null;
  }
}
