// Compares a document of tokentail with the log of agents-server.mjs. Exits 1 with the differences.
//
// usage: agents-compare.mjs LOG DOCUMENT AGENT=VERSION...
//
// DOCUMENT is a summary, the answer to a stop, or sums by model (`/v1/usage`). A summary's windows and refusals are
// compared too, with the limits that Codex was sent.
import { readFileSync } from "node:fs";

const [logPath, documentPath, ...agents] = process.argv.slice(2);
const versions = new Map(agents.map((agent) => agent.split("=")));
const sent = readFileSync(logPath, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const counted = JSON.parse(readFileSync(documentPath, "utf8"));
const fields = [
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "thinking_tokens",
];
// With fewer answers a part of the scenario, such as a compaction, did not take place.
const responsesMin = { codex: 11, pi: 11, gemini: 8, qwen: 14 };
const differences = [];
const equal = (what, wanted, got) => {
    if (wanted !== got) differences.push(`${what}: sent ${wanted}, counted ${got}`);
};

// What an agent's transcripts hold of an answer, by docs/dialects.md.
function written({ agent, api, sums }) {
    if (agent !== "qwen") return sums;
    // It writes no cache writes, which stay in the input, and no thoughts of Anthropic's API.
    const { input_tokens, cache_creation_input_tokens, thinking_tokens } = sums;
    return {
        ...sums,
        input_tokens: input_tokens + cache_creation_input_tokens,
        cache_creation_input_tokens: 0,
        thinking_tokens: api === "messages" ? 0 : thinking_tokens,
    };
}

const byModel = new Map();
const byAgent = new Map([...versions.keys()].map((agent) => [agent, { messages: 0, tokens: 0 }]));
for (const entry of sent) {
    if (entry.missing)
        differences.push(`${entry.agent} has no tool for [${entry.missing}], only ${entry.offered.join(", ")}`);
    if (entry.unknown) differences.push(`${entry.agent} asked for what the server does not have: ${entry.unknown}`);
    if (!entry.sums) continue;
    const sums = written(entry);
    const model =
        byModel.get(entry.model) ?? Object.fromEntries([["messages", 0], ...fields.map((field) => [field, 0])]);
    // pi writes the one or two calls that make a summary as one response.
    const isMerged = entry.agent === "pi" && entry.isWithoutTools && model.isWithoutTools;
    model.isWithoutTools = entry.isWithoutTools;
    model.messages += isMerged ? 0 : 1;
    for (const field of fields) model[field] += sums[field];
    byModel.set(entry.model, model);
    const agent = byAgent.get(entry.agent);
    agent.messages += isMerged ? 0 : 1;
    agent.tokens +=
        sums.input_tokens + sums.output_tokens + sums.cache_read_input_tokens + sums.cache_creation_input_tokens;
}

const rows = new Map(counted.rows ? counted.rows.map((row) => [row.key, row]) : Object.entries(counted.by_model));
for (const [model, sums] of byModel) {
    for (const field of ["messages", ...fields]) {
        // Only sums by model have responses by model.
        if (field !== "messages" || counted.rows)
            equal(`${model} ${field}`, sums[field], rows.get(model)?.[field] ?? 0);
    }
}
for (const model of rows.keys()) if (!byModel.has(model)) differences.push(`${model} is counted and was not sent`);
const messages = [...byModel.values()].reduce((sum, model) => sum + model.messages, 0);
equal("responses", messages, counted.rows ? counted.totals.messages : counted.messages);

if (counted.quota && versions.has("codex")) {
    const ofCodex = sent.filter(({ agent, limits }) => agent === "codex" && limits);
    const isOfCodex = ({ provider, account }) => provider === "codex" && account === "default";
    const windows = new Map(counted.quota.windows.filter(isOfCodex).map((one) => [one.window, one]));
    const seconds = (time) => (time ? Date.parse(time) / 1000 : time);
    for (const { name, used, reset } of ofCodex.at(-1).limits) {
        equal(`codex ${name} utilization`, used / 100, windows.get(name)?.utilization);
        equal(`codex ${name} reset_at`, reset, seconds(windows.get(name)?.reset_at));
    }
    const refusals = ofCodex.filter((entry) => entry.refused_until);
    const events = counted.quota.limit_events.filter(isOfCodex);
    equal("accounts with windows", 1, new Set(counted.quota.windows.map((one) => one.provider)).size);
    equal("codex refusals", refusals.length, events.length);
    refusals.forEach(({ refused_until }, at) =>
        equal("codex end of a refusal", refused_until, seconds(events[at]?.resets_at)),
    );
    equal("codex five_hour refused", true, windows.get("five_hour")?.refused);
}

for (const [agent, { messages }] of byAgent) {
    // pi's answers are on the accounts of the providers that its lines name.
    if (counted.quota && agent !== "pi") {
        const account = counted.quota.accounts.find(({ provider }) => provider === agent);
        equal(`${agent}'s calls of its account`, messages, account?.calls_5h);
    }
    if (messages < responsesMin[agent])
        differences.push(`${agent} asked for ${messages} answers, not for ${responsesMin[agent]} or more`);
}
for (const [agent, { messages, tokens }] of byAgent) {
    const isOfAgent = (line) => line.startsWith(agent) || line.startsWith(`check-${agent}`);
    const verdict = differences.some(isOfAgent) ? "DIFFERENT" : "as sent";
    console.log(
        `${agent} ${versions.get(agent)}: ${messages} responses, ${tokens.toLocaleString("en-US")} tokens: ${verdict}`,
    );
}
for (const difference of differences) console.log(`  ${difference}`);
process.exitCode = differences.length > 0 ? 1 : 0;
