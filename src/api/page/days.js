// Usage by day, oldest left: new tokens by model above the axis, reads of caches, which are many and cheap, below it.

import { save } from "./api.js";
import { monotonic } from "./clock.js";
import { attr, byId, el, keyed, svg, text } from "./dom.js";
import { compact, day, grouped, isNumber, safe, usd } from "./format.js";

const DAY_MS = 86_400_000;
/** Models with a colour of their own; the others share the last one. */
const SERIES_MAX = 6;
const OTHERS = "other models";
const EDGE = { left: 48, right: 4, top: 10, bottom: 4 };
const HEIGHT = 240,
  LABELS = 20,
  CACHE = 48;

export const fresh = (row) => row.input_tokens + row.output_tokens + row.cache_creation_input_tokens;

/** The rows of `group_by=day,model` as { day, total, cache, byModel } for each of `days`. Pure. */
export function byDay(rows, days) {
  const known = new Map(days.map((name) => [name, { day: name, total: 0, cache: 0, all: 0, byModel: new Map() }]));
  for (const row of rows) {
    const of = known.get(row.keys.day);
    if (!of) continue;
    const model = row.keys.model ?? "unknown";
    of.total += fresh(row);
    of.cache += row.cache_read_input_tokens;
    of.all += row.total_tokens;
    of.byModel.set(model, (of.byModel.get(model) ?? 0) + fresh(row));
  }
  return [...known.values()];
}

/** The last `count` local days, oldest first, over changes of the clock. */
export function lastDays(count, now, zone) {
  const names = new Set();
  for (let at = now; names.size < count; at -= DAY_MS / 2) names.add(day(at, zone));
  return [...names].reverse();
}

/** A round number at or above `value`. */
export function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

export function startDays({ refresh, addDocument, schedule, state: stateNow }) {
  const span = byId("days-span"),
    plot = byId("days-plot");
  let width = 0,
    drawn = [];
  const query = () => {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    return `/v1/usage?${new URLSearchParams({ group_by: "day,model", period: `last-${span.value}d`, zone })}`;
  };
  addDocument("days", 300_000, query, (days) => ({ ...stateNow(), days: { count: Number(span.value), ...days } }));
  span.addEventListener("change", () => (refresh.due(["days"], monotonic()), refresh.tick(monotonic())));
  byId("days-csv").addEventListener("click", () =>
    save(query(), `tokentail-${span.value}d.csv`).catch((error) => text(byId("days-note"), error.message)),
  );
  byId("days-data").addEventListener("toggle", schedule);
  new ResizeObserver(([{ contentRect }]) => ((width = Math.floor(contentRect.width)), schedule())).observe(plot);

  function render(state, now) {
    const today = day(now);
    if (state.days && drawn[3] && drawn[3] !== today) refresh.due(["days"], monotonic());
    const inputs = [width, state.days, byId("days-data").open, today];
    if (!state.days || !width || inputs.every((input, index) => input === drawn[index])) return;
    drawn = inputs;
    const days = byDay(state.days.rows, lastDays(state.days.count, now));
    const series = models(days);
    const colour = colours(series);
    draw(days, series, colour);
    keyed(
      byId("days-legend"),
      series,
      (name) => name,
      (name) =>
        el(
          "li",
          null,
          svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { width: 10, height: 10, rx: 2 })),
          el("bdi", null, safe(name)),
        ),
      (node, name) => attr(node.querySelector("rect"), "class", `series-${colour.get(name)}`),
    );
    note(state.days);
    if (byId("days-data").open) rows(state.days.rows);
  }

  function note({ totals, unpriced = totals.unpriced, assumed }) {
    const cost = isNumber(totals.estimated_cost_usd)
      ? `${usd(totals.estimated_cost_usd)} at list price: an estimate, no bill`
      : "cost unknown";
    const without = unpriced
      ? `; without ${compact(unpriced.tokens)} tokens of ${unpriced.models.map(safe).join(", ")}`
      : "";
    text(
      byId("days-note"),
      `${compact(totals.total_tokens)} tokens, ${compact(totals.cache_read_input_tokens)} of them read from caches · ${cost}${without}`,
    );
    attr(
      byId("days-note"),
      "title",
      `${grouped(totals.total_tokens)} tokens${assumed?.length ? `; assumed: ${assumed.join(", ")}` : ""}`,
    );
  }

  function draw(days, series, colour) {
    const top = nice(Math.max(...days.map((one) => one.total)));
    const most = nice(Math.max(...days.map((one) => one.cache)));
    const base = HEIGHT - CACHE - LABELS;
    const y = (tokens) => base - (tokens / top) * (base - EDGE.top);
    const room = (width - EDGE.left - EDGE.right) / days.length;
    const bar = Math.max(1, Math.min(36, room * 0.72));
    const parts = [svg("title", null, "Tokens by day and model, and reads of caches")];
    for (const share of [0, 0.5, 1]) {
      parts.push(
        svg("line", {
          class: "grid",
          x1: EDGE.left,
          x2: width - EDGE.right,
          y1: y(top * share),
          y2: y(top * share),
        }),
      );
      if (!share || days.some((one) => one.total))
        parts.push(svg("text", { class: "axis n", x: EDGE.left - 6, y: y(top * share) + 4 }, compact(top * share)));
    }
    parts.push(svg("text", { class: "axis n", x: EDGE.left - 6, y: HEIGHT - EDGE.bottom - CACHE / 2 + 8 }, "cache"));
    const each = Math.ceil(46 / room);
    days.forEach((one, index) => {
      const x = EDGE.left + index * room + (room - bar) / 2;
      const group = svg(
        "g",
        null,
        svg(
          "title",
          null,
          `${one.day}: ${grouped(one.total)} new tokens, ${grouped(one.cache)} read from caches${[...one.byModel].map(([model, tokens]) => `\n${safe(model)}: ${grouped(tokens)}`).join("")}`,
        ),
      );
      group.append(
        svg("rect", {
          class: "catch",
          x: EDGE.left + index * room,
          y: EDGE.top,
          width: room,
          height: HEIGHT - EDGE.top - EDGE.bottom,
        }),
      );
      let from = 0;
      series.forEach((name) => {
        const tokens = [...one.byModel].reduce(
          (sum, [model, part]) => sum + (seriesOf(model, series) === name ? part : 0),
          0,
        );
        if (tokens > 0)
          group.append(
            svg("rect", {
              class: `series-${colour.get(name)}`,
              x,
              width: bar,
              y: y(from + tokens),
              height: Math.max(0.75, y(from) - y(from + tokens)),
            }),
          );
        from += tokens;
      });
      const height = (one.cache / most) * (CACHE - 6);
      if (one.cache)
        group.append(
          svg("rect", {
            class: "cache-read",
            x,
            width: bar,
            y: base + LABELS,
            height: Math.max(0.75, height),
          }),
        );
      if ((days.length - 1 - index) % each === 0)
        group.append(svg("text", { class: "axis middle", x: x + bar / 2, y: base + 15 }, one.day.slice(5)));
      parts.push(group);
    });
    plot.replaceChildren(
      svg(
        "svg",
        {
          role: "img",
          "aria-label": `Tokens by day, ${days[0].day} to ${days.at(-1).day}; the same numbers are in the table below`,
          viewBox: `0 0 ${width} ${HEIGHT}`,
          width,
          height: HEIGHT,
        },
        ...parts,
      ),
    );
  }

  function rows(list) {
    const cell = (value, more = "") => el("td", { class: `n ${more}`, title: grouped(value) }, compact(value));
    byId("days-rows").replaceChildren(
      ...[...list]
        .reverse()
        .map((row) =>
          el(
            "tr",
            null,
            el("th", { scope: "row" }, row.keys.day ?? ""),
            el("td", null, el("bdi", null, safe(row.keys.model ?? "unknown"))),
            cell(row.input_tokens, "w4"),
            cell(row.output_tokens),
            cell(row.cache_creation_input_tokens, "w2"),
            cell(row.cache_read_input_tokens, "w2"),
            cell(row.total_tokens),
            el("td", { class: "n" }, usd(row.estimated_cost_usd)),
          ),
        ),
    );
  }
  return { render };
}

/** The number of the colour of each series, by its name and not by its place, which changes with every sum. Pure. */
export function colours(series) {
  const free = Array.from({ length: SERIES_MAX }, (_, number) => number);
  // The last colour is the grey of others; a model has it only where all the others are taken.
  const taken = new Map(series.includes(OTHERS) ? [[OTHERS, free.pop()]] : []);
  for (const name of series.filter((one) => !taken.has(one)).sort()) {
    const wanted = hash(name) % (SERIES_MAX - 1);
    const number = [...free.filter((one) => one >= wanted && one < SERIES_MAX - 1), ...free][0];
    taken.set(name, number);
    free.splice(free.indexOf(number), 1);
  }
  return taken;
}

/** FNV-1a, 32 bits. */
const hash = (name) => [...name].reduce((sum, c) => Math.imul(sum ^ c.codePointAt(0), 0x01000193) >>> 0, 0x811c9dc5);

/** Models with most tokens first, at most `SERIES_MAX` of them by name. */
function models(days) {
  const sums = new Map();
  for (const one of days) for (const [model, tokens] of one.byModel) sums.set(model, (sums.get(model) ?? 0) + tokens);
  const names = [...sums]
    .filter(([, tokens]) => tokens > 0)
    .sort((a, b) => b[1] - a[1])
    .map(([model]) => model);
  return names.length > SERIES_MAX ? [...names.slice(0, SERIES_MAX - 1), OTHERS] : names;
}

const seriesOf = (model, series) => (series.includes(model) ? model : OTHERS);
