//! Who may have a connection now?
//!
//! So many in all, and of one address at most a part of them, so that no single program keeps the others out. Programs on
//! this machine count only towards the whole: a proxy in front of Howdah is one of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for connections.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    _slot: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// This address has as many as it may.
    Address,
}

impl Places {
    /// `all` places, of which one address may have `each`.
    pub fn new(all: usize, each: usize) -> Self {
        Places { all: Arc::new(Semaphore::new(all)), each, taken: Arc::default() }
    }

    /// A place for a connection from `peer`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let seat = match whose(peer) {
            Some(address) => Some(self.seat(address).ok_or(Full::Address)?),
            None => None,
        };
        let slot = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Place { _slot: slot, _seat: seat })
    }

    fn seat(&self, address: IpAddr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Seat { address, taken: Arc::clone(&self.taken) })
    }
}

/// Who counts as one: an IPv4 address, the network of an IPv6 address (one host has all of a /64). Nobody where it is this
/// machine.
fn whose(peer: IpAddr) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    match peer {
        peer if peer.is_loopback() => None,
        IpAddr::V4(_) => Some(peer),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
    }
}

#[derive(Debug)]
struct Seat {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_have_all_places_and_gives_them_back() {
        let places = Places::new(4, 2);
        let take = |text: &str| places.take(text.parse().unwrap());
        let held = [take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap()];
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::Address);
        let same_network = [take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()];
        assert_eq!(take("2001:db8::3").unwrap_err(), Full::Address);
        assert_eq!(take("198.51.100.7").unwrap_err(), Full::All);
        drop(held);
        let _again = take("192.0.2.1").unwrap();
        drop(same_network);
        let _here: Vec<Place> = (0..3).map(|_| take("127.0.0.1").unwrap()).collect();
        assert_eq!(take("::1").unwrap_err(), Full::All);
        assert_eq!(places.taken.lock().unwrap().len(), 1, "who is gone is forgotten");
    }
}
