// What all pages do: themes, keys, times in the reader's zone, commands, and drawing again.
import { showTimes } from "./times.js";
import { letKeysScroll, listenToKeys } from "./keys.js";
import { follow } from "./live.js";
import { listenToActions } from "./actions.js";
import { redirectOldLinks } from "./old_links.js";
import { makeTablesSortable, narrowTables } from "./tables.js";
import { drawCharts } from "./charts.js";
import { drawSources } from "./sources.js";
import { listenToTrials } from "./trial.js";
import { followLogs } from "./logs.js";

document.getElementById("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", dark ? "light" : "dark"); } catch { /* it holds for this page */ }
  document.dispatchEvent(new CustomEvent("treadle:theme"));
});

export function prepare(root) {
  showTimes(root);
  makeTablesSortable(root);
  drawCharts(root);
  drawSources(root);
  followLogs(root);
}

redirectOldLinks();
prepare(document);
narrowTables(document);
listenToKeys();
// Sizes are known of what is on the page, and change with it.
letKeysScroll(document);
addEventListener("resize", () => letKeysScroll(document));
document.addEventListener("treadle:drawn", () => letKeysScroll(document));
listenToActions();
listenToTrials();
follow(prepare);
