// What the page computes, without a browser: node --test tests/page/fold.test.mjs

import assert from "node:assert/strict";
import test from "node:test";

import { segments } from "../../src/api/page/chart.js";
import { Clock } from "../../src/api/page/clock.js";
import { byDay, lastDays, nice } from "../../src/api/page/days.js";
import { entries } from "../../src/api/page/events.js";
import * as folds from "../../src/api/page/fold.js";
import * as format from "../../src/api/page/format.js";
import { course } from "../../src/api/page/pace.js";
import { Refresh } from "../../src/api/page/refresh.js";
import { SseParser } from "../../src/api/page/sse.js";

const { empty, fold, foldAll, latest, rate, withLeases, withQuota, withRuns } = folds;
const T = Date.parse("2026-10-05T12:00:00Z");
const MINUTE = 60_000,
  HOUR = 3_600_000;
const iso = (ms) => new Date(ms).toISOString();

const window = (more = {}) => ({
  provider: "claude",
  account: "max-1",
  window: "five_hour",
  utilization: 0.5,
  utilization_at: iso(T),
  observed_at: iso(T),
  status: "allowed",
  state: "fresh",
  reset_at: iso(T + 2 * HOUR),
  window_started_at: iso(T - 3 * HOUR),
  exhausted_until: null,
  refused: false,
  pace: { delta: -0.1, zone: "on_track" },
  projected_exhaustion_at: null,
  source: "headers",
  ...more,
});
const account = (more = {}) => ({
  provider: "claude",
  account: "max-1",
  state: "available",
  causes: [],
  recoveries: [],
  ...more,
});
const quota = (more = {}) => ({
  windows: [window()],
  accounts: [account()],
  limit_events: [],
  thresholds_fired: [],
  may_start: { decision: "allow", candidates: [] },
  ...more,
});
const sums = (total, more = {}) => ({
  messages: 1,
  advisor_calls: 0,
  input_tokens: total,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  total_tokens: total,
  ...more,
});
const snapshot = (sequence, more = {}) => ({
  event: "snapshot",
  data: {
    sequence,
    snapshot: { now: iso(T), messages: 10, advisor_calls: 0, totals: sums(1_000), quota: quota(), ...more },
  },
});
const usage = (sequence, run, total, delta, at = T) => ({
  event: "usage",
  data: {
    sequence,
    at: iso(at),
    run,
    provider: "claude",
    account: "max-1",
    models: {},
    delta: sums(delta),
    totals: { ...sums(total), malformed_lines: 0 },
  },
});
const row = (id, total, at = T) => ({
  id,
  state: "live",
  provider: "claude",
  account: "max-1",
  last_activity: iso(at),
  malformed_lines: 0,
  ...sums(total),
});
const started = () => withRuns(fold(empty(), snapshot(100), T), [row("a", 500)], 1, 100);

test("a fold changes nothing of the state before it", () => {
  const freeze = (value) => {
    if (value instanceof Map) [...value.values()].forEach(freeze);
    else if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(freeze);
    return value;
  };
  const state = freeze(started());
  const runs = new Map(state.runs);
  const next = foldAll(
    state,
    [
      usage(101, "a", 600, 100),
      usage(101, "b", 50, 50),
      { event: "window", data: { sequence: 102, window: window({ utilization: 0.6 }) } },
      { event: "account", data: { sequence: 103, at: iso(T), ...account({ state: "exhausted" }) } },
      { event: "threshold", data: { sequence: 104, number: 1, at: iso(T), ...window(), threshold: 75 } },
    ],
    T,
  );
  assert.deepEqual(state.runs, runs);
  assert.equal(state.windows.get("claude/max-1/five_hour").utilization, 0.5);
  assert.equal(next.windows.get("claude/max-1/five_hour").utilization, 0.6);
  assert.equal(next.accounts.get("claude/max-1").state, "exhausted");
  assert.equal(next.thresholds.length, 1);
  assert.equal(next.capacity, state.capacity);
});

test("what no event changes stays the same object", () => {
  const state = started();
  const next = fold(state, usage(101, "a", 600, 100), T);
  for (const part of ["windows", "accounts", "thresholds", "refusals", "journal", "leases"])
    assert.equal(next[part], state[part], part);
  assert.notEqual(next.runs, state.runs);
  assert.equal(fold(state, { event: "of-the-future", data: { sequence: 200 } }).sequence, 200);
});

test("totals are replaced by newer totals, and are not a sum of differences", () => {
  let state = started();
  state = fold(state, usage(101, "a", 600, 100), T);
  assert.equal(state.runs.get("a").total_tokens, 600);
  // A better copy took something away, and the difference of the event before was lost.
  state = fold(state, usage(103, "a", 550, -30), T);
  assert.equal(state.runs.get("a").total_tokens, 550);
  assert.equal(state.summary.totals.total_tokens, 1_000 + 100 - 30);
});

test("without a base nothing is added", () => {
  const state = fold(empty(), usage(101, "a", 600, 100), T);
  assert.equal(state.summary, null);
  assert.equal(state.runs, null);
});

test("an event of an unknown run has its totals", () => {
  const state = fold(started(), usage(101, "new", 70, 20), T);
  assert.equal(state.runs.get("new").total_tokens, 70);
  assert.equal(state.runs.get("new").state, "live");
});

test("a document does not undo the events that came after its request", () => {
  const state = foldAll(
    started(),
    [usage(101, "a", 600, 100), { event: "window", data: { sequence: 102, window: window({ utilization: 0.6 }) } }],
    T,
  );
  const old = withQuota(withRuns(state, [{ ...row("a", 500), problem: "late" }], 7, 100), quota(), 100);
  assert.equal(old.runs.get("a").total_tokens, 600);
  assert.equal(old.runs.get("a").problem, "late");
  assert.equal(old.runsTotal, 7);
  assert.equal(old.windows.get("claude/max-1/five_hour").utilization, 0.6);
  const later = withQuota(withRuns(state, [row("a", 590)], 7, 102), quota(), 102);
  assert.equal(later.runs.get("a").total_tokens, 590);
  assert.equal(later.windows.get("claude/max-1/five_hour").utilization, 0.5);
});

test("leases come and go", () => {
  const lease = (phase, sequence, id = "l1") => ({
    event: "lease",
    data: { sequence, at: iso(T), phase, lease: { id, provider: "claude", account: "max-1", run: null } },
  });
  let state = withLeases(started(), [], 100);
  state = foldAll(
    state,
    [lease("granted", 101), lease("granted", 102, "l2"), lease("bound", 103), lease("released", 104)],
    T,
  );
  assert.deepEqual([...state.leases.keys()], ["l2"]);
  assert.equal(state.journal.length, 4);
});

test("a gap begins everything anew", () => {
  let state = foldAll(started(), [usage(101, "a", 600, 100)], T);
  const gap = {
    event: "gap",
    data: { ...snapshot(900, { messages: 3, totals: sums(7) }).data, reason: "too_old", missed_from: 101 },
  };
  state = fold(state, gap, T + HOUR);
  assert.equal(state.runs, null);
  assert.equal(state.summary.totals.total_tokens, 7);
  assert.equal(state.sequence, 900);
  assert.equal(state.watchedSince, T + HOUR);
  state = fold(state, usage(901, "a", 620, 20), T + HOUR);
  assert.equal(state.runs, null, "no run without the list of runs");
  assert.equal(state.summary.totals.total_tokens, 27);
});

test("thresholds are joined by their numbers", () => {
  const fired = (number, at = T) => ({
    number,
    at: iso(at),
    provider: "claude",
    account: "max-1",
    window: "five_hour",
    threshold: 75,
    utilization: 0.76,
  });
  let state = fold(empty(), snapshot(1, { quota: quota({ thresholds_fired: [fired(8), fired(9)] }) }), T);
  state = withQuota(state, quota({ thresholds_fired: [1, 2, 8, 9].map((number) => fired(number, T + number)) }), 1);
  state = foldAll(
    state,
    [
      { event: "threshold", data: { sequence: 5, ...fired(10, T + 10) } },
      { event: "threshold", data: { sequence: 6, ...fired(10, T + 10) } },
    ],
    T,
  );
  assert.deepEqual(
    state.thresholds.map((one) => one.number).sort((a, b) => a - b),
    [1, 2, 8, 9, 10],
  );
  assert.equal(entries(state).length, 5);
});

test("runs are bounded, and the latest come first", () => {
  const rows = Array.from({ length: folds.RUNS_MAX + 20 }, (_, index) => row(`r${index}`, 1, T + index));
  const state = withRuns(fold(empty(), snapshot(1), T), rows, rows.length, 1);
  assert.equal(state.runs.size, folds.RUNS_MAX);
  assert.deepEqual(
    latest(state.runs, 2).map((run) => run.id),
    [`r${folds.RUNS_MAX + 19}`, `r${folds.RUNS_MAX + 18}`],
  );
});

test("a rate is unknown until a minute was watched, and then that of the last minute", () => {
  let state = started();
  state = fold(state, usage(101, "a", 600, 100, T + MINUTE), T + MINUTE);
  state = fold(state, usage(102, "a", 900, 300, T + 90_000), T + 90_000);
  const run = () => state.runs.get("a");
  assert.equal(rate(run(), state.watchedSince, T + 30_000), null);
  assert.equal(rate(run(), state.watchedSince, T + 95_000), 400);
  assert.equal(rate(run(), state.watchedSince, T + 125_000), 300);
  assert.equal(rate(run(), state.watchedSince, T + HOUR), 0);
});

test("health is noted when it changes", () => {
  const health = (status, reasons = []) => ({ event: "health", data: { at: iso(T), status, ready: true, reasons } });
  const state = foldAll(empty(), [health("ok"), health("ok"), health("degraded", ["late"]), health("ok")], T);
  assert.deepEqual(
    state.journal.map((one) => one.status),
    ["ok", "degraded"],
  );
});

test("a stream is read the same, wherever its bytes are cut", () => {
  const bytes = new TextEncoder().encode(
    '\ufeffid: 7.1\nevent: usage\ndata: {"run":"größe-✓-\u202e"}\n\n: still here\nid: 8\n\nid:9\r\ndata: a\r\ndata:b\r\n\r\nretry: 5\rdata\r\rdata: unfinished\n',
  );
  const read = (chunks) => {
    const parser = new SseParser();
    return [chunks.flatMap((chunk) => parser.push(chunk)), parser.lastId];
  };
  const whole = read([bytes]);
  assert.deepEqual(whole, [
    [
      { event: "usage", data: '{"run":"größe-✓-\u202e"}', id: "7.1" },
      { event: "message", data: "a\nb", id: "9" },
      { event: "message", data: "", id: "9" },
    ],
    "9",
  ]);
  for (let cut = 0; cut <= bytes.length; cut++)
    assert.deepEqual(read([bytes.slice(0, cut), bytes.slice(cut)]), whole, `cut at ${cut}`);
  assert.deepEqual(read([...bytes].map((byte) => Uint8Array.of(byte))), whole);
});

test("an id without data counts, and one of an unfinished event does not", () => {
  const parser = new SseParser();
  const push = (text) => parser.push(new TextEncoder().encode(text));
  assert.deepEqual(push(": still here\nid: 12\n\n"), []);
  assert.equal(parser.lastId, "12");
  push("id: 13\ndata: x\n");
  assert.equal(parser.lastId, "12");
});

test("the clock is corrected by the document with the least doubt", () => {
  let local = 1_000_000;
  const clock = new Clock(() => local);
  clock.sample(local + 90_000, local - 400, local + 400);
  assert.equal(clock.now(), local + 90_000);
  clock.sample(local + 90_050, local - 10, local + 10);
  assert.equal(clock.now(), local + 90_050);
  clock.sample(local + 90_300, local - 500, local + 500);
  assert.equal(clock.now(), local + 90_050, "a worse sample changes nothing");
  clock.sample(NaN, local, local);
  assert.equal(clock.now(), local + 90_050);
  local -= 3_600_000;
  clock.sample(local + 3_690_000, local - 50, local + 50);
  assert.equal(clock.now(), local + 3_690_000, "a clock that was set is noticed at once");
});

test("a window's course at a moment", () => {
  const at = (more, now = T) => course(window(more), now);
  const { kind, expected, delta, zone, runsOutAt } = at({});
  assert.deepEqual([kind, expected, delta.toFixed(4), zone, runsOutAt], ["fresh", 0.6, "-0.1000", "on_track", NaN]);
  assert.equal(at({ utilization: 0.9 }).zone, "hot");
  assert.equal(at({ utilization: 0.9 }).runsOutAt, T - 3 * HOUR + (3 * HOUR) / 0.9);
  assert.equal(at({ utilization: 0.3 }).zone, "chill");
  assert.equal(at({}, T + 5 * MINUTE - 1).kind, "fresh");
  assert.equal(at({}, T + 5 * MINUTE).kind, "stale");
  assert.equal(at({}, T + 2 * HOUR).kind, "expired");
  assert.equal(at({}, T + 2 * HOUR).share, null);
  assert.deepEqual([at({ utilization: null }).kind, at({ utilization: null }).share], ["unknown", null]);
  const refused = { refused: true, exhausted_until: iso(T + HOUR), utilization: 0.92 };
  assert.equal(at(refused).kind, "exhausted");
  assert.equal(at(refused, T + 2 * HOUR).kind, "expired");
  assert.equal(at({ reset_at: null, window_started_at: null }).zone, "none");
  assert.equal(at({ window_started_at: iso(T - MINUTE), reset_at: iso(T + 5 * HOUR) }).zone, "none", "too early");
});

test("a history of steps keeps peaks, and gaps stay open", () => {
  const point = (minutes, utilization, more = {}) => ({
    at: iso(T + minutes * MINUTE),
    utilization,
    max: utilization,
    reset_at: iso(T + 5 * HOUR),
    ...more,
  });
  const lines = segments(
    [
      point(0, 0.1),
      point(5, 0.2, { max: 0.35 }),
      point(10, 0.2),
      point(12, null),
      point(60, 0.4),
      point(65, 0.5),
      point(70, 0.01, { reset_at: iso(T + 10 * HOUR) }),
      point(75, 0.02, { reset_at: iso(T + 10 * HOUR + 60_000) }),
    ],
    5 * MINUTE,
  );
  assert.deepEqual(
    lines.map((line) => line.map((one) => one.share)),
    [
      [0.1, 0.35, 0.2],
      [0.4, 0.5],
      [0.01, 0.02],
    ],
  );
});

test("usage by day has every day, and the sums of the document", () => {
  const rows = [
    { keys: { day: "2026-10-04", model: "a" }, ...sums(10, { cache_read_input_tokens: 5, total_tokens: 15 }) },
    { keys: { day: "2026-10-04", model: "b" }, ...sums(1) },
    { keys: { day: "2026-09-01", model: "b" }, ...sums(9) },
  ];
  const days = byDay(rows, ["2026-10-03", "2026-10-04"]);
  assert.deepEqual(
    days.map((one) => [one.day, one.total, one.cache, one.all]),
    [
      ["2026-10-03", 0, 0, 0],
      ["2026-10-04", 11, 5, 16],
    ],
  );
  // The clock goes back on 2026-10-25 in Berlin, and forward on 2026-03-29.
  for (const date of ["2026-10-27", "2026-03-31"]) {
    const names = lastDays(7, Date.parse(`${date}T22:30:00Z`), "Europe/Berlin");
    assert.equal(new Set(names).size, 7);
    assert.deepEqual(names, [...names].sort());
  }
  assert.deepEqual([0, 7, 1_100, 2_400, 99].map(nice), [1, 10, 2_000, 2_500, 100]);
});

test("numbers in the words of the command line; what is unknown is never zero", () => {
  const { compact, countdown, grouped, length, percent, usd, bytes } = format;
  assert.deepEqual([0, 999, 1_000, 12_345, 999_499, 999_999, 2_310_000, 1e9].map(compact), [
    "0",
    "999",
    "1.00k",
    "12.3k",
    "999k",
    "1.00M",
    "2.31M",
    "1.00B",
  ]);
  assert.equal(grouped(1_234_567), "1,234,567");
  assert.match(grouped(Number(18_446_744_073_709_551_615n)), /^about 18,446,744/);
  for (const none of [null, undefined, NaN])
    for (const of of [compact, grouped, percent, usd, bytes]) assert.equal(of(none), "unknown");
  assert.deepEqual([0, 59, 60, 61, 3_600, 6_960, 86_400 * 3 + 4 * 3_600].map(length), [
    "0 s",
    "59 s",
    "1 min",
    "2 min",
    "1 h",
    "1 h 56 min",
    "3 d 4 h",
  ]);
  assert.equal(countdown(47 * MINUTE + 12_000), "47 min 12 s");
  assert.equal(percent(0.44), "44.0 %");
  assert.equal(usd(1_234.5), "$1,234.50");
  assert.equal(bytes(1_023.97 * 1_024), "1.0 MiB");
});

test("times on the local clock, and UTC in titles", () => {
  const { clock, day, offset, utc } = format;
  assert.equal(clock(T, T, "Europe/Berlin"), "14:00");
  assert.equal(clock(T + 30 * HOUR, T, "Europe/Berlin"), "Tue 20:00");
  assert.equal(clock(T + 200 * HOUR, T, "UTC"), "2026-10-13 20:00");
  assert.equal(clock(NaN, T), "unknown");
  assert.equal(utc(T), "2026-10-05 12:00:00 UTC");
  assert.equal(day(Date.parse("2026-10-05T23:30:00Z"), "Asia/Kathmandu"), "2026-10-06");
  assert.deepEqual(
    [0, -60, 210, -345].map((minutes) => offset(T, minutes)),
    ["UTC", "UTC+1", "UTC-3:30", "UTC+5:45"],
  );
});

test("hostile names are written out", () => {
  const { safe } = format;
  assert.equal(safe("evil\u202egnp.exe"), "evil⟨202E⟩gnp.exe");
  assert.equal(
    safe("a\u0000\n\u001b[31m\u200b\u2066\u{e0001}\ud800"),
    "a⟨0000⟩⟨000A⟩⟨001B⟩[31m⟨200B⟩⟨2066⟩⟨E0001⟩⟨D800⟩",
  );
  assert.equal(safe("größe ✓ 模型 <img src=x>"), "größe ✓ 模型 <img src=x>");
  const journal = [{ kind: "run", sequence: 1, at: iso(T), run: "x\u202e", phase: "started" }];
  assert.equal(entries({ ...empty(), journal })[0].words, "run x⟨202E⟩ started");
});

test("a document is asked for by one request at a time, and again after a failure", async () => {
  const errors = [];
  const refresh = new Refresh((name, error) => errors.push(error?.message ?? null));
  let finish,
    count = 0;
  refresh.add("quota", 60_000, () => (count++, new Promise((resolve, reject) => (finish = { resolve, reject }))));
  refresh.tick(T);
  refresh.due(["quota"], T + 10);
  refresh.tick(T + 20);
  assert.equal(count, 1);
  finish.resolve();
  await new Promise(setImmediate);
  refresh.tick(T + 30);
  assert.equal(count, 2, "what became old meanwhile is asked for again");
  finish.reject(new Error("away"));
  await new Promise(setImmediate);
  refresh.tick(T + 3_000);
  assert.equal(count, 2);
  refresh.tick(T + 6_000);
  assert.equal(count, 3);
  finish.resolve();
  await new Promise(setImmediate);
  assert.deepEqual(errors, ["away", null]);
});
