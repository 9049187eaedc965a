// Interactive series by uPlot: <figure class="chart" data-chart='{"x": [...], "series": [...]}'>.
// x: seconds since 1970, or steps where "steps" is true. series: {name, values, dots?}.
const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const drawn = new Map();
let loading;

function load() {
  return loading ??= new Promise((resolve, reject) => {
    const base = new URL(".", import.meta.url).pathname;
    const style = document.createElement("link");
    style.rel = "stylesheet"; style.href = base + "vendor/uplot/uPlot.min.css";
    const script = document.createElement("script");
    script.src = base + "vendor/uplot/uPlot.min.js";
    script.onload = resolve; script.onerror = reject;
    document.head.append(style, script);
  });
}

// What happened, as vertical lines; its name is written beside the line where there is room.
const drawMarks = marks => chart => {
  const { ctx, bbox } = chart, scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px system-ui`;
  ctx.textAlign = "left"; ctx.textBaseline = "alphabetic";
  let free = -Infinity;
  for (const mark of marks) {
    const x = Math.round(chart.valToPos(mark.at, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(mark.colour);
    ctx.lineWidth = scale;
    ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    const width = ctx.measureText(mark.name).width + 8 * scale;
    if (x < free || x + width > bbox.left + bbox.width) continue;
    ctx.fillText(mark.name, x + 4 * scale, bbox.top + 11 * scale);
    free = x + width;
  }
  ctx.restore();
};

// Values that are all equal have room around them; nothing but zeros goes up to 1.
const span = (_, low, high) =>
  low == null ? [null, null] : low === high ? [Math.min(low, 0), high > 0 ? high * 2 : low < 0 ? 0 : 1] : uPlot.rangeNum(low, high, 0.1, true);

// One moment stands in the middle of a day, and one step between its neighbours.
const around = room => (_, low, high) => low === high && low != null ? [low - room, high + room] : [low, high];

export function options(figure, told) {
  const axis = { stroke: colour("--ink-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui" };
  return {
    width: Math.max(figure.clientWidth, 240), height: told.height ?? 240,
    scales: { x: { time: !told.steps, ...(told.logX ? { distr: 3 } : { range: around(told.steps ? 1 : 43200) }) }, y: told.logY ? { distr: 3 } : { range: span } },
    cursor: { sync: { key: told.sync ?? "page" }, drag: { x: true, y: false } },
    hooks: { draw: told.marks?.length ? [drawMarks(told.marks)] : [] },
    bands: told.band ? [{ series: [told.band[1] + 1, told.band[0] + 1], fill: colour("--accent-soft") }] : [],
    axes: [axis, { ...axis, size: 64 }],
    series: [
      { label: told.label ?? (told.steps ? "step" : "time") },
      ...told.series.map((one, place) => ({
        label: one.name, stroke: colour(one.colour ?? COLOURS[place % COLOURS.length]), width: 1.6,
        dash: one.dash, spanGaps: true, points: { show: one.dots || told.x.length < 80, size: one.dots ? 5 : 4 },
        ...(one.dots ? { paths: () => null } : {}),
      })),
    ],
  };
}

// One table of x and of each series' values, from series that each have their own x.
export async function joined(series) {
  await load();
  const [x, ...values] = uPlot.join(series.map(one => [one.x, one.values]));
  return { x, values };
}

// A chart whose figure a redraw has taken off the page holds its data until it is destroyed.
function forgetGone() {
  for (const [figure, chart] of drawn) {
    if (figure.isConnected) continue;
    chart.destroy();
    sizes.unobserve(figure);
    drawn.delete(figure);
  }
}

export async function draw(figure, told) {
  await load();
  forgetGone();
  drawn.get(figure)?.destroy();
  figure.querySelector("table")?.setAttribute("hidden", "");
  const chart = new uPlot(options(figure, told), [told.x, ...told.series.map(one => one.values)], figure);
  drawn.set(figure, chart);
  const legend = figure.querySelector(".u-legend");
  if (legend && legend.scrollHeight > legend.clientHeight) legend.tabIndex = 0; // the keyboard scrolls it
  figure.told = told;
  sizes.observe(figure);
  return chart;
}

const sizes = new ResizeObserver(entries => {
  for (const { target } of entries) {
    const chart = drawn.get(target);
    if (chart && Math.abs(chart.width - target.clientWidth) > 4)
      chart.setSize({ width: target.clientWidth, height: chart.height });
  }
});

export function drawCharts(root) {
  for (const figure of root.querySelectorAll("figure.chart[data-chart]")) {
    if (!figure.isConnected) continue;
    if (figure.querySelector(".uplot") && figure.source === figure.dataset.chart) continue;
    figure.source = figure.dataset.chart;
    draw(figure, JSON.parse(figure.dataset.chart)).catch(() => {});
  }
}

document.addEventListener("treadle:theme", () => { for (const [figure] of drawn) if (figure.isConnected) draw(figure, figure.told); });
document.addEventListener("treadle:drawn", () => drawCharts(document));
