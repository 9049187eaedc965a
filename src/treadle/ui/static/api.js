// Asks the API's queries, as the page's reader may.
export async function ask(operation, given, signal) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && value !== null && value !== "")
      query.set(name, typeof value === "object" ? JSON.stringify(value) : value);
  const answer = await fetch(`/api/v1/${operation}?${query}`, { signal, headers: { Accept: "application/json" } });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.message ?? `The server answered ${answer.status}.`);
  return result;
}

// An element with attributes and children: make("a", { href: "/" }, "Home").
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const number = value => value === null || value === undefined ? "" : Number.isInteger(value) && Math.abs(value) < 1e15 ? String(value) : Number(value).toPrecision(5).replace(/\.?0+($|e)/, "$1");

export function later(call, milliseconds) {
  let waits;
  return (...given) => { clearTimeout(waits); waits = setTimeout(() => call(...given), milliseconds); };
}
