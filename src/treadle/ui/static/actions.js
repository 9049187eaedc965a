// Forms that call a command of the API: <form data-operation="registry/approve"> with its arguments.
// A field "subject.key" is the part "key" of the argument "subject"; data-yes and data-no are said of
// an answer that is true or false.
import { drawNow } from "./live.js";

const plain = field => {
  if (field.type === "number") return Number(field.value);
  if (field.type === "checkbox") return field.checked;
  return field.dataset.json === undefined ? field.value : JSON.parse(field.value);
};

export async function call(operation, given) {
  const answer = await fetch(`/api/v1/${operation}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.message ?? `The server answered ${answer.status}.`);
  return result;
}

export function listenToActions() {
  document.addEventListener("submit", async event => {
    const form = event.target.closest("form[data-operation]");
    if (!form) return;
    event.preventDefault();
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
    const says = form.querySelector("output"), buttons = form.querySelectorAll("button");
    const given = {};
    for (const field of form.querySelectorAll("input, select, textarea"))
      if (field.name && (field.value !== "" || field.type === "hidden")) {
        const value = plain(field), numeric = field.dataset.number !== undefined;
        const name = field.name.replace(/^arg\./, ""), [whole, part] = name.split(".");
        if (part) (given[whole] ??= {})[part] = value;
        else given[name] = numeric ? Number(value) : value;
      }
    buttons.forEach(button => { button.disabled = true; });
    says.className = ""; says.textContent = "…";
    try {
      const result = await call(form.dataset.operation, given);
      const { shows, yes, no } = form.dataset;
      says.textContent = shows ? `Shown only once: ${result[shows]}` : yes ? (result ? yes : no) : "Done.";
      form.reset();
      if (!yes) await drawNow(form);  // a question has changed nothing
    } catch (error) {
      says.className = "bad"; says.textContent = error.message;
    } finally {
      buttons.forEach(button => { button.disabled = false; });
    }
  });
}
