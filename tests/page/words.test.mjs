// The words of the page, and its stream and requests, without a browser: node --test tests/page/words.test.mjs

import assert from "node:assert/strict";
import test from "node:test";

import { isToken } from "../../src/api/page/api.js";
import { Clock, Steps } from "../../src/api/page/clock.js";
import { entries } from "../../src/api/page/events.js";
import { empty } from "../../src/api/page/fold.js";
import * as format from "../../src/api/page/format.js";
import { Refresh } from "../../src/api/page/refresh.js";
import { SseParser } from "../../src/api/page/sse.js";
import { causes, courseWords, recovery } from "../../src/api/page/windows.js";

const T = Date.parse("2026-10-05T12:00:00Z");
const MINUTE = 60_000,
  HOUR = 3_600_000;
const iso = (ms) => new Date(ms).toISOString();

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

test("a clock that was set, or a sleep, is noticed once; a clock that is corrected is not", () => {
  let wall = T,
    passed = 0;
  const steps = new Steps(
    () => wall,
    () => passed,
  );
  const after = (ofWall, ofPassed) => ((wall += ofWall), (passed += ofPassed), steps.hasStepped());
  assert.equal(after(1_000, 1_000), false);
  assert.equal(after(-HOUR + 1_000, 1_000), true, "set back");
  assert.equal(after(1_000, 1_000), false);
  assert.equal(after(3 * HOUR, 1_000), true, "slept");
  for (let second = 0; second < 100; second++) assert.equal(after(1_050, 1_000), false, "corrected little by little");
  const clock = new Clock(() => passed);
  clock.sample(T, passed, passed);
  clock.doubtAll();
  clock.sample(T + 40, passed - 50, passed + 50);
  assert.equal(clock.now(), T + 40, "a worse sample is better than one of before");
});

test("a token is visible ASCII; others are not even sent", () => {
  assert.equal(isToken("0123456789abcdef-_~+/="), true);
  for (const no of ["“0123456789abcdef”", "0123 456", "größe", "", "a\nb"]) assert.equal(isToken(no), false, no);
});

test("ages are rounded down, forecasts have no seconds", () => {
  const { about, age, away } = format;
  assert.deepEqual([59, 66, 119, 7_199].map(age), ["59 s", "1 min", "1 min", "1 h 59 min"]);
  assert.equal(away(T - 66_000, T), "1 min ago");
  assert.equal(away(T + 66_000, T), "in 2 min");
  assert.deepEqual([54 * MINUTE + 6_000, 20_000, 2 * HOUR + 3 * MINUTE].map(about), [
    "about 54 min",
    "about 1 min",
    "about 2 h 3 min",
  ]);
});

test("sentences of accounts have the time of now", () => {
  const { said } = format;
  const zone = "UTC";
  const free = "claude/max-1 is free: five_hour has 88 % left, seen 3 s ago";
  assert.equal(
    said(free, { seenAt: T - 66_000 }, T, zone),
    "claude/max-1 is free: five_hour has 88 % left, seen 1 min ago",
  );
  assert.equal(
    said(free, { seenAt: T - 6 * MINUTE, isStale: true }, T, zone),
    "claude/max-1 is free: five_hour has 88 % left, seen 6 min ago, stale",
  );
  assert.equal(said(free, {}, T, zone), "claude/max-1 is free: five_hour has 88 % left");
  const unknown = "a is unknown: five_hour was seen 1 h 2 min ago, the share left is not known";
  assert.equal(
    said(unknown, { seenAt: T - 2 * HOUR }, T, zone),
    "a is unknown: five_hour was seen 2 h ago, the share left is not known",
  );
  const blocked = "a is blocked: five_hour was refused by the provider, free again in 1 h 13 min";
  for (const now of [T, T + 30 * MINUTE])
    assert.equal(
      said(blocked, { until: T + 73 * MINUTE }, now, zone),
      "a is blocked: five_hour was refused by the provider, free again at 13:13",
    );
});

test("a course is said with its forecast, and with what is kept", () => {
  const at = { zone: "on_track", delta: 0.17, share: 0.7, kept: 0, blockedAt: NaN, runsOutAt: NaN };
  const words = (more) => courseWords({ ...at, ...more }, T).replace(/\d\d:\d\d/, "HH:MM");
  const out = { runsOutAt: T + 54 * MINUTE + 6_000, blockedAt: T + 54 * MINUTE + 6_000 };
  assert.equal(words({}), "on track, lasts to the reset");
  assert.equal(words(out), "ahead +17 %, runs out in about 54 min, HH:MM");
  assert.equal(words({ ...out, zone: "hot", delta: 0.3 }), "hot +30 %, runs out in about 54 min, HH:MM");
  const kept = { kept: 0.1, blockedAt: T + MINUTE };
  assert.equal(words(kept), "on track, blocked from about HH:MM: 10 % are kept");
  assert.equal(words({ ...kept, blockedAt: T }), "on track, blocked: 10 % are kept");
});

test("a state that is not free has its reason, and a recovery says when leases come", () => {
  const near = {
    provider: "claude",
    account: "max-1",
    state: "near_limit",
    causes: [],
    sentence: "claude/max-1 is near its limit: five_hour has 8 % left, seen 3 s ago",
  };
  const words = (account) => [...causes(account, T)].map((one) => one.words);
  assert.deepEqual(words(near), ["is near its limit: five_hour has 8 % left"]);
  assert.deepEqual(words({ ...near, state: "available" }), []);
  assert.match(recovery({ state: "open" }, T + HOUR, T), /^leases again from \d\d:\d\d$/);
  assert.match(recovery({ state: "open", by: "no_evidence" }, T + HOUR, T), /showed nothing; the next may at/);
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
  assert.equal(percent(0.29), "29.0 %");
  assert.equal(percent(0.999999), "99.9 %");
  assert.equal(percent(1), "100.0 %");
  assert.equal(usd(1_234.5), "$1,234.50");
  assert.equal(bytes(1_023.97 * 1_024), "1.0 MiB");
});

test("times on the local clock, and UTC in titles", () => {
  const { clock, day, offset, utc } = format;
  assert.equal(clock(T, T, "Europe/Berlin"), "14:00");
  assert.equal(clock(T + 11 * HOUR, T, "Europe/Berlin"), "Tue 01:00", "the other day within hours");
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
