// The state of the page: documents and events in, the next state out. Pure: no clock, no network, no elements.
//
// A part that did not change stays the same object, so views compare parts by identity. Documents and events overlap: what
// an event said after the request of a document was sent is newer than the document. Totals are replaced by newer totals;
// a difference is added only where the snapshot of the same stream gave the base.

/** Most entries of what happened since the page was opened. */
export const JOURNAL_MAX = 200;
/** Most runs kept; those without news for longest go first. */
export const RUNS_MAX = 5_000;
/** Span of a rate, in milliseconds. */
export const RATE_MS = 60_000;

const TOKENS = [
  "messages",
  "advisor_calls",
  "input_tokens",
  "output_tokens",
  "cache_creation_input_tokens",
  "cache_read_input_tokens",
  "total_tokens",
];

export const accountKey = (of) => `${of.provider}/${of.account}`;
export const windowKey = (of) => `${accountKey(of)}/${of.window}`;

export const empty = () => ({
  /** The commit of the last event. */
  sequence: 0,
  /** Since when every event is received, in the collector's milliseconds; null before the first. */
  watchedSince: null,
  summary: null,
  windows: null,
  accounts: null,
  mayStart: null,
  /** When that was answered. */
  mayStartAt: null,
  /** True if that answer says nothing about now: the page was hidden, or the clock was set. */
  isAwaited: false,
  capacity: null,
  leases: null,
  runs: null,
  runsTotal: null,
  health: null,
  /** The last event of health: the document may be newer. */
  healthSaid: null,
  thresholds: null,
  refusals: null,
  journal: [],
});

const time = (text) => Date.parse(text);

/** Rows of a document by key; rows that events changed after `since` stay. */
function merged(rows, key, known, since) {
  const next = new Map();
  for (const row of rows) {
    const old = known?.get(key(row));
    next.set(key(row), old?.sequence > since ? old : row);
  }
  for (const [name, old] of known ?? []) if (old.sequence > since && !next.has(name)) next.set(name, old);
  return next;
}

/** The longer list of the two, by a key, oldest first: a snapshot has the last few, `/v1/quota` many. */
function joined(known, rows, key) {
  const all = new Map((known ?? []).map((row) => [key(row), row]));
  const before = all.size;
  for (const row of rows) if (!all.has(key(row))) all.set(key(row), row);
  if (known && all.size === before) return known;
  return [...all.values()].sort((a, b) => time(a.at) - time(b.at));
}

const thresholdKey = (row) => row.number;
const refusalKey = (row) => `${row.at} ${windowKey(row)}`;

/** The document of `/v1/quota`, asked for when `since` was the last commit; all of it is newer without one. */
export function withQuota(state, quota, since = Infinity) {
  return {
    ...state,
    windows: merged(quota.windows, windowKey, state.windows, since),
    accounts: new Map(quota.accounts.map((account) => [accountKey(account), account])),
    thresholds: joined(state.thresholds, quota.thresholds_fired, thresholdKey),
    refusals: joined(state.refusals, quota.limit_events, refusalKey),
  };
}

export function withLeases(state, rows, since) {
  return { ...state, leases: merged(rows, (row) => row.id, state.leases, since) };
}

/** A page of runs. What is no longer on it stays, unless a snapshot began anew. */
export function withRuns(state, rows, total, since) {
  const runs = new Map(state.runs ?? []);
  for (const row of rows) {
    const old = runs.get(row.id);
    const isNewer = old?.sequence > since;
    const kept = isNewer
      ? { ...pick(old, TOKENS), malformed_lines: old.malformed_lines, last_activity: old.last_activity }
      : {};
    runs.set(row.id, {
      ...row,
      ...kept,
      recent: old?.recent ?? [],
      sequence: old?.sequence ?? 0,
      complete_row: true,
    });
  }
  return { ...state, runs: bounded(runs), runsTotal: total ?? state.runsTotal };
}

const pick = (from, names) =>
  Object.fromEntries(names.filter((name) => name in from).map((name) => [name, from[name]]));

function bounded(runs) {
  if (runs.size <= RUNS_MAX) return runs;
  return new Map(latest(runs, RUNS_MAX).map((run) => [run.id, run]));
}

/** The runs with the latest activity, first come first. */
export function latest(runs, count) {
  const activity = (run) => run.last_activity ?? "";
  const rows = [...(runs?.values() ?? [])];
  rows.sort((a, b) => (activity(a) < activity(b) ? 1 : activity(a) > activity(b) ? -1 : a.id < b.id ? -1 : 1));
  return rows.slice(0, count);
}

/** Tokens in the last minute; null as long as the run was not watched for one. */
export function rate(run, watchedSince, now) {
  if (watchedSince === null || now - watchedSince < RATE_MS) return null;
  return run.recent.reduce((sum, [at, tokens]) => (now - at < RATE_MS ? sum + tokens : sum), 0);
}

/** The state after events, in their order. `now` is the collector's time, for rates. */
export function foldAll(state, events, now) {
  const next = { ...state };
  // The maps are copied once for all events.
  const copied = new Set();
  const own = (name) => {
    if (!copied.has(name)) next[name] = new Map(next[name] ?? []);
    copied.add(name);
    return next[name];
  };
  for (const { event, data } of events) {
    if (data.sequence > next.sequence) next.sequence = data.sequence;
    FOLDS[event]?.(next, data, own, now);
  }
  return next;
}

export const fold = (state, event, now = 0) => foldAll(state, [event], now);

function begin(next, data, own, now) {
  // What was known before may lack anything: documents are asked for again, and their rows are all new.
  const { quota, ...summary } = data.snapshot;
  const { windows, accounts, thresholds, refusals } = withQuota(
    { ...empty(), thresholds: next.thresholds, refusals: next.refusals },
    quota,
  );
  Object.assign(next, {
    summary,
    windows,
    accounts,
    thresholds,
    refusals,
    mayStart: quota.may_start,
    mayStartAt: now,
    isAwaited: false,
  });
  Object.assign(next, {
    sequence: data.sequence,
    watchedSince: now,
    runs: null,
    runsTotal: null,
    leases: null,
    capacity: null,
  });
}

function note(next, entry) {
  next.journal = [entry, ...next.journal].slice(0, JOURNAL_MAX);
}

function usage(next, data, own, now) {
  if (next.summary) {
    const totals = { ...next.summary.totals };
    for (const name of TOKENS.slice(2)) totals[name] += data.delta[name];
    // The cost is only as new as the snapshot.
    delete totals.estimated_cost_usd;
    next.summary = {
      ...next.summary,
      totals,
      messages: next.summary.messages + data.delta.messages,
      advisor_calls: next.summary.advisor_calls + data.delta.advisor_calls,
    };
  }
  if (data.run === null || !next.runs) return;
  const runs = own("runs");
  const old = runs.get(data.run);
  const recent = (old?.recent ?? []).filter(([at]) => now - at < RATE_MS);
  const tokens = data.delta.total_tokens;
  const last = recent.at(-1);
  if (last && now - last[0] < 1_000) recent[recent.length - 1] = [last[0], last[1] + tokens];
  else if (tokens) recent.push([now, tokens]);
  runs.set(data.run, {
    ...old,
    ...data.totals,
    id: data.run,
    provider: data.provider,
    account: data.account,
    state: "live",
    last_activity: later(old?.last_activity, data.at),
    sequence: data.sequence,
    recent,
  });
  next.runs = bounded(runs);
}

const later = (a, b) => (a && a > b ? a : b);

function run(next, data, own) {
  note(next, { kind: "run", ...data });
  if (!next.runs) return;
  const runs = own("runs");
  if (data.phase === "forgotten") return void runs.delete(data.run);
  const old = runs.get(data.run);
  const state = data.phase === "stopped" ? "stopped" : "live";
  runs.set(data.run, {
    recent: [],
    ...old,
    ...data.totals,
    id: data.run,
    provider: data.provider,
    account: data.account,
    labels: data.labels,
    state,
    stop_reason: data.reason ?? null,
    sequence: data.sequence,
  });
}

function lease(next, data, own) {
  note(next, { kind: "lease", ...data });
  if (!next.leases) return;
  const leases = own("leases");
  const isHeld = data.phase === "granted" || data.phase === "bound";
  if (isHeld) leases.set(data.lease.id, { ...data.lease, sequence: data.sequence });
  else leases.delete(data.lease.id);
}

function account(next, data, own) {
  note(next, { kind: "account", ...data });
  if (!next.accounts) return;
  const accounts = own("accounts");
  const old = accounts.get(accountKey(data));
  const { state, until, reason, sentence } = data;
  if (old) accounts.set(accountKey(data), { ...old, state, until, reason, sentence });
}

function health(next, data) {
  const { status, ready, reasons } = data;
  const is = (one) => one?.status === status && String(one.reasons) === String(reasons);
  // Compared with what was said before, as the document may have had the news already.
  if ((next.healthSaid ?? next.health) && !is(next.healthSaid ?? next.health)) note(next, { kind: "health", ...data });
  next.healthSaid = data;
  if (!is(next.health)) next.health = { ...next.health, status, ready, reasons };
}

const FOLDS = {
  snapshot: begin,
  gap: begin,
  usage,
  run,
  lease,
  account,
  health,
  window(next, data, own) {
    if (data.rolled_over) note(next, { kind: "reset", ...data });
    if (next.windows) own("windows").set(windowKey(data.window), { ...data.window, sequence: data.sequence });
  },
  threshold(next, data) {
    next.thresholds = joined(next.thresholds, [data], thresholdKey);
  },
  probe: (next, data) => note(next, { kind: "probe", ...data }),
};
