// The pages of one run and of several: charts, previews of files, notes.
import { make } from "./api.js";
import { call } from "./actions.js";
import { Address } from "./address.js";
import { drawNow } from "./live.js";
import { runCharts } from "./run_charts.js";

const LARGEST = 20_000_000, MOST_TEXT = 200_000, MOST_ROWS = 200;
const TYPES = { svg: "image/svg+xml", png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", wav: "audio/wav", mp3: "audio/mpeg", ogg: "audio/ogg", flac: "audio/flac", mp4: "video/mp4", webm: "video/webm" };

async function content(path, name) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.json()).message ?? `The server answered ${answer.status}.`);
  return new Blob([await answer.blob()], { type: TYPES[name.split(".").pop().toLowerCase()] ?? "" });
}

// A line of CSV may be within quotes; a field's quotes are doubled.
export function csvRows(text, separator) {
  const rows = [[]];
  const field = new RegExp(`("(?:[^"]|"")*"|[^${separator}\\r\\n]*)(${separator}|\\r?\\n|\\r|$)`, "gy");
  for (let found; rows.length <= MOST_ROWS + 1 && (found = field.exec(text)) && field.lastIndex <= text.length;) {
    const value = found[1].startsWith('"') ? found[1].slice(1, -1).replaceAll('""', '"') : found[1];
    rows.at(-1).push(value);
    if (found[2] === separator) continue;
    if (found[2] === "" || field.lastIndex >= text.length) break;
    rows.push([]);
  }
  return rows.filter(row => row.length > 1 || row[0] !== "");
}

function table(rows) {
  const [head, ...body] = rows;
  const cells = (row, name) => make("tr", {}, ...row.map(value => make(name, {}, String(value ?? ""))));
  return [make("div", { class: "wide tall" }, make("table", {}, make("thead", {}, cells(head ?? [], "th")), make("tbody", {}, ...body.slice(0, MOST_ROWS).map(row => cells(row, "td"))))),
    make("p", { class: "dim small" }, body.length > MOST_ROWS ? `The first ${MOST_ROWS} rows.` : `${body.length} rows.`)];
}

function textual(text, name) {
  if (/\.json$/i.test(name)) {
    try {
      const value = JSON.parse(text);
      if (Array.isArray(value?.columns) && Array.isArray(value?.data)) return table([value.columns, ...value.data]);
      return [make("pre", {}, JSON.stringify(value, null, 2).slice(0, MOST_TEXT))];
    } catch { /* it is shown as it is */ }
  }
  return [make("pre", {}, text.slice(0, MOST_TEXT)), ...(text.length > MOST_TEXT ? [make("p", { class: "dim" }, "Only the beginning is shown.")] : [])];
}

async function preview(host) {
  const { kind, path, name } = host.dataset;
  if (kind === "file" || Number(host.dataset.bytes) > LARGEST) {
    host.replaceChildren(make("p", { class: "dim" }, kind === "file" ? "Files of this kind are not shown here. Download it." : "It is too large to be shown here. Download it."));
    return;
  }
  const blob = await content(path, name), url = URL.createObjectURL(blob);
  if (kind === "image") host.replaceChildren(make("img", { src: url, alt: name }));
  else if (kind === "audio") host.replaceChildren(make("audio", { src: url, controls: true }));
  else if (kind === "video") host.replaceChildren(make("video", { src: url, controls: true }));
  else if (kind === "csv") host.replaceChildren(...table(csvRows(await blob.text(), /\.tsv$/i.test(name) ? "\t" : ",")));
  else host.replaceChildren(...textual(await blob.text(), name));
}

const charts = document.getElementById("run-charts");
if (charts) runCharts(charts, JSON.parse(charts.dataset.runs), JSON.parse(charts.dataset.metrics), new Address(() => location.reload()));

const shown = document.getElementById("preview");
if (shown) preview(shown).catch(error => shown.replaceChildren(make("p", { class: "bad" }, error.message)));

for (const image of document.querySelectorAll("#gallery img"))
  content(image.dataset.path, image.dataset.name).then(blob => { image.src = URL.createObjectURL(blob); }).catch(() => image.closest("a").remove());

document.addEventListener("submit", async event => {
  const form = event.target.closest("#write-note");
  if (!form) return;
  event.preventDefault();
  const says = form.querySelector("output");
  try {
    await call("tracking/log", { run: form.dataset.run, tags: { "mlflow.note.content": form.elements.note.value } });
    says.textContent = "Kept.";
    await drawNow(form);
  } catch (error) { says.className = "bad"; says.textContent = error.message; }
});
