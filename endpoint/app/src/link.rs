//! The running session as the two interfaces see it: events out, commands in. Between them and the library stand two
//! bounded channels, so that a scripted session can take the library's place in tests.
//!
//! ```text
//! library --- next_event ---> [EVENTS_MAX] ---> interface
//! library <---- command ----- [COMMANDS_MAX] <- interface
//! ```

use sealcast_endpoint::{Command, Event, Session};
use tokio::sync::mpsc;

/// Events that wait for the interface; when it is full the library waits.
const EVENTS_MAX: usize = 256;
/// Commands that wait for the library; when it is full the interface waits.
const COMMANDS_MAX: usize = 64;

/// Both directions of a running session.
pub(crate) struct Link {
    /// Ends after the last event.
    pub(crate) events: mpsc::Receiver<Event>,
    /// Does nothing after the last event.
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Link {
    /// A link, and the library's ends of it.
    pub(crate) fn pair() -> (Link, mpsc::Sender<Event>, mpsc::Receiver<Command>) {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
        (Link { events, commands }, events_in, commands_out)
    }

    /// Links a running session. Dropping the link drops the session.
    pub(crate) fn to(mut session: Session) -> Link {
        let (link, events, mut commands) = Link::pair();
        let commander = session.commander();
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                commander.command(command).await;
            }
        });
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = session.next_event() => match event {
                        Some(event) => {
                            if events.send(event).await.is_err() {
                                return;
                            }
                        }
                        None => return,
                    },
                    () = events.closed() => return,
                }
            }
        });
        link
    }
}
