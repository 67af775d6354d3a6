//! Can I talk to it?
//!
//! One connection at a time: [`connect`] makes it, with the protection that the target asks for, and [`cancel`] ends what it
//! runs. Connections that are kept and shared are [`super::pool`]'s.

use howdah_plan::problem::{Kind, Problem};
use tokio_postgres::{CancelToken, Client, Config, NoTls};

use super::{Host, SessionAttrs, SslMode, Target, problem, tls};

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
    let made = async {
        let client = made.await?;
        fits(&client, target).await?;
        Ok(client)
    };
    match tokio::time::timeout(target.connect_timeout, made).await {
        Ok(client) => client,
        Err(_) => Err(problem::connect_timeout(target)),
    }
}

/// Whether the session is of the kind that the address asks for.
async fn fits(client: &Client, target: &Target) -> Result<(), Problem> {
    if target.session == SessionAttrs::Any {
        return Ok(());
    }
    let sql = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'";
    let asked = client.query_one(sql, &[]).await;
    let row = asked.map_err(|error| problem::from_pg(&error, "ask what kind of session it is"))?;
    let (replica, read_only): (bool, bool) = (row.get(0), row.get(1));
    if target.session.fits(replica, read_only) {
        return Ok(());
    }
    let is = match (replica, read_only) {
        (true, _) => "a replica",
        (false, true) => "read-only",
        (false, false) => "a primary that takes writes",
    };
    let message = format!("PostgreSQL at `{}` is {is}", target.place());
    Err(Problem::new(Kind::Unreachable, message)
        .detail(format!("the address asks for `target_session_attrs={}`", target.session.name()))
        .hint("Name the server that is meant, or take `target_session_attrs` out of the address."))
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
        .channel_binding(target.channel_binding)
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
