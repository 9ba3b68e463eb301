//! The demo's service that calls another service.
//!
//! `GET /api/orders?pass=header` calls stock with the `Authorization` header that it received,
//! which is all that a service has to do. `pass=cookie` and `pass=nothing` get it wrong. It calls
//! the proxy in front of stock, never stock itself, and answers with stock's status.

use serde_json::{Value, json};

use super::loopback;
use super::ports::STOCK_HOP;
use crate::answer::Answer;
use crate::backend::describe;
use crate::client::{Client, Request};
use crate::server::ReceivedRequest;

/// Answers with what arrived here, and what came of the call to stock.
#[allow(clippy::needless_pass_by_value, reason = "a handler owns its request")]
pub(super) fn answer(request: ReceivedRequest) -> Answer {
    let authorization = request.headers.text("authorization").unwrap_or_default();
    let call = Request::get(STOCK_PATH).header("host", STOCK_HOST);
    let call = match request.path.split_once("pass=").map(|(_, pass)| pass) {
        Some("nothing") => call,
        Some("cookie") => {
            let token = authorization.trim_start_matches("Bearer ");
            call.header("cookie", format!("cbo_session_token={token}"))
        }
        _ => call.header("authorization", &authorization),
    };
    let (status, next) = match Client::new(loopback(STOCK_HOP)).send(call).response {
        Ok(response) => (response.status, response.json()),
        Err(error) => (502, json!({ "reason": error.to_string() })),
    };
    let mut body: Value = describe("orders", &request);
    body["next"] = json!({
        "url": format!("http://{STOCK_HOST}{STOCK_PATH}"), "status": status, "body": next,
    });
    Answer::json(body).with_status(status)
}

const STOCK_HOST: &str = "stock.internal";
const STOCK_PATH: &str = "/stock/items";
