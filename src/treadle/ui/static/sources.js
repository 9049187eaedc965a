// Charts of what the API answers: <figure class="chart" data-source="monitoring/traffic?…">, with the
// fields that are drawn, the field that they are drawn over, and the fields that name a series.
import { drawCharts } from "./charts.js";

const FRESH_MS = 30_000;
const answers = new Map();

function ask(source) {
  if (!answers.has(source)) {
    answers.set(source, fetch(`/api/v1/${source}`).then(async answer => {
      const result = await answer.json();
      if (!answer.ok) throw new Error(result.message ?? `The server answered ${answer.status}.`);
      return result;
    }).finally(() => setTimeout(() => answers.delete(source), 2000)));
  }
  return answers.get(source);
}

export function chartOf(rows, { fields, by, over }) {
  const named = by ? by.split(",") : [], drawn = fields.split(",");
  const x = [...new Set(rows.map(row => Date.parse(row[over]) / 1000))].sort((a, b) => a - b);
  const place = new Map(x.map((at, index) => [at, index])), lines = new Map();
  for (const row of rows) {
    const who = named.map(field => row[field]).join(" ");
    for (const field of drawn) {
      const name = [who, drawn.length > 1 ? field.replaceAll("_", " ") : ""].filter(Boolean).join(" ") || field.replaceAll("_", " ");
      if (!lines.has(name)) lines.set(name, { name, values: x.map(() => null) });
      lines.get(name).values[place.get(Date.parse(row[over]) / 1000)] = row[field];
    }
  }
  return { x, series: [...lines.values()].sort((a, b) => a.name.localeCompare(b.name)), height: 200 };
}

function fetchInto(figure) {
  const says = figure.querySelector("[role=status]");
  const tell = text => { says.textContent = text; says.hidden = false; };
  figure.asked = figure.dataset.source;
  figure.askedAt = Date.now();
  ask(figure.dataset.source).then(rows => {
    if (!rows.length) { tell("Nothing in this period."); return; }
    says.hidden = true;
    figure.dataset.chart = JSON.stringify(chartOf(rows, figure.dataset));
    drawCharts(document);
  }).catch(error => tell(error.message));
}

// Asks for what another source is drawn from, and again when it is no longer fresh.
export function drawSources(root) {
  for (const figure of root.querySelectorAll("figure.chart[data-source]")) {
    if (!figure.isConnected) continue;
    if (figure.asked !== figure.dataset.source || Date.now() - figure.askedAt > FRESH_MS) fetchInto(figure);
  }
}

document.addEventListener("treadle:drawn", () => drawSources(document));
