// The answer to "may a run start, and until when?", in sizes that are read from two metres.

import { attr, byId, el, keyed, moment, named, show, text } from "./dom.js";
import { accountKey, windowKey } from "./fold.js";
import { about, away, clock, countdown, counted, isNumber, percent, said, safe, time } from "./format.js";
import { bindsAll, course, isOfFamily, keeps } from "./pace.js";
import { full } from "./places.js";

const LEASES_SHOWN = 5;
/** The page asks every 30 s and at each change; an answer of this age, in milliseconds, is none for now. */
const ANSWER_MS_MAX = 90_000;
const SIGNS = {
  allow: "M18 33l10 10 19-21",
  wait: "M32 16v17l11 7",
  deny: "M21 21l22 22M43 21l-22 22",
  unknown: "M24 25c0-5 3.500-8 8-8s8 3 8 7.500c0 5.500-8 6-8 11.500M32 45v1",
};

/** True if the last answer says nothing about now. Pure. */
export const isOld = ({ mayStartAt, isAwaited }, now) => isAwaited || now - mayStartAt > ANSWER_MS_MAX;

/** `asksInMs` is the time until this page asks again. */
export function renderVerdict(state, now, isLost, asksInMs) {
  const answer = state.mayStart;
  if (!answer) return;
  const isStale = isLost || isOld(state, now);
  const last = Object.hasOwn(SIGNS, answer.decision) ? answer.decision : "unknown";
  // An answer of before the connection was lost is none for now.
  const decision = isStale ? "unknown" : last;
  attr(byId("verdict"), "data-decision", decision);
  attr(byId("verdict-sign"), "d", SIGNS[decision]);
  text(byId("verdict-word"), decision);
  const retryAt = time(answer.retry_at);
  const chosen = answer.chosen ? `with ${choice(answer.chosen)}` : "";
  const age = away(Math.min(state.mayStartAt ?? now, now), now);
  text(byId("verdict-with"), isStale ? `the last answer was ${last} ${chosen}`.trimEnd() + `, ${age}` : chosen);
  const until = end(state, answer, retryAt, now, isStale ? NaN : asksInMs);
  text(byId("until-label"), isStale && until.label ? `last known: ${until.label}` : until.label);
  text(byId("until-length"), until.length);
  moment(byId("until-clock"), until.clock, until.at);
  text(byId("verdict-sentence"), sentence(state, answer, now));
  const places = answer.chosen && state.capacity?.find((one) => accountKey(one) === accountKey(answer.chosen));
  const buts = decision === "allow" ? [leases(places, now), ...families(state, answer.chosen, now)].filter(Boolean) : [];
  if (show(byId("verdict-but"), buts.length > 0)) text(byId("verdict-but"), buts.join(" "));
  text(byId("asked"), `answered ${age}`);
  renderCandidates(state, answer, now);
  renderLeases(state);
  document.title = `${decision}${decision === "wait" && retryAt > now ? ` ${clock(retryAt, now)}` : ""} · tokentail`;
}

const choice = (of) => safe(accountKey(of)) + (of.model ? ` and ${safe(of.model)}` : "");

/** The account allows a run, and its places are taken. */
function leases(places, now) {
  if (places?.free !== 0) return null;
  const again = time(places.retry_at);
  const then = again > now ? `; that may change at ${clock(again, now)}` : "";
  return `But a lease is refused there now: ${full(places, "allow")}${then}.`;
}

/** The question is asked without a model: windows that refuse one family only do not change its answer. */
function* families(state, chosen, now) {
  for (const window of state.windows?.values() ?? []) {
    if (!chosen || accountKey(window) !== accountKey(chosen) || !isOfFamily(window.window)) continue;
    const at = course(window, now);
    if (at.kind !== "exhausted") continue;
    const until = Number.isFinite(at.until) ? ` until ${clock(at.until, now)}` : "";
    yield `Not with models of ${safe(window.window)}: ${at.refused ? "refused" : "used up"}${until}.`;
  }
}

/** With an account chosen, its own sentence: the others are in the list below. */
function sentence(state, answer, now) {
  const chosen = answer.chosen && answer.candidates.find((one) => accountKey(one) === accountKey(answer.chosen));
  const parts = [chosen ? words(state, chosen, now) : whole(state, answer, now)];
  if (answer.unseen && !parts[0].includes(answer.unseen)) parts.push(answer.unseen);
  return safe(parts.join(". "));
}

/** The sentence of a candidate, with the age that its window has in its cell. */
function words(state, one, now) {
  const window = state.windows?.get(windowKey({ ...one, window: one.binding_window }));
  const at = window && course(window, now);
  return said(one.sentence, { until: time(one.until), seenAt: at?.seenAt, isStale: at?.kind === "stale" }, now);
}

/** The sentence of the whole answer, which names every candidate in the candidate's own words. */
function whole(state, answer, now) {
  const known = answer.candidates.reduce(
    (text, one) => text.replace(one.sentence, () => words(state, one, now)),
    answer.sentence,
  );
  const retryAt = time(answer.retry_at);
  // The countdown beside it runs on.
  return known.replace(/^wait (?:\d+ (?:s|min|h|d) )+for /, () => `wait until ${clock(retryAt, now)} for `);
}

/** { label, length, clock, at }: the next try, or how long the account lasts. */
export function end(state, answer, retryAt, now, asksInMs) {
  if (answer.decision === "deny") return { label: "until", length: "an operator acts", clock: "", at: NaN };
  if (answer.decision !== "allow") {
    if (!Number.isFinite(retryAt)) {
      if (!Number.isFinite(asksInMs)) return { label: "", length: "", clock: "", at: NaN };
      const length = asksInMs > 0 ? `in ${countdown(asksInMs)}` : "now";
      return { label: "this page asks again", length, clock: "and as soon as something is seen", at: NaN };
    }
    if (retryAt <= now) return { label: "next try", length: "now", clock: "", at: NaN };
    return {
      label: "next try in",
      length: countdown(retryAt - now),
      clock: `at ${clock(retryAt, now)}`,
      at: retryAt,
    };
  }
  const chosen = answer.candidates.find((one) => answer.chosen && accountKey(one) === accountKey(answer.chosen));
  const windows = [...(state.windows?.values() ?? [])]
    .filter((one) => answer.chosen && accountKey(one) === accountKey(answer.chosen))
    .filter((one) => bindsAll(one.window) || one.window === chosen?.binding_window)
    .map((one) => ({ name: one.window, ...course(one, now, keeps(state.accounts?.get(accountKey(one)), one)) }))
    .filter((one) => one.kind === "fresh" || one.kind === "stale");
  const first = windows.filter((one) => one.blockedAt > 0).sort((a, b) => a.blockedAt - b.blockedAt)[0];
  if (first) {
    const at = first.blockedAt;
    return {
      label: `${safe(first.name)} ${first.kept ? "blocks" : "runs out"} in`,
      length: about(at - now),
      clock: `${clock(at, now)}, at this pace${first.kept ? `: ${(first.kept * 100).toFixed(0)} % are kept` : ""}`,
      at,
    };
  }
  const next = windows
    .filter((one) => isNumber(one.resetAt) && one.zone !== "none")
    .sort((a, b) => a.resetAt - b.resetAt)[0];
  if (!next) return { label: "how long that lasts", length: "unknown", clock: "", at: NaN };
  return {
    label: "lasts to the reset in",
    length: countdown(next.resetAt - now),
    clock: `${safe(next.name)}, at ${clock(next.resetAt, now)}`,
    at: next.resetAt,
  };
}

function renderCandidates(state, answer, now) {
  text(
    byId("candidates-title"),
    answer.candidates.length === 1 ? "One account" : `${answer.candidates.length} accounts in their order`,
  );
  const make = (one) => {
    const parts = { word: el("span", { class: "chip" }), sense: el("span"), until: el("span", { class: "note" }) };
    const name = named(accountKey(one) + (one.model ? ` and ${one.model}` : ""), "strong");
    return Object.assign(el("li", null, name, " ", parts.word, " ", parts.sense, " ", parts.until), { parts });
  };
  keyed(
    byId("candidate-list"),
    answer.candidates,
    (one) => `${accountKey(one)} ${one.model}`,
    make,
    ({ parts }, one) => {
      attr(text(parts.word, one.verdict), "data-decision", one.verdict);
      text(parts.sense, safe(words(state, one, now)));
      const until = time(one.until);
      moment(parts.until, until > now ? `until ${clock(until, now)}` : "", until);
    },
  );
}

function renderLeases(state) {
  const held = (state.capacity ?? []).filter((one) => one.active > 0 || Object.keys(one.held).length);
  show(byId("leases"), state.capacity !== null);
  const leases = [...(state.leases?.values() ?? [])];
  const words = [
    ...held.map(places),
    ...(leases.length ? [`${counted(leases.length, "lease")}: ${listed(leases)}`] : []),
  ];
  text(byId("leases"), words.length ? words.join(" · ") : "No lease or live run holds a place.");
}

/** run r7 bound, nightly granted, and 3 more */
function listed(leases) {
  const words = leases
    .slice(0, LEASES_SHOWN)
    .map((one) => `${safe(one.run ? `run ${one.run}` : (one.holder ?? one.id))} ${safe(one.state)}`);
  return words.join(", ") + (leases.length > LEASES_SHOWN ? `, and ${leases.length - LEASES_SHOWN} more` : "");
}

/** claude/max-1: 2 of 4 places taken, leases hold 4.0 % of five_hour */
function places(one) {
  const taken = isNumber(one.concurrency)
    ? `${one.active} of ${counted(one.concurrency, "place")} taken`
    : `${counted(one.active, "place")} taken`;
  const shares = Object.entries(one.held).map(([name, share]) => `${percent(share)} of ${safe(name)}`);
  return `${safe(accountKey(one))}: ${taken}${shares.length ? `, leases hold ${shares.join(", ")}` : ""}`;
}
