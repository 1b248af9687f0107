// What the collector says of itself: a strip above all if something is wrong, and the footer.

import { attr, byId, el, keyed, moment, show, text } from "./dom.js";
import { age, bytes, clock, compact, counted, grouped, isNumber, safe, time } from "./format.js";

const SENSE = {
  degraded: "Everything is counted, but not as it should be:",
  unhealthy: "Something is not counted. What is shown may be incomplete:",
};

export function renderHealth(state, now) {
  const { health, summary, version } = state;
  show(byId("footer"), health !== null);
  if (!health) return;
  const isWell = health.status === "ok";
  if (show(byId("unwell"), !isWell)) {
    attr(byId("unwell"), "data-status", health.status);
    text(byId("unwell-word"), safe(health.status));
    text(byId("unwell-sense"), SENSE[health.status] ?? "");
    keyed(
      byId("unwell-reasons"),
      health.reasons,
      (reason) => reason,
      (reason) => el("li", null, safe(reason)),
    );
  }
  attr(text(byId("health-word"), isWell ? "healthy" : safe(health.status)), "data-status", health.status);
  text(byId("health-facts"), facts(health, summary, now).join(" · "));
  moment(byId("health-facts"), byId("health-facts").textContent, time(health.since));
  text(byId("coverage"), summary ? coverage(summary) : "");
  const notices = health.notices ?? [];
  if (show(byId("notices"), notices.length > 0)) {
    text(byId("notices-title"), counted(notices.length, "notice"));
    keyed(
      byId("notice-list"),
      notices,
      (notice) => notice,
      (notice) => el("li", null, safe(notice)),
    );
  }
  if (version)
    text(byId("version"), `tokentail ${safe(version.version)}${version.commit ? ` (${safe(version.commit)})` : ""}`);
}

function facts(health, summary, now) {
  const list = [];
  if (isNumber(health.lag_bytes))
    list.push(
      health.lag_bytes
        ? `${bytes(health.lag_bytes)} wait to be read`
        : health.status === "ok"
          ? "everything is read"
          : "nothing known waits to be read",
    );
  if (health.backlog_done === false) list.push("still reading what was there at its start");
  if (health.watching) list.push(`watching by ${safe(health.watching)}`);
  if (health.since)
    list.push(`since ${clock(time(health.since), now)} (${age((now - time(health.since)) / 1_000)})`);
  if (summary)
    list.push(`${counted(summary.messages, "message")}, ${compact(summary.totals.total_tokens)} tokens in all`);
  return list;
}

/** In the words of `tokentail status`. */
function coverage({ coverage: of }) {
  const parts = [];
  if (of.reported.total_tokens) {
    parts.push(
      `${grouped(of.unlogged.total_tokens)} of ${grouped(of.reported.total_tokens)} tokens reported by agents are in no log, and are not counted`,
    );
  }
  if (of.unfinished) parts.push(`${counted(of.unfinished, "message")} without a final line`);
  if (of.without_figures) parts.push(`${counted(of.without_figures, "response")} without figures`);
  return parts.length ? `coverage: ${parts.join("; ")}` : "coverage: nothing is known to be missing";
}
