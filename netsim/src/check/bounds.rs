//! Property 6: every bound holds at every instant. A core's own sizes are looked at after each input (in the world); here
//! is what its shell holds: attachments, queues, queue memory.

use proto_spec::{NodeNumber, TrafficClass};
use sealcast_attach::config::RUN_LENGTH_MAX;

use super::Property;
use crate::sim::World;

impl World {
    /// Looks at what a node holds of its endpoints, after anything happened to one of them.
    pub(crate) fn check_bounds(&mut self, at: NodeNumber) {
        let Some(gateway) = self.people.gateway(at) else { return };
        let (registered, connected) = (gateway.registered(), gateway.connections());
        let limits = gateway.limits();
        let mut found = Vec::new();
        if registered > limits.attachments_max {
            found.push(format!("{registered} attachments, {} are allowed", limits.attachments_max));
        }
        if registered > connected {
            found.push(format!("{registered} attachments in its registry, and {connected} connections"));
        }
        if gateway.queue_bytes() > limits.node_queue_bytes_max {
            found.push(format!("{} bytes in its queues", gateway.queue_bytes()));
        }
        for class in TrafficClass::ALL {
            let most = limits.class(class).queue_bytes + RUN_LENGTH_MAX;
            let longest = gateway.longest_queue(class);
            if longest > most {
                found.push(format!("{longest} bytes of class {} for one endpoint", class.name()));
            }
        }
        for what in found {
            self.violated(Property::Bounds, format!("node {at} holds {what}"));
        }
    }
}
