// The view of all that is published: newest first or by seed, with a search in captions, without an end.

import { get } from "./api.js";
import { button, h, setText } from "./dom.js";
import { count, number } from "./format.js";
import { Grid } from "./grid.js";
import { permalink } from "./pictures.js";
import { MAX_SEED } from "./seeds.js";
import { pictureTile } from "./tile.js";

const PAGE = 200;
const AHEAD = 120;
const NEWS = 40;
const MOST_KEPT = 20_000; // of a tab that is left open, after which it begins anew
const NEWS_MS = 3_000;
const PAUSE_MS = 250;

const identity = (picture) => `${picture.model_id}:${picture.seed}`;

export class GalleryView {
  constructor({ open }) {
    this._open = open;
    this._query = { q: "", order: "newest" };
    this._search = h("input", {
      type: "search",
      "aria-label": "Search captions",
      placeholder: "Search captions",
      enterkeyhint: "search",
    });
    this._order = h(
      "select",
      { "aria-label": "Order" },
      h("option", { value: "newest" }, "Newest first"),
      h("option", { value: "seed" }, "By seed"),
    );
    this._seed = h("input", {
      "aria-label": "Open seed",
      inputmode: "numeric",
      placeholder: "Open seed",
      enterkeyhint: "go",
      autocomplete: "off",
      pattern: "[0-9]*",
    });
    this._tally = h("span");
    this._news = button("", () => this._reload({ up: true }), "tight");
    this._more = h("div", { class: "more" });
    this._host = h("div");
    this.element = h(
      "div",
      {},
      h("h1", { class: "unseen" }, "Gallery"),
      h(
        "div",
        { class: "tools" },
        h("div", { class: "field grow" }, this._search),
        h("div", { class: "field" }, this._order),
        h("form", { class: "field seed", onsubmit: (event) => this._openSeed(event) }, this._seed),
      ),
      h("div", { class: "tally" }, this._tally, this._news),
      this._host,
      this._more,
    );
    this._search.addEventListener("input", () => {
      clearTimeout(this._typing);
      this._typing = setTimeout(() => this._ask({ q: this._search.value.trim() }), PAUSE_MS);
    });
    this._search.addEventListener("search", () => this._ask({ q: this._search.value.trim() }));
    this._order.addEventListener("change", () => this._ask({ order: this._order.value }));
    addEventListener("store-is-back", () => {
      this._grid?.retry();
      if (this._stopped) this._goOn();
    });
    addEventListener("key-changed", () => {
      this._wanted = null;
      if (this._shown) this._reload();
    });
  }

  title = "Gallery";

  /** Show what the address asks for; it is kept when the view is left and come back to. */
  show({ q = "", order = "newest" } = {}) {
    this._shown = true;
    this._query = { q, order: order === "seed" ? "seed" : "newest" };
    this._search.value = q;
    this._order.value = this._query.order;
    if (this._wanted !== JSON.stringify(this._query)) this._reload();
    clearInterval(this._timer);
    this._timer = setInterval(() => this._lookForNews(), NEWS_MS);
  }

  hide() {
    this._shown = false;
    clearInterval(this._timer);
    clearTimeout(this._typing);
  }

  // What the viewer goes through.

  get count() {
    return this._pictures.length;
  }

  at(index) {
    if (index > this._pictures.length - AHEAD) this._load();
    return this._pictures[index];
  }

  indexOf(seed, model) {
    return this._pictures.findIndex((one) => one.seed === seed && (!model || one.model_id === model));
  }

  focus(index) {
    this._grid.focus(index);
  }

  _ask(change) {
    if (!this._shown || location.hash.startsWith("#/seed/")) return;
    const query = { ...this._query, ...change };
    const words = new URLSearchParams(
      Object.entries(query).filter(([name, value]) => value && !(name === "order" && value === "newest")),
    );
    history.replaceState(null, "", `#/gallery${words.size ? `?${words}` : ""}`);
    this.show(query);
  }

  /** Begin anew. */
  _reload({ up = false } = {}) {
    this._wanted = JSON.stringify(this._query);
    this._loading?.abort();
    this._loading = null;
    this._grid?.close();
    this._pictures = [];
    this._known = new Set();
    this._next = "";
    this._stopped = false;
    this._grid = new Grid({
      label: "Pictures",
      make: (index) => this._tile(this._pictures[index]),
      near: (last) => this._near(last),
    });
    this._host.replaceChildren(this._grid.element);
    this._news.hidden = true;
    setText(this._tally, "");
    this._more.replaceChildren("Looking …");
    if (up) scrollTo(0, 0);
    this._load();
  }

  _near(last) {
    if (last > this._pictures.length - AHEAD) this._load();
  }

  /** Have the next page, and more of them while what is in view is not full. */
  async _load() {
    if (this._loading || this._stopped || this._next === null) return;
    const loading = new AbortController();
    this._loading = loading;
    try {
      const page = await get(this._path(PAGE, this._next), { signal: loading.signal });
      if (loading !== this._loading) return;
      this._next = page.next;
      this._total = page.total;
      const before = this._pictures.length;
      for (const picture of page.data) this._add(picture);
      this._loading = null;
      this._say();
      this._grid.count = this._pictures.length;
      if (this._pictures.length < AHEAD || this._pictures.length === before) this._load();
    } catch (error) {
      if (loading.signal.aborted) return;
      this._loading = null;
      this._stopped = true; // scrolling on asks for nothing
      if (error.retryAfterS) setTimeout(() => this._goOn(), error.retryAfterS * 1000);
      this._more.replaceChildren(
        h("p", { class: "trouble", role: "alert" }, error.message),
        h(
          "div",
          { class: "actions" },
          button("Try again", () => this._goOn()),
        ),
      );
    }
  }

  _goOn() {
    this._stopped = false;
    this._load();
  }

  _path(limit, after) {
    const { q, order } = this._query;
    const words = new URLSearchParams({ limit, order, ...(q ? { q } : {}), ...(after ? { after } : {}) });
    return `v1/images?${words}`;
  }

  _tile(picture) {
    return pictureTile(picture, () => this._open(this, this._pictures.indexOf(picture)));
  }

  _add(picture, place = this._pictures.length) {
    if (this._known.has(identity(picture))) return;
    this._known.add(identity(picture));
    this._pictures.splice(place, 0, picture);
  }

  _say() {
    const { q } = this._query;
    const found = this._pictures.length;
    const open = this._next !== null;
    setText(
      this._tally,
      q
        ? `${number(found)}${open ? " or more" : ""} of ${count(this._total, "picture")}`
        : count(this._total, "picture"),
    );
    if (found || open) return this._more.replaceChildren(open ? "Looking for more …" : "");
    const nothing = q
      ? [
          h("h2", {}, `No caption has “${q}”`),
          h(
            "div",
            { class: "actions" },
            button("Show all", () => {
              this._search.value = "";
              this._ask({ q: "" });
            }),
          ),
        ]
      : [
          h("h2", {}, "Nothing is published yet"),
          h("p", {}, "What anybody makes is found here, and stays."),
          h("div", { class: "actions" }, h("a", { class: "button main", href: "#/" }, "Make pictures")),
        ];
    return this._more.replaceChildren(h("div", { class: "empty" }, ...nothing));
  }

  /** Look whether there are newer ones; who is at the top has them at once, others are told. */
  async _lookForNews() {
    if (document.hidden || this._asking || this._loading || this._query.q || this._query.order !== "newest") return;
    const wanted = this._wanted;
    this._asking = true;
    const page = await get(this._path(NEWS, "")).catch(() => null); // the notice tells of an API that is away
    this._asking = false;
    if (!page || wanted !== this._wanted || this._loading) return;
    const fresh = page.data.findIndex((picture) => this._known.has(identity(picture)));
    const news = fresh < 0 ? page.data : page.data.slice(0, fresh);
    this._total = page.total;
    if (!news.length) return;
    const joins = (fresh >= 0 || !this._pictures.length) && this._pictures.length < MOST_KEPT;
    if (joins && scrollY < 200) {
      for (const picture of news.toReversed()) this._add(picture, 0);
      this._grid.shift(this._pictures.length - this._grid.count);
      this._say();
    } else {
      setText(this._news, `Show ${joins ? count(news.length, "new picture") : "new pictures"}`);
      this._news.hidden = false;
    }
  }

  _openSeed(event) {
    event.preventDefault();
    const text = this._seed.value.trim();
    const valid = /^\d{1,10}$/.test(text) && Number(text) <= MAX_SEED;
    this._seed.setCustomValidity(valid ? "" : `A seed is a whole number from 0 to ${MAX_SEED}`);
    if (!this._seed.reportValidity()) return this._seed.setCustomValidity("");
    this._seed.value = "";
    location.hash = permalink(Number(text));
    return undefined;
  }
}
