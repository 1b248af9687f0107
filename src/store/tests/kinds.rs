//! Responses as logged by all kinds of writers: whatever the order of files, their division into turns, and
//! the places of restarts, the sums are those of one reading.

use proptest::prelude::*;

use super::*;
use crate::dedup::Totals;
use crate::model::{DAY_MS, FileNumber};
use crate::parse::{LineContext, Parser};

/// Files of a case.
const FILES: u8 = 3;

/// The way in which a writer names a response.
#[derive(Clone, Copy, Debug)]
enum Named {
    /// By an id of the API.
    Api,
    /// By an id of a gateway that is unique by its shape.
    Gateway,
    /// By an id that identifies nothing, and a reference of the request.
    Reference,
    /// By the request only.
    Request,
    /// By the line only.
    Line,
}

/// A line: its response, the name of that, its writer, its output, and its time.
#[derive(Clone, Debug)]
struct Line {
    response: u8,
    named: Named,
    writer: u8,
    output: u64,
    minute: Option<u8>,
    file: u8,
}

impl Line {
    fn text(&self) -> String {
        let number = self.response;
        let (id, reference) = match self.named {
            Named::Api => (format!("\"id\":\"msg_01Sampled{number:08}\","), String::new()),
            Named::Gateway => (
                format!("\"id\":\"chatcmpl-9f86d081884c{number:04}\","),
                String::new(),
            ),
            Named::Reference => (
                "\"id\":\"response\",".to_owned(),
                format!("\"requestRef\":\"ref-{number}\","),
            ),
            Named::Request => (String::new(), format!("\"requestId\":\"req-{number}\",")),
            Named::Line => (String::new(), format!("\"uuid\":\"uuid-{number}\",")),
        };
        let writer = match self.writer {
            0 => "\"sessionId\":\"s\",",
            1 => "\"sessionId\":\"s\",\"isSidechain\":true,",
            2 => "\"session_id\":\"s\",\"parent_tool_use_id\":null,",
            _ => "\"session_id\":\"s\",\"parent_tool_use_id\":\"t\",",
        };
        let time = self.minute.map_or(String::new(), |minute| {
            // Each file has separate times: the winner of a tie is the only result that depends on order.
            let at = NOW - DAY_MS + i64::from(minute) * 60_000 + i64::from(self.file);
            match self.writer {
                2 => format!("\"_audit_timestamp\":{at},"),
                _ => format!("\"timestamp\":{at},"),
            }
        });
        let output = self.output;
        format!(
            "{{\"type\":\"assistant\",{writer}{time}{reference}\"message\":{{{id}\"model\":\"m\",\"usage\":{{\"output_tokens\":{output},\"iterations\":[{{\"type\":\"compaction\",\"output_tokens\":{output}}}]}}}}}}"
        )
    }
}

fn any_line() -> impl Strategy<Value = Line> {
    let named = prop_oneof![
        Just(Named::Api),
        Just(Named::Gateway),
        Just(Named::Reference),
        Just(Named::Request),
        Just(Named::Line),
    ];
    (0u8..4, named, 0u8..4, 0u64..4, any::<Option<u8>>(), 0..FILES).prop_map(
        |(response, named, writer, output, minute, file)| Line {
            response,
            named,
            writer,
            output,
            minute,
            file,
        },
    )
}

/// All responses, their sums, and the sums by minute.
type Sums = (Vec<(ResponseKey, Response)>, Totals, Vec<(u32, Totals)>);

/// A store that reads files in turns, and may be closed and opened between them.
struct Reading {
    directory: tempfile::TempDir,
    store: Option<Writer>,
}

impl Reading {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(at(&directory.path().join("t.redb")));
        Self { directory, store }
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close();
        self.store = Some(at(&self.directory.path().join("t.redb")));
    }

    fn store(&self) -> &Writer {
        self.store.as_ref().unwrap()
    }

    /// Reads this number of further lines of a file, from its stored position.
    fn turn(&mut self, file: u8, lines: &[&Line], count: usize) {
        let run = format!("r{file}");
        let position = read(self.store())
            .positions(&RunId::new(&run).unwrap())
            .unwrap()
            .into_values()
            .next();
        let from = position.as_ref().map_or(0, |position| position.cursor.offset);
        let rest = &lines[usize::try_from(from).unwrap()..];
        let mut parser = Parser::new(&position.clone().unwrap_or_default().state, Millis::MAX);
        let mut records = Vec::new();
        let taken = &rest[..count.min(rest.len())];
        for line in taken {
            let place = LineContext {
                origin: FileNumber::from(file).into(),
                ..LineContext::default()
            };
            parser.line(line.text().as_bytes(), place, &mut records, &mut Vec::new());
        }
        let to = from + taken.len() as u64;
        let mut batch = batch(
            &run,
            "a",
            position.map(|position| position.cursor.offset),
            to,
            records,
        );
        batch.state = parser.state();
        batch.written_at = Some(NOW - i64::from(file));
        let committed = self.store.as_mut().unwrap().commit([batch]).unwrap();
        assert_eq!(committed.outcomes, [Outcome::Committed]);
    }

    fn sums(&self) -> Sums {
        let snapshot = figures(self.store());
        let mut all = Totals::default();
        for run in snapshot.runs.values() {
            all += run.totals;
        }
        let view = read(self.store()).quota(0).unwrap();
        let minutes = view.accounts.into_values().next().unwrap_or_default().minutes;
        // Runs are numbered in the order of their first occurrence.
        let names: BTreeMap<_, _> = (read(self.store()).run_numbers().unwrap().into_iter())
            .map(|(id, number)| (number, u32::from(id.as_bytes()[1])))
            .collect();
        let responses = responses(self.store()).into_iter().map(|(key, mut response)| {
            response.run = names[&response.run];
            (key, response)
        });
        (responses.collect(), all, minutes)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_files_any_turns_and_any_restarts_give_the_sums_of_one_reading(
        lines in proptest::collection::vec(any_line(), 1..16),
        turns in proptest::collection::vec((0..FILES, 1usize..4, proptest::bool::weighted(0.2)), 0..12),
    ) {
        let of = |file: u8| lines.iter().filter(|line| line.file == file).collect::<Vec<_>>();
        let mut straight = Reading::new();
        for file in 0..FILES {
            straight.turn(file, &of(file), usize::MAX);
        }
        let mut pieces = Reading::new();
        for (file, count, restarts) in turns {
            pieces.turn(file, &of(file), count);
            if restarts {
                pieces.restart();
            }
        }
        for file in (0..FILES).rev() {
            pieces.turn(file, &of(file), usize::MAX);
        }
        prop_assert_eq!(pieces.sums(), straight.sums());
        let mut differences = Vec::new();
        read(pieces.store()).compare_sums(|difference| differences.push(difference)).unwrap();
        prop_assert_eq!(differences, Vec::<String>::new());
    }

    /// Lines that have their own time and name may be in any file and any order.
    #[test]
    fn any_order_of_lines_gives_the_same_tokens(
        lines in proptest::collection::vec(any_line(), 1..16),
        places in proptest::collection::vec(0..FILES, 16),
        rotation in any::<proptest::sample::Index>(),
    ) {
        let read = |lines: &[Line]| {
            let mut reading = Reading::new();
            for file in 0..FILES {
                let of: Vec<_> = lines.iter().filter(|line| line.file == file).collect();
                reading.turn(file, &of, usize::MAX);
            }
            reading.sums().1
        };
        let mut moved = lines.clone();
        moved.rotate_left(rotation.index(lines.len()));
        moved.reverse();
        for (line, file) in moved.iter_mut().zip(places) {
            line.file = file;
        }
        prop_assert_eq!(read(&moved), read(&lines));
    }
}
