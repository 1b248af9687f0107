// Each state of the page, with the values of the API.

import assert from "node:assert/strict";
import fs from "node:fs";

import { compact, grouped, percent } from "../../src/api/page/format.js";
import { HOUR, ONE, TWO, busy, make, medianAndWorst } from "./world.mjs";

const NAVIGATIONS = 9;
/** The most that the files of a page without a cache are over the wire, with their headers. */
const PAGE_BYTES_MAX = 60 * 1024;
const WIDTHS = [360, 390, 640, 768, 1024, 1200, 1440];

export const states = {
  async loading({ browser, executable, keep, Tab }) {
    const world = await busy(keep, executable);
    const before = (context) =>
      context.route(
        (url) => /^\/(v1|healthz|version)/.test(url.pathname),
        () => {},
      );
    const held = await Tab.open(browser, world, { before });
    await held.look("loading");
    await held.close();
    // The answer is drawn first, the rest without moving it. Times are measured, never judged: docs/performance.md has them.
    const times = [];
    let shift = 0,
      bytes = 0;
    while (times.length < NAVIGATIONS) {
      const tab = await Tab.open(browser, world, { isCounted: true });
      await tab.ready();
      const seen = await tab.page.evaluate(() => globalThis.observed);
      times.push(seen.answeredAt);
      shift = Math.max(shift, seen.shift);
      bytes = Math.max(bytes, await tab.received());
      await tab.close();
    }
    assert.ok(shift < 0.02, `the layout moved by ${shift}`);
    assert.ok(bytes > 0 && bytes <= PAGE_BYTES_MAX, `its files are ${grouped(bytes)} bytes over the wire`);
    return `the answer after ${medianAndWorst(times)} ms of ${times.length}; layout shift ${shift.toFixed(4)}; files ${grouped(bytes)} bytes over the wire`;
  },

  async fresh({ browser, executable, keep, Tab }) {
    const world = await busy(keep, executable);
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#verdict-word", /^allow$/);
    await tab.until("#runs-note", /^20 of/);
    const quota = await world.ask("GET", "/v1/quota");
    for (const window of quota.windows) {
      const cell = tab.page
        .locator(".account", { hasText: `${window.provider}/${window.account}` })
        .locator(".cell", { has: tab.page.getByText(window.window, { exact: true }) });
      assert.equal(await cell.locator(".used").innerText(), percent(window.utilization));
      assert.equal(await cell.getAttribute("data-kind"), "fresh");
      const onTrack = window.projected_exhaustion_at === null ? "on track" : "ahead +";
      const zone = { on_track: onTrack, hot: "hot", chill: "chill" }[window.pace.zone];
      const out = await cell.locator(".out").innerText();
      assert.ok(out.startsWith(zone), out);
      assert.equal(out.includes("runs out"), window.projected_exhaustion_at !== null, out);
    }
    const runs = await world.ask("GET", "/v1/runs?sort=active&limit=20");
    const rows = tab.page.locator("#runs-table > tbody");
    assert.deepEqual(
      await rows.locator(".open bdi").allInnerTexts(),
      runs.map((run) => run.id),
    );
    const totals = await rows
      .locator("tr:first-child td:nth-child(7)")
      .evaluateAll((cells) => cells.map((cell) => [cell.textContent, cell.title]));
    assert.deepEqual(
      totals,
      runs.map((run) => [compact(run.total_tokens), grouped(run.total_tokens)]),
    );
    const usage = await world.ask("GET", "/v1/usage?group_by=day,model&period=last-14d&zone=Europe/Berlin");
    await tab.page.locator("#days-data summary").click();
    await tab.page.waitForFunction(
      (count) => document.querySelectorAll("#days-rows tr").length === count,
      usage.rows.length,
    );
    const shown = await tab.page
      .locator("#days-rows tr")
      .evaluateAll((rows) =>
        rows.map((row) => [row.children[0].textContent, row.children[1].textContent, row.children[6].title]),
      );
    assert.deepEqual(
      shown,
      usage.rows.toReversed().map((row) => [row.keys.day, row.keys.model, grouped(row.total_tokens)]),
    );
    const first = runs[0].id;
    await rows.first().locator(".open").click();
    const models = Object.entries((await world.ask("GET", `/v1/runs/${first}`)).by_model);
    await tab.until(".details", /Sessions/);
    const sums = await tab.page
      .locator(".details table")
      .first()
      .locator("tbody tr")
      .evaluateAll((rows) => rows.map((row) => [row.children[0].textContent, row.children[5].title]));
    assert.deepEqual(
      sums,
      models.map(([name, one]) => [name, grouped(one.total_tokens)]),
    );
    // The fullest window that decides, with the thresholds of its account.
    assert.equal(await tab.page.locator("#chart-window").inputValue(), "claude/max-1/seven_day");
    await tab.until("#chart-note", /thresholds at 75, 90 % [^]*at this pace/);
    await tab.until("#event-list", /reached 75 %/);
    await tab.page.locator("#candidates summary").click();
    await tab.until("#candidate-list", /codex\/team is free/);
    await tab.look("fresh");

    // Every table is open, at every width.
    await tab.page.locator("#chart-data summary").click();
    await tab.until("#chart-rows", /usage_api/);
    for (const width of WIDTHS) {
      await tab.page.setViewportSize({ width, height: 900 });
      await tab.figures("fresh");
      await tab.shoot(`fresh-${width}`);
    }
    await tab.page.setViewportSize({ width: 1280, height: 900 });

    // A line that is appended is shown, and so is a new share.
    world.append("docs-typos-live", { output: 777 });
    await world.messages("docs-typos-live", 1);
    await tab.until("#runs-table", /docs-typos-live/);
    await world.observe("max-1", { five_hour: [0.93, Date.now() + 1.6 * HOUR] });
    await tab.until("#accounts", /93\.0 %/);
    const {
      leases: [lease],
    } = await world.ask("POST", "/v1/leases", { key: "page", holder: "nightly batch" });
    await tab.until("#leases", /1 lease: nightly batch granted/);
    await tab.until("#event-list", /lease of codex\/team granted/);
    await tab.page.locator("#events-more").click();
    await tab.until("#event-list", /claude\/max-1 five_hour began/);
    await tab.until("#event-list", /the collector started/);
    await world.ask("DELETE", `/v1/leases/${lease.id}`);
    await tab.page.waitForFunction(() => !document.getElementById("leases").textContent.includes("nightly batch"));
    await tab.until("#event-list", /lease of codex\/team released/);
    const [download] = await Promise.all([tab.page.waitForEvent("download"), tab.page.locator("#days-csv").click()]);
    assert.match(fs.readFileSync(await download.path(), "utf8"), /^day,model,messages/);
    await tab.close();
  },

  async keyboard({ browser, executable, keep, Tab }) {
    const world = await busy(keep, executable);
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#runs-note", /^20 of/);
    const stops = [];
    for (let press = 0; press < 60; press++) {
      await tab.page.keyboard.press("Tab");
      const stop = await tab.page.evaluate(() => {
        const node = document.activeElement;
        if (node === document.body) return null;
        const { width, height } = node.getBoundingClientRect();
        return {
          name: node.id || node.closest("[id]")?.id,
          outline: getComputedStyle(node).outlineStyle,
          isSeen: width > 0 && height > 0,
        };
      });
      if (stop === null) break;
      assert.ok(stop.isSeen && stop.outline !== "none", `the focus on ${stop.name} is not seen`);
      stops.push(stop.name);
    }
    const order = [...new Set(stops)];
    assert.deepEqual(order, [
      "candidates",
      "chart-window",
      "chart-span",
      "chart-data",
      "days-span",
      "days-csv",
      "days-data",
      "runs-table",
      "notify",
      "answers",
    ]);
    await tab.page.locator("#runs-table .open").first().focus();
    await tab.page.keyboard.press("Enter");
    await tab.until(".details", /Models/);
    // Rows do not change their places under a focus.
    const focused = () => tab.page.evaluate(() => document.activeElement.textContent);
    const before = await focused();
    world.append("another-run");
    await world.messages("another-run", 1);
    await tab.page.waitForTimeout(6_000);
    assert.equal(await focused(), before);
    await tab.page.keyboard.press("Enter");
    await tab.page.waitForFunction(() => !document.querySelector(".details"));
    await tab.close();
    return `${stops.length} stops`;
  },

  async empty({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable);
    await world.start();
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#runs-empty", /Nothing seen yet/);
    assert.ok((await tab.text("#runs-empty")).includes(world.runs));
    assert.match(await tab.text("#runs-empty"), /\*\/mount\/\*\*\/\*\.jsonl/);
    await tab.until("#verdict-word", /^unknown$/);
    await tab.until(".until", /this page asks again\s+(in \d+ s|now)\s+and as soon as something is seen/);
    await tab.look("empty");
    // The first line ends that.
    world.append("first");
    await tab.until("#runs-table", /first/);
    await tab.close();
  },

  async windows({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: `${TWO}\n[[account]]\nname = "max-2"\nruns = []\n` });
    world.append("nightly");
    await world.start();
    const now = Date.now();
    // Exhausted beside stale, expired, and a status without a share.
    await world.observe(
      "max-1",
      { five_hour: [0.92, now + 1.5 * HOUR], seven_day: [0.41, now + 70 * HOUR] },
      now - 12.5 * 60_000,
    );
    await world.refuse("max-1", "five_hour", now + 1.5 * HOUR, now - 90_000);
    await world.observe("max-2", { five_hour: [0.55, now - 10 * 60_000] }, now - 40 * 60_000);
    await world.ask("POST", "/v1/observations", {
      account: "max-2",
      rate_limit_event: {
        status: "allowed",
        rateLimitType: "seven_day",
        resetsAt: Math.floor((now + 50 * HOUR) / 1_000),
      },
    });
    const tab = await Tab.open(browser, world);
    await tab.ready();
    const cell = (account, name) =>
      tab.page
        .locator(".account", { hasText: account })
        .locator(".cell", { has: tab.page.getByText(name, { exact: true }) });
    for (const [account, name, kind, words] of [
      [
        "claude/max-1",
        "five_hour",
        "exhausted",
        /refused\s+refused until (\w{3} )?\d\d:\d\d\s+free in [^]*rate_limit_event, 1 min ago; last share 92\.0 %/,
      ],
      ["claude/max-1", "seven_day", "stale", /41\.0 %[^]*stale: usage_api, 12 min ago/],
      ["claude/max-2", "five_hour", "expired", /expired\s+reset passed 1\d min ago\s+awaiting news/],
      ["claude/max-2", "seven_day", "unknown", /unknown\s+resets in 2 d 2 h/],
    ]) {
      assert.equal(await cell(account, name).getAttribute("data-kind"), kind, `${account} ${name}`);
      assert.match(await cell(account, name).innerText(), words);
    }
    assert.doesNotMatch(await cell("claude/max-2", "five_hour").innerText(), /%/);
    assert.equal(await cell("claude/max-2", "seven_day").getByRole("meter").count(), 0);
    assert.match(await tab.text(".account .causes"), /five_hour/);
    await tab.look("windows");
    await tab.close();
  },

  async "places and families"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: `${ONE}concurrency = 1\nthresholds = [60]\n` });
    await world.start();
    await world.observe("max-1", {
      five_hour: [0.2, Date.now() + 2 * HOUR],
      seven_day_opus: [0.1, Date.now() + 50 * HOUR],
    });
    await world.refuse("max-1", "seven_day_opus", Date.now() + 50 * HOUR);
    const tab = await Tab.open(browser, world);
    await tab.until("#verdict-word", /^allow$/);
    await tab.until("#verdict-but", /^Not with models of seven_day_opus: refused until /);
    await world.ask("POST", "/v1/leases", { key: "page", holder: "nightly" });
    await tab.until("#verdict-but", /^But a lease is refused there now: 1 of 1 place taken\. Not with/);
    await tab.until(".facts", /no place free: 1 of 1 place taken/);
    await tab.until("#chart-note", /thresholds at 60 %/);
    // The reader's own choice stays.
    const select = tab.page.locator("#chart-window");
    assert.equal(await select.inputValue(), "claude/max-1/five_hour");
    await select.selectOption("claude/max-1/seven_day_opus");
    await world.observe("max-1", { five_hour: [0.97, Date.now() + 2 * HOUR] });
    await tab.until("#accounts", /97\.0 %/);
    assert.equal(await select.inputValue(), "claude/max-1/seven_day_opus");
    await tab.ready();
    await tab.look("places");
    await tab.close();
  },

  async wait({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.observe("max-1", { five_hour: [0.99, Date.now() + 0.8 * HOUR] });
    await world.refuse("max-1", "five_hour", Date.now() + 0.8 * HOUR);
    const tab = await Tab.open(browser, world);
    await tab.ready();
    await tab.until("#verdict-word", /^wait$/);
    const answer = await world.ask("GET", "/v1/may-start");
    assert.equal(
      await tab.page.locator("#until-clock").getAttribute("title"),
      `${answer.retry_at.slice(0, 19).replace("T", " ")} UTC`,
    );
    await tab.until("#until-length", /^4\d min \d\d s$/);
    await tab.look("wait");
    await tab.close();
  },

  async "asks again at retry_at"({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.refuse("max-1", "five_hour", Date.now() + 9_000);
    const tab = await Tab.open(browser, world);
    await tab.until("#verdict-word", /^wait$/);
    await tab.until("#verdict-word", /^(allow|unknown)$/);
    await tab.until(".cell .used", /^expired$/);
    await tab.close();
  },

  async deny({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.observe("max-1", { five_hour: [0.2, Date.now() + 2 * HOUR] });
    const tab = await Tab.open(browser, world);
    await tab.until("#verdict-word", /^allow$/);
    await world.ask("POST", "/v1/quota/max-1/mark", { state: "exhausted", reason: "shared with the demo" });
    await tab.until("#verdict-word", /^deny$/);
    await tab.until("#until-length", /an operator acts/);
    await tab.until("#accounts", /shared with the demo/);
    await tab.ready();
    await tab.look("deny");
    await tab.close();
  },

  async health({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.observe("max-1", { five_hour: [0.2, Date.now() + 2 * HOUR] });
    const tab = await Tab.open(browser, world);
    await tab.ready();
    fs.writeFileSync(world.path("t.toml"), "nonsense = 1\n");
    world.child.kill("SIGHUP");
    await tab.until("#unwell-word", /^degraded$/);
    await tab.until("#verdict-word", /^allow$/);
    await tab.look("degraded");
    fs.writeFileSync(world.path("t.toml"), ONE);
    world.child.kill("SIGHUP");
    await tab.page.waitForFunction(() => document.getElementById("unwell").hidden);
    // Blind: what is not seen is not allowed.
    fs.renameSync(world.runs, `${world.runs}-away`);
    await tab.until("#unwell-word", /^unhealthy$/);
    await tab.until("#verdict-word", /^unknown$/);
    await tab.look("unhealthy");
    fs.renameSync(`${world.runs}-away`, world.runs);
    await tab.until("#verdict-word", /^allow$/);
    await tab.until("#event-list", /the collector is healthy/);
    await tab.close();
  },

  // What passed between two looks of the collector has no event that takes it back.
  async passed({ browser, executable, keep, Tab }) {
    const world = await make(keep, executable, { config: ONE });
    world.append("nightly");
    await world.start();
    await world.observe("max-1", { five_hour: [0.2, Date.now() + 2 * HOUR] });
    // More answers than the beginning and the snapshot of the stream ask for.
    let unknown = 5;
    const changed = async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      if (unknown > 0) Object.assign(answer, { decision: "unknown" });
      unknown -= 1;
      await route.fulfill({ response, json: answer });
    };
    const before = (context) => context.route((url) => url.pathname === "/v1/may-start", changed);
    const tab = await Tab.open(browser, world, { before });
    await tab.ready();
    await tab.until("#verdict-word", /^unknown$/);
    await tab.until("#verdict-word", /^allow$/, 25_000);
    await tab.close();
  },
};
