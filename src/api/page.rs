//! The page for people: an HTML document and its parts, built into the program. All data comes from the other routes.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xxhash_rust::xxh3::xxh3_64;

use crate::api::http::problem::Problem;
use crate::api::openapi::{BadRequest, NotFound, PAGE};
use crate::api::state::ApiState;

/// Headers of every file: it loads nothing from elsewhere, runs no script of its text, and is in no frame.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // Kept by the browser, and asked for again with its tag.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];
/// Path of the document itself.
const ROOT: &str = "/";
/// Path above its parts.
const PARTS: &str = "/page/";

/// A file of the page.
#[derive(Clone, Copy, Debug)]
struct PageFile {
    name: &'static str,
    content: &'static str,
}

macro_rules! files {
    ($($name:literal)*) => {
        [$(PageFile {
            name: $name,
            content: include_str!(concat!("page/", $name)),
        }),*]
    };
}

/// The document itself.
static INDEX: [PageFile; 1] = files!["index.html"];
/// Its parts.
static FILES: &[PageFile] = &files![
    "api.js"
    "chart.js"
    "clock.js"
    "days.js"
    "dom.js"
    "events.js"
    "fold.js"
    "format.js"
    "health.js"
    "icon.svg"
    "pace.js"
    "page.css"
    "page.js"
    "refresh.js"
    "rest.js"
    "runs.js"
    "sse.js"
    "stream.js"
    "verdict.js"
    "windows.js"
];

impl PageFile {
    /// The file at a path of the page.
    fn at(path: &str) -> Option<(&'static Self, &'static HeaderValue)> {
        static TAGS: LazyLock<Vec<(&PageFile, HeaderValue)>> = LazyLock::new(|| {
            let files = INDEX.iter().chain(FILES);
            files.map(|file| (file, file.tag())).collect()
        });
        let name = match path {
            ROOT => INDEX[0].name,
            _ => path.strip_prefix(PARTS).filter(|name| *name != INDEX[0].name)?,
        };
        let found = TAGS.iter().find(|(file, _)| file.name == name)?;
        Some((found.0, &found.1))
    }

    fn tag(&self) -> HeaderValue {
        let tag = format!("\"{:016x}\"", xxh3_64(self.content.as_bytes()));
        HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
    }

    fn kind(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        }
    }
}

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_page))
        .routes(routes!(get_page_file))
}

/// True for a request of a file of the page: there is no data in it, so it is answered without the token.
#[must_use]
pub fn is_without_token(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && PageFile::at(path).is_some()
}

/// The page
///
/// A document for people, which shows what the other routes answer. It and its parts need no token.
#[utoipa::path(
    get,
    path = "/",
    tag = PAGE,
    responses(
        (status = 200, description = "The document.", body = String, content_type = "text/html; charset=utf-8"),
        (status = 304, description = "It is the one that `If-None-Match` names.")
    )
)]
async fn get_page(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    file(uri.path(), &headers)
}

/// A part of the page
///
/// A script, a style sheet or a picture.
#[utoipa::path(
    get,
    path = "/page/{name}",
    tag = PAGE,
    params(("name" = String, Path, description = "As the page names it: page.css, page.js and so on.")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css; charset=utf-8"),
            (String = "text/javascript; charset=utf-8"),
            (String = "image/svg+xml; charset=utf-8")
        )),
        (status = 304, description = "It is the one that `If-None-Match` names."),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound)
    )
)]
async fn get_page_file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::bad("name", rejection.body_text()))?;
    file(&format!("{PARTS}{name}"), &headers)
}

fn file(path: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let (file, tag) = PageFile::at(path)
        .ok_or_else(|| Problem::unknown("name", format!("there is no file {path} of the page")))?;
    let tagged = (HEADERS, [(header::ETAG, tag.clone())]);
    if has_tag(headers, tag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(file.kind()))];
    Ok((tagged, kind, file.content).into_response())
}

/// True if the client has the file with this tag.
fn has_tag(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(|one| one.trim().trim_start_matches("W/"));
    tags.any(|one| one == "*" || one.as_bytes() == tag.as_bytes())
}
