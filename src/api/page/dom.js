// Elements: made, and changed only where they differ. Texts are set as text, never parsed.

import { safe, utc } from "./format.js";

export const byId = (id) => document.getElementById(id);

/** el("td", { class: "n" }, "text", child) */
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) attr(node, key, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function text(node, value) {
  const wanted = String(value);
  const first = node.firstChild;
  if (first?.nodeType === 3 && !first.nextSibling) {
    if (first.data !== wanted) first.data = wanted;
  } else if (first || wanted) {
    node.textContent = wanted;
  }
  return node;
}

/** `null` and `undefined` remove the attribute. */
export function attr(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  return node;
}

export function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
  return isShown;
}

/** A moment of local time, with UTC in its title. */
export function moment(node, words, ms) {
  attr(node, "title", Number.isFinite(ms) ? utc(ms) : null);
  return text(node, words);
}

/** A name from outside, apart from the direction of the text around it. */
export const named = (name, className) => el("bdi", { class: className, title: safe(name) }, safe(name));

/** Makes the children of `parent` those of `items`, keeping the nodes of known keys. */
export function keyed(parent, items, key, make, update) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    let node = known.get(name);
    if (!node) known.set(name, (node = make(item)));
    update?.(node, item);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
  for (const [name, node] of known) {
    if (wanted.has(name)) continue;
    node.remove();
    known.delete(name);
  }
}
