"use strict";
// Sorts the table of cells by a click on a title, and shows the rows that hold every word asked for.
const orderOf = (row, index) => row.cells[index].dataset.order;
const compare = (a, b) => {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const numbers = [a, b].map(Number);
  return numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1];
};
const table = document.querySelector("table.sortable");
const body = table.tBodies[0];
table.tHead.addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (!head) return;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const index = head.cellIndex;
  const known = [...body.rows].filter((row) => orderOf(row, index) !== undefined);
  const unknown = [...body.rows].filter((row) => orderOf(row, index) === undefined);
  known.sort((a, b) => (down ? -1 : 1) * compare(orderOf(a, index), orderOf(b, index)));
  body.append(...known, ...unknown);
});
const search = document.querySelector("input[type=search]");
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/);
  for (const row of body.rows) {
    const text = row.innerText.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  const shown = [...body.rows].filter((row) => !row.hidden).length;
  document.querySelector("output").value = search.value ? `${shown} of ${body.rows.length}` : "";
});
