// The options that may change while the server serves.

import { ask, attempt } from "./ask.js";
import { call } from "./calls.js";
import { byId, keep, make, setText } from "./dom.js";
import { text } from "./format.js";
import * as state from "./state.js";

/** Ask the server which there are, and show them. */
export async function load() {
  const { items } = await call("limits.get");
  setText(byId("limits-problem"), "");
  keep(byId("limit-list"), items, (each) => `${each.server} ${each.name}`, create, update);
}

/** @param {any} limit */
function create(limit) {
  const id = `limit-${limit.server}-${limit.name}`;
  const input = make("input", { id, spellcheck: false, "aria-describedby": `${id}-help` });
  const button = make("button", { type: "submit" }, "Set");
  const form = make("form", {
    submit: (event) => { event.preventDefault(); set(limit, input.value); },
  }, make("label", { for: id }, limit.name, input), button);
  input.addEventListener("input", () => { input.dataset.changed = "yes"; });
  return make("li", {}, form, make("p", { id: `${id}-help` }));
}

/**
 * @param {HTMLElement} item
 * @param {any} limit
 */
function update(item, limit) {
  const input = /** @type {HTMLInputElement} */ (item.querySelector("input"));
  const button = /** @type {HTMLButtonElement} */ (item.querySelector("button"));
  const mayWrite = Boolean(state.known?.may_write);
  if (!input.dataset.changed) input.value = written(limit.value);
  input.readOnly = !mayWrite;
  button.hidden = !mayWrite;
  const unit = limit.unit ? ` ${limit.unit}` : "";
  const standard = `${written(limit.default)}${limit.default === null ? "" : unit}`;
  setText(/** @type {Element} */ (item.querySelector("p")), `${text(limit.help)} (default: ${standard})`);
}

/** @param {unknown} value */
function written(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

/**
 * Set a limit to what was typed, which is read as `manyhands ctl` reads it.
 * @param {any} limit
 * @param {string} said
 */
async function set(limit, said) {
  const process = state.process();
  if (said.trim() && !await ask(`Set ${limit.name} to ${said.trim()}?`, "Set it")) return;
  await attempt(async () => {
    await call("limits.set", { values: { [limit.name]: said }, server: limit.server }, process);
    const input = byId(`limit-${limit.server}-${limit.name}`, HTMLInputElement);
    // Else the next value is being typed already.
    if (input.value === said) delete input.dataset.changed;
    await load();
    return `${limit.name} is set`;
  });
}
