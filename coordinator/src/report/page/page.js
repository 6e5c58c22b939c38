"use strict";
// Sorting, columns, copying. Everything is there without it.
(() => {
  const number = (cell) => (cell.dataset.v === "" ? NaN : Number(cell.dataset.v));

  // Rows of the first body; what is no method stays below.
  const sort = (table, column, head) => {
    const body = table.tBodies[0];
    const falling = head.getAttribute("aria-sort") !== "descending";
    const rows = [...body.rows];
    const texts = rows.some((row) => row.cells[column].dataset.v !== "" && Number.isNaN(number(row.cells[column])));
    const order = (a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      if (texts) return y.dataset.v.localeCompare(x.dataset.v);
      const [p, q] = [number(x), number(y)];
      // What is missing is last either way.
      if (Number.isNaN(p) || Number.isNaN(q)) return (Number.isNaN(p) - Number.isNaN(q)) * (falling ? 1 : -1);
      return q - p;
    };
    rows.sort((a, b) => (falling ? order(a, b) : -order(a, b)));
    for (const other of table.querySelectorAll(".heads th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.querySelectorAll(".heads th")].forEach((head, column) => {
      head.querySelector("button.sort")?.addEventListener("click", () => sort(table, column, head));
    });
  }

  const extra = document.querySelector("[data-extra]");
  const columns = () => {
    const table = document.querySelector("table.sortable");
    table.classList.toggle("more", extra.checked);
    for (const head of table.querySelectorAll("[data-shown]")) {
      head.colSpan = Number(extra.checked ? head.dataset.all : head.dataset.shown);
    }
  };
  if (extra) {
    columns();
    extra.addEventListener("change", columns);
  }
  const own = document.querySelector("[data-own]");
  own?.addEventListener("change", () => document.querySelector("table.sortable").classList.toggle("own", own.checked));

  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "copied";
      } catch {
        // A page from a disk may not be let near the clipboard: the text is marked instead.
        getSelection().selectAllChildren(source);
        button.textContent = "marked: copy it";
      }
    });
  }

  // What is folded is unfolded where an address points into it.
  const unfold = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target && target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
