// Elements by code. Whatever a caller of the server said becomes text, never markup.

/** What is not seen, or turns the line around, as U+202E does; but for the ends of lines. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/**
 * Write a text with such characters as escapes: clients choose the names of rooms, and of themselves.
 * @param {string} text
 */
function shown(text) {
  return text.replace(UNSEEN, (character) => {
    if (character === "\n") return character;
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code.padStart(4, "0")}`;
  });
}

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | boolean | number | ((event: Event) => void)>} [attributes] A function listens.
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.map((child) => (typeof child === "string" ? shown(child) : child)));
  return element;
}

/**
 * The element of the page with an id.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!element || (kind && !(element instanceof kind))) throw new Error(`the page has no ${id}`);
  return /** @type {T} */ (element);
}

/**
 * Change a text only where it is another one, so that a selection and a screen reader are left alone.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  const wanted = shown(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/**
 * Make the children of an element those of a list, and keep the elements whose keys stay.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function keep(parent, items, key, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const there = new Map();
  for (const child of parent.children) {
    if (child instanceof HTMLElement && child.dataset.key !== undefined) there.set(child.dataset.key, child);
  }
  /** @type {Element | null} */
  let before = null;
  for (const item of items) {
    const name = key(item);
    let element = there.get(name);
    if (element) there.delete(name);
    else {
      element = create(item);
      element.dataset.key = name;
    }
    update(element, item);
    /** @type {Element | null} */
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    // Only those that are elsewhere are moved: a moved element loses the focus.
    if (place !== element) parent.insertBefore(element, place);
    before = element;
  }
  for (const gone of there.values()) {
    const hadFocus = gone.contains(document.activeElement);
    gone.remove();
    const around = parent.closest("[tabindex]");
    // Else the next key would begin at the top of the page.
    if (hadFocus && around instanceof HTMLElement) around.focus({ preventScroll: true });
  }
}

/**
 * Make rows of terms and what they are.
 * @param {Element} list A `dl`.
 * @param {[string, string][]} rows
 */
export function facts(list, rows) {
  keep(list, rows, ([term]) => term,
    ([term]) => make("div", {}, make("dt", {}, term), make("dd")),
    (element, [, text]) => setText(/** @type {Element} */ (element.lastElementChild), text));
}
