// Draws the page again when something has happened on the server, and keeps what its reader does.
import { isFilledIn, nameForms } from "./forms.js";
import { sortAlike } from "./tables.js";

// Before a page draws itself again it waits this long, and longer the more viewers there are.
const PAUSE_MS = 3000, PAUSE_MS_PER_VIEWER = 500;

// Draws the page again. A form that its reader is filling in stays, except one that has been sent.
export async function drawAgain(prepare, sent = null) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = document.getElementById("main"), next = page.getElementById("main");
  if (!next) return;
  prepare(next);
  sortAlike(now, next);
  nameForms(now);
  nameForms(next);
  Idiomorph.morph(now, [...next.childNodes], {
    morphStyle: "innerHTML",
    callbacks: {
      // What a script has drawn stays as it is; so does what its reader has opened or typed.
      beforeNodeMorphed: (old, next) => {
        if (old.nodeType !== 1 || next.nodeType !== 1) return true;
        if (old.matches("figure.chart")) {
          for (const key of ["chart", "source"]) if (next.dataset[key]) old.dataset[key] = next.dataset[key];
          return false;
        }
        if (old.hasAttribute("data-kept")) return false;
        return old === sent || sent?.contains(old) || !isFilledIn(old);
      },
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
  document.dispatchEvent(new CustomEvent("treadle:drawn"));
}

let prepared = () => {};
export const drawNow = sent => drawAgain(prepared, sent);

export function follow(prepare) {
  prepared = prepare;
  const main = document.getElementById("main");
  if (main.dataset.live !== "yes") return;
  // What happens between drawing the page and listening is news, too.
  let known = Number(main.dataset.newest), waits = null, missed = false;
  const draw = () => { missed = false; drawAgain(prepare).catch(() => {}); };
  const source = new EventSource("/live");
  source.onmessage = message => {
    const [number, viewers] = message.data.split(" ").map(Number);
    if (number === known) return;
    known = number;
    if (document.hidden) { missed = true; return; }
    const pause = Math.max(PAUSE_MS, viewers * PAUSE_MS_PER_VIEWER);
    waits ??= setTimeout(() => { waits = null; draw(); }, pause * (0.5 + Math.random()));
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && missed) draw(); });
  window.addEventListener("pagehide", () => source.close());
}
