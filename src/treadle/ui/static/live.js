// Draws the page again when something has happened on the server, and keeps what its reader does.
const PAUSE_MS = 3000;

export async function drawAgain(prepare) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = document.getElementById("main"), next = page.getElementById("main");
  if (!next) return;
  prepare(next);
  Idiomorph.morph(now, next.childNodes, {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      // What a script has drawn stays as it is; so does what its reader has opened or typed.
      beforeNodeMorphed: old => !(old.nodeType === 1 && old.hasAttribute("data-kept")),
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
    },
  });
  document.dispatchEvent(new CustomEvent("treadle:drawn"));
}

let prepared = () => {};
export const drawNow = () => drawAgain(prepared);

export function follow(prepare) {
  prepared = prepare;
  if (document.getElementById("main").dataset.live !== "yes") return;
  let known = null, waits = null, missed = false;
  const draw = () => { missed = false; drawAgain(prepare).catch(() => {}); };
  const source = new EventSource("/live");
  source.onmessage = message => {
    if (known === null) { known = message.data; return; }
    if (message.data === known) return;
    known = message.data;
    if (document.hidden) { missed = true; return; }
    waits ??= setTimeout(() => { waits = null; draw(); }, PAUSE_MS * (0.5 + Math.random()));
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && missed) draw(); });
  window.addEventListener("pagehide", () => source.close());
}
