//! The connections of one endpoint to its nodes: one in use, one that stands by, one that is being left. Which is which
//! is the core's to know.

use std::future::{pending, poll_fn};
use std::task::Poll;

use bytes::BytesMut;
use sealcast_endpoint_core::session::Way;
use tokio::sync::mpsc;

use crate::config::WIRES_MAX;
use crate::wire::Wire;

/// The sending sides.
#[derive(Default)]
pub(crate) struct Senders([Option<Sender>; WIRES_MAX]);

struct Sender {
    way: Way,
    wire: Wire,
    /// Whether more waits than there was room for.
    more: bool,
}

/// The receiving sides.
#[derive(Default)]
pub(crate) struct Receivers {
    slots: [Option<(Way, mpsc::Receiver<BytesMut>)>; WIRES_MAX],
    /// Where the next look begins, so that a busy connection does not starve the others.
    turn: usize,
}

/// A connection's both sides, in the same place of each.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) tx: Senders,
    pub(crate) rx: Receivers,
}

impl Wires {
    /// Takes a connection; gives it back if there are too many, which the core does not let happen.
    pub(crate) fn insert(&mut self, way: Way, wire: Wire, chunks: mpsc::Receiver<BytesMut>) -> bool {
        let Some(place) = self.tx.0.iter().position(Option::is_none) else { return false };
        self.tx.0[place] = Some(Sender { way, wire, more: false });
        self.rx.slots[place] = Some((way, chunks));
        true
    }

    /// Closes a connection, if it is there.
    pub(crate) fn remove(&mut self, way: Way) {
        for place in 0..WIRES_MAX {
            if self.tx.0[place].as_ref().is_some_and(|sender| sender.way == way) {
                (self.tx.0[place], self.rx.slots[place]) = (None, None);
            }
        }
    }
}

impl Senders {
    /// Hands over what `gather` appends for each connection, while there is room; whether any may have more.
    pub(crate) fn send(&mut self, mut gather: impl FnMut(Way, &mut Vec<u8>) -> bool) -> bool {
        for Sender { way, wire, more } in self.0.iter_mut().flatten() {
            *more = wire.send(|buffer| gather(*way, buffer));
        }
        self.0.iter().flatten().any(|sender| sender.more)
    }

    /// Waits until a connection for which more waits has room.
    pub(crate) async fn writable(&self) {
        let [one, two, three, four] = &self.0;
        tokio::select! {
            () = room(one) => {},
            () = room(two) => {},
            () = room(three) => {},
            () = room(four) => {},
        }
    }

    /// Writes what was handed over, and closes, one after the other.
    pub(crate) async fn close(self) {
        for sender in self.0.into_iter().flatten() {
            sender.wire.close().await;
        }
    }
}

impl Receivers {
    /// The next chunk of any connection; `None` at the end of one, which then has to be removed.
    pub(crate) async fn receive(&mut self) -> (Way, Option<BytesMut>) {
        poll_fn(|context| {
            self.turn = (self.turn + 1) % WIRES_MAX;
            for place in 0..WIRES_MAX {
                if let Some((way, chunks)) = &mut self.slots[(self.turn + place) % WIRES_MAX]
                    && let Poll::Ready(chunk) = chunks.poll_recv(context)
                {
                    return Poll::Ready((*way, chunk));
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn room(sender: &Option<Sender>) {
    match sender {
        Some(sender) if sender.more => sender.wire.writable().await,
        _ => pending().await,
    }
}
