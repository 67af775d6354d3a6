//! A connection of one's own, for long work.
//!
//! It is not given back, so its session may keep what it likes: settings, temporary tables, prepared statements. Dropped in
//! the midst of a statement it cancels it; whoever is through says [`Own::finish`], which closes it without that.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, stream};
use howdah_plan::problem::Problem;
use tokio_postgres::{Client, Error};

use super::lease::break_off;
use super::slots::Slot;
use crate::problem::from_pg;
use crate::{Target, connect};

/// Long statements end with the process that asked for them, killed or not: the server looks every five seconds whether it
/// is still there. Known since PostgreSQL 14.
const CHECK_CLIENT: &str = "SELECT pg_catalog.set_config(name, '5s', false) FROM pg_catalog.pg_settings \
                            WHERE name = 'client_connection_check_interval'";

/// A connection of one's own. It is closed when this is dropped, and what it runs is cancelled.
pub struct Own {
    client: Option<Client>,
    target: Target,
    slot: Option<Arc<Slot>>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Own {
    pub(super) async fn open(target: Target, slot: Arc<Slot>) -> Result<Own, Problem> {
        let client = connect::connect(&target).await?;
        client.batch_execute(CHECK_CLIENT).await.map_err(|error| from_pg(&error, "prepare a session"))?;
        Ok(Own { client: Some(client), target, slot: Some(slot) })
    }

    /// Closes it; nothing runs on it any more.
    pub fn finish(mut self) {
        self.client = None;
    }
}

/// Sends all of it by COPY.
pub(super) async fn copy_in(client: &Client, sql: &str, messages: &[Bytes]) -> Result<u64, Error> {
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(sql).await?);
    let mut messages = stream::iter(messages.iter().cloned().map(Ok));
    sink.send_all(&mut messages).await?;
    sink.as_mut().finish().await
}

impl Own {
    /// As [`Client::copy_in`], with everything that is to be sent.
    ///
    /// # Errors
    /// What the server says.
    pub async fn send(&self, sql: &str, messages: &[Bytes]) -> Result<u64, Error> {
        copy_in(self, sql, messages).await
    }
}

impl Deref for Own {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("the connection is there until it is finished")
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("the connection is there until it is finished")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let (Some(client), slot) = (self.client.take(), self.slot.take()) else { return };
        if !client.is_closed() {
            break_off(client, self.target.clone(), slot);
        }
    }
}
