// Compares two sets of documents, DIRECTORY/REPORT.theirs and DIRECTORY/REPORT.ours; for ccusage-compare.sh.
const fs = require("fs");
const directory = process.argv[2];
const read = (name) => JSON.parse(fs.readFileSync(`${directory}/${name}`, "utf8"));
const TOKENS = ["inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens", "totalTokens"];
const COST_NOISE = 1e-9;
let unexplained = 0;

// Why a cost may differ: of the models of the row.
function costReasons(row) {
  const reasons = [];
  const models = row?.modelsUsed ?? [];
  if (models.some((name) => /sonnet-4-5|haiku-5-5|gpt/.test(name)))
    reasons.push("long prompts: the provider charges every token of a request above the bound, ccusage those beyond it");
  reasons.push("web searches, US inference and batches have prices that ccusage leaves out");
  return reasons;
}

function compare(report, list, key) {
  const [theirs, ours] = [read(`${report}.theirs`), read(`${report}.ours`)];
  const rows = (document) => new Map((document[list] ?? []).map((row) => [row[key], row]));
  const [left, right] = [rows(theirs), rows(ours)];
  const names = [...new Set([...left.keys(), ...right.keys()])].sort();
  console.log(`\n${report}: ${left.size} rows of ccusage, ${right.size} of tokentail`);
  let same = 0;
  const costs = [];
  for (const name of names) {
    const [one, other] = [left.get(name), right.get(name)];
    const off = TOKENS.filter((field) => (one?.[field] ?? 0) !== (other?.[field] ?? 0));
    for (const field of off) console.log(`  ${name} ${field}: ccusage ${one?.[field] ?? 0}, tokentail ${other?.[field] ?? 0}`);
    unexplained += off.length;
    if (off.length === 0) same++;
    const cost = (other?.totalCost ?? 0) - (one?.totalCost ?? 0);
    if (Math.abs(cost) > COST_NOISE) costs.push([name, one?.totalCost ?? 0, other?.totalCost ?? 0, one]);
  }
  console.log(`  tokens: ${same} of ${names.length} rows are equal`);
  for (const [name, one, other, row] of costs)
    console.log(`  ${name} cost: ccusage ${one.toFixed(6)}, tokentail ${other.toFixed(6)} (${costReasons(row).join("; ")})`);
  const [a, b] = [theirs.totals, ours.totals];
  const total = TOKENS.filter((field) => a[field] !== b[field]);
  console.log(
    total.length === 0
      ? `  totals: equal, ${a.totalTokens} tokens; ccusage $${a.totalCost.toFixed(6)}, tokentail $${b.totalCost.toFixed(6)}`
      : `  totals: ${total.map((field) => `${field} ccusage ${a[field]}, tokentail ${b[field]}`).join("; ")}`,
  );
  if (a.unpricedModels) console.log(`  without a price in ccusage: ${a.unpricedModels.join(", ")}`);
  if (b.unpricedModels) console.log(`  without a price in tokentail: ${b.unpricedModels.join(", ")}`);
  const members = (row) => Object.keys(row ?? {}).sort().join();
  const [first] = names;
  if (left.get(first) && right.get(first) && members(left.get(first)) !== members(right.get(first))) {
    console.log(`  members: ccusage ${members(left.get(first))}; tokentail ${members(right.get(first))}`);
    unexplained++;
  }
}

function compareBlocks() {
  const [theirs, ours] = [read("blocks.theirs").blocks, read("blocks.ours").blocks].map((blocks) =>
    blocks.filter((block) => !block.isGap),
  );
  console.log(`\nblocks: ${theirs.length} of ccusage, ${ours.length} of tokentail`);
  const right = new Map(ours.map((block) => [block.startTime, block]));
  let same = 0;
  for (const block of theirs) {
    const other = right.get(block.startTime);
    if (other?.totalTokens === block.totalTokens && other?.endTime === block.endTime) {
      same++;
    } else {
      console.log(`  ${block.startTime}: ccusage ${block.totalTokens} tokens, tokentail ${other?.totalTokens ?? "no such block"}`);
      unexplained++;
    }
    if (other && other.entries !== block.entries)
      console.log(`  ${block.startTime} entries: ccusage ${block.entries}, tokentail ${other.entries} (messages without usage, as <synthetic>, are no entries)`);
  }
  console.log(`  start, end and tokens: ${same} of ${theirs.length} are equal (first and last use are known to the minute)`);
}

compare("daily", "daily", "date");
compare("weekly", "weekly", "week");
compare("monthly", "monthly", "month");
compare("session", "sessions", "sessionId");
compareBlocks();
console.log(unexplained === 0 ? "\nno difference of tokens" : `\n${unexplained} differences of tokens`);
process.exit(unexplained === 0 ? 0 : 1);
