// The view of the service itself: its parts, what waits, who works, and what could not be done.

import { ask, get } from "./api.js";
import { announce, button, h } from "./dom.js";
import { count, duration, moment, number, speed } from "./format.js";
import { listen, look, untilIdle, watch } from "./live.js";

const PARTS = { redis: "Queue", storage: "Object store", worker: "Workers" };
const LETTERS = 50;

export class StatusView {
  /** `isAdmin()` says whether the visitor may see dead letters. */
  constructor({ isAdmin }) {
    this._isAdmin = isAdmin;
    this._now = h("div");
    this._dead = h("section", { class: "section", "aria-label": "Dead letters" });
    this.element = h("div", {}, h("h1", {}, "Status"), this._now, this._dead);
    this._now.append(h("p", { class: "empty" }, "Looking …"));
    addEventListener("info-changed", () => this._letters(true, this._listed));
  }

  title = "Status";

  show() {
    watch(this, true);
    this._stop?.();
    this._stop = listen((status) => this._tell(status));
    this._listed = null;
    look();
  }

  hide() {
    watch(this, false);
    this._stop?.();
  }

  _tell(status) {
    if (!status) {
      this._dead.replaceChildren();
      this._listed = null;
      return this._now.replaceChildren(
        h("p", { class: "empty" }, "There is nothing to show while the API does not answer."),
      );
    }
    if (this._now.children.length !== 3) this._now.replaceChildren(h("div"), h("div"), h("div"));
    [cards(status), batches(status.workers), workers(status.workers)].forEach((part, place) => {
      renew(this._now.children[place], part);
    });
    return this._letters(status.queue?.dead_letters !== this._listed, status.queue?.dead_letters);
  }

  /** List dead letters for those who may see them; again when their number has changed. */
  async _letters(again, listed = null) {
    if (!again) return;
    this._listed = listed;
    const title = h("h2", {}, "Dead letters");
    if (!this._isAdmin()) {
      const words = listed ? `${count(listed, "dead letter")}. ` : "";
      this._dead.replaceChildren(
        title,
        h(
          "p",
          { class: "soft" },
          `${words}A key with the scope admin shows what could not be done, and sends it again.`,
        ),
      );
      return;
    }
    try {
      const { data } = await get(`v1/dead-letters?limit=${LETTERS}`);
      this._dead.replaceChildren(
        title,
        data.length
          ? this._table(data)
          : h("p", { class: "soft" }, "None. Whatever cannot be done after three tries is kept here."),
      );
    } catch (error) {
      this._dead.replaceChildren(title, h("p", { class: "trouble" }, error.message));
    }
  }

  _table(letters) {
    const rows = letters.map((letter) => {
      const said = h("p", { class: "small", role: "status" });
      const path = `v1/dead-letters/${encodeURIComponent(letter.id)}`;
      const replay = this._action("Replay", letter, said, () => ask(`${path}/replay`, { method: "POST" }));
      const forget = this._action("Forget", letter, said, () => ask(path, { method: "DELETE" }));
      const seeds = letter.failures?.map((failure) => failure.seed) ?? [];
      return h(
        "tr",
        {},
        h("td", {}, moment(letter.at)),
        h(
          "td",
          {},
          letter.job_id ?? "–",
          seeds.length
            ? h("div", { class: "soft small" }, `seed ${seeds.slice(0, 5).join(", ")}${seeds.length > 5 ? " …" : ""}`)
            : null,
        ),
        h(
          "td",
          {},
          letter.reason,
          letter.failures?.[0]?.message ? h("div", { class: "soft small" }, letter.failures[0].message) : null,
          said,
        ),
        h("td", {}, h("div", { class: "actions" }, replay, forget)),
      );
    });
    return table(["When", "Job", "Why", ""], rows);
  }

  _action(label, letter, said, act) {
    const made = button(
      label,
      async () => {
        made.disabled = true;
        try {
          await act();
          announce(`${label === "Replay" ? "Sent again" : "Forgotten"}: ${letter.id}`);
          this._listed = null;
          look();
        } catch (error) {
          said.textContent = error.message;
        } finally {
          made.disabled = false;
        }
      },
      "tight",
    );
    made.setAttribute("aria-label", `${label} ${letter.id}`);
    return made;
  }
}

/** Put a part in place of another if it differs; a table that was scrolled, or has the focus, stays so. */
function renew(old, part) {
  if (old.isEqualNode(part)) return;
  const before = old.querySelector(".scroll");
  const [left, focused] = [before?.scrollLeft ?? 0, before && before === document.activeElement];
  old.replaceWith(part);
  const after = part.querySelector(".scroll");
  if (!after) return;
  after.scrollLeft = left;
  if (focused) after.focus({ preventScroll: true });
}

function cards({ checks, queue, seeds, workers: all }) {
  const cached = sum(all, "cached");
  const made = sum(all, "seeds");
  const parts = Object.entries(PARTS).map(([name, words]) => {
    const { ok, detail } = checks[name] ?? { ok: null, detail: null };
    const well = name === "worker" ? String(all.length) : "OK";
    return card(
      words,
      ok === false ? (name === "worker" ? "none" : "away") : ok === null ? "–" : well,
      detail ?? "",
      ok === false,
    );
  });
  return h(
    "dl",
    { class: "cards" },
    ...parts,
    card("Seeds to do", seeds ? number(seeds.waiting) : "–", seeds?.waiting ? untilIdle(seeds) : ""),
    card("Speed", seeds?.per_s ? speed(seeds.per_s) : "–", "over the last minute with something to do"),
    card(
      "Jobs under way",
      queue ? number(queue.active_jobs) : "–",
      queue?.oldest_job_s ? `the oldest for ${duration(queue.oldest_job_s)}` : "",
    ),
    card("Messages", queue ? number(queue.waiting) : "–", queue ? `wait; workers hold ${number(queue.held)}` : ""),
    card(
      "From the cache",
      made ? `${number((100 * cached) / made)} %` : "–",
      made ? `${number(cached)} of ${count(made, "seed")} since the workers started` : "",
    ),
    card("Dead letters", queue ? number(queue.dead_letters) : "–", "", queue?.dead_letters > 0),
  );
}

function card(name, value, more, bad = false) {
  return h(
    "div",
    { class: "card", "data-state": bad ? "bad" : null },
    h("dt", {}, name),
    h("dd", {}, value),
    more ? h("dd", { class: "small" }, more) : null,
  );
}

function batches(all) {
  const sizes = new Map();
  for (const worker of all)
    for (const [size, times] of Object.entries(worker.batches ?? {}))
      sizes.set(Number(size), (sizes.get(Number(size)) ?? 0) + times);
  const known = [...sizes].filter(([, times]) => times > 0).toSorted(([a], [b]) => a - b);
  const most = Math.max(...known.map(([, times]) => times));
  const bars = known.map(([size, times]) => {
    const bar = h("i");
    bar.style.height = `${(100 * times) / most}%`;
    return h("li", {}, h("span", {}, number(times)), bar, h("b", {}, size > 2 ? `≤ ${size}` : String(size)));
  });
  const none = h("p", { class: "soft" }, "No batch yet.");
  return h(
    "section",
    { class: "section" },
    h("h2", {}, "Batches by their number of seeds"),
    bars.length ? h("ul", { class: "bars" }, ...bars) : none,
  );
}

function workers(all) {
  const rows = all.map((worker) =>
    h(
      "tr",
      {},
      h("td", {}, worker.host ? `${worker.host}, process ${worker.pid}` : h("code", {}, worker.model_id)),
      h("td", {}, worker.device, worker.trained === false ? " (random weights)" : ""),
      h("td", {}, h("code", {}, worker.model_id)),
      h("td", { class: "number" }, number(worker.seeds ?? 0)),
      h("td", { class: "number" }, number(worker.cached ?? 0)),
    ),
  );
  const none = h("p", { class: "soft" }, "None is seen. Start one with ", h("code", {}, "python -m worker run"), ".");
  return h(
    "section",
    { class: "section" },
    h("h2", {}, "Workers"),
    rows.length ? table(["Worker", "Device", "Model", "Seeds", "Cached"], rows) : none,
  );
}

function table(names, rows) {
  const right = new Set(["Seeds", "Cached"]);
  const head = names.map((name) =>
    name
      ? h("th", { scope: "col", class: right.has(name) ? "number" : null }, name)
      : h("td", {}, h("span", { class: "unseen" }, "Actions")),
  );
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${names[0]}` },
    h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
  );
}

function sum(all, name) {
  return all.reduce((total, worker) => total + (worker[name] ?? 0), 0);
}
