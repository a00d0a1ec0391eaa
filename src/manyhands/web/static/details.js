// One connection, with the place where its handler stands.

import { ask, attempt } from "./ask.js";
import { call } from "./calls.js";
import { byId, facts, make, setText } from "./dom.js";
import { age, count, size, text } from "./format.js";
import * as state from "./state.js";

/**
 * Show a connection.
 * @param {string} id
 * @param {() => void} changed Is called when it was closed.
 */
export async function open(id, changed) {
  const process = state.process();
  const found = await call("connections.get", { id });
  const body = byId("details-body");
  const list = make("dl", { class: "facts" });
  body.replaceChildren(list);
  setText(byId("details-title"), `Connection ${text(found.id)}`);
  facts(list, rows(found).filter(([, value]) => value !== "–"));
  body.append(make("h3", {}, "Where its handler stands"));
  body.append(found.stack?.length
    ? make("pre", { tabindex: "0" }, found.stack.join("\n"))
    : make("p", {}, "It is in no call that could be told."));
  const close = byId("details-close", HTMLButtonElement);
  const dialog = byId("details", HTMLDialogElement);
  close.hidden = !state.known?.may_write;
  close.onclick = async () => {
    if (!await ask(`Close connection ${text(found.id)} of ${text(found.peer)}?`, "Close it")) return;
    dialog.close();
    await attempt(async () => {
      await call("connections.close", { id }, process);
      return `connection ${text(found.id)} is closed`;
    });
    changed();
  };
  dialog.showModal();
}

/**
 * The first rooms, for a server tells no more of them, and how many more there are.
 * @param {any} found
 */
function rooms(found) {
  const others = (found.rooms_total ?? 0) - (found.rooms?.length ?? 0);
  return [...found.rooms ?? [], ...others > 0 ? [`${count(others)} more`] : []].join(", ") || "–";
}

/**
 * @param {any} found
 * @returns {[string, string][]}
 */
function rows(found) {
  const { tls } = found;
  /** @type {[string, string][]} */
  const deadlines = Object.entries(found.deadlines ?? {}).map(([name, value]) => [name, age(value)]);
  return [
    ["client", text(found.peer)],
    ["address", text(found.local ?? found.listener)],
    ["handler", text(found.handler)],
    ["state", text(found.state)],
    ["ends because", text(found.reason)],
    ["age", age(found.age)],
    ["silent for", age(found.silent)],
    ["received", size(found.in)],
    ["sent", size(found.out)],
    ["waits to be sent", size(found.waiting)],
    ["dropped, not sent", found.missed ? count(found.missed) : "–"],
    ["rooms", rooms(found)],
    ["TLS", tls ? [tls.version, tls.cipher, tls.client].filter(Boolean).map(text).join(", ") : "–"],
    ["PROXY header", text(found.proxy)],
    ...deadlines,
    ["worker", text(found.worker)],
    ["process", text(found.pid)],
  ];
}
