//! Lines: splits a block of bytes into complete lines with their offsets.
//!
//! A line ends with `\n`; the bytes after the last `\n` are not a line yet. The contents of lines are not
//! inspected.

/// One complete line of a block, without its `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The offset of the line from the start of the block.
    pub start: usize,
    pub bytes: &'a [u8],
}

/// The complete lines of a block that begins at the start of a line.
#[derive(Clone, Debug)]
pub struct LineIter<'a> {
    block: &'a [u8],
    ends: memchr::Memchr<'a>,
    start: usize,
}

impl<'a> LineIter<'a> {
    #[must_use]
    pub fn new(block: &'a [u8]) -> Self {
        Self {
            block,
            ends: memchr::memchr_iter(b'\n', block),
            start: 0,
        }
    }

    /// The offset of the first unfinished line; the length of the block if it ends with `\n`.
    ///
    /// True once the iterator is exhausted.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.start
    }
}

impl<'a> Iterator for LineIter<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let end = self.ends.next()?;
        let start = std::mem::replace(&mut self.start, end + 1);
        Some(Line {
            start,
            bytes: &self.block[start..end],
        })
    }
}

/// The number of bytes of a block that belong to a skipped line, including its `\n`; `None` if the line
/// continues.
#[must_use]
pub fn skipped(block: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', block).map(|at| at + 1)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_rest() {
        let mut lines = LineIter::new(b"a\n\nbc\nd");
        let got: Vec<_> = lines
            .by_ref()
            .map(|line| (line.start, line.bytes.to_vec()))
            .collect();
        assert_eq!(got, [(0, b"a".to_vec()), (2, vec![]), (3, b"bc".to_vec())]);
        assert_eq!(lines.rest(), 6);
        assert_eq!(skipped(b"xyz"), None);
        assert_eq!(skipped(b"xyz\nq"), Some(4));
    }

    proptest! {
        /// The lines do not depend on how a text is cut into blocks if the rest is carried over.
        #[test]
        fn any_cut_gives_the_same_lines(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..200), cut in 1usize..50) {
            let whole: Vec<Vec<u8>> = LineIter::new(&text).map(|line| line.bytes.to_vec()).collect();
            let mut pieces = Vec::new();
            let mut carry = Vec::new();
            for block in text.chunks(cut) {
                carry.extend_from_slice(block);
                let mut lines = LineIter::new(&carry);
                pieces.extend(lines.by_ref().map(|line| line.bytes.to_vec()));
                let rest = lines.rest();
                carry.drain(..rest);
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
