// Fills the page with what the console sends: texts only, never markup.

const SILENCE_MS = 8000;
const MOST_NEWS = 50;
const KEPT = new Set(["heard", "away", "exercise"]);

/** @type {Map<string, HTMLElement[]>} */
const slots = new Map();
for (const element of document.querySelectorAll("[data-slot]")) {
  const name = element.dataset.slot;
  slots.set(name, [...(slots.get(name) ?? []), element]);
}
const shape = document.querySelector("[data-shape]").dataset.shape;
const news = document.getElementById("news");
const operations = document.getElementById("operations");
const partners = document.getElementById("partners");
let heardAt = Date.now();

function fill(name, text, kind) {
  for (const element of slots.get(name) ?? []) {
    const changed = element.textContent !== text;
    const classes = [element.dataset.base, kind, changed && kind.startsWith("level-") ? "changed" : ""];
    if (changed) element.textContent = text;
    if (changed || !element.classList.contains("changed")) element.className = classes.filter(Boolean).join(" ");
  }
}

function make(tag, text, kind = "", ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function pair(label, value) {
  return make("div", "", "", make("dt", label), make("dd", value));
}

function operation(one) {
  const title = make("h3", `${one.title} `, "", make("span", one.phase, `badge ${one.kind}`));
  if (one.exercise) title.append(" ", make("span", "Exercise", "badge exercise"));
  const facts = make("ul", "", "", ...one.facts.map((fact) => make("li", fact)));
  const card = make("article", "", "operation", title, make("p", one.code, "note"), facts);
  if (one.totals.length) card.append(make("dl", "", "", ...one.totals.map(([label, value]) => pair(label, value))));
  return card;
}

/** Replaces a list where it differs, so that a reader's place in it is not lost for nothing. */
function replace(list, key, children) {
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...children());
}

/** Puts new lines on top; a reader is told of those only. */
function tell(lines) {
  const newest = Number(news.firstElementChild?.dataset.number ?? 0);
  if (lines.length && lines[0][0] < newest) news.replaceChildren();
  const known = Number(news.firstElementChild?.dataset.number ?? 0);
  for (const [number, time, text] of lines.filter((line) => line[0] > known).reverse()) {
    const line = make("li", "", "", make("time", time), " ", make("span", text));
    line.dataset.number = String(number);
    news.prepend(line);
  }
  while (news.children.length > MOST_NEWS) news.lastElementChild.remove();
}

function show(page) {
  if (page.shape !== shape) {
    // Other rows and columns: the console renders them.
    location.reload();
    return;
  }
  for (const [name, [text, kind]] of Object.entries(page.slots)) fill(name, text, kind);
  replace(operations, JSON.stringify(page.operations), () => page.operations.map(operation));
  replace(partners, JSON.stringify(page.partners), () => page.partners.map(([name, hits]) => pair(name, hits)));
  tell(page.news);
}

/** Hides every number: none is better than an old one. */
function lose(text) {
  for (const name of slots.keys()) if (!KEPT.has(name)) fill(name, name === "table.none" ? "" : "\u2013", "");
  replace(operations, "", () => []);
  replace(partners, "", () => []);
  fill("away", text, "");
}

function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

const events = new EventSource("/events");
events.addEventListener("page", (event) => {
  heardAt = Date.now();
  show(JSON.parse(event.data));
});
events.addEventListener("alive", (event) => {
  heardAt = Date.now();
  fill("heard", JSON.parse(event.data).heard, "");
});
events.addEventListener("error", () => {
  if (events.readyState === EventSource.CLOSED) lose("This login has ended. Reload the page to log in again.");
});
setInterval(() => {
  if (events.readyState !== EventSource.CLOSED && Date.now() - heardAt > SILENCE_MS) {
    lose(`The console does not answer since ${clock(heardAt)}, by this computer's clock. Numbers are hidden until it does.`);
  }
}, 1000);
document.addEventListener("animationend", (event) => event.target.classList.remove("changed"));
