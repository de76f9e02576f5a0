// What pages gain with scripts: charts that can be read off, new numbers without a reload,
// ages that grow, and a word when nobody answers. Everything else works without this file.
"use strict";

(() => {
  const MIN_PAUSE_MS = 1500; // between two looks at the page itself
  const SILENCE_MS = 40000; // the stream says something every 15 s
  const ASK_MS = 5000; // so long an answer may take, and so often a silent side is asked
  const LIKE_MS = 150; // after a key, before customers are looked for
  const HEIGHT = 260;
  const plots = new Map(); // element -> { chart, plot }
  const seen = new Map(); // id -> what the server sent last
  const put_off = new Set(); // ids of charts that are being read, and have news
  let reading = null; // the chart under the pointer
  let clock = null; // what the server's clock said, and when: { now, at }

  // uPlot, which is loaded after this, formats numbers for the browser's language, and does
  // not load where that is none: "C" on a system without one.
  try {
    Intl.getCanonicalLocales(navigator.language);
  } catch {
    Object.defineProperty(navigator, "language", { value: "en-US" });
  }

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const compact = (value) =>
    Math.abs(value) >= 1e4
      ? Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value)
      : Intl.NumberFormat("en").format(value);
  // As the server writes bytes: thousands of each other, and whole ones as they are.
  const bytes = (value) => {
    if (value == null) return "–";
    let i = 0;
    for (; Math.abs(value) >= 999.95 && i < 5; i++) value /= 1000;
    return `${value.toFixed(1).replace(/\.0$/, "")} ${["B", "kB", "MB", "GB", "TB", "PB"][i]}`;
  };
  const exact = (value) => (value == null ? "–" : Intl.NumberFormat("en").format(value));

  // Bars that stand on each other: the highest sum is drawn first, the others over it.
  function stacked(plot) {
    const sums = [];
    plot.lines.forEach((line, i) => {
      sums.push(line.values.map((value, at) => (value ?? 0) + (i ? sums[i - 1][at] : 0)));
    });
    return [plot.times, ...sums.reverse()];
  }

  // "14:00", but "22 Nov" at midnight and where the points are days.
  function when(ts, step) {
    const date = new Date(ts * 1e3);
    if (step < 86400 && ts % 86400) return date.toISOString().slice(11, 16);
    return date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  }

  // What the pointer is over, in the chart's key; without one, what it all comes to. That
  // is the server's to say: the highest value of a month is no sum of those of its days.
  function tell(figure, plot, at) {
    if (!figure) return;
    const time = figure.querySelector("[data-at]");
    if (time) {
      const ts = at == null ? null : plot.times[at];
      const iso = ts == null ? "" : new Date(ts * 1e3).toISOString(); // of days: see plot.zone
      time.textContent = iso && (plot.step === 86400 ? `${iso.slice(0, 10)} ${plot.zone}` : `${iso.slice(0, 16).replace("T", " ")} UTC`);
    }
    figure.querySelectorAll(".key b").forEach((slot, i) => {
      slot.textContent = (plot.unit === "bytes" ? bytes : exact)(at == null ? plot.lines[i].total : plot.lines[i].values[at]);
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
        { ...axis, grid: { stroke: css("--line-soft"), width: 1 }, size: plot.unit === "bytes" ? 72 : 56, values: (u, ticks) => ticks.map((v) => (Number.isInteger(v) ? (plot.unit === "bytes" ? bytes : compact)(v) : "")) },
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
    const before = [...element.childNodes]; // at first, the server's own drawing
    plots.get(element)?.destroy();
    element.replaceChildren();
    try {
      const chart = new uPlot(options(plot, width), stacked(plot), element);
      chart.root.setAttribute("aria-hidden", "true"); // "As a table" says the same
      element.classList.add("drawn");
      plots.set(element, chart);
    } catch (error) {
      element.replaceChildren(...before);
      console.error("a chart could not be drawn", error);
    }
  }

  // Charts that are new in the page; what is drawn already is left alone.
  function drawNew() {
    for (const [element, chart] of plots) {
      if (!element.isConnected) {
        chart.destroy();
        plots.delete(element);
      }
    }
    if (!window.uPlot) return;
    document.querySelectorAll(".plot[data-plot]").forEach((element) => plots.has(element) || draw(element));
  }

  function drawAll() {
    for (const element of plots.keys()) draw(element);
  }

  // Whoever reads a chart keeps it as it is; its news come when the pointer leaves.
  function watchReader() {
    document.addEventListener("pointerover", (event) => {
      const figure = event.target.closest?.(".chart") ?? null;
      if (figure === reading) return;
      reading = figure;
      if (put_off.size && !reading) refresh().catch(() => {});
    });
    document.documentElement.addEventListener("pointerleave", () => {
      reading = null;
      if (put_off.size) refresh().catch(() => {});
    });
  }

  const lasting = (ms) => {
    for (const [length, unit] of [[86400e3, "d"], [3600e3, "h"], [60e3, "min"]]) {
      if (ms >= length) return `${Math.floor(ms / length)} ${unit}`;
    }
    return `${Math.floor(ms / 1e3)} s`;
  };

  // Ages grow by themselves: nothing that stands still may look fresh.
  function setClock(body) {
    const now = Number(body.dataset.now);
    clock = now ? { now, at: performance.now() } : null;
  }

  function grow() {
    if (!clock) return; // the time is not real, and may stand still
    const now = clock.now + performance.now() - clock.at;
    document.querySelectorAll("time[data-age]").forEach((element) => {
      const ms = now - Number(element.dataset.age);
      if (ms < 0) return;
      const text = ms < 1000 ? "just now" : `${lasting(ms)} ago`;
      if (element.textContent !== text) element.textContent = text;
    });
  }

  // The page as the server would send it now; only what is marked and differs is taken.
  async function refresh() {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(6 * ASK_MS) });
    if (answer.redirected && new URL(answer.url).pathname === "/login") {
      away("You are logged out.", true);
      return;
    }
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    setClock(page.body);
    document.body.dataset.mark = page.body.dataset.mark;
    put_off.clear();
    for (const element of document.querySelectorAll("[data-fresh][id]")) {
      const fresh = page.getElementById(element.id);
      if (!fresh || element.contains(document.activeElement)) continue;
      if (fresh.outerHTML === seen.get(element.id)) continue;
      if (element.querySelector("details[open]")) continue;
      if (element === reading) {
        put_off.add(element.id);
        continue;
      }
      seen.set(element.id, fresh.outerHTML);
      element.replaceWith(document.importNode(fresh, true));
    }
    drawNew();
    grow();
  }

  // Says that what is shown may be old; the first moment of it stays.
  function away(text, canLogIn) {
    const note = document.getElementById("away");
    if (!note || !note.hidden) return;
    note.textContent = text;
    if (canLogIn) {
      const link = document.createElement("a");
      link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
      link.textContent = "Log in";
      note.append(" ", link);
    }
    note.hidden = false;
    document.body.classList.add("is-away");
  }

  function back() {
    const note = document.getElementById("away");
    if (note.hidden) return;
    note.hidden = true;
    document.body.classList.remove("is-away");
    refresh().catch(() => {});
  }

  function listen() {
    let last = 0, pending = 0, heard = Date.now(), asking = false, source = null;

    const look = () => refresh().catch(check);
    const hear = () => {
      heard = Date.now();
      back();
    };

    function open() {
      source = new EventSource(`/live?mark=${document.body.dataset.mark}`);
      source.addEventListener("open", hear);
      source.addEventListener("alive", hear);
      source.addEventListener("changed", () => {
        hear();
        if (pending || document.hidden) return;
        pending = setTimeout(() => {
          pending = 0;
          last = Date.now();
          look();
        }, Math.max(0, MIN_PAUSE_MS - (Date.now() - last)));
      });
      source.addEventListener("error", check);
    }

    // A stream may end for many reasons; only the sidecar's own silence is told.
    async function check() {
      if (asking) return;
      asking = true;
      const since = new Date(Math.max(heard, last)).toTimeString().slice(0, 5);
      try {
        const answer = await fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
        if (!answer.ok) throw new Error(answer.statusText);
        heard = Date.now();
        back();
      } catch {
        away(`No connection since ${since}. What is shown here may be old.`);
      }
      asking = false;
    }

    open();
    setInterval(() => {
      grow();
      if (Date.now() - heard > SILENCE_MS || document.body.classList.contains("is-away")) check();
    }, ASK_MS);
    setInterval(() => {
      // Browsers do not come back to a stream that was refused, for example by a proxy.
      if (source.readyState === EventSource.CLOSED) {
        open();
        if (!document.hidden) look();
      }
    }, 3 * ASK_MS);
    addEventListener("pagehide", () => source.close());
    document.addEventListener("visibilitychange", () => document.hidden || look());
  }

  // The answer to a form stands at the address of its page: to load it again, or to come
  // back to it, sends nothing once more.
  if (document.body.dataset.at) history.replaceState(null, "", document.body.dataset.at);

  document.querySelectorAll("[data-fresh][id]").forEach((element) => {
    seen.set(element.id, element.outerHTML);
  });
  // A form is sent once, however often its button is pressed; who comes back may send it again.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.classList.contains("sent")) event.preventDefault();
    event.target.classList.add("sent");
  });
  // Safari shows what it kept of a page, also to who has logged out since, and with the
  // keys of forms that were sent; the others ask for it again.
  addEventListener("pageshow", (event) => {
    document.querySelectorAll(".sent").forEach((form) => form.classList.remove("sent"));
    if (event.persisted) location.reload();
  });

  // Customers with what is typed in their id or name: a few, whom the server finds.
  document.querySelectorAll("input[data-like]").forEach((input) => {
    let asked = 0, wait = 0;
    const offer = async () => {
      const now = ++asked;
      const answer = await fetch(`/customers-like?q=${encodeURIComponent(input.value)}`, { signal: AbortSignal.timeout(ASK_MS) });
      if (!answer.ok || now !== asked) return;
      input.list.replaceChildren(...(await answer.json()).map(({ id, name }) => {
        const option = new Option(name, id);
        option.label = name;
        return option;
      }));
    };
    for (const kind of ["focus", "input"]) {
      input.addEventListener(kind, () => {
        clearTimeout(wait);
        wait = setTimeout(() => offer().catch(() => {}), LIKE_MS);
      });
    }
  });

  setClock(document.body);
  document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  setInterval(grow, 1000);
  document.addEventListener("DOMContentLoaded", drawNew); // uPlot is there by then
  watchReader();
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
