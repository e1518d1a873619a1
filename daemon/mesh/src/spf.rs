//! Shortest paths first: next hops and backup next hops from link state \[SPF-1\]. Pure; when to run is
//! [`crate::node`]'s.
//!
//! Equal paths are told apart by a number drawn from each edge's ends, so that all nodes agree on one shortest path for
//! each pair \[SPF-2\]. Then the hop-by-hop copies of a packet form a tree, whatever its egress set.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

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
    /// Out of reach: no path costs as much.
    const NONE: Distance = Distance { cost: u64::MAX, tie: u64::MAX };

    fn is_some(self) -> bool {
        self != Distance::NONE
    }

    fn plus(self, other: Distance) -> Distance {
        Distance { cost: self.cost + other.cost, tie: self.tie + other.tie }
    }
}

/// A half link, in the graph's own numbering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Edge {
    to: u32,
    length: Distance,
}

#[derive(Clone, Debug, Default)]
struct Graph {
    nodes: Vec<NodeNumber>,
    avoid: Vec<bool>,
    /// All edges, by the node from which they lead.
    edges: Vec<Edge>,
    /// Where each node's begin; one more for the end.
    starts: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Tree {
    /// Distance from the root, [`Distance::NONE`] out of reach.
    distances: Vec<Distance>,
    hops: Vec<u8>,
    /// The root's neighbour on the way.
    first: Vec<u32>,
    /// The node before, on the way.
    before: Vec<u32>,
}

/// What the last computation found. Most changes of link state touch few of a node's trees: the others are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    graph: Graph,
    /// By root.
    trees: BTreeMap<u32, Tree>,
}

/// An edge that is not what it was.
struct Changed {
    from: u32,
    to: u32,
    /// What it is now, [`Distance::NONE`] if it is gone.
    length: Distance,
}

/// Computes the routes of `me`; `vertices` ascend by number.
pub fn routes(me: NodeNumber, vertices: &[Vertex<'_>]) -> Routes {
    Memory::default().routes(me, vertices)
}

impl Memory {
    /// As [`routes`]; what was computed before is used where it still holds.
    pub(crate) fn routes(&mut self, me: NodeNumber, vertices: &[Vertex<'_>]) -> Routes {
        let graph = Graph::new(vertices);
        match graph.changed_since(&self.graph) {
            None => self.trees.clear(),
            Some(changed) => {
                self.trees.retain(|_, tree| !changed.iter().any(|edge| tree.is_touched(edge, &graph)));
            }
        }
        self.graph = graph;
        let graph = &self.graph;
        let Some(root) = graph.index(me) else { return Routes::default() };
        let neighbors = graph.edges_of(root);
        let roots = || std::iter::once(root as u32).chain(neighbors.iter().map(|edge| edge.to));
        self.trees.retain(|kept, _| roots().any(|root| root == *kept));
        for root in roots() {
            self.trees.entry(root).or_insert_with(|| graph.tree(root as usize));
        }
        let tree = &self.trees[&(root as u32)];
        let neighbor =
            |edge: &Edge| Neighbor { at: edge.to as usize, length: edge.length, tree: &self.trees[&edge.to] };
        let neighbors: Vec<Neighbor<'_>> = neighbors.iter().map(neighbor).collect();
        let mut routes = Vec::with_capacity(graph.nodes.len().saturating_sub(1));
        for (at, distance) in tree.distances.iter().enumerate() {
            if at == root || !distance.is_some() {
                continue;
            }
            let next_hop = tree.first[at] as usize;
            let (backup, protection) = backup(root, next_hop, at, *distance, &neighbors);
            routes.push(Route {
                destination: graph.nodes[at],
                next_hop: graph.nodes[next_hop],
                backup: backup.map(|neighbor| graph.nodes[neighbor]),
                protection,
                cost: (distance.cost % DRAIN_COST) as u32,
                hops: tree.hops[at],
            });
        }
        Routes { routes }
    }
}

/// The cost of the way from a node to each other, ascending by number, in tenths of a millisecond; itself at no cost. As
/// [`routes`], without what only the node itself needs.
pub fn distances(from: NodeNumber, vertices: &[Vertex<'_>]) -> Vec<(NodeNumber, u32)> {
    let graph = Graph::new(vertices);
    let Some(root) = graph.index(from) else { return Vec::new() };
    let distances = graph.tree(root).distances;
    let reached = graph.nodes.iter().zip(distances).filter(|(_, distance)| distance.is_some());
    reached.map(|(node, distance)| (*node, (distance.cost % DRAIN_COST) as u32)).collect()
}

/// A neighbour of the root, with the ways from there.
struct Neighbor<'a> {
    at: usize,
    length: Distance,
    tree: &'a Tree,
}

/// The best loop-free alternate \[SPF-4\] (RFC 5286, inequalities 1 and 3).
fn backup(
    root: usize,
    next_hop: usize,
    destination: usize,
    distance: Distance,
    neighbors: &[Neighbor<'_>],
) -> (Option<usize>, Protection) {
    let from_next_hop = neighbors
        .iter()
        .find(|neighbor| neighbor.at == next_hop)
        .map(|neighbor| neighbor.tree.distances[destination])
        .filter(|rest| rest.is_some());
    let mut best: Option<(Reverse<Protection>, Distance, usize)> = None;
    for Neighbor { at, length, tree } in neighbors.iter().filter(|neighbor| neighbor.at != next_hop) {
        let (onward, back) = (tree.distances[destination], tree.distances[root]);
        if !onward.is_some() || !back.is_some() || onward >= back.plus(distance) {
            continue;
        }
        let to_next_hop = tree.distances[next_hop];
        let around = next_hop != destination
            && to_next_hop.is_some()
            && from_next_hop.is_some_and(|rest| onward < to_next_hop.plus(rest));
        let protection = if around { Protection::Node } else { Protection::Link };
        let found = (Reverse(protection), length.plus(onward), *at);
        if best.is_none_or(|best| found < best) {
            best = Some(found);
        }
    }
    best.map_or((None, Protection::None), |(Reverse(protection), _, neighbor)| (Some(neighbor), protection))
}

impl Graph {
    fn new(vertices: &[Vertex<'_>]) -> Graph {
        let nodes: Vec<NodeNumber> = vertices.iter().map(|vertex| vertex.node).collect();
        // Looked up once for each half link: a table, as node numbers are small.
        let last = nodes.last().map_or(0, |node| usize::from(node.value()));
        let mut places: Vec<Option<u32>> = vec![None; last + 1];
        for (at, node) in nodes.iter().enumerate() {
            places[usize::from(node.value())] = Some(at as u32);
        }
        let place = |node: NodeNumber| places.get(usize::from(node.value())).copied().flatten();
        let back = |from: u32, to: NodeNumber| {
            let links = vertices[from as usize].links;
            links.binary_search_by_key(&to, |link| link.neighbor).ok().map(|at| links[at].cost)
        };
        let edge = |from: NodeNumber, link: &LsaLink| {
            let to = place(link.neighbor)?;
            let cost = back(to, from)?.max(link.cost);
            let (low, high) = (from.min(link.neighbor), from.max(link.neighbor));
            let tie = mix(u64::from(low.value()) << 32 | u64::from(high.value())) >> 16;
            Some(Edge { to, length: Distance { cost: u64::from(u32::from(cost) + HOP_COST), tie } })
        };
        let mut graph = Graph {
            avoid: vertices.iter().map(|vertex| vertex.avoid).collect(),
            edges: Vec::with_capacity(vertices.iter().map(|vertex| vertex.links.len()).sum()),
            starts: Vec::with_capacity(nodes.len() + 1),
            nodes,
        };
        for vertex in vertices {
            graph.starts.push(graph.edges.len() as u32);
            graph.edges.extend(vertex.links.iter().filter_map(|link| edge(vertex.node, link)));
        }
        graph.starts.push(graph.edges.len() as u32);
        graph
    }

    fn index(&self, node: NodeNumber) -> Option<usize> {
        self.nodes.binary_search(&node).ok()
    }

    fn edges_of(&self, at: usize) -> &[Edge] {
        &self.edges[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// Which edges are not as they were; `None` if nodes came, went or began to be avoided.
    fn changed_since(&self, before: &Graph) -> Option<Vec<Changed>> {
        if self.nodes != before.nodes || self.avoid != before.avoid {
            return None;
        }
        let mut changed = Vec::new();
        for from in 0..self.nodes.len() {
            let (now, was) = (self.edges_of(from), before.edges_of(from));
            if now == was {
                continue;
            }
            let gone = was.iter().filter(|edge| now.iter().all(|other| other.to != edge.to));
            let other = now.iter().filter(|edge| !was.contains(edge));
            let all = other.copied().chain(gone.map(|edge| Edge { length: Distance::NONE, ..*edge }));
            changed.extend(all.map(|Edge { to, length }| Changed { from: from as u32, to, length }));
        }
        Some(changed)
    }

    /// What passing through a node adds, unless the way begins there.
    fn through(&self, at: usize, root: usize) -> u64 {
        if self.avoid[at] && at != root { DRAIN_COST } else { 0 }
    }

    /// Dijkstra's algorithm.
    fn tree(&self, root: usize) -> Tree {
        let count = self.nodes.len();
        let mut tree = Tree {
            distances: vec![Distance::NONE; count],
            hops: vec![0; count],
            first: vec![root as u32; count],
            before: vec![root as u32; count],
        };
        let mut done = vec![false; count];
        let mut heap = BinaryHeap::with_capacity(count);
        heap.push(Reverse((Distance::default(), 0u8, root as u32)));
        tree.distances[root] = Distance::default();
        while let Some(Reverse((distance, hops, at))) = heap.pop() {
            let place = at as usize;
            if std::mem::replace(&mut done[place], true) {
                continue;
            }
            let through = self.through(place, root);
            for Edge { to, length } in self.edges_of(place) {
                let next = Distance { cost: distance.cost + through, ..distance }.plus(*length);
                let there = *to as usize;
                if !done[there] && next < tree.distances[there] {
                    let hops = hops.saturating_add(1);
                    tree.distances[there] = next;
                    tree.hops[there] = hops;
                    tree.before[there] = at;
                    tree.first[there] = if place == root { *to } else { tree.first[place] };
                    heap.push(Reverse((next, hops, *to)));
                }
            }
        }
        tree
    }
}

impl Tree {
    /// Whether a changed edge may change this tree: it is one of its own, or it makes a shorter way.
    fn is_touched(&self, edge: &Changed, graph: &Graph) -> bool {
        let (from, to) = (edge.from as usize, edge.to as usize);
        let (here, there) = (self.distances[from], self.distances[to]);
        let is_root = here == Distance::default();
        let is_own = there.is_some() && there != Distance::default() && self.before[to] == edge.from;
        if is_own || !here.is_some() || !edge.length.is_some() {
            return is_own;
        }
        let through = if is_root { 0 } else { graph.through(from, graph.nodes.len()) };
        Distance { cost: here.cost + through, ..here }.plus(edge.length) < there
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

    /// What is kept between two computations never shows: after any change, routes are those computed anew.
    #[test]
    fn memory_never_shows() {
        for seed in 0..40u64 {
            let count = 16u16;
            let draw = |what: u64| mix(seed << 40 | what);
            let mut costs: Vec<Vec<u16>> = (0..count)
                .map(|a| {
                    (0..count).map(|b| (draw(u64::from(a) << 8 | u64::from(b)) % 5) as u16 * 10).collect()
                })
                .collect();
            let mut avoid = vec![false; usize::from(count)];
            let mut memory = Memory::default();
            for step in 0..60 {
                let links: Vec<Vec<LsaLink>> = (0..count)
                    .map(|a| {
                        let others =
                            (0..count).filter(|b| *b != a && costs[usize::from(a)][usize::from(*b)] > 0);
                        let link = |b: u16| LsaLink {
                            neighbor: node(b + 1),
                            cost: costs[usize::from(a)][usize::from(b)],
                        };
                        others.map(link).collect()
                    })
                    .collect();
                let here =
                    |number: &u16| draw((u64::from(*number) << 16) | (step / 20)) % 9 > 0 || *number == 0;
                let vertices: Vec<Vertex<'_>> = (0..count)
                    .filter(here)
                    .map(|at| Vertex {
                        node: node(at + 1),
                        avoid: avoid[usize::from(at)],
                        links: &links[usize::from(at)],
                    })
                    .collect();
                assert_eq!(memory.routes(node(1), &vertices), routes(node(1), &vertices), "{seed}, {step}");
                // One or two half links change, in length or altogether; now and then a node drains.
                for change in 0..=draw(step << 20) % 2 {
                    let place = draw(step << 24 | change << 20 | 1);
                    let (a, b) =
                        (place as usize % usize::from(count), (place >> 8) as usize % usize::from(count));
                    let cost = ((place >> 16) % 5) as u16 * 10;
                    costs[a][b] = cost;
                    costs[b][a] = cost;
                }
                if draw(step << 28).is_multiple_of(10) {
                    let at = draw(step << 28 | 1) as usize % usize::from(count);
                    avoid[at] = !avoid[at];
                }
            }
        }
    }

    /// Of the trees those alone are computed again that a change may touch: none for a way that was long and is still, all
    /// that use an edge or would use it now.
    #[test]
    fn changes_touch_the_trees_that_use_them() {
        // 1 - 2 - 3 is short, 1 - 3 is long.
        let graph = |long: u16, short: u16| {
            let link = |number, cost| LsaLink { neighbor: node(number), cost };
            let links = [
                [link(2, 10), link(3, long)],
                [link(1, 10), link(3, short)],
                [link(1, long), link(2, short)],
            ];
            let vertex = |(number, links)| Vertex { node: node(number), avoid: false, links };
            let vertices: Vec<Vertex<'_>> =
                (1..).zip(&links).map(|(at, links)| vertex((at, &links[..]))).collect();
            Graph::new(&vertices)
        };
        let touched = |before: &Graph, after: &Graph| {
            let changed = after.changed_since(before).unwrap();
            [0, 1, 2].map(|root| {
                let tree = before.tree(root);
                changed.iter().any(|edge| tree.is_touched(edge, after))
            })
        };
        assert_eq!(touched(&graph(500, 10), &graph(500, 10)), [false; 3]);
        assert_eq!(touched(&graph(500, 10), &graph(490, 10)), [false; 3], "nobody goes that way");
        assert_eq!(touched(&graph(500, 10), &graph(500, 20)), [true; 3], "all do");
        assert_eq!(touched(&graph(500, 10), &graph(15, 10)), [true, false, true], "1 and 3 would now");
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
