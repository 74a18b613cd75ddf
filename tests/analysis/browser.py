"""The report in a headless Chromium: what a person would see there, asked of the page by script."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS, THEMES = (1440, 1024, 768, 390), ("light", "dark")
A4 = 718  # pixels between the margins of a printed page
COMMON = """
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const over = (top, under) => {
  const a = top.length > 3 ? top[3] : 1;
  return [0, 1, 2].map((k) => a * top[k] + (1 - a) * under[k]);
};
const bright = (rgb) => {
  const [r, g, b] = rgb.map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => (Math.max(bright(a), bright(b)) + 0.05) / (Math.min(bright(a), bright(b)) + 0.05);
const ground = (element) => {
  let colour = [255, 255, 255];
  const line = [];
  for (let e = element; e; e = e.parentElement) line.unshift(parse(getComputedStyle(e).backgroundColor));
  for (const each of line) colour = over(each, colour);
  return colour;
};
const seen = (e) => e.checkVisibility({ contentVisibilityAuto: true }) && e.getBoundingClientRect().width > 0;
const what = (e) => `${e.tagName} ${(e.textContent || "").trim().slice(0, 50)}`;
"""
CHART_TEXTS = (
    COMMON
    + """
() => [...document.querySelectorAll("svg.chart")].filter(seen).flatMap((svg) => {
  const page = ground(svg);
  const shapes = [...svg.querySelectorAll("path")].map((p) => [p, p.getBoundingClientRect(), getComputedStyle(p)]);
  return [...svg.querySelectorAll("text")].map((text) => {
    const style = getComputedStyle(text), box = text.getBoundingClientRect();
    const fill = over(parse(style.fill), page), halo = over(parse(style.stroke), page);
    const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    let under = page;
    for (const [path, b, s] of shapes)
      if (s.fill !== "none" && path.compareDocumentPosition(text) & 4
          && b.left <= x && x <= b.right && b.top <= y && y <= b.bottom)
        under = over([...parse(s.fill).slice(0, 3), Number(s.opacity) * Number(s.fillOpacity)], under);
    return { what: what(text), same: style.fill === style.stroke,
             contrast: Math.min(contrast(fill, halo), contrast(fill, under)) };
  });
})
"""
)
CUT_OFF = (
    COMMON
    + """
() => {
  const { clientWidth: width, scrollWidth: whole } = document.documentElement, found = [];
  if (whole > width) found.push(`the page is ${whole} wide`);
  for (const e of document.querySelectorAll("body *")) {
    if (!seen(e) || e.closest(".scroll, pre, dialog")) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (box.right > width + 1 || box.left < -1) found.push(what(e));
    if (/hidden|clip/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1) found.push(what(e));
  }
  for (const box of document.querySelectorAll(".scroll, pre"))
    if (seen(box) && box.scrollWidth > box.clientWidth + 1) {
      const style = getComputedStyle(box);
      if (!/auto|scroll/.test(style.overflowX) || !/gradient/.test(style.backgroundImage) || box.tabIndex < 0)
        found.push(`columns hidden without a sign: ${box.getAttribute("aria-label") || what(box)}`);
    }
  return found;
}
"""
)
LOST_IN_PRINT = (
    COMMON
    + """
() => {
  const width = document.documentElement.clientWidth;
  const hidden = (d) => [...d.children].slice(1).some((e) => !seen(e) && !e.matches(".tools, button"));
  const closed = [...document.querySelectorAll("details")].filter(hidden);
  const wide = [...document.querySelectorAll("table, pre, svg, img")]
    .filter((e) => seen(e) && e.getBoundingClientRect().right > width + 1);
  return [...closed.map((e) => `closed: ${what(e)}`),
          ...wide.map((e) => `too wide: ${e.parentElement.getAttribute("aria-label")} ${what(e)}`)];
}
"""
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of playwright's; skips with what is missing."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no look at the page")
    with driver.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
        path = own if own.is_file() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip(f"no Chromium: none of {', '.join(names)} is installed, nor playwright's own")
        browser = playwright.chromium.launch(executable_path=str(path), args=["--no-sandbox"])
        yield browser
        browser.close()


def violations(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA and its own best practices."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    found = axe.run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'][:200]}" for each in found for node in each["nodes"]
    ]
