// Runs inside a page of the report: what a reader would stumble over, as JSON in place of the text.
addEventListener("load", () => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d", {willReadFrequently: true});
  canvas.width = canvas.height = 1;
  const paint = colour => { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const above = e => { const chain = []; for (; e; e = e.parentElement) chain.unshift(e); return chain; };

  // WCAG 2 contrast of each visible piece of text with what lies behind it
  const faint = new Map(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement, style = getComputedStyle(e);
    if (!node.data.trim() || !e.getClientRects().length || style.visibility === "hidden" || e.closest("script, style, [aria-hidden=true]")) continue;
    if (e.getBoundingClientRect().right < 0) continue;   // a link to skip to the text, out of sight until it is focused
    texts += 1;
    paint("#fff"); if (matchMedia("(prefers-color-scheme: dark)").matches) paint("#000");
    let behind = paint("transparent"), opacity = 1;
    for (const a of above(e)) { behind = paint(getComputedStyle(a).backgroundColor); opacity *= +getComputedStyle(a).opacity; }
    pen.globalAlpha = opacity;
    const ink = paint(e instanceof SVGElement ? style.fill : style.color);
    pen.globalAlpha = 1;
    const [low, high] = [light(ink), light(behind)].sort((a, b) => a - b), contrast = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.set(`${e.localName}.${e.className.baseVal ?? e.className}`, `${contrast.toFixed(2)} ${node.data.trim().slice(0, 40)}`);
  }

  const links = [...document.querySelectorAll("a[href]")].map(a => a.getAttribute("href"));
  const found = {
    texts, faint: Object.fromEntries(faint), dark: matchMedia("(prefers-color-scheme: dark)").matches,
    silent: [...document.images].filter(i => !i.alt.trim()).length + [...document.querySelectorAll("svg[role=img]")].filter(s => !(s.ariaLabel || "").trim()).length,
    blank: [...document.images].filter(i => !i.naturalWidth).length,
    dead: links.filter(h => h.startsWith("#") && h.length > 1 && !document.getElementById(decodeURIComponent(h.slice(1)))),
    fetched: performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:") && !n.startsWith(new URL(".", location))),
    wide: document.documentElement.scrollWidth - innerWidth,
  };
  document.body.textContent = "FOUND" + JSON.stringify(found).replace(/[<>&]/g, " ") + "END";
});
