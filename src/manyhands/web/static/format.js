// Figures for people.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const whole = new Intl.NumberFormat("en");

/** @param {unknown} value */
export function count(value) {
  return typeof value === "number" ? whole.format(value) : "–";
}

/** @param {unknown} value */
export function size(value) {
  if (typeof value !== "number") return "–";
  let unit = 0;
  let left = value;
  while (left >= 1000 && unit < UNITS.length - 1) { left /= 1000; unit += 1; }
  return `${unit && left < 10 ? left.toFixed(1) : Math.round(left)} ${UNITS[unit]}`;
}

/** @param {unknown} value */
export function rate(value) {
  if (typeof value !== "number") return "–";
  return value && value < 10 ? value.toFixed(1) : count(Math.round(value));
}

/** @param {unknown} seconds */
export function age(seconds) {
  if (typeof seconds !== "number") return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${String(Math.round(seconds) % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} m`;
  return `${Math.floor(hours / 24)} d ${String(hours % 24).padStart(2, "0")} h`;
}

/** @param {unknown} at A time in ISO 8601. */
export function clock(at) {
  const time = new Date(String(at));
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleTimeString();
}

/** @param {unknown} value */
export function text(value) {
  if (value === null || value === undefined || value === "") return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
