// Logs of jobs, as they are printed: <pre data-log="JOB"><code></code></pre>.
const PAUSE_MS = 1500;

async function follow(place) {
  let offset = 0, text = "";
  const shown = place.querySelector("code");
  while (place.isConnected) {
    const answer = await fetch(`/api/v1/jobs/log?job=${encodeURIComponent(place.dataset.log)}&offset=${offset}`);
    const piece = await answer.json();
    if (!answer.ok) { shown.textContent = piece.message; return; }
    const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
    if (piece.text) { text = (text + piece.text).slice(-500_000); shown.textContent = text; }
    offset = piece.next_offset;
    if (atEnd) place.scrollTop = place.scrollHeight;
    if (piece.ended) break;
    if (!piece.text) await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
  }
  if (!text) shown.textContent = "It has printed nothing.";
}

export function followLogs(root) {
  for (const place of root.querySelectorAll("pre[data-log]")) {
    if (!place.isConnected || place.followed) continue;
    place.followed = true;
    follow(place).catch(error => { place.querySelector("code").textContent = error.message; });
  }
}

document.addEventListener("treadle:drawn", () => followLogs(document));
