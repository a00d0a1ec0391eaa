// Events as they come, the latest first.

import { byId, keep, make, setText } from "./dom.js";
import { clock, count, text } from "./format.js";
import * as state from "./state.js";

const MOST_SHOWN = 200;

let isPaused = false;
let drawn = 0;
/** Numbers for the elements: events have none of their own. */
let last = 0;
/** @type {WeakMap<object, number>} */
const numbers = new WeakMap();

export function start() {
  const pause = byId("pause");
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    setText(pause, isPaused ? "Go on" : "Pause");
    if (state.known) show(state.known);
  });
}

/** @param {import("./state.js").Known} known */
export function show(known) {
  setText(byId("event-count"), `${count(known.events.length)} kept`);
  if (isPaused || drawn === state.eventsSeen) return;
  drawn = state.eventsSeen;
  keep(byId("event-list"), known.events.slice(-MOST_SHOWN).reverse(), key, create, () => {});
}

/** @param {object} event */
function key(event) {
  let number = numbers.get(event);
  if (number === undefined) {
    last += 1;
    number = last;
    numbers.set(event, number);
  }
  return String(number);
}

/** @param {any} event */
function create(event) {
  const { event: name, at, message, level, ...fields } = event;
  const told = name === "EventsDropped"
    ? `${count(fields.dropped)} events came faster than they could be told`
    : message ?? Object.entries(fields).map(([field, value]) => `${field}: ${text(value)}`).join(", ");
  return make("li", { "data-level": text(level) },
    make("time", { datetime: text(at) }, clock(at)), make("b", {}, text(name)), make("span", {}, text(told)));
}
