// The page, from its link on.

import { announce, leaveDialogs, showProblem } from "./ask.js";
import * as connections from "./connections.js";
import { byId, setText } from "./dom.js";
import * as events from "./events.js";
import { age } from "./format.js";
import * as limits from "./limits.js";
import * as overview from "./overview.js";
import { share } from "./share.js";
import * as state from "./state.js";
import { every, keepToken, refused, token } from "./token.js";

/** Milliseconds without figures after which the page says so. */
const QUIET = 5000;
/** Milliseconds between two looks at the limits, which others may change. */
const LIMITS_PAUSE = 30_000;

let isDue = false;
let said = "";
/** The process that was shown, and whether it was there. */
let shownProcess = "";
let wasThere = false;

/**
 * @param {string} kind
 * @param {any} data
 */
function apply(kind, data) {
  state.apply(kind, data);
  if (!isDue) {
    isDue = true;
    // One drawing for all that comes together, and none while the tab is hidden.
    requestAnimationFrame(draw);
  }
}

function draw() {
  isDue = false;
  showLink();
  const { known } = state;
  if (!known) return;
  overview.show(known);
  events.show(known);
  connections.show(known);
  const process = JSON.stringify(state.process());
  const isThere = known.server.is_there;
  const isNew = isThere && !(wasThere && process === shownProcess);
  // What could not be done while it was away.
  if (isNew) showProblem("");
  if (shownProcess && process !== shownProcess) leaveDialogs();
  if (isNew) {
    loadLimits();
    connections.refresh();
  }
  [shownProcess, wasThere] = [process, isThere];
  setText(byId("name"), known.server.name || "manyhands");
  document.title = `${known.server.name || "manyhands"}, ${known.stats?.books?.open ?? "–"} open`;
  const may = known.may_write ? "this page may change things" : "this page only shows";
  setText(byId("about"), `manyhands ${known.server.version}, process ${known.server.pid}, ${may}`);
}

function loadLimits() {
  limits.load().catch((problem) => setText(byId("limits-problem"), problem.message));
}

/** Say whether what is shown is live. */
function showLink() {
  if (refused.aborted) return;
  const { known, lost } = state;
  let [kind, sentence] = ["waiting", "connecting"];
  const quiet = performance.now() - state.heardAt;
  if (lost) [kind, sentence] = ["lost", lost];
  else if (known && !known.server.is_there) [kind, sentence] = ["lost", known.server.sentence];
  else if (known && quiet > QUIET) [kind, sentence] = ["lost", `nothing heard for ${age(quiet / 1000)}`];
  else if (known) [kind, sentence] = ["live", "live"];
  const link = byId("link");
  link.dataset.state = kind;
  setText(link, sentence);
  if (kind !== said && (said || kind === "lost")) announce(kind === "live" ? "the server is there again" : sentence);
  if (kind !== "waiting") said = kind;
}

/** @param {string} sentence */
function askForToken(sentence) {
  const form = byId("token-form");
  form.hidden = false;
  byId("main").hidden = true;
  byId("link").dataset.state = "wrong";
  setText(byId("link"), "not let in");
  showProblem(sentence);
  byId("token").focus();
}

function run() {
  refused.addEventListener("abort", () => askForToken(refused.reason.message));
  overview.start();
  events.start();
  connections.start();
  every(1000, showLink);
  every(LIMITS_PAUSE, () => { if (!document.hidden && state.known?.server.is_there) loadLimits(); });
  share(apply, state.everything);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (keepToken(byId("token", HTMLInputElement).value)) location.reload();
  else askForToken("this is no token: copy the whole link that manyhands web printed");
});
addEventListener("hashchange", () => { if (location.hash.startsWith("#t=")) location.reload(); });
if (token()) run();
else askForToken("this tab has no token: open the link that manyhands web printed");
