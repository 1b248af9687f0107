#!/usr/bin/env node
// Runs a command as a run with a place of an account, with Node alone.
// usage: examples/lease.mjs SOCKET RUN COMMAND [ARG]...
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { request } from "node:http";
import { setTimeout as pause } from "node:timers/promises";

const [socketPath, run, command, ...words] = process.argv.slice(2);

function send(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const sent = request({ socketPath, method, path, headers, timeout: 90_000 }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("error", reject);
      answer.on("data", (part) => (text += part));
      answer.on("end", () => resolve({ status: answer.statusCode, document: JSON.parse(text || "null") }));
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
    sent.end(body && JSON.stringify(body));
  });
}

// Sends a request until it is answered: each of those below may be repeated.
async function ask(method, path, body) {
  let problem;
  for (let attempt = 0; attempt < 60; attempt++) {
    try {
      const answer = await send(method, path, body);
      if (answer.status < 500) return answer;
      problem = answer.document.detail;
    } catch (error) {
      problem = error.message; // The collector may be on its way back.
    }
    await pause(1000);
  }
  throw new Error(`${method} ${path}: ${problem}`);
}

// The same key gets the same lease, however often it is sent.
const wanted = { key: `${run}-${randomUUID()}`, runs: [run], ttl: "1m", holder: "lease.mjs" };
let granted;
while ((granted = await ask("POST", "/v1/leases", wanted)).status !== 201) {
  const { decision, sentence, detail, retry_in_s } = granted.document;
  if (decision !== "wait") throw new Error(detail ?? sentence);
  console.error(`waits: ${sentence}`);
  await pause(Math.min(retry_in_s || 5, 5) * 1000);
}
const [lease] = granted.document.leases;
const started = await ask("PUT", `/v1/runs/${run}`, { lease: lease.id });
if (started.status >= 400) {
  await ask("DELETE", `/v1/leases/${lease.id}`);
  throw new Error(started.document.detail);
}
const env = { ...process.env, TOKENTAIL_ACCOUNT: lease.account, TOKENTAIL_LEASE: lease.id };
const child = spawn(command, words, { env, stdio: "inherit" });
// Until the log of the run keeps its lease.
const renewal = setInterval(async () => {
  const { document } = await ask("PUT", `/v1/leases/${lease.id}`, {});
  if (document.detail) console.error(`goes on without a place: ${document.detail}`);
  if (!document.expires_at) clearInterval(renewal);
}, 20_000);
const code = await new Promise((resolve) => child.on("exit", resolve).on("error", () => resolve(127)));
clearInterval(renewal);
// The exact totals; the place is free afterwards.
const { document: totals } = await ask("POST", `/v1/runs/${run}/stop?wait=true`);
console.log(JSON.stringify({ run, account: lease.account, total_tokens: totals.total_tokens }));
process.exitCode = code ?? 1;
