// Runs before the page is drawn: the theme that its reader has chosen.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
} catch { /* a browser without storage follows the system */ }
