// What a browser remembers for the page: in this tab, or on this machine; only until it is closed where it refuses.

class Memory {
  /** `open` returns the browser's storage, or raises where that is blocked. */
  constructor(open) {
    this._kept = new Map();
    try {
      this._storage = open();
    } catch {
      this._storage = null;
    }
  }

  get(name) {
    return this._kept.get(name) ?? this._storage?.getItem(name) ?? null;
  }

  /** Keep a text, or with "" none. */
  set(name, text) {
    this._kept.set(name, text);
    try {
      if (text) this._storage?.setItem(name, text);
      else this._storage?.removeItem(name);
    } catch {
      // it is full, or not to be written
    }
  }
}

export const tab = new Memory(() => sessionStorage);
export const machine = new Memory(() => localStorage);
