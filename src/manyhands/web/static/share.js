// One stream for all tabs of a browser, which has six connections to a server and no more: the tab that holds
// the lock reads it, and tells the others.

import { listen } from "./stream.js";

/**
 * Have this tab told of all that comes, by its own stream or by another tab's.
 * @param {(kind: string, data: any) => void} apply
 * @param {() => any} everything What is known, as a "reset" has it; null while nothing is.
 * @returns {Promise<void>} Rejected when the token is refused.
 */
export function share(apply, everything) {
  // Locks are for secure contexts: HTTPS, and the machine itself.
  if (!navigator.locks) return listen(apply);
  const channel = new BroadcastChannel("manyhands");
  let isLeader = false;
  channel.onmessage = ({ data: [kind, data] }) => {
    if (kind !== "new here") apply(kind, data);
    else if (isLeader && everything()) channel.postMessage(["reset", everything()]);
  };
  channel.postMessage(["new here", null]);
  return navigator.locks.request("manyhands-stream", async () => {
    isLeader = true;
    try {
      await listen((kind, data) => {
        apply(kind, data);
        channel.postMessage([kind, data]);
      });
    } finally {
      isLeader = false;
    }
  });
}
