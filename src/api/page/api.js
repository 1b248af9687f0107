// Requests to the collector, with the token of this tab, if it needs one.

import { monotonic } from "./clock.js";

const TOKEN = "tokentail.token";
/** A document that takes longer has failed, in milliseconds. */
const ANSWER_MS_MAX = 20_000;

export class ApiError extends Error {
  constructor(status, detail, retryAfterS) {
    super(detail);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  clear: () => sessionStorage.removeItem(TOKEN),
};

/** True if the collector can have such a token: anything else cannot be sent in a header, or is none. */
export const isToken = (value) => /^[\x21-\x7e]+$/.test(value);

export function headers(more) {
  const known = token.get();
  return known ? { ...more, Authorization: `Bearer ${known}` } : { ...more };
}

/** The error of an answer that is none. */
export async function failure(response) {
  let detail = `status ${response.status}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // Not every failure has a document.
  }
  return new ApiError(response.status, detail, Number(response.headers.get("Retry-After")) || null);
}

async function ask(path, accept) {
  const response = await fetch(path, {
    headers: headers({ Accept: accept }),
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  });
  if (!response.ok) throw await failure(response);
  return response;
}

/** { document, total, sentAt, receivedAt }; `total` is that of all rows of a list. */
export async function get(path) {
  const sentAt = monotonic();
  const response = await ask(path, "application/json");
  const receivedAt = monotonic();
  const total = response.headers.get("X-Total-Count");
  return { document: await response.json(), total: total === null ? null : Number(total), sentAt, receivedAt };
}

/** The first answer to the question of the page, asked before its other parts have arrived: this file runs first. */
export const first = globalThis.document ? get("/v1/may-start") : Promise.reject(new Error("no page"));
first.catch(() => {});

/** Saves the CSV of a route as a file. */
export async function save(path, name) {
  const url = URL.createObjectURL(await (await ask(path, "text/csv")).blob());
  follow({ href: url, download: name });
  URL.revokeObjectURL(url);
}

/** Shows an answer in a tab of its own, for which a link alone would not send the token. */
export async function openAnswer(path) {
  // The other tab may read it again, so it is kept as long as this page.
  follow({ href: URL.createObjectURL(await (await ask(path, "*/*")).blob()), target: "_blank" });
}

const follow = (link) => Object.assign(document.createElement("a"), link).click();
