// The page: one stream, one state, one timer. Events go through `foldAll`, documents through the `with…` functions, and
// every change is drawn once for each frame, usage once for each second.

import { first, get, isToken, token } from "./api.js";
import { Clock, Steps, monotonic } from "./clock.js";
import { attr, byId, show, text } from "./dom.js";
import { empty, foldAll, withLeases, withQuota, withRuns } from "./fold.js";
import { age, clockSeconds, length, offset, safe, time } from "./format.js";
import { Refresh } from "./refresh.js";
import { Stream } from "./stream.js";
import { renderVerdict } from "./verdict.js";
import { renderWindows } from "./windows.js";

const KINDS = "usage,window,threshold,run,account,lease,probe,health";
/** How old an answer or a health that knows too little may become, in milliseconds. */
const UNKNOWN_MS = 3_000;
const clock = new Clock();
const steps = new Steps();
let state = empty();
let queue = [];
let isScheduled = false;
/** The answer that was asked for before this file was there; used once, by the first request. */
let early = first;
/** Grows when answers to earlier questions say nothing about now. */
let era = 0;
/** The parts below the first screen, once they are there. */
let rest = null;

const stream = new Stream(`/v1/events?snapshot=brief&kinds=${KINDS}`, receive, connection);
const refresh = new Refresh((name, error) => {
  if (error?.status === 401) unauthorized();
  else rest?.failed(name, error);
});

/** Adds a document; `path()` is null if there is nothing to ask for, `apply(document, since, total)` returns the next state. */
function addDocument(name, everyMs, path, apply) {
  refresh.add(name, everyMs, async () => {
    const since = state.sequence;
    const asked = path();
    if (asked === null) return;
    const asking = early ?? get(asked);
    const asksIn = era;
    early = null;
    const answer = await asking;
    // Another choice was made meanwhile, or the age of the answer is unknown.
    if (path() !== asked || era !== asksIn) return refresh.due([name], monotonic());
    clock.sample(time(answer.document.now), answer.sentAt, answer.receivedAt);
    state = apply(answer.document, since, answer.total);
    schedule();
  });
}

addDocument(
  "may-start",
  30_000,
  () => "/v1/may-start",
  (mayStart) => ({ ...state, mayStart, mayStartAt: clock.now(), isAwaited: false }),
);
addDocument(
  "quota",
  60_000,
  () => "/v1/quota",
  (quota, since) => withQuota(state, quota, since),
);
addDocument(
  "capacity",
  60_000,
  () => "/v1/capacity",
  (capacity) => ({ ...state, capacity }),
);
addDocument(
  "health",
  15_000,
  () => "/healthz",
  (health) => ({ ...state, health }),
);
addDocument(
  "runs",
  30_000,
  () => "/v1/runs?sort=active&limit=50",
  (rows, since, total) => withRuns(state, rows, total, since),
);
addDocument(
  "leases",
  60_000,
  () => "/v1/leases",
  (rows, since) => withLeases(state, rows, since),
);
addDocument(
  "version",
  3_600_000,
  () => "/version",
  (version) => ({ ...state, version }),
);
addDocument(
  "settings",
  3_600_000,
  () => "/v1/settings",
  ({ settings }) => ({ ...state, settings }),
);

/** What an event makes old, and after how many milliseconds it is asked for. */
const MAKES_OLD = {
  usage: [["quota", "days"], 15_000],
  window: [["history"], 5_000],
  run: [["runs", "capacity"], 2_000],
  lease: [["capacity", "quota"], 500],
  account: [["quota", "capacity"], 200],
  probe: [["quota", "capacity"], 500],
  health: [["health"], 500],
};

function receive(events) {
  for (const { event, data } of events) queue.push({ event, data: JSON.parse(data) });
  if (queue.some(({ event }) => event !== "usage")) schedule();
}

function schedule() {
  if (!isScheduled) requestAnimationFrame(draw);
  isScheduled = true;
}

function take() {
  const events = queue;
  queue = [];
  if (!events.length) return;
  state = foldAll(state, events, clock.now());
  const kinds = new Set(events.map(({ event }) => event));
  const now = monotonic();
  for (const kind of kinds) if (kind in MAKES_OLD) refresh.due(known(MAKES_OLD[kind][0]), now, MAKES_OLD[kind][1]);
  if (["account", "window", "lease", "health"].some((kind) => kinds.has(kind))) refresh.due(["may-start"], now, 1);
  if (kinds.has("snapshot") || kinds.has("gap")) everything();
}

const known = (names) => names.filter((name) => refresh.documents.has(name));

/** The last answer is none until the next one, however young it seems. */
function doubt() {
  era += 1;
  state = { ...state, isAwaited: true };
  askFirst();
}

function everything() {
  refresh.due([...refresh.documents.keys()], monotonic());
}

function draw() {
  isScheduled = false;
  take();
  render();
}

function render() {
  const now = clock.now();
  const isStale = stream.phase !== "open" && stream.lostAt !== null;
  renderVerdict(state, now, isStale, refresh.documents.get("may-start").next - monotonic());
  renderWindows(state, now);
  renderConnection(now);
  rest?.render(state, now);
}

/** The only timer. */
function tick() {
  setTimeout(tick, 1_000 - (clock.now() % 1_000));
  const now = monotonic();
  if (steps.hasStepped()) stepped();
  stream.tick(now);
  if (document.hidden)
    return rest?.tickHidden(
      now,
      (quota) => (state = withQuota(state, quota, state.sequence)),
      () => state,
    );
  const retryAt = time(state.mayStart?.retry_at);
  // Once after the time has come, as the answer then has another.
  if (retryAt <= clock.now() && state.mayStartAt < retryAt) refresh.due(["may-start"], now, 1);
  // What passes within a second has no event: an answer or a document may have seen it, and nothing else takes it back.
  if (state.mayStart?.decision === "unknown") refresh.due(["may-start"], now, UNKNOWN_MS);
  if (state.health && state.health.status !== "ok") refresh.due(["health"], now, UNKNOWN_MS);
  if (stream.phase === "open") refresh.tick(now);
  draw();
}

/** The time of day was set, or the computer slept: nothing is sure to be of now. */
function stepped() {
  clock.doubtAll();
  if (document.hidden || !byId("login").hidden) return;
  doubt();
  everything();
  stream.reopen();
}

function connection() {
  attr(document.documentElement, "data-connection", stream.phase);
  if (stream.phase === "unauthorized" && byId("login").hidden) unauthorized();
  if (stream.phase === "open" && state.watchedSince !== null) {
    // Resumed: events are complete, what no event says is not. A rate began anew.
    state = { ...state, watchedSince: clock.now() };
    everything();
  }
  schedule();
}

const LINKS = {
  open: "live",
  connecting: "connecting",
  waiting: "disconnected",
  closed: "paused",
  unauthorized: "no access",
};

function renderConnection(now) {
  text(byId("link"), LINKS[stream.phase]);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  text(byId("zone"), `${clockSeconds(now)} ${safe(zone)}${zone === "UTC" ? "" : `, ${offset(now)}`}`);
  const isLost = stream.lostAt !== null && stream.phase !== "open" && stream.phase !== "unauthorized";
  attr(document.documentElement, "data-lost", isLost ? "" : null);
  if (!show(byId("lost"), isLost)) return;
  const local = monotonic();
  text(
    byId("lost-since"),
    `for ${age((local - stream.lostAt) / 1_000)}, since ${clockSeconds(now - local + stream.lostAt)}: ${safe(stream.problem ?? "")}. What is shown was true then.`,
  );
  text(
    byId("lost-next"),
    stream.phase === "waiting" ? `Next try in ${length(Math.ceil((stream.retryAt - local) / 1_000))}.` : "Trying.",
  );
}

function unauthorized() {
  show(byId("login"), true);
  if (stream.phase !== "unauthorized") stream.close("unauthorized");
  if (token.get()) refused();
  token.clear();
  state = empty();
  byId("token").focus();
}

function refused() {
  text(byId("login-why"), "The collector does not accept this token. It is in the file named by http.token_file.");
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = byId("token").value.trim();
  byId("token").value = "";
  // Typographic quotes of a message, say: the request could not even be made.
  if (!isToken(given)) return refused();
  token.set(given);
  show(byId("login"), false);
  begin();
});
byId("lost-retry").addEventListener("click", () => stream.open());
addEventListener("online", () => stream.phase === "waiting" && stream.open());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    // Nothing renews the answer meanwhile.
    document.title = "tokentail";
    return stream.close();
  }
  if (!byId("login").hidden) return render();
  doubt();
  render();
  stream.open();
});

function begin() {
  if (!document.hidden) stream.open();
  askFirst();
}

/** The answer before everything else, and without a stream. */
function askFirst() {
  const answer = refresh.documents.get("may-start");
  if (answer.isBusy) refresh.due(["may-start"], monotonic());
  else refresh.run("may-start", answer, monotonic());
}

begin();
tick();

// What is below the first screen comes after it.
const { start } = await import("./rest.js");
rest = start({ refresh, clock, stream, schedule, addDocument, state: () => state, set: (next) => (state = next) });
schedule();
