// What pages gain with scripts: charts that can be read off, and new numbers without a
// reload. Everything else works without this file.
"use strict";

(() => {
  const MIN_PAUSE_MS = 1500; // between two looks at the page itself
  const HEIGHT = 260;
  const plots = new Map(); // element -> { chart }
  const seen = new Map(); // id -> what the server sent last

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const compact = (value) =>
    Math.abs(value) >= 1e4
      ? Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value)
      : Intl.NumberFormat("en").format(value);
  const exact = (value) => (value == null ? "–" : Intl.NumberFormat("en").format(value));

  // Bars that stand on each other: the highest sum is drawn first, the others over it.
  function stacked(plot) {
    const sums = [];
    plot.lines.forEach((line, i) => {
      sums.push(line.values.map((value, at) => value + (i ? sums[i - 1][at] : 0)));
    });
    return [plot.times, ...sums.reverse()];
  }

  // "14:00", but "22 Nov" at midnight and where the points are days.
  function when(ts, step) {
    const date = new Date(ts * 1e3);
    if (step < 86400 && ts % 86400) return date.toISOString().slice(11, 16);
    return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  }

  // What the pointer is over, in the chart's key; without one, the sums.
  function tell(figure, plot, at) {
    if (!figure) return;
    const time = figure.querySelector("[data-at]");
    if (time) {
      const ts = at == null ? null : plot.times[at];
      time.textContent = ts == null ? "" : `${new Date(ts * 1e3).toISOString().slice(0, 16).replace("T", " ")} UTC`;
    }
    figure.querySelectorAll(".key b").forEach((slot, i) => {
      const values = plot.lines[i].values;
      slot.textContent = exact(at == null ? values.reduce((sum, value) => sum + value, 0) : values[at]);
    });
  }

  function options(plot, width) {
    const order = plot.lines.map((line, i) => ({ line, i })).reverse(); // as in stacked()
    const axis = { stroke: css("--faint"), font: `12px ${css("--sans")}`, ticks: { show: false } };
    return {
      width,
      height: HEIGHT,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      legend: { show: false },
      hooks: { setCursor: [(u) => tell(u.root.closest(".chart"), plot, u.cursor.idx)] },
      scales: { x: { range: (u, min, max) => [min - plot.step / 2, max + plot.step / 2] }, y: { range: (u, min, max) => [0, Math.max(4, max * 1.08)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 72, size: 30, values: (u, ticks) => ticks.map((ts) => when(ts, plot.step)) },
        { ...axis, grid: { stroke: css("--line-soft"), width: 1 }, size: 56, values: (u, ticks) => ticks.map((v) => (Number.isInteger(v) ? compact(v) : "")) },
      ],
      series: [
        {},
        ...order.map(({ line, i }) => ({
          label: line.label,
          fill: css(`--c${i % 9}`),
          stroke: css(`--c${i % 9}`),
          width: 0,
          points: { show: false },
          paths: uPlot.paths.bars({ size: [0.82, 60], radius: plot.lines.length > 1 ? 0 : 0.15 }),
        })),
      ],
    };
  }

  function draw(element) {
    const plot = JSON.parse(element.dataset.plot);
    const width = element.clientWidth;
    if (!plot.times.length || !width) return;
    plots.get(element)?.chart.destroy();
    element.replaceChildren();
    element.classList.add("drawn");
    const chart = new uPlot(options(plot, width), stacked(plot), element);
    chart.root.setAttribute("aria-hidden", "true"); // "As a table" says the same
    plots.set(element, { chart });
  }

  function drawAll() {
    for (const element of plots.keys()) {
      if (!element.isConnected) {
        plots.get(element).chart.destroy();
        plots.delete(element);
      }
    }
    if (window.uPlot) document.querySelectorAll(".plot[data-plot]").forEach(draw);
  }

  // The page as the server would send it now; only what is marked and differs is taken.
  async function refresh() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const element of document.querySelectorAll("[data-fresh][id]")) {
      const fresh = page.getElementById(element.id);
      if (!fresh || element.contains(document.activeElement)) continue;
      if (fresh.outerHTML === seen.get(element.id)) continue;
      if (element.querySelector("details[open]")) continue;
      seen.set(element.id, fresh.outerHTML);
      element.replaceWith(document.importNode(fresh, true));
    }
    drawAll();
  }

  function listen() {
    let last = 0, pending = 0;
    const source = new EventSource("/live");
    source.addEventListener("changed", () => {
      if (pending || document.hidden) return;
      pending = setTimeout(() => {
        pending = 0;
        last = Date.now();
        refresh().catch(() => {});
      }, Math.max(0, MIN_PAUSE_MS - (Date.now() - last)));
    });
    addEventListener("pagehide", () => source.close());
    document.addEventListener("visibilitychange", () => document.hidden || refresh().catch(() => {}));
  }

  document.querySelectorAll("[data-fresh][id]").forEach((element) => {
    seen.set(element.id, element.outerHTML);
  });
  drawAll();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      drawAll();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  if (document.body.hasAttribute("data-live")) listen();
})();
