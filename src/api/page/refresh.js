// Documents that are asked for again: when events made them old, and at intervals. Each has one request at a time.

/** A document that events keep making old is asked for this often at most, in milliseconds. */
const PAUSE_MS = 1_000;
/** The next try after a failure. */
const FAILED_MS = 5_000;

export class Refresh {
  /** `onError(name, error)`: null once it is well again. */
  constructor(onError) {
    this.documents = new Map();
    this.onError = onError;
  }

  /** `load` returns a promise; `everyMs` is the longest age of the document. */
  add(name, everyMs, load) {
    this.documents.set(name, {
      load,
      everyMs,
      next: 0,
      last: -Infinity,
      isBusy: false,
      failed: false,
      again: Infinity,
    });
  }

  /** Asks for these documents within `afterMs`, or at once. */
  due(names, now, afterMs = 0) {
    for (const name of names) {
      const document = this.documents.get(name);
      const at = Math.max(now + afterMs, document.last + (afterMs ? PAUSE_MS : 0));
      if (document.isBusy) document.again = Math.min(document.again, at);
      else document.next = Math.min(document.next, at);
    }
  }

  tick(now) {
    for (const [name, document] of this.documents)
      if (!document.isBusy && now >= document.next) this.run(name, document, now);
  }

  async run(name, document, now) {
    Object.assign(document, { isBusy: true, last: now, again: Infinity, next: Infinity });
    let error = null;
    try {
      await document.load();
    } catch (caught) {
      error = caught;
    }
    document.isBusy = false;
    document.next = Math.min(document.again, now + (error ? FAILED_MS : document.everyMs));
    if (error || document.failed) this.onError(name, error);
    document.failed = error !== null;
  }
}
