// Elements without markup: nothing that comes from outside is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  previous: "M14.5 5l-7 7 7 7",
  next: "M9.5 5l7 7-7 7",
  key: "M14.500 10.500a4 4 0 1 0-3.200 3.900L13 16h2v2h2v2h3v-3l-5.700-5.600zM8.500 8.500h.01",
  theme: "M12 3.500a8.500 8.500 0 1 0 0 17zM12 3.500a8.500 8.500 0 0 1 0 17",
};

/**
 * Return a new element. Attributes whose value is null, undefined or false are left out; those that begin with "on" are
 * listeners; children are nodes or texts.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an icon, which screen readers pass over. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a button that shows an icon and is called by a name. */
export function iconButton(name, label, press) {
  return h(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: press },
    icon(name),
  );
}

/** Return a button with a text; kind is a class such as "main". */
export function button(label, press, kind = "") {
  return h("button", { type: "button", class: `button ${kind}`, onclick: press }, label);
}

/** Have screen readers say something. */
export function announce(text) {
  const region = document.getElementById("announcer");
  const place = document.querySelector("dialog[open]") ?? document.body; // what is behind a dialog is not read aloud
  if (region.parentElement !== place) place.append(region);
  setTimeout(() => {
    region.textContent = text;
  }, 50);
}

/** Set a text only where it differs, so that nothing is said or drawn again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return a button that copies what `text()` gives, and says so. */
export function copyButton(label, text, kind = "tight quiet") {
  const pressed = async () => {
    const copied = await copy(text());
    made.textContent = copied ? "Copied" : "Not copied";
    announce(copied ? "Copied" : "The browser does not allow to copy: mark the text and copy it by hand");
    setTimeout(() => {
      made.textContent = label;
    }, 1500);
  };
  const made = button(label, pressed, kind);
  return made;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // no permission, or the page did not come over TLS or from this machine
    const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
