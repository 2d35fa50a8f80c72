//! Who may talk to the control API: a program of this machine that knows the token.
//!
//! A web page of a stranger can make the user's browser send requests here. It does not know the token, and it cannot hide
//! what it is: its requests carry an `Origin` of their own, and a name that it points at this machine stands in `Host`.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::{ControlError, Refused};

/// What a request must show.
#[derive(Clone)]
pub(super) struct Guard {
    token: String,
    hosts: [String; 3],
}

impl Guard {
    /// For an API that listens on `address`.
    pub fn new(token: String, address: SocketAddr) -> Self {
        let port = address.port();
        let hosts = [address.to_string(), format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        Self { token, hosts }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let known = |host: &str| self.hosts.iter().any(|known| known == host);
        if !text(header::HOST).is_some_and(known) {
            return Err(Refused(
                StatusCode::FORBIDDEN,
                ControlError::forbidden("this name is not this machine's"),
            ));
        }
        if let Some(origin) = text(header::ORIGIN)
            && !origin.strip_prefix("http://").is_some_and(known)
        {
            return Err(Refused(
                StatusCode::FORBIDDEN,
                ControlError::forbidden("requests of other websites are refused"),
            ));
        }
        let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        if !given.is_some_and(|given| same(given.as_bytes(), self.token.as_bytes())) {
            let message = "the token is missing or wrong; it stands in owner.json in the data folder";
            return Err(Refused(StatusCode::UNAUTHORIZED, ControlError::forbidden(message)));
        }
        Ok(())
    }
}

/// Lets a request through that shows what it must.
pub(super) async fn guard(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    guard.check(request.headers())?;
    Ok(next.run(request).await)
}

/// Compares hashes, so that the time taken says nothing about how much of a token is right.
fn same(one: &[u8], other: &[u8]) -> bool {
    blake3::hash(one) == blake3::hash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(&'static str, &str)]) -> Result<(), StatusCode> {
        let guard = Guard::new("secret".into(), "127.0.0.1:4000".parse().unwrap());
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        guard.check(&headers).map_err(|Refused(status, _)| status)
    }

    #[test]
    fn a_local_program_with_the_token_may_talk() {
        for host in ["127.0.0.1:4000", "localhost:4000"] {
            assert_eq!(checked(&[("host", host), ("authorization", "Bearer secret")]), Ok(()));
        }
        let page = [
            ("host", "127.0.0.1:4000"),
            ("origin", "http://127.0.0.1:4000"),
            ("authorization", "Bearer secret"),
        ];
        assert_eq!(checked(&page), Ok(()));
    }

    #[test]
    fn others_may_not() {
        let (host, token) = (("host", "127.0.0.1:4000"), ("authorization", "Bearer secret"));
        assert_eq!(checked(&[host]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(checked(&[host, ("authorization", "Bearer secre")]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(checked(&[host, ("authorization", "secret")]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(checked(&[token]), Err(StatusCode::FORBIDDEN));
        for foreign in ["evil.example", "evil.example:4000", "127.0.0.1:4001", "127.0.0.1"] {
            assert_eq!(checked(&[("host", foreign), token]), Err(StatusCode::FORBIDDEN), "{foreign}");
        }
        for origin in ["https://evil.example", "null", "http://127.0.0.1:4001", "https://127.0.0.1:4000"] {
            assert_eq!(checked(&[host, ("origin", origin), token]), Err(StatusCode::FORBIDDEN), "{origin}");
        }
    }
}
