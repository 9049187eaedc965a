// The command line of a prediction follows what is typed: <form data-trial="ADDRESS">.
const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

export function listenToTrials() {
  document.addEventListener("input", event => {
    const form = event.target.closest("form[data-trial]");
    if (!form) return;
    const row = Object.create(null);
    for (const field of form.querySelectorAll("input[data-column]"))
      row[field.dataset.column] = field.value === "" ? null : field.dataset.kind === "number" ? Number(field.value) : field.value;
    const asked = JSON.stringify({ dataframe_records: [row] });
    document.querySelector("[data-trial-line]").textContent = `curl --json ${quoted(asked)} ${form.getAttribute("data-trial")}`;
  });
}
