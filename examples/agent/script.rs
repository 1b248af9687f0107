//! The scripted answers of the provider: the blocks for a prompt's steps.
//!
//! A prompt names its script by `<<name>>`. Its step is the number of the agent's answers since.

use serde_json::{Value, json};

/// One answer.
pub enum Step {
    /// A response of these content blocks.
    Blocks(Vec<Value>),
    /// A 429 with the headers of a used-up five-hour window.
    FiveHourRefusal,
}

/// The answer to step `step` of the script `name`; for unknown scripts and steps past the end a short word.
pub fn step(name: &str, step: usize) -> Step {
    let blocks = match (name, step) {
        ("loop", 0) => vec![text("I begin."), bash("echo 1")],
        ("loop", 1) => vec![thinking(), bash("echo 2"), bash("echo 3")],
        ("loop", 2) => vec![thinking(), text("Part one."), text("Part two.")],
        ("delegate", 0) => vec![
            text("I delegate."),
            agent("a <<inner>>"),
            agent("b <<inner>>"),
            agent("c <<short>>"),
        ],
        ("inner", 0) => vec![thinking(), text("I look."), bash("echo inner")],
        ("inner", 1) => vec![text("Answer one."), text("Answer two.")],
        ("refused", _) => return Step::FiveHourRefusal,
        _ => vec![text("Done.")],
    };
    Step::Blocks(blocks)
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn thinking() -> Value {
    json!({"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"})
}

fn bash(command: &str) -> Value {
    json!({"type": "tool_use", "name": "Bash", "input": {"command": command, "description": "run it"}})
}

fn agent(prompt: &str) -> Value {
    json!({"type": "tool_use", "name": "Agent", "input": {
        "description": "look around", "prompt": prompt, "subagent_type": "general-purpose"
    }})
}

/// The script named by the newest prompt with a name, and the number of the agent's answers since.
pub fn of(messages: &[Value]) -> Option<(String, usize)> {
    let newest = messages.iter().enumerate().rev().find_map(|(index, message)| {
        let name = (message["role"] == "user").then(|| named(&words(&message["content"])))??;
        Some((index, name))
    });
    let (index, name) = newest?;
    let answers = messages[index..]
        .iter()
        .filter(|message| message["role"] == "assistant");
    Some((name, answers.count()))
}

/// The text of a message, which is one string or a list of blocks.
fn words(content: &Value) -> String {
    let Some(blocks) = content.as_array() else {
        return content.as_str().unwrap_or_default().to_owned();
    };
    let texts = blocks.iter().filter_map(|block| block["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn named(text: &str) -> Option<String> {
    let (_, after) = text.rsplit_once("<<")?;
    let (name, _) = after.split_once(">>")?;
    Some(name.to_owned())
}
