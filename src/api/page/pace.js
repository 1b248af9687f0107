// The course of a window at a moment between two documents: by the same rules as the collector's own.

import { isNumber, time } from "./format.js";

/** A window is stale from this age on, in milliseconds. */
export const STALE_MS = 300_000;
const HOT = 0.25,
  CHILL = -0.2,
  EPSILON = 1e-9;
/** Pace is unknown before this part of a window has passed. */
const EARLY = 1 / 20;

/** The share of a window that `minimum_left` of its account keeps. */
export const keeps = (account, window) => (account?.minimum_left?.[window.window] ?? 0) / 100;

/**
 * { kind, share, expected, delta, zone, runsOutAt, blockedAt, kept, resetAt, startedAt, until, seenAt }: an account that
 * keeps a share is blocked before the window runs out.
 */
export function course(window, now, kept = 0) {
  const [resetAt, startedAt, until] = [window.reset_at, window.window_started_at, window.exhausted_until].map(time);
  const seenAt = time((isNumber(window.utilization) && window.utilization_at) || window.observed_at);
  const result = {
    resetAt,
    startedAt,
    until,
    seenAt,
    share: null,
    expected: null,
    delta: null,
    zone: "none",
    runsOutAt: NaN,
    blockedAt: NaN,
    kept,
  };
  const isOver = window.state === "expired" || resetAt <= now;
  if ((window.refused || until > now) && !(until <= now))
    return { ...result, kind: "exhausted", refused: window.refused, share: window.utilization };
  if (isOver) return { ...result, kind: "expired" };
  const lengthMs = resetAt - startedAt;
  const passed = (now - startedAt) / lengthMs;
  if (passed >= 0 && passed <= 1) result.expected = passed;
  if (!isNumber(window.utilization)) return { ...result, kind: "unknown" };
  const share = window.utilization;
  result.share = share;
  result.kind = now - seenAt >= STALE_MS ? "stale" : "fresh";
  if (lengthMs > 0 && passed >= EARLY && passed < 1) {
    result.delta = share - passed;
    result.zone = result.delta >= HOT - EPSILON ? "hot" : result.delta <= CHILL + EPSILON ? "chill" : "on_track";
    const reaches = (part) => {
      const at = share > 0 ? Math.max(startedAt + ((passed * lengthMs) / share) * part, now) : NaN;
      return at < resetAt ? at : NaN;
    };
    result.runsOutAt = reaches(1);
    result.blockedAt = reaches(1 - kept);
  }
  return result;
}

/** True for windows of a family of models. */
export const isOfFamily = (name) => /^(seven_day_|weekly_scoped:)/.test(name);

/** True for windows that bind every run of an account; others bind a family of models, or nothing. */
export const bindsAll = (name) => /^(five_hour|seven_day|\d+m)$/.test(name);
