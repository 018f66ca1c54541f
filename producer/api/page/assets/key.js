// The dialog that asks for an API key, which this tab alone remembers, until it is closed.

import { key } from "./api.js";
import { button, h, setText } from "./dom.js";

export class KeyDialog {
  constructor() {
    this._field = h("input", {
      type: "password",
      name: "key",
      autocomplete: "off",
      placeholder: "sm_…",
      required: true,
      pattern: "[!-~]+",
      title: "The key as it was shown: letters, digits, - and _",
      "aria-describedby": "key-words",
    });
    this._words = h("p", { class: "soft", id: "key-words" });
    this._forget = button("Forget", () => this._use(""), "quiet");
    const form = h(
      "form",
      {},
      h("label", { class: "field" }, h("span", {}, "API key"), this._field),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "button main" }, "Use this key"),
        this._forget,
        button("Close", () => this._leave(), "quiet"),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._use(this._field.value.trim());
    });
    this._dialog = h(
      "dialog",
      { "aria-label": "API key" },
      h("div", { class: "ask" }, h("h2", {}, "This service asks for a key"), this._words, form),
    );
    this._dialog.addEventListener("cancel", () => {
      this._refused = true;
    });
    this._refused = false;
    document.body.append(this._dialog);
  }

  /** Ask, since a request was refused; who has closed the dialog is not asked again. */
  need(refused) {
    if (!this._refused) this.open(refused);
  }

  open(refused = "") {
    if (this._dialog.open) return;
    setText(
      this._words,
      refused
        ? `The key was not taken: ${refused}.`
        : "Whoever runs it makes one with “seedmill keys create NAME”. It stays in this tab, and is forgotten when that is closed.",
    );
    this._words.className = refused ? "trouble" : "soft";
    this._forget.hidden = !key.get();
    this._field.value = "";
    this._dialog.showModal();
  }

  _leave() {
    this._refused = true;
    this._dialog.close();
  }

  _use(text) {
    key.set(text);
    this._refused = false;
    this._dialog.close();
    dispatchEvent(new Event("key-changed"));
  }
}
