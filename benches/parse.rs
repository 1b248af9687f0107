//! Bytes per second through lines and parser: a realistic block, and its two kinds of line separately.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use tokentail::parse::{self, LineContext};
use tokentail::reader::lines::LineIter;

/// Size of each block, in bytes.
const BLOCK_BYTES: usize = 4 << 20;
/// Lines of a response, one per block of its content.
const RESPONSE_LINES: usize = 4;

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines and parse");
    for (name, block) in [
        (
            "believable",
            block(&[usage_line, usage_line, usage_line, short_line, long_line]),
        ),
        ("usage lines", block(&[usage_line])),
        ("short lines without usage", block(&[short_line])),
        ("long lines without usage", block(&[long_line])),
    ] {
        group.throughput(Throughput::Bytes(block.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &block, |b, block| {
            let (mut records, mut observations) = (Vec::new(), Vec::new());
            b.iter(|| {
                records.clear();
                observations.clear();
                for line in LineIter::new(black_box(block)) {
                    black_box(parse::line(
                        line.bytes,
                        LineContext::default(),
                        &mut records,
                        &mut observations,
                    ));
                }
                records.len()
            });
        });
    }
    group.finish();
}

/// Lines of the given kinds in turn, until the block is full.
fn block(kinds: &[fn(&mut Rng, usize) -> String]) -> Vec<u8> {
    let mut rng = Rng::with_seed(7);
    let mut block = Vec::with_capacity(BLOCK_BYTES + (64 << 10));
    for (number, kind) in kinds.iter().cycle().enumerate() {
        if block.len() >= BLOCK_BYTES {
            break;
        }
        block.extend_from_slice(kind(&mut rng, number).as_bytes());
        block.push(b'\n');
    }
    block
}

/// One of the lines of a response, as an agent writes them today.
fn usage_line(rng: &mut Rng, number: usize) -> String {
    let response = number / RESPONSE_LINES;
    let content = text(rng, 700);
    let (created, read, output) = (rng.u32(..9000), rng.u32(..200_000), rng.u32(..4000));
    format!(
        r#"{{"parentUuid":"{uuid}","isSidechain":false,"message":{{"model":"claude-fable-5-1","id":"msg_{response:024}","type":"message","role":"assistant","content":[{{"type":"text","text":"{content}"}}],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":3,"cache_creation_input_tokens":{created},"cache_read_input_tokens":{read},"output_tokens":{output},"cache_creation":{{"ephemeral_1h_input_tokens":{created},"ephemeral_5m_input_tokens":0}},"service_tier":"standard"}}}},"type":"assistant","requestId":"req_{response:024}",{common}}}"#,
        uuid = uuid(rng),
        common = common(rng),
    )
}

/// A tool's result of a few lines.
fn short_line(rng: &mut Rng, _: usize) -> String {
    tool_result(rng, 700)
}

/// A tool's result of a whole file: most bytes of a transcript.
fn long_line(rng: &mut Rng, _: usize) -> String {
    tool_result(rng, 11_000)
}

fn tool_result(rng: &mut Rng, bytes: usize) -> String {
    let content = text(rng, bytes);
    format!(
        r#"{{"parentUuid":"{uuid}","isSidechain":false,"type":"user","message":{{"role":"user","content":[{{"type":"tool_result","content":"{content}"}}]}},{common}}}"#,
        uuid = uuid(rng),
        common = common(rng),
    )
}

fn common(rng: &mut Rng) -> String {
    format!(
        r#""uuid":"{}","timestamp":"2026-10-07T10:{:02}:{:02}.401Z","userType":"external","cwd":"/workspace","sessionId":"ca523f5b-139e-4cc3-acbe-839575ef0fc3","version":"2.1.280","gitBranch":"main""#,
        uuid(rng),
        rng.u8(..60),
        rng.u8(..60),
    )
}

fn uuid(rng: &mut Rng) -> String {
    format!("{:08x}-139e-4cc3-acbe-{:012x}", rng.u32(..), rng.u64(..) >> 16)
}

/// Source text and terminal output in a JSON string: with many escapes.
fn text(rng: &mut Rng, bytes: usize) -> String {
    const PIECES: [&str; 6] = [
        r"pub fn lease(tenant: &Tenant, window: usize) -> Option<Handler> {\n",
        r"    let cache = tenant.get(4981).unwrap_or_default();\n",
        r#"\t\treturn nil, fmt.Errorf(\"panel %d: %w\", 3557, err)\n"#,
        r"\u001b[1;31merror\u001b[0m[E04656]: cannot find `session` in `retry`\n",
        r#"{\"level\":\"info\",\"router\":6074,\"msg\":\"panel naïve 日本語\",\"path\":\"/v1/4875\"}\n"#,
        r"C:\\Users\\dev\\session.cs(9099,2658): warning CS3438: never used\n",
    ];
    let mut text = String::with_capacity(bytes + 128);
    while text.len() < bytes {
        let _ = write!(text, "{}", PIECES[rng.usize(..PIECES.len())]);
    }
    text
}

criterion_group!(benches, blocks);
criterion_main!(benches);
