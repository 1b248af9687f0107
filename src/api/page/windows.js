// A row for each account, a cell for each of its windows, and under it what blocks or bounds the account.

import { attr, byId, el, keyed, moment, named, show, svg, text } from "./dom.js";
import { accountKey, windowKey } from "./fold.js";
import { about, away, clock, compact, counted, grouped, isNumber, percent, said, safe, signed, tenths, time } from "./format.js";
import { course, keeps } from "./pace.js";
import { full } from "./places.js";

/** Shares from which a bar is a warning, and bad, as on the command line. */
const WARNING_FROM = 0.75,
  BAD_FROM = 0.9;

export function renderWindows(state, now) {
  if (!state.accounts) return;
  const root = byId("accounts");
  if (root.firstElementChild?.className.includes("skeleton")) root.replaceChildren();
  const rows = new Map([...state.accounts].map(([key, account]) => [key, { key, account, windows: [] }]));
  for (const window of state.windows.values()) {
    const key = accountKey(window);
    if (!rows.has(key)) rows.set(key, { key, account: null, windows: [] });
    rows.get(key).windows.push(window);
  }
  const capacity = new Map((state.capacity ?? []).map((one) => [accountKey(one), one]));
  keyed(
    root,
    [...rows.values()],
    (row) => row.key,
    makeAccount,
    (node, row) => updateAccount(node, row, capacity.get(row.key), now),
  );
  if (!rows.size) text(root, "No account is known yet.");
}

function makeAccount({ key }) {
  const parts = {
    state: el("span", { class: "chip" }),
    facts: el("ul", { class: "facts" }),
    cells: el("div", { class: "cells" }),
    none: el("p", { class: "note none" }, "No limit was observed yet: the use of the windows is unknown."),
    causes: el("ul", { class: "causes" }),
  };
  const head = el("div", { class: "who" }, el("h3", null, named(key)), parts.state, parts.facts);
  return Object.assign(
    el("article", { class: "account" }, head, el("div", { class: "what" }, parts.cells, parts.none, parts.causes)),
    { parts },
  );
}

function updateAccount({ parts }, { account, windows }, capacity, now) {
  attr(
    text(parts.state, (account?.state ?? "unknown").replaceAll("_", " ")),
    "data-state",
    account?.state ?? "unknown",
  );
  const line = (node, fact) => attr(text(node, fact.words), "title", fact.title);
  keyed(
    parts.facts,
    facts(account, capacity),
    (fact) => fact.key,
    () => el("li"),
    line,
  );
  keyed(parts.cells, windows, windowKey, makeCell, (node, window) =>
    updateCell(node, window, keeps(account, window), now),
  );
  show(parts.none, !windows.length);
  keyed(
    parts.causes,
    [...causes(account, now)],
    (cause) => cause.key,
    () => el("li"),
    (node, cause) => {
      attr(node, "class", cause.kind);
      moment(node, cause.words, cause.at);
    },
  );
}

/** Calls, budget, places and leases, in the words of `tokentail quota`. */
function facts(account, capacity) {
  const list = [];
  if (!account) return list;
  const quota = account.calls_quota;
  list.push({
    key: "calls",
    words: `${isNumber(quota) ? `${grouped(account.calls_5h)} of ${counted(quota, "call")}` : counted(account.calls_5h, "call")} in 5 h`,
  });
  const used = account.budget_used,
    budget = account.budget;
  list.push({
    key: "budget",
    words: isNumber(budget) ? `${compact(used)} of ${compact(budget)} tokens today` : `${compact(used)} tokens today`,
    title: isNumber(budget) ? `${grouped(used)} of ${counted(budget, "token")}` : counted(used, "token"),
  });
  if (account.leases) list.push({ key: "leases", words: counted(account.leases, "lease") });
  if (capacity && (isNumber(capacity.free) || isNumber(capacity.concurrency))) {
    list.push({
      key: "free",
      words:
        capacity.free === 0
          ? `no place free: ${full(capacity, account.state)}`
          : isNumber(capacity.free)
            ? `${counted(capacity.free, "place")} free`
            : "free places unknown",
    });
  }
  return list;
}

export function* causes(account, now) {
  // A badge alone does not say why.
  if (account && account.state !== "available" && !account.causes.length && account.sentence) {
    const own = accountKey(account);
    const words = account.sentence.startsWith(`${own} `) ? account.sentence.slice(own.length + 1) : account.sentence;
    // Its age stands in the cell of the window.
    yield { key: "sentence", kind: "cause", at: NaN, words: safe(said(words, { until: time(account.until) }, now)) };
  }
  for (const [index, cause] of (account?.causes ?? []).entries()) {
    const at = time(cause.until);
    const until = Number.isFinite(at) ? `until ${clock(at, now)}` : "until taken back";
    yield {
      key: `cause ${index}`,
      kind: "cause",
      at,
      words: `${safe(cause.reason)} (${safe(cause.kind)}), ${until}`,
    };
  }
  for (const one of account?.recoveries ?? []) {
    const at = time(one.until);
    const failures = one.failures ? `; failed tries: ${one.failures}` : "";
    const scope = one.scope ? ` of ${safe(one.scope)}` : "";
    yield {
      key: `recovery ${one.scope}`,
      kind: "recovery",
      at,
      words: `recovery${scope}: ${recovery(one, at, now)}${failures}`,
    };
  }
  if (account?.poll)
    yield {
      key: "poll",
      kind: account.poll.last_error ? "cause" : "poll",
      at: NaN,
      words: poll(account.poll, now),
    };
}

export function recovery(one, at, now) {
  const known = Number.isFinite(at);
  // Later than the end of the block itself, which has a line of its own.
  if (one.state === "open" && known)
    return one.by === "no_evidence"
      ? `the runs that tried it showed nothing; the next may at ${clock(at, now)}`
      : `leases again from ${clock(at, now)}`;
  if (one.state === "due") return "the next lease tries it";
  if (one.state === "half_open")
    return `lease ${safe(one.lease ?? "")} tries it${known ? `, until ${clock(at, now)} at most` : ""}`;
  if (one.state === "ramp" && isNumber(one.cap))
    return `${counted(one.cap, "run")} let in${known ? `, more from ${clock(at, now)} on` : ""}`;
  return safe(one.state).replaceAll("_", " ");
}

function poll(of, now) {
  const ok = time(of.last_ok),
    next = time(of.next);
  const words = of.last_error
    ? `${safe(of.last_error.code).replaceAll("_", " ")} ${away(time(of.last_error.at), now)}: ${safe(of.last_error.detail)}; ${safe(of.last_error.advice)}`
    : Number.isFinite(ok)
      ? `last answer ${away(ok, now)}`
      : "no answer since the start";
  const then =
    of.state === "in_flight"
      ? "; asking now"
      : Number.isFinite(next) && !/^(expired|forbidden|missing)$/.test(of.state)
        ? `; next ${away(next, now)}`
        : "";
  return `polled by ${safe(of.via)}: ${words}${then}`;
}

function makeCell(window) {
  const parts = {
    used: el("span", { class: "used" }),
    fill: svg("rect", { class: "fill", height: "100%" }),
    tick: svg("line", { class: "tick", y1: 0, y2: "100%" }),
    resets: el("p", { class: "resets" }),
    out: el("p", { class: "out" }),
    seen: el("p", { class: "note" }),
  };
  const bar = svg(
    "svg",
    { class: "bar", "aria-hidden": "true" },
    svg("rect", { class: "track", width: "100%", height: "100%" }),
    parts.fill,
    parts.tick,
  );
  parts.meter = el("div", { class: "meter" }, bar);
  const head = el("p", { class: "line" }, named(window.window, "window"), parts.used);
  return Object.assign(el("div", { class: "cell" }, head, parts.meter, parts.resets, parts.out, parts.seen), {
    parts,
  });
}

function updateCell(node, window, kept, now) {
  const { parts } = node;
  const at = course(window, now, kept);
  const shown = WORDS[at.kind](at, now);
  attr(node, "data-kind", at.kind);
  attr(node, "data-level", at.share >= BAD_FROM ? "bad" : at.share >= WARNING_FROM ? "warning" : "good");
  text(parts.used, shown.used);
  const isMeasured = at.kind === "fresh" || at.kind === "stale";
  attr(parts.fill, "width", at.kind === "exhausted" ? "100%" : isMeasured ? `${Math.min(100, at.share * 100)}%` : 0);
  attr(parts.fill, "fill", at.kind === "exhausted" ? "url(#hatch)" : null);
  const tick = isMeasured && at.expected !== null ? `${at.expected * 100}%` : null;
  show(parts.tick, tick !== null);
  attr(parts.tick, "visibility", tick === null ? "hidden" : null);
  attr(attr(parts.tick, "x1", tick), "x2", tick);
  moment(parts.resets, shown.resets, at.resetAt);
  moment(parts.out, shown.out, at.kind === "exhausted" ? at.until : at.blockedAt);
  const seenAt = at.kind === "exhausted" ? time(window.observed_at) : at.seenAt;
  moment(
    parts.seen,
    `${at.kind === "stale" ? "stale: " : ""}${safe(window.source)}, ${away(seenAt, now)}${shown.note ?? ""}`,
    seenAt,
  );
  // A share that is unknown is no meter at zero.
  attr(parts.meter, "role", isMeasured ? "meter" : "img");
  attr(
    parts.meter,
    "aria-label",
    isMeasured ? `${safe(windowKey(window))} used` : `${safe(windowKey(window))}: ${shown.used}`,
  );
  for (const [name, value] of [
    ["min", 0],
    ["max", 100],
    ["now", isMeasured ? tenths(Math.min(1, at.share)) : null],
  ]) {
    attr(parts.meter, `aria-value${name}`, isMeasured ? value : null);
  }
  attr(parts.meter, "aria-valuetext", isMeasured ? `${shown.used}, ${shown.out}` : null);
}

const resets = ({ resetAt }, now) =>
  Number.isFinite(resetAt) ? `resets ${away(resetAt, now)}, ${clock(resetAt, now)}` : "its reset is unknown";

function measured(at, now) {
  return { used: percent(at.share), resets: resets(at, now), out: courseWords(at, now) };
}

/** hot +25 %, runs out in about 2 h 3 min, 14:35 */
export function courseWords(at, now) {
  if (at.zone === "none") return at.share >= 1 ? "used up" : "too early for a pace";
  return `${pace(at)}, ${forecast(at, now)}`;
}

/** As on the command line: what runs out before its reset is not on track, however small the lead. */
function pace({ zone, delta, runsOutAt }) {
  if (zone !== "on_track") return `${zone} ${signed(delta)}`;
  return Number.isFinite(runsOutAt) ? `ahead ${signed(delta)}` : "on track";
}

function forecast({ kept, blockedAt, runsOutAt }, now) {
  if (!Number.isFinite(blockedAt)) return "lasts to the reset";
  if (!kept) return `runs out in ${about(runsOutAt - now)}, ${clock(runsOutAt, now)}`;
  const from = blockedAt > now ? `blocked from about ${clock(blockedAt, now)}` : "blocked";
  return `${from}: ${(kept * 100).toFixed(0)} % are kept`;
}

const WORDS = {
  fresh: measured,
  stale: measured,
  unknown: (at, now) => ({ used: "unknown", resets: resets(at, now), out: "no share was observed" }),
  expired: (at, now) => ({
    used: "expired",
    resets: Number.isFinite(at.resetAt) ? `reset passed ${away(at.resetAt, now)}` : "reset passed",
    out: "awaiting news",
  }),
  exhausted(at, now) {
    const [used, until] = at.refused ? ["refused", "refused until"] : ["exhausted", "used up until"];
    const ends = Number.isFinite(at.until);
    return {
      used,
      resets: ends ? `${until} ${clock(at.until, now)}` : "refused, its end is unknown",
      out: ends ? `free ${away(at.until, now)}` : "",
      note: isNumber(at.share) ? `; last share ${percent(at.share)}` : "",
    };
  },
};
