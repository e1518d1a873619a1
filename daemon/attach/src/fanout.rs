//! Fan-out \[FWD-1\]: who gets a run, by the session's published view alone. To the members on this node, and to the
//! nodes where others are \[FWD-11\]; what comes from another node goes to the members here and no further \[FWD-12\].

use proto_spec::SenderNumber;
use proto_spec::egress::EgressSet;
use proto_spec::frame::Destination;
use proto_spec::membership::MemberKind;

use crate::counters::DropReason;
use crate::registry::{RoomView, ViewGuest, ViewMember};
use crate::run::{Forward, Run};

/// What became of a run of an endpoint here.
#[derive(Debug)]
pub struct Delivered {
    /// Receivers on this node.
    pub copies: usize,
    /// What goes on to other nodes.
    pub beyond: Option<Beyond>,
}

/// A run for other nodes.
#[derive(Debug)]
pub struct Beyond {
    /// The frames.
    pub run: Run,
    /// The nodes.
    pub egress: EgressSet,
}

impl Delivered {
    /// How often the run's bytes are charged \[FLW-4\]: a node counts as a receiver.
    pub fn charged_copies(&self) -> u64 {
        let nodes = self.beyond.as_ref().map_or(0, |beyond| beyond.egress.nodes().len());
        (self.copies + nodes) as u64
    }
}

/// Hands a copy of the run to each receiver on this node, and tells for which others it is. `from_lobby` tells that the
/// sender is a guest, who reaches the leader named in its ticket and nobody else \[ATT-12\].
///
/// Never to the sender's own number; to guests only from their leader and only by name, never by "all".
pub fn deliver<H>(
    view: &RoomView<H>,
    sender: SenderNumber,
    from_lobby: bool,
    forward: Forward,
    push: impl FnMut(&H, Run),
) -> Delivered {
    let Forward { run, destination } = forward;
    let egress = egress(view, sender, from_lobby, &destination);
    let members = view.members.iter().filter(|member| reaches(member, sender, &destination));
    let guests = view.guests.iter().filter(|guest| !from_lobby && reaches_guest(guest, sender, &destination));
    let receivers = members.map(|member| &member.handle).chain(guests.map(|guest| &guest.handle));
    let (copies, kept) = hand_out(receivers, run, egress.is_some(), push);
    Delivered { copies, beyond: kept.zip(egress).map(|(run, egress)| Beyond { run, egress }) }
}

/// Hands a run that came from another node to its receivers here and returns how many there were: by what is known of
/// the session, not by what the other node may think.
///
/// # Errors
/// [`DropReason::UnknownSender`] if the sender is not known to be in the session, [`DropReason::Unreachable`] if it
/// reaches nobody here.
pub fn deliver_arrived<H>(
    view: &RoomView<H>,
    forward: Forward,
    push: impl FnMut(&H, Run),
) -> Result<usize, DropReason> {
    let Forward { run, destination } = forward;
    let sender = run.sender();
    let is_guest = is_guest(view, sender).ok_or(DropReason::UnknownSender)?;
    // The guest's node holds it to the leader that its ticket names; what is no leader here is none of its business.
    let lets = |member: &&ViewMember<H>| !is_guest || (member.leads && is_one(&destination));
    let members = view.members.iter().filter(|member| reaches(member, sender, &destination)).filter(lets);
    let guests = view.guests.iter().filter(|guest| !is_guest && reaches_guest(guest, sender, &destination));
    let receivers = members.map(|member| &member.handle).chain(guests.map(|guest| &guest.handle));
    let (copies, _) = hand_out(receivers, run, false, push);
    if copies > 0 { Ok(copies) } else { Err(DropReason::Unreachable) }
}

/// A copy to each, the run itself to the last one; or back, if it is kept.
fn hand_out<'a, H: 'a>(
    receivers: impl Iterator<Item = &'a H> + Clone,
    mut run: Run,
    keep: bool,
    mut push: impl FnMut(&H, Run),
) -> (usize, Option<Run>) {
    let copies = receivers.clone().count();
    let mut left = copies + usize::from(keep);
    if left > 1 {
        run.set_shared();
    }
    let mut run = Some(run);
    for handle in receivers {
        left -= 1;
        let copy = if left == 0 { run.take() } else { run.clone() };
        push(handle, copy.expect("the run is given away with the last copy"));
    }
    (copies, run.filter(|_| keep))
}

fn reaches<H>(member: &ViewMember<H>, sender: SenderNumber, destination: &Destination) -> bool {
    member.number != sender && destination.includes(member.number)
}

fn reaches_guest<H>(guest: &ViewGuest<H>, sender: SenderNumber, destination: &Destination) -> bool {
    let named = matches!(destination, Destination::Members(list) if list.contains(&guest.number));
    named && guest.leader == sender
}

fn is_one(destination: &Destination) -> bool {
    matches!(destination, Destination::Members(list) if list.len() == 1)
}

/// The other nodes that a run of an endpoint here goes to.
fn egress<H>(
    view: &RoomView<H>,
    sender: SenderNumber,
    from_lobby: bool,
    destination: &Destination,
) -> Option<EgressSet> {
    match destination {
        _ if view.remote.is_empty() => None,
        Destination::All if from_lobby => None,
        Destination::All => view.egress.clone(),
        Destination::Members(list) => {
            let leads = view.members.iter().any(|member| member.number == sender && member.leads);
            let named = view.remote.iter().filter(|member| {
                let kind_fits = match member.kind {
                    MemberKind::Active => true,
                    MemberKind::Lobby => leads && !from_lobby,
                    MemberKind::Standby => false,
                };
                kind_fits && member.number != sender && list.contains(&member.number)
            });
            EgressSet::new(named.map(|member| member.node))
        }
    }
}

/// Whether a sender elsewhere is a guest; `None` if it is not known to be in the session. One that has just moved may
/// still be known as attached here, one that has just taken over as a standby.
fn is_guest<H>(view: &RoomView<H>, sender: SenderNumber) -> Option<bool> {
    let elsewhere = view.remote.iter().filter(|member| member.number == sender);
    let mut guest = view.guests.iter().any(|guest| guest.number == sender).then_some(true);
    for member in elsewhere {
        guest = Some(guest.unwrap_or(true) && member.kind == MemberKind::Lobby);
    }
    if view.members.iter().any(|member| member.number == sender) { Some(false) } else { guest }
}
