// The token that the page's server wants: from the link's fragment, then in this tab's storage.

const KEY = "manyhands-token";
/** What a token consists of, as `manyhands web` makes and takes it: else it could be in no header. */
const FITTING = /^[A-Za-z0-9._~-]+$/;

const ending = new AbortController();

/** Is aborted once the token was refused, with the reason: from then on this tab asks for nothing. */
export const refused = ending.signal;

/** @param {string} sentence */
export function refuse(sentence) {
  ending.abort(new Error(sentence.trim()));
}

/** Return the token; "" where this tab has none. */
export function token() {
  if (location.hash.startsWith("#t=")) {
    keepToken(location.hash);
    // So that it is not in what is copied from the address line.
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

/**
 * @param {string} link A link, or a token alone.
 * @returns {boolean} Whether there is a token in it.
 */
export function keepToken(link) {
  const found = (/(?:^|#)t=([^&]+)/.exec(link)?.[1] ?? link).trim();
  if (!FITTING.test(found)) return false;
  sessionStorage.setItem(KEY, found);
  return true;
}

/**
 * Do something again and again, as long as the token is not refused.
 * @param {number} milliseconds
 * @param {() => void} act
 */
export function every(milliseconds, act) {
  const timer = setInterval(act, milliseconds);
  refused.addEventListener("abort", () => clearInterval(timer));
}
