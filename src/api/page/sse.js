// Server-sent events from bytes that are cut anywhere, as the standard reads them.

/** Longest unfinished line, in characters. */
export const LINE_CHARS_MAX = 16 << 20;

export class SseParser {
  constructor() {
    this.decoder = new TextDecoder();
    this.rest = "";
    this.searched = 0;
    this.data = [];
    this.event = "";
    this.id = undefined;
    /** The id to resume from; an event without data has one too. */
    this.lastId = undefined;
  }

  /** The events that these bytes complete: { event, data, id }. */
  push(chunk) {
    const events = [];
    this.rest += this.decoder.decode(chunk, { stream: true });
    let start = 0;
    for (;;) {
      const end = this.lineEnd(Math.max(start, this.searched));
      if (end < 0) break;
      this.line(this.rest.slice(start, end), events);
      start = end + (this.rest[end] === "\r" && this.rest[end + 1] === "\n" ? 2 : 1);
    }
    this.rest = this.rest.slice(start);
    // A \r at the end may be the first half of a line end.
    this.searched = this.rest.endsWith("\r") ? this.rest.length - 1 : this.rest.length;
    if (this.rest.length > LINE_CHARS_MAX) throw new Error("a line of the stream is too long");
    return events;
  }

  lineEnd(from) {
    for (let at = from; at < this.rest.length; at++) {
      const c = this.rest.charCodeAt(at);
      if (c === 10) return at;
      if (c === 13) return at + 1 < this.rest.length ? at : -1;
    }
    return -1;
  }

  line(line, events) {
    if (line === "") {
      this.lastId = this.id ?? this.lastId;
      if (this.data.length)
        events.push({ event: this.event || "message", data: this.data.join("\n"), id: this.lastId });
      this.data = [];
      this.event = "";
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
  }
}
