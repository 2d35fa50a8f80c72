//! Requests and responses of JSON-RPC 2.0, single and in batches (spec 06 sections 1.2 and 1.3).

use std::collections::BTreeMap;

use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::params::Params;
use crate::service::{Answer, Service, find};

/// Answers a request's body: one JSON value, of which a list is a batch. What follows the value is ignored. `None` when there is nothing
/// to answer, as for notifications.
pub(crate) async fn respond(service: &dyn Service, body: &[u8], most_in_batch: usize) -> Option<String> {
    let first = serde_json::Deserializer::from_slice(body).into_iter::<Box<RawValue>>().next();
    let Some(Ok(value)) = first else { return Some(failure(RpcError::parse())) };
    if !value.get().starts_with('[') {
        return respond_to_one(service, &value).await;
    }
    let Ok(requests) = serde_json::from_str::<Vec<Box<RawValue>>>(value.get()) else {
        return Some(failure(RpcError::parse()));
    };
    if requests.is_empty() {
        return Some(failure(RpcError::invalid_request()));
    }
    if requests.len() > most_in_batch {
        return Some(failure(RpcError::batch_too_large(most_in_batch)));
    }
    // Concurrently, answers in the order of completion: clients match them by id.
    let mut running: FuturesUnordered<_> =
        requests.iter().map(|request| respond_to_one(service, request)).collect();
    let mut responses = Vec::new();
    while let Some(response) = running.next().await {
        responses.extend(response);
    }
    (!responses.is_empty()).then(|| format!("[{}]", responses.join(",")))
}

async fn respond_to_one(service: &dyn Service, text: &RawValue) -> Option<String> {
    let Some(request) = Request::read(text.get()) else { return Some(failure(RpcError::invalid_request())) };
    let answer = match find(service, &request.method) {
        Ok(()) => service.call(&request.method, request.params).await,
        Err(missing) => Err(missing),
    };
    request.id.map(|id| response(&id, answer))
}

struct Request {
    /// As it was written. `None` for a notification.
    id: Option<Box<RawValue>>,
    method: String,
    params: Params,
}

impl Request {
    /// `None` for everything that is no request: other members, other types, names in other case.
    fn read(text: &str) -> Option<Self> {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
        let version: String = serde_json::from_str(members.remove("jsonrpc")?.get()).ok()?;
        let method = serde_json::from_str(members.remove("method")?.get()).ok()?;
        let params = members.remove("params");
        let id = members.remove("id");
        let well_formed = version == "2.0"
            && members.is_empty()
            && params.as_ref().is_none_or(|params| params.get().starts_with(['[', '{']))
            && id.as_ref().is_none_or(|id| !id.get().starts_with(['[', '{', 't', 'f']));
        well_formed.then(|| Self { id, method, params: Params::new(params) })
    }
}

/// A response in the order of members that clients are used to.
#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

fn response(id: &RawValue, answer: Answer) -> String {
    let (result, error) = match &answer {
        Ok(result) => (Some(&**result), None),
        Err(error) => (None, Some(error)),
    };
    write(&Response { jsonrpc: "2.0", id: Some(id), result, error })
}

/// The answer to what has no id that could be read.
fn failure(error: RpcError) -> String {
    write(&Response { jsonrpc: "2.0", id: None, result: None, error: Some(&error) })
}

fn write(response: &Response<'_>) -> String {
    // Texts and texts of JSON cannot fail to be written.
    theta_types::json::to_string(response).unwrap_or_default()
}
