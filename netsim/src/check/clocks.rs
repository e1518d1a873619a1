//! A clock that jumped is told of by name \[TRK-11\]: whoever refuses a trunk for it says whose clock is the odd one, and
//! never that of a node which most others agree with.

use std::collections::BTreeMap;

use proto_spec::NodeNumber;
use sealcast_mesh::Alarm;
use sealcast_mesh::config::CLOCK_LEEWAY;

use super::Property;
use crate::sim::World;

impl World {
    /// Looks at the alarms in force, once nodes have had time to try their trunks.
    pub(crate) fn check_clocks(&mut self) {
        let live = self.live();
        let offset = |number: NodeNumber| self.hosts[&number].wall_offset_ms;
        let agree = |a, b| u128::from(offset(a).abs_diff(offset(b))) <= CLOCK_LEEWAY.as_millis();
        let is_odd = |number| live.iter().filter(|other| agree(number, **other)).count() * 2 <= live.len();
        let mut found = Vec::new();
        for number in &live {
            // Of several alarms about one node the newest counts.
            let alarms = self.hosts[number].alarms.iter().filter_map(|alarm| match alarm {
                Alarm::Clock { odd, peer, .. } => Some((*peer, *odd)),
                _ => None,
            });
            for (peer, odd) in alarms.collect::<BTreeMap<_, _>>() {
                match odd {
                    Some(odd) if !is_odd(odd) => found.push(format!(
                        "node {number} says that the clock of node {odd} is wrong, and it is right"
                    )),
                    None if is_odd(peer) != is_odd(*number) && live.len() > 2 => {
                        found.push(format!(
                            "node {number} cannot tell whose clock is wrong, its own or node {peer}'s"
                        ));
                    }
                    _ => {}
                }
            }
        }
        for number in live.iter().filter(|number| is_odd(**number) && self.trunk_peers(**number).is_empty()) {
            let names = |alarm: &Alarm| matches!(alarm, Alarm::Clock { odd: Some(odd), .. } if odd == number);
            if live.len() > 2 && !live.iter().any(|at| self.hosts[at].alarms.iter().any(names)) {
                found.push(format!(
                    "nobody says that the clock of node {number} is wrong, which has no trunk for it"
                ));
            }
        }
        for what in found {
            self.violated(Property::Clocks, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sim::{Plan, node};

    fn world() -> World {
        let mut world = World::started(Plan::with_ways(2, 4, (2_000, 2_000)));
        if let Some(host) = world.hosts.get_mut(&node(3)) {
            host.wall_offset_ms = 3_600_000;
        }
        world.kill(node(3));
        world.start(node(3));
        world.run_for(Duration::from_secs(30));
        world
    }

    /// \[TRK-11\]: an hour ahead, it gets no trunk; all know whose clock it is, and forget it when that is set.
    #[test]
    fn an_odd_clock_is_named_until_it_is_set() {
        let mut world = world();
        assert_eq!(world.node(1).roster().len(), 3);
        for number in [1, 2, 3, 4] {
            let named =
                |alarm: &Alarm| matches!(alarm, Alarm::Clock { odd: Some(odd), .. } if *odd == node(3));
            assert!(world.host(number).alarms.iter().any(named), "node {number}");
        }
        world.check_clocks();
        assert!(world.violations.is_empty(), "{:?}", world.violations);
        if let Some(host) = world.hosts.get_mut(&node(3)) {
            host.wall_offset_ms = 0;
        }
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.node(1).roster().len(), 4);
        assert!(world.hosts.values().all(|host| host.alarms.is_empty()));
    }

    /// The checker notices who is blamed wrongly, and who is not named.
    #[test]
    fn a_wrong_word_is_noticed() {
        for (odd, words) in [(Some(node(2)), "clock of node 2 is wrong"), (None, "cannot tell")] {
            let mut world = world();
            if let Some(host) = world.hosts.get_mut(&node(1)) {
                host.alarms = vec![Alarm::Clock { odd, peer: node(3), offset_ms: 3_600_000 }];
            }
            world.check_clocks();
            assert!(world.violations.iter().any(|violation| violation.what.contains(words)));
        }
        let mut world = world();
        world.hosts.values_mut().for_each(|host| host.alarms.clear());
        world.check_clocks();
        assert!(world.violations.iter().any(|violation| violation.what.contains("nobody says")));
    }
}
