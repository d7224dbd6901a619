"use strict";
// Tables sort by the column whose head is clicked: numbers as numbers, what is not a finite number always last.
function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v;
  if (text === undefined) return { text: cell.textContent.trim() };
  const number = text === "" ? NaN : Number(text);
  return { number, rank: Number.isFinite(number) ? 0 : Number.isNaN(number) ? 2 : 1 };
}

function compareKeys(one, two, direction) {
  if (one.text !== undefined) return direction * one.text.localeCompare(two.text, undefined, { numeric: true });
  if (one.rank !== two.rank) return one.rank - two.rank;
  return one.rank === 0 ? direction * (one.number - two.number) : 0;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, column) }));
      rows.sort((one, two) => compareKeys(one.key, two.key, direction));
      table.tBodies[0].append(...rows.map(({ row }) => row));
    });
  });
}

const cases = document.getElementById("case-table");
const search = document.getElementById("search");
const label = document.getElementById("label");
const folder = document.getElementById("folder");
function filter() {
  const wanted = search.value.trim().toLowerCase();
  for (const row of cases.tBodies[0].rows) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted)
      || (label !== null && label.value !== "" && row.dataset.label !== label.value)
      || (folder !== null && folder.value !== "" && row.dataset.folder !== folder.value);
  }
}
search.addEventListener("input", filter);
for (const control of [label, folder]) if (control !== null) control.addEventListener("change", filter);
document.getElementById("more").addEventListener("change", (event) => {
  cases.classList.toggle("main-only", !event.target.checked);
});

for (const picture of document.querySelectorAll(".pictures img")) {
  picture.addEventListener("click", () => picture.closest("figure").classList.toggle("large"));
}
