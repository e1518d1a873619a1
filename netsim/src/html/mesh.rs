//! The mesh on a ring: nodes by region, links with their round trips, loads as sizes, what is dead or leaving marked.
//!
//! A diagram, not a chart: written as SVG by itself. Angles are `libm`'s, so that a page is the same on every platform.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use proto_spec::NodeNumber;

use super::page::{clock, escaped};
use crate::record::{NodePicture, NodeState, Picture};
use crate::scenario::Scenario;

/// The side of the square, in units.
const SIDE: f64 = 340.0;
const CENTER: f64 = SIDE / 2.0;
/// Where nodes stand.
const RING: f64 = 112.0;
/// Where a region's arc runs, and where its name stands.
const ARC: f64 = 142.0;
const NAME: f64 = 156.0;
/// The largest node's radius, if there is room.
const RADIUS_MAX: f64 = 17.0;
/// Links that are drawn; of more than that every second, third and so on.
const LINKS_MAX: usize = 600;
/// Pairs of regions whose round trip is written: of more, none is, they would hide each other.
const PAIRS_MAX: usize = 6;

/// A moment's picture, what it is called, and what it tells those who do not see it.
pub(super) struct Ring {
    pub(super) svg: String,
    pub(super) caption: String,
}

/// The mesh at one moment; `most` is the highest load of all pictures that are looked at together.
pub(super) fn ring(scenario: &Scenario, picture: &Picture, most: u64) -> Ring {
    let places = Places::of(scenario);
    let out_of_service: Vec<String> = picture
        .nodes
        .iter()
        .filter(|node| node.state != NodeState::Serving)
        .map(|node| format!("node {} {}", node.number, word(node.state)))
        .collect();
    let state = match out_of_service.len() {
        0 => "all nodes serve".to_owned(),
        1..=4 => out_of_service.join(", "),
        many => format!("{many} of {} nodes do not serve", picture.nodes.len()),
    };
    let links = match picture.links.len() {
        1 => "1 link".to_owned(),
        count => format!("{count} links"),
    };
    let caption = format!("<b>{}</b> {state}; {links}", clock(picture.at_ms));
    let about = format!("The mesh at {}: {state}; {links}.", clock(picture.at_ms));
    let mut svg = format!(
        "<svg class=\"ring\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(&about)
    );
    draw_links(&mut svg, picture, &places);
    draw_regions(&mut svg, scenario, &places);
    for node in &picture.nodes {
        draw_node(&mut svg, scenario, &places, node, most);
    }
    draw_round_trips(&mut svg, scenario, picture, &places);
    svg.push_str("</svg>\n");
    Ring { svg, caption }
}

/// The states that these pictures show, for a legend.
pub(super) fn states<'a>(pictures: impl Iterator<Item = &'a Picture>) -> Vec<NodeState> {
    let mut found: Vec<NodeState> =
        pictures.flat_map(|picture| &picture.nodes).map(|node| node.state).collect();
    found.sort_by_key(|state| (*state != NodeState::Serving, class(*state)));
    found.dedup();
    found
}

/// As a word after "node 3".
pub(super) const fn word(state: NodeState) -> &'static str {
    match state {
        NodeState::Serving => "serves",
        NodeState::Draining => "drains",
        NodeState::Paused => "stands still",
        NodeState::Dead => "is dead",
    }
}

/// As a class of the style sheet.
pub(super) const fn class(state: NodeState) -> &'static str {
    match state {
        NodeState::Serving => "serving",
        NodeState::Draining => "draining",
        NodeState::Paused => "paused",
        NodeState::Dead => "dead",
    }
}

/// Where everything stands, as turns from the top, clockwise.
struct Places {
    nodes: BTreeMap<NodeNumber, f64>,
    /// From where to where each region with nodes goes.
    regions: BTreeMap<usize, (f64, f64)>,
    radius: f64,
}

impl Places {
    /// Regions in their order, with a gap between; the first is centred at the top.
    fn of(scenario: &Scenario) -> Places {
        let mut by_region: BTreeMap<usize, Vec<NodeNumber>> = BTreeMap::new();
        for node in &scenario.nodes {
            by_region.entry(node.region).or_default().push(node.number);
        }
        let gap = (scenario.nodes.len() as f64 / by_region.len() as f64 / 2.0).max(0.6);
        let slots = scenario.nodes.len() as f64 + gap * by_region.len() as f64;
        let first = by_region.values().next().map_or(0, Vec::len) as f64;
        let mut places = Places {
            nodes: BTreeMap::new(),
            regions: BTreeMap::new(),
            radius: (TAU * RING / slots * 0.42).min(RADIUS_MAX),
        };
        let mut at = -first / 2.0;
        for (region, numbers) in by_region {
            let start = at;
            for number in numbers {
                places.nodes.insert(number, (at + 0.5) / slots);
                at += 1.0;
            }
            places.regions.insert(region, (start / slots, at / slots));
            at += gap;
        }
        places
    }

    fn middle(&self, region: usize) -> Option<f64> {
        self.regions.get(&region).map(|(start, end)| f64::midpoint(*start, *end))
    }

    fn node(&self, number: NodeNumber) -> (f64, f64) {
        at(self.nodes.get(&number).copied().unwrap_or(0.0), RING)
    }
}

fn at(turn: f64, radius: f64) -> (f64, f64) {
    let angle = (turn - 0.25) * TAU;
    (CENTER + radius * libm::cos(angle), CENTER + radius * libm::sin(angle))
}

fn draw_links(svg: &mut String, picture: &Picture, places: &Places) {
    let step = picture.links.len().div_ceil(LINKS_MAX).max(1);
    svg.push_str("<g class=\"links\">\n");
    for (a, b, rtt_us) in picture.links.iter().step_by(step) {
        let ((x1, y1), (x2, y2)) = (places.node(*a), places.node(*b));
        // Bent towards the centre, so that links of neighbours on the ring are seen as well.
        let bent = |one: f64, other: f64| f64::midpoint(one, other) * 0.7 + CENTER * 0.3;
        let (x, y) = (bent(x1, x2), bent(y1, y2));
        let _ = writeln!(
            svg,
            "<path d=\"M{x1:.1},{y1:.1} Q{x:.1},{y:.1} {x2:.1},{y2:.1}\"><title>{a} to {b}: {}</title></path>",
            milliseconds(*rtt_us)
        );
    }
    svg.push_str("</g>\n");
}

fn draw_regions(svg: &mut String, scenario: &Scenario, places: &Places) {
    for (region, (start, end)) in &places.regions {
        let ((x1, y1), (x2, y2)) = (at(*start, ARC), at(*end, ARC));
        let large = u8::from(end - start > 0.5);
        let _ = writeln!(
            svg,
            "<path class=\"arc r{}\" d=\"M{x1:.1},{y1:.1} A{ARC},{ARC} 0 {large} 1 {x2:.1},{y2:.1}\"/>",
            region % 8
        );
        let middle = f64::midpoint(*start, *end);
        let (x, y) = at(middle, NAME);
        // A name to the side of the ring is turned towards it, so that it stays within the square.
        let side = libm::sin(middle * TAU);
        let turn = if side.abs() > 0.35 { if side > 0.0 { 90 } else { -90 } } else { 0 };
        let _ = writeln!(
            svg,
            "<text class=\"region\" x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\" transform=\"rotate({turn} {x:.1} {y:.1})\">{}</text>",
            escaped(&scenario.regions[*region])
        );
    }
}

fn draw_node(svg: &mut String, scenario: &Scenario, places: &Places, node: &NodePicture, most: u64) {
    let NodePicture { number, state, attachments } = *node;
    let region = scenario.node(number).map_or(0, |plan| plan.region);
    let (x, y) = places.node(number);
    let share = libm::sqrt(attachments as f64 / most.max(1) as f64);
    let radius = places.radius * (0.5 + 0.5 * share);
    let name = &scenario.regions[region];
    let _ = writeln!(
        svg,
        "<g class=\"node {} r{}\"><title>node {number} in {}: {}, {attachments} attachments</title>\
         <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>",
        class(state),
        region % 8,
        escaped(name),
        word(state)
    );
    if places.radius >= 10.0 {
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\">{number}</text>");
        let turn = places.nodes.get(&number).copied().unwrap_or(0.0);
        let (x, y) = at(turn, RING - places.radius - if state == NodeState::Dead { 15.0 } else { 11.0 });
        let told = if state == NodeState::Dead { "dead".to_owned() } else { attachments.to_string() };
        let _ = writeln!(svg, "<text class=\"load\" x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\">{told}</text>");
    }
    svg.push_str("</g>\n");
}

/// Between regions that are linked, where there are few of them.
fn draw_round_trips(svg: &mut String, scenario: &Scenario, picture: &Picture, places: &Places) {
    let region = |number: &NodeNumber| scenario.node(*number).map_or(0, |node| node.region);
    let mut pairs: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (a, b, rtt_us) in &picture.links {
        let (a, b) = (region(a).min(region(b)), region(a).max(region(b)));
        if a != b {
            let least = pairs.entry((a, b)).or_insert(*rtt_us);
            *least = (*least).min(*rtt_us);
        }
    }
    if pairs.len() > PAIRS_MAX {
        return;
    }
    for ((a, b), rtt_us) in pairs {
        let (Some(one), Some(other)) = (places.middle(a), places.middle(b)) else { continue };
        let ((x1, y1), (x2, y2)) = (at(one, RING), at(other, RING));
        // Nearer to the lower one: ways across the ring meet in its middle.
        let part = if pairs_cross(places) { 0.34 } else { 0.5 };
        let bent = |from: f64, to: f64| (from + (to - from) * part) * 0.86 + CENTER * 0.14;
        let (x, y) = (bent(x1, x2), bent(y1, y2));
        let _ = writeln!(
            svg,
            "<text class=\"rtt\" x=\"{x:.1}\" y=\"{y:.1}\" dy=\"0.35em\">{}</text>",
            milliseconds(rtt_us)
        );
    }
}

fn pairs_cross(places: &Places) -> bool {
    places.regions.len() > 3
}

fn milliseconds(us: u64) -> String {
    format!("{} ms", super::chart::number(us as f64 / 1_000.0))
}
