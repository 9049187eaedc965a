// Metrics of runs over their steps or times, one chart for each metric, all with one crosshair.
import { ask, later, make } from "./api.js";
import { draw, joined } from "./charts.js";

const FIRST = 8, POINTS = 800;

// An exponential moving average that is not drawn towards its first value.
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0, mass = 0;
  return values.map(value => {
    if (value === null) return null;
    sum = sum * weight + value * (1 - weight);
    mass = mass * weight + (1 - weight);
    return sum / mass;
  });
}

const AXES = {
  step: { label: "step", steps: true, x: one => one.steps },
  took: { label: "minutes since the start", steps: true, x: (one, run) => one.seconds.map(at => (at * 1000 - run.started) / 60_000) },
  time: { label: "time", steps: false, x: one => one.seconds },
};

// uPlot wants x in order, each once; runs that go back in time are put in order.
function ordered(x, values) {
  const places = x.map((_, place) => place).sort((a, b) => x[a] - x[b]);
  const kept = places.filter((place, at) => at === 0 || x[place] !== x[places[at - 1]]);
  return { x: kept.map(place => x[place]), values: kept.map(place => values[place]) };
}

async function chart(figure, key, runs, state) {
  const found = await ask("tracking/chart", { runs: runs.map(run => run.id), key, points: POINTS });
  const there = found.map((one, place) => ({ one, run: runs[place] })).filter(({ one }) => one.points);
  figure.redraw = async () => {
    const axis = AXES[state.x] ?? AXES.step;
    const series = there.map(({ one, run }) => ordered(axis.x(one, run), smoothed(one.values, state.smooth)));
    if (!series.length) { figure.replaceChildren(make("p", { class: "dim" }, "None of these runs has it.")); return; }
    const { x, values } = await joined(series);
    const shown = state.logY ? values.map(one => one.map(value => value > 0 ? value : null)) : values;
    const told = { x, series: shown.map((one, place) => ({ name: there[place].run.name, values: one })), height: 260, label: axis.label };
    await draw(figure, { ...told, steps: axis.steps, logY: state.logY, logX: state.logX && axis.steps && x[0] > 0, sync: "runs" });
  };
  await figure.redraw();
}

function controls(state, address, changed) {
  const write = () => {
    address.set("x", state.x === "step" ? "" : state.x); address.set("smooth", state.smooth || "");
    address.set("log", [state.logX && "x", state.logY && "y"].filter(Boolean)); changed();
  };
  const slider = make("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: state.smooth });
  const shown = make("output", {}, state.smooth.toFixed(2));
  const soon = later(write, 60);
  slider.addEventListener("input", () => { state.smooth = Number(slider.value); shown.textContent = state.smooth.toFixed(2); soon(); });
  const over = make("select", {}, ...Object.entries(AXES).map(([name, axis]) => make("option", { value: name, selected: name === state.x }, axis.label)));
  over.addEventListener("change", () => { state.x = over.value; write(); });
  const log = (name, label) => {
    const box = make("input", { type: "checkbox", checked: state[name] });
    box.addEventListener("change", () => { state[name] = box.checked; write(); });
    return make("label", {}, box, ` ${label}`);
  };
  return [make("label", {}, "Smoothing ", slider, " ", shown), make("label", {}, "over ", over), log("logX", "log x"), log("logY", "log y")];
}

export async function runCharts(host, runs, metrics, address) {
  const state = {
    x: address.one("x", "step"), smooth: Math.min(Math.max(Number(address.one("smooth", 0)) || 0, 0), 0.99),
    logX: address.all("log").includes("x"), logY: address.all("log").includes("y"), find: address.one("metric-find"), most: FIRST,
  };
  const find = make("input", { type: "search", value: state.find, placeholder: "Find a metric", "aria-label": "Find a metric" });
  const grid = make("div", { class: "columns" }), more = make("button", { type: "button" }, "Show more metrics");
  const redraw = () => grid.querySelectorAll("figure").forEach(figure => figure.redraw?.());
  const fill = () => {
    const fitting = metrics.filter(key => key.toLowerCase().includes(state.find.toLowerCase()));
    const blocks = fitting.slice(0, state.most).map(key => {
      const figure = make("figure", { class: "chart", "aria-label": `${key} of ${runs.length} runs` });
      chart(figure, key, runs, state).catch(error => figure.replaceChildren(make("p", { class: "bad" }, error.message)));
      return make("div", {}, make("h3", {}, key), figure);
    });
    grid.replaceChildren(...(blocks.length ? blocks : [make("p", { class: "dim" }, metrics.length ? "No metric has such a name." : "These runs have logged no metric. run.log(loss=0.5) logs one.")]));
    more.hidden = fitting.length <= state.most;
  };
  find.addEventListener("input", later(() => { state.find = find.value; address.set("metric-find", find.value); fill(); }, 200));
  more.addEventListener("click", () => { state.most += 24; fill(); });
  const hint = make("span", { class: "dim small" }, "Drag to zoom, double-click to see all.");
  host.replaceChildren(make("div", { class: "bar" }, find, ...controls(state, address, redraw), hint), grid, more);
  fill();
}
