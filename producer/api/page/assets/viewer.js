// One picture, large, with all that is known of it, and its neighbours.

import { ask, BASE } from "./api.js";
import { announce, button, copyButton, h, iconButton, setText } from "./dom.js";
import { bytes, moment, stages } from "./format.js";
import { details, isAbsent, path, permalink, show, WORDS } from "./pictures.js";
import { MAX_SEED } from "./seeds.js";

export class Viewer {
  /** `make(seed)` submits a seed; `closed()` is called when the dialog has been left. */
  constructor({ make, closed }) {
    this._make = make;
    this._source = null;
    this._index = 0;
    this._name = h("h2", { tabindex: "-1" });
    this._stage = h("div", { class: "stage" });
    this._body = h("div", { class: "body" });
    this._previous = iconButton("previous", "Previous", () => this._step(-1));
    this._next = iconButton("next", "Next", () => this._step(1));
    this._dialog = h(
      "dialog",
      { class: "viewer" },
      this._stage,
      h(
        "div",
        { class: "facts" },
        h(
          "div",
          { class: "steer" },
          this._name,
          this._previous,
          this._next,
          iconButton("close", "Close", () => this._dialog.close()),
        ),
        this._body,
      ),
    );
    this._dialog.addEventListener("close", () => {
      this._asking?.abort();
      this._stage.replaceChildren();
      const [source, index] = [this._source, this._at()];
      this._source = null;
      closed();
      source?.focus(index);
    });
    let pressed = null; // a text that is marked may be let go of outside
    this._dialog.addEventListener("pointerdown", (event) => {
      pressed = event.target;
    });
    this._dialog.addEventListener("click", (event) => {
      if (event.target === this._dialog && pressed === this._dialog) this._dialog.close();
    });
    addEventListener("key-changed", () => this.isOpen && this.open(this._seed, this._model));
    document.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!this.isOpen || event.target instanceof HTMLInputElement) return;
      if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this._step(step);
    });
    document.body.append(this._dialog);
  }

  get isOpen() {
    return this._dialog.open;
  }

  /** Go through what `source` has from `index` on: `count`, `at(index)`, and `focus(index)` at the end. */
  browse(source, index) {
    this._source = source;
    this._index = index;
  }

  /** Show the picture of a seed; `model` is null for that of the newest worker. */
  async open(seed, model) {
    this._seed = seed;
    this._model = model;
    this._asking?.abort();
    const asking = new AbortController();
    this._asking = asking;
    const known = this._source?.at(this._at());
    setText(this._name, `Seed ${seed}`);
    this._dialog.setAttribute("aria-label", `Seed ${seed}`);
    this._previous.disabled = !this._has(-1);
    this._next.disabled = !this._has(1);
    if (!this._dialog.open) {
      this._dialog.showModal();
      this._name.focus();
    }
    this._picture(known?.seed === seed && known.image_url ? known : null, "Looking …");
    this._body.replaceChildren(
      ...(known?.seed === seed && known.caption ? [h("blockquote", { dir: "auto" }, known.caption)] : []),
    );
    try {
      const found = await details(seed, model, asking.signal);
      if (asking.signal.aborted) return;
      if (this._shown !== placeOf(found) || !this._stage.querySelector("img")) this._picture(found, "");
      this._tell(found);
      announce(`Seed ${seed}: ${found.caption}`);
    } catch (error) {
      if (asking.signal.aborted) return;
      this._picture(null, isAbsent(error) ? "Not published" : "Cannot be shown");
      this._body.replaceChildren(...this._missing(error));
    }
  }

  close() {
    this._dialog.close();
  }

  _picture(picture, words) {
    const word = h("p", { class: "word" }, words);
    this._shown = picture ? placeOf(picture) : null;
    this._stage.replaceChildren(word);
    if (!picture) return;
    const image = h("img", {
      alt: picture.caption ?? `The picture of seed ${picture.seed}`,
      width: picture.width ?? 256,
      height: picture.height ?? 256,
    });
    this._stage.append(image);
    const failed = (why) => {
      image.remove();
      word.textContent = WORDS[why];
    };
    show(image, picture, {
      done: () => {
        image.classList.add("shown");
        word.remove();
      },
      failed,
    });
  }

  _tell(found) {
    const link = () => new URL(permalink(found.seed, found.model_id), BASE).href;
    const command = `python -m worker verify ${found.seed}`;
    const timings = stages(found.timings);
    this._body.replaceChildren(
      h("blockquote", { dir: "auto" }, found.caption),
      h("div", { class: "actions" }, copyButton("Copy link", link), this._download(found)),
      h(
        "dl",
        {},
        ...fact("Seed", String(found.seed)),
        ...fact("Model", h("code", {}, found.model_id)),
        ...fact("SHA-256", h("code", {}, found.sha256)),
        ...fact("Picture", `${found.width} × ${found.height}, ${bytes(found.bytes)}`),
        ...(found.published_at ? fact("Published", moment(found.published_at)) : []),
        ...fact("Object", h("code", {}, found.image_uri)),
        ...(timings.length ? fact("Made in", ...timings.map(([stage, took]) => h("div", {}, `${took} ${stage}`))) : []),
      ),
      h(
        "div",
        {},
        h(
          "p",
          { class: "soft small" },
          "The same seed gives the same bytes. To see for yourself, make it again and compare:",
        ),
        h(
          "div",
          { class: "command" },
          h("code", {}, command),
          copyButton("Copy command", () => command),
        ),
      ),
    );
  }

  _missing(error) {
    if (!isAbsent(error))
      return [
        h("p", { class: "trouble", role: "alert" }, error.message),
        h(
          "div",
          { class: "actions" },
          button("Try again", () => this.open(this._seed, this._model)),
        ),
      ];
    const make = () => {
      const seed = this._seed;
      this._dialog.close();
      this._make(seed);
    };
    if (!error.canMake) return [h("p", {}, error.message)];
    return [
      h(
        "p",
        {},
        `Nobody has made the picture of seed ${this._seed} yet${this._model ? ` with model ${this._model}` : ""}.`,
      ),
      h("div", { class: "actions" }, button("Make it", make, "main")),
    ];
  }

  /** A link to the file as the API gives it, so that its name and its bytes are right wherever the store is. */
  _download(found) {
    const address = path(found.seed, found.model_id, "file");
    const save = async (event) => {
      event.preventDefault();
      try {
        const file = URL.createObjectURL(await (await ask(address)).blob());
        h("a", { href: file, download: `seed_${String(found.seed).padStart(10, "0")}.png` }).click();
        setTimeout(() => URL.revokeObjectURL(file), 60_000);
      } catch (error) {
        if (this._seed !== found.seed) return;
        this._body.querySelector(".trouble")?.remove();
        this._body.prepend(h("p", { class: "trouble", role: "alert" }, error.message));
      }
    };
    return h("a", { class: "button tight quiet", href: new URL(address, BASE).href, onclick: save }, "Download PNG");
  }

  /** Where the picture stands in its list by now: others may have come before it. */
  _at() {
    const at = this._source?.indexOf(this._seed, this._model) ?? -1;
    return at < 0 ? this._index : at;
  }

  /** Return the next picture in a direction, null at the end; what is not there yet is passed over. */
  _neighbour(step) {
    if (!this._source) {
      const seed = this._seed + step;
      return seed >= 0 && seed <= MAX_SEED ? { seed, model_id: this._model } : null;
    }
    for (let at = this._at() + step; at >= 0 && at < this._source.count; at += step) {
      const picture = this._source.at(at);
      if (picture?.image_uri || picture?.image_url) return picture;
    }
    return null;
  }

  _has(step) {
    return this._neighbour(step) !== null;
  }

  _step(step) {
    const next = this._neighbour(step);
    if (!next) return;
    const { seed, model_id: model } = next;
    this._index = this._source?.indexOf(seed, model) ?? 0;
    try {
      history.replaceState(history.state, "", permalink(seed, model));
    } catch {
      // Safari allows a hundred in ten seconds
    }
    document.title = `Seed ${seed} · seedmill`;
    this.open(seed, model);
  }
}

/** Return where a picture is, whatever it is signed with. */
function placeOf(picture) {
  return picture.image_url?.split("?")[0] ?? null;
}

function fact(name, ...values) {
  return [h("dt", {}, name), h("dd", {}, ...values)];
}
