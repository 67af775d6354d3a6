//! Can I talk to it?
//!
//! One connection at a time: [`connect`] makes it, with the protection that the target asks for, and [`cancel`] ends what it
//! runs. Connections that are kept and shared are [`super::pool`]'s.

use howdah_plan::problem::Problem;
use tokio_postgres::{CancelToken, Client, Config, NoTls};

use super::{Host, SslMode, Target, problem, tls};

/// Makes one connection to `target`. It ends when the client is dropped.
///
/// # Errors
/// As [`Pools::get`].
pub async fn connect(target: &Target) -> Result<Client, Problem> {
    let config = config(target);
    let made = async {
        if encrypted(target) {
            let (client, connection) = config
                .connect(tls::connector(target)?)
                .await
                .map_err(|e| problem::from_connect(&e, target))?;
            tokio::spawn(drive(connection));
            Ok(client)
        } else {
            let (client, connection) =
                config.connect(NoTls).await.map_err(|e| problem::from_connect(&e, target))?;
            tokio::spawn(drive(connection));
            Ok(client)
        }
    };
    match tokio::time::timeout(target.connect_timeout, made).await {
        Ok(client) => client,
        Err(_) => Err(problem::connect_timeout(target)),
    }
}

/// Cancels what the session of `token` runs. What has ended meanwhile is left alone.
///
/// # Errors
/// `unreachable` when the server cannot be asked.
pub async fn cancel(target: &Target, token: CancelToken) -> Result<(), Problem> {
    let asked = async {
        if encrypted(target) {
            token.cancel_query(tls::connector(target)?).await.map_err(|e| problem::from_connect(&e, target))
        } else {
            token.cancel_query(NoTls).await.map_err(|e| problem::from_connect(&e, target))
        }
    };
    match tokio::time::timeout(target.connect_timeout, asked).await {
        Ok(asked) => asked,
        Err(_) => Err(problem::connect_timeout(target)),
    }
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to PostgreSQL ended");
    }
}

/// A unix socket is never encrypted; nobody is in between.
fn encrypted(target: &Target) -> bool {
    target.sslmode != SslMode::Disable && matches!(target.host, Host::Tcp(_))
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    match &target.host {
        Host::Tcp(host) => config.host(host.as_str()),
        Host::Socket(dir) => config.host_path(dir),
    };
    config
        .port(target.port)
        .user(target.user.as_str())
        .dbname(target.database.as_str())
        .application_name(target.application_name.as_str())
        .connect_timeout(target.connect_timeout)
        .ssl_mode(match (encrypted(target), target.sslmode) {
            (false, _) => tokio_postgres::config::SslMode::Disable,
            (true, SslMode::Prefer) => tokio_postgres::config::SslMode::Prefer,
            (true, _) => tokio_postgres::config::SslMode::Require,
        });
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options.as_str());
    }
    config
}
