// Addresses that MLflow's clients print (/#/experiments/2/runs/…) lead to the matching page.
const WAYS = [
  [/^#\/experiments\/([^/?]+)\/runs\/([^/?]+)/, (_, run) => `/runs/${run}`],
  [/^#\/experiments\/([^/?]+)\/traces/, experiment => `/traces?experiment=${experiment}`],
  [/^#\/experiments\/([^/?]+)/, experiment => `/experiments/${experiment}`],
  [/^#\/(?:compare-)?experiments/, () => "/experiments"],
  [/^#\/models\/([^/?]+)\/versions\/([^/?]+)/, (model, number) => `/models/${model}/${number}`],
  [/^#\/models\/([^/?]+)/, model => `/models/${model}`],
  [/^#\/models/, () => "/models"],
];

export function redirectOldLinks() {
  for (const [way, to] of WAYS) {
    const found = location.hash.match(way);
    if (found) { location.replace(to(...found.slice(1))); return; }
  }
}
