// Books, charts, and each server's listeners, engines and reasons.

import { ask, attempt } from "./ask.js";
import { call } from "./calls.js";
import { Chart } from "./chart.js";
import { byId, facts, keep, make, setText } from "./dom.js";
import { age, count, rate, size, text } from "./format.js";
import * as state from "./state.js";

const charts = [
  new Chart("connections", [["open", "open"]], count),
  new Chart("in a second", [["accepted", "accepted"], ["closed", "closed"], ["refused", "refused"]], rate),
  new Chart("bytes in a second", [["bytes_in", "in"], ["bytes_out", "out"]], size),
];

/** What the processor was used for at an earlier look; by the server's uptime, for its clock may be set. */
let before = { uptime: 0, seconds: 0 };
let shown = "–";

export function start() {
  byId("charts").append(...charts.map((chart) => chart.element));
}

/** @param {import("./state.js").Known} known */
export function show(known) {
  for (const chart of charts) chart.draw(known.point, known.history, known.longest_history);
  const { stats } = known;
  if (!stats) return;
  const books = stats.books ?? {};
  const rates = stats.rates ?? {};
  const process = stats.process ?? {};
  const most = process.descriptor_limit;
  facts(byId("books"), [
    ["open", count(books.open)],
    ["accepted", count(books.accepted)],
    ["accepted / s", rate(rates.accepted)],
    ["closed / s", rate(rates.closed)],
    ["refused", count(books.refused)],
    ["received / s", size(rates.bytes_in)],
    ["sent / s", size(rates.bytes_out)],
    ["processor", processor(stats.uptime, process.cpu_seconds)],
    ["memory", size(process.rss)],
    ["descriptors", count(process.descriptors) + (most ? ` of ${count(most)}` : "")],
    ["threads", count(process.threads)],
    ["up for", age(stats.uptime)],
  ]);
  keep(byId("servers"), stats.servers ?? [], (server) => String(server.server), create,
    (element, server) => update(element, server, known));
}

/**
 * Return the share of a processor that was used since the last look.
 * @param {unknown} uptime Of the server, in seconds.
 * @param {unknown} seconds Of the processor, since the process began.
 */
function processor(uptime, seconds) {
  if (typeof seconds !== "number" || typeof uptime !== "number") return "–";
  const passed = uptime - before.uptime;
  const used = seconds - before.seconds;
  // Another process, or one that has just begun.
  const isAnother = passed < 0 || used < 0 || !before.uptime;
  if (isAnother) shown = "–";
  else if (passed > 0) shown = `${Math.round((100 * used) / passed)} %`;
  if (isAnother || passed > 0.5) before = { uptime, seconds };
  return shown;
}

function create() {
  return make("div", {},
    make("h3"),
    make("ul", { class: "list" }),
    make("dl", { class: "tiles" }),
    make("details", {}, make("summary", {}, "Why connections ended"), make("dl", { class: "facts" })),
  );
}

/**
 * @param {HTMLElement} element
 * @param {any} server
 * @param {import("./state.js").Known} known
 */
function update(element, server, known) {
  const [title, listeners, engines, reasons] = element.children;
  const number = known.stats.servers.length > 1 ? `, server ${server.server}` : "";
  const drains = server.is_draining ? ", which drains" : "";
  setText(title, `${text(server.handler)} on ${text(server.kind)}${number}${drains}`);
  keep(listeners, server.listeners ?? [], (each) => each.address, createListener,
    (item, each) => updateListener(item, each, server, known.may_write));
  /** @type {[string, string][]} */
  const rows = (server.engines ?? []).map((/** @type {any} */ engine) => [
    `engine ${engine.name}`,
    `${count(engine.running)}${engine.limit === null ? "" : ` of ${count(engine.limit)}`}`
      + (typeof engine.hub_delay === "number" ? `, hub late by ${Math.round(1000 * engine.hub_delay)} ms` : ""),
  ]);
  for (const [state, number] of Object.entries(server.open ?? {})) {
    if (number) rows.push([`open: ${state}`, count(number)]);
  }
  if (server.rooms) rows.push(["rooms", count(server.rooms)]);
  for (const worker of known.stats.workers ?? []) rows.push(workerRow(worker, known.stats));
  for (const [file, time] of Object.entries(server.certificates ?? {})) {
    // By the server's clock: the browser's may be another one.
    const left = Number(time) - Date.parse(known.stats.at) / 1000;
    rows.push([`certificate ${file}`, left > 0 ? `valid for ${age(left)}` : `expired ${age(-left)} ago`]);
  }
  facts(engines, rows);
  /** @type {[string, number][]} */
  const ended = Object.entries({ ...server.closed, ...server.dropped });
  const most = ended.filter(([, number]) => number).sort((a, b) => b[1] - a[1]);
  facts(/** @type {Element} */ (reasons.lastElementChild), most.map(([reason, number]) => [reason, count(number)]));
}

/**
 * Return what is to be known of a worker process, beside its number, which two generations may both have.
 * @param {any} worker
 * @param {any} stats
 * @returns {[string, string]}
 */
function workerRow(worker, stats) {
  const of = worker.generation === stats.generation ? "" : ` of generation ${worker.generation}`;
  const answers = stats.missing?.includes(worker.number) ? ", does not answer" : "";
  return [`worker ${worker.number}${of}`,
    `${text(worker.state)}${answers}, ${count(worker.open)} open, process ${worker.pid}`];
}

function createListener() {
  return make("li", {}, make("span"), make("span", { class: "badge" }), make("button", { type: "button" }));
}

/**
 * @param {HTMLElement} item
 * @param {any} listener
 * @param {any} server
 * @param {boolean} mayWrite
 */
function updateListener(item, listener, server, mayWrite) {
  const [address, badge, button] = item.children;
  const waiting = typeof listener.waiting === "number" ? `, ${count(listener.waiting)} waiting` : "";
  const dropped = listener.dropped ? `, ${count(listener.dropped)} dropped` : "";
  setText(address, `${listener.address}${waiting}${dropped}`);
  setText(badge, listener.is_suspended ? "suspended" : "accepts");
  badge.setAttribute("data-state", listener.is_suspended ? "lost" : "live");
  if (!(button instanceof HTMLButtonElement)) return;
  button.hidden = !mayWrite;
  const verb = listener.is_suspended ? "resume" : "suspend";
  setText(button, verb === "resume" ? "Resume" : "Suspend");
  button.setAttribute("aria-label", `${button.textContent} ${listener.address}`);
  button.onclick = () => attempt(async () => {
    const process = state.process();
    const question = `Accept no new clients on ${listener.address}?`;
    if (verb === "suspend" && !await ask(question, "Suspend")) return "";
    await call(`listeners.${verb}`, { listener: listener.address, server: server.server }, process);
    return `${listener.address} ${verb === "resume" ? "accepts clients again" : "is suspended"}`;
  });
}
