// The page in a real browser, against a real collector with invented transcripts and limits.
// usage: browser.mjs EXECUTABLE NODE_MODULES [--shots DIRECTORY] [--files DIRECTORY] [--only NAME]
// NODE_MODULES has playwright-core and axe-core. --files takes the page's files from a directory instead of the program.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { journeys } from "./journeys.mjs";
import { states } from "./states.mjs";

const [executable, modules, ...rest] = process.argv.slice(2);
const option = (name) => (rest.includes(name) ? rest[rest.indexOf(name) + 1] : null);
const [shots, files, only] = ["--shots", "--files", "--only"].map(option);
const require = createRequire(path.join(path.resolve(modules), "x"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html" };

/** Runs in the page before its own scripts: what the tests need to know of its course. */
function observe() {
  const seen = (globalThis.observed = { answeredAt: null, longTasks: [], shift: 0, notifications: [] });
  new PerformanceObserver((list) => seen.longTasks.push(...list.getEntries().map((task) => task.duration))).observe({
    type: "longtask",
    buffered: true,
  });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  new MutationObserver((_, observer) => {
    const decision = document.getElementById("verdict")?.dataset.decision;
    if (!decision || decision === "loading") return;
    observer.disconnect();
    requestAnimationFrame(() => (seen.answeredAt = performance.now()));
  }).observe(document, { subtree: true, childList: true, attributes: true });
}

export class Tab {
  static async open(browser, world, { contextOptions = {}, before = async () => {}, isCounted = false } = {}) {
    const tab = new Tab();
    tab.world = world;
    tab.problems = [];
    /** Patterns of console errors that a story causes on purpose. */
    tab.expected = [];
    tab.context = await browser.newContext({
      viewport: { width: 1280, height: 900 },
      timezoneId: "Europe/Berlin",
      colorScheme: "light",
      ...contextOptions,
    });
    if (files) {
      await tab.context.route(
        (url) => url.pathname === "/" || url.pathname.startsWith("/page/"),
        (route) => {
          const name = path.basename(new URL(route.request().url()).pathname) || "index.html";
          return route.fulfill({
            body: fs.readFileSync(path.join(files, name)),
            contentType: TYPES[path.extname(name)],
          });
        },
      );
    }
    await before(tab.context);
    tab.page = await tab.context.newPage();
    await tab.page.addInitScript(observe);
    tab.page.on(
      "console",
      (message) => message.type() === "error" && tab.problems.push(`${message.text()} ${message.location().url}`),
    );
    tab.page.on("pageerror", (error) => tab.problems.push(error.stack));
    tab.page.on("request", (request) => {
      if (!request.url().startsWith(world.url) && !request.url().startsWith("blob:"))
        tab.problems.push(`a request elsewhere: ${request.url()}`);
    });
    if (isCounted) await tab.count();
    await tab.page.goto(world.url);
    return tab;
  }

  /** Counts what the page's files are over the wire, with headers, from now on. */
  async count() {
    const session = await this.context.newCDPSession(this.page);
    await session.send("Network.enable");
    const asked = new Map();
    this.loads = [];
    session.on("Network.requestWillBeSent", ({ requestId, request }) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/" || pathname.startsWith("/page/")) asked.set(requestId, pathname);
    });
    session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (asked.has(requestId)) this.loads.push([asked.get(requestId), encodedDataLength]);
    });
  }

  /** The bytes that were counted, once the page is quiet. */
  async received() {
    await this.page.waitForLoadState("load");
    return this.loads.reduce((sum, [, bytes]) => sum + bytes, 0);
  }

  async shoot(name) {
    if (shots) await this.page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
  }

  text(selector) {
    return this.page.locator(selector).first().innerText();
  }

  /** Waits until the text of an element fits. */
  async until(selector, pattern, timeout = 30_000) {
    const is = ([selector, source]) => new RegExp(source).test(document.querySelector(selector)?.textContent ?? "");
    try {
      await this.page.waitForFunction(is, [selector, pattern.source], { timeout });
    } catch (error) {
      throw new Error(
        `${selector} is no ${pattern}: ${await this.page
          .locator(selector)
          .first()
          .textContent()
          .catch(() => "not there")}`,
        { cause: error },
      );
    }
  }

  ready() {
    return this.page.waitForFunction(
      () =>
        !document.getElementById("rest").hidden &&
        document.querySelector("#days-plot svg") &&
        document.querySelector("#runs-note"),
    );
  }

  /** Every figure that is shown is whole, on one line, and within its table and the page. */
  async figures(name) {
    await this.page.evaluate(
      () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
    );
    const found = await this.page.evaluate(() => {
      const wrong = [];
      for (const node of document.querySelectorAll("td, .length, .used")) {
        const isFigure = node.matches(".n, .length, .used");
        if (!node.getClientRects().length || !node.firstChild) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        const { right } = range.getBoundingClientRect();
        const frame = node.closest(".scroll")?.getBoundingClientRect().right ?? innerWidth;
        const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
        if (isFigure && !node.firstElementChild && !node.dataset.name && lines > 1) wrong.push(`wraps: ${node.textContent}`);
        if (right > frame + 1) wrong.push(`outside: ${node.textContent}`);
        if (node.scrollWidth > node.clientWidth + 1) wrong.push(`cut: ${node.textContent}`);
      }
      return wrong;
    });
    assert.deepEqual(found, [], `${name} at ${this.page.viewportSize().width} px`);
  }

  /** Pictures, and findings of axe, in both schemes and on a narrow screen. */
  async look(name) {
    for (const [scheme, width] of [
      ["light", 1280],
      ["dark", 1280],
      ["light", 360],
    ]) {
      await this.page.emulateMedia({ colorScheme: scheme });
      await this.page.setViewportSize({ width, height: width === 360 ? 740 : 900 });
      // The plots are drawn again for the new width.
      await this.page.evaluate(
        () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
      );
      const overflow = await this.page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.ok(overflow <= 0, `${name}: wider than ${width} px by ${overflow}`);
      await this.page.evaluate(axe);
      const { violations } = await this.page.evaluate(() =>
        globalThis.axe.run(document, { resultTypes: ["violations"] }),
      );
      const found = violations.map(
        (one) =>
          `${one.id}: ${one.nodes
            .slice(0, 3)
            .map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ""}`)
            .join(" | ")}`,
      );
      assert.deepEqual(found, [], `${name} ${scheme} ${width}`);
      if (width === 360) await this.figures(name);
      await this.shoot(`${name}-${width === 360 ? "360" : scheme}`);
    }
    await this.page.emulateMedia({ colorScheme: "light" });
    await this.page.setViewportSize({ width: 1280, height: 900 });
  }

  /** Closes the tab; what went wrong unnoticed is an error. */
  async close() {
    const problems = this.problems.filter((problem) => !this.expected.some((pattern) => pattern.test(problem)));
    await this.context.close();
    assert.deepEqual(problems, []);
  }
}

if (shots) fs.mkdirSync(shots, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
let failures = 0;
for (const [name, story] of Object.entries({ ...states, ...journeys })) {
  if (only && !name.includes(only)) continue;
  const began = performance.now();
  const worlds = [];
  try {
    const said = await story({ browser, executable, Tab, keep: (world) => (worlds.push(world), world) });
    console.log(`ok      ${name} (${((performance.now() - began) / 1_000).toFixed(1)} s)${said ? `: ${said}` : ""}`);
  } catch (error) {
    failures++;
    console.log(`FAILED  ${name}: ${error.stack}`);
  }
  for (const world of worlds) await world.remove();
}
await browser.close();
process.exitCode = failures ? 1 : 0;
