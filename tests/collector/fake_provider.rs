//! A provider on loopback that plays a script: what it answers to each path, in order, and the requests it got.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::harness::WAIT_MAX;

/// Requests that a test has not taken yet.
const REQUESTS_MAX: usize = 256;

/// One answer.
#[derive(Clone)]
pub enum Answer {
    /// Status, further header lines, body.
    Full(u16, &'static str, String),
    /// The first half of a body in chunks; then the connection ends.
    Half(&'static str),
    /// Nothing, until the provider ends.
    Never,
    /// Waits until the test lets it go.
    Held(Arc<Mutex<Receiver<()>>>, Box<Answer>),
}

impl Answer {
    pub fn ok(body: &str) -> Self {
        Self::Full(200, "Content-Type: application/json\r\n", body.to_owned())
    }

    pub fn status(status: u16, headers: &'static str) -> Self {
        Self::Full(status, headers, r#"{"error":{"type":"x"}}"#.to_owned())
    }

    /// An answer that waits for a message.
    pub fn held(self) -> (SyncSender<()>, Self) {
        let (go, waits) = sync_channel(1);
        (go, Self::Held(Arc::new(Mutex::new(waits)), Box::new(self)))
    }
}

/// A request as received.
pub struct Request {
    pub at: Instant,
    pub path: String,
    /// Its header lines in lower case up to the colon.
    pub head: Vec<String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.iter().find_map(|line| line.strip_prefix(&prefix))
    }
}

/// The answers by first component of the path; the last one stays.
type Script = Arc<Mutex<BTreeMap<String, Vec<Answer>>>>;

pub struct Provider {
    address: SocketAddr,
    script: Script,
    requests: Receiver<Request>,
}

impl Provider {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script::default();
        let (sender, requests) = sync_channel(REQUESTS_MAX);
        let played = Arc::clone(&script);
        std::thread::Builder::new()
            .name("provider".to_owned())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (script, sender) = (Arc::clone(&played), sender.clone());
                    std::thread::Builder::new()
                        .name("answer".to_owned())
                        .spawn(move || answer(stream, &script, &sender))
                        .unwrap();
                }
            })
            .unwrap();
        Self {
            address,
            script,
            requests,
        }
    }

    /// The base of requests that get these answers.
    pub fn plays(&self, name: &str, answers: Vec<Answer>) -> String {
        self.script.lock().unwrap().insert(name.to_owned(), answers);
        format!("http://{}/{name}", self.address)
    }

    /// The next request.
    pub fn request(&self) -> Request {
        match self.requests.recv_timeout(WAIT_MAX) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => panic!("no request came"),
            Err(RecvTimeoutError::Disconnected) => panic!("the provider ended"),
        }
    }

    /// The requests that came and were not taken.
    pub fn further(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn answer(mut stream: TcpStream, script: &Script, requests: &SyncSender<Request>) {
    let at = Instant::now();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let head = lines.map(|line| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
        None => String::new(),
    });
    let head = head.collect();
    let name = path.split('/').nth(1).unwrap_or_default().to_owned();
    let next = {
        let mut script = script.lock().unwrap();
        let answers = script
            .get_mut(&name)
            .unwrap_or_else(|| panic!("no answers to {path}"));
        if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        }
    };
    let _ = requests.send(Request { at, path, head });
    play(&mut stream, next);
}

fn play(stream: &mut TcpStream, answer: Answer) {
    let _ = match answer {
        Answer::Full(status, headers, body) => write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        Answer::Half(body) => {
            let half = &body[..body.len() / 2];
            let length = half.len();
            write!(
                stream,
                "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{half}\r\n"
            )
        }
        Answer::Never => {
            // Until the other side ends.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map(drop)
        }
        Answer::Held(waits, then) => {
            let _ = waits.lock().unwrap().recv_timeout(WAIT_MAX);
            play(stream, *then);
            Ok(())
        }
    };
}
