// What somebody typed when their session ended comes back after the login: in the same tab, to the same person. It waits
// in the tab's own storage, never in an address, and without fields for passwords.
"use strict";
(() => {
  const KEY = "ostiary-typed";
  const isLogin = () => document.body.dataset.page === "login";
  const person = () => document.body.dataset.user;

  const read = () => {
    try {
      return JSON.parse(sessionStorage.getItem(KEY));
    } catch {
      return null;
    }
  };
  function write(kept) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(kept));
    } catch {
      sessionStorage.removeItem(KEY); // More than the browser keeps for a tab.
    }
  }

  function fieldsOf(form) {
    const hidden = new Set([...form.elements].filter((field) => field.type === "password" || field.name === "_csrf_token").map((field) => field.name));
    return [...new FormData(form)].filter(([name, value]) => typeof value === "string" && !hidden.has(name));
  }

  // What was typed is noted when the page is left, and forgotten on the next page unless that is the login.
  let sent = null;
  let typed = null;
  document.addEventListener("input", (event) => { typed = event.target.form?.closest("form[data-keep]") ?? typed; });
  document.addEventListener("submit", (event) => {
    if (event.target.matches("form[data-keep]")) sent = event.target;
    if (event.target.matches('form[action="/logout"]')) sent = false;
  });
  window.addEventListener("pagehide", () => {
    if (sent === false) return sessionStorage.removeItem(KEY);
    const form = sent || typed || document.querySelector("form[data-keep][data-dirty]");
    if (form) write({ person: person(), action: form.getAttribute("action"), fields: fieldsOf(form) });
    return undefined;
  });

  // The server sends a part of a page that is asked for without a session to the login; nobody is asked whether to leave.
  document.addEventListener("htmx:response:error", (event) => {
    const { response, sourceElement } = event.detail.ctx ?? {};
    if (response?.status !== 401 || sourceElement?.id === "stream") return;
    for (const form of document.querySelectorAll("form[data-dirty]")) delete form.dataset.dirty;
  });

  // Forms whose fields come and go are drawn by the server from what was typed; others are filled in.
  function bringBack(form, fields) {
    if (form.dataset.keep === "post") return post(form, [...fields, ["then", "show"]]);
    const values = new Map();
    for (const [name, value] of fields) values.set(name, [...(values.get(name) ?? []), value]);
    for (const field of form.elements) {
      const given = values.get(field.name);
      if (field.type === "checkbox" || field.type === "radio") field.checked = Boolean(given?.includes(field.value));
      else if (given && field.type !== "file") field.value = given.shift() ?? field.value;
      if (given?.length === 0 && field.value) field.closest("details")?.toggleAttribute("open", true);
    }
    form.dispatchEvent(new Event("change", { bubbles: true }));
    toast("What you typed before your session ended is back. It is not sent yet.");
    return undefined;
  }
  function post(form, fields) {
    const carrier = document.createElement("form");
    carrier.method = "post";
    carrier.action = form.action;
    carrier.hidden = true;
    for (const [name, value] of [["_csrf_token", form.elements._csrf_token.value], ...fields]) {
      const field = document.createElement("textarea");
      field.name = name;
      field.value = value;
      carrier.append(field);
    }
    document.body.append(carrier);
    carrier.submit();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const kept = read();
    if (!kept) return;
    if (isLogin()) {
      document.querySelector("[data-kept]")?.toggleAttribute("hidden", false);
      return void write({ ...kept, ended: true });
    }
    if (location.pathname === "/password") return;
    sessionStorage.removeItem(KEY);
    const form = kept.ended && kept.person === person() && [...document.querySelectorAll("form[data-keep]")].find((one) => one.getAttribute("action") === kept.action);
    if (form) bringBack(form, kept.fields);
  });
})();
