// The page of an experiment: what is shown is what its address says.
import { later, make } from "./api.js";
import { call } from "./actions.js";
import { Address } from "./address.js";
import { drawNow } from "./live.js";
import { completes } from "./completing.js";
import { csvOf, save } from "./tables.js";
import { ATTRIBUTES, keyOf, RunRows } from "./run_rows.js";
import { columnsOf, runsTable } from "./runs_table.js";

const host = document.getElementById("runs"), get = id => document.getElementById(id);
const experiment = Number(host.dataset.experiment), project = host.dataset.project;
const rows = new RunRows([experiment]);
const address = new Address(() => location.reload());
const AS_MANY = 20, SHOWN_METRICS = 6, SHOWN_PARAMS = 8;
let table = null, chosen = address.all("run");

const shown = () => address.has("column")
  ? address.all("column").filter(one => rows.fields.includes(one))
  : [...rows.metrics.filter(one => !keyOf(one).startsWith("system/")).slice(0, SHOWN_METRICS), ...rows.params.slice(0, SHOWN_PARAMS)];
const pinned = () => address.all("pin").filter(one => rows.fields.includes(one));
const columns = () => [...new Set([...pinned(), ...shown()])];
const group = () => address.one("group");
const tab = () => address.one("tab", "runs");
const order = () => address.all("order");
// Orders of the search language as the table has them, and back.
const ATTRIBUTE = { name: "run_name", status: "status", started: "start_time", user: "user_id" };
const asSort = text => {
  const field = text.replace(/\s+(ASC|DESC)$/i, "");
  const column = Object.keys(ATTRIBUTE).find(one => ATTRIBUTE[one] === field) ?? field;
  return { column, dir: /DESC$/i.test(text) ? "desc" : "asc" };
};
const asOrder = ({ column, dir }) => `${ATTRIBUTE[column] ?? column}${dir === "desc" ? " DESC" : ""}`;

function count() {
  const found = rows.rows.length.toLocaleString();
  get("count").textContent = rows.more ? `The first ${found} runs; a narrower filter shows others.` : `${found} run${rows.rows.length === 1 ? "" : "s"}`;
  const filter = get("filter").value.trim();
  const given = `experiments=[${experiment}]${filter ? `, filter=${JSON.stringify(filter)}` : ""}${order().length ? `, order=${JSON.stringify(order())}` : ""}`;
  get("as-code").textContent = `treadle.connect("${location.origin}").tracking.search(${given})\nGET /api/v1/tracking/search?${new URLSearchParams({ experiments: `[${experiment}]`, ...(filter && { filter }) })}`;
}

function selected(ids) {
  chosen = ids;
  address.set("run", ids.length <= AS_MANY ? ids : []);
  get("chosen").textContent = ids.length ? `${ids.length} chosen` : "";
  get("compare").disabled = ids.length < 2 || ids.length > AS_MANY;
  get("delete-runs").disabled = !ids.length || !get("delete-runs").dataset.may;
}

const sorted = later(sorters => {
  const now = sorters.filter(one => one.column !== "took").map(asOrder);
  if (now.join() === order().join()) return;
  address.set("order", now);
  if (rows.more) search(); else count();
}, 50);

async function build() {
  table?.destroy();
  const empty = rows.rows.length || get("filter").value ? "No run satisfies this filter." : "No run yet. A run that is started in this experiment appears here.";
  table = await runsTable(get("table"), { fields: columns(), pinned: pinned(), group: group(), sort: order().map(asSort), chosen, sorted, selected, empty });
  await fill();
}

async function fill() {
  const kept = chosen;
  await table.replaceData(rows.rows.map(row => ({ ...row })));
  chosen = kept;
  table.selectRow(kept.filter(id => rows.byId.has(id)));
}

async function show() {
  document.querySelectorAll("[data-tab]").forEach(link => link.dataset.tab === tab() ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));
  host.querySelectorAll("[data-of]").forEach(part => { part.hidden = part.dataset.of !== tab(); });
  if (tab() === "runs") await (table ? fill() : build());
  const marked = chosen.length ? rows.rows.filter(row => chosen.includes(row.id)) : rows.rows;
  if (tab() === "charts") {
    const { runCharts } = await import("./run_charts.js");
    const some = marked.slice(0, AS_MANY);
    get("charted").textContent = chosen.length
      ? `The ${some.length} chosen runs.` : `The first ${some.length} of ${rows.rows.length.toLocaleString()} runs. Choose runs in the table to chart others.`;
    await runCharts(get("charts"), some, rows.keys.metrics, address);
  }
  if (tab() === "explore") {
    const { explore } = await import("./explore.js");
    await explore(get("explore"), rows, address, get("filter").value);
  }
}

async function search() {
  const filter = get("filter").value;
  address.set("filter", filter);
  try {
    await rows.search(filter, order(), [...columns(), ...(rows.fields.includes(group()) ? [group()] : [])], show);
    get("filter-says").textContent = ""; get("filter").removeAttribute("aria-invalid");
    count();
    await show();
  } catch (error) {
    if (error.name === "AbortError") return;
    get("filter-says").textContent = error.message; get("filter").setAttribute("aria-invalid", "true");
  }
}

function choose() {
  const dialog = get("chooser"), choices = dialog.querySelector(".choices"), find = dialog.querySelector("input[type=search]");
  const now = new Set(shown()), pins = new Set(pinned());
  const line = field => {
    const box = make("input", { type: "checkbox", checked: now.has(field) }), pin = make("input", { type: "checkbox", checked: pins.has(field) });
    box.addEventListener("change", () => now[box.checked ? "add" : "delete"](field));
    pin.addEventListener("change", () => pins[pin.checked ? "add" : "delete"](field));
    return make("div", { class: "row", "data-field": field }, make("label", {}, box, " ", field), make("label", { class: "dim small" }, pin, " pin"));
  };
  const fill = () => choices.replaceChildren(...rows.fields.filter(one => one.toLowerCase().includes(find.value.toLowerCase())).slice(0, 1_000).map(line));
  find.value = ""; find.oninput = fill; fill();
  dialog.querySelectorAll("[data-all]").forEach(button => button.onclick = () => {
    for (const one of choices.children) now[button.dataset.all ? "add" : "delete"](one.dataset.field);
    fill();
  });
  dialog.onclose = async () => {
    address.set("column", rows.fields.filter(one => now.has(one)).concat(now.size ? [] : ["none"]));
    address.set("pin", [...pins]);
    await rows.need(columns());
    await build();
  };
  dialog.showModal();
}

function csv() {
  const shown = columnsOf(columns(), pinned()).filter(one => one.title);
  const value = (row, field) => field === "started" ? new Date(row.started).toISOString() : row[field] ?? "";
  save(`${project}-runs.csv`, csvOf([["id", ...shown.map(one => one.field)], ...table.getRows("active").map(row => [row.getData().id, ...shown.map(one => value(row.getData(), one.field))])]));
}

async function start() {
  await rows.readKeys();
  completes(get("filter"), () => [...rows.fields, ...ATTRIBUTES]);
  get("group").append(...["status", "user", ...rows.params, ...rows.tags].map(one => make("option", { value: one, selected: one === group() }, one)));
  get("filter").addEventListener("input", later(search, 250));
  get("group").addEventListener("change", async () => {
    address.set("group", get("group").value);
    if (rows.fields.includes(group())) await rows.need([group()]);
    await build();
  });
  get("columns").addEventListener("click", choose);
  get("csv").addEventListener("click", csv);
  get("compare").addEventListener("click", () => { location.href = `/compare?${new URLSearchParams({ runs: chosen.join(",") })}`; });
  get("delete-runs").addEventListener("click", async () => {
    if (!confirm(`Delete ${chosen.length} run${chosen.length === 1 ? "" : "s"}? They can be restored.`)) return;
    for (const run of chosen) await call("tracking/delete_run", { run });
    selected([]); await search();
  });
  get("save-view").addEventListener("submit", async event => {
    event.preventDefault();
    const form = event.target, says = form.querySelector("output");
    try {
      await call("views/save", { name: form.elements.name.value, project, experiments: [experiment], filter: get("filter").value, order: order(), columns: columns() });
      says.textContent = "Saved."; form.reset();
      await drawNow();
    } catch (error) { says.textContent = error.message; }
  });
  document.querySelectorAll("[data-tab]").forEach(link => link.addEventListener("click", event => {
    event.preventDefault();
    address.set("tab", link.dataset.tab, { step: true });
    show();
  }));
  await search();
  document.addEventListener("treadle:drawn", later(() => { if (!document.querySelector("dialog[open]")) search(); }, 500));
}

start().catch(error => { get("count").textContent = ""; get("filter-says").textContent = error.message; });
