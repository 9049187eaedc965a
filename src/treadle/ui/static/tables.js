// Tables of <table data-table="name">: sorted by a click on a heading, saved as CSV.
const text = cell => cell?.dataset.value ?? cell?.querySelector("time")?.dateTime ?? cell?.innerText.trim() ?? "";
const quoted = value => /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
// A cell that a spreadsheet would take for a formula is told to be text: so is each line of it, as
// a reader that knows no quotes takes a line break for the end of a row.
const harmless = value => isNaN(value) ? value.replace(/^(?=[=+\-@\t\r])|(?<=[\r\n])(?=[=+\-@\t])/g, "'") : value;

export function csvOf(rows) {
  return rows.map(row => row.map(one => quoted(harmless(String(one)))).join(",")).join("\r\n") + "\r\n";
}

export function save(name, content, type = "text/csv") {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function sort(table, place, direction) {
  const body = table.tBodies[0], rows = [...body.rows], up = direction === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[place].setAttribute("aria-sort", direction);
  const keys = new Map(rows.map(row => [row, text(row.cells[place])]));
  const numbers = rows.every(row => keys.get(row) === "" || keys.get(row) === "–" || !isNaN(keys.get(row)));
  const order = numbers
    ? (a, b) => (parseFloat(keys.get(a)) || 0) - (parseFloat(keys.get(b)) || 0)
    : (a, b) => keys.get(a).localeCompare(keys.get(b), undefined, { numeric: true });
  body.append(...rows.sort((a, b) => (up ? order(a, b) : order(b, a))));
}

// Tables by their name and their place among those of the same name.
function tablesOf(root) {
  const found = new Map(), counts = new Map();
  for (const table of root.querySelectorAll("table[data-table]")) {
    const name = table.dataset.table, count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    found.set(`${count} ${name}`, table);
  }
  return found;
}

// Sorts the tables of a new drawing of the page as its reader has sorted those of the one before.
export function sortAlike(now, next) {
  const before = tablesOf(now);
  for (const [key, table] of tablesOf(next)) {
    const heading = before.get(key)?.tHead?.querySelector("[aria-sort]");
    if (!heading || !table.tBodies.length) continue;
    const place = heading.cellIndex;
    if (table.tHead?.rows[0].cells[place]?.textContent.trim() === heading.textContent.trim())
      sort(table, place, heading.getAttribute("aria-sort"));
  }
}

export function makeTablesSortable(root) {
  for (const table of root.querySelectorAll("table[data-table]")) {
    if (!table.tHead || table.dataset.prepared) continue;
    table.dataset.prepared = "yes";
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if (!heading.textContent.trim()) return;  // a column of buttons
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () =>
        sort(table, place, heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"));
    });
    const button = document.createElement("button");
    button.type = "button"; button.className = "quiet csv"; button.textContent = "CSV";
    button.title = "Save this table as CSV";
    button.addEventListener("click", () => {
      const rows = [...table.rows].map(row => [...row.cells].map(text));
      save(`${table.dataset.table}.csv`, csvOf(rows));
    });
    (table.closest(".wide") ?? table).after(button);
  }
}

// <input data-narrows="name"> shows the rows of a table that have what is typed, and keeps it in the address.
export function narrowTables(root) {
  for (const input of root.querySelectorAll("input[data-narrows]")) {
    const narrow = () => {
      const asked = input.value.toLowerCase(), table = document.querySelector(`table[data-table="${input.dataset.narrows}"]`);
      for (const row of table?.tBodies[0].rows ?? []) row.hidden = !row.textContent.toLowerCase().includes(asked);
    };
    if (!input.prepared) {
      input.prepared = true;
      input.value ||= new URLSearchParams(location.search).get("find") ?? "";
      input.addEventListener("input", () => {
        const address = new URL(location);
        if (input.value) address.searchParams.set("find", input.value); else address.searchParams.delete("find");
        history.replaceState(null, "", address);
        narrow();
      });
    }
    if (input.value) narrow();
  }
}
document.addEventListener("treadle:drawn", () => narrowTables(document));
