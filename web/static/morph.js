// Makes a part of the page what the server says it is now, and touches only what differs: what a person has opened,
// typed, focused or selected stays, because the elements stay.
"use strict";

// Attributes that people, or our scripts for them, change by using the page.
const KEPT_ATTRIBUTES = new Set(["open", "hidden", "aria-selected", "data-htmx-powered"]);

function morph(old, fresh) {
  const wanted = [...fresh.childNodes];
  const ids = new Set(wanted.map((node) => node.id).filter(Boolean));
  // What is gone goes first, so that what stays is never moved: a moved element loses its focus.
  for (const child of [...old.children]) if (child.id && !ids.has(child.id)) child.remove();
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const node of wanted) {
    const found = node.id ? known.get(node.id) : nextLike(at, node);
    if (!found) {
      old.insertBefore(document.importNode(node, true), at);
      continue;
    }
    while (at && at !== found && !at.id) at = drop(at);
    if (at === found) at = at.nextSibling;
    else old.insertBefore(found, at);
    become(found, node);
  }
  while (at) at = drop(at);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// The next node without an id that is of the same kind.
function nextLike(at, wanted) {
  const kind = (node) => `${node.nodeName} ${node.classList?.[0] ?? ""}`;
  for (let node = at; node; node = node.nextSibling) {
    if (!node.id && kind(node) === kind(wanted)) return node;
    if (wanted.nodeType !== Node.ELEMENT_NODE && node.nodeType === Node.ELEMENT_NODE) return undefined;
  }
  return undefined;
}

function become(old, wanted) {
  if (old.isEqualNode(wanted)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !KEPT_ATTRIBUTES.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (!KEPT_ATTRIBUTES.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, wanted);
}

// What was typed and not sent: label and text of each field.
function typed(root) {
  return [...root.querySelectorAll("input:not([type=hidden]), textarea")]
    .filter((field) => field.value !== field.defaultValue && field.value.trim())
    .map((field) => ({ field, text: field.value }));
}
