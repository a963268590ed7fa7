"use strict";
// Tables are sorted by a click on a heading.
for (const table of document.querySelectorAll("table.systems")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const up = heading.getAttribute("aria-sort") !== "ascending";
    const value = (row) => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? (cell.dataset.value === "" ? NaN : Number(cell.dataset.value)) : cell.textContent;
    };
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (typeof x === "string") return up ? x.localeCompare(y) : y.localeCompare(x);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
      return up ? x - y : y - x;
    };
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
// A system under the pointer, in a table or a figure, stands out in every figure that shows it.
const series = [...document.querySelectorAll(".series")];
const focus = (key) => {
  for (const figure of document.querySelectorAll("figure svg")) {
    figure.classList.toggle("has-focus", series.some((s) => s.dataset.series === key && figure.contains(s)));
  }
  for (const curve of series) curve.classList.toggle("focus", curve.dataset.series === key);
};
for (const element of [...series, ...document.querySelectorAll("tr[data-series]")]) {
  element.addEventListener("pointerenter", () => focus(element.dataset.series));
  element.addEventListener("pointerleave", () => focus(null));
}
