// One window over time: the share used, its course to the reset, refusals, and starts of runs. Gaps stay open.

import { monotonic } from "./clock.js";
import { attr, byId, el, keyed, show, svg, text } from "./dom.js";
import { accountKey, windowKey } from "./fold.js";
import { about, clock, counted, day, isNumber, percent, safe, time, utc } from "./format.js";
import { bindsAll, course } from "./pace.js";

const HOUR = 3_600_000;
/** A reset that moved by less is the same one. */
const JITTER_MS = 120_000;
const GAP_MS_MIN = 20 * 60_000;
const ROWS_MAX = 200;
/** Percent between two words of the axis. */
const LABELS_APART = 5;
const EDGE = { left: 40, right: 12, top: 10, bottom: 24 };
const HEIGHT = 240;
const STEPS = [
  ["1m", 6 * HOUR],
  ["5m", 30 * HOUR],
  ["30m", 8 * 24 * HOUR],
  ["1h", 16 * 24 * HOUR],
  ["1d", Infinity],
];
const STEP_MS = { "1m": 60_000, "5m": 300_000, "30m": 1_800_000, "1h": HOUR, "1d": 24 * HOUR };
const TICKS = [HOUR / 4, HOUR / 2, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 96 * HOUR];

/** The parts of a line: broken where nothing was observed, and where a window ended. Pure. */
export function segments(points, stepMs) {
  const lines = [];
  let last = null;
  for (const point of points) {
    const share = isNumber(point.max) ? point.max : point.utilization;
    if (!isNumber(share)) continue;
    const next = { at: time(point.at), share, resetAt: time(point.reset_at) };
    const isNew =
      !last ||
      next.at - last.at > Math.max(3 * stepMs, GAP_MS_MIN) ||
      Math.abs(next.resetAt - last.resetAt) > JITTER_MS;
    if (isNew) lines.push([]);
    lines.at(-1).push(next);
    last = next;
  }
  return lines;
}

/** The key of the fullest window that decides, of the chosen account or of the first one. Pure. */
export function deciding({ windows, mayStart }, now) {
  const { chosen, candidates = [] } = mayStart ?? {};
  const order = [chosen, ...candidates].filter(Boolean).map(accountKey);
  const rank = (one) => {
    const at = order.indexOf(accountKey(one));
    return at < 0 ? order.length : at;
  };
  const fullness = (one) => {
    const { kind, share } = course(one, now);
    return kind === "exhausted" ? Infinity : kind === "fresh" || kind === "stale" ? share : -1;
  };
  // A window of one family of models says nothing about the others.
  const isFamily = (one) => {
    const candidate = candidates.find((other) => accountKey(other) === accountKey(one));
    return !bindsAll(one.window) && candidate?.binding_window !== one.window;
  };
  const rows = [...(windows?.values() ?? [])];
  rows.sort((a, b) => rank(a) - rank(b) || isFamily(a) - isFamily(b) || (fullness(a) === fullness(b) ? 0 : fullness(b) - fullness(a)));
  return rows.length ? windowKey(rows[0]) : null;
}

export function startChart({ refresh, addDocument, schedule, clock: corrected, state: stateNow, set }) {
  const select = byId("chart-window"),
    span = byId("chart-span"),
    plot = byId("chart-plot");
  let width = 0,
    drawn = [],
    starts = null;

  const chosen = () => stateNow().windows?.get(select.value);
  const path = () => {
    const window = chosen();
    if (!window) return null;
    const { from, to } = range(window, Math.floor(corrected.now() / 60_000) * 60_000);
    const query = new URLSearchParams({
      window: window.window,
      provider: window.provider,
      account: window.account,
      from: new Date(from).toISOString(),
      to: new Date(to).toISOString(),
      step: step(to - from),
    });
    return `/v1/quota/history?${query}`;
  };
  /** From a full minute on, so that the same question is the same path for a minute. */
  function range(window, now) {
    const startedAt = time(window.window_started_at),
      resetAt = time(window.reset_at);
    if (span.value === "window" && startedAt < resetAt && resetAt > now) {
      return { from: startedAt, to: now + 60_000, end: resetAt };
    }
    const hours = span.value === "window" ? 24 : Number(span.value);
    return {
      from: now - hours * HOUR,
      to: now + 60_000,
      end: Math.max(now, Math.min(resetAt > now ? resetAt : now, now + (hours * HOUR) / 4)),
    };
  }
  const step = (ms) => STEPS.find(([, longest]) => ms <= longest)[0];

  addDocument("history", 60_000, path, (history) => ({
    ...stateNow(),
    history: { key: select.value, points: history },
  }));
  // Starts of runs change seldom: they are asked for with the runs' own events.
  addDocument(
    "starts",
    120_000,
    () => "/v1/runs?sort=started&limit=200",
    (rows) => {
      starts = rows;
      return { ...stateNow() };
    },
  );
  const thresholds = (window) => stateNow().accounts?.get(accountKey(window))?.thresholds ?? [];
  const again = () => (refresh.due(["history"], monotonic()), refresh.tick(monotonic()), schedule());
  select.addEventListener("change", again);
  span.addEventListener("change", again);
  new ResizeObserver(([{ contentRect }]) => ((width = Math.floor(contentRect.width)), schedule())).observe(plot);

  function render(state, now) {
    const windows = [...(state.windows?.values() ?? [])];
    show(byId("chart"), windows.length > 0);
    const before = select.value;
    const isFirst = !select.options.length;
    keyed(select, windows, windowKey, (one) =>
      el("option", { value: windowKey(one) }, `${safe(accountKey(one))} ${safe(one.window)}`),
    );
    // Only at first: a chart that changes by itself would be read as another window.
    if (isFirst && windows.length) select.value = deciding(state, now);
    if (select.value !== before) again();
    const window = chosen();
    const minute = Math.floor(now / 60_000);
    const inputs = [
      width,
      minute,
      window,
      state.history,
      starts,
      span.value,
      byId("chart-data").open,
      window && String(thresholds(window)),
    ];
    if (!window || !width || inputs.every((input, index) => input === drawn[index])) return;
    drawn = inputs;
    const points = state.history?.key === select.value ? state.history.points : null;
    draw(window, points, now);
    if (points) rows(points, now);
  }
  byId("chart-data").addEventListener("toggle", schedule);

  function draw(window, points, now) {
    const { from, to, end } = range(window, Math.floor(now / 60_000) * 60_000);
    const x = (at) => EDGE.left + ((at - from) / (Math.max(end, to) - from)) * (width - EDGE.left - EDGE.right);
    const y = (share) => EDGE.top + (1 - Math.min(share, 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const inside = (at) => at >= from && at <= Math.max(end, to);
    const stepMs = STEP_MS[step(to - from)];
    const lines = segments(points ?? [], stepMs);
    const at = course(window, now);
    const parts = [svg("title", null, `${safe(windowKey(window))}, share used over time`)];
    const marks = thresholds(window).filter((percent) => percent < 100);
    let labelled = -Infinity;
    for (const percent of [...new Set([0, 50, 100, ...marks])].sort((a, b) => a - b)) {
      const className = marks.includes(percent) ? "threshold" : "grid";
      const at = y(percent / 100);
      parts.push(svg("line", { class: className, x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at }));
      if (percent - labelled < LABELS_APART) continue;
      labelled = percent;
      parts.push(svg("text", { class: "axis n", x: EDGE.left - 6, y: at + 4 }, `${percent}`));
    }
    for (const { at: when, words } of ticks(from, Math.max(end, to), width)) {
      parts.push(
        svg("line", {
          class: "grid",
          x1: x(when),
          x2: x(when),
          y1: HEIGHT - EDGE.bottom,
          y2: HEIGHT - EDGE.bottom + 4,
        }),
      );
      // Half of the words would be beyond the edge.
      if (x(when) < width - 2 * EDGE.right)
        parts.push(svg("text", { class: "axis middle", x: x(when), y: HEIGHT - 6 }, words));
    }
    const own = (starts ?? []).filter(
      (run) => accountKey(run) === accountKey(window) && inside(time(run.first_activity ?? run.first_seen)),
    );
    for (const run of own) {
      const when = time(run.first_activity ?? run.first_seen);
      parts.push(
        svg(
          "path",
          { class: "start", d: `M${x(when)} ${HEIGHT - EDGE.bottom}v-7` },
          svg("title", null, `run ${safe(run.id)} started ${utc(when)}`),
        ),
      );
    }
    if (inside(now) && now < end - 60_000)
      parts.push(svg("line", { class: "now", x1: x(now), x2: x(now), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
    for (const line of lines) {
      const places = line.map((point) => `${x(point.at).toFixed(1)},${y(point.share).toFixed(1)}`);
      if (places.length > 1) parts.push(svg("polyline", { class: "share", points: places.join(" ") }));
      else parts.push(svg("circle", { class: "dot-share", cx: x(line[0].at), cy: y(line[0].share), r: 2.5 }));
    }
    if (isNumber(at.share) && at.expected > 0 && now < end) {
      const slope = at.share / (now - at.startedAt);
      const full = Math.min(Number.isFinite(at.runsOutAt) ? at.runsOutAt : end, end);
      if (at.zone !== "none")
        parts.push(
          svg("line", {
            class: "forecast",
            x1: x(now),
            y1: y(at.share),
            x2: x(full),
            y2: y(slope * (full - at.startedAt)),
          }),
        );
    }
    for (const point of (points ?? []).filter((one) => one.refused || one.status === "rejected")) {
      const [px, py] = [x(time(point.at)), y(1)];
      parts.push(
        svg(
          "path",
          { class: "refusal", d: `M${px - 4} ${py - 4}l8 8m0-8l-8 8` },
          svg("title", null, `refused ${utc(time(point.at))}`),
        ),
      );
    }
    plot.replaceChildren(
      svg(
        "svg",
        {
          role: "img",
          "aria-label": describe(window, at, now),
          viewBox: `0 0 ${width} ${HEIGHT}`,
          width,
          height: HEIGHT,
        },
        ...parts,
      ),
    );
    text(
      byId("chart-note"),
      points === null
        ? "Asking for its observations."
        : !points.length
          ? "Nothing was observed in this span."
          : `percent used${marks.length ? ` · dotted: thresholds at ${marks.join(", ")} %` : ""} · dashed: at this pace${own.length ? ` · ${counted(own.length, "start")} of runs below` : ""}${points.some((one) => one.refused) ? " · crosses: refused" : ""}`,
    );
  }

  function rows(points, now) {
    if (!byId("chart-data").open) return;
    const latest = points.slice(-ROWS_MAX).reverse();
    byId("chart-rows").replaceChildren(
      ...latest.map((point) =>
        el(
          "tr",
          null,
          el("td", { title: utc(time(point.at)) }, clock(time(point.at), now)),
          el("td", { class: "n" }, percent(point.utilization)),
          el("td", null, safe(point.refused ? "refused" : point.status)),
          el("td", null, safe(point.source)),
        ),
      ),
    );
  }

  return { render };
}

function describe(window, at, now) {
  const name = safe(windowKey(window));
  if (at.kind === "exhausted" || at.kind === "expired" || at.share === null) return `${name}: ${at.kind}`;
  const out = Number.isFinite(at.runsOutAt) ? `runs out in ${about(at.runsOutAt - now)}` : "lasts to the reset";
  return `${name}: ${percent(at.share)} used, ${at.zone === "none" ? "no pace yet" : out}`;
}

/** Times on the local clock with their words, as many as there is room for. */
function ticks(from, end, width) {
  const every = TICKS.find((ms) => (end - from) / ms <= width / 76) ?? TICKS.at(-1);
  const midnight = new Date(from);
  midnight.setHours(0, 0, 0, 0);
  const list = [];
  for (let at = midnight.getTime(); at <= end; at += every) {
    if (at < from) continue;
    const words =
      every >= 24 * HOUR || new Date(at).getHours() + new Date(at).getMinutes() === 0
        ? day(at).slice(5)
        : clock(at, at);
    list.push({ at, words });
  }
  return list;
}
