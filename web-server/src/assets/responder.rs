//! The HTTP around an asset: which file a path means, negotiation, conditions, ranges, headers.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, SizedStream},
    http::{Method, StatusCode, header},
    web,
};
use bytes::Bytes;
use common::error::ErrorCode;
use futures_util::stream;

use super::{
    asset::Content,
    conditions::{BodyChoice, Conditions, Validators},
    library::{Library, Representation},
    negotiation::Accepted,
    path::{AssetPath, PathFault},
};
use crate::http::Refusal;

/// Bytes of a large file read at once.
const CHUNK: u64 = 64 * 1024;

/// Answers a request for an asset, or for a route of the app, which gets the app's page.
///
/// # Errors
/// 404 `not_found`, 400 `bad_request` for an invalid path, 405 for methods other than GET and HEAD,
/// 500.
pub async fn serve(request: HttpRequest, library: web::Data<Library>) -> Result<HttpResponse, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::method_not_allowed("GET, HEAD"));
    }
    let path = AssetPath::parse(request.uri().path()).map_err(|fault| match fault {
        PathFault::Malformed => Refusal::with_message(ErrorCode::BadRequest, fault.to_string()),
        PathFault::Hidden => Refusal::from(ErrorCode::NotFound),
    })?;
    let wants_page = path.is_root() || (!path.has_extension() && takes_html(&request));
    // A part of a compressed file is useless: ranges are of the plain bytes.
    let accepted = match text(&request, header::ACCEPT_ENCODING) {
        Some(accepted) if !request.headers().contains_key(header::RANGE) => Accepted::parse(accepted),
        _ => Accepted::IDENTITY,
    };

    let library = library.into_inner();
    let found = web::block(move || {
        let asset = if path.is_root() { None } else { library.select(&path, accepted)? };
        match asset {
            None if wants_page => library.select(&AssetPath::index(), accepted),
            asset => Ok(asset),
        }
    })
    .await;
    match found {
        Ok(Ok(Some(representation))) => Ok(respond(&request, representation)),
        Ok(Ok(None)) => Err(ErrorCode::NotFound.into()),
        Ok(Err(error)) => {
            tracing::error!(%error, path = request.uri().path(), "asset not readable");
            Err(ErrorCode::Internal.into())
        }
        Err(_) => Err(ErrorCode::Internal.into()),
    }
}

fn respond(request: &HttpRequest, representation: Representation) -> HttpResponse {
    let length = representation.content.length();
    let conditions = Conditions {
        if_none_match: text(request, header::IF_NONE_MATCH),
        if_modified_since: text(request, header::IF_MODIFIED_SINCE),
        range: text(request, header::RANGE).filter(|_| request.method() == Method::GET),
        if_range: text(request, header::IF_RANGE),
    };
    let verdict = conditions.judge(Validators { etag: &representation.etag, modified: representation.modified, length });

    let mut response = HttpResponse::build(match verdict {
        BodyChoice::Whole => StatusCode::OK,
        BodyChoice::NotModified => StatusCode::NOT_MODIFIED,
        BodyChoice::Part { .. } => StatusCode::PARTIAL_CONTENT,
        BodyChoice::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
    });
    response
        .insert_header((header::ETAG, representation.etag))
        .insert_header((header::CACHE_CONTROL, representation.cache_control))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header((header::ACCEPT_RANGES, "bytes"));
    if let Some(modified) = representation.modified {
        response.insert_header((header::LAST_MODIFIED, httpdate::fmt_http_date(modified)));
    }
    let (first, count) = match verdict {
        BodyChoice::NotModified => return response.finish(),
        BodyChoice::OutOfRange => {
            return response.insert_header((header::CONTENT_RANGE, format!("bytes */{length}"))).finish();
        }
        BodyChoice::Whole => (0, length),
        BodyChoice::Part { first, last } => {
            response.insert_header((header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}")));
            (first, last - first + 1)
        }
    };
    if let Some(coding) = representation.coding.name() {
        response.insert_header((header::CONTENT_ENCODING, coding));
    }
    response.insert_header((header::CONTENT_TYPE, representation.content_type));
    if request.method() == Method::HEAD {
        return response.body(SizedStream::new(count, stream::empty::<std::io::Result<Bytes>>()));
    }
    response.body(body(representation.content, first, count))
}

fn body(content: Content, first: u64, count: u64) -> BoxBody {
    match content {
        Content::Bytes(bytes) => {
            let start = usize::try_from(first).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).min(bytes.len());
            bytes.slice(start..end).boxed()
        }
        Content::File(file, _) => {
            let chunks = stream::try_unfold((file, first, count), |(file, offset, left)| async move {
                if left == 0 {
                    return Ok(None);
                }
                let size = left.min(CHUNK);
                let chunk = read_chunk(&file, offset, size).await?;
                Ok::<_, std::io::Error>(Some((chunk, (file, offset + size, left - size))))
            });
            SizedStream::new(count, chunks).boxed()
        }
    }
}

async fn read_chunk(file: &Arc<File>, offset: u64, size: u64) -> std::io::Result<Bytes> {
    let file = Arc::clone(file);
    let read = web::block(move || {
        let mut chunk = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut chunk, offset).map(|()| Bytes::from(chunk))
    });
    read.await.map_err(std::io::Error::other)?
}

/// Whether the client accepts a page: routes of the app are for people, not for programs that ask
/// for JSON.
fn takes_html(request: &HttpRequest) -> bool {
    let Some(accept) = text(request, header::ACCEPT) else { return true };
    accept.split(',').any(|member| {
        let media = member.split(';').next().unwrap_or_default().trim();
        matches!(media, "text/html" | "text/*" | "*/*" | "application/xhtml+xml")
    })
}

/// The value of a header, if it is text.
fn text(request: &HttpRequest, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}
