// The page: which view the address means, and what all views share.

import { get, key } from "./api.js";
import { icon } from "./dom.js";
import { GalleryView } from "./gallery.js";
import { KeyDialog } from "./key.js";
import { listen, look } from "./live.js";
import { MakeView } from "./make.js";
import { machine } from "./memory.js";
import { permalink } from "./pictures.js";
import { MAX_SEED } from "./seeds.js";
import { StatusView } from "./status.js";
import { Viewer } from "./viewer.js";

const main = document.getElementById("main");
const info = { scopes: [], version: "" };
const keys = new KeyDialog();
const viewer = new Viewer({
  make: (seed) => {
    location.hash = "#/";
    views.make.submit([seed]);
  },
  closed: leaveViewer,
});
const views = {
  make: new MakeView({ open: browse }),
  gallery: new GalleryView({ open: browse }),
  status: new StatusView({ isAdmin: () => info.scopes.includes("admin") }),
};
let current = null;
let pushed = false; // whether leaving the viewer goes back to where it was opened
let beneath = "#/gallery"; // the address of what is seen behind the viewer
let left = false; // whether the address changes because the viewer was left

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name, value = ""] = path.split("/");
  return { name: name || "make", value: decode(value), query: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route(event) {
  const { name, value, query } = parse(location.hash);
  const before = event?.oldURL ? new URL(event.oldURL).hash : "";
  if (event?.oldURL && parse(before).name !== "seed") beneath = before || "#/";
  if (name === "seed" && /^\d{1,10}$/.test(value) && Number(value) <= MAX_SEED) {
    if (!current) enter("gallery", {});
    viewer.open(Number(value), query.model ?? null);
    document.title = `Seed ${Number(value)} · seedmill`;
    return;
  }
  const still = left || viewer.isOpen; // focus and place are as they were
  left = false;
  if (viewer.isOpen) {
    pushed = false;
    viewer.close();
  }
  if (name === "gallery" || name === "status") enter(name, query);
  else enter("make", { still });
  if (name === "job" && value) views.make.follow(value, { still });
}

function enter(name, query) {
  const view = views[name];
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === (name === "make" ? "#/" : `#/${name}`)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view.title} · seedmill`;
  if (current !== view) {
    if (current) {
      current.scroll = scrollY;
      current.hide();
    }
    current = view;
    main.replaceChildren(view.element);
    scrollTo(0, view.scroll ?? 0);
  }
  view.show(query);
}

/** Open a picture of a list, so that its neighbours are those of the list. */
function browse(source, index) {
  const { seed, model_id: model } = source.at(index);
  viewer.browse(source, index);
  pushed = true;
  location.hash = permalink(seed, model);
}

function leaveViewer() {
  const back = pushed;
  pushed = false;
  if (parse(location.hash).name !== "seed") return;
  left = true;
  if (back) history.back();
  else location.replace(beneath);
}

async function learn() {
  try {
    Object.assign(info, await get("v1/info"));
  } catch {
    info.scopes = []; // the notice tells of an API that is away, the dialog asks for a key
    return;
  }
  document.getElementById("version").textContent = `seedmill ${info.version}`;
  document.getElementById("key").hidden = !info.auth && !key.get();
  dispatchEvent(new Event("info-changed"));
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  machine.set("seedmill-theme", root.dataset.theme);
}

const theme = machine.get("seedmill-theme");
if (theme) document.documentElement.dataset.theme = theme;
for (const name of ["key", "theme"]) document.getElementById(name).append(icon(name));
document.getElementById("theme").addEventListener("click", switchTheme);
document.getElementById("key").addEventListener("click", () => keys.open());
listen((status) => status && !info.version && learn()); // it could not be had before
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("key-needed", (event) => {
  document.getElementById("key").hidden = false;
  keys.need(event.detail);
});
addEventListener("key-changed", async () => {
  await learn();
  look();
});
addEventListener("hashchange", route);
learn().then(look);
route();
