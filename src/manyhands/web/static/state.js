// What the page knows.

const MOST_EVENTS = 1000;

/**
 * @typedef {object} Known
 * @property {any} server Whether a server is there, and which.
 * @property {boolean} may_write
 * @property {any} stats The latest figures, or null.
 * @property {any[]} events
 * @property {any[][]} history Points of the charts, the oldest first.
 * @property {string[]} point What a point has.
 * @property {number} longest_history
 */

/** @typedef {{pid: number, started: string}} Process One run of the server. */

/** @type {Known | null} */
export let known = null;

/** Why nothing comes just now; "" while all is well. */
export let lost = "";

/** How many events there were, to tell whether there are new ones. */
export let eventsSeen = 0;

/** When figures came last, in milliseconds of `performance.now`, which is never set back. */
export let heardAt = 0;

/**
 * Take what the stream tells.
 * @param {string} kind
 * @param {any} data
 */
export function apply(kind, data) {
  if (kind === "lost") {
    lost = data;
    return;
  }
  lost = "";
  heardAt = performance.now();
  if (kind === "reset") {
    known = data;
    eventsSeen += 1;
  } else if (known && kind === "server") {
    known.server = data;
  } else if (known && kind === "stats") {
    known.stats = data.stats;
    known.history.push(...data.points);
    known.history.splice(0, known.history.length - known.longest_history);
  } else if (known && kind === "events") {
    known.events.push(...data);
    known.events.splice(0, known.events.length - MOST_EVENTS);
    eventsSeen += data.length;
  }
}

/**
 * The process that is shown now: what is asked of it is for no other one.
 * @returns {Process | undefined}
 */
export function process() {
  return known ? { pid: known.server.pid, started: known.server.started } : undefined;
}

/** What another tab has to be told, to know all that this one knows: each as `apply` takes it. */
export function everything() {
  /** @type {[string, any][]} */
  const news = known ? [["reset", known]] : [];
  if (lost) news.push(["lost", lost]);
  return news;
}
