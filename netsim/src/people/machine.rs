//! An endpoint's core behind one face, with the real end-to-end layer or without any: whoever drives it need not know.

use bytes::BytesMut;
use proto_spec::ticket::Role;
use proto_spec::{Now, Timestamp};
use sealcast_endpoint_core::JoinCode;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::TransferId;
use sealcast_endpoint_core::files::FileResult;
use sealcast_endpoint_core::mpsl::Mpsl;
use sealcast_endpoint_core::null::Null;
use sealcast_endpoint_core::security::Security;
use sealcast_endpoint_core::session::{
    CallFailure, CallId, CallReply, Config, Endpoint, Output, Reached, Way,
};

use crate::sim::Profile;

/// What a shell asks of [`Endpoint`], under the same names.
pub(crate) trait Machine {
    fn attachment_up(&mut self, now: Now, way: Way, node: Reached, exporter: [u8; 32], rest: BytesMut);
    fn connect_failed(&mut self, now: Now, way: Way, sentence: String);
    fn attachment_lost(&mut self, now: Now, way: Way);
    fn receive(&mut self, now: Now, way: Way, bytes: BytesMut);
    fn handle_command(&mut self, now: Now, command: Command);
    fn handle_call(&mut self, now: Now, id: CallId, result: Result<CallReply, CallFailure>);
    fn handle_file(&mut self, now: Now, transfer: TransferId, result: FileResult);
    fn handle_timeout(&mut self, now: Now);
    fn poll_output(&mut self) -> Option<Output>;
    fn poll_transmit(&mut self, now: Now, way: Way, out: &mut Vec<u8>, limit: usize) -> bool;
    fn poll_timeout(&mut self) -> Option<Timestamp>;
    fn is_over(&self) -> bool;
}

/// The creator's, as `sealcast` builds it.
pub(crate) fn host(profile: Profile, now: Now, config: Config, first: Option<Role>) -> Box<dyn Machine> {
    match profile {
        Profile::Full => Box::new(Endpoint::<Mpsl>::host(now, config, first)),
        Profile::Light => Box::new(Endpoint::<Null>::host(now, config, first)),
    }
}

/// A joiner's, as `sealcast` builds it.
pub(crate) fn join(profile: Profile, now: Now, config: Config, code: JoinCode) -> Box<dyn Machine> {
    match profile {
        Profile::Full => Box::new(Endpoint::<Mpsl>::join(now, config, code)),
        Profile::Light => Box::new(Endpoint::<Null>::join(now, config, code)),
    }
}

impl<S: Security> Machine for Endpoint<S> {
    fn attachment_up(&mut self, now: Now, way: Way, node: Reached, exporter: [u8; 32], rest: BytesMut) {
        Endpoint::attachment_up(self, now, way, node, exporter, rest);
    }

    fn connect_failed(&mut self, now: Now, way: Way, sentence: String) {
        Endpoint::connect_failed(self, now, way, sentence);
    }

    fn attachment_lost(&mut self, now: Now, way: Way) {
        Endpoint::attachment_lost(self, now, way);
    }

    fn receive(&mut self, now: Now, way: Way, bytes: BytesMut) {
        Endpoint::receive(self, now, way, bytes);
    }

    fn handle_command(&mut self, now: Now, command: Command) {
        Endpoint::handle_command(self, now, command);
    }

    fn handle_call(&mut self, now: Now, id: CallId, result: Result<CallReply, CallFailure>) {
        Endpoint::handle_call(self, now, id, result);
    }

    fn handle_file(&mut self, now: Now, transfer: TransferId, result: FileResult) {
        Endpoint::handle_file(self, now, transfer, result);
    }

    fn handle_timeout(&mut self, now: Now) {
        Endpoint::handle_timeout(self, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        Endpoint::poll_output(self)
    }

    fn poll_transmit(&mut self, now: Now, way: Way, out: &mut Vec<u8>, limit: usize) -> bool {
        Endpoint::poll_transmit(self, now, way, out, limit)
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        Endpoint::poll_timeout(self)
    }

    fn is_over(&self) -> bool {
        Endpoint::is_over(self)
    }
}
