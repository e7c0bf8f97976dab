// The switch between light and dark. Without this script, or until the switch is used, the reader's system decides; print is always light.
(() => {
  const KEY = "quarto-color-scheme";   // the name and the words that Quarto keeps a reader's choice by
  const sheet = document.getElementById("dark"), scheme = document.querySelector("meta[name=color-scheme]"), system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null, button = null;
  try { chosen = localStorage.getItem(KEY); } catch { /* no storage here: the choice lasts as long as the page */ }
  const dark = () => chosen ? chosen === "alternate" : system.matches;
  const show = () => {
    sheet.media = dark() ? "screen" : "not all";
    scheme.content = dark() ? "dark" : "light";
    button?.setAttribute("aria-pressed", dark());
  };
  show();
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    button = document.querySelector("button.theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      chosen = dark() ? "default" : "alternate";
      try { localStorage.setItem(KEY, chosen); } catch { /* as above */ }
      show();
    });
    show();
  });
})();
