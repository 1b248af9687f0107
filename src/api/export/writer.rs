//! The rows of an export: encoded one by one, sent in chunks.

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::api::usage::csv_cell;

/// Length from which encoded rows are sent, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Format of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// A JSON document for each line.
    Ndjson,
    /// RFC 4180, with a header line before the first row.
    Csv,
}

/// A part of the body, or the reason why it ends early.
pub type Chunk = io::Result<Bytes>;

/// Encodes rows and sends them to the body of the answer.
pub struct ExportWriter {
    format: RowFormat,
    json: Vec<u8>,
    csv: csv::Writer<Vec<u8>>,
    chunks: mpsc::Sender<Chunk>,
}

impl ExportWriter {
    pub fn new(format: RowFormat, chunks: mpsc::Sender<Chunk>) -> Self {
        Self {
            format,
            json: Vec::new(),
            csv: csv_writer(true),
            chunks,
        }
    }

    /// A name as a cell of the format.
    pub fn name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.format {
            RowFormat::Ndjson => Cow::Borrowed(name),
            RowFormat::Csv => csv_cell(name),
        }
    }

    /// Encodes a row. Breaks if the client is gone or a row cannot be encoded.
    pub fn row(&mut self, row: &impl Serialize) -> ControlFlow<()> {
        let encoded = match self.format {
            RowFormat::Ndjson => serde_json::to_writer(&mut self.json, row).map_err(io::Error::from),
            RowFormat::Csv => self.csv.serialize(row).map_err(io::Error::other),
        };
        if let Err(error) = encoded {
            return self.send(Err(error));
        }
        if self.format == RowFormat::Ndjson {
            self.json.push(b'\n');
        }
        if self.json.len().max(self.csv.get_ref().len()) < CHUNK_BYTES {
            return ControlFlow::Continue(());
        }
        self.flush()
    }

    /// Sends what is encoded.
    fn flush(&mut self) -> ControlFlow<()> {
        let csv = std::mem::replace(&mut self.csv, csv_writer(false));
        let encoded = match self.format {
            RowFormat::Ndjson => Ok(std::mem::take(&mut self.json)),
            RowFormat::Csv => csv.into_inner().map_err(csv::IntoInnerError::into_error),
        };
        self.send(encoded.map(Bytes::from))
    }

    fn send(&mut self, chunk: Chunk) -> ControlFlow<()> {
        let is_last = chunk.is_err();
        match self.chunks.blocking_send(chunk) {
            Ok(()) if !is_last => ControlFlow::Continue(()),
            Ok(()) | Err(_) => ControlFlow::Break(()),
        }
    }

    /// Sends the rest, or the reason why the rows end early: the body is cut off then, so that it does not look
    /// complete.
    pub fn finish(mut self, result: Result<(), String>) {
        let _ = match result {
            Ok(()) => self.flush(),
            Err(why) => self.send(Err(io::Error::other(why))),
        };
    }
}

fn csv_writer(has_header: bool) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new()
        .has_headers(has_header)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row<'a> {
        name: Cow<'a, str>,
        tokens: Option<u64>,
    }

    fn written(format: RowFormat, rows: usize) -> Vec<u8> {
        let (chunks, mut body) = mpsc::channel(1_000);
        let mut writer = ExportWriter::new(format, chunks);
        for number in 0..rows {
            let name = writer.name("=a,\"b\"").into_owned();
            let tokens = (number > 0).then_some(7);
            assert!(
                writer
                    .row(&Row {
                        name: name.into(),
                        tokens
                    })
                    .is_continue()
            );
        }
        writer.finish(Ok(()));
        let mut bytes = Vec::new();
        while let Some(chunk) = body.blocking_recv() {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        bytes
    }

    #[test]
    fn a_row_is_a_line() {
        let text = String::from_utf8(written(RowFormat::Ndjson, 2)).unwrap();
        assert_eq!(
            text,
            "{\"name\":\"=a,\\\"b\\\"\",\"tokens\":null}\n{\"name\":\"=a,\\\"b\\\"\",\"tokens\":7}\n"
        );
        let text = String::from_utf8(written(RowFormat::Csv, 2)).unwrap();
        assert_eq!(
            text,
            "name,tokens\r\n\"'=a,\"\"b\"\"\",\r\n\"'=a,\"\"b\"\"\",7\r\n"
        );
    }

    #[test]
    fn the_header_is_written_once_over_many_chunks() {
        let text = String::from_utf8(written(RowFormat::Csv, 20_000)).unwrap();
        assert_eq!(text.matches("name,tokens").count(), 1);
        assert_eq!(text.lines().count(), 20_001);
        assert_eq!(written(RowFormat::Ndjson, 0), b"");
    }

    #[test]
    fn rows_that_end_early_do_not_look_complete() {
        let (chunks, mut body) = mpsc::channel(4);
        ExportWriter::new(RowFormat::Ndjson, chunks).finish(Err("the store is gone".to_owned()));
        assert_eq!(
            body.blocking_recv().unwrap().unwrap_err().to_string(),
            "the store is gone"
        );
        let (chunks, body) = mpsc::channel(1);
        drop(body);
        let mut writer = ExportWriter::new(RowFormat::Ndjson, chunks);
        let row = Row {
            name: "x".repeat(CHUNK_BYTES).into(),
            tokens: None,
        };
        assert!(writer.row(&row).is_break(), "the client is gone");
    }
}
