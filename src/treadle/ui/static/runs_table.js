// The table of runs, by Tabulator: only what is in sight is drawn.
import { TabulatorFull as Tabulator } from "./vendor/tabulator/tabulator_esm.min.mjs";
import { make, number } from "./api.js";
import { keyOf } from "./run_rows.js";

const GOOD = { finished: "good", failed: "bad", killed: "bad", running: "wait", scheduled: "wait" };
const moment = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
const MANY_COLUMNS = 60;

export function duration(milliseconds) {
  if (milliseconds === null || isNaN(milliseconds)) return "";
  const s = Math.round(milliseconds / 1000);
  if (s < 60) return s < 10 ? `${(milliseconds / 1000).toFixed(1)} s` : `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}

const text = value => make("span", {}, value ?? "");
const shows = call => cell => call(cell.getValue(), cell.getData());
const titled = cell => text(cell.getValue());

const numeric = (a, b) => {
  const [x, y] = [parseFloat(a), parseFloat(b)];
  if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || String(a ?? "").localeCompare(String(b ?? ""));
  return x - y;
};

function attributes() {
  return [
    { formatter: "rowSelection", titleFormatter: "rowSelection", field: "chosen", frozen: true, width: 42, minWidth: 42, headerSort: false, hozAlign: "center", resizable: false },
    { title: "name", field: "name", frozen: true, width: 190, titleFormatter: titled, formatter: shows((value, row) => make("a", { href: `/runs/${encodeURIComponent(row.id)}` }, value)) },
    { title: "state", field: "status", width: 96, titleFormatter: titled, formatter: shows(value => make("span", { class: `chip ${GOOD[value] ?? ""}` }, value)) },
    { title: "started", field: "started", width: 170, titleFormatter: titled, formatter: shows(value => make("time", { datetime: new Date(value).toISOString(), title: new Date(value).toISOString() }, moment.format(value))) },
    { title: "took", field: "took", width: 120, hozAlign: "right", titleFormatter: titled, mutator: (_, row) => row.ended === null ? null : row.ended - row.started, formatter: shows(value => text(duration(value))) },
    { title: "user", field: "user", width: 90, titleFormatter: titled, formatter: shows(text) },
  ];
}

function column(field, pinned) {
  const metric = field.startsWith("metrics."), kind = field.slice(0, field.indexOf("."));
  return {
    title: keyOf(field), field, frozen: pinned, minWidth: 90, width: Math.min(Math.max(110, 9 * keyOf(field).length + 40), 220),
    hozAlign: metric ? "right" : "left", headerHozAlign: metric ? "right" : "left", cssClass: kind, sorter: numeric,
    titleFormatter: titled, headerTooltip: () => text(field), formatter: shows(value => text(metric ? number(value) : value)),
  };
}

export function columnsOf(fields, pinned) {
  const [rest, first] = [fields.filter(one => !pinned.includes(one)), pinned];
  const [choice, name, ...others] = attributes();
  return [choice, name, ...first.map(field => column(field, true)), ...others, ...rest.map(field => column(field, false))];
}

// Tabulator makes its frame the grid and lets the keyboard reach a nameless child of it, which is
// nothing that a grid may hold: the scrolled child is the grid instead, and owns the headings.
function nameGrid(host) {
  const [heading, scrolled] = [".tabulator-header", ".tabulator-tableholder"].map(one => host.querySelector(one));
  heading.id = "runs-heading";
  scrolled.setAttribute("role", "grid");
  scrolled.setAttribute("aria-label", "Runs");
  scrolled.setAttribute("aria-owns", `${heading.id} ${host.getAttribute("aria-owns")}`);
  host.removeAttribute("role");
  host.removeAttribute("aria-owns");
}

export function runsTable(host, { fields, pinned, group, sort, chosen, sorted, selected, empty }) {
  const table = new Tabulator(host, {
    data: [], index: "id", height: Math.max(320, innerHeight - 330), layout: "fitData", nestedFieldSeparator: false,
    columns: columnsOf(fields, pinned), renderHorizontal: fields.length > MANY_COLUMNS ? "virtual" : "basic",
    selectableRows: "highlight", selectableRowsPersistence: true, movableColumns: true, placeholder: empty,
    initialSort: sort, groupBy: group || false, groupStartOpen: true, columnDefaults: { headerSortTristate: true },
    groupHeader: (value, count) => make("span", {}, make("b", {}, value ?? "none"), make("span", { class: "dim" }, ` ${count} run${count === 1 ? "" : "s"}`)),
  });
  return new Promise(resolve => table.on("tableBuilt", () => {
    nameGrid(host);
    table.on("rowSelectionChanged", rows => selected(rows.map(row => row.id)));
    table.on("dataSorted", sorters => sorted(sorters.map(one => ({ column: one.field, dir: one.dir }))));
    table.choose = () => table.selectRow(chosen.filter(id => table.getRow(id)));
    resolve(table);
  }));
}
