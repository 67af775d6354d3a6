//! How does the command line talk to a running Howdah?
//!
//! One HTTP/1.1 request over a plain socket: no TLS to set up, no pool, no proxy, so that a search costs what the search
//! costs. For the instance's own server only; its address and token come from the instance's directory.

use std::time::Duration;

use howdah_plan::problem::{Kind, Problem};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Where to ask and with what.
#[derive(Debug, Clone)]
pub struct Client {
    /// `http://host:port`.
    pub base: String,
    /// The key to show, if any.
    pub key: Option<String>,
    /// Longest time for one request.
    pub patience: Duration,
}

impl Client {
    /// Asks, and gives the status with the body as JSON.
    ///
    /// # Errors
    /// `unreachable` when nobody answers, `timeout` when it takes too long, `internal` when the answer is not JSON.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Problem> {
        let asking = self.send(method, path, body);
        let Ok(answer) = tokio::time::timeout(self.patience, asking).await else {
            return Err(Problem::new(Kind::Timeout, format!("`{}` did not answer in time", self.base))
                .hint("Look at what it does with `howdah status` and `howdah logs`."));
        };
        let (status, bytes) = answer?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(Kind::Internal, format!("`{}` answered something that is not JSON", self.base))
                .detail(error.to_string())
        })?;
        Ok((status, value))
    }

    /// Asks, and gives the body of a success.
    ///
    /// # Errors
    /// As [`Client::ask`], and the server's own problem.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Problem> {
        let (status, value) = self.ask(method, path, body).await?;
        if status.is_success() { Ok(value) } else { Err(problem(status, &value)) }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), Problem> {
        let uri: Uri =
            format!("{}{path}", self.base).parse().map_err(|error: hyper::http::uri::InvalidUri| {
                Problem::new(Kind::Usage, format!("`{}{path}` is not an address", self.base))
                    .detail(error.to_string())
            })?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let stream = TcpStream::connect(&authority).await.map_err(|error| self.unreachable(&error))?;
        // A lost optimisation, no failure.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection);
        let target = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET))
            .uri(target)
            .header("host", authority)
            .header("accept", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes = body.map(|value| value.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(Full::new(bytes::Bytes::from(bytes))).map_err(|error| {
            Problem::new(Kind::Usage, "the request cannot be sent").detail(error.to_string())
        })?;
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| self.unreachable(&error))?;
        Ok((status, body.to_bytes().to_vec()))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Problem {
        Problem::new(Kind::Unreachable, format!("`{}` does not answer", self.base))
            .detail(error.to_string())
            .hint("Start it with `howdah up`.")
    }
}

/// The problem in a failure's body.
pub fn problem(status: StatusCode, value: &Value) -> Problem {
    serde_json::from_value(value["error"].clone()).unwrap_or_else(|_| {
        Problem::new(Kind::Internal, format!("the server answered {status} without saying why"))
            .detail(value.to_string())
    })
}
