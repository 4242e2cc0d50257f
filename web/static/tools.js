// Approvals and inventory: parts that fetch themselves anew when a server has changed, countdowns, keys of a review.
"use strict";

const REFRESH_MS = 150;
const waitingParts = new Set();
let refreshTimer = 0;

function noteChange(proxyId) {
  for (const part of $$("[data-refreshes]")) {
    if (part.dataset.refreshes === "*" || part.dataset.refreshes === proxyId) waitingParts.add(part.id);
  }
  clearTimeout(refreshTimer);
  if (waitingParts.size) refreshTimer = setTimeout(refreshParts, REFRESH_MS);
}

// What the reader has opened, typed, focused or selected stays. Nothing moves under an open question: its answer is about
// what was shown when it was asked.
async function refreshParts() {
  if ($("dialog[open]") || !waitingParts.size) return;
  const ids = [...waitingParts];
  waitingParts.clear();
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.status === 404) return toast("What you were looking at is gone. The list says what there is now.", "error");
  if (!answer?.ok) return ids.forEach((id) => waitingParts.add(id));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if ($("dialog[open]")) return ids.forEach((id) => waitingParts.add(id));
  for (const id of ids) {
    const part = document.getElementById(id);
    const other = fresh.getElementById(id);
    if (part && other) refresh(part, other);
  }
  refreshTimes();
}

function refresh(part, other) {
  const news = part.dataset.news;
  const texts = typed(part);
  become(part, other);
  window.htmx?.process(part);
  if (part.dataset.news && part.dataset.news !== news) toast(part.dataset.news);
  for (const { field, text } of texts) if (!field.isConnected) part.prepend(keptText(text));
}

// What was typed into a form that is no longer there.
function keptText(text) {
  const note = document.createElement("div");
  note.className = "note note-info";
  note.id = "kept-text";
  const words = document.createElement("div");
  words.textContent = `You had written: “${text}”`;
  note.append(words);
  return note;
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

document.addEventListener("close", refreshParts, true);

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
