// The open connections, page by page. The server filters and sorts: there may be ten thousand.

import { showProblem } from "./ask.js";
import { call } from "./calls.js";
import { byId, keep, make, setText } from "./dom.js";
import { age, count, size, text } from "./format.js";
import * as details from "./details.js";
import * as state from "./state.js";
import { refused } from "./token.js";

/** Of a screen on which each connection takes several lines: `style.css` has the same width. */
const narrow = matchMedia("(max-width: 45rem)");
/** Connections on a page. */
const limit = () => (narrow.matches ? 20 : 50);
/** Milliseconds between two looks. The page's server has one for all browsers, and as many as it costs little. */
const PAUSE = 1500;
/**
 * One that is rare takes no line of a narrow screen where there is nothing of it.
 * @typedef {{field: string, name: string, isNumber?: boolean, isRare?: boolean,
 *   shown: (connection: any) => string}} Column
 * @type {Column[]}
 */
const COLUMNS = [
  { field: "id", name: "Number", shown: (each) => text(each.id) },
  { field: "peer", name: "Client", shown: (each) => text(each.peer) },
  { field: "handler", name: "Handler", shown: (each) => text(each.handler) },
  { field: "state", name: "State", shown: (each) => [each.state, each.reason].filter(Boolean).map(text).join(": ") },
  { field: "age", name: "Age", isNumber: true, shown: (each) => age(each.age) },
  { field: "silent", name: "Silent for", isNumber: true, shown: (each) => age(each.silent) },
  { field: "in", name: "Received", isNumber: true, shown: (each) => size(each.in) },
  { field: "out", name: "Sent", isNumber: true, shown: (each) => size(each.out) },
  { field: "waiting", name: "Waiting", isNumber: true, isRare: true, shown: (each) => size(each.waiting) },
  { field: "missed", name: "Missed", isNumber: true, isRare: true, shown: (each) => count(each.missed) },
];

let sort = "id";
/** Where the pages before this one began, and this one. */
/** @type {(string | null)[]} */
let cursors = [null];
/** @type {string | null} */
let next = null;
/** @type {number | undefined} */
let timer;
let lookNumber = 0;

export function start() {
  byId("table-head").append(
    ...COLUMNS.map(head),
    make("th", { scope: "col", role: "columnheader" }, make("span", { class: "visually-hidden" }, "Details")),
  );
  // In the place of the head, which a narrow screen has no room for.
  byId("order").append(...COLUMNS.flatMap(({ field, name }) => [
    make("option", { value: field }, name),
    make("option", { value: `-${field}` }, `${name}, descending`),
  ]));
  byId("order").addEventListener("change", () => sortBy(byId("order", HTMLSelectElement).value));
  for (const id of ["filter-text", "filter-state", "filter-listener", "filter-room", "filter-idle"]) {
    byId(id).addEventListener("input", () => turn([null], 250));
  }
  byId("filter").addEventListener("submit", (event) => { event.preventDefault(); soon(0); });
  byId("page-after").addEventListener("click", () => { if (next) turn([...cursors, next]); });
  byId("page-before").addEventListener("click", () => { if (cursors.length > 1) turn(cursors.slice(0, -1)); });
  narrow.addEventListener("change", () => turn([null]));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });
  soon(0);
}

/** @param {Column} column */
function head({ field, name, isNumber }) {
  const click = () => sortBy(sort === field ? `-${field}` : field);
  return make("th", { scope: "col", role: "columnheader", "data-field": field, class: isNumber ? "number" : "" },
    make("button", { type: "button", click }, name));
}

/**
 * Offer what there is to choose from.
 * @param {import("./state.js").Known} known
 */
export function show(known) {
  // A server that has just begun has told no figures yet.
  if (!known.stats) return;
  /** @type {any[]} */
  const servers = known.stats.servers ?? [];
  const listeners = servers.flatMap((each) => each.listeners ?? []);
  offer("filter-state", servers.flatMap((each) => Object.keys(each.open ?? {})));
  offer("filter-listener", listeners.map((each) => each.address));
}

/** Look again now. */
export function refresh() {
  soon(0);
}

/**
 * @param {string} id
 * @param {string[]} choices
 */
function offer(id, choices) {
  const select = byId(id, HTMLSelectElement);
  const chosen = select.value;
  // What was chosen stays so, also where there is nothing of it now: else the filter would be another one.
  const wanted = [...new Set(["", ...choices, chosen])];
  if ([...select.options].map((option) => option.value).join("\n") === wanted.join("\n")) return;
  select.replaceChildren(...wanted.map((value) => make("option", { value }, value || "all")));
  select.value = chosen;
}

/** @param {string} order A field, with "-" before it in descending order. */
function sortBy(order) {
  sort = order;
  turn([null]);
}

/**
 * Show another page. Which one follows it is not known yet.
 * @param {(string | null)[]} to Where those before it began, and it.
 * @param {number} [milliseconds] Until it is asked for.
 */
function turn(to, milliseconds = 0) {
  cursors = to;
  next = null;
  soon(milliseconds);
}

/**
 * Look after a while. A look that is under way counts no more: it is for what was wanted before.
 * @param {number} milliseconds
 */
function soon(milliseconds) {
  clearTimeout(timer);
  lookNumber += 1;
  if (!refused.aborted) timer = setTimeout(look, milliseconds);
}

async function look() {
  const number = lookNumber;
  const after = cursors[cursors.length - 1];
  let pause = PAUSE;
  try {
    // While the page's server does not answer, the stream asks for it, and ever more seldom.
    if (!document.hidden && !state.lost) {
      const params = { where: where(), sort, limit: limit(), ...(after ? { after } : {}) };
      const page = await call("connections.list", params);
      if (number !== lookNumber) return;
      if (!page.items.length && after) {
        // All that were on this page have ended.
        cursors.pop();
        pause = 0;
      } else draw(page);
    }
  } catch (problem) {
    if (number !== lookNumber) return;
    setText(byId("count"), problem instanceof Error ? problem.message : String(problem));
  }
  if (number === lookNumber) soon(pause);
}

/** What the filter says. */
function where() {
  /** @type {Record<string, unknown>} */
  const found = {};
  for (const name of ["text", "state", "listener", "room"]) {
    const { value } = /** @type {HTMLInputElement | HTMLSelectElement} */ (byId(`filter-${name}`));
    if (value.trim()) found[name] = value.trim();
  }
  const idle = byId("filter-idle", HTMLInputElement).valueAsNumber;
  if (idle > 0) found.idle_over = idle;
  return found;
}

/** @param {any} page */
function draw(page) {
  next = page.next;
  byId("order", HTMLSelectElement).value = sort;
  for (const head of byId("table-head").children) {
    const field = head.getAttribute("data-field");
    if (field === sort) head.setAttribute("aria-sort", "ascending");
    else if (`-${field}` === sort) head.setAttribute("aria-sort", "descending");
    else head.removeAttribute("aria-sort");
  }
  keep(byId("table-body"), page.items, (each) => String(each.id), create, update);
  const first = (cursors.length - 1) * limit();
  const shown = page.items.length ? `${count(first + 1)} to ${count(first + page.items.length)} of ` : "";
  const all = page.total === page.open ? "" : `, of ${count(page.open)} open`;
  setText(byId("count"), `${shown}${count(page.total)} connection${page.total === 1 ? "" : "s"}${all}`);
  byId("page-before", HTMLButtonElement).disabled = cursors.length === 1;
  byId("page-after", HTMLButtonElement).disabled = !next;
}

/** @param {any} connection */
function create(connection) {
  const { id } = connection;
  const click = () => details.open(id, refresh).catch((problem) => showProblem(String(problem.message)));
  return make("tr", { role: "row" },
    ...COLUMNS.map(({ name, isNumber }) => (
      make("td", { role: "cell", "data-label": name, class: isNumber ? "number" : "" }, make("span"))
    )),
    make("td", { role: "cell", "data-label": "" },
      make("button", { type: "button", "aria-label": `Details of connection ${id}`, click }, "Details")));
}

/**
 * @param {HTMLElement} row
 * @param {any} connection
 */
function update(row, connection) {
  COLUMNS.forEach((column, index) => {
    const cell = row.children[index];
    setText(/** @type {Element} */ (cell.firstElementChild), column.shown(connection));
    cell.toggleAttribute("data-none", Boolean(column.isRare) && !connection[column.field]);
  });
}
