// The keyboard: "/" searches, "g" and a letter goes to an area, "?" lists the keys.
export function listenToKeys() {
  const help = document.getElementById("help");
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  let goes = 0;
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const at = event.target;
    if (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName)) {
      if (event.key === "Escape") at.blur();
      return;
    }
    const recently = event.timeStamp - goes < 1500;
    goes = 0;
    if (recently) {
      const link = [...document.querySelectorAll("nav a[data-key]")].find(one => one.dataset.key === event.key);
      if (link) { event.preventDefault(); link.click(); }
    } else if (event.key === "g") goes = event.timeStamp;
    else if (event.key === "?") { event.preventDefault(); help.showModal(); }
    else if (event.key === "/") {
      const search = document.querySelector("main input[type=search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    }
  });
}

// What is wider or taller than its frame is reached by the keyboard, and scrolled with the arrows.
export function letKeysScroll(root) {
  for (const frame of root.querySelectorAll(".wide, .plotted, .tree, pre:not(.log)")) {
    const hides = frame.scrollWidth > frame.clientWidth || frame.scrollHeight > frame.clientHeight;
    if (hides) frame.tabIndex = 0; else frame.removeAttribute("tabindex");
  }
}
