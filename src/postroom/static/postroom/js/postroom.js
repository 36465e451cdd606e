// Everything here is a convenience: each page works without it.
const root = document.documentElement;
root.classList.add("with-js");
const stored = (name) => { try { return localStorage.getItem(name) || ""; } catch { return ""; } };
const store = (name, value) => { try { localStorage.setItem(name, value); } catch { /* a private window */ } };

// Colours: as the system, light or dark. Set before the page is painted.
const setTheme = (theme) => {
  if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  document.querySelectorAll("[data-set-theme]").forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.setTheme === theme)));
};
setTheme(stored("theme"));

// Times: in the reader's zone, and said again as they pass.
const hours = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const sayTimes = () => {
  const { in: ahead, ago, now } = document.body.dataset;
  const language = root.lang;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString(language, { dateStyle: "long", timeStyle: "long", hourCycle: "h23" });
    if ("clock" in time.dataset) {
      time.textContent = at.toLocaleTimeString(language, hours);
    } else if (ahead) {
      time.textContent = inWords(at, language, ahead, ago, now);
    }
  }
};
const inWords = (at, language, ahead, ago, now) => {
  const minutes = (at - Date.now()) / 60000;
  const size = Math.abs(minutes);
  if (size < 50 / 60) return now;
  if (size >= 23 * 60) {
    const isThisYear = at.getFullYear() === new Date().getFullYear();
    const year = isThisYear ? hours : { year: "numeric" };
    return at.toLocaleString(language, { day: "numeric", month: "short", ...year });
  }
  const isHours = size >= 59.5;
  const unit = { style: "unit", unit: isHours ? "hour" : "minute", unitDisplay: "short" };
  const length = new Intl.NumberFormat(language, unit).format(Math.max(1, Math.round(isHours ? size / 60 : size)));
  return (minutes > 0 ? ahead : ago).replace("%s", length);
};

// Times that are chosen: in the reader's zone. Without this script they are in UTC, as the page says.
const sayZones = () => {
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  document.querySelectorAll("[data-zone]").forEach((input) => {
    const chosen = input.parentElement.querySelector("[type=datetime-local]");
    input.value = input.nextElementSibling.textContent = timeZone;
    if (!chosen?.dataset.utc) return;
    const at = new Date(chosen.dataset.utc);
    chosen.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
    delete chosen.dataset.utc;
  });
};

// The queue: select all, and how many are selected.
const countSelected = () => {
  const boxes = [...document.querySelectorAll("[data-rows] [name=ids]")];
  const selected = boxes.filter((box) => box.checked).length;
  const all = document.querySelector("[data-select-all]");
  if (!all) return;
  all.checked = selected > 0 && selected === boxes.length;
  all.indeterminate = selected > 0 && selected < boxes.length;
  document.querySelector(".on-selection").hidden = selected === 0;
  const words = document.querySelector("[data-selected-count]");
  words.textContent = words.dataset.words.replace("%s", selected);
};

// Keyboard: one row at a time is the current one.
const rows = () => [...document.querySelectorAll("[data-rows] > *")];
const current = () => document.querySelector("[data-rows] > [data-current]");
const move = (step) => {
  const all = rows();
  const index = all.indexOf(current());
  const next = all[Math.min(Math.max(index + step, 0), all.length - 1)];
  if (!next) return;
  current()?.removeAttribute("data-current");
  next.setAttribute("data-current", "");
  next.scrollIntoView({ block: "nearest" });
  next.querySelector("a, input")?.focus();
};
const actions = {
  j: () => move(1),
  k: () => move(-1),
  x: () => current()?.querySelector("[type=checkbox]")?.click(),
  r: () => current()?.querySelector("[data-retry]")?.click(),
  "/": () => document.querySelector("[type=search]")?.focus(),
  c: () => document.querySelector("#composer textarea")?.focus(),
  "?": () => document.querySelector("#keys")?.showModal(),
};
const isTyping = (element) =>
  element.isContentEditable || element.matches("textarea, select, input:not([type=checkbox], [type=radio])");

document.addEventListener("keydown", (event) => {
  const isOff = stored("keys") === "off" || !document.body.dataset.keys;
  if (isOff || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const action = actions[event.key];
  if (!action || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  action();
});

document.addEventListener("click", (event) => {
  const theme = event.target.closest("[data-set-theme]");
  if (theme) { store("theme", theme.dataset.setTheme); setTheme(theme.dataset.setTheme); }
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

// A new preview answers what was wrong before: old complaints beside it would contradict it.
document.addEventListener("click", (event) => {
  if (!event.target.closest("#composer [hx-post]")) return;
  document.querySelectorAll("#composer .errorlist").forEach((complaint) => complaint.remove());
});

// Copy what stands before the button; where the browser does not let us, select it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const shown = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(shown.textContent);
    button.textContent = button.dataset.copy;
  } catch {
    getSelection().selectAllChildren(shown);
  }
});

// A second click on an envelope closes its panel again.
document.addEventListener("click", (event) => {
  const envelope = event.target.closest("[data-opens]");
  if (!envelope || event.ctrlKey || event.metaKey) return;
  const panel = document.getElementById(envelope.dataset.opens);
  const isOpen = Boolean(panel?.firstElementChild);
  envelope.setAttribute("aria-expanded", String(!isOpen));
  if (!isOpen) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  panel.replaceChildren();
}, true);

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]")) {
    document.querySelectorAll("[data-rows] [name=ids]").forEach((box) => { box.checked = event.target.checked; });
  }
  if (event.target.matches("[data-set-keys]")) store("keys", event.target.checked ? "on" : "off");
  countSelected();
});

document.addEventListener("DOMContentLoaded", () => {
  setTheme(stored("theme"));
  const keys = document.querySelector("[data-set-keys]");
  if (keys) keys.checked = stored("keys") !== "off";
  sayTimes();
  sayZones();
  countSelected();
  setInterval(sayTimes, 30000);
  new MutationObserver((changes) => {
    const isNew = changes.some((change) => [...change.addedNodes].some((node) => node.querySelector?.("time")));
    if (isNew) { sayTimes(); sayZones(); }
  }).observe(document.body, { childList: true, subtree: true });
});
