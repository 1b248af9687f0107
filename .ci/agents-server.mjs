// A server on loopback that speaks the APIs of four coding agents' providers, and writes down what it sent.
//
// usage: agents-server.mjs LOG
//
// Prints its port when it listens. Each answer with tokens becomes a line of LOG: the agent (first part of the path),
// the model, the usage as the API has it, and the same tokens in tokentail's fields. The tokens are drawn first and the
// usage of an API is made from them, so the log needs none of the rules that the program counts by. No two answers have
// the same figures.
//
// Words in the last message of the user decide the answer: `[tool]` is answered with a call of a tool, `[delegate]`
// with that of a sub-agent, `[refuse]` with a refused request, `[cut]` with an answer that ends at the length it may
// have; all else with a sentence.
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";

const log = process.argv[2];
// Ends of the windows that the Codex API reports, in Unix seconds.
const now = Math.floor(Date.now() / 1000);
const windows = {
    primary: { name: "five_hour", minutes: 300, reset: now + 7200 },
    secondary: { name: "seven_day", minutes: 10080, reset: now + 400000 },
};
let number = 0;

function draw(agent, model, api) {
    number += 1;
    return {
        agent,
        model,
        api,
        fresh: 500 + 7 * number,
        cached: 3000 + 11 * number,
        // Gemini's API has no writes, and the others have no prompt of tools.
        written: api === "gemini" ? 0 : 40 + 3 * number,
        toolPrompt: api === "gemini" ? 9 + number : 0,
        answer: 60 + 5 * number,
        thoughts: 20 + 2 * number,
    };
}

function record(request, drawn, usage, limits) {
    const sums = {
        input_tokens: drawn.fresh + drawn.toolPrompt,
        cache_read_input_tokens: drawn.cached,
        cache_creation_input_tokens: drawn.written,
        output_tokens: drawn.answer + drawn.thoughts,
        thinking_tokens: drawn.thoughts,
    };
    const { agent, model, api } = drawn;
    // As for a compaction.
    const isWithoutTools = (request.tools ?? []).length === 0;
    write({ agent, model, api, usage, sums, isWithoutTools, limits });
}

function write(entry) {
    appendFileSync(log, JSON.stringify(entry) + "\n");
}

// What the end of the conversation demands. `messages` are {kind: "user" | "result" | "model", text, name of a call}.
function demand(messages) {
    const last = messages.findLast(({ kind, text }) => kind !== "user" || text !== "");
    if (last?.kind !== "result") return { word: wordOf(last?.text ?? "") };
    // A sub-agent of Codex ends with its parent, unless that waits.
    const called = messages.findLast(({ kind }) => kind === "model")?.name;
    const id = called === "spawn_agent" && /"agent_id"\s*:\s*"([^"]+)"/.exec(last.text);
    return id ? { word: "wait", id: id[1] } : { word: "sentence" };
}

const wordOf = (text) => ["cut", "delegate", "refuse", "tool"].find((word) => text.includes(`[${word}]`)) ?? "sentence";
const textOf = (content) => (typeof content === "string" ? content : JSON.stringify(content ?? ""));

// The call that answers `[tool]` or `[delegate]`, of the tools that the request offers.
function call({ word, id }, names) {
    const known = {
        tool: [
            ["exec_command", { cmd: "true" }],
            ["shell", { command: ["true"] }],
            ["bash", { command: "true" }],
            ["glob", { pattern: "*" }],
        ],
        wait: [["wait_agent", { targets: [id] }]],
        delegate: [
            ["invoke_agent", { agent_name: "generalist", prompt: "Say a word." }],
            ["agent", { description: "a word", prompt: "Say a word.", subagent_type: "general-purpose" }],
            ["task", { description: "a word", prompt: "Say a word.", subagent_type: "general-purpose" }],
            ["spawn_agent", { message: "Say a word." }],
        ],
    };
    const found = known[word]?.find(([name]) => names.includes(name));
    return found && { name: found[0], input: found[1] };
}

function answerOf(agent, messages, names) {
    const demanded = demand(messages);
    const found = call(demanded, names);
    if (!found && ["delegate", "tool", "wait"].includes(demanded.word))
        write({ agent, missing: demanded.word, offered: names });
    return { word: demanded.word, call: found, text: `Answer ${number}.` };
}

const send = (response, status, body, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
};
const stream = (response, events, headers = {}) => {
    response.writeHead(200, { "content-type": "text/event-stream", ...headers });
    for (const [name, data] of events) {
        response.write(
            (name ? `event: ${name}\n` : "") + `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`,
        );
    }
    response.end();
};

// The Responses API. Codex reads the limits in its headers.
function responses(agent, request, response) {
    const messages = (request.input ?? []).map((item) => {
        if (item.type?.endsWith("_output")) return { kind: "result", text: textOf(item.output) };
        if (!item.role || item.role === "assistant") return { kind: "model", text: "", name: item.name };
        return { kind: "user", text: item.role === "user" ? textOf(item.content) : "" };
    });
    const tools = (request.tools ?? []).flatMap(({ name, tools }) =>
        tools ? tools.map((inner) => ({ name: inner.name, namespace: name })) : { name },
    );
    const names = tools.map(({ name }) => name);
    const answer = answerOf(agent, messages, names);
    const used = { primary: answer.word === "refuse" ? 100 : 20 + number, secondary: 10 + number };
    const limits = Object.entries(windows).map(([slot, { name, minutes, reset }]) => ({
        slot,
        name,
        used: used[slot],
        minutes,
        reset,
    }));
    const headers = Object.fromEntries(
        limits.flatMap(({ slot, used, minutes, reset }) => [
            [`x-codex-${slot}-used-percent`, used],
            [`x-codex-${slot}-window-minutes`, minutes],
            [`x-codex-${slot}-reset-at`, reset],
        ]),
    );
    if (answer.word === "refuse") {
        const resets_at = windows.primary.reset;
        write({ agent, model: request.model, refused_until: resets_at, limits });
        const error = {
            type: "usage_limit_reached",
            message: "The usage limit has been reached",
            plan_type: "plus",
            resets_at,
        };
        return send(response, 429, { error }, headers);
    }
    const drawn = draw(agent, request.model, "responses");
    const input = drawn.fresh + drawn.cached + drawn.written;
    const output = drawn.answer + drawn.thoughts;
    const usage = {
        input_tokens: input,
        input_tokens_details: { cached_tokens: drawn.cached, cache_write_tokens: drawn.written },
        output_tokens: output,
        output_tokens_details: { reasoning_tokens: drawn.thoughts },
        total_tokens: input + output,
    };
    record(request, drawn, usage, limits);
    const found = answer.call;
    const item = found
        ? {
              type: "function_call",
              id: `fc_${number}`,
              call_id: `call_${number}`,
              name: found.name,
              namespace: tools.find(({ name }) => name === found.name).namespace,
              arguments: JSON.stringify(found.input),
          }
        : {
              type: "message",
              id: `msg_${number}`,
              role: "assistant",
              status: "completed",
              content: [{ type: "output_text", text: answer.text, annotations: [] }],
          };
    const whole = {
        id: `resp_${now}_${number}`,
        object: "response",
        model: request.model,
        status: "completed",
        output: [item],
        usage,
    };
    const text = {
        type: "response.output_text.delta",
        output_index: 0,
        content_index: 0,
        item_id: item.id,
        delta: answer.text,
    };
    const end = answer.word === "cut" ? "incomplete" : "completed";
    if (end === "incomplete")
        Object.assign(whole, { status: end, incomplete_details: { reason: "max_output_tokens" } });
    const events = [
        { type: "response.created", response: { ...whole, status: "in_progress", output: [], usage: null } },
        { type: "response.output_item.added", output_index: 0, item },
        ...(found ? [] : [text]),
        { type: "response.output_item.done", output_index: 0, item },
        { type: `response.${end}`, response: whole },
    ];
    stream(
        response,
        events.map((event) => [event.type, event]),
        headers,
    );
}

// The older OpenAI API, of local servers and gateways.
function completions(agent, request, response) {
    const messages = (request.messages ?? []).map(({ role, content }) => ({
        kind: role === "tool" ? "result" : role === "assistant" ? "model" : "user",
        text: role === "user" ? textOf(content) : "",
    }));
    const names = (request.tools ?? []).map((tool) => tool.function?.name);
    const answer = answerOf(agent, messages, names);
    const drawn = draw(agent, request.model, "completions");
    const input = drawn.fresh + drawn.cached + drawn.written;
    const output = drawn.answer + drawn.thoughts;
    const usage = {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        prompt_tokens_details: { cached_tokens: drawn.cached, cache_write_tokens: drawn.written },
        completion_tokens_details: { reasoning_tokens: drawn.thoughts },
    };
    record(request, drawn, usage);
    const calls = answer.call && [
        {
            index: 0,
            id: `call_${number}`,
            type: "function",
            function: { name: answer.call.name, arguments: JSON.stringify(answer.call.input) },
        },
    ];
    const message = { role: "assistant", content: calls ? null : answer.text, ...(calls && { tool_calls: calls }) };
    const finish = calls ? "tool_calls" : "stop";
    const base = { id: `chatcmpl-${now}-${number}`, created: now, model: request.model };
    if (!request.stream) {
        return send(response, 200, {
            ...base,
            object: "chat.completion",
            choices: [{ index: 0, message, finish_reason: finish }],
            usage,
        });
    }
    const chunk = { ...base, object: "chat.completion.chunk" };
    stream(response, [
        ["", { ...chunk, choices: [{ index: 0, delta: message, finish_reason: null }] }],
        ["", { ...chunk, choices: [{ index: 0, delta: {}, finish_reason: finish }] }],
        ["", { ...chunk, choices: [], usage }],
        ["", "[DONE]"],
    ]);
}

// Anthropic's API.
function anthropic(agent, request, response) {
    const messages = (request.messages ?? []).map(({ role, content }) => ({
        kind: role === "assistant" ? "model" : textOf(content).includes('"tool_result"') ? "result" : "user",
        text: textOf(content),
    }));
    const names = (request.tools ?? []).map((tool) => tool.name);
    const answer = answerOf(agent, messages, names);
    const drawn = draw(agent, request.model, "messages");
    const usage = {
        input_tokens: drawn.fresh,
        cache_read_input_tokens: drawn.cached,
        cache_creation_input_tokens: drawn.written,
        output_tokens: drawn.answer + drawn.thoughts,
        output_tokens_details: { thinking_tokens: drawn.thoughts },
    };
    record(request, drawn, usage);
    const block = answer.call
        ? { type: "tool_use", id: `toolu_${number}`, name: answer.call.name, input: {} }
        : { type: "text", text: "" };
    const delta = answer.call
        ? { type: "input_json_delta", partial_json: JSON.stringify(answer.call.input) }
        : { type: "text_delta", text: answer.text };
    const message = {
        id: `msg_${now}_${number}`,
        type: "message",
        role: "assistant",
        model: request.model,
        content: [],
        stop_reason: null,
        stop_sequence: null,
        usage: { ...usage, output_tokens: 1 },
    };
    stream(response, [
        ["message_start", { type: "message_start", message }],
        ["content_block_start", { type: "content_block_start", index: 0, content_block: block }],
        ["content_block_delta", { type: "content_block_delta", index: 0, delta }],
        ["content_block_stop", { type: "content_block_stop", index: 0 }],
        [
            "message_delta",
            {
                type: "message_delta",
                delta: { stop_reason: answer.call ? "tool_use" : "end_turn", stop_sequence: null },
                usage,
            },
        ],
        ["message_stop", { type: "message_stop" }],
    ]);
}

// The Gemini API.
function gemini(agent, model, method, request, response) {
    if (method === "countTokens") return send(response, 200, { totalTokens: 1234 });
    const messages = (request.contents ?? []).map(({ role, parts }) => ({
        kind: role === "model" ? "model" : parts?.some((part) => part.functionResponse) ? "result" : "user",
        text: textOf(parts),
    }));
    const names = (request.tools ?? []).flatMap((tool) => (tool.functionDeclarations ?? []).map(({ name }) => name));
    const answer = answerOf(agent, messages, names);
    const drawn = draw(agent, model, "gemini");
    const input = drawn.fresh + drawn.cached;
    const usage = {
        promptTokenCount: input,
        cachedContentTokenCount: drawn.cached,
        candidatesTokenCount: drawn.answer,
        thoughtsTokenCount: drawn.thoughts,
        toolUsePromptTokenCount: drawn.toolPrompt,
        totalTokenCount: input + drawn.answer + drawn.thoughts + drawn.toolPrompt,
    };
    record(request, drawn, usage);
    const part = answer.call
        ? { functionCall: { name: answer.call.name, args: answer.call.input } }
        : { text: answer.text };
    const whole = {
        responseId: `gem${now}${number}`,
        modelVersion: model,
        candidates: [{ index: 0, content: { role: "model", parts: [part] }, finishReason: "STOP" }],
        usageMetadata: usage,
    };
    if (method === "streamGenerateContent") stream(response, [["", whole]]);
    else send(response, 200, whole);
}

const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (part) => (body += part));
    request.on("end", () => {
        const path = new URL(request.url, "http://localhost").pathname;
        const [, agent, ...rest] = path.split("/");
        const route = rest.join("/");
        let parsed = {};
        try {
            parsed = JSON.parse(body || "{}");
        } catch {
            return send(response, 400, { error: { message: "the body is no JSON" } });
        }
        const model = /models\/([^:]+):(\w+)$/.exec(route);
        if (request.method === "POST" && route.endsWith("chat/completions"))
            return completions(agent, parsed, response);
        if (request.method === "POST" && route.endsWith("v1/responses")) return responses(agent, parsed, response);
        if (request.method === "POST" && route.endsWith("v1/messages")) return anthropic(agent, parsed, response);
        if (request.method === "POST" && model) return gemini(agent, model[1], model[2], parsed, response);
        write({ agent, unknown: `${request.method} ${path}` });
        send(response, 404, { error: { message: "not here" } });
    });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
