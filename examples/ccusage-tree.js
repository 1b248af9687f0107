// Writes a small tree of Claude transcripts with what counters of tokens disagree about; for ccusage-compare.sh.
const fs = require("fs");
const path = require("path");
const root = process.argv[2];
const SESSIONS = {
  a: "11111111-1111-4111-8111-111111111111",
  b: "22222222-2222-4222-8222-222222222222",
  c: "33333333-3333-4333-8333-333333333333",
};

function line(session, id, model, at, input, output, more = {}) {
  const { created = 0, read = 0, hour = 0, ...usage } = more;
  return JSON.stringify({
    type: "assistant",
    uuid: `u-${id}-${output}`,
    requestId: `req_${id}`,
    sessionId: SESSIONS[session],
    timestamp: at,
    version: "2.1.332",
    message: {
      id: `msg_01${id.padEnd(22, "x")}`,
      type: "message",
      role: "assistant",
      model,
      content: [{ type: "text", text: "x" }],
      usage: {
        input_tokens: input,
        output_tokens: output,
        cache_creation_input_tokens: created,
        cache_read_input_tokens: read,
        cache_creation: { ephemeral_5m_input_tokens: created - hour, ephemeral_1h_input_tokens: hour },
        service_tier: "standard",
        ...usage,
      },
    },
  });
}

function write(project, session, lines) {
  fs.mkdirSync(path.join(root, project), { recursive: true });
  fs.writeFileSync(path.join(root, project, `${SESSIONS[session]}.jsonl`), lines.join("\n") + "\n");
}

const [OPUS, HAIKU, SONNET] = ["claude-opus-5", "claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929"];
write("-srv-alpha", "a", [
  line("a", "a1", OPUS, "2026-11-02T09:10:00.000Z", 100, 50, { created: 500, read: 2000 }),
  line("a", "a2", OPUS, "2026-11-02T10:20:00.000Z", 3, 240, { created: 900, read: 12000, hour: 900 }),
  line("a", "a3", HAIKU, "2026-11-02T13:59:00.000Z", 10, 20),
  line("a", "a4", OPUS, "2026-11-02T14:30:00.000Z", 1, 2),
  // One response, written in parts: the last has its output.
  line("a", "a5", OPUS, "2026-11-03T23:50:00.000Z", 2, 1, { created: 8655, read: 15030 }),
  line("a", "a5", OPUS, "2026-11-03T23:50:01.000Z", 2, 1, { created: 8655, read: 15030 }),
  line("a", "a5", OPUS, "2026-11-03T23:50:02.000Z", 2, 412, { created: 8655, read: 15030 }),
]);
write("-srv-beta", "b", [
  // A prompt above the bound of its model, a model without a price, and a message without usage.
  line("b", "b1", SONNET, "2026-11-04T08:00:00.000Z", 10, 1000, { read: 250000 }),
  line("b", "b2", "no-such-model", "2026-11-04T08:05:00.000Z", 10, 1000),
  line("b", "b3", "<synthetic>", "2026-11-04T08:06:00.000Z", 0, 0),
]);
write("-srv-beta", "c", [
  line("c", "c1", OPUS, "2026-11-06T12:10:00.000Z", 100, 50, { server_tool_use: { web_search_requests: 2 } }),
  line("c", "c2", OPUS, "2026-11-06T12:40:00.000Z", 100, 5000),
]);
