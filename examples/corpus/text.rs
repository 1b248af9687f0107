//! Source code and terminal output by the megabyte: a pool generated once, already escaped for a JSON string,
//! cut only at line ends, so that a line of any size costs one copy.

use fastrand::Rng;

const POOL_BYTES: usize = 2 << 20;

const WORDS: &[&str] = &[
    "cursor",
    "window",
    "response",
    "buffer",
    "offset",
    "retry",
    "tenant",
    "schema",
    "handler",
    "queue",
    "lease",
    "shard",
    "token",
    "digest",
    "router",
    "panel",
    "naïve",
    "größe",
    "日本語",
    "résumé",
    "Ω",
    "payload",
    "session",
    "usage",
    "limit",
    "cache",
    "écran",
    "worker",
    "🦀",
];

/// `$` is a word, `#` a number. Text here that looks like usage must never be counted.
const SHAPES: &[&str] = &[
    r"    let $ = $.get(#).unwrap_or_default();",
    r#"    assert_eq!($.len(), #, \"$ has the wrong $\");"#,
    r"pub fn $_$($: &$, $: usize) -> Option<$> {",
    r#"\t\treturn nil, fmt.Errorf(\"$ %d: %w\", #, err)"#,
    r"test $::$::$_# ... \u001b[32mok\u001b[0m",
    r"\u001b[1;31merror\u001b[0m[E0#]: cannot find `$` in `$`",
    r"   --> src/$/$.rs:#:#",
    r"# | drwxr-xr-x  # dev dev  # Oct  # 09:14 $/$",
    r"C:\\Users\\dev\\$\\$.cs(#,#): warning CS#: '$' is never used",
    r#"{\"level\":\"info\",\"$\":#,\"msg\":\"$ $ $\",\"path\":\"/v1/$/#\"}"#,
    r#"{\"type\":\"assistant\",\"message\":{\"id\":\"msg_#\",\"usage\":{\"input_tokens\":#,\"output_tokens\":#}}}"#,
    r"You've hit your session limit · resets #pm — said the $ about $.",
    r"diff --git a/$/$.py b/$/$.py\n@@ -#,# +#,# @@ def $(self, $):",
    r"│ $ │ # │ $ │ # ms │",
    r"    }",
    r"",
];

pub struct Text {
    pool: Vec<u8>,
    /// Offsets directly after a line's end: never inside an escape or a character.
    cuts: Vec<usize>,
}

impl Text {
    pub fn new(rng: &mut Rng) -> Self {
        let mut pool = Vec::with_capacity(POOL_BYTES + 4096);
        let mut cuts = vec![0];
        while pool.len() < POOL_BYTES {
            write_line(&mut pool, rng);
            cuts.push(pool.len());
        }
        Self { pool, cuts }
    }

    /// Whole lines, about `bytes` long.
    pub fn slice(&self, rng: &mut Rng, bytes: usize) -> &[u8] {
        let bytes = bytes.min(POOL_BYTES / 2);
        let last_start = self.cuts.partition_point(|&cut| cut + bytes < self.pool.len());
        let start = self.cuts[rng.usize(..last_start)];
        let end = self.cuts[self.cuts.partition_point(|&cut| cut < start + bytes)];
        &self.pool[start..end]
    }
}

/// A few words, for a title or a prompt.
pub fn words(rng: &mut Rng, count: usize) -> String {
    let words: Vec<&str> = (0..count).map(|_| WORDS[rng.usize(..WORDS.len())]).collect();
    words.join(" ")
}

fn write_line(pool: &mut Vec<u8>, rng: &mut Rng) {
    let mut utf8 = [0; 4];
    for letter in SHAPES[rng.usize(..SHAPES.len())].chars() {
        match letter {
            '$' => pool.extend_from_slice(WORDS[rng.usize(..WORDS.len())].as_bytes()),
            '#' => pool.extend_from_slice(rng.u32(..9_999).to_string().as_bytes()),
            other => pool.extend_from_slice(other.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    pool.extend_from_slice(br"\n");
}
