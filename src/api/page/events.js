// What happened, also while nobody looked, and notifications of thresholds, each once by its number.

import { get } from "./api.js";
import { attr, byId, el, keyed, moment, show, text } from "./dom.js";
import { accountKey } from "./fold.js";
import { away, clock, percent, safe, time } from "./format.js";

const SHOWN = 8,
  MORE = 100;
const SEEN = "tokentail.seen",
  WANTED = "tokentail.notify",
  NOTIFIED = "tokentail.notified";
/** A hidden tab holds no stream; with notifications it asks this often, in milliseconds. */
const HIDDEN_MS = 60_000;

/** All entries, newest first: { key, at, kind, tone, words }. Pure. */
export function entries({ thresholds, refusals, journal }) {
  const list = [];
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
  for (const [index, one] of journal.entries()) {
    const [tone, words] = WORDS[one.kind](one);
    list.push({
      key: `${one.kind} ${one.sequence ?? one.at} ${journal.length - index}`,
      at: time(one.at),
      kind: one.kind,
      tone,
      words,
    });
  }
  return list.sort((a, b) => b.at - a.at);
}

const WORDS = {
  reset: ({ window }) => ["good", `${safe(accountKey(window))} ${safe(window.window)} began anew`],
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
    const inputs = [state.thresholds, state.refusals, state.journal];
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
        text(parts.words, one.words + resets);
        moment(
          parts.at,
          Number.isFinite(one.at) ? `${clock(one.at, now)} · ${away(Math.min(one.at, now), now)}` : "",
          one.at,
        );
      },
    );
    show(byId("events-empty"), !list.length);
    show(more, list.length > SHOWN);
    text(more, shown === SHOWN ? `Show ${Math.min(MORE, list.length) - SHOWN} more` : "Show fewer");
    renderNotify();
  }

  function make(one) {
    const parts = { words: el("span", { class: "words" }), at: el("span", { class: "note" }) };
    const isNew = one.at > seenBefore;
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
