// What the page computes, without a browser: node --test tests/page/fold.test.mjs

import assert from "node:assert/strict";
import test from "node:test";

import { deciding, segments } from "../../src/api/page/chart.js";
import { byDay, colours, lastDays, nice } from "../../src/api/page/days.js";
import { entries } from "../../src/api/page/events.js";
import * as folds from "../../src/api/page/fold.js";
import { course, isOfFamily, keeps } from "../../src/api/page/pace.js";
import { full } from "../../src/api/page/places.js";
import { end, isOld } from "../../src/api/page/verdict.js";

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
  assert.equal(entries(state).filter((one) => one.kind === "threshold").length, 5);
});

test("what happened before the page was opened is in the list once", () => {
  const lease = {
    id: "7-9",
    provider: "claude",
    account: "max-1",
    run: "r7",
    granted_at: iso(T - HOUR),
    bound_at: null,
  };
  const seven = window({ window: "seven_day", state: "expired", reset_at: iso(T - MINUTE), window_started_at: null });
  const rolled = (of) => ({ event: "window", data: { at: iso(T), sequence: 5, rolled_over: true, window: of } });
  let state = fold(empty(), snapshot(1, { quota: quota({ windows: [window(), seven] }) }), T);
  state = withLeases(state, [lease], 1);
  state = { ...state, health: { since: iso(T - 9 * HOUR) } };
  const list = () => entries(state).map((one) => [one.kind, one.words, one.at - T]);
  const before = [
    ["reset", "claude/max-1 seven_day ended; its new share is not known yet", -MINUTE],
    ["lease", "lease of claude/max-1 granted, run r7", -HOUR],
    ["reset", "claude/max-1 five_hour began", -3 * HOUR],
    ["health", "the collector started", -9 * HOUR],
  ];
  assert.deepEqual(list(), before);
  // The same lease and the same start, with the jitter of its time, again as events.
  state = foldAll(
    state,
    [
      { event: "lease", data: { sequence: 4, at: iso(T - HOUR), phase: "granted", lease } },
      rolled(window({ window_started_at: iso(T - 3 * HOUR + 90_000) })),
    ],
    T,
  );
  assert.deepEqual(list().slice(0, 2), before.slice(0, 2));
  assert.equal(list().length, 4);
  // The next one is another.
  const next = window({ window_started_at: iso(T + 2 * HOUR), reset_at: iso(T + 7 * HOUR) });
  state = fold(state, rolled(next), T + 2 * HOUR);
  assert.deepEqual(
    list()
      .filter(([kind, words]) => kind === "reset" && words.includes("five_hour"))
      .map(([, , at]) => at),
    [2 * HOUR, -3 * HOUR + 90_000],
  );
});

test("the chart begins with the fullest window that decides", () => {
  const of = (...windows) => new Map(windows.map((one) => [folds.windowKey(one), one]));
  const five = window({ utilization: 0.6 }),
    seven = window({ window: "seven_day", utilization: 0.8 }),
    opus = window({ window: "seven_day_opus", refused: true, exhausted_until: iso(T + HOUR) }),
    other = window({ account: "a", utilization: 0.99 });
  const max = { provider: "claude", account: "max-1", binding_window: "seven_day" },
    team = { provider: "claude", account: "a", binding_window: null };
  const key = (windows, mayStart) => deciding({ windows, mayStart }, T);
  const all = of(other, five, seven, opus);
  assert.equal(key(all, { chosen: max, candidates: [team, max] }), "claude/max-1/seven_day");
  assert.equal(key(all, { chosen: null, candidates: [team, max] }), "claude/a/five_hour");
  // A family's window is the one only where it binds.
  const bound = { ...max, binding_window: "seven_day_opus" };
  assert.equal(key(all, { chosen: null, candidates: [bound] }), "claude/max-1/seven_day_opus");
  const expired = window({ window: "seven_day", state: "expired", utilization: 0.9 });
  assert.equal(key(of(expired, five), { chosen: max, candidates: [max] }), "claude/max-1/five_hour");
  assert.equal(key(of(), null), null);
  assert.equal(key(of(five), null), "claude/max-1/five_hour");
});

test("an old answer says nothing about now, and places are in plain words", () => {
  assert.equal(isOld({ mayStartAt: T }, T + 60_000), false);
  assert.equal(isOld({ mayStartAt: T }, T + 2 * MINUTE), true);
  // The page was hidden, or the clock was set: the next answer, or a snapshot, ends that.
  const awaited = { ...empty(), mayStartAt: T, isAwaited: true };
  assert.equal(isOld(awaited, T), true);
  assert.equal(isOld(fold(awaited, snapshot(1), T), T), false);
  assert.deepEqual(["five_hour", "seven_day", "seven_day_opus", "weekly_scoped:x", "overage"].map(isOfFamily), [
    false,
    false,
    true,
    true,
    false,
  ]);
  assert.equal(full({ by: "concurrency", concurrency: 4 }, "available"), "4 of 4 places taken");
  assert.equal(full({ by: "verdict" }, "exhausted"), "the account is blocked");
  assert.equal(full({ by: "verdict" }, "unknown"), "its state is not known well enough");
  assert.equal(full({ by: "a later one" }, "exhausted"), "the account is blocked");
  // Words for each `by` of the capacity.
  for (const by of ["ramp", "headroom", "reserve", "probe", "refused", "cool_down", "leases"])
    assert.match(full({ by }, "available"), /^[a-z ]{12,}$/, by);
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

test("news of health is noted though the document had it already", () => {
  const health = (status) => ({ event: "health", data: { at: iso(T), status, ready: true, reasons: [] } });
  let state = foldAll(empty(), [health("ok"), health("unhealthy")], T);
  state = { ...state, health: { status: "ok", reasons: [] } };
  state = foldAll(state, [health("ok"), health("ok")], T);
  assert.deepEqual(
    state.journal.map(({ status }) => status).sort(),
    ["ok", "unhealthy"],
  );
});

test("health is noted when it changes", () => {
  const health = (status, reasons = []) => ({ event: "health", data: { at: iso(T), status, ready: true, reasons } });
  const state = foldAll(empty(), [health("ok"), health("ok"), health("degraded", ["late"]), health("ok")], T);
  assert.deepEqual(
    state.journal.map((one) => one.status),
    ["ok", "degraded"],
  );
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

test("an account that keeps a part of a window is blocked before the window is used up", () => {
  const keeping = account({ minimum_left: { five_hour: 10 } });
  assert.equal(keeps(keeping, window()), 0.1);
  assert.equal(keeps(account(), window()), 0);
  const of = (kept) => course(window({ utilization: 0.75 }), T, kept);
  assert.equal(of(0).runsOutAt, T + HOUR);
  assert.equal(of(0).blockedAt, T + HOUR);
  // 0.25 of the window in an hour.
  assert.ok(Math.abs(of(0.1).blockedAt - (T + 0.6 * HOUR)) < 1);
  assert.equal(of(0.1).runsOutAt, T + HOUR);
  const lasts = course(window({ utilization: 0.57 }), T, 0.1);
  assert.deepEqual([lasts.runsOutAt, lasts.blockedAt < T + 2 * HOUR], [NaN, true]);
  // The headline has the same.
  const chosen = { provider: "claude", account: "max-1" };
  const answer = { decision: "allow", chosen, candidates: [{ ...chosen, binding_window: "five_hour" }] };
  const state = withQuota(
    empty(),
    quota({ windows: [window({ utilization: 0.75 })], accounts: [keeping] }),
  );
  const { label, length, clock } = end(state, answer, NaN, T, NaN);
  assert.deepEqual([label, length], ["five_hour blocks in", "about 36 min"]);
  assert.match(clock, /^\d\d:\d\d, at this pace: 10 % are kept$/);
  const plain = end(withQuota(state, quota({ windows: [window({ utilization: 0.75 })] })), answer, NaN, T, NaN);
  assert.deepEqual([plain.label, plain.length], ["five_hour runs out in", "about 1 h"]);
});

test("an account that is blocked or near a limit is in the list after a reload", () => {
  const sentence = "claude/max-1 is blocked: five_hour was refused by the provider, free again in 30 min";
  const blocked = account({ state: "exhausted", until: iso(T + HOUR / 2), sentence });
  let state = withQuota(empty(), quota({ accounts: [blocked] }));
  const accounts = () => entries(state).filter((one) => one.kind === "account");
  assert.deepEqual(
    accounts().map(({ at, tone, until, words }) => [at, tone, until, words]),
    [[Infinity, "bad", T + HOUR / 2, sentence]],
  );
  assert.equal(entries(state)[0].kind, "account", "what is so now comes first");
  // The event says it, so it is there once, with its time.
  state = fold(state, { event: "account", data: { sequence: 9, at: iso(T), ...blocked } }, T);
  assert.deepEqual(
    accounts().map(({ at, until }) => [at, until]),
    [[T, T + HOUR / 2]],
  );
  state = withQuota(empty(), quota());
  assert.equal(accounts().length, 0);
});

test("a model has the same colour in every order", () => {
  const names = ["claude-opus-5", "claude-haiku-4-5", "gpt-6", "claude-sonnet-5"];
  const first = colours(names);
  assert.equal(new Set(first.values()).size, names.length);
  for (const name of names) assert.equal(colours([...names].reverse()).get(name), first.get(name), name);
  const many = [...names, "m1", "other models"];
  assert.equal(new Set(colours(many).values()).size, many.length);
  assert.equal(colours(many).get("other models"), 5);
  assert.deepEqual([...colours(["a", "b", "c", "d", "e", "f"]).values()].sort(), [0, 1, 2, 3, 4, 5]);
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
