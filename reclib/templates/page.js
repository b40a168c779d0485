if (matchMedia("(max-width: 70rem)").matches) document.querySelector("nav.contents details")?.removeAttribute("open");
const plain = (cell) => cell.dataset.sort ?? cell.textContent.trim();
const amount = (text) => Number(text.replace(/[,\s<>]/g, "").replace("\u2212", "-").replace(/[^0-9.eE+-].*$/, "") || NaN);
function order(body, column, sign) {
  const rows = [...body.rows].map((row) => [row, plain(row.cells[column])]);
  const numeric = rows.every(([, text]) => text === "" || !Number.isNaN(amount(text)));
  const compare = (a, b) => (numeric ? amount(a) - amount(b) : a.localeCompare(b));
  rows.sort(([, a], [, b]) => (a === "" || b === "" ? (a === "") - (b === "") : sign * compare(a, b)));
  body.append(...rows.map(([row]) => row));
}
for (const table of document.querySelectorAll("main table")) {
  const heads = table.tHead?.rows.length === 1 && table.tBodies[0]?.rows.length > 1 ? [...table.tHead.rows[0].cells] : [];
  for (const [column, head] of heads.entries()) {
    if (!head.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      order(table.tBodies[0], column, up ? 1 : -1);
    });
  }
}
