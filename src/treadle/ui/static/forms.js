// Forms across a redraw: which is which, and what its reader has filled in.
const FIELDS = "input:not([type=hidden]), select, textarea";

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.type === "select-multiple") return [...field.options].some(one => one.selected !== one.defaultSelected);
  if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
  const options = [...field.options], first = options.findLast(one => one.defaultSelected) ?? options[0];
  return field.selectedOptions[0] !== first;
}

// Whether a field is being filled in, or one of a form's fields is. A button is none.
export function isFilledIn(element) {
  const fields = element.matches("form") ? [...element.querySelectorAll(FIELDS)] : element.matches(FIELDS) ? [element] : [];
  return fields.some(field => field === document.activeElement || changed(field));
}

// Gives forms of commands ids by what they do to what, so that a form stays beside its own thing
// when things come and go. A field may be called "id", so attributes are read as such.
export function nameForms(root) {
  const counts = new Map();
  for (const form of root.querySelectorAll("form[data-operation]")) {
    if (form.hasAttribute("id")) continue;
    const given = [...form.querySelectorAll("input[type=hidden]")].map(one => [one.name, one.getAttribute("value")]);
    const name = encodeURIComponent(JSON.stringify([form.dataset.operation, given]));
    counts.set(name, (counts.get(name) ?? 0) + 1);
    form.setAttribute("id", `${name}-${counts.get(name)}`);
  }
}
