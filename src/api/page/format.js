// Numbers, lengths, times and names as text, in the words of the command line. Pure: the time and the zone are given.

export const UNKNOWN = "unknown";
const MINUTE = 60,
  HOUR = 3_600,
  DAY = 86_400;
const UNITS = ["k", "M", "B", "T", "Q", "Qi"];

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 1,234,567 */
export function grouped(number) {
  if (!isNumber(number)) return UNKNOWN;
  // Above 2^53 digits are lost on the way into a script.
  const about = Number.isSafeInteger(Math.round(number)) ? "" : "about ";
  return (
    about +
    BigInt(Math.round(number))
      .toString()
      .replace(/\B(?=(\d{3})+$)/g, ",")
  );
}

/** Three digits: 999, 1.23k, 12.3k, 2.31M */
export function compact(number) {
  if (!isNumber(number)) return UNKNOWN;
  let value = Math.abs(number),
    unit = "";
  for (const next of UNITS) {
    if (Number(value.toPrecision(3)) < 1_000) break;
    value /= 1_000;
    unit = next;
  }
  const digits = unit ? Number(value.toPrecision(3)) : Math.round(value);
  const decimals = unit ? (digits < 10 ? 2 : digits < 100 ? 1 : 0) : 0;
  return (number < 0 ? "-" : "") + digits.toFixed(decimals) + unit;
}

/** A share in percent with one decimal, rounded down: only a full one is 100.0. */
export const tenths = (share) => (Math.floor(share * 1_000 + 1e-8) / 10).toFixed(1);

/** 44.0 % */
export const percent = (share) => (isNumber(share) ? `${tenths(share)} %` : UNKNOWN);

/** +25 % */
export const signed = (share) => `${share < 0 ? "-" : "+"}${Math.abs(share * 100).toFixed(0)} %`;

export const usd = (cost) => (isNumber(cost) ? `$${cost.toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",")}` : UNKNOWN);

export function bytes(number) {
  if (!isNumber(number)) return UNKNOWN;
  let value = number,
    unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB", "PiB"]) {
    if (value < 1_023.95) break;
    value /= 1_024;
    unit = next;
  }
  return unit === "B" ? `${number} B` : `${value.toFixed(1)} ${unit}`;
}

export const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A length in its two largest units, minutes rounded up: 12 s, 56 min, 1 h 56 min, 3 d 4 h */
export function length(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < MINUTE) return `${whole} s`;
  const minutes = Math.ceil(whole / MINUTE);
  if (minutes < 60) return `${minutes} min`;
  const [large, unit, small, smallUnit] =
    minutes < 1_440
      ? [Math.floor(minutes / 60), "h", minutes % 60, "min"]
      : [Math.floor(minutes / 1_440), "d", Math.floor((minutes % 1_440) / 60), "h"];
  return small ? `${large} ${unit} ${small} ${smallUnit}` : `${large} ${unit}`;
}

/** The time since something: as `length`, minutes rounded down. */
export const age = (seconds) => length(seconds < MINUTE ? seconds : seconds - (seconds % MINUTE));

/** The time until something that is estimated, in whole minutes: about 54 min */
export const about = (ms) => `about ${length(Math.max(1, Math.round(ms / 60_000)) * MINUTE)}`;

/** As `length`, to the second below an hour: 47 min 12 s */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (seconds < MINUTE || seconds >= HOUR) return length(seconds);
  return `${Math.floor(seconds / MINUTE)} min ${String(seconds % MINUTE).padStart(2, "0")} s`;
}

/** 3 s ago, in 2 h */
export const away = (at, now) => (at > now ? `in ${length((at - now) / 1_000)}` : `${age((now - at) / 1_000)} ago`);

const SPAN = "(?:\\d+ (?:s|min|h|d) ?)+";
const AGAIN = new RegExp(`, free again in ${SPAN}`),
  SEEN = new RegExp(`(,| was) seen ${SPAN}ago`);

/** The sentence of an account at `now`: what was as long ago, or ahead, as it was answered is said by the clock. */
export function said(sentence, { until, seenAt, isStale }, now, zone) {
  const seen = Number.isFinite(seenAt) ? ` seen ${away(Math.min(seenAt, now), now)}${isStale ? ", stale" : ""}` : null;
  const again = Number.isFinite(until) ? `, free again at ${clock(until, now, zone)}` : "";
  return sentence.replace(AGAIN, () => again).replace(SEEN, (_, before) => (seen === null ? "" : before + seen));
}

/** Milliseconds of an RFC 3339 time; NaN for none. */
export const time = (text) => (typeof text === "string" ? Date.parse(text) : NaN);

const formats = new Map();
function parts(ms, zone) {
  const known = zone ?? "";
  if (!formats.has(known)) {
    formats.set(
      known,
      new Intl.DateTimeFormat("en-GB", {
        timeZone: zone,
        hourCycle: "h23",
        weekday: "short",
        year: "numeric",
        month: "2-digit",
        day: "2-digit",
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
      }),
    );
  }
  return Object.fromEntries(
    formats
      .get(known)
      .formatToParts(ms)
      .map((part) => [part.type, part.value]),
  );
}

/** The local clock: 15:20 on the same day, Thu 22:01 within six, else with its date. */
export function clock(ms, now, zone) {
  if (!Number.isFinite(ms)) return UNKNOWN;
  const { weekday, year, month, day: ofMonth, hour, minute } = parts(ms, zone);
  const distance = Math.abs(ms - now) / 1_000;
  // At night the other day's 02:30 would be read as that of today.
  if (day(ms, zone) === day(now, zone)) return `${hour}:${minute}`;
  return distance < 6 * DAY ? `${weekday} ${hour}:${minute}` : `${year}-${month}-${ofMonth} ${hour}:${minute}`;
}

/** The local clock to the second: 14:03:59 */
export function clockSeconds(ms, zone) {
  const { hour, minute, second } = parts(ms, zone);
  return `${hour}:${minute}:${second}`;
}

/** The local day: 2026-10-05 */
export function day(ms, zone) {
  const { year, month, day } = parts(ms, zone);
  return `${year}-${month}-${day}`;
}

/** 2026-10-05 11:00:04 UTC, for titles. */
export const utc = (ms) =>
  Number.isFinite(ms) ? `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC` : UNKNOWN;

/** UTC, UTC+1, UTC-3:30 */
export function offset(ms, minutesBehind = new Date(ms).getTimezoneOffset()) {
  if (!minutesBehind) return "UTC";
  const minutes = Math.abs(minutesBehind),
    rest = minutes % 60;
  return `UTC${minutesBehind > 0 ? "-" : "+"}${Math.floor(minutes / 60)}${rest ? `:${String(rest).padStart(2, "0")}` : ""}`;
}

// Control characters, invisible ones, and those that turn the direction of a text: names come from transcripts.
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;

/** A name with every character that shows nothing, or changes its surroundings, written out: ⟨202E⟩ */
export const safe = (text) =>
  String(text).replace(UNSAFE, (c) => `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
