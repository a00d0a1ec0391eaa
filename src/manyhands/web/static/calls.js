// What is asked of the page's server; calls are JSON-RPC 2.0, by POST.

import { refuse, refused, token } from "./token.js";

/** With what the page's server refuses a token: `web/page.py` has the same. A proxy in front may refuse too. */
const CHALLENGE = 'Bearer realm="manyhands"';

let last = 0;

/**
 * Ask for something with the token.
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} [options]
 * @returns {Promise<Response>} Rejected when the token is refused, or was so before.
 */
export async function request(path, options = {}) {
  refused.throwIfAborted();
  const headers = { ...options.headers, Authorization: `Bearer ${token()}` };
  const response = await fetch(path, { ...options, headers, credentials: "omit" });
  if (response.headers.get("WWW-Authenticate") === CHALLENGE) refuse(await response.text());
  refused.throwIfAborted();
  return response;
}

/**
 * Return why something was not answered.
 * @param {Response} response
 */
export async function reason(response) {
  // A proxy in front says it in a page of HTML.
  const isText = response.headers.get("Content-Type")?.startsWith("text/plain");
  const sentence = isText ? (await response.text()).trim() : "";
  return sentence || `the answer was ${response.status} ${response.statusText}`.trim();
}

/**
 * Carry out a verb.
 * @param {string} method
 * @param {Record<string, unknown>} [params]
 * @param {import("./state.js").Process} [process] That it is meant for, where it changes anything.
 * @returns {Promise<any>} Its result.
 */
export async function call(method, params = {}, process) {
  last += 1;
  const response = await request("calls", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: last, method, params, process }),
  });
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
    throw new Error(await reason(response));
  }
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
}
