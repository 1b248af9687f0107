//! Any bytes in any blocks: the lines are the same.

use super::{LineIter, skipped};
use crate::fuzz::{self, Target, dice};

static TARGET: Target = Target {
    name: "lines",
    test: "reader::lines::fuzz",
    inputs: 20_000,
    tokens: &[b"\n", b"\n\n", b"\r\n", b"a\n"],
    lines_of: &["cases/growing-lines", "cases/nul-tail"],
    giant_bytes: 1 << 20,
};

#[test]
fn any_bytes_have_the_same_lines_in_any_blocks() {
    fuzz::run(&TARGET, || judge);
}

fn judge(input: &[u8]) {
    let mut lines = LineIter::new(input);
    let whole: Vec<(usize, &[u8])> = lines.by_ref().map(|line| (line.start, line.bytes)).collect();
    let rest = lines.rest();

    // Said in another way.
    let mut start = 0;
    let mut expected = Vec::new();
    for piece in input.split_inclusive(|byte| *byte == b'\n') {
        if let Some(line) = piece.strip_suffix(b"\n") {
            expected.push((start, line));
            start += piece.len();
        }
    }
    assert_eq!((&whole, rest), (&expected, start));
    for at in whole.iter().map(|(start, _)| *start).chain([rest]) {
        assert!(at == 0 || input[at - 1] == b'\n', "offset {at} is in a line");
    }
    assert_eq!(skipped(input), whole.first().map(|(_, line)| line.len() + 1));

    let mut random = dice(input);
    let block_max = 1 << random.u32(..14);
    let (mut carry, mut carried_from, mut at) = (Vec::new(), 0, 0);
    let mut pieces = Vec::new();
    while at < input.len() {
        let end = input.len().min(at + random.usize(1..=block_max));
        let block = &input[at..end];
        carry.extend_from_slice(block);
        at = end;
        // As the tailer does: what was searched for a line end is not searched again.
        if skipped(block).is_none() {
            continue;
        }
        let mut lines = LineIter::new(&carry);
        pieces.extend(
            lines
                .by_ref()
                .map(|line| (carried_from + line.start, line.bytes.to_vec())),
        );
        let taken = lines.rest();
        carry.drain(..taken);
        carried_from += taken;
    }
    assert_eq!(carried_from, rest);
    assert_eq!(pieces.len(), whole.len());
    assert!(pieces.iter().map(|(at, line)| (*at, &line[..])).eq(whole));
}
