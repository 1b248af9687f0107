//! A receiver of webhooks on loopback that plays a script: its answers in order, and the requests that it got.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::WAIT_MAX;

/// Requests that a test has not taken yet.
const REQUESTS_MAX: usize = 1024;

/// One answer.
#[derive(Clone, Copy, Debug)]
pub enum Reaction {
    Status(u16, &'static str),
    /// This status, and a body that repeats the path.
    Echo(u16),
    /// The connection ends without an answer.
    Close,
    /// The connection ends in the middle of the head.
    CloseInHead,
    /// The head of a success, and a part of its body.
    CloseInBody,
    /// A success with a body without end.
    Giant,
    /// Nothing, until the other side ends.
    Hang,
}

/// A webhook as received.
#[derive(Clone, Debug)]
pub struct Hook {
    pub path: String,
    /// By the header's name in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Hook {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn event(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().to_owned()
    }
}

pub struct WebhookReceiver {
    address: SocketAddr,
    hooks: Receiver<Hook>,
}

impl WebhookReceiver {
    /// Answers in this order; the last one stays.
    pub fn start(reactions: &[Reaction]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), reactions)
    }

    pub fn on(listener: TcpListener, reactions: &[Reaction]) -> Self {
        let address = listener.local_addr().unwrap();
        let left = Arc::new(Mutex::new(reactions.to_vec()));
        let (sender, hooks) = sync_channel(REQUESTS_MAX);
        std::thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (left, sender) = (Arc::clone(&left), sender.clone());
                    std::thread::Builder::new()
                        .name("reaction".to_owned())
                        .spawn(move || react(stream, &left, &sender))
                        .unwrap();
                }
            })
            .unwrap();
        Self { address, hooks }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn next(&self) -> Hook {
        match self.hooks.recv_timeout(WAIT_MAX) {
            Ok(hook) => hook,
            Err(RecvTimeoutError::Timeout) => panic!("no webhook came"),
            Err(RecvTimeoutError::Disconnected) => panic!("the receiver ended"),
        }
    }

    /// The webhooks that came and were not taken.
    pub fn further(&self) -> Vec<Hook> {
        self.hooks.try_iter().collect()
    }
}

fn react(mut stream: TcpStream, left: &Mutex<Vec<Reaction>>, hooks: &SyncSender<Hook>) {
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
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).is_err() {
        return;
    }
    let reaction = {
        let mut left = left.lock().unwrap();
        if left.len() > 1 { left.remove(0) } else { left[0] }
    };
    let body = String::from_utf8(body).unwrap();
    let _ = hooks.send(Hook {
        path: path.clone(),
        headers,
        body,
    });
    let _ = play(&mut stream, reaction, &path);
}

fn play(stream: &mut TcpStream, reaction: Reaction, path: &str) -> std::io::Result<()> {
    match reaction {
        Reaction::Echo(status) => {
            let body = format!("Cannot POST {path}");
            write!(
                stream,
                "HTTP/1.1 {status} {path}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
        Reaction::Status(status, headers) => write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: 2\r\n\r\nno"
        ),
        Reaction::Close => Ok(()),
        Reaction::CloseInHead => write!(stream, "HTTP/1.1 200 OK\r\nContent-Le"),
        Reaction::CloseInBody => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        Reaction::Giant => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        Reaction::Hang => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).map(drop)
        }
    }
}
