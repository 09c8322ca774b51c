/** Elements, built by calls: text goes in as text, never as markup. */

/** `el("p.quiet", { title: "..." }, "words", child)`; a property that begins with `on` is a listener. */
export function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) set(element, key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function set(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else element.setAttribute(key, value === true ? "" : value);
}

/** Changes the page only where it differs, so that a selection or a screen reader is not disturbed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function clock(time) {
  const instant = new Date(time);
  if (!time || Number.isNaN(instant.valueOf())) return "";
  return instant.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export function exactClock(time) {
  const instant = new Date(time);
  if (!time || Number.isNaN(instant.valueOf())) return "";
  return instant.toLocaleTimeString("en-GB", {
    hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
  });
}
