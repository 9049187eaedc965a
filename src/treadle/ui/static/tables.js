// Tables of <table data-table="name">: sorted by a click on a heading, saved as CSV.
const text = cell => cell?.dataset.value ?? cell?.querySelector("time")?.dateTime ?? cell?.innerText.trim() ?? "";
const quoted = value => /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
// A cell that a spreadsheet would take for a formula is told to be text.
const harmless = value => /^[=+\-@\t\r]/.test(value) && isNaN(value) ? `'${value}` : value;

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

function sort(table, place, heading) {
  const body = table.tBodies[0], rows = [...body.rows];
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keys = new Map(rows.map(row => [row, text(row.cells[place])]));
  const numbers = rows.every(row => keys.get(row) === "" || keys.get(row) === "–" || !isNaN(keys.get(row)));
  const order = numbers
    ? (a, b) => (parseFloat(keys.get(a)) || 0) - (parseFloat(keys.get(b)) || 0)
    : (a, b) => keys.get(a).localeCompare(keys.get(b), undefined, { numeric: true });
  body.append(...rows.sort((a, b) => (up ? order(a, b) : order(b, a))));
}

export function makeTablesSortable(root) {
  for (const table of root.querySelectorAll("table[data-table]")) {
    if (!table.tHead || table.dataset.prepared) continue;
    table.dataset.prepared = "yes";
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, place, heading));
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
    if (!input.dataset.prepared) {
      input.dataset.prepared = "yes";
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
