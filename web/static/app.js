// What the pages do beyond links and forms. Everything hangs on delegated listeners, so content that htmx swaps in works
// at once. Without this file every page still reads, and every form still posts.
"use strict";
document.documentElement.classList.add("js");

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const remember = (name, value) => { document.cookie = `${name}=${value}; Path=/; Max-Age=31536000; SameSite=Strict`; };

// --- Theme, rail, menus ------------------------------------------------------------------------------------------
function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "system") root.removeAttribute("data-bs-theme");
  else root.setAttribute("data-bs-theme", theme);
  remember("ostiary_theme", theme);
  for (const button of $$("[data-theme]")) button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
  document.dispatchEvent(new CustomEvent("themechange"));
}

function toggleRail() {
  const root = document.documentElement;
  const narrow = root.dataset.rail !== "narrow";
  if (narrow) root.dataset.rail = "narrow";
  else delete root.dataset.rail;
  remember("ostiary_rail", narrow ? "narrow" : "wide");
}

function closeMenus(except) {
  for (const menu of $$("details[data-menu][open]")) if (menu !== except) menu.open = false;
}

// On a narrow screen the row of tabs scrolls: the one that is open must be seen whole.
function showOpenTabs() {
  for (const tab of $$(".tabs [aria-current]")) {
    const row = tab.parentElement;
    row.scrollLeft = tab.offsetLeft - row.offsetLeft + tab.offsetWidth - row.clientWidth;
  }
}

// --- Copy, toasts -------------------------------------------------------------------------------------------------
async function copyText(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("done");
    toast(button.dataset.copied || "Copied");
  } catch {
    toast("The browser refused to copy; select the text instead.", "error");
  }
  setTimeout(() => button.classList.remove("done"), 1500);
}

// A toast stays while somebody points at it, but its Undo goes when the server would refuse it. One with Undo comes back
// on the next page until then, unless it was dismissed.
const TOAST_MS = 5000;
const DISMISSED = "ostiary-dismissed-toasts";
const dismissed = () => (sessionStorage.getItem(DISMISSED) || "").split(" ");
function dismiss(note) {
  if (note.dataset.until) sessionStorage.setItem(DISMISSED, [...dismissed().slice(-9), note.dataset.until].join(" "));
  note.remove();
}
function retire(note) {
  if (note.dataset.timer) return;
  note.dataset.timer = "1";
  if (note.dataset.until && dismissed().includes(note.dataset.until)) return void note.remove();
  const leave = () => (note.matches(":hover, :focus-within") ? setTimeout(leave, 2000) : note.remove());
  setTimeout(() => {
    const form = $("form", note);
    if (form?.contains(document.activeElement)) $("[data-dismiss]", note).focus();
    form?.remove();
    leave();
  }, Number(note.dataset.leftMs || (note.dataset.kind === "error" ? 2 : 1) * TOAST_MS));
}
function toast(text, kind = "ok") {
  const note = document.createElement("div");
  note.className = "toast-note";
  note.dataset.kind = kind;
  const words = document.createElement("span");
  words.textContent = text;
  note.append(words);
  $("#toasts")?.append(note);
  retire(note);
}

// --- Times --------------------------------------------------------------------------------------------------------
function ago(at) {
  const seconds = Math.trunc((Date.now() - at) / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
    if (seconds >= size) return `${Math.trunc(seconds / size)} ${unit} ago`;
    if (-seconds >= size - Math.trunc(size / 60)) return `in ${Math.trunc((Math.trunc(size / 2) - seconds) / size)} ${unit}`;
  }
  return "just now";
}
function refreshTimes() {
  if (document.hidden) return;
  for (const time of $$("time[data-ago]")) {
    const words = ago(Date.parse(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
}

// --- Confirmation -------------------------------------------------------------------------------------------------
let waiting = null;
function ask(asker, submitter) {
  waiting = { asker, submitter };
  $("#confirm-title").textContent = asker.dataset.confirm;
  $("#confirm-detail").textContent = asker.dataset.confirmDetail || "";
  const yes = $("#confirm-yes");
  yes.textContent = asker.dataset.confirmLabel || "Continue";
  yes.className = "confirmDanger" in asker.dataset ? "btn btn-danger" : "btn btn-primary";
  $("#confirm").showModal();
}
function confirmed() {
  const { asker, submitter } = waiting;
  $("#confirm").close();
  if (asker instanceof HTMLFormElement) return submitConfirmed(asker, submitter);
  const field = asker.form ? confirmedField(asker.form) : null;
  asker.dataset.confirmed = "yes";
  asker.click();
  delete asker.dataset.confirmed;
  field?.remove();
  return undefined;
}
function confirmedField(form) {
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "confirmed";
  field.value = "yes";
  form.append(field);
  return field;
}
function submitConfirmed(form, submitter) {
  const field = confirmedField(form);
  form.dataset.confirmed = "yes";
  form.requestSubmit(submitter);
  field.remove();
  delete form.dataset.confirmed;
}

// --- Go to --------------------------------------------------------------------------------------------------------
let placesLoaded = false;
async function openGoto() {
  const dialog = $("#goto");
  if (!dialog || dialog.open) return;
  dialog.showModal();
  const input = $("input", dialog);
  input.value = "";
  narrow("");
  if (!placesLoaded) {
    placesLoaded = true;
    const answer = await fetch("/goto", { headers: { "HX-Request": "true" } });
    if (answer.ok) {
      $("#goto-list").insertAdjacentHTML("beforeend", await answer.text());
      narrow(input.value);
    }
  }
}
function narrow(text) {
  const wanted = text.trim().toLowerCase();
  let first = true;
  for (const item of $$("#goto-list li")) {
    item.hidden = wanted !== "" && !item.textContent.toLowerCase().includes(wanted);
    item.setAttribute("aria-selected", String(!item.hidden && first));
    if (!item.hidden) first = false;
  }
}
function moveChoice(step) {
  const items = $$("#goto-list li:not([hidden])");
  const now = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
  const next = items[Math.min(Math.max(now + step, 0), items.length - 1)];
  for (const item of items) item.setAttribute("aria-selected", String(item === next));
  next?.scrollIntoView({ block: "nearest" });
}

// --- Live ---------------------------------------------------------------------------------------------------------
const SILENCE_MS = 35000; // the server sends a beat every 15 s
let heardAt = 0;
let paused = false;
function setLive(state, word) {
  const live = $("#live");
  if (!live) return;
  if (live.dataset.state !== state) {
    live.dataset.state = state;
    $(".live-word", live).textContent = word;
  }
  showAge();
}
function showAge() {
  const age = $("#live .live-age");
  if (age) age.textContent = heardAt ? ` · ${ago(heardAt)}` : "";
}
function heard() {
  heardAt = Date.now();
  setLive("live", "live");
}
function watchStream() {
  if (heardAt && Date.now() - heardAt > SILENCE_MS) setLive("reconnecting", "reconnecting");
  showAge();
}

// A row that is already on the page is replaced in place, so nothing appears twice after a reconnect. While the reader
// has paused or scrolled down, new rows are only counted; the pill then loads the list again.
function admitRow(task) {
  const list = typeof task.target === "string" ? $(task.target) : task.target;
  const row = task.fragment.firstElementChild;
  if (!list || !row || !list.dataset.live) return true;
  const present = row.id && document.getElementById(row.id);
  if (present) {
    task.target = present;
    task.swapSpec = { style: "outerMorph" };
    return true;
  }
  const pill = $(`[data-pill-for="${list.id}"]`);
  const box = list.getBoundingClientRect();
  if (paused || (pill && box.height > 0 && box.top < 40)) {
    const held = (list._held ||= new Set());
    held.add(row.id);
    pill.hidden = false;
    $("button", pill).textContent = `${held.size} new`;
    return false;
  }
  row.classList.add("arrived");
  const most = Number(list.dataset.most || 200);
  for (const old of [...list.children].slice(most - 1)) old.remove();
  return true;
}
async function reloadList(id) {
  const list = document.getElementById(id);
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return toast("The list could not be loaded. Try again.", "error");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
  if (!fresh) return location.reload();
  list._held = null;
  list.replaceChildren(...fresh.children);
  window.htmx?.process(list);
  $(`[data-pill-for="${id}"]`).hidden = true;
  window.scrollTo({ top: 0 });
}
function togglePause(button) {
  paused = !paused;
  button.setAttribute("aria-pressed", String(paused));
  $("span", button).textContent = paused ? "Resume" : "Pause";
  const icon = $("use", button);
  icon.setAttribute("href", icon.getAttribute("href").replace(/#.*/, paused ? "#player-play" : "#player-pause"));
  const list = $("[data-live]");
  if (!paused && list?._held?.size) reloadList(list.id);
}

// --- Forms --------------------------------------------------------------------------------------------------------
const GUESSABLE = /^(password|passwort|admin|ostiary|qwert|letmein|welcome|123456)/i;
function strength(text) {
  if (!text) return [0, ""];
  const kinds = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^A-Za-z0-9]/].filter((kind) => kind.test(text)).length;
  const distinct = new Set(text.toLowerCase()).size;
  const bits = Math.min(text.length, distinct * 1.6) * (2 + kinds * 0.8);
  if (text.length < 12) return [1, `Too short: ${12 - text.length} more characters.`];
  if (GUESSABLE.test(text) || distinct < 6) return [1, "Weak: easy to guess."];
  if (bits < 50) return [2, "Fair: longer is better."];
  return bits < 75 ? [3, "Good."] : [4, "Strong."];
}
function showStrength(input) {
  const meter = document.getElementById(input.dataset.strength);
  const [level, words] = strength(input.value);
  meter.dataset.level = level;
  $("rect", meter).setAttribute("width", level * 25);
  $("#strength-word").textContent = words || "\u00a0";
}
function focusFirstError(root) {
  const field = $('[aria-invalid="true"]', root);
  if (!field) return;
  const step = field.closest(".step");
  if (step) showStep(step.closest(".wizard"), $$(".step", step.closest(".wizard")).indexOf(step), false);
  field.focus();
}

// The wizard is one form; this shows it a step at a time.
function showStep(wizard, wanted, focus = true) {
  const steps = $$(".step", wizard);
  const index = Math.min(Math.max(wanted, 0), steps.length - 1);
  wizard.dataset.step = index;
  steps.forEach((step, i) => step.classList.toggle("current", i === index));
  $$(".wizard-steps li", wizard).forEach((item, i) => {
    item.classList.toggle("done", i < index);
    if (i === index) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  $("[data-back]", wizard).hidden = index === 0;
  $("[data-next]", wizard).hidden = index === steps.length - 1;
  for (const button of $$("[data-finish]", wizard)) button.hidden = index !== steps.length - 1;
  if (index === steps.length - 1) review(wizard);
  if (!focus) return;
  $("legend", steps[index])?.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}
function nextStep(wizard) {
  const index = Number(wizard.dataset.step);
  const invalid = $$("input, select, textarea", $$(".step", wizard)[index]).find((field) => !field.checkValidity());
  if (invalid) return invalid.reportValidity();
  showStep(wizard, index + 1);
}
function review(wizard) {
  const facts = $("[data-review]", wizard);
  facts.replaceChildren();
  for (const field of $$("[data-review-as]", wizard)) {
    let value = field.value;
    if (field.type === "radio" && !field.checked) continue;
    if (field.closest("[data-when][hidden]")) continue;
    if (field.type === "checkbox") value = field.checked ? "yes" : "no";
    if (field.type === "password") value = value ? "stored encrypted" : "none";
    if (field.dataset.reviewSet) {
      const chosen = $$(`input[name="${field.dataset.reviewSet}"]:checked`, wizard).filter((box) => !box.closest("[data-for-type][hidden]"));
      value = chosen.map((box) => box.value).join(", ") || "none";
    }
    if (field.tagName === "SELECT") value = field.selectedOptions[0]?.textContent ?? "";
    if (field.type === "radio") value = field.dataset.word || value;
    const term = document.createElement("dt");
    const fact = document.createElement("dd");
    term.textContent = field.dataset.reviewAs;
    fact.textContent = value || "–";
    facts.append(term, fact);
  }
}
function showDependent(root = document) {
  for (const part of $$("[data-when]", root)) {
    const [name, values] = part.dataset.when.split("=");
    const form = part.closest("form");
    const field = form?.elements[name];
    const value = field?.type === "checkbox" && !field.checked ? "" : field?.value;
    part.hidden = !values.split("|").includes(value);
    for (const inner of $$("[data-required]", part)) inner.required = !part.hidden;
  }
}
// A confirmation is of one command, to the letter: with another one the box is empty again. Letters that nobody sees
// are left to the server, which draws them and asks again.
function showConfirmation(form) {
  const part = $("[data-confirmation]", form);
  if (!part) return;
  const lines = form.elements[part.dataset.confirmation].value.trim().split(/\r?\n/).filter(Boolean);
  const box = $("input[type=checkbox]", part);
  if (box.value.split(/\r?\n/).join("\n") === lines.join("\n")) return;
  box.checked = false;
  const isPlain = lines.every((line) => /^[\x20-\x7e]*$/.test(line));
  box.value = isPlain ? lines.join("\n") : "";
  $("[data-exact]", part).textContent = lines.map((line) => `${line}\n`).join("");
}
// LLM APIs want a key and most MCP servers on a desk none; what somebody has chosen stays.
function proposeLogin(form, type) {
  const login = form.elements.auth_type;
  const before = form.dataset.kind;
  form.dataset.kind = type;
  if (before && before !== type && !login.dataset.chosen) login.value = type === "mcp" ? "none" : "bearer";
}
function showForType(form) {
  const type = form.elements.type?.value;
  if (form.matches(".wizard")) proposeLogin(form, type);
  for (const box of $$("[data-for-type]", form)) {
    box.hidden = type !== undefined && !box.dataset.forType.split(" ").includes(type);
    if (box.hidden) for (const choice of $$("select", box)) choice.selectedIndex = 0;
    if (box.tagName !== "OPTION") continue;
    box.disabled = box.hidden;  // Not every browser hides an option.
    if (box.hidden && box.selected) box.parentElement.selectedIndex = 0;
  }
  for (const field of $$("[data-placeholder-llm]", form)) {
    field.placeholder = type === "mcp" ? field.dataset.placeholderMcp : field.dataset.placeholderLlm;
  }
}

// --- Alerts: selection and keys -------------------------------------------------------------------------------------
function showSelection() {
  const bar = $("[data-bulk]");
  if (!bar) return;
  const chosen = $$('input[name="alert_ids"]:checked').length;
  for (const button of $$("button[data-bulk-action]", bar)) button.disabled = chosen === 0;
  $("[data-chosen]", bar).textContent = chosen ? `${chosen} selected` : "";
}
function rowKeys(event) {
  const rows = $$("[data-keys] tr[id]");
  if (!rows.length) return false;
  const now = rows.indexOf(document.activeElement.closest?.("tr"));
  const row = rows[now];
  const go = (to) => { to.tabIndex = -1; to.focus(); };
  const press = (name) => row && $(`[data-key="${name}"]`, row)?.click();
  switch (event.key) {
    case "j": go(rows[Math.min(now + 1, rows.length - 1)]); return true;
    case "k": go(rows[Math.max(now - 1, 0)]); return true;
    case "x": if (row) $('input[type="checkbox"]', row)?.click(); return Boolean(row);
    case "a": press("acknowledge"); return Boolean(row);
    case "r": press("resolve"); return Boolean(row);
    case "Enter": if (document.activeElement === row) { $("a.name", row)?.click(); return true; } return false;
    default: return false;
  }
}

// --- Listeners ----------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  closeMenus(at("details[data-menu]"));
  if (at("[data-theme]")) setTheme(at("[data-theme]").dataset.theme);
  else if (at("[data-rail-toggle]")) toggleRail();
  else if (at("[data-copy]")) copyText(at("[data-copy]"));
  else if (at("[data-dismiss]")) dismiss(at("[data-toast]"));
  else if (at("[data-close]")) at("dialog").close();
  else if (at("#confirm-yes")) confirmed();
  else if (at("[data-href]")) location.assign(at("[data-href]").dataset.href);
  else if (at("[data-goto]")) openGoto();
  else if (at("[data-pause]")) togglePause(at("[data-pause]"));
  else if (at("[data-pill-for]")) reloadList(at("[data-pill-for]").dataset.pillFor);
  else if (at("[data-next]")) nextStep(at(".wizard"));
  else if (at("[data-back]")) showStep(at(".wizard"), Number(at(".wizard").dataset.step) - 1);
  else if (event.target instanceof HTMLDialogElement && event.detail < 2) event.target.close(); // The second half of a double click is no wish to leave.
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-confirm]");
  if (button && !button.dataset.confirmed) {
    event.preventDefault();
    event.stopPropagation();
    ask(button);
  }
}, true);

// A link that would swap a part of the page leaves the page as a whole while a form has unsaved changes: then the browser asks.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link?.closest("[hx-boost\\:inherited]") && $("form[data-dirty]")) event.stopPropagation();
}, true);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !form.dataset.confirmed) {
    event.preventDefault();
    event.stopPropagation();
    ask(form, event.submitter);
  } else if (form.matches(".filters")) {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  } else {
    delete form.dataset.dirty;
  }
}, true);

document.addEventListener("change", (event) => {
  const field = event.target;
  const form = field.form;
  if (field.matches("[data-all]")) {
    for (const box of $$(`input[name="${field.dataset.all}"]`)) box.checked = field.checked;
  }
  if (form?.matches(".filters") && field.matches("select")) form.requestSubmit();
  if (form?.matches("[data-guard]")) form.dataset.dirty = "1";
  if (field.name === "auth_type") field.dataset.chosen = "1";
  if (form) { showForType(form); showDependent(form); showConfirmation(form); }
  showSelection();
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-strength]")) showStrength(event.target);
  if (event.target.closest("#goto")) narrow(event.target.value);
  const form = event.target.form;
  if (form?.matches("[data-guard]")) form.dataset.dirty = "1";
});

document.addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return openGoto();
  }
  if (event.target.closest?.("#goto")) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      moveChoice(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter") {
      $('#goto-list li[aria-selected="true"]')?.click();
    }
    return undefined;
  }
  if (event.key === "Escape") closeMenus();
  if (event.key === "Enter" && event.target.matches?.(".wizard input:not([type=checkbox])")) {
    const wizard = event.target.closest(".wizard");
    if (Number(wizard.dataset.step) < $$(".step", wizard).length - 1) {
      event.preventDefault();
      nextStep(wizard);
    }
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea")) return undefined;
  if (event.key === "/" && $(".filters [type=search]")) {
    event.preventDefault();
    return $(".filters [type=search]").focus();
  }
  if (rowKeys(event)) event.preventDefault();
  return undefined;
});

window.addEventListener("beforeunload", (event) => {
  if ($("form[data-dirty]")) event.preventDefault();
});

document.addEventListener("htmx:sse:after:connection", heard);
document.addEventListener("htmx:sse:after:message", heard);
document.addEventListener("htmx:sse:before:connection", (event) => {
  if (event.detail.connection.attempt > 0) setLive("reconnecting", "reconnecting");
});
document.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401) setLive("off", "logged out");
  else setLive("reconnecting", "reconnecting");
});
document.addEventListener("resync", () => { for (const list of $$("[data-live]")) reloadList(list.id); });
function retryStream(event) {
  const stream = $("#stream");
  if (event.detail.ctx?.sourceElement !== stream || stream._htmx?.sse) return;
  setLive("reconnecting", "reconnecting");
  setTimeout(() => window.htmx.ajax("GET", stream.getAttribute("hx-sse:connect"), { source: stream }), 3000);
}
document.addEventListener("htmx:error", retryStream);
document.addEventListener("htmx:response:error", retryStream);
document.addEventListener("htmx:error", (event) => {
  if (event.detail.ctx?.sourceElement?.id !== "stream") toast("Ostiary did not answer. Try again in a moment.", "error");
});
// A part of the page that could not be fetched says so in its place, and how to try again.
function offerRetry(event) {
  const ctx = event.detail.ctx;
  const part = ctx?.target instanceof Element ? ctx.target.closest(".region") : null;
  if (!part || ctx.request.method !== "GET") return;
  const { sourceElement: source, target, select, selectOOB, swap, push, request } = ctx;
  Object.assign(ctx, { swap: "none", push: "false" }); // What is there stays, and so does the address.
  $(".failed-load", part)?.remove();
  const note = document.createElement("div");
  note.className = "failed-load note note-critical";
  note.setAttribute("role", "alert");
  const words = document.createElement("span");
  words.textContent = "This could not be loaded.";
  const again = document.createElement("button");
  again.type = "button";
  again.className = "btn btn-sm";
  again.textContent = "Try again";
  again.addEventListener("click", () => {
    note.remove();
    const from = source.isConnected ? source : part;
    window.htmx.ajax("GET", request.action, { source: from, target, select, selectOOB, swap, push });
  });
  note.append(words, again);
  part.prepend(note);
}
document.addEventListener("htmx:error", offerRetry);
document.addEventListener("htmx:response:error", offerRetry);
// A tab, a header or a pager is part of what it swaps: the link in its place takes its focus, so that Tab goes on from there.
let followed = null;
function twins(part, link) {
  return $$("a[href]", part).filter((one) => one.textContent.trim() === link.textContent.trim());
}
function noteFollowed({ sourceElement: link, target }) {
  if (!(target instanceof Element) || !target.id || !link?.matches("a") || !target.contains(link)) return;
  followed = { link, id: target.id, place: twins(target, link).indexOf(link) };
}
function refocus() {
  const { link, id, place } = followed;
  followed = null;
  const part = document.getElementById(id);
  if (part && document.activeElement === document.body) twins(part, link)[place]?.focus({ preventScroll: true });
}
document.addEventListener("htmx:before:swap", (event) => {
  if (event.detail.ctx) noteFollowed(event.detail.ctx);
  const tasks = event.detail.tasks;
  for (let i = tasks.length - 1; i >= 0; i--) if (!admitRow(tasks[i])) tasks.splice(i, 1);
});
document.addEventListener("htmx:after:swap", (event) => {
  refreshTimes();
  showSelection();
  showOpenTabs();
  if (followed) refocus();
  for (const note of $$("[data-toast]")) retire(note);
  for (const form of $$("form")) { showForType(form); showDependent(form); showConfirmation(form); }
  const target = event.detail.ctx?.target;
  if (target instanceof Element && target.isConnected && event.detail.ctx?.sourceElement?.id !== "stream") focusFirstError(target);
});

document.addEventListener("DOMContentLoaded", () => {
  if (!/Mac|iPhone|iPad/.test(navigator.platform)) for (const key of $$(".goto kbd")) key.textContent = "Ctrl K";
  for (const wizard of $$(".wizard")) showStep(wizard, 0, false);
  for (const form of $$("form")) { showForType(form); showDependent(form); showConfirmation(form); }
  for (const note of $$("[data-toast]")) retire(note);
  const address = $("[data-address]")?.dataset.address;
  if (address) history.replaceState(null, "", address);
  focusFirstError(document);
  showSelection();
  showOpenTabs();
  refreshTimes();
  setInterval(refreshTimes, 5000);
  setInterval(watchStream, 1000);
});
window.addEventListener("pageshow", (event) => {
  for (const field of $$(".filters [disabled]")) field.disabled = false;
  if (event.persisted) location.reload();
});
