//! Each checker is proven: a bug planted in the simulated shell is found within a bounded number of seeds, by the checker
//! whose matter it is.

use netsim::check::Property;
use netsim::play::Options;
use netsim::sim::Bug;
use netsim::soak::{Ending, attempt};

/// Seeds that a bug may stay hidden for.
const SEEDS_MAX: u64 = 25;

fn is_found(bug: Bug, people: bool, property: Property) {
    let seeds = (0..).filter(|seed| (seed % 4 == 3) == people).take(SEEDS_MAX as usize);
    for (tried, seed) in (1..).zip(seeds) {
        let Ending::Reported(report) = attempt(Options { seed, bug: Some(bug), ..Options::default() }) else {
            continue;
        };
        let by_it = |what: &String| what.starts_with(property.name());
        if let Some(what) = report.violations.iter().find(|what| by_it(what)) {
            assert!(what.contains(&format!("seed {seed}")) && what.contains(" at "), "{what}");
            println!("{}: found by seed {seed}, number {tried} of those tried", bug.name());
            return;
        }
    }
    panic!("{} stayed hidden for {SEEDS_MAX} seeds", bug.name());
}

#[test]
fn a_wrong_next_hop_is_found() {
    is_found(Bug::WrongNextHop, false, Property::CopyTree);
}

#[test]
fn a_unit_handled_twice_is_found() {
    is_found(Bug::SkipDedup, false, Property::CopyTree);
}

#[test]
fn delivery_to_a_node_without_members_is_found() {
    is_found(Bug::DeliverToStranger, false, Property::Members);
}

#[test]
fn delivery_to_an_endpoint_of_another_session_is_found() {
    is_found(Bug::DeliverToStranger, true, Property::Members);
}

#[test]
fn a_forgotten_member_is_found() {
    is_found(Bug::ForgetMember, false, Property::Convergence);
}

#[test]
fn a_stale_lsa_that_is_accepted_is_found() {
    is_found(Bug::AcceptStaleLsa, false, Property::Convergence);
}

#[test]
fn a_lost_line_is_found() {
    is_found(Bug::DropReliable, true, Property::Delivery);
}

#[test]
fn a_line_shown_twice_is_found() {
    is_found(Bug::DeliverTwice, true, Property::Delivery);
}

#[test]
fn lines_in_the_wrong_order_are_found() {
    is_found(Bug::Reorder, true, Property::Delivery);
}

#[test]
fn endpoints_that_move_without_a_reason_are_found() {
    is_found(Bug::MoveOthers, false, Property::Moves);
    is_found(Bug::MoveOthers, true, Property::Moves);
}

#[test]
fn attachments_that_stay_behind_are_found() {
    is_found(Bug::ForgetToLeave, true, Property::Bounds);
}

#[test]
fn a_session_without_its_owner_is_found() {
    is_found(Bug::OrphanSession, true, Property::Sessions);
}

#[test]
fn a_number_that_is_given_twice_is_found() {
    is_found(Bug::ForgetLookup, true, Property::Sessions);
}

#[test]
fn passwords_without_a_lock_out_are_found() {
    is_found(Bug::ForgetLockout, true, Property::Lockout);
}

#[test]
fn look_ups_without_a_limit_are_found() {
    is_found(Bug::ForgetLimits, true, Property::Lockout);
}

#[test]
fn an_admission_without_a_ticket_is_found() {
    is_found(Bug::AdmitWithoutTicket, true, Property::Tickets);
}

#[test]
fn a_lobby_that_hears_what_members_hear_is_found() {
    is_found(Bug::LobbyHearsAll, true, Property::Lobby);
}

#[test]
fn a_nonce_that_is_used_twice_is_found() {
    is_found(Bug::ReuseNonce, true, Property::Nonces);
}

#[test]
fn a_removed_member_that_goes_on_reading_is_found() {
    is_found(Bug::KeepRemoved, true, Property::Removed);
}
