//! The broker's types as gRPC's messages. Plain copies; decides nothing.

use proto_spec::frame::PeerState;
use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, TrafficClass};
use sealcast_attach::ClassCount;
use sealcast_attach::registry::{AttachmentStatus, SessionStatus};
use sealcast_broker::record::{AccountRole, MemberState};
use sealcast_broker::request::{AccountView, SessionView};
use sealcast_placement::{PROBES_MAX, Placed, Probe};
use sealcast_rpc as rpc;

/// Program and version.
pub(super) const SOFTWARE: &str = concat!("relayd ", env!("CARGO_PKG_VERSION"));
/// Longest host name in a probe's result; a longer one is none.
const HOST_LENGTH_MAX: usize = 253;

/// Results of probes, as many as placement looks at; those that cannot be are left out.
pub(super) fn probes(results: Vec<rpc::ProbeResult>) -> Vec<Probe> {
    results
        .into_iter()
        .take(PROBES_MAX)
        .filter(|result| result.host.len() <= HOST_LENGTH_MAX)
        .filter_map(|result| {
            let port = u16::try_from(result.port).ok()?;
            Some(Probe { host: result.host, port, rtt_us: result.rtt_us })
        })
        .collect()
}

/// A node to attach to.
pub(super) fn node(placed: Placed) -> rpc::NodeAddress {
    rpc::NodeAddress {
        node_number: placed.node.value().into(),
        host: placed.host,
        ports: placed.ports.into_iter().map(u32::from).collect(),
    }
}

/// What a joiner will be; `None` when nothing was said.
pub(super) const fn ticket_role(role: rpc::MemberRole) -> Option<Role> {
    match role {
        rpc::MemberRole::Provider => Some(Role::Provider),
        rpc::MemberRole::Customer => Some(Role::Customer),
        rpc::MemberRole::Unspecified => None,
    }
}

/// The reverse.
pub(super) const fn member_role(role: Role) -> rpc::MemberRole {
    match role {
        Role::Provider => rpc::MemberRole::Provider,
        Role::Customer => rpc::MemberRole::Customer,
    }
}

/// An account's role as its number on the wire.
pub(super) const fn account_role(role: AccountRole) -> i32 {
    (match role {
        AccountRole::AccountAdmin => rpc::Role::AccountAdmin,
        AccountRole::NetworkAdmin => rpc::Role::NetworkAdmin,
        AccountRole::Provider => rpc::Role::Provider,
        AccountRole::Auditor => rpc::Role::Auditor,
    }) as i32
}

/// The reverse; `None` for a number that is no role.
pub(super) fn role_of(number: i32) -> Option<AccountRole> {
    match rpc::Role::try_from(number).ok()? {
        rpc::Role::AccountAdmin => Some(AccountRole::AccountAdmin),
        rpc::Role::NetworkAdmin => Some(AccountRole::NetworkAdmin),
        rpc::Role::Provider => Some(AccountRole::Provider),
        rpc::Role::Auditor => Some(AccountRole::Auditor),
        rpc::Role::Unspecified => None,
    }
}

/// An account.
pub(super) fn account(view: AccountView) -> rpc::Account {
    rpc::Account {
        id: view.id,
        email: view.email,
        display_name: view.display_name,
        roles: view.roles.into_iter().map(account_role).collect(),
        locked: view.locked,
        locked_until_ms: view.locked_until.0,
        failures: view.failures,
        created_ms: view.created.0,
        last_login_ms: view.last_login.0,
        credentials: view.credentials,
    }
}

/// A session in a list, where the broker names no members: those attached here stand for them, without a role.
pub(super) fn listed_session(
    view: SessionView,
    here: Option<&SessionStatus>,
    node_number: u32,
) -> rpc::Session {
    let part = session_part(here, node_number, &[]);
    rpc::Session { members: part.members, traffic: part.traffic, ..session_head(view) }
}

/// One session with each node's part of it: every attachment, and the members who have none.
pub(super) fn session(
    mut view: SessionView,
    parts: Vec<rpc::SessionPart>,
    unanswered: Vec<u32>,
) -> rpc::Session {
    let members = std::mem::take(&mut view.members);
    let mut rows = Vec::new();
    for known in members {
        let number: u32 = known.number.value().into();
        let mut attached: Vec<rpc::SessionMember> = parts
            .iter()
            .flat_map(|part| &part.members)
            .filter(|attached| attached.number == number)
            .map(|attached| rpc::SessionMember { account: known.account.clone(), ..attached.clone() })
            .collect();
        if known.state == MemberState::Removed || attached.is_empty() {
            let state = if known.state == MemberState::Removed { "removed" } else { "away" };
            attached = vec![rpc::SessionMember {
                number,
                state: state.into(),
                account: known.account,
                ..rpc::SessionMember::default()
            }];
        }
        for row in &mut attached {
            row.role = member_role(known.role).into();
        }
        rows.extend(attached);
    }
    let mut totals: Vec<rpc::ClassTraffic> = Vec::new();
    for count in parts.iter().flat_map(|part| &part.traffic) {
        match totals.iter_mut().find(|total| total.class == count.class) {
            None => totals.push(count.clone()),
            Some(total) => {
                total.frames_in += count.frames_in;
                total.bytes_in += count.bytes_in;
                total.frames_out += count.frames_out;
                total.bytes_out += count.bytes_out;
                total.dropped += count.dropped;
            }
        }
    }
    let nodes = parts.iter().map(|part| part.node_number).chain(unanswered.iter().copied()).collect();
    rpc::Session { members: rows, traffic: totals, nodes, parts, unanswered, ..session_head(view) }
}

fn session_head(view: SessionView) -> rpc::Session {
    rpc::Session {
        session_id: view.id.0.to_vec(),
        provider: view.provider,
        created_ms: view.created.0,
        ended_ms: view.ended.map_or(0, |ended| ended.0),
        joinable: view.joinable,
        ..rpc::Session::default()
    }
}

/// What one node knows of a session.
pub(super) fn session_part(
    here: Option<&SessionStatus>,
    node_number: u32,
    nodes: &[NodeNumber],
) -> rpc::SessionPart {
    let nodes = nodes.iter().map(|node| node.value().into()).collect();
    let Some(here) = here else { return rpc::SessionPart { node_number, nodes, ..Default::default() } };
    rpc::SessionPart {
        node_number,
        members: here.attachments.iter().map(|attached| attachment(attached, node_number)).collect(),
        traffic: traffic(&here.traffic),
        nodes,
    }
}

fn attachment(attached: &AttachmentStatus, node_number: u32) -> rpc::SessionMember {
    rpc::SessionMember {
        number: attached.number.value().into(),
        role: rpc::MemberRole::Unspecified.into(),
        state: state(attached.state).into(),
        node_number,
        account: String::new(),
    }
}

const fn state(state: PeerState) -> &'static str {
    match state {
        PeerState::Active => "active",
        PeerState::Standby => "standby",
        PeerState::Lobby => "lobby",
        PeerState::Gone => "away",
    }
}

/// What was relayed, by class.
pub(super) fn traffic(counts: &[ClassCount; 4]) -> Vec<rpc::ClassTraffic> {
    TrafficClass::ALL
        .into_iter()
        .zip(counts)
        .map(|(class, count)| rpc::ClassTraffic {
            class: class.name().into(),
            frames_in: count.frames_in,
            bytes_in: count.bytes_in,
            frames_out: count.frames_out,
            bytes_out: count.bytes_out,
            dropped: count.dropped,
        })
        .collect()
}
