"use strict";
// Sorts the table by the column whose header is clicked. Without this script the page says the same, unsorted.
(() => {
  const table = document.getElementById("results");
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });

  const valueOf = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = Number.parseFloat(text.replaceAll(",", ""));
    return headers[column].dataset.text === undefined ? { text, number } : { text, number: NaN };
  };

  const compare = (first, second) => {
    const isFirst = !Number.isNaN(first.number), isSecond = !Number.isNaN(second.number);
    if (isFirst && isSecond) return first.number - second.number;
    return isFirst ? -1 : isSecond ? 1 : collator.compare(first.text, second.text);
  };

  const sortBy = (column) => {
    const isDown = headers[column].ariaSort === "ascending";
    const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    rows.sort((first, second) => {
      const order = compare(first.value, second.value);
      const isMissing = Number.isNaN(first.value.number) !== Number.isNaN(second.value.number);
      return isDown && !isMissing ? -order : order;
    });
    body.replaceChildren(...rows.map((entry) => entry.row));
    for (const header of headers) header.removeAttribute("aria-sort");
    headers[column].ariaSort = isDown ? "descending" : "ascending";
  };

  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(column));
    header.append(button);
  });
})();
