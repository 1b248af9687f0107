// The runs with the latest activity. A row opens the models, sessions and files of its run.

import { get } from "./api.js";
import { attr, byId, el, keyed, moment, named, show, text } from "./dom.js";
import { accountKey, latest, rate } from "./fold.js";
import { away, bytes, compact, counted, grouped, isNumber, safe, time, usd, UNKNOWN } from "./format.js";

const SHOWN = 20;
/** Rows of sessions and of files of a run. */
const PARTS_MAX = 50;
/** Rows change their places this often at most, and not under a pointer or a focus, in milliseconds. */
const ORDER_MS = 5_000;

export function startRuns({ schedule }) {
  const table = byId("runs-table");
  let order = [],
    orderedAt = 0,
    drawn = null,
    width = 0,
    columns = 0;

  function render(state, now) {
    if (!state.runs) return;
    const isEmpty = state.runs.size === 0;
    show(table, !isEmpty);
    if (show(byId("runs-empty"), isEmpty)) empty(state);
    if (
      drawn !== state.runs &&
      (now - orderedAt > ORDER_MS || now < orderedAt) &&
      (!order.length || !table.matches(":hover, :focus-within"))
    ) {
      order = latest(state.runs, SHOWN).map((run) => run.id);
      orderedAt = now;
      drawn = state.runs;
    }
    // A cell over all columns would make those that are hidden take room.
    if (width !== innerWidth && !isEmpty) {
      width = innerWidth;
      columns = [...table.tHead.rows[0].cells].filter((cell) => cell.getClientRects().length).length;
    }
    const rows = order.map((id) => state.runs.get(id)).filter(Boolean);
    const all = Math.max(state.runsTotal ?? 0, state.runs.size);
    text(byId("runs-note"), isEmpty ? "" : `${rows.length} of ${counted(all, "run")}, latest activity first`);
    keyed(
      table,
      [table.caption, table.tHead, ...rows],
      (row) => row.id || row.tagName,
      (row) => (row.nodeType ? row : make(row)),
      (node, row) => {
        if (!row.nodeType) update(node.parts, row, state, now);
      },
    );
  }

  function make(run) {
    // On a narrow page the state is below the name.
    const parts = { details: null, cells: {}, below: el("span", { class: "below" }) };
    const button = el("button", { type: "button", class: "open", "aria-expanded": "false" }, named(run.id));
    const names = [
      ["state", "s"],
      ["account", "w3"],
      ["input", "n w2"],
      ["output", "n w2"],
      ["cache", "n w2"],
      ["total", "n"],
      ["rate", "n w1"],
      ["active", "n a"],
    ];
    const row = el(
      "tr",
      null,
      el("th", { scope: "row" }, button, parts.below),
      ...names.map(([name, className]) => (parts.cells[name] = el("td", { class: className }))),
    );
    parts.problem = el("td", { class: "problem" });
    parts.problemRow = el("tr", { hidden: "" }, parts.problem);
    const body = el("tbody", null, row, parts.problemRow);
    button.addEventListener("click", () => {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      attr(button, "aria-expanded", String(!isOpen));
      parts.details?.remove();
      parts.details = isOpen ? null : body.appendChild(details(run.id));
    });
    return Object.assign(body, { parts });
  }

  function update({ cells, below, details, problem, problemRow }, run, state, now) {
    for (const cell of [problem, details?.firstChild]) if (cell && cell.colSpan !== columns) cell.colSpan = columns;
    for (const node of [cells.state, below]) {
      attr(text(node, safe(run.state ?? UNKNOWN)), "data-state", run.state);
      attr(node, "title", run.stop_reason ? `stopped: ${safe(run.stop_reason)}` : null);
    }
    text(cells.account, safe(accountKey(run)));
    tokens(cells.input, run.input_tokens);
    tokens(cells.output, run.output_tokens);
    const cache = run.cache_read_input_tokens + run.cache_creation_input_tokens;
    attr(
      text(cells.cache, compact(cache)),
      "title",
      `${grouped(run.cache_read_input_tokens)} read, ${grouped(run.cache_creation_input_tokens)} written`,
    );
    tokens(cells.total, run.total_tokens);
    const perMinute = rate(run, state.watchedSince, now);
    attr(
      text(cells.rate, perMinute === null ? "–" : compact(perMinute)),
      "title",
      perMinute === null
        ? "unknown until this page was open for a minute"
        : `${grouped(perMinute)} tokens in the last minute`,
    );
    const at = time(run.last_activity);
    moment(cells.active, Number.isFinite(at) ? away(Math.min(at, now), now) : "never", at);
    const wrong = [
      run.problem,
      run.malformed_lines ? `${counted(run.malformed_lines, "malformed line")}` : "",
      ...(run.notices ?? []),
    ].filter(Boolean);
    if (show(problemRow, wrong.length > 0)) text(problem, safe(wrong.join("; ")));
  }

  function details(id) {
    const cell = el("td", { colspan: columns }, el("p", { class: "note" }, "Asking for its models, sessions and files."));
    load(id, cell).catch((error) =>
      cell.replaceChildren(
        el("p", { class: "failed" }, error.status ? safe(error.message) : "The collector does not answer."),
      ),
    );
    return el("tr", { class: "details" }, cell);
  }

  return { render };
}

const tokens = (cell, value) => attr(text(cell, compact(value)), "title", isNumber(value) ? grouped(value) : null);

function empty(state) {
  const place = byId("runs-empty");
  if (place.firstChild && place.settings === state.settings) return;
  place.settings = state.settings;
  const directory = state.settings?.runs_dir ?? UNKNOWN,
    patterns = state.settings?.watch?.include ?? state.settings?.include ?? [];
  place.replaceChildren(
    el("p", { class: "strong" }, "Nothing seen yet."),
    el(
      "p",
      null,
      "Transcripts are read from ",
      el("code", null, safe(directory)),
      patterns.length ? ", from files that match " : "",
      ...patterns.flatMap((one, index) => [index ? " or " : "", el("code", null, safe(one))]),
      ".",
    ),
    el("p", null, "A line that counts looks like this:"),
    el(
      "pre",
      null,
      '{"type":"assistant","timestamp":"2026-10-05T11:00:04Z","message":{"id":"msg_01…","model":"claude-opus-5","usage":{"input_tokens":12,"output_tokens":340}}}',
    ),
  );
}

async function load(id, cell) {
  const path = encodeURIComponent(id);
  const [run, sessions, files] = await Promise.all(
    [
      get(`/v1/runs/${path}`),
      get(`/v1/usage?${new URLSearchParams({ run: id, group_by: "session" })}`),
      get(`/v1/runs/${path}/files?limit=${PARTS_MAX}`),
    ].map((one) => one.then(({ document }) => document)),
  );
  const labels = Object.entries(run.labels).map(([key, value]) => `${key}=${value}`);
  const about = [
    `${counted(run.messages, "message")}`,
    `${counted(run.files, "file")}, ${bytes(run.bytes)}`,
    run.lag_bytes ? `${bytes(run.lag_bytes)} wait to be read` : "everything is read",
    ...labels,
  ];
  const found = `${Math.min(files.files.length, files.total)} of ${counted(files.total, "file")}, found last first`;
  cell.replaceChildren(
    el("p", { class: "note" }, safe(about.join(" · "))),
    sums("Models", Object.entries(run.by_model)),
    sums(
      "Sessions",
      [...sessions.rows].slice(0, PARTS_MAX).map((row) => [row.key ?? "(none)", row]),
    ),
    el(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": "Files" },
      el(
        "table",
        null,
        el("caption", null, found),
        el(
          "thead",
          null,
          el("tr", null, el("th", { scope: "col" }, "file"), el("th", { scope: "col", class: "n" }, "read")),
        ),
        el(
          "tbody",
          null,
          ...files.files.map((file) =>
            el(
              "tr",
              null,
              el("td", null, named(file.path)),
              el("td", { class: "n", title: counted(file.bytes_read, "byte") }, bytes(file.bytes_read)),
            ),
          ),
        ),
      ),
    ),
  );
}

function sums(title, entries) {
  const fields = [
    ["input", "input_tokens"],
    ["output", "output_tokens"],
    ["cache write", "cache_creation_input_tokens"],
    ["cache read", "cache_read_input_tokens"],
    ["total", "total_tokens"],
  ];
  const head = el(
    "tr",
    null,
    el("th", { scope: "col" }, title.toLowerCase().slice(0, -1)),
    ...[...fields.map(([name]) => name), "cost"].map((name) => el("th", { scope: "col", class: "n" }, name)),
  );
  const rows = entries.map(([name, row]) =>
    el(
      "tr",
      null,
      el("td", null, named(name)),
      ...fields.map(([name, field]) => tokens(el("td", { class: "n", "data-name": name }), row[field])),
      el("td", { class: "n", "data-name": "cost" }, usd(row.estimated_cost_usd)),
    ),
  );
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
    el("table", { class: "sums" }, el("caption", null, title), el("thead", null, head), el("tbody", null, ...rows)),
  );
}
