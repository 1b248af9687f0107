// What happened, also while nobody looked, and notifications of thresholds, each once by its number.

import { get } from "./api.js";
import { attr, byId, el, keyed, moment, show, text } from "./dom.js";
import { accountKey, windowKey } from "./fold.js";
import { away, clock, percent, said, safe, time } from "./format.js";

const SHOWN = 8,
  MORE = 100;
const SEEN = "tokentail.seen",
  WANTED = "tokentail.notify",
  NOTIFIED = "tokentail.notified";
/** A hidden tab holds no stream; with notifications it asks this often, in milliseconds. */
const HIDDEN_MS = 60_000;
/** Two starts of a window that are this close are one. */
const SAME_MS = 120_000;

/** All entries, newest first: { key, at, kind, tone, words }. Pure. */
export function entries({ thresholds, refusals, journal, windows, leases, health, accounts }) {
  const list = [...resets(windows, journal), ...grants(leases), ...present(accounts, journal)];
  if (Number.isFinite(time(health?.since)))
    list.push({ key: "start", at: time(health.since), kind: "health", tone: "plain", words: "the collector started" });
  for (const one of thresholds ?? []) {
    list.push({
      key: `threshold ${one.number}`,
      at: time(one.at),
      kind: "threshold",
      tone: "warning",
      words: `${safe(accountKey(one))} ${safe(one.window)} reached ${one.threshold} %: ${percent(one.utilization)} used`,
    });
  }
  for (const one of refusals ?? []) {
    list.push({
      key: `refusal ${one.at} ${accountKey(one)} ${one.window}`,
      at: time(one.at),
      kind: "refusal",
      tone: "bad",
      resetsAt: time(one.resets_at),
      words: `${safe(accountKey(one))} ${safe(one.window)} was refused`,
    });
  }
  const granted = new Set(list.map((one) => one.key));
  for (const [index, one] of journal.entries()) {
    if (!(one.kind in WORDS) || (one.kind === "lease" && granted.has(leaseKey(one.lease, one.phase)))) continue;
    const [tone, words] = WORDS[one.kind](one);
    list.push({
      until: time(one.until),
      key: `${one.kind} ${one.sequence ?? one.at} ${journal.length - index}`,
      at: time(one.at),
      kind: one.kind,
      tone,
      words,
    });
  }
  return list.sort((a, b) => (a.at === b.at ? 0 : b.at - a.at));
}

/** The last start of each window, from its own times; earlier ones that were seen since the page was opened; and ends. */
function resets(windows, journal) {
  const list = [],
    known = [...(windows?.values() ?? [])];
  const seen = journal.filter((one) => one.kind === "reset").map((one) => one.window);
  for (const window of [...known, ...seen]) {
    const name = windowKey(window),
      at = time(window.window_started_at);
    if (!Number.isFinite(at) || list.some((one) => one.name === name && Math.abs(one.at - at) <= SAME_MS)) continue;
    const words = `${safe(accountKey(window))} ${safe(window.window)} began`;
    list.push({ name, key: `reset ${name} ${at}`, at, kind: "reset", tone: "good", words });
  }
  for (const window of known.filter((one) => one.state === "expired" && Number.isFinite(time(one.reset_at)))) {
    const name = windowKey(window),
      at = time(window.reset_at);
    const words = `${safe(accountKey(window))} ${safe(window.window)} ended; its new share is not known yet`;
    list.push({ name, key: `end ${name} ${at}`, at, kind: "reset", tone: "good", words });
  }
  return list;
}

/** Accounts that are blocked or near a limit now, where no event of this page said so: one before it was opened did. */
function* present(accounts, journal) {
  for (const [name, account] of accounts ?? []) {
    const last = journal.find((one) => one.kind === "account" && accountKey(one) === name);
    if (!["exhausted", "near_limit"].includes(account.state) || last?.state === account.state) continue;
    const [tone, words] = WORDS.account(account);
    // It is still so, and comes before what is over.
    yield { key: `present ${name}`, at: Infinity, until: time(account.until), kind: "account", tone, words };
  }
}

const leaseKey = (lease, phase) => `lease ${lease.id} ${phase}`;

/** Leases that are held: when they were granted and bound. */
function* grants(leases) {
  for (const lease of leases?.values() ?? [])
    for (const [phase, at] of [
      ["granted", time(lease.granted_at)],
      ["bound", time(lease.bound_at)],
    ]) {
      const [tone, words] = WORDS.lease({ phase, lease });
      if (Number.isFinite(at)) yield { key: leaseKey(lease, phase), at, kind: "lease", tone, words };
    }
}

const WORDS = {
  account: (one) => [
    one.state === "exhausted" ? "bad" : one.state === "available" ? "good" : "warning",
    safe(one.sentence),
  ],
  run: (one) => ["plain", `run ${safe(one.run)} ${safe(one.phase)}${one.reason ? ` (${safe(one.reason)})` : ""}`],
  lease: ({ phase, lease }) => [
    "plain",
    `lease of ${safe(accountKey(lease))} ${safe(phase).replaceAll("_", " ")}${lease.run ? `, run ${safe(lease.run)}` : ""}`,
  ],
  probe: (one) => [
    "warning",
    `recovery of ${safe(accountKey(one))}${one.scope ? ` (${safe(one.scope)})` : ""}: ${safe(one.state).replaceAll("_", " ")}`,
  ],
  health: (one) => [
    one.status === "ok" ? "good" : "bad",
    one.status === "ok"
      ? "the collector is healthy"
      : `the collector is ${safe(one.status)}: ${safe(one.reasons.join("; "))}`,
  ],
};

function when(at, now) {
  if (at === Infinity) return "present state";
  return Number.isFinite(at) ? `${clock(at, now)} · ${away(Math.min(at, now), now)}` : "";
}

export function startEvents({ schedule }) {
  const seenBefore = Number(localStorage.getItem(SEEN)) || Infinity;
  let shown = SHOWN,
    drawn = [],
    list = [],
    seenAt = 0,
    askedAt = 0;
  const more = byId("events-more"),
    button = byId("notify");
  more.addEventListener("click", () => ((shown = shown === SHOWN ? MORE : SHOWN), (drawn = []), schedule()));

  function render(state, now) {
    if (now - seenAt > 10_000 && state.watchedSince !== null) localStorage.setItem(SEEN, String((seenAt = now)));
    const { thresholds, refusals, journal, windows, leases, health, accounts } = state;
    const inputs = [thresholds, refusals, journal, windows, leases, health?.since, accounts];
    if (inputs[0] !== drawn[0]) notify(state);
    if (inputs.some((input, index) => input !== drawn[index])) list = entries(state);
    drawn = inputs;
    keyed(
      byId("event-list"),
      list.slice(0, shown),
      (one) => one.key,
      make,
      ({ parts }, one) => {
        const resets = Number.isFinite(one.resetsAt)
          ? `, ${one.resetsAt > now ? "resets" : "reset"} ${clock(one.resetsAt, now)}`
          : "";
        text(parts.words, (one.kind === "account" ? said(one.words, one, now) : one.words) + resets);
        moment(parts.at, when(one.at, now), one.at);
      },
    );
    show(byId("events-empty"), !list.length);
    show(more, list.length > SHOWN);
    text(more, shown === SHOWN ? `Show ${Math.min(MORE, list.length) - SHOWN} more` : "Show fewer");
    renderNotify();
  }

  function make(one) {
    const parts = { words: el("span", { class: "words" }), at: el("span", { class: "note" }) };
    const isNew = Number.isFinite(one.at) && one.at > seenBefore;
    return Object.assign(
      el(
        "li",
        { "data-tone": one.tone, class: isNew ? "new" : null },
        el("span", { class: "kind" }, one.kind),
        parts.words,
        parts.at,
      ),
      { parts },
    );
  }

  const isWanted = () => localStorage.getItem(WANTED) === "yes" && globalThis.Notification?.permission === "granted";

  function renderNotify() {
    if (!show(button, "Notification" in globalThis)) return;
    attr(button, "aria-pressed", String(isWanted()));
    text(
      byId("notify-note"),
      Notification.permission === "denied" ? "Notifications are blocked for this page by the browser." : "",
    );
  }

  button.addEventListener("click", async () => {
    if (isWanted()) localStorage.removeItem(WANTED);
    else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED, "yes");
    schedule();
  });

  /** Notifies of thresholds beyond the last number that any tab has notified of. */
  function notify({ thresholds }) {
    if (!thresholds?.length) return;
    const numbers = thresholds.map((one) => one.number);
    const last = Math.max(...numbers),
      stored = localStorage.getItem(NOTIFIED);
    localStorage.setItem(NOTIFIED, String(last));
    // The first visit, or another database, has nothing to report.
    if (stored === null || !isWanted()) return;
    for (const one of thresholds) {
      if (one.number <= Number(stored)) continue;
      new Notification(`${safe(accountKey(one))} ${safe(one.window)}: ${one.threshold} %`, {
        body: `${percent(one.utilization)} used`,
        tag: `tokentail-threshold-${one.number}`,
        icon: "/page/icon.svg",
      });
    }
  }

  async function tickHidden(now, apply, state) {
    if (!isWanted() || now - askedAt < HIDDEN_MS) return;
    askedAt = now;
    try {
      apply((await get("/v1/quota")).document);
      notify(state());
    } catch {
      // It is asked again; the page names what is wrong when it is looked at.
    }
  }

  return { render, tickHidden };
}
