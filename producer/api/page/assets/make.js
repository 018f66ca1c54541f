// The view where seeds are typed and their pictures arrive.

import { ask, get, newJobId, Problem } from "./api.js";
import { announce, button, h, setText } from "./dom.js";
import { count } from "./format.js";
import { JobPanel } from "./job.js";
import { look } from "./live.js";
import { tab } from "./memory.js";
import { parseSeeds, randomSeeds, writeSeeds } from "./seeds.js";

const SURPRISES = 8;
const TYPING_MS = 600;
const KEPT = 5;
const NOTED_CHARACTERS = 8_000; // of the 8 KiB that a job's metadata may have
const SLOWEST_S = 5;
const MEMORY = "seedmill-jobs";
const EXAMPLES = ["42", "7 8 9", "0..31"];

export class MakeView {
  constructor({ open }) {
    this._open = open;
    this._panels = new Map();
    this._field = h("input", {
      id: "seeds",
      name: "seeds",
      "aria-label": "Seeds",
      "aria-describedby": "hint",
      placeholder: "42, or 7 8 9, or 0..63",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      enterkeyhint: "go",
    });
    this._hint = h("p", { class: "hint", id: "hint" });
    this._field.addEventListener("input", () => {
      clearTimeout(this._typing);
      this._typing = setTimeout(() => this._read(), TYPING_MS);
    });
    const form = h(
      "form",
      { class: "order" },
      this._field,
      h("button", { class: "button main" }, "Make pictures"),
      button("Surprise me", () => this._surprise()),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const seeds = this._sending ? null : this._read({ sending: true });
      if (seeds) this.submit(seeds);
    });
    this._jobs = h("div", { class: "jobs" });
    this._empty = h(
      "div",
      { class: "empty" },
      h("h2", {}, "Nothing asked for yet"),
      h("p", {}, "Every whole number up to 4,294,967,295 is a picture, always the same one."),
    );
    this.element = h(
      "div",
      {},
      h(
        "section",
        { class: "hero" },
        h("h1", {}, "Type a seed, watch a picture arrive"),
        h(
          "p",
          {},
          "One number, several, or a range: workers make them in batches, store them, and they appear here as each is published.",
        ),
        form,
        this._hint,
      ),
      this._jobs,
      this._empty,
    );
    this._read();
    for (const id of remembered()) this.follow(id, { quietly: true });
  }

  title = "Make";

  show({ still = false }) {
    if (!still) this._field.focus({ preventScroll: true });
  }

  hide() {}

  /** Show a job, and scroll to it unless all is to stay still; one that is not known is told of, unless quietly. */
  async follow(id, { quietly = false, still = false } = {}) {
    const shown = this._panels.get(id);
    if (shown && !still) shown.element.scrollIntoView({ block: "start" });
    if (shown) return;
    await this._run(this._panel(id, null), quietly);
  }

  /** Submit seeds as a job of their own, and follow it. */
  async submit(seeds) {
    const panel = this._panel(newJobId(), seeds);
    this._sending = true; // a second click on its way is no second job
    announce(`${count(seeds.length, "seed")} submitted`);
    if (!location.hash.startsWith("#/seed/")) history.replaceState(null, "", `#/job/${panel.id}`);
    try {
      panel.update(await this._put(panel, seeds));
    } catch (error) {
      this._drop(panel);
      if (panel.signal.aborted) {
        ask(`v1/jobs/${panel.id}/cancel`, { method: "POST" }).catch(() => {}); // should it have been accepted
        return;
      }
      this._say(error.message, { bad: true });
      announce(error.message);
      if (location.hash === `#/job/${panel.id}`) history.replaceState(null, "", "#/");
      return;
    } finally {
      this._sending = false;
    }
    remember(panel.id);
    look();
    await this._run(panel, false);
  }

  /** A submit can be sent again under its id without making a second job. */
  async _put(panel, seeds) {
    const noted = writeSeeds(seeds);
    const body = { ...order(seeds), ...(noted.length <= NOTED_CHARACTERS ? { metadata: { seeds: noted } } : {}) };
    for (let tries = 1; ; tries += 1) {
      try {
        return await get(`v1/jobs/${panel.id}`, { method: "PUT", body, signal: panel.signal });
      } catch (error) {
        if (!(error instanceof Problem) || error.status !== 0) throw error; // it may be cancelled
        panel.tell("The API does not answer. Trying again …");
        await new Promise((resolve) => setTimeout(resolve, Math.min(tries, SLOWEST_S) * 1000));
      }
    }
  }

  async _run(panel, quietly) {
    try {
      await panel.run();
    } catch (error) {
      if (error.status === 403) return panel.tell("It is submitted. Your key may not read what becomes of it.");
      this._drop(panel);
      forget(panel.id);
      if (!quietly || location.hash === `#/job/${panel.id}`) {
        this._say(error.message, { bad: true });
        announce(error.message);
      }
    }
  }

  _panel(id, seeds) {
    const panel = new JobPanel({
      id,
      seeds,
      open: this._open,
      gone: () => {
        this._drop(panel);
        forget(id);
      },
    });
    this._panels.set(id, panel);
    this._jobs.prepend(panel.element);
    this._empty.hidden = true;
    return panel;
  }

  _drop(panel) {
    panel.close();
    this._panels.delete(panel.id);
    this._empty.hidden = this._panels.size > 0;
  }

  _surprise() {
    const seeds = randomSeeds(SURPRISES);
    this._field.value = seeds.join(" ");
    this._read();
    this.submit(seeds);
  }

  /** Read the field and say below what it means; returns the seeds, or null if there is nothing to send. */
  _read({ sending = false } = {}) {
    clearTimeout(this._typing);
    const text = this._field.value;
    this._field.removeAttribute("aria-invalid");
    if (!text.trim() && !sending) {
      this._hint.replaceChildren("Try ", ...EXAMPLES.flatMap((example, n) => [n ? ", " : "", this._example(example)]));
      delete this._hint.dataset.bad;
      return null;
    }
    try {
      const seeds = parseSeeds(text);
      if (!seeds.length)
        throw new Error("There is no seed here: write a whole number such as 42, several, or a range such as 0..63.");
      this._say(count(seeds.length, "picture"));
      return seeds;
    } catch (error) {
      this._say(error.message, { bad: true });
      this._field.setAttribute("aria-invalid", "true");
      if (sending) {
        announce(error.message);
        this._field.focus();
      }
      return null;
    }
  }

  _say(words, { bad = false } = {}) {
    setText(this._hint, words);
    if (bad) this._hint.dataset.bad = "";
    else delete this._hint.dataset.bad;
  }

  _example(text) {
    return h(
      "button",
      {
        type: "button",
        class: "link",
        onclick: () => {
          this._field.value = text;
          this._read();
          this._field.focus();
        },
      },
      text,
    );
  }
}

function order(seeds) {
  if (seeds.length === 1) return { seed: seeds[0] };
  const last = seeds[seeds.length - 1];
  const isRange = last - seeds[0] + 1 === seeds.length && seeds.every((seed, n) => seed === seeds[0] + n);
  return isRange ? { range: `${seeds[0]}..${last}` } : { seeds };
}

function remembered() {
  return JSON.parse(tab.get(MEMORY) || "[]");
}

function remember(id) {
  tab.set(MEMORY, JSON.stringify([...remembered().filter((other) => other !== id), id].slice(-KEPT)));
}

function forget(id) {
  tab.set(MEMORY, JSON.stringify(remembered().filter((other) => other !== id)));
}
