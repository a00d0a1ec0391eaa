// One stream for all tabs of a browser, which has six connections to a server and no more: the tab that holds
// the lock reads it, and tells the others.

import { listen } from "./stream.js";
import { every, refused } from "./token.js";

const LOCK = "manyhands-stream";
/** Milliseconds between two signs of life of the tab that reads. */
const BEAT = 1000;
/** Milliseconds without one, after which a tab that is looked at takes the lock: telephones stop hidden tabs. */
const PATIENCE = 4000;

/** @typedef {[kind: string, data: any]} News */

/**
 * Have this tab told of all that comes, by its own stream or by another tab's, until the token is refused.
 * @param {(kind: string, data: any) => void} apply
 * @param {() => News[]} everything What another tab has to be told, to know all that this one knows.
 */
export function share(apply, everything) {
  // Locks are for secure contexts: HTTPS, and the machine itself.
  if (!navigator.locks) {
    listen(apply, refused);
    return;
  }
  const channel = new BroadcastChannel("manyhands");
  const own = crypto.randomUUID();
  let reads = false;
  // Not the time of day, which may be set back.
  let heardAt = performance.now();
  /** Ends the wait for the lock, or the stream. */
  let turn = new AbortController();

  /**
   * @param {News[]} news
   * @param {string} [to] The one tab that it is for.
   */
  const tell = (news, to) => { if (!refused.aborted) channel.postMessage({ news, to }); };

  channel.onmessage = ({ data: { asks, news, to } }) => {
    if (asks) {
      if (reads) tell(everything(), asks);
      return;
    }
    heardAt = performance.now();
    if (reads || (to && to !== own)) return;
    for (const [kind, data] of news) apply(kind, data);
  };
  channel.postMessage({ asks: own });

  /** @param {boolean} [atOnce] Take the lock from the tab that has it. */
  async function lead(atOnce) {
    const own = new AbortController();
    turn = own;
    try {
      await navigator.locks.request(LOCK, atOnce ? { steal: true } : { signal: own.signal }, async () => {
        reads = true;
        await listen((kind, data) => {
          apply(kind, data);
          tell([[kind, data]]);
        }, own.signal);
      });
    } catch (problem) {
      if (own.signal.aborted) return;
      if (!(problem instanceof DOMException && problem.name === "AbortError")) throw problem;
      // Another tab has taken the lock: it reads now, and this one waits again.
      own.abort();
      reads = false;
      heardAt = performance.now();
      lead();
    }
  }

  every(BEAT, () => {
    if (reads) {
      tell([]);
    } else if (!document.hidden && performance.now() - heardAt > PATIENCE) {
      heardAt = performance.now();
      turn.abort();
      lead(true);
    }
  });
  refused.addEventListener("abort", () => {
    channel.close();
    // Whereupon another tab has the lock.
    turn.abort();
  });
  lead();
}
