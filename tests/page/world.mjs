// A collector with invented transcripts and limits, for tests of the page.

import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const ANSWER_MS_MAX = 60_000;
export const HOUR = 3_600_000;
/** Of lengths in milliseconds: "median 81, worst 120". */
export function medianAndWorst(lengths) {
  const sorted = lengths.map(Math.round).sort((a, b) => a - b);
  return sorted.length ? `median ${sorted[sorted.length >> 1]}, worst ${sorted.at(-1)}` : "none";
}
export const iso = (ms) => new Date(ms).toISOString();

/** A port that nobody listens on; the collector is started on it again after it was killed. */
function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class World {
  static async make(executable, { config = "", settings = {} } = {}) {
    const world = new World();
    world.executable = executable;
    world.directory = fs.mkdtempSync(path.join(os.tmpdir(), "tokentail-page-"));
    world.runs = world.path("runs");
    world.socket = world.path("t.sock");
    fs.mkdirSync(world.runs);
    fs.writeFileSync(world.path("t.toml"), config);
    world.port = await freePort();
    world.url = `http://127.0.0.1:${world.port}`;
    world.settings = settings;
    world.lines = 0;
    return world;
  }

  path(name) {
    return path.join(this.directory, name);
  }

  async start() {
    const log = fs.openSync(this.path("log"), "a");
    this.child = spawn(
      this.executable,
      [
        "serve",
        "--config",
        this.path("t.toml"),
        "--runs-dir",
        this.runs,
        "--db",
        this.path("t.redb"),
        "--socket",
        this.socket,
      ],
      {
        stdio: ["ignore", log, log],
        env: {
          HOME: this.directory,
          PATH: process.env.PATH,
          TOKENTAIL__HTTP__LISTEN: `127.0.0.1:${this.port}`,
          TOKENTAIL__LOG__LEVEL: "warn",
          TOKENTAIL__RETENTION__DETAILS: "forever",
          ...this.settings,
        },
      },
    );
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    fs.closeSync(log);
    await this.until(async () => (await this.ask("GET", "/healthz")).backlog_done);
  }

  /** Ends the process; SIGKILL as a crash. */
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    await this.ended;
  }

  async remove() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.stop("SIGKILL");
    fs.rmSync(this.directory, { recursive: true, force: true });
  }

  /** An answer of the control socket; refused ones are errors. */
  ask(method, target, body) {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const request = http.request(
        {
          socketPath: this.socket,
          path: target,
          method,
          timeout: ANSWER_MS_MAX,
          headers:
            text === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) },
        },
        (response) => {
          const parts = [];
          response.on("data", (part) => parts.push(part));
          response.on("end", () => {
            const answer = Buffer.concat(parts).toString();
            if (response.statusCode >= 400 && response.statusCode !== 503)
              return reject(new Error(`${method} ${target}: ${answer}`));
            resolve(answer ? JSON.parse(answer) : null);
          });
        },
      );
      request.on("error", reject);
      request.end(text);
    });
  }

  /** Waits until `check` gives something true; a collector that has ended is an error. */
  async until(check) {
    const end = Date.now() + ANSWER_MS_MAX;
    for (;;) {
      try {
        const value = await check();
        if (value) return value;
      } catch (error) {
        if (Date.now() > end) throw error;
      }
      if (this.child.exitCode !== null)
        throw new Error(`the collector has ended: ${fs.readFileSync(this.path("log"))}`);
      if (Date.now() > end) throw new Error(`not within a minute: ${check}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Appends a response to a transcript of a run. */
  append(
    run,
    {
      at = Date.now(),
      model = "claude-opus-5",
      session = "s1",
      input = 12,
      output = 340,
      write = 900,
      read = 21_000,
      file = `${session}.jsonl`,
    } = {},
  ) {
    const directory = path.join(this.runs, run, "mount", "-workspace-app");
    fs.mkdirSync(directory, { recursive: true });
    const id = `msg_01${String(++this.lines).padStart(22, "0")}`;
    fs.appendFileSync(
      path.join(directory, file),
      `${JSON.stringify({
        type: "assistant",
        timestamp: iso(at),
        sessionId: session,
        uuid: id,
        requestId: `req_${id}`,
        message: {
          id,
          type: "message",
          role: "assistant",
          model,
          stop_reason: "end_turn",
          usage: {
            input_tokens: input,
            output_tokens: output,
            cache_creation_input_tokens: write,
            cache_read_input_tokens: read,
          },
        },
      })}\n`,
    );
  }

  /** Waits until the run has so many messages. */
  messages(run, count) {
    return this.until(async () => (await this.ask("GET", `/v1/runs/${run}`)).messages >= count);
  }

  /** Posts the shares of windows as the usage API gives them: { five_hour: [share, resetAt] }. */
  observe(account, windows, at = Date.now(), provider = "claude") {
    const usage = Object.fromEntries(
      Object.entries(windows).map(([name, [share, resetAt]]) => [
        name,
        { utilization: share * 100, resets_at: iso(resetAt) },
      ]),
    );
    return this.ask("POST", "/v1/observations", { provider, account, observed_at: iso(at), usage });
  }

  /** A refusal of the provider until a time. */
  refuse(account, window, until, at = Date.now()) {
    const rate_limit_event = { status: "rejected", rateLimitType: window, resetsAt: Math.floor(until / 1_000) };
    return this.ask("POST", "/v1/observations", { account, observed_at: iso(at), rate_limit_event });
  }
}

/** Runs of two weeks, with several models, and an hour of live work. */
export function twoWeeks(world, now = Date.now()) {
  const models = ["claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5-20251001", "gpt-6-codex"];
  const names = [
    "refactor-billing",
    "nightly-041",
    "docs-typos",
    "spike-search-ranking",
    "triage-backlog",
    "release-notes",
    "fix-login-flow",
  ];
  let seed = 7;
  const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let day = 13; day >= 0; day--) {
    const calls = day % 7 === 3 ? 0 : 4 + Math.floor(random() * 10);
    for (let call = 0; call < calls; call++) {
      const at = now - day * 24 * HOUR - call * 9 * 60_000 - 5_000;
      world.append(`${names[(day + call) % names.length]}-${day}`, {
        at,
        model: models[Math.floor(random() * random() * models.length)],
        session: `s${call % 3}`,
        input: Math.floor(random() * 9_000),
        output: 2_000 + Math.floor(random() * 40_000),
        write: Math.floor(random() * 60_000),
        read: Math.floor(random() * 900_000),
      });
    }
  }
}

export const TWO = `
[[account]]
name = "max-1"
daily_tokens = 9000000
calls_quota = 900
concurrency = 100

[[account]]
provider = "codex"
name = "team"
runs = []
`;
export const ONE = '[[account]]\nname = "max-1"\n';

export async function make(keep, executable, options) {
  return keep(await World.make(executable, options));
}

/** A world with two weeks of runs, and both windows observed over hours. */
export async function busy(keep, executable) {
  const world = await make(keep, executable, { config: TWO });
  twoWeeks(world);
  await world.start();
  const now = Date.now();
  for (let step = 40; step >= 0; step--) {
    if (step > 15 && step < 24) continue;
    await world.observe(
      "max-1",
      {
        five_hour: [0.62 * (1 - step / 50), now + 1.6 * HOUR],
        seven_day: [0.81 - step / 500, now + 74 * HOUR],
        seven_day_opus: [0.12, now + 74 * HOUR],
      },
      now - step * 5 * 60_000,
    );
  }
  await world.ask("POST", "/v1/observations", {
    provider: "codex",
    account: "team",
    rate_limits: {
      primary: { used_percent: 31, window_minutes: 300, resets_at: Math.floor((now + 2.4 * HOUR) / 1_000) },
    },
  });
  return world;
}
