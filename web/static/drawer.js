// The drawer beside a list of calls. The address says which call is open (?call=…), so that it can be kept, sent and gone
// back to. Without this file the rows lead to the page of the call.
"use strict";
const drawer = () => document.getElementById("drawer");
const openedCall = () => new URL(location.href).searchParams.get("call");
let wantsFocus = false;

function addressOf(id) {
  const url = new URL(location.href);
  if (id) url.searchParams.set("call", id);
  else url.searchParams.delete("call");
  return url;
}
function markRow(id) {
  for (const link of document.querySelectorAll("[data-call]")) {
    const row = link.closest("tr");
    if (link.dataset.call === id) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}
function showCall(id) {
  const box = drawer();
  if (!id) {
    box.hidden = true;
    box.replaceChildren();
  } else {
    box.hidden = false;
    window.htmx.ajax("GET", `/traffic/${encodeURIComponent(id)}`, { source: box, target: box, swap: "innerHTML" });
  }
  markRow(id);
}
function goToCall(id, focus) {
  wantsFocus = focus;
  history.pushState({}, "", addressOf(id));
  showCall(id);
}
function closeDrawer() {
  const row = document.querySelector(`[data-call="${CSS.escape(openedCall())}"]`);
  goToCall(null, false);
  row?.focus();
}
function stepCall(step) {
  const links = [...document.querySelectorAll("[data-call]")];
  const now = links.findIndex((link) => link.dataset.call === openedCall());
  const next = links[Math.min(Math.max(now + step, 0), links.length - 1)];
  if (!next || next === links[now]) return;
  goToCall(next.dataset.call, drawer().contains(document.activeElement));
  next.closest("tr").scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  if (!drawer() || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest("[data-call]");
  const step = event.target.closest("[data-drawer-step]");
  if (link) goToCall(link.dataset.call, true);
  else if (event.target.closest("[data-drawer-close]")) closeDrawer();
  else if (step) stepCall(Number(step.dataset.drawerStep));
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (!openedCall() || !drawer() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input, select, textarea") || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") closeDrawer();
  else if (event.key === "j" || event.key === "k") stepCall(event.key === "j" ? 1 : -1);
  else return;
  event.preventDefault();
  event.stopPropagation();
}, true);
window.addEventListener("popstate", () => { if (drawer()) showCall(openedCall()); });
document.addEventListener("htmx:after:swap", (event) => {
  const box = drawer();
  if (!box || event.detail.ctx?.target !== box) return;
  const close = box.querySelector("[data-drawer-close]");
  if (close) close.href = addressOf(null);
  box.scrollTop = 0;
  if (wantsFocus) box.querySelector("h2")?.focus();
});
document.addEventListener("DOMContentLoaded", () => { if (drawer() && openedCall()) markRow(openedCall()); });
