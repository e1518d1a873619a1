//! Pictures of a mesh: its nodes on a ring, as text and as SVG. Draws; fetches nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sealcast_rpc as rpc;

/// Above this a ring of characters is no picture any more: a list of neighbours is.
const TEXT_NODES_MAX: usize = 24;
/// Height of the ring in lines, width in columns: a character is about twice as high as wide.
const TEXT_LINES: usize = 19;
const TEXT_COLUMNS: usize = 60;
/// Side of the SVG, and radius of a node in it.
const SIDE: f64 = 900.0;
const NODE_RADIUS: f64 = 26.0;
/// Above this many links the round trips are left out of the SVG: they would hide the lines.
const LABELLED_LINKS_MAX: usize = 60;

/// Where each node stands on a ring of radius 1, the first at the top.
fn ring(mesh: &rpc::Mesh) -> BTreeMap<u32, (f64, f64)> {
    let count = mesh.nodes.len().max(1) as f64;
    let place = |index: usize| {
        let angle = std::f64::consts::TAU * index as f64 / count - std::f64::consts::FRAC_PI_2;
        (angle.cos(), angle.sin())
    };
    mesh.nodes.iter().enumerate().map(|(index, node)| (node.node_number, place(index))).collect()
}

/// What stands beside a node's number when it does not simply serve.
fn remark(node: &rpc::MeshNode) -> &str {
    match (node.reachable, node.drain.as_str()) {
        (false, _) => "out of reach",
        (true, "serving") => "",
        (true, other) => other,
    }
}

fn load(node: &rpc::MeshNode) -> Option<String> {
    let load = node.load.as_ref()?;
    Some(format!("{} of {}", load.attachments, load.capacity))
}

/// For a terminal.
pub(crate) fn text(mesh: &rpc::Mesh) -> String {
    let mut out = String::new();
    if mesh.nodes.len() > 1 && mesh.nodes.len() <= TEXT_NODES_MAX {
        out = canvas(mesh);
        out.push('\n');
    }
    for node in &mesh.nodes {
        let neighbors: Vec<String> = mesh
            .links
            .iter()
            .filter(|link| link.agreed)
            .filter_map(|link| match node.node_number {
                number if number == link.a => Some((link.b, link.rtt_us)),
                number if number == link.b => Some((link.a, link.rtt_us)),
                _ => None,
            })
            .map(|(neighbor, rtt_us)| format!("{neighbor} ({:.1} ms)", f64::from(rtt_us) / 1_000.0))
            .collect();
        let neighbors = if neighbors.is_empty() { "no links".into() } else { neighbors.join("  ") };
        let mut about = vec![node.failure_domain.clone(), remark(node).to_owned()];
        about.extend(load(node));
        about.retain(|part| !part.is_empty());
        let about = if about.is_empty() { String::new() } else { format!("  [{}]", about.join(", ")) };
        let _ = writeln!(out, "{:>5}{about}: {neighbors}", node.node_number);
    }
    out
}

fn canvas(mesh: &rpc::Mesh) -> String {
    let mut cells = vec![vec![' '; TEXT_COLUMNS]; TEXT_LINES];
    let at = |(x, y): (f64, f64)| {
        // Room for a number at both sides.
        let (half_width, half_height) = (TEXT_COLUMNS as f64 / 2.0 - 5.0, TEXT_LINES as f64 / 2.0 - 1.0);
        (TEXT_COLUMNS as f64 / 2.0 + x * half_width, TEXT_LINES as f64 / 2.0 + y * half_height)
    };
    let places: BTreeMap<u32, (f64, f64)> =
        ring(mesh).into_iter().map(|(node, place)| (node, at(place))).collect();
    for link in mesh.links.iter().filter(|link| link.agreed) {
        let (Some((ax, ay)), Some((bx, by))) = (places.get(&link.a), places.get(&link.b)) else { continue };
        for step in 0..=TEXT_COLUMNS {
            let part = step as f64 / TEXT_COLUMNS as f64;
            let (column, line) = ((ax + (bx - ax) * part) as usize, (ay + (by - ay) * part) as usize);
            if let Some(cell) = cells.get_mut(line).and_then(|line| line.get_mut(column)) {
                *cell = '·';
            }
        }
    }
    for node in &mesh.nodes {
        let Some((x, y)) = places.get(&node.node_number) else { continue };
        let label = match remark(node) {
            "" => format!("({})", node.node_number),
            _ => format!("({}!)", node.node_number),
        };
        let start = (*x as usize).saturating_sub(label.len() / 2);
        for (offset, letter) in label.chars().enumerate() {
            if let Some(cell) = cells.get_mut(*y as usize).and_then(|line| line.get_mut(start + offset)) {
                *cell = letter;
            }
        }
    }
    let lines: Vec<String> =
        cells.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// For a browser, light and dark.
pub(crate) fn svg(mesh: &rpc::Mesh) -> String {
    let centre = SIDE / 2.0;
    let radius = centre - 120.0;
    let places: BTreeMap<u32, (f64, f64)> = ring(mesh)
        .into_iter()
        .map(|(node, (x, y))| (node, (centre + x * radius, centre + y * radius)))
        .collect();
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\">\n\
         <title>Mesh {name}</title>\n<style>\n\
         svg {{ background: #ffffff; font: 15px system-ui, sans-serif; }}\n\
         line {{ stroke: #7a8699; stroke-width: 1.5; }} line.lone {{ stroke-dasharray: 5 5; stroke: #b3541e; }}\n\
         circle {{ fill: #e8f1fb; stroke: #2a6fb0; stroke-width: 2; }}\n\
         circle.away {{ fill: #f6e3d7; stroke: #b3541e; }}\n\
         text {{ fill: #1b2430; text-anchor: middle; dominant-baseline: central; }}\n\
         text.small {{ font-size: 12px; fill: #4a5666; }} .paper {{ fill: #ffffff; }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         svg {{ background: #12161c; }} line {{ stroke: #66758c; }} line.lone {{ stroke: #e79a66; }}\n\
         circle {{ fill: #1d3450; stroke: #6fb1ee; }} circle.away {{ fill: #4a2c1a; stroke: #e79a66; }}\n\
         text {{ fill: #e8edf4; }} text.small {{ fill: #a9b5c5; }} .paper {{ fill: #12161c; }}\n\
         }}\n</style>\n",
        name = escaped(&mesh.mesh)
    );
    for link in &mesh.links {
        let (Some((ax, ay)), Some((bx, by))) = (places.get(&link.a), places.get(&link.b)) else { continue };
        let class = if link.agreed { "" } else { " class=\"lone\"" };
        let _ = writeln!(out, "<line{class} x1=\"{ax:.1}\" y1=\"{ay:.1}\" x2=\"{bx:.1}\" y2=\"{by:.1}\"/>");
    }
    if mesh.links.len() <= LABELLED_LINKS_MAX {
        for link in &mesh.links {
            let (Some((ax, ay)), Some((bx, by))) = (places.get(&link.a), places.get(&link.b)) else {
                continue;
            };
            // Not in the middle, where the lines of a ring meet.
            let (x, y) = (ax + (bx - ax) * 0.36, ay + (by - ay) * 0.36);
            let _ = writeln!(
                out,
                "<rect class=\"paper\" x=\"{:.1}\" y=\"{:.1}\" width=\"52\" height=\"16\"/>\
                 <text class=\"small\" x=\"{x:.1}\" y=\"{y:.1}\">{:.1} ms</text>",
                x - 26.0,
                y - 8.0,
                f64::from(link.rtt_us) / 1_000.0
            );
        }
    }
    for node in &mesh.nodes {
        let Some((x, y)) = places.get(&node.node_number) else { continue };
        let class = if remark(node).is_empty() { "" } else { " class=\"away\"" };
        let _ = writeln!(
            out,
            "<circle{class} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{NODE_RADIUS}\"/>\
             <text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            node.node_number
        );
        let mut about = vec![node.failure_domain.clone(), remark(node).to_owned()];
        about.extend(load(node));
        about.retain(|part| !part.is_empty());
        // Labels stand outside the ring, below a node in the lower half and above it in the upper one.
        let below = *y >= centre;
        for (line, part) in about.iter().enumerate() {
            let step = NODE_RADIUS + 14.0 + 15.0 * line as f64;
            let y = if below { y + step } else { y - step };
            let _ = writeln!(out, "<text class=\"small\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(part));
        }
    }
    out.push_str("</svg>\n");
    out
}

/// What operators of other nodes wrote must not become markup.
fn escaped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .map(|c| match c {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '&' => "&amp;".to_owned(),
            '"' => "&quot;".to_owned(),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(count: u32) -> rpc::Mesh {
        let node = |node_number| rpc::MeshNode {
            node_number,
            reachable: node_number != 3,
            drain: "serving".into(),
            failure_domain: "<rack & \"row\">".into(),
            load: Some(rpc::NodeLoad { attachments: 5, capacity: 10, ..Default::default() }),
            ..Default::default()
        };
        let link = |a, b, agreed| rpc::MeshLink { a, b, rtt_us: 12_300, agreed };
        rpc::Mesh {
            mesh: "m".into(),
            nodes: (1..=count).map(node).collect(),
            links: vec![link(1, 2, true), link(2, 3, false), link(3, 99, true)],
            ..Default::default()
        }
    }

    #[test]
    fn text_shows_nodes_links_and_what_is_odd() {
        let picture = text(&mesh(4));
        assert!(picture.contains("(1)") && picture.contains("(3!)") && picture.contains('·'), "{picture}");
        assert!(picture.contains("2 (12.3 ms)") && picture.contains("no links"), "{picture}");
        let crowd = text(&mesh(TEXT_NODES_MAX as u32 + 1));
        assert!(!crowd.contains('·'), "a list: {crowd}");
        assert!(!text(&mesh(0)).contains('('));
    }

    #[test]
    fn svg_is_well_formed_and_safe() {
        let picture = svg(&mesh(4));
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("&lt;rack &amp; &quot;row&quot;&gt;") && !picture.contains("<rack"));
        assert!(picture.contains("prefers-color-scheme: dark"));
        assert_eq!(picture.matches("<circle").count(), 4);
        assert_eq!(picture.matches("<line").count(), 2, "a link to a node that nobody knows is not drawn");
        // Every element is closed in itself or has its end.
        let opened = picture.matches("<text").count();
        assert_eq!(opened, picture.matches("</text>").count());
    }
}
