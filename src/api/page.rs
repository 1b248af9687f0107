//! The page for people: an HTML document and its parts, built into the program. All data comes from the other routes.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xxhash_rust::xxh3::xxh3_64;

use crate::api::http::accept::prefers_gzip;
use crate::api::http::problem::Problem;
use crate::api::openapi::{BadRequest, NotFound, PAGE};
use crate::api::state::ApiState;

/// Headers of every file: it loads nothing from elsewhere, runs no script of its text, and is in no frame.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
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
    (header::VARY, HeaderValue::from_static("accept-encoding")),
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
    "places.js"
    "refresh.js"
    "rest.js"
    "runs.js"
    "sse.js"
    "stream.js"
    "verdict.js"
    "windows.js"
];

/// One of the two forms in which a file is sent.
#[derive(Debug)]
struct EncodedFile {
    content: Bytes,
    tag: HeaderValue,
}

/// A file as it is sent, compressed once.
#[derive(Debug)]
struct ServedFile {
    file: &'static PageFile,
    plain: EncodedFile,
    gzip: EncodedFile,
}

impl EncodedFile {
    fn new(content: Bytes) -> Self {
        let tag = format!("\"{:016x}\"", xxh3_64(&content));
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content, tag }
    }
}

impl ServedFile {
    /// The file at a path of the page.
    fn at(path: &str) -> Option<&'static Self> {
        static SERVED: LazyLock<Vec<ServedFile>> = LazyLock::new(|| {
            let files = INDEX.iter().chain(FILES);
            files.map(ServedFile::new).collect()
        });
        let name = match path {
            ROOT => INDEX[0].name,
            _ => path.strip_prefix(PARTS).filter(|name| *name != INDEX[0].name)?,
        };
        SERVED.iter().find(|served| served.file.name == name)
    }

    fn new(file: &'static PageFile) -> Self {
        let plain = file.content.as_bytes();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = gzip.write_all(plain).and_then(|()| gzip.finish());
        Self {
            file,
            plain: EncodedFile::new(Bytes::from_static(plain)),
            gzip: EncodedFile::new(gzip.expect("a Vec takes every byte").into()),
        }
    }
}

impl PageFile {
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
    matches!(*method, Method::GET | Method::HEAD) && ServedFile::at(path).is_some()
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
    let served = ServedFile::at(path)
        .ok_or_else(|| Problem::unknown("name", format!("there is no file {path} of the page")))?;
    let (form, encoding) = if prefers_gzip(headers) {
        let gzip = HeaderValue::from_static("gzip");
        (&served.gzip, Some([(header::CONTENT_ENCODING, gzip)]))
    } else {
        (&served.plain, None)
    };
    let tagged = (HEADERS, [(header::ETAG, form.tag.clone())]);
    if has_tag(headers, &form.tag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(served.file.kind()))];
    let mut response = (tagged, kind, form.content.clone()).into_response();
    response.headers_mut().extend(encoding.into_iter().flatten());
    Ok(response)
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
