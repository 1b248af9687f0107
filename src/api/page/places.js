// Places for runs, in plain words.

import { counted, isNumber } from "./format.js";

const WORDS = {
  concurrency: ({ concurrency }) =>
    isNumber(concurrency) ? `${concurrency} of ${counted(concurrency, "place")} taken` : "all places are taken",
  ramp: () => "after a block runs are let in step by step",
  headroom: () => "what is left of a window is held by leases",
  reserve: () => "what is left of a window is kept for another class of runs",
  probe: () => "after a block one run is trying the account first",
  refused: () => "the provider refuses",
  cool_down: () => "the provider is throttling",
  leases: () => "there are as many leases as the collector keeps",
};

/** Why an account of /v1/capacity has no place; `state` is that of the account. Pure. */
export function full(one, state) {
  const words = Object.hasOwn(WORDS, one.by ?? "") ? WORDS[one.by](one) : null;
  return words ?? (state === "exhausted" ? "the account is blocked" : "its state is not known well enough");
}
