// Calls to the server: JSON-RPC 2.0, by POST.

import { token } from "./token.js";

/** The page's server does not know the token. */
export class Unauthorized extends Error {}

let last = 0;

/**
 * Carry out a verb.
 * @param {string} method
 * @param {Record<string, unknown>} [params]
 * @returns {Promise<any>} Its result.
 */
export async function call(method, params = {}) {
  last += 1;
  const response = await fetch("calls", {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token()}` },
    body: JSON.stringify({ jsonrpc: "2.0", id: last, method, params }),
    credentials: "omit",
  });
  if (response.status === 401) throw new Unauthorized(await response.text());
  if (!response.headers.get("Content-Type")?.startsWith("application/json")) {
    throw new Error((await response.text()).trim() || response.statusText);
  }
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
}
