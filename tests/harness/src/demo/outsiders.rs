//! Pages of origins that the shared session must not trust: one of the same site
//! (`blog.example.localhost`) and one of another (`evil.localhost`). Both serve the same file,
//! which posts to an API in its visitor's name.

use crate::answer::Answer;
use crate::server::ReceivedRequest;

/// Answers one request, whatever host it names.
#[allow(clippy::needless_pass_by_value, reason = "a handler owns its request")]
pub(super) fn answer(request: ReceivedRequest) -> Answer {
    let answer = match request.path.split('?').next() {
        Some("/") => Answer::html(include_str!("page/outsider.html")),
        _ => Answer::status(404),
    };
    answer.header("cache-control", "no-store")
}
