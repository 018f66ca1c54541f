// The tile of a seed: what stands for it until its picture is there, and the picture, which opens large.

import { h } from "./dom.js";
import { permalink, show, WORDS } from "./pictures.js";

/** Return the tile of a published picture; `open` is called when it is pressed. */
export function pictureTile(picture, open) {
  const word = h("span", { class: "word" });
  const image = h("img", { alt: "", width: 256, height: 256, decoding: "async", draggable: "false" });
  const tile = h(
    "a",
    {
      class: "tile",
      href: permalink(picture.seed, picture.model_id),
      "data-seed": picture.seed,
      "data-state": "published",
    },
    h("span", { class: "frame" }, image, word),
    about(picture.seed, picture.caption),
  );
  tile.setAttribute("aria-label", `Seed ${picture.seed}: ${picture.caption ?? ""}`);
  tile.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  const failed = (why) => {
    image.remove();
    word.textContent = WORDS[why];
    tile.dataset.state = why === "gone" ? "gone" : "unreadable";
  };
  show(image, picture, { done: () => image.classList.add("shown"), failed });
  return tile;
}

/** Return the tile of a seed without a picture; `seed` is null where it is not known. */
export function seedTile(seed, state, reason = "") {
  const name = seed === null ? "A seed" : `Seed ${seed}`;
  return h(
    "div",
    {
      class: "tile",
      role: "group",
      "data-seed": seed,
      "data-state": state,
      "aria-label": `${name}, ${state}${reason && `: ${reason}`}`,
    },
    h("span", { class: "frame" }, h("span", { class: "word" }, reason || state)),
    about(seed, ""),
  );
}

function about(seed, caption) {
  return h(
    "span",
    { class: "about" },
    h("b", {}, seed === null ? "…" : String(seed)),
    h("span", { class: "caption", dir: "auto" }, caption ?? ""),
  );
}
