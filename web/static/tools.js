// Approvals and inventory: parts that fetch themselves anew when a server has changed, countdowns, keys of a review.
"use strict";

const REFRESH_MS = 150;
const waitingParts = new Set();
let refreshTimer = 0;

function noteChange(proxyId) {
  for (const part of $$("[data-refreshes]")) {
    if (part.dataset.refreshes === "*" || part.dataset.refreshes === proxyId) waitingParts.add(part.id);
  }
  const review = $("[data-change]");
  const stale = $("[data-stale]");
  if (review && stale && review.dataset.proxy === proxyId) stale.hidden = false;
  clearTimeout(refreshTimer);
  if (waitingParts.size) refreshTimer = setTimeout(refreshParts, REFRESH_MS);
}

// What the reader has opened or is typing in stays as it is.
async function refreshParts() {
  const ids = [...waitingParts];
  waitingParts.clear();
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ids) {
    const part = document.getElementById(id);
    const other = fresh.getElementById(id);
    if (!part || !other || part.contains(document.activeElement?.closest("textarea, input:not([type=hidden])"))) continue;
    const open = $$("details[open][id]", part).map((details) => details.id);
    const focused = part.contains(document.activeElement) ? document.activeElement.closest("[id]")?.id : "";
    part.replaceChildren(...other.childNodes);
    for (const details of open) document.getElementById(details)?.setAttribute("open", "");
    if (focused) document.getElementById(focused)?.focus();
    window.htmx?.process(part);
  }
  refreshTimes();
}

function showCountdowns() {
  for (const time of $$("time[data-countdown]")) {
    const left = Math.max(0, Math.round((Date.parse(time.dateTime) - Date.now()) / 1000));
    time.textContent = left ? `${Math.trunc(left / 60)}:${String(left % 60).padStart(2, "0")} left` : "expired";
  }
}

document.addEventListener("htmx:after:swap", () => {
  for (const note of $$("#live-note [data-changed]")) {
    noteChange(note.dataset.changed);
    note.remove();
  }
});

document.addEventListener("keydown", (event) => {
  const review = $("[data-change]");
  if (!review || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if ($("dialog[open]")) return;
  const press = (name) => $(`#decision [data-key="${name}"]`)?.click();
  if (event.key === "a") press("acknowledge");
  else if (event.key === "r") press("resolve");
  else if (event.key === "j" && review.dataset.following) location.assign(review.dataset.following);
  else if (event.key === "k" && review.dataset.preceding) location.assign(review.dataset.preceding);
});

showCountdowns();
setInterval(showCountdowns, 1000);
