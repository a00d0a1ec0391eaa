// One stream for all tabs of a browser, which has six connections to a server and no more: the tab that holds
// the lock reads it, and tells the others.

import { listen } from "./stream.js";

const LOCK = "manyhands-stream";
/** Milliseconds between two signs of life of the tab that reads. */
const BEAT = 1000;
/** Milliseconds without one, after which a tab that is looked at takes the lock: telephones stop hidden tabs. */
const PATIENCE = 4000;

/**
 * Have this tab told of all that comes, by its own stream or by another tab's.
 * @param {(kind: string, data: any) => void} apply
 * @param {() => any} everything What is known, as a "reset" has it; null while nothing is.
 * @returns {Promise<void>} Rejected when the token is refused.
 */
export function share(apply, everything) {
  // Locks are for secure contexts: HTTPS, and the machine itself.
  if (!navigator.locks) return listen(apply, new AbortController().signal);
  const channel = new BroadcastChannel("manyhands");
  let reads = false;
  let heardAt = Date.now();
  /** Ends the wait for the lock. */
  let waiting = new AbortController();

  channel.onmessage = ({ data: [kind, data] }) => {
    if (kind === "new here") {
      if (reads && everything()) channel.postMessage(["reset", everything()]);
      return;
    }
    heardAt = Date.now();
    if (kind !== "beat" && !reads) apply(kind, data);
  };
  channel.postMessage(["new here", null]);

  return new Promise((_, refuse) => {
    /** @param {boolean} [atOnce] Take the lock from the tab that has it. */
    async function lead(atOnce) {
      const stop = new AbortController();
      waiting = new AbortController();
      const options = atOnce ? { steal: true } : { signal: waiting.signal };
      const { signal } = waiting;
      try {
        await navigator.locks.request(LOCK, options, async () => {
          reads = true;
          await listen((kind, data) => {
            if (stop.signal.aborted) return;
            apply(kind, data);
            channel.postMessage([kind, data]);
          }, stop.signal);
        });
      } catch (problem) {
        stop.abort();
        if (signal.aborted) return;
        reads = false;
        heardAt = Date.now();
        // Another tab has taken the lock: it reads now, and this one waits again.
        if (problem instanceof DOMException && problem.name === "AbortError") lead();
        else refuse(problem);
      }
    }

    setInterval(() => {
      if (reads) {
        channel.postMessage(["beat", null]);
      } else if (!document.hidden && Date.now() - heardAt > PATIENCE) {
        heardAt = Date.now();
        waiting.abort();
        lead(true);
      }
    }, BEAT);
    lead();
  });
}
