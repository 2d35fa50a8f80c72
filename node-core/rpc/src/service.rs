//! What is served: methods by name.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::params::Params;

/// The result of a call, as JSON text.
pub type Answer = Result<Box<RawValue>, RpcError>;

/// A set of methods, all with names of the form `service.Method`.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The names of all methods.
    fn methods(&self) -> &[&'static str];

    /// Runs one of them.
    async fn call(&self, method: &str, params: Params) -> Answer;
}

/// The answer that a value makes, with Go's escapes.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    let text = theta_types::json::to_string(value).map_err(RpcError::failed)?;
    RawValue::from_string(text).map_err(RpcError::failed)
}

/// Checks that a service has the method, and says what is missing in the reference's words.
pub(crate) fn find(service: &dyn Service, method: &str) -> Result<(), RpcError> {
    if service.methods().contains(&method) {
        return Ok(());
    }
    let mut parts = method.split('.');
    let message = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(_), None) => {
            let known = service.methods().iter().any(|known| known.split('.').next() == Some(name));
            let missing = if known { "method" } else { "service" };
            format!("rpc: can't find {missing} {method}")
        }
        _ => format!("rpc: service/method request ill-formed: {method}"),
    };
    Err(RpcError::no_method(message))
}
