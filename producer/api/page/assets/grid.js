// A grid of which only what is near the window is in the document, so that ten thousand tiles cost no more than fifty.
//
// It scrolls with the page. All tiles are equal in size; where each stands is reckoned from its number.

const GAP = 16;
const BELOW_REM = 3.25; // the seed and two lines of caption

export class Grid {
  /**
   * `make(index)` returns the element of a tile; `near(index)` is told of the last one that is wanted, so that more can be
   * had.
   */
  constructor({ label, least = 170, make, near = () => {} }) {
    this.element = document.createElement("ul");
    this.element.className = "grid";
    this.element.setAttribute("role", "list"); // which Safari forgets where there are no bullets
    this.element.setAttribute("aria-label", label);
    this._make = make;
    this._near = near;
    this._least = least;
    this._count = 0;
    this._tiles = new Map();
    this._asked = 0;
    this._again = () => {
      this._asked ||= requestAnimationFrame(() => {
        this._asked = 0;
        this._draw();
      });
    };
    this._observer = new ResizeObserver(() => {
      this._width = 0;
      this._again();
    });
    this._observer.observe(this.element);
    addEventListener("scroll", this._again, { passive: true });
    addEventListener("resize", this._again);
    this.element.addEventListener("keydown", (event) => this._steer(event));
  }

  /** How many tiles there are. */
  get count() {
    return this._count;
  }

  set count(count) {
    if (count === this._count) return;
    this._count = count;
    this._width = 0;
    this._again();
  }

  /** So many tiles have come before all others: those that are there move on. */
  shift(tiles) {
    this._tiles = new Map([...this._tiles].map(([index, tile]) => [index + tiles, tile]));
    this.count += tiles;
  }

  /** Make a tile again, or all of them. */
  refresh(index) {
    for (const at of index === undefined ? [...this._tiles.keys()] : [index]) {
      const tile = this._tiles.get(at);
      if (!tile) continue;
      const focused = tile.contains(document.activeElement);
      tile.replaceChildren(this._make(at));
      if (focused) tile.firstElementChild.focus({ preventScroll: true });
    }
    this._again();
  }

  /** Try again what could not be shown. */
  retry() {
    for (const [index, tile] of this._tiles) if (tile.querySelector('[data-state="unreadable"]')) this.refresh(index);
  }

  /** Bring a tile into view and put the focus on it. */
  focus(index) {
    if (!this._measure()) return;
    const top = this.element.getBoundingClientRect().top + Math.floor(index / this._columns) * this._height;
    if (top < 80 || top + this._height > innerHeight) scrollBy(0, top - innerHeight / 3);
    this._draw();
    this._tiles.get(index)?.firstElementChild.focus({ preventScroll: true });
  }

  /** Let go of the window. */
  close() {
    cancelAnimationFrame(this._asked);
    this._observer.disconnect();
    removeEventListener("scroll", this._again);
    removeEventListener("resize", this._again);
  }

  _measure() {
    const width = this.element.clientWidth;
    if (!width) return false;
    if (width !== this._width) {
      this._width = width;
      this._columns = Math.max(2, Math.floor((width + GAP) / (this._least + GAP)));
      this._side = (width - GAP * (this._columns - 1)) / this._columns;
      this._below = BELOW_REM * Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
      this._height = Math.round(this._side + this._below + GAP);
      this.element.style.height = `${Math.ceil(this._count / this._columns) * this._height}px`;
      for (const [index, tile] of this._tiles) this._place(index, tile);
    }
    return true;
  }

  _draw() {
    if (!this._measure()) return;
    const top = -this.element.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((top - innerHeight) / this._height)) * this._columns;
    const last = Math.min(this._count, Math.ceil((top + 2 * innerHeight) / this._height) * this._columns);
    for (const [index, tile] of this._tiles) {
      if ((index < first || index >= last) && !(index < this._count && tile.contains(document.activeElement))) {
        tile.remove();
        this._tiles.delete(index);
      }
    }
    for (let index = first; index < last; index += 1) if (!this._tiles.has(index)) this._add(index);
    if (last > first || this._count === 0) this._near(last);
  }

  _add(index) {
    const tile = document.createElement("li");
    tile.append(this._make(index));
    this._place(index, tile);
    this._tiles.set(index, tile);
    let after = null; // in the document in order, so that Tab and screen readers go in order
    for (let next = index + 1; next <= index + this._columns && !after; next += 1)
      after = this._tiles.get(next) ?? null;
    if (!after && [...this._tiles.keys()].some((other) => other > index)) {
      after = this._tiles.get(Math.min(...[...this._tiles.keys()].filter((other) => other > index)));
    }
    this.element.insertBefore(tile, after);
  }

  _place(index, tile) {
    const column = index % this._columns;
    const row = Math.floor(index / this._columns);
    tile.style.transform = `translate(${column * (this._side + GAP)}px, ${row * this._height}px)`;
    tile.style.width = `${this._side}px`;
    tile.style.height = `${this._side + this._below}px`;
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this._count);
  }

  _steer(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this._columns, ArrowDown: this._columns };
    const step = event.altKey || event.ctrlKey || event.metaKey ? undefined : steps[event.key];
    const at = step && [...this._tiles].find(([, tile]) => tile.contains(document.activeElement))?.[0];
    if (at === undefined || at + step < 0 || at + step >= this._count) return;
    event.preventDefault();
    this.focus(at + step);
  }
}
