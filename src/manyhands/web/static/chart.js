// Lines in SVG.

import { make, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;

/** A chart of one or more lines over the same time. */
export class Chart {
  /**
   * @param {string} title
   * @param {[string, string][]} lines The field of each line, and what it is called.
   * @param {(value: unknown) => string} format
   */
  constructor(title, lines, format) {
    this.title = title;
    this.lines = lines;
    this.format = format;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "chart");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.paths = lines.map((_, number) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", `line-${number}`);
      this.svg.append(path);
      return path;
    });
    this.keys = lines.map((_, number) => make("span", { class: `key-${number}` }));
    this.element = make("figure", {}, make("figcaption", {}, `${title}: `, ...this.keys));
    this.element.append(this.svg);
  }

  /**
   * @param {string[]} fields What each point has.
   * @param {any[][]} points
   * @param {number} longest
   */
  draw(fields, points, longest) {
    const columns = this.lines.map(([field]) => fields.indexOf(field));
    const highest = Math.max(1, ...points.flatMap((point) => columns.map((column) => point[column] ?? 0)));
    const said = this.lines.map(([, name], line) => {
      let path = "";
      let isOn = false;
      points.forEach((point, index) => {
        const value = point[columns[line]];
        if (typeof value !== "number") { isOn = false; return; }
        const x = WIDTH - (points.length - 1 - index) * (WIDTH / (longest - 1));
        const y = HEIGHT - 2 - (value / highest) * (HEIGHT - 4);
        path += `${isOn ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        isOn = true;
      });
      this.paths[line].setAttribute("d", path);
      const now = points.length ? points[points.length - 1][columns[line]] : null;
      const text = `${name} ${this.format(now)}`;
      setText(this.keys[line], text);
      return text;
    });
    this.svg.setAttribute("aria-label", `${this.title}: ${said.join(", ")}; highest ${this.format(highest)}`);
  }
}
