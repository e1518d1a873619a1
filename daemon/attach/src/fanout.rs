//! Fan-out to the members on this node \[FWD-1\]: who gets a run, by the session's published view alone.

use proto_spec::SenderNumber;
use proto_spec::frame::Destination;

use crate::registry::RoomView;
use crate::run::{Forward, Run};

/// Hands a copy of the run to each receiver on this node and returns how many there were. `from_lobby` tells that the
/// sender is a guest, who reaches the leader named in its ticket and nobody else \[ATT-12\].
///
/// Never to the sender's own number; to guests only from their leader and only by name, never by "all".
pub fn deliver<H>(
    view: &RoomView<H>,
    sender: SenderNumber,
    from_lobby: bool,
    forward: Forward,
    mut push: impl FnMut(&H, Run),
) -> usize {
    let Forward { mut run, destination } = forward;
    let reaches_member = |number: SenderNumber| number != sender && destination.includes(number);
    let mut copies = view.members.iter().filter(|member| reaches_member(member.number)).count();
    let guests = match &destination {
        Destination::Members(list) if !from_lobby => view
            .guests
            .iter()
            .filter(|guest| guest.leader == sender && list.contains(&guest.number))
            .collect::<smallvec::SmallVec<[_; 4]>>(),
        _ => smallvec::SmallVec::new(),
    };
    copies += guests.len();
    if copies > 1 {
        run.set_shared();
    }
    // The last receiver gets the run itself, the others copies.
    let mut left = copies;
    let mut run = Some(run);
    let members =
        view.members.iter().filter(|member| reaches_member(member.number)).map(|member| &member.handle);
    for handle in members.chain(guests.iter().map(|guest| &guest.handle)) {
        left -= 1;
        let copy = if left == 0 { run.take() } else { run.clone() };
        push(handle, copy.expect("the run is given away with the last copy"));
    }
    copies
}
