// The state of a page in its address: every view of it can be linked to.
export class Address {
  #now = new URLSearchParams(location.search);

  constructor(changed) {
    addEventListener("popstate", () => { this.#now = new URLSearchParams(location.search); changed(); });
  }

  one(name, otherwise = "") { return this.#now.get(name) ?? otherwise; }
  all(name) { return this.#now.getAll(name); }
  has(name) { return this.#now.has(name); }

  // A list is kept as the name several times; an empty value leaves the address.
  set(name, value, { step = false } = {}) {
    this.#now.delete(name);
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) this.#now.append(name, one);
    const text = this.#now.toString();
    history[step ? "pushState" : "replaceState"](null, "", text ? `?${text}` : location.pathname);
  }

  clear(...names) { for (const name of names) this.set(name, ""); }
}
