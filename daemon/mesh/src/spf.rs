//! Shortest paths first: next hops and backup next hops from link state \[SPF-1\]. Pure; when to run is
//! [`crate::node`]'s.
//!
//! Equal paths are told apart by a number drawn from each edge's ends, so that all nodes agree on one shortest path for
//! each pair \[SPF-2\]. Then the hop-by-hop copies of a packet form a tree, whatever its egress set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proto_spec::NodeNumber;
use proto_spec::lsa::LsaLink;
use serde::{Deserialize, Serialize};

use crate::config::HOP_COST;
use crate::home::mix;

/// Added to the way through a node that drains \[SPF-5\]: more than any path costs.
const DRAIN_COST: u64 = 1 << 32;

/// What a backup next hop survives (RFC 5286).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Protection {
    /// Nothing: there is no backup.
    None,
    /// The loss of the link to the next hop.
    Link,
    /// The loss of the next hop itself.
    Node,
}

/// How to reach one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The node.
    pub destination: NodeNumber,
    /// The neighbour on the shortest path.
    pub next_hop: NodeNumber,
    /// Another neighbour whose own way does not lead back.
    pub backup: Option<NodeNumber>,
    /// What the backup is good for.
    pub protection: Protection,
    /// The path's cost in tenths of a millisecond, ways through draining nodes at their true cost.
    pub cost: u32,
    /// Its hops.
    pub hops: u8,
}

/// All routes of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Routes {
    /// Ascending by destination; the node itself is not among them.
    routes: Vec<Route>,
}

/// For how many destinations there is a backup, and which \[SPF-4\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Destinations with a node-protecting backup.
    pub node: usize,
    /// Destinations with a link-protecting one only.
    pub link: usize,
    /// Destinations without any.
    pub none: usize,
}

impl Routes {
    /// The route to a node.
    pub fn get(&self, destination: NodeNumber) -> Option<&Route> {
        let at = self.routes.binary_search_by_key(&destination, |route| route.destination).ok()?;
        Some(&self.routes[at])
    }

    /// All of them, ascending by destination.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Cost of the way to a node, `None` if there is none.
    pub fn distance(&self, destination: NodeNumber) -> Option<u32> {
        self.get(destination).map(|route| route.cost)
    }

    /// How well next hops are backed up.
    pub fn coverage(&self) -> Coverage {
        let count = |protection| self.routes.iter().filter(|route| route.protection == protection).count();
        Coverage {
            node: count(Protection::Node),
            link: count(Protection::Link),
            none: count(Protection::None),
        }
    }
}

/// One node of the graph, as its LSA describes it.
#[derive(Clone, Copy, Debug)]
pub struct Vertex<'a> {
    /// Its number.
    pub node: NodeNumber,
    /// Whether ways should not lead through it.
    pub avoid: bool,
    /// Its links, ascending by neighbour.
    pub links: &'a [LsaLink],
}

/// Cost, then what tells equal costs apart. Sums compare as their parts do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Distance {
    cost: u64,
    tie: u64,
}

impl Distance {
    fn plus(self, other: Distance) -> Distance {
        Distance { cost: self.cost + other.cost, tie: self.tie + other.tie }
    }
}

struct Graph {
    nodes: Vec<NodeNumber>,
    avoid: Vec<bool>,
    edges: Vec<Vec<(usize, Distance)>>,
}

struct Tree {
    /// Distance and hops from the root, `None` out of reach.
    reached: Vec<Option<(Distance, u8)>>,
    /// The root's neighbour on the way.
    first: Vec<usize>,
}

/// Computes the routes of `me`; `vertices` ascend by number.
pub fn routes(me: NodeNumber, vertices: &[Vertex<'_>]) -> Routes {
    let graph = Graph::new(vertices);
    let Some(root) = graph.index(me) else { return Routes::default() };
    let tree = graph.tree(root);
    let neighbors: Vec<(usize, Distance, Tree)> =
        graph.edges[root].iter().map(|(neighbor, edge)| (*neighbor, *edge, graph.tree(*neighbor))).collect();
    let mut routes = Vec::with_capacity(graph.nodes.len().saturating_sub(1));
    for (at, reached) in tree.reached.iter().enumerate() {
        let Some((distance, hops)) = reached.filter(|_| at != root) else { continue };
        let (backup, protection) = backup(root, tree.first[at], at, distance, &neighbors);
        routes.push(Route {
            destination: graph.nodes[at],
            next_hop: graph.nodes[tree.first[at]],
            backup: backup.map(|neighbor| graph.nodes[neighbor]),
            protection,
            cost: (distance.cost % DRAIN_COST) as u32,
            hops,
        });
    }
    Routes { routes }
}

/// The cost of the way from a node to each other, ascending by number, in tenths of a millisecond; itself at no cost. As
/// [`routes`], without what only the node itself needs.
pub fn distances(from: NodeNumber, vertices: &[Vertex<'_>]) -> Vec<(NodeNumber, u32)> {
    let graph = Graph::new(vertices);
    let Some(root) = graph.index(from) else { return Vec::new() };
    let reached = graph.tree(root).reached;
    let cost = |distance: Distance| (distance.cost % DRAIN_COST) as u32;
    graph.nodes.iter().zip(reached).filter_map(|(node, reached)| Some((*node, cost(reached?.0)))).collect()
}

/// The best loop-free alternate \[SPF-4\] (RFC 5286, inequalities 1 and 3).
fn backup(
    root: usize,
    next_hop: usize,
    destination: usize,
    distance: Distance,
    neighbors: &[(usize, Distance, Tree)],
) -> (Option<usize>, Protection) {
    let at = |tree: &Tree, node: usize| tree.reached[node].map(|(distance, _)| distance);
    let from_next_hop = neighbors
        .iter()
        .find(|(neighbor, ..)| *neighbor == next_hop)
        .and_then(|(_, _, tree)| at(tree, destination));
    let mut best: Option<(Reverse<Protection>, Distance, usize)> = None;
    for (neighbor, edge, tree) in neighbors.iter().filter(|(neighbor, ..)| *neighbor != next_hop) {
        let (Some(onward), Some(back)) = (at(tree, destination), at(tree, root)) else { continue };
        if onward >= back.plus(distance) {
            continue;
        }
        let around = match (at(tree, next_hop), from_next_hop) {
            (Some(to_next_hop), Some(rest)) if next_hop != destination => onward < to_next_hop.plus(rest),
            _ => false,
        };
        let protection = if around { Protection::Node } else { Protection::Link };
        let found = (Reverse(protection), edge.plus(onward), *neighbor);
        if best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    }
    best.map_or((None, Protection::None), |(Reverse(protection), _, neighbor)| (Some(neighbor), protection))
}

impl Graph {
    fn new(vertices: &[Vertex<'_>]) -> Graph {
        let nodes: Vec<NodeNumber> = vertices.iter().map(|vertex| vertex.node).collect();
        let back = |from: usize, to: NodeNumber| {
            let links = vertices[from].links;
            links.binary_search_by_key(&to, |link| link.neighbor).ok().map(|at| links[at].cost)
        };
        let edges = vertices
            .iter()
            .map(|vertex| {
                let edge = |link: &LsaLink| {
                    let to = nodes.binary_search(&link.neighbor).ok()?;
                    let cost = back(to, vertex.node)?.max(link.cost);
                    let (low, high) = (vertex.node.min(link.neighbor), vertex.node.max(link.neighbor));
                    let tie = mix(u64::from(low.value()) << 32 | u64::from(high.value())) >> 16;
                    Some((to, Distance { cost: u64::from(u32::from(cost) + HOP_COST), tie }))
                };
                vertex.links.iter().filter_map(edge).collect()
            })
            .collect();
        Graph { nodes, avoid: vertices.iter().map(|vertex| vertex.avoid).collect(), edges }
    }

    fn index(&self, node: NodeNumber) -> Option<usize> {
        self.nodes.binary_search(&node).ok()
    }

    fn tree(&self, root: usize) -> Tree {
        let count = self.nodes.len();
        let mut tree = Tree { reached: vec![None; count], first: vec![root; count] };
        let mut done = vec![false; count];
        let mut heap = BinaryHeap::from([Reverse((Distance::default(), 0u8, root))]);
        tree.reached[root] = Some((Distance::default(), 0));
        while let Some(Reverse((distance, hops, at))) = heap.pop() {
            if std::mem::replace(&mut done[at], true) {
                continue;
            }
            let through = if self.avoid[at] && at != root { DRAIN_COST } else { 0 };
            for (to, edge) in &self.edges[at] {
                let mut next = distance.plus(*edge);
                next.cost += through;
                if !done[*to] && tree.reached[*to].is_none_or(|(known, _)| next < known) {
                    let hops = hops.saturating_add(1);
                    tree.reached[*to] = Some((next, hops));
                    tree.first[*to] = if at == root { *to } else { tree.first[at] };
                    heap.push(Reverse((next, hops, *to)));
                }
            }
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    /// Vertices 1..=count from directed half links `(from, to, cost)`.
    fn compute(me: u16, count: u16, halves: &[(u16, u16, u16)], avoid: &[u16]) -> Routes {
        let links: Vec<Vec<LsaLink>> = (1..=count)
            .map(|from| {
                let mut links: Vec<LsaLink> = halves
                    .iter()
                    .filter(|half| half.0 == from)
                    .map(|half| LsaLink { neighbor: node(half.1), cost: half.2 })
                    .collect();
                links.sort_by_key(|link| link.neighbor);
                links
            })
            .collect();
        let vertices: Vec<Vertex<'_>> = (1..=count)
            .map(|number| Vertex {
                node: node(number),
                avoid: avoid.contains(&number),
                links: &links[usize::from(number) - 1],
            })
            .collect();
        routes(node(me), &vertices)
    }

    fn both(links: &[(u16, u16, u16)]) -> Vec<(u16, u16, u16)> {
        links.iter().flat_map(|(a, b, cost)| [(*a, *b, *cost), (*b, *a, *cost)]).collect()
    }

    /// \[SPF-1\]: a link that one end alone lists does not count; of two costs the larger does.
    #[test]
    fn links_count_when_both_ends_list_them() {
        let routes = compute(1, 3, &[(1, 2, 10), (2, 1, 30), (2, 3, 10)], &[]);
        assert_eq!(routes.get(node(2)).unwrap().cost, 40);
        assert_eq!(routes.get(node(3)), None);
    }

    /// \[SPF-1\]: distances are those of the routes.
    #[test]
    fn distances_are_those_of_routes() {
        let links = both(&[(1, 2, 10), (2, 3, 30), (1, 3, 100)]);
        let routes = compute(1, 4, &links, &[]);
        let by_node: Vec<Vec<LsaLink>> = (1..=4)
            .map(|from| {
                let own = links.iter().filter(|half| half.0 == from);
                let mut own: Vec<LsaLink> =
                    own.map(|half| LsaLink { neighbor: node(half.1), cost: half.2 }).collect();
                own.sort_by_key(|link| link.neighbor);
                own
            })
            .collect();
        let vertices: Vec<Vertex<'_>> = by_node
            .iter()
            .zip(1..)
            .map(|(links, number)| Vertex { node: node(number), avoid: false, links })
            .collect();
        let found = distances(node(1), &vertices);
        assert_eq!(found[0], (node(1), 0));
        assert_eq!(found.len(), 3, "4 is out of reach");
        assert!(found[1..].iter().all(|(to, cost)| routes.distance(*to) == Some(*cost)), "{found:?}");
    }

    /// \[SPF-4\]: a triangle protects its links, a square with a chord its nodes too, a line nothing.
    #[test]
    fn backups_protect_what_they_can() {
        let line = compute(1, 3, &both(&[(1, 2, 10), (2, 3, 10)]), &[]);
        assert_eq!(line.coverage(), Coverage { none: 2, ..Coverage::default() });
        let triangle = compute(1, 3, &both(&[(1, 2, 10), (2, 3, 10), (1, 3, 10)]), &[]);
        assert_eq!(triangle.coverage(), Coverage { link: 2, ..Coverage::default() });
        assert_eq!(triangle.get(node(2)).unwrap().backup, Some(node(3)));
        // 1 reaches 4 over 2; 3 is another way that does not touch 2.
        let square = compute(1, 4, &both(&[(1, 2, 10), (2, 4, 10), (1, 3, 15), (3, 4, 15)]), &[]);
        let to_4 = square.get(node(4)).unwrap();
        assert_eq!((to_4.next_hop, to_4.backup, to_4.protection), (node(2), Some(node(3)), Protection::Node));
    }

    /// \[SPF-5\]: ways avoid a draining node while there is another, and use it when there is none.
    #[test]
    fn draining_nodes_are_avoided() {
        let links = both(&[(1, 2, 10), (2, 4, 10), (1, 3, 500), (3, 4, 500), (2, 5, 10)]);
        let routes = compute(1, 5, &links, &[2]);
        assert_eq!(routes.get(node(4)).unwrap().next_hop, node(3));
        assert_eq!(routes.get(node(5)).unwrap().next_hop, node(2));
        assert_eq!(routes.get(node(5)).unwrap().cost, 40, "at its true cost");
        assert_eq!(routes.get(node(2)).unwrap().next_hop, node(2));
    }

    /// Sends from every node to all others, hop by hop, and holds that each node is reached once.
    fn assert_trees(count: u16, links: &[(u16, u16, u16)]) {
        let links = both(links);
        let tables: Vec<Routes> = (1..=count).map(|me| compute(me, count, &links, &[])).collect();
        for start in 1..=count {
            let all: Vec<u16> = (1..=count).filter(|other| *other != start).collect();
            let mut visited = std::collections::BTreeSet::new();
            let mut copies = vec![(start, all)];
            while let Some((at, egress)) = copies.pop() {
                assert!(visited.insert(at), "from {start}: {at} is reached twice");
                let mut onward: std::collections::BTreeMap<u16, Vec<u16>> = Default::default();
                for destination in egress.into_iter().filter(|destination| *destination != at) {
                    let route = tables[usize::from(at) - 1].get(node(destination)).unwrap();
                    onward.entry(route.next_hop.value()).or_default().push(destination);
                }
                copies.extend(onward);
            }
            assert_eq!(visited.len(), usize::from(count));
        }
    }

    /// \[SPF-2\]: in grids and random graphs of few costs, where shortest paths abound, the copies for all nodes form one
    /// tree.
    #[test]
    fn equal_paths_still_make_one_tree() {
        let side = 5u16;
        let mut grid = Vec::new();
        for row in 0..side {
            for column in 0..side {
                let at = row * side + column + 1;
                if column + 1 < side {
                    grid.push((at, at + 1, 10));
                }
                if row + 1 < side {
                    grid.push((at, at + side, 10));
                }
            }
        }
        assert_trees(side * side, &grid);
        for seed in 0..100u64 {
            let count = 14u16;
            // Numbers in no order along the backbone, so that no order of numbers helps.
            let place = |at: u16| (at * 5 + seed as u16) % count + 1;
            let mut links = Vec::new();
            for a in 0..count {
                for b in a + 1..count {
                    let draw = mix(seed << 32 | u64::from(a) << 16 | u64::from(b));
                    if b == a + 1 || draw.is_multiple_of(4) {
                        // With the cost of the hop 20 or 40: one long link equals two short ones.
                        links.push((place(a), place(b), if draw & 32 == 0 { 10 } else { 30 }));
                    }
                }
            }
            assert_trees(count, &links);
        }
    }

    /// \[SPF-4\]: in random graphs, following a backup and then everybody's next hops never comes back.
    #[test]
    fn backups_never_lead_back() {
        for seed in 0..30u64 {
            let count = 12u16;
            let mut links = Vec::new();
            for a in 1..=count {
                for b in a + 1..=count {
                    let draw = mix(seed << 32 | u64::from(a) << 16 | u64::from(b));
                    if b == a + 1 || draw.is_multiple_of(5) {
                        links.push((a, b, (draw >> 8) as u16 % 200));
                    }
                }
            }
            let links = both(&links);
            let tables: Vec<Routes> = (1..=count).map(|me| compute(me, count, &links, &[])).collect();
            for me in 1..=count {
                for route in tables[usize::from(me) - 1].iter() {
                    let Some(mut at) = route.backup else { continue };
                    let mut hops = 0;
                    while at != route.destination {
                        assert_ne!(at.value(), me, "seed {seed}: {me} to {}", route.destination);
                        if route.protection == Protection::Node {
                            assert_ne!(at, route.next_hop, "seed {seed}: through the failed node");
                        }
                        at = tables[usize::from(at.value()) - 1].get(route.destination).unwrap().next_hop;
                        hops += 1;
                        assert!(hops < 20);
                    }
                }
            }
        }
    }
}
