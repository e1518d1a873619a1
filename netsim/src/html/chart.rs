//! One chart: axes, lines, areas, marks and their labels, drawn by `plotters` into SVG.
//!
//! Owns everything of that library. Knows nothing of runs and policies, and puts no colour into the page: each
//! element has a class that the style sheet fills, light or dark.

mod layout;

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::page::escaped;
use layout::Layout;

/// Text is 12 units high: plotters divides by this much.
const FONT: f64 = 12.0 * 1.24;

/// What something is drawn with: a class of the style sheet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ink {
    /// What is to be read.
    Text,
    /// What stands back.
    Faint,
    /// Lines behind everything.
    Grid,
    /// A fault's time.
    Fault,
    /// A limit of the scenario.
    Limit,
    /// What cannot be bettered.
    Bound,
    /// While a node is not in service.
    Down,
    /// A line or a mark of a series; each has a colour and a dash of its own.
    Line(u8),
    /// An area of a series.
    Area(u8),
    /// One of many lines of a series.
    Thread(u8),
}

impl Ink {
    /// Its number in the style sheet: `s` and this for lines, `f` and this for what is filled.
    pub(super) const fn code(self) -> u8 {
        match self {
            Ink::Text => 1,
            Ink::Faint => 2,
            Ink::Grid => 3,
            Ink::Fault => 4,
            Ink::Limit => 5,
            Ink::Bound => 6,
            Ink::Down => 7,
            Ink::Line(series) => 16 + series % 16,
            Ink::Area(series) => 32 + series % 16,
            Ink::Thread(series) => 48 + series % 16,
        }
    }
}

/// A point in the chart's own numbers.
pub(super) type Point = (f64, f64);

/// An axis of numbers.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it counts, with its unit.
    pub(super) title: String,
    /// From where to where.
    pub(super) range: Range<f64>,
}

/// What a chart shows, later ones over earlier ones.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// A line, in pieces; its label stands at its end.
    Line { pieces: Vec<Vec<Point>>, ink: Ink, width: u32, label: Option<String> },
    /// A filled area.
    Area { outline: Vec<Point>, ink: Ink },
    /// Marks, each with what a pointer over it is told.
    Marks { marks: Vec<(Point, String)>, ink: Ink, radius: i32 },
    /// A line from top to bottom, its label above the chart.
    Upright { x: f64, ink: Ink, label: String },
    /// A line from side to side, its label at its end.
    Level { y: f64, ink: Ink, label: String },
}

/// A row of a chart without a vertical axis: row 0 is the topmost, from `y` = its number below 0 down to one less.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What stands before it.
    pub(super) name: String,
    /// What stands behind it.
    pub(super) value: String,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// For those who do not see it.
    pub(super) about: String,
    /// Whether it goes from side to side of a wide page.
    pub(super) wide: bool,
    /// Its height in units, with everything.
    pub(super) height: u32,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// In place of a vertical axis.
    pub(super) rows: Vec<Row>,
    pub(super) layers: Vec<Layer>,
}

impl Chart {
    /// Twice: for a wide page and for a narrow one. The style sheet shows one of them.
    pub(super) fn svg(&self) -> String {
        let wide = if self.wide { 1_000 } else { 520 };
        format!("{}{}", self.shaped("wide", wide), self.shaped("narrow", 360))
    }

    fn shaped(&self, class: &str, width: u32) -> String {
        let mut drawn = String::new();
        {
            let root = SVGBackend::with_string(&mut drawn, (width, self.height)).into_drawing_area();
            let layout = Layout::of(self, width);
            self.draw(&root, &layout).expect("drawing into a string does not fail");
        }
        let marks = self.layers.iter().filter_map(|layer| match layer {
            Layer::Marks { marks, .. } => Some(marks.iter().map(|(_, told)| told.as_str())),
            _ => None,
        });
        let body = told(&themed(inside(&drawn)), marks.flatten());
        let (height, about) = (self.height, escaped(&self.about));
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{about}\">\n{body}</svg>\n"
        )
    }

    fn draw<DB: DrawingBackend>(
        &self,
        root: &DrawingArea<DB, Shift>,
        layout: &Layout,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let mut chart = ChartBuilder::on(root)
            .margin_top(layout.top)
            .margin_right(layout.right)
            .x_label_area_size(layout.bottom)
            .y_label_area_size(layout.left)
            .build_cartesian_2d(self.x.range.clone(), self.y.range.clone())?;
        let (ticks_x, ticks_y) = (layout.ticks(), (layout.inner.1 / 40).clamp(2, 8) as usize);
        let shown = |value: &f64| number(*value);
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(stroke(Ink::Grid, 1))
            .light_line_style(TRANSPARENT)
            .axis_style(stroke(Ink::Grid, 1))
            .label_style(text(Ink::Faint, HPos::Center, VPos::Top))
            .set_all_tick_mark_size(4)
            .x_labels(ticks_x)
            .x_label_formatter(&shown)
            .y_labels(ticks_y)
            .y_label_formatter(&shown);
        if self.rows.is_empty() {
            mesh.disable_x_mesh();
        } else {
            mesh.disable_y_mesh().disable_y_axis();
        }
        mesh.draw()?;
        let area = chart.plotting_area();
        for layer in &self.layers {
            match layer {
                Layer::Line { pieces, ink, width, .. } => {
                    for piece in pieces.iter().filter(|piece| piece.len() > 1) {
                        area.draw(&PathElement::new(piece.clone(), stroke(*ink, *width)))?;
                    }
                }
                Layer::Area { outline, ink } => {
                    area.draw(&Polygon::new(outline.clone(), color(*ink).filled()))?;
                }
                Layer::Marks { marks, ink, radius } => {
                    for (at, _) in marks {
                        area.draw(&Circle::new(*at, *radius, color(*ink).filled()))?;
                    }
                }
                Layer::Upright { x, ink, .. } => {
                    let ends = vec![(*x, self.y.range.start), (*x, self.y.range.end)];
                    area.draw(&PathElement::new(ends, stroke(*ink, 1)))?;
                }
                Layer::Level { y, ink, .. } => {
                    let ends = vec![(self.x.range.start, *y), (self.x.range.end, *y)];
                    area.draw(&PathElement::new(ends, stroke(*ink, 1)))?;
                }
            }
        }
        for label in layout.labels(self) {
            root.draw_text(&label.text, &text(label.ink, label.anchor, VPos::Center), label.at)?;
        }
        Ok(())
    }
}

/// A number as short as it can be, with at most three digits behind the point.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn text(ink: Ink, across: HPos, down: VPos) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&color(ink)).pos(Pos::new(across, down))
}

fn stroke(ink: Ink, width: u32) -> ShapeStyle {
    color(ink).stroke_width(width)
}

/// Colours are the inks' codes until [`themed`] makes classes of them.
const fn color(ink: Ink) -> RGBColor {
    RGBColor(0, 0, ink.code())
}

/// What stands between the tags of an SVG.
fn inside(svg: &str) -> &str {
    let start = svg.find('>').map_or(0, |at| at + 1);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg[start..end].trim_start()
}

/// Replaces the library's colours by classes. What the style sheet says anyway is left out.
fn themed(svg: &str) -> String {
    let mut out = svg.to_owned();
    for fixed in [" opacity=\"1\"", " font-family=\"sans-serif\"", " fill=\"none\"", " stroke=\"none\""] {
        out = out.replace(fixed, "");
    }
    for code in 0..64 {
        out = out.replace(&format!("stroke=\"#{code:06X}\""), &format!("class=\"s{code}\""));
        out = out.replace(&format!("fill=\"#{code:06X}\""), &format!("class=\"f{code}\""));
    }
    out
}

/// Gives the circles, in turn, what a pointer over them is told.
fn told<'a>(svg: &str, mut marks: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for line in svg.lines() {
        let mark = line.starts_with("<circle").then(|| marks.next()).flatten();
        match mark {
            Some(told) if !told.is_empty() => {
                let open = line.trim_end_matches("/>");
                out.push_str(&format!("{open}><title>{}</title></circle>\n", escaped(told)));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes() {
        let line = r##"<line opacity="1" stroke="#000010" stroke-width="2" x1="0" y1="1" x2="2" y2="3"/>"##;
        assert_eq!(themed(line), r#"<line class="s16" stroke-width="2" x1="0" y1="1" x2="2" y2="3"/>"#);
        let filled = r##"<rect opacity="0.5" fill="#000001" stroke="none"/>"##;
        assert_eq!(themed(filled), r#"<rect opacity="0.5" class="f1"/>"#);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.5, 1.0444, 12.0, 0.000_1].map(number);
        assert_eq!(shown, ["0", "1.5", "1.044", "12", "0"]);
    }

    /// A chart of these.
    pub(super) fn chart(layers: Vec<Layer>) -> Chart {
        Chart {
            about: "A \"test\" <b>".to_owned(),
            wide: true,
            height: 200,
            x: Axis { title: "s".to_owned(), range: 0.0..10.0 },
            y: Axis { title: "ms".to_owned(), range: 0.0..5.0 },
            rows: Vec::new(),
            layers,
        }
    }

    /// Every element has a class in place of a colour; text is escaped; marks tell.
    #[test]
    fn a_chart_has_no_colours_of_its_own() {
        let drawn = chart(vec![
            Layer::Line {
                pieces: vec![vec![(0.0, 0.0), (5.0, 5.0)]],
                ink: Ink::Line(0),
                width: 2,
                label: Some("<i>".to_owned()),
            },
            Layer::Marks { marks: vec![((1.0, 1.0), "1 & 2".to_owned())], ink: Ink::Line(1), radius: 3 },
            Layer::Level { y: 4.0, ink: Ink::Limit, label: "at most 4".to_owned() },
        ])
        .svg();
        assert!(!drawn.contains('#') && !drawn.contains("rgb"), "{drawn}");
        assert!(drawn.contains("aria-label=\"A &quot;test&quot; &lt;b&gt;\""));
        assert_eq!(drawn.matches("<title>1 &amp; 2</title></circle>").count(), 2);
        assert!(drawn.contains("&lt;i&gt;") && !drawn.contains("<i>"));
        assert_eq!(drawn.matches("<svg").count(), 2);
    }
}
