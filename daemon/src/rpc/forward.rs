//! The `Endpoint` calls at a node without a broker: each is handed to a node with one, and its answer handed back
//! \[GW-14\]. Decides nothing about a call and never sends one twice.

use std::sync::Arc;
use std::time::Instant;

use sealcast_broker::Method;
use sealcast_rpc::{self as rpc, CREDENTIAL_METADATA};
use tonic::{Request as Incoming, Response, Status};

use super::backend::{Backend, Fault};
use super::caller;
use super::peers::PeerChannel;
use super::status::{code_name, hand_back};
use super::vouch::Vouch;

type Answer<T> = Result<Response<T>, Status>;

/// The service.
pub(super) struct ForwardedCalls {
    backend: Arc<Backend>,
}

impl ForwardedCalls {
    pub(super) fn new(backend: Arc<Backend>) -> ForwardedCalls {
        ForwardedCalls { backend }
    }

    /// The call as it goes on: its message, the credential as it came, and what this node saw of its caller.
    fn onward<T>(&self, request: Incoming<T>) -> Result<Incoming<T>, Status> {
        let seen = caller::endpoint(&self.backend, &request)?;
        if seen.via.is_some() {
            // A node without a broker is no broker's node; a loop of two of them would never end.
            return Err(self.backend.status(&Fault::NoBrokerHere));
        }
        let credential = request.metadata().get_bin(CREDENTIAL_METADATA).cloned();
        let mut onward = Incoming::new(request.into_inner());
        if let Some(credential) = credential {
            onward.metadata_mut().insert_bin(CREDENTIAL_METADATA, credential);
        }
        Vouch::Endpoint { exporter: seen.exporter, address: seen.address }.put(onward.metadata_mut());
        Ok(onward)
    }

    async fn hand_on<T, R, F>(
        &self,
        method: Method,
        request: Incoming<T>,
        send: impl FnOnce(rpc::endpoint_client::EndpointClient<PeerChannel>, Incoming<T>) -> F,
    ) -> Answer<R>
    where
        F: Future<Output = Answer<R>>,
    {
        let started = Instant::now();
        let answer = async {
            let onward = self.onward(request)?;
            let broker = self.backend.broker_channel().await.map_err(|fault| self.backend.status(&fault))?;
            // Only the message goes back: what HTTP says between two nodes is theirs.
            send(broker.endpoint(), onward)
                .await
                .map(|reply| Response::new(reply.into_inner()))
                .map_err(hand_back)
        }
        .await;
        let code = answer.as_ref().err().map_or(tonic::Code::Ok, Status::code);
        self.backend.metrics().called(method.name(), code_name(code), started.elapsed());
        answer
    }
}

macro_rules! handed_on {
    ($($call:ident = $method:ident($request:ident) -> $reply:ident;)*) => {
        #[tonic::async_trait]
        impl rpc::endpoint_server::Endpoint for ForwardedCalls {
            $(async fn $call(&self, request: Incoming<rpc::$request>) -> Answer<rpc::$reply> {
                let send = |mut client: rpc::endpoint_client::EndpointClient<PeerChannel>, onward| async move {
                    client.$call(onward).await
                };
                self.hand_on(Method::$method, request, send).await
            })*
        }
    };
}

handed_on! {
    about = About(AboutRequest) -> AboutReply;
    login = Login(LoginRequest) -> LoginReply;
    logout = Logout(LogoutRequest) -> LogoutReply;
    create_session = CreateSession(CreateSessionRequest) -> CreateSessionReply;
    open_join = OpenJoin(OpenJoinRequest) -> OpenJoinReply;
    close_join = CloseJoin(CloseJoinRequest) -> CloseJoinReply;
    lookup = Lookup(LookupRequest) -> LookupReply;
    admit = Admit(AdmitRequest) -> AdmitReply;
    renew_ticket = RenewTicket(RenewTicketRequest) -> RenewTicketReply;
    remove_member = RemoveMember(RemoveMemberRequest) -> RemoveMemberReply;
    end_session = EndSession(EndSessionRequest) -> EndSessionReply;
}
