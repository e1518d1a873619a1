//! The task that drives one endpoint's core: the only owner of it. Feeds it bytes, commands, answers and time, and does
//! what it asks for.
//!
//! ```text
//! Session, Commander --commands--> driver --events--> Session
//!      Wires (reader, writer) <-> driver <-- answers -- calls, connecting, file tasks
//! ```
//! All channels are bounded. Events wait in the driver until they are read; when many wait it stops reading from the
//! network, so that pressure reaches the other side.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto_spec::{Now, SessionNumber, Timestamp, WallTime};
use sealcast_endpoint_core::attach::{AttachKey, Greeted};
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::config::GATHER_BYTES;
use sealcast_endpoint_core::event::{Event, TransferId};
use sealcast_endpoint_core::files::FileResult;
use sealcast_endpoint_core::security::Security;
use sealcast_endpoint_core::session::{
    Call, CallFailure, CallId, CallReply, CallRequest, Endpoint, Output, Reached, Way,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::config::{EVENTS_MAX, FLUSH_MAX, RESULTS_MAX};
use crate::connect::{Target, TlsConnection};
use crate::files::FileTasks;
use crate::gateway::{Gateway, TicketHolder, misbehaved};
use crate::wire::Wire;
use crate::wires::{Senders, Wires};
use crate::{Error, ErrorKind, Mesh};

/// What the tasks around the driver answer.
pub(crate) enum Answer {
    Connected(Way, Result<(Target, TlsConnection, Greeted), Error>),
    Call(CallId, Result<CallReply, CallFailure>),
    File(TransferId, FileResult),
}

/// The process's monotonic clock and the wall clock, as the core wants them.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: Timestamp(self.0.elapsed()), wall: WallTime(wall.as_millis() as u64) }
    }

    fn instant(&self, at: Timestamp) -> Instant {
        self.0 + at.0
    }
}

pub(crate) struct Driver<S> {
    pub(crate) endpoint: Endpoint<S>,
    pub(crate) clock: Clock,
    pub(crate) mesh: Mesh,
    pub(crate) gateway: Gateway,
    pub(crate) attach_key: AttachKey,
    pub(crate) software: String,
    pub(crate) files: FileTasks,
    pub(crate) answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
}

/// The channel for answers; file tasks get its sending side.
pub(crate) fn answers() -> (mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
    mpsc::channel(RESULTS_MAX)
}

impl<S: Security> Driver<S> {
    /// Runs until the session is over, or nobody reads its events any more.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>, events: mpsc::Sender<Event>) {
        let mut wires = Wires::default();
        let mut waiting: VecDeque<Event> = VecDeque::new();
        let mut commanders_left = true;
        loop {
            let mut closed = false;
            while let Some(output) = self.endpoint.poll_output() {
                match output {
                    Output::Event(event) => waiting.push_back(event),
                    Output::Disconnect(way) => wires.remove(way),
                    Output::Closed => closed = true,
                    Output::Connect { way, preferred, avoid } => self.connect(way, preferred, avoid),
                    Output::Call(call) => self.call(call),
                    Output::File(effect) => self.files.perform(effect),
                }
            }
            let now = self.clock.now();
            let endpoint = &mut self.endpoint;
            let more = wires.tx.send(|way, buffer| endpoint.poll_transmit(now, way, buffer, GATHER_BYTES));
            while let Some(event) = waiting.pop_front() {
                if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
                    waiting.push_front(event);
                    break;
                }
            }
            if closed {
                break;
            }
            if self.endpoint.has_output() {
                continue;
            }
            let due = self.endpoint.poll_timeout().map(|at| self.clock.instant(at));
            let reading = waiting.len() < EVENTS_MAX;
            let listening = commanders_left && waiting.len() < 2 * EVENTS_MAX;
            tokio::select! {
                command = commands.recv(), if listening => match command {
                    Some(command) => self.endpoint.handle_command(self.clock.now(), command),
                    None => commanders_left = false,
                },
                (way, chunk) = wires.rx.receive(), if reading => match chunk {
                    Some(chunk) => self.endpoint.receive(self.clock.now(), way, chunk),
                    None => {
                        wires.remove(way);
                        self.endpoint.attachment_lost(self.clock.now(), way);
                    }
                },
                Some(answer) = self.answers.1.recv() => self.answer(answer, &mut wires),
                () = wires.tx.writable(), if more => {}
                permit = events.reserve(), if !waiting.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(event) = waiting.pop_front() {
                            permit.send(event);
                        }
                    }
                    Err(_) => return,
                },
                () = events.closed() => return,
                () = sleep_until(due) => self.endpoint.handle_timeout(self.clock.now()),
            }
        }
        let _ = timeout(FLUSH_MAX, self.flush(wires.tx)).await;
        for event in waiting {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Everything that still waits, and the end of the connections.
    async fn flush(&mut self, mut wires: Senders) {
        let now = self.clock.now();
        while wires.send(|way, buffer| self.endpoint.poll_transmit(now, way, buffer, GATHER_BYTES)) {
            wires.writable().await;
        }
        wires.close().await;
    }

    fn answer(&mut self, answer: Answer, wires: &mut Wires) {
        let now = self.clock.now();
        match answer {
            Answer::Connected(way, Ok((target, connection, greeted))) => {
                let (wire, chunks) = Wire::new(connection.stream, connection.heard);
                let node = Reached { address: target.to_string(), certificate: connection.certificate };
                self.endpoint.attachment_up(now, way, node, connection.exporter, greeted.rest);
                if !wires.insert(way, wire, chunks) {
                    self.endpoint.attachment_lost(now, way);
                }
            }
            Answer::Connected(way, Err(error)) => self.endpoint.connect_failed(now, way, error.to_string()),
            Answer::Call(id, result) => self.endpoint.handle_call(now, id, result),
            Answer::File(transfer, result) => self.endpoint.handle_file(now, transfer, result),
        }
    }

    fn connect(&self, way: Way, preferred: Vec<String>, avoid: Vec<String>) {
        let (mesh, software, answers) = (self.mesh.clone(), self.software.clone(), self.answers.0.clone());
        tokio::spawn(async move {
            let connected = mesh.attach(&preferred, &avoid, &software).await;
            let _ = answers.send(Answer::Connected(way, connected)).await;
        });
    }

    fn call(&self, call: Call) {
        let (gateway, key, answers) = (self.gateway.clone(), self.attach_key.clone(), self.answers.0.clone());
        tokio::spawn(async move {
            let id = call.id;
            let result = make(&gateway, key, call).await.map_err(|error| CallFailure {
                again: matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Limited),
                sentence: error.to_string(),
            });
            let _ = answers.send(Answer::Call(id, result)).await;
        });
    }
}

async fn make(gateway: &Gateway, key: AttachKey, call: Call) -> Result<CallReply, Error> {
    let holder = TicketHolder { ticket: call.ticket, key };
    Ok(match call.request {
        CallRequest::OpenJoin { role } => {
            let number = gateway.open_join(holder, role).await?;
            CallReply::Number(SessionNumber::new(number).ok_or_else(|| misbehaved("session number"))?)
        }
        CallRequest::CloseJoin { number } => {
            gateway.close_join(holder, number.value()).await?;
            CallReply::Done
        }
        CallRequest::Admit { joiner } => CallReply::Ticket(gateway.admit(holder, joiner.value()).await?),
        CallRequest::Renew => CallReply::Ticket(gateway.renew(holder).await?),
        CallRequest::RemoveMember { number } => {
            gateway.remove_member(holder, number.value()).await?;
            CallReply::Done
        }
        CallRequest::EndSession => {
            gateway.end_session(holder).await?;
            CallReply::Done
        }
    })
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
