// The one stream of events: opened, resumed after a loss with growing pauses, closed while nobody looks.
// EventSource cannot carry a token. The timer of the page calls `tick`; there is no other.

import { failure, headers } from "./api.js";
import { monotonic } from "./clock.js";
import { SseParser } from "./sse.js";

/** The collector sends something at least every 15 s. */
const SILENCE_MS_MAX = 45_000;
const PAUSE_MS_MIN = 1_000,
  PAUSE_MS_MAX = 30_000;

export class Stream {
  /** `onEvents(events)` has lists of { event, data, id }, `onChange()` a change of the fields below. */
  constructor(path, onEvents, onChange) {
    Object.assign(this, { path, onEvents, onChange });
    /** closed, connecting, open, waiting (for the next try), unauthorized */
    this.phase = "closed";
    /** Since when nothing is received; null while it is open. */
    this.lostAt = null;
    this.retryAt = null;
    this.problem = null;
    this.lastId = undefined;
    this.failures = 0;
  }

  open() {
    if (this.phase === "connecting" || this.phase === "open") return;
    this.controller = new AbortController();
    this.enter("connecting");
    this.run(this.controller);
  }

  close(phase = "closed") {
    this.controller?.abort();
    this.controller = null;
    this.lostAt = null;
    this.enter(phase);
  }

  /** Connects anew, as the connection may have died unnoticed; a closed stream stays closed. */
  reopen() {
    if (this.phase === "closed" || this.phase === "unauthorized") return;
    this.controller?.abort();
    this.phase = "waiting";
    this.open();
  }

  /** At least once a second; `now` is that of `monotonic`. */
  tick(now) {
    if (this.phase === "waiting" && now >= this.retryAt) this.open();
    const isSilent = now - this.heardAt > SILENCE_MS_MAX;
    if (isSilent && (this.phase === "open" || this.phase === "connecting")) {
      this.lose(this.controller, "the collector is silent");
    }
  }

  enter(phase) {
    this.phase = phase;
    this.heardAt = monotonic();
    this.onChange();
  }

  async run(controller) {
    try {
      const more = this.lastId === undefined ? {} : { "Last-Event-ID": this.lastId };
      const response = await fetch(this.path, {
        headers: headers({ Accept: "text/event-stream", ...more }),
        cache: "no-store",
        signal: controller.signal,
      });
      if (!response.ok) throw await failure(response);
      await this.read(response.body.getReader(), controller);
      this.lose(controller, "the collector has ended the stream");
    } catch (error) {
      this.lose(controller, error.status ? error.message : "the collector does not answer", error);
    }
  }

  async read(reader, controller) {
    const parser = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.controller !== controller) return;
      this.heardAt = monotonic();
      const events = parser.push(value);
      this.lastId = parser.lastId ?? this.lastId;
      if (this.phase !== "open") {
        this.failures = 0;
        this.lostAt = this.problem = this.retryAt = null;
        this.enter("open");
      }
      if (events.length) this.onEvents(events);
    }
  }

  lose(controller, problem, error) {
    if (!controller || this.controller !== controller) return;
    this.controller = null;
    controller.abort();
    this.problem = problem;
    if (error?.status === 401) return this.enter("unauthorized");
    const pause = Math.min(PAUSE_MS_MIN * 2 ** this.failures++, PAUSE_MS_MAX);
    // Many pages that lost the same collector do not return at once.
    const shared = Math.max(pause, (error?.retryAfterS ?? 0) * 1_000) * (0.8 + 0.4 * Math.random());
    this.lostAt ??= monotonic();
    this.retryAt = monotonic() + shared;
    this.enter("waiting");
  }
}
