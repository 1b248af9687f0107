//! Posted records of calls.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/records`: one record of one call; an array of them is accepted too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostRecord {
    /// 1 to 128 bytes, unique for its source: a record with a known id counts no second time.
    #[schema(required)]
    pub id: String,
    /// The program that gave the id. Default: `instance`, else `api`.
    pub source: Option<String>,
    /// RFC 3339 with an offset. Default: the time of receipt, which also replaces a time more than a day ahead.
    #[schema(format = DateTime)]
    pub time: Option<String>,
    /// For clients that keep records before they send them: the time of receipt of a record without `time`. No part of
    /// the content.
    #[schema(format = DateTime)]
    pub received_at: Option<String>,
    /// Default: that of the run's own account, else `claude`.
    pub provider: Option<String>,
    /// Default: the run's account of that provider, else the provider's `default`.
    pub account: Option<String>,
    /// A run that exists; `null` or left out for a call of no run.
    pub run: Option<String>,
    /// Required for a call that is ok.
    pub model: Option<String>,
    /// The API's id of the response, if a transcript may contain it: both count once then.
    pub message_id: Option<String>,
    pub profile: Option<String>,
    pub route: Option<String>,
    pub instance: Option<String>,
    /// `ok`, the default, or `failed`: a failed attempt of its provider, no call and no tokens.
    pub outcome: Option<String>,
    /// The number of targets that were passed over before the one that served.
    pub fallbacks: Option<u64>,
    /// Attempts that failed before the record's own provider, up to 64.
    pub attempts: Option<Vec<PostAttempt>>,
    /// Required for a call that is ok; numbers left out are 0.
    pub usage: Option<PostUsage>,
    /// True if the client estimated the tokens.
    pub estimated: Option<bool>,
    /// Part of the content, and not kept.
    pub duration_ms: Option<u64>,
}

/// A failed attempt within a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostAttempt {
    #[schema(required)]
    pub provider: String,
    /// As that of a record.
    pub account: Option<String>,
    /// Default: `unknown`.
    pub model: Option<String>,
    /// Part of the content, and not kept.
    pub error: Option<String>,
}

/// The tokens of a call, at most 10^12 of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostUsage {
    /// Neither read from nor written to the cache.
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    /// All cache writes; at least the sum of the two below.
    pub cache_creation_input_tokens: Option<u64>,
    pub cache_creation_5m: Option<u64>,
    pub cache_creation_1h: Option<u64>,
    pub web_search_requests: Option<u64>,
    /// The part of `output_tokens` that was thinking.
    pub thinking_tokens: Option<u64>,
}

/// The result of a post.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Posted {
    /// Records that count from now on, failed calls included.
    pub counted: u64,
    /// Records that were posted before with the same content.
    pub duplicate: u64,
    /// Records that are in conflict or invalid.
    pub rejected: u64,
    /// The part of `counted` whose time was more than a day ahead: they have the time of receipt.
    pub clock_suspect: u64,
    /// Those not counted.
    pub items: Vec<PostedItem>,
}

/// A record that does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PostedItem {
    /// Its place in the request, from 0; blank lines are no records.
    pub index: u64,
    /// `null` if it has none.
    pub id: Option<String>,
    /// `duplicate`, `conflict` or `invalid`.
    pub status: String,
    /// The member and what is wrong with it; `null` for a duplicate.
    pub detail: Option<String>,
}
