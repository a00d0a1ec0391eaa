// The token that the page's server wants: from the link's fragment, then in this tab's storage.

const KEY = "manyhands-token";

/** @param {string} link A link, or a token alone. */
function tokenOf(link) {
  const found = /(?:^|#)t=([^&]+)/.exec(link);
  return found ? found[1] : link.trim();
}

/** Return the token; "" where this tab has none. */
export function token() {
  if (location.hash.startsWith("#t=")) {
    keepToken(location.hash);
    // Neither in the history nor in what is copied from the address line.
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? "";
}

/** @param {string} link */
export function keepToken(link) {
  sessionStorage.setItem(KEY, tokenOf(link));
}
