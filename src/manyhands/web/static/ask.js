// What is said and asked beside the figures.

import { byId, setText } from "./dom.js";

/**
 * Have a screen reader say something.
 * @param {string} sentence
 */
export function announce(sentence) {
  setText(byId("announced"), sentence);
}

/**
 * Show what went wrong; "" hides it.
 * @param {string} sentence
 */
export function showProblem(sentence) {
  const problem = byId("problem");
  problem.hidden = !sentence;
  setText(problem, sentence);
}

/**
 * Ask whether to do something.
 * @param {string} question
 * @param {string} yes What the button says that does it.
 * @returns {Promise<boolean>}
 */
export function ask(question, yes) {
  const dialog = byId("question", HTMLDialogElement);
  setText(byId("question-text"), question);
  setText(byId("question-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Leave what is asked and shown about a process that is there no more. */
export function leaveDialogs() {
  const open = document.querySelectorAll("dialog[open]");
  for (const dialog of open) /** @type {HTMLDialogElement} */ (dialog).close();
  if (open.length) showProblem("the server has been started anew meanwhile: nothing was done");
}

/**
 * Do something, and say how it went.
 * @param {() => Promise<string>} act Returns what to say.
 */
export async function attempt(act) {
  try {
    showProblem("");
    announce(await act());
  } catch (problem) {
    showProblem(problem instanceof Error ? problem.message : String(problem));
  }
}
