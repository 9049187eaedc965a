// What parameters do to a metric: importance, scatter and parallel coordinates, by Observable Plot.
import { ask, later, make, number } from "./api.js";
import { letKeysScroll } from "./keys.js";
import { keyOf } from "./run_rows.js";

const MOST_DIMENSIONS = 7;
let loading;

function script(path) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = new URL(path, import.meta.url).pathname;
    element.onload = resolve; element.onerror = reject;
    document.head.append(element);
  });
}

const load = () => loading ??= script("vendor/d3/d3.min.js").then(() => script("vendor/plot/plot.umd.min.js"));

// Plot brings a style element, which the pages' policy forbids; treadle.css has its rules.
function placed(host, label, options) {
  const made = Plot.plot({ ...options, className: "plot", style: undefined });
  const svg = made.tagName === "svg" ? made : made.querySelector("svg");
  made.querySelectorAll("style").forEach(one => one.remove());
  const links = made.querySelectorAll("a");
  svg.setAttribute("role", links.length ? "group" : "img"); svg.setAttribute("aria-label", label);
  made.querySelectorAll("g[aria-label]").forEach(one => one.removeAttribute("aria-label"));  // "dot"
  for (const link of links) {
    const named = link.querySelector("[aria-label]");
    if (named) { link.setAttribute("aria-label", named.getAttribute("aria-label")); named.removeAttribute("aria-label"); }
  }
  host.replaceChildren(made);
}

const isNumeric = (rows, field) => rows.every(row => row[field] === null || row[field] === undefined || row[field] === "" || !isNaN(row[field])) && rows.some(row => row[field]);
const valueOf = (row, field, numeric) => row[field] === null || row[field] === undefined ? null : numeric ? Number(row[field]) : String(row[field]);
const isWide = values => values.length > 2 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 50;

function scatter(host, rows, across, up, by, width) {
  const numeric = isNumeric(rows, across), coloured = by && isNumeric(rows, by);
  const points = rows.filter(row => row[up] !== null && row[across] !== null && row[across] !== undefined)
    .map(row => ({ x: valueOf(row, across, numeric), y: row[up], by: by ? valueOf(row, by, coloured) : "", name: row.name, id: row.id }));
  const log = numeric && isWide(points.map(one => one.x));
  placed(host, `${keyOf(up)} against ${keyOf(across)}`, {
    width, height: 380, marginLeft: 60, grid: true,
    x: { label: keyOf(across), type: numeric ? (log ? "log" : "linear") : "point", ...(numeric && { ticks: 5, tickFormat: number }), labelAnchor: "center" }, y: { label: keyOf(up) },
    color: by ? { label: keyOf(by), legend: true, type: coloured ? "linear" : "ordinal", scheme: coloured ? "viridis" : "observable10" } : {},
    marks: [Plot.dot(points, { x: "x", y: "y", stroke: by ? "by" : "var(--c1)", r: 3.5, href: one => `/runs/${encodeURIComponent(one.id)}`, ariaLabel: "name", channels: { run: "name" }, tip: { fill: "var(--paper)", stroke: "var(--line)" } })],
  });
}

// Each dimension from 0 to 1: numbers by value (or its logarithm), texts by their order.
function scale(rows, field) {
  const numeric = isNumeric(rows, field);
  const values = rows.map(row => valueOf(row, field, numeric)).filter(one => one !== null);
  if (!numeric) {
    const kinds = [...new Set(values)].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
    return { at: value => kinds.length > 1 ? kinds.indexOf(value) / (kinds.length - 1) : 0.5, numeric, ticks: kinds.slice(0, 12).map(kind => [kind, kind]) };
  }
  const log = isWide(values), shape = log ? Math.log : one => one;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const at = value => high > low ? (shape(value) - shape(low)) / (shape(high) - shape(low)) : 0.5;
  return { at, numeric, ticks: high > low ? [[low, number(low)], [high, number(high)]] : [[low, number(low)]] };
}

function parallel(host, rows, fields, metric, width) {
  const scales = new Map(fields.map(field => [field, scale(rows, field)]));
  const points = rows.flatMap(row => fields.map(field => {
    const { at, numeric } = scales.get(field), value = valueOf(row, field, numeric);
    return value === null ? null : { dimension: keyOf(field), at: at(value), run: row.id, name: row.name, metric: row[metric], value: typeof value === "number" ? number(value) : value };
  }).filter(Boolean));
  const ticks = fields.flatMap(field => scales.get(field).ticks.map(([value, label]) => ({ dimension: keyOf(field), at: scales.get(field).at(value), label })));
  placed(host, `Parallel coordinates of ${rows.length} runs`, {
    width, height: 420, marginLeft: 50, marginRight: 70, marginTop: 34, marginBottom: 24,
    x: { type: "point", domain: fields.map(keyOf), axis: "top", label: null, padding: 0.1 }, y: { axis: null, domain: [0, 1] },
    color: { type: "linear", scheme: "viridis", legend: true, label: keyOf(metric) },
    marks: [
      Plot.ruleX(fields.map(keyOf), { stroke: "var(--line)" }),
      Plot.line(points, { x: "dimension", y: "at", z: "run", stroke: "metric", strokeWidth: 1.2, strokeOpacity: Math.max(0.15, Math.min(0.8, 40 / rows.length)), curve: "bump-x" }),
      Plot.text(ticks, { x: "dimension", y: "at", text: "label", dx: 6, textAnchor: "start", fill: "currentColor", stroke: "var(--paper)", strokeWidth: 3 }),
      Plot.tip(points, Plot.pointer({ x: "dimension", y: "at", channels: { run: "name", value: "value" }, format: { y: false }, fill: "var(--paper)", stroke: "var(--line)" })),
    ],
  });
}

function importances(host, found) {
  if (!found.length) { host.replaceChildren(make("p", { class: "dim" }, "Parameters that differ between runs which have this metric are ranked here.")); return; }
  const line = one => make("tr", {}, make("td", {}, one.param),
    make("td", {}, make("meter", { class: "meter", min: 0, max: 1, value: one.share, "aria-label": `Share of ${one.param}` })),
    make("td", { class: "n" }, one.share.toFixed(2)), make("td", { class: "n" }, one.correlation === null ? "–" : one.correlation.toFixed(2)));
  host.replaceChildren(make("div", { class: "wide" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", {}, "parameter"), make("th", {}, "importance"), make("th", { class: "n" }, "share"), make("th", { class: "n" }, "correlation"))),
    make("tbody", {}, ...found.slice(0, 30).map(line)))));
}

function select(label, fields, value, changed, none) {
  const options = [...(none ? [""] : []), ...fields].map(one => make("option", { value: one, selected: one === value }, one || none));
  const element = make("select", {}, ...options);
  element.addEventListener("change", () => changed(element.value));
  return make("label", {}, `${label} `, element);
}

export async function explore(host, rows, address, filter) {
  const metric = rows.metrics.includes(address.one("metric")) ? address.one("metric") : rows.metrics[0];
  if (!metric || !rows.params.length) { host.replaceChildren(make("p", { class: "empty" }, "Runs with parameters and metrics are compared here: run.log_params({'depth': 3}); run.log(loss=0.5).")); return; }
  const [found] = await Promise.all([ask("tracking/importance", { experiments: rows.experiments, metric: keyOf(metric), filter }), load()]);
  const again = (name, value) => { address.set(name, value); explore(host, rows, address, filter); };
  const ranked = [...found.map(one => rows.params.find(field => keyOf(field) === one.param)).filter(Boolean)];
  const others = [...ranked, ...rows.params.filter(one => !ranked.includes(one))];
  const across = address.one("across") || others[0], by = address.one("by");
  const dimensions = others.slice(0, MOST_DIMENSIONS);
  await rows.need([metric, across, ...dimensions, ...(by ? [by] : [])]);
  const kept = rows.rows.filter(row => typeof row[metric] === "number");
  const bars = make("div", {}), dots = make("figure", { class: "plotted" }), lines = make("figure", { class: "plotted" });
  host.replaceChildren(
    make("div", { class: "bar" }, select("Metric", rows.metrics, metric, value => again("metric", value)), make("span", { class: "dim small" }, `${kept.length.toLocaleString()} runs have it.`)),
    make("div", { class: "columns" },
      make("div", {}, make("h2", {}, "What matters"), make("p", { class: "dim small" }, "The share of the differences in the metric that each parameter explains by itself, less what chance explains; and the rank correlation."), bars),
      make("div", {}, make("h2", {}, "One parameter"), make("div", { class: "bar" }, select("Across", [...rows.params, ...rows.metrics], across, value => again("across", value)), select("coloured by", [...rows.params, ...rows.metrics], by, value => again("by", value), "nothing")), dots)),
    make("h2", {}, "All together"), make("p", { class: "dim small" }, "Each line is a run; its colour is the metric."), lines);
  importances(bars, found);
  letKeysScroll(host);
  const draw = () => {
    scatter(dots, kept, across, metric, by, Math.max(dots.clientWidth, 280));
    parallel(lines, kept.slice(0, 2_000), [...dimensions, metric], metric, Math.max(lines.clientWidth, 60 * dimensions.length, 320));
  };
  draw();
  host.resized ??= (addEventListener("resize", later(() => host.redraw(), 200)), true);
  host.redraw = () => { if (dots.isConnected && dots.clientWidth) draw(); };
}
