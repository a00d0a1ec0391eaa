// The stream of news, read by fetch: EventSource cannot send the token.

import { reason, request } from "./calls.js";
import { refused } from "./token.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** Milliseconds without anything, not even a comment, after which the stream is taken for dead. */
const SILENCE = 25_000;

/**
 * Listen until it is ended or the token is refused, through losses of the connection.
 * @param {(kind: string, data: any) => void} tell Is called with "lost" and a sentence too.
 * @param {AbortSignal} signal Ends it.
 */
export async function listen(tell, signal) {
  let lastId = "";
  let pause = FIRST_PAUSE;
  const isOver = () => signal.aborted || refused.aborted;
  while (!isOver()) {
    let sentence = "the page's server has ended the stream";
    try {
      await readOnce(lastId, signal, (kind, data, id) => {
        if (isOver()) return;
        if (id) lastId = id;
        pause = FIRST_PAUSE;
        tell(kind, data);
      });
    } catch (problem) {
      sentence = problem instanceof TypeError ? "the page's server does not answer" : String(problem);
    }
    if (isOver()) return;
    tell("lost", sentence);
    await new Promise((resolve) => { setTimeout(resolve, pause * (0.5 + Math.random())); });
    pause = Math.min(LONGEST_PAUSE, 2 * pause);
  }
}

/**
 * @param {string} lastId
 * @param {AbortSignal} signal
 * @param {(kind: string, data: any, id: string) => void} tell
 */
async function readOnce(lastId, signal, tell) {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(), { signal: stop.signal });
  /** @type {Record<string, string>} */
  const headers = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  let alarm = setTimeout(() => stop.abort(), SILENCE);
  try {
    const response = await request("events", { headers, signal: stop.signal });
    if (!response.ok || !response.body) throw new Error(await reason(response));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(alarm);
      alarm = setTimeout(() => stop.abort(), SILENCE);
      const messages = (rest + value).split("\n\n");
      rest = messages.pop() ?? "";
      for (const message of messages) take(message, tell);
    }
  } finally {
    clearTimeout(alarm);
    stop.abort();
  }
}

/**
 * @param {string} message Lines of one server-sent event.
 * @param {(kind: string, data: any, id: string) => void} tell
 */
function take(message, tell) {
  /** @type {Record<string, string>} */
  const fields = {};
  for (const line of message.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  if (fields.data) tell(fields.event ?? "", JSON.parse(fields.data), fields.id ?? "");
}
