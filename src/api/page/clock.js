// The collector's clock: the time that has passed in this page, corrected by the `now` of documents. The time of day of
// this computer may be set while the page is open, so it is only compared.

/** A better sample of another time is used after so long, in milliseconds. */
const SAMPLE_AGE_MAX = 300_000;

/** Between two looks, the time of day and the passed time may differ by so much, in milliseconds. */
const STEP_MS = 2_000;

/** Milliseconds that only grow: the time of day at which the page was opened, and what has passed since then. */
export const monotonic = () => performance.timeOrigin + performance.now();

/** Notices that the time of day was set, or that the computer slept. */
export class Steps {
  constructor(wall = () => Date.now(), passed = monotonic) {
    Object.assign(this, { wall, passed });
    this.difference = wall() - passed();
  }

  /** True once after each step. */
  hasStepped() {
    const before = this.difference;
    this.difference = this.wall() - this.passed();
    return Math.abs(this.difference - before) > STEP_MS;
  }
}

export class Clock {
  constructor(local = monotonic) {
    this.local = local;
    this.offset = 0;
    this.doubt = Infinity;
    this.sampledAt = -Infinity;
  }

  now() {
    return this.local() + this.offset;
  }

  /** The next sample is taken, however good the last one was. */
  doubtAll() {
    this.doubt = Infinity;
  }

  /** A document that said `now` (milliseconds) was asked for and received at these local times. */
  sample(now, sentAt, receivedAt) {
    if (!Number.isFinite(now)) return;
    const offset = now - (sentAt + receivedAt) / 2;
    const doubt = Math.max(0, receivedAt - sentAt) / 2;
    const isOld = receivedAt - this.sampledAt > SAMPLE_AGE_MAX;
    // Two samples that cannot both be right: one of the clocks was set.
    const wasSet = Math.abs(offset - this.offset) > doubt + this.doubt;
    if (doubt <= this.doubt || isOld || wasSet) {
      this.offset = offset;
      this.doubt = doubt;
      this.sampledAt = receivedAt;
    }
  }
}
