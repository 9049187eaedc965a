// Completes the names of fields while a filter is typed.
import { make } from "./api.js";

const MOST = 10;
const plain = /^[A-Za-z_][\w/:-]*(\.[\w/:@-]+)*$/;
export const fieldOf = (kind, key) => `${kind}.${plain.test(key) ? key : "`" + key.replaceAll("`", "") + "`"}`;

export function completes(input, fields) {
  const list = make("ul", { id: "completions", role: "listbox", hidden: true, "aria-label": "Names of fields" });
  input.after(list);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" }))
    input.setAttribute(name, value);
  let at = -1, word = "";

  const close = () => { list.hidden = true; at = -1; input.setAttribute("aria-expanded", "false"); input.removeAttribute("aria-activedescendant"); };
  const mark = place => {
    at = place;
    [...list.children].forEach((one, index) => one.setAttribute("aria-selected", index === at));
    if (at >= 0) { input.setAttribute("aria-activedescendant", list.children[at].id); list.children[at].scrollIntoView({ block: "nearest" }); }
  };
  const take = text => {
    const caret = input.selectionStart, before = input.value.slice(0, caret - word.length);
    input.value = before + text + " " + input.value.slice(caret).trimStart();
    input.selectionStart = input.selectionEnd = before.length + text.length + 1;
    close(); input.focus();
    input.dispatchEvent(new Event("input"));
  };
  const show = () => {
    word = input.value.slice(0, input.selectionStart).match(/(?:[\w.:/@-]|`[^`]*`?)+$/)?.[0] ?? "";
    const asked = word.replaceAll("`", "").toLowerCase();
    const found = asked.length < 2 ? [] : fields().filter(one => one.replaceAll("`", "").toLowerCase().includes(asked) && one !== word);
    found.sort((a, b) => b.toLowerCase().startsWith(asked) - a.toLowerCase().startsWith(asked));
    list.replaceChildren(...found.slice(0, MOST).map((text, place) => {
      const item = make("li", { role: "option", id: `completion-${place}` }, text);
      item.addEventListener("mousedown", event => { event.preventDefault(); take(text); });
      return item;
    }));
    if (!found.length) { close(); return; }
    list.hidden = false; input.setAttribute("aria-expanded", "true"); mark(-1);
  };

  input.addEventListener("input", show);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", event => {
    if (list.hidden) return;
    const count = list.children.length;
    if (event.key === "ArrowDown") mark((at + 1) % count);
    else if (event.key === "ArrowUp") mark((at + count - 1) % count);
    else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) take(list.children[at].textContent);
    else if (event.key === "Escape") { close(); event.stopPropagation(); }
    else return;
    event.preventDefault();
  });
}
