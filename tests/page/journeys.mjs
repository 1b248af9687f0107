// Losses and returns, tokens, notifications, hostile names, and much at once.

import assert from "node:assert/strict";
import fs from "node:fs";

import { grouped } from "../../src/api/page/format.js";
import { HOUR, ONE, TWO, busy, make, medianAndWorst } from "./world.mjs";

export const journeys = {
  async token({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    const secret = "0123456789abcdef-page";
    fs.writeFileSync(world.path("token"), secret, { mode: 0o600 });
    world.settings.TOKENTAIL__HTTP__TOKEN_FILE = world.path("token");
    world.append("nightly");
    await world.start();
    const tab = await Tab.open(browser, world);
    tab.expected.push(/401 \(Unauthorized\)/);
    const field = tab.page.getByLabel("Token", { exact: true });
    await field.waitFor();
    assert.equal(await tab.page.locator("#verdict").isVisible(), false);
    await tab.look("token");
    await field.fill("0123456789abcdef-wrong");
    await tab.page.keyboard.press("Enter");
    await tab.until("#login-why", /does not accept this token/);
    // Quotes of a message, which no request can carry.
    await field.fill(`“${secret}”`);
    await tab.page.keyboard.press("Enter");
    await tab.until("#login-why", /does not accept this token/);
    assert.equal(await field.isVisible(), true);
    await field.fill(secret);
    await tab.page.keyboard.press("Enter");
    await tab.until("#link", /^live$/);
    await tab.ready();
    assert.equal(await field.isVisible(), false);
    const kept = await tab.page.evaluate(() => [
      Object.values(sessionStorage),
      JSON.stringify(localStorage),
      document.cookie,
      location.href,
    ]);
    assert.deepEqual(kept[0], [secret]);
    assert.ok(!kept.slice(1).join().includes(secret));
    await tab.page.reload();
    await tab.until("#link", /^live$/);
    await tab.ready();
    // A link alone would not send the token.
    const [answer] = await Promise.all([
      tab.page.context().waitForEvent("page"),
      tab.page.getByRole("link", { name: "metrics" }).click(),
    ]);
    await answer.waitForFunction(() => document.body.innerText.includes("tokentail_subscribers"));
    await answer.close();
    assert.equal(await tab.text("#answer-failed"), "");
    await tab.close();
  },

  async "kill -9 and return"({ browser, executable, keep, Tab }) {
    const world = await busy(keep, executable);
    world.append("steady", { at: Date.now() });
    await world.messages("steady", 1);
    const tab = await Tab.open(browser, world);
    tab.expected.push(/ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY_RESPONSE)/);
    await tab.ready();
    await tab.until("#runs-table", /steady/);
    await world.stop("SIGKILL");
    await tab.until("#lost", /Disconnected[^]*(Next try in|Trying)/);
    await tab.until("#link", /disconnected|connecting/);
    // What was allowed then may not be now; countdowns run on.
    await tab.until("#verdict-word", /^unknown$/);
    await tab.until("#verdict-with", /the last answer was allow with claude\/max-1/);
    const length = () => tab.page.locator(".cell .note").first().innerText();
    const before = await length();
    await tab.look("disconnected");
    assert.notEqual(await length(), before);
    for (let line = 0; line < 25; line++) world.append("steady", { output: 1_000 + line });
    await world.start();
    await world.messages("steady", 26);
    await tab.page
      .locator("#lost-retry")
      .click({ timeout: 2_000 })
      .catch(() => {});
    await tab.page.waitForFunction(() => document.getElementById("lost").hidden);
    const run = await world.ask("GET", "/v1/runs/steady");
    const total = () =>
      tab.page
        .locator("#runs-table > tbody", { hasText: "steady" })
        .locator("tr:first-child td:nth-child(7)")
        .getAttribute("title");
    await world.until(async () => (await total()) === grouped(run.total_tokens));
    const summary = await world.ask("GET", "/v1/summary");
    await tab.until("#health-facts", new RegExp(`${grouped(summary.messages)} messages`));
    await tab.close();
  },

  async "hidden tab"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    const tab = await Tab.open(browser, world);
    await tab.ready();
    const streams = async () =>
      Number((await (await fetch(`${world.url}/metrics`)).text()).match(/^tokentail_subscribers (\d+)/m)[1]);
    await world.until(async () => (await streams()) === 1);
    const hide = (isHidden) =>
      tab.page.evaluate((isHidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    await hide(true);
    await world.until(async () => (await streams()) === 0);
    world.append("nightly", { output: 4_321 });
    await world.messages("nightly", 2);
    await hide(false);
    await world.until(async () => (await streams()) === 1);
    const run = await world.ask("GET", "/v1/runs/nightly");
    await tab.page.waitForFunction(
      (title) => document.querySelector("#runs-table tbody td:nth-child(7)")?.title === title,
      grouped(run.total_tokens),
    );
    assert.equal(await tab.page.locator("#lost").isVisible(), false);
    // Shown while nothing is answered: the last answer is none for now.
    await world.observe("max-1", { five_hour: [0.2, Date.now() + 2 * HOUR] });
    await tab.until("#verdict-word", /^allow$/);
    await hide(true);
    await tab.page.route(
      () => true,
      () => {},
    );
    await hide(false);
    assert.match(await tab.text("#verdict-word"), /^unknown$/i);
    assert.match(await tab.text("#verdict-with"), /^the last answer was allow/);
    assert.equal(await tab.page.title(), "unknown · tokentail");
    await tab.close();
  },

  async "clock set back"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.observe("max-1", { five_hour: [0.2, Date.now() + 2 * HOUR] });
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#verdict-word", /^allow$/);
    const asked = new Set();
    tab.page.on("request", (request) => asked.add(new URL(request.url()).pathname));
    const before = await tab.text("#zone");
    await tab.page.evaluate(() => {
      const real = Date.now;
      Date.now = () => real() - 3 * 3_600_000;
    });
    const everything = ["/v1/may-start", "/v1/quota", "/v1/capacity", "/v1/runs", "/v1/usage", "/healthz", "/v1/events"];
    await world.until(() => everything.every((path) => asked.has(path)));
    await tab.until("#verdict-word", /^allow$/);
    await tab.until("#link", /^live$/);
    // The clock of the page is the collector's.
    const seconds = (text) => text.slice(0, 8).split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
    const passed = (seconds(await tab.text("#zone")) - seconds(before) + 86_400) % 86_400;
    assert.ok(passed < 600, `${passed} s`);
    await tab.close();
  },

  async notifications({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    const reset = Date.now() + 2 * HOUR;
    await world.observe("max-1", { five_hour: [0.5, reset], seven_day: [0.8, Date.now() + 50 * HOUR] });
    const before = (context) =>
      context.addInitScript(() => {
        globalThis.Notification = class {
          static permission = localStorage.getItem("test.permission") ?? "default";
          static async requestPermission() {
            localStorage.setItem("test.permission", "granted");
            return (this.permission = "granted");
          }
          constructor(title, options) {
            globalThis.observed.notifications.push([title, options.tag]);
          }
        };
      });
    const tab = await Tab.open(browser, world, { before });
    await tab.ready();
    const notified = () => tab.page.evaluate(() => globalThis.observed.notifications);
    const button = tab.page.locator("#notify");
    assert.equal(await button.getAttribute("aria-pressed"), "false");
    await button.click();
    await tab.page.waitForFunction(() => document.getElementById("notify").getAttribute("aria-pressed") === "true");
    await world.observe("max-1", { five_hour: [0.78, reset] });
    await tab.until("#event-list", /five_hour reached 75 %/);
    const fired = (await world.ask("GET", "/v1/quota")).thresholds_fired;
    assert.deepEqual(await notified(), [
      ["claude/max-1 five_hour: 75 %", `tokentail-threshold-${fired.at(-1).number}`],
    ]);
    await tab.page.reload();
    await tab.ready();
    await tab.until("#event-list", /five_hour reached 75 %/);
    assert.deepEqual(await notified(), []);
    await tab.close();
  },

  async "hostile names"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    // The collector itself replaces characters of models that turn a text; names of files keep theirs.
    const models = [
      '<img src=x onerror="globalThis.hit=1">',
      "model\u202eevil\u2066",
      "a\u0000b\u001b[31m",
      "m".repeat(300),
      "__proto__",
      "constructor",
    ];
    for (const model of models) world.append("hostile.run", { model, session: "s\u202es" });
    world.append("hostile.run", { file: "x\u202ey<b>.jsonl" });
    await world.start();
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.page.locator("#days-data summary").click();
    await tab.until("#days-rows", /model\ufffdevil\ufffd/);
    await tab.page.locator("#runs-table .open").click();
    await tab.until(".details", /x⟨202E⟩y<b>\.jsonl/);
    const { hit, images, raw } = await tab.page.evaluate(() => ({
      hit: globalThis.hit,
      images: document.querySelectorAll("main img, main b").length,
      raw: /[\u202a-\u202e\u2066-\u2069]/.test(document.body.innerText),
    }));
    assert.deepEqual([hit, images, raw], [undefined, 0, false]);
    await tab.look("hostile");
    await tab.close();
  },

  async "2,000 runs, 50 updates a second"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: TWO });
    for (let run = 0; run < 2_000; run++)
      world.append(`run-${String(run).padStart(4, "0")}`, { at: Date.now() - run * 1_000 });
    await world.start();
    await world.observe("max-1", {
      five_hour: [0.4, Date.now() + 2 * HOUR],
      seven_day: [0.3, Date.now() + 60 * HOUR],
    });
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#runs-note", /^20 of 2,000 runs/);
    await tab.page.evaluate(() => (globalThis.observed.longTasks = []));
    let written = 0;
    for (let burst = 0; burst < 50; burst++) {
      for (let line = 0; line < 10; line++) world.append(`run-${String((written++ * 37) % 2_000).padStart(4, "0")}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const tasks = await tab.page.evaluate(() => globalThis.observed.longTasks);
    await world.until(async () => (await world.ask("GET", "/v1/summary")).messages === 2_000 + written);
    await tab.until("#health-facts", new RegExp(`${grouped(2_000 + written)} messages`));
    await tab.until("#runs-table", /s ago/);
    await tab.look("many");
    await tab.close();
    return `${written} lines in 10 s; ${tasks.length} tasks of 50 ms and more: ${medianAndWorst(tasks)} ms`;
  },
};
