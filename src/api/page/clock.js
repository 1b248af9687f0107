// The collector's clock: that of this computer, corrected by the `now` of documents.

/** A better sample of another time is used after so long, in milliseconds. */
const SAMPLE_AGE_MAX = 300_000;

export class Clock {
  constructor(local = Date.now) {
    this.local = local;
    this.offset = 0;
    this.doubt = Infinity;
    this.sampledAt = -Infinity;
  }

  now() {
    return this.local() + this.offset;
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
