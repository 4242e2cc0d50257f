// The policy builder and the playground: which side of the builder was changed last, and keys.
"use strict";
(() => {
  document.addEventListener("DOMContentLoaded", () => {
    // Without scripts the console finds out itself which side was changed.
    const side = document.getElementById("builder")?.elements.side;
    if (side && !side.value) side.value = "json";
  });
  function noteSide(event) {
    const side = event.target.closest?.("[data-side]");
    const form = side?.closest("form");
    if (form?.elements.side) form.elements.side.value = side.dataset.side;
  }
  for (const kind of ["input", "change", "click"]) {
    document.addEventListener(kind, (event) => {
      // A button that adds or removes an item works on what the form shows, unless the JSON was changed last.
      if (kind !== "click") noteSide(event);
    }, true);
  }

  // Only one side is ahead of the other: while the answer to a change of one is awaited the other takes none, and while a
  // button adds, removes or opens an item nothing does. Otherwise the answer would write over what was typed meanwhile.
  const ahead = new Set();
  let working = null;
  function hold() {
    const form = document.getElementById("build-form");
    const json = document.getElementById("json");
    if (!form || !json) return;
    form.inert = Boolean(working) || ahead.has("json");
    form.setAttribute("aria-busy", String(form.inert));
    json.readOnly = Boolean(working) || ahead.has("form");
  }
  const sideOf = (source) => source?.closest?.("[data-side]")?.dataset.side;
  document.addEventListener("input", (event) => {
    const side = sideOf(event.target);
    if (!side || event.target.name === "q") return;
    ahead.add(side);
    hold();
  });
  document.addEventListener("htmx:before:request", (event) => {
    const { sourceElement: source } = event.detail.ctx;
    if (source.matches("#build-form button[name=do]")) {
      working = { source, focused: document.activeElement };
      window.htmx.trigger("#build-form", "htmx:abort");
      hold();
    } else if (working && source.matches("[data-side]")) {
      event.preventDefault(); // What it would send is on its way with the button.
    }
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const { sourceElement: source, status, response } = event.detail.ctx;
    const done = status === "swapped" && response.status < 400;
    if (working?.source === source) {
      const { focused } = working;
      working = null;
      if (done) ahead.clear();
      hold();
      if (focused.isConnected && document.activeElement === document.body) focused.focus();
      else refocus();
    } else if (done && source.matches("[data-side]")) {
      ahead.delete(source.dataset.side);
      hold();
    }
  });

  // The head of an item repeats fields of it; it follows while they are typed.
  function mirror(event) {
    for (const copy of event.target.closest?.(".item")?.querySelectorAll("[data-mirror]") ?? []) {
      const fields = copy.dataset.mirror.split(" ").map((name) => document.getElementById(name)?.value.trim());
      copy.textContent = fields.find(Boolean) || copy.dataset.none || "";
    }
    if (event.target.name?.endsWith(".id")) {
      for (const button of event.target.closest(".item")?.querySelectorAll("[data-verb]") ?? []) button.setAttribute("aria-label", `${button.dataset.verb} ${event.target.value}`);
    }
  }
  for (const kind of ["input", "change"]) document.addEventListener(kind, mirror);

  // A button that adds or removes an item is replaced with its section: the new item takes the focus, or the button that adds.
  let asked = null;
  document.addEventListener("click", (event) => {
    const work = event.target.closest?.("#build-form button[name=do]");
    if (!work) return;
    const verb = work.value;
    const [, opens] = /^open-(.+)$/.exec(verb) ?? [];
    asked = { title: work.closest("section").getAttribute("aria-labelledby"), turns: verb.startsWith("page-") && work.textContent, adds: /^(add-|override:)/.test(verb), opens, item: work.closest(".item")?.id };
  });
  function refocus() {
    if (!asked || document.activeElement !== document.body) return;
    const section = document.getElementById(asked.title)?.closest("section");
    const items = section?.querySelectorAll(".item") ?? [];
    const entry = asked.adds ? items[items.length - 1] : asked.opens ? document.getElementById(`item-${asked.opens}`) : null;
    const first = entry?.querySelector("input:not([type=hidden]), select, textarea") ?? (entry ?? document.getElementById(asked.item))?.querySelector("button");
    const turned = [...section?.querySelectorAll(".item-pages button") ?? []];
    const turn = asked.turns && (turned.find((button) => button.textContent === asked.turns) ?? turned[0]);
    asked = null;
    (turn || (first ?? section?.querySelector("header button")))?.focus();
  }

  // Saving the draft loads the page again: it comes back where it was left, with the focus on the button.
  const PLACE = "builder-place";
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "builder" || event.submitter?.value !== "save") return;
    sessionStorage.setItem(PLACE, JSON.stringify([event.target.getAttribute("action"), window.scrollY]));
  }, true);
  document.addEventListener("DOMContentLoaded", () => {
    const [action, y] = JSON.parse(sessionStorage.getItem(PLACE) ?? "[]");
    sessionStorage.removeItem(PLACE);
    const form = document.getElementById("builder");
    if (!form || form.getAttribute("action") !== action || document.querySelector(".form-errors, .panel-refused")) return;
    window.scrollTo({ top: y });
    form.querySelector("button[value=save]").focus({ preventScroll: true });
  });

  // Enter in the search for a rule searches; it is no wish to save the draft.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.id === "rule-search") event.preventDefault();
  });

  // Selects the part of the JSON that a pointer names, as well as a plain text search can.
  function show(pointer) {
    const area = document.getElementById("json");
    if (!area) return;
    const [start, end] = place(area.value, pointer);
    area.focus();
    area.setSelectionRange(start, end);
    const lines = area.value.slice(0, start).split("\n").length;
    const height = parseFloat(getComputedStyle(area).lineHeight) || 18;
    area.scrollTop = Math.max(0, (lines - 6) * height);
  }

  // Walks the JSON text to the value that the pointer names.
  function place(text, pointer) {
    const steps = pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
    let at = skip(text, 0);
    for (const step of steps) {
      const found = enter(text, at, step);
      if (found < 0) break;
      at = found;
    }
    return [at, Math.min(ending(text, at), at + 400)];
  }
  const skip = (text, at) => {
    while (at < text.length && /[\s,:]/.test(text[at])) at += 1;
    return at;
  };
  function ending(text, at) {
    if (text[at] === '"') {
      for (let i = at + 1; i < text.length; i += 1) {
        if (text[i] === "\\") i += 1;
        else if (text[i] === '"') return i + 1;
      }
      return text.length;
    }
    if (text[at] !== "{" && text[at] !== "[") {
      while (at < text.length && !/[\s,\]}]/.test(text[at])) at += 1;
      return at;
    }
    let depth = 0;
    for (let i = at; i < text.length; i += 1) {
      if (text[i] === '"') i = ending(text, i) - 1;
      else if (text[i] === "{" || text[i] === "[") depth += 1;
      else if (text[i] === "}" || text[i] === "]") {
        depth -= 1;
        if (!depth) return i + 1;
      }
    }
    return text.length;
  }
  function enter(text, at, step) {
    const isList = text[at] === "[";
    if (!isList && text[at] !== "{") return -1;
    let index = 0;
    let i = skip(text, at + 1);
    while (i < text.length && text[i] !== "]" && text[i] !== "}") {
      if (isList) {
        if (String(index) === step) return i;
        index += 1;
      } else {
        const end = ending(text, i);
        const name = text.slice(i + 1, end - 1);
        i = skip(text, end);
        if (name === step) return i;
      }
      i = skip(text, ending(text, i));
    }
    return -1;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-pointer]");
    if (button) show(button.dataset.pointer);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const form = event.target.closest?.("form[data-ctrl-enter]");
    if (!form) return;
    event.preventDefault();
    form.requestSubmit();
  });
})();
