//! The page's part of `cargo xtask test`: makes a page of a run and one of a comparison, and looks at them in a headless
//! Chromium: as wide as a phone and as a desk's screen. Owns the look alone; the pages are netsim's.
//!
//! A page stands in frames of a sheet, as wide as each screen: a browser's own window cannot be as narrow as a phone's. The
//! sheet's script measures the frames, writes what it found into the sheet, and the browser prints that.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::demo::programs;
use crate::workspace;

/// The browser, as Debian names it.
pub(crate) const BROWSER: &str = "chromium";
/// Screens, in CSS pixels.
const WIDTHS: [u64; 3] = [380, 800, 1_600];
/// What each page is made by, and how many pictures it has at least.
const PAGES: [(&str, &[&str], u64); 2] = [
    ("run.html", &["run", "region-outage"], 8),
    ("compare.html", &["compare", "netsim/tests/page.toml", "--seeds", "2"], 6),
];
/// Prints what it measured of each frame when all have loaded. Texts that a picture shows are to be within it, and none over
/// another.
const SCRIPT: &str = r"
addEventListener('load', () => {
  const box = element => element.getBoundingClientRect();
  const shown = element => box(element).width > 0;
  const shared = (a, b) =>
    Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
    Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const texts = svg => [...svg.querySelectorAll('text')].filter(shown).map(text => ({ text: text.textContent.trim(), at: box(text) }));
  const cut = svg => {
    const own = box(svg);
    return texts(svg).filter(({ at }) =>
      at.left < own.left - 1 || at.right > own.right + 1 || at.top < own.top - 1 || at.bottom > own.bottom + 1);
  };
  const hidden = svg => {
    const all = texts(svg);
    return all.filter((one, index) => all.slice(index + 1).some(other =>
      shared(one.at, other.at) > 0.15 * Math.min(one.at.width * one.at.height, other.at.width * other.at.height)));
  };
  const seen = [...document.querySelectorAll('iframe')].map(frame => {
    const inner = frame.contentDocument;
    const figures = [...inner.querySelectorAll('figure')].map(figure => {
      const svgs = [...figure.querySelectorAll(':scope > svg')].filter(shown);
      const size = svgs.length === 1 ? box(svgs[0]) : { width: 0, height: 0 };
      return {
        shown: svgs.length, width: size.width, height: size.height,
        cut: svgs.flatMap(cut).map(({ text }) => text), hidden: svgs.flatMap(hidden).map(({ text }) => text),
      };
    });
    return { width: frame.clientWidth, page: inner.documentElement.scrollWidth, figures };
  });
  document.body.textContent = JSON.stringify(seen);
});
";

#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Builds netsim, makes the pages and looks at them.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // As the lab's parts build it: once for all of them.
    let netsim = programs::build_lab()?;
    let folder =
        tempfile::Builder::new().prefix("sealcast-page-").tempdir().context("no temporary folder")?;
    for (name, arguments, figures_min) in PAGES {
        let page = folder.path().join(name);
        let status = Command::new(&netsim)
            .args(arguments)
            .arg("--html")
            .arg(&page)
            .current_dir(workspace())
            .stdout(std::process::Stdio::null())
            .status()
            .context("netsim cannot be started")?;
        ensure!(status.success(), "netsim {} failed: {status}", arguments.join(" "));
        let told = look(folder.path(), &fs::read_to_string(&page)?)?;
        check(&told, figures_min).with_context(|| format!("the page of netsim {}", arguments.join(" ")))?;
        println!(
            "{name}: {figures_min} pictures or more, at {WIDTHS:?} pixels: nothing is cut, nothing sticks out"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What the browser measured of the page, as [`SCRIPT`] writes it.
fn look(folder: &Path, page: &str) -> anyhow::Result<Value> {
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = WIDTHS
        .iter()
        .map(|width| {
            format!(
                "<iframe srcdoc=\"{page}\" width=\"{width}\" height=\"900\" style=\"border: 0\"></iframe>\n"
            )
        })
        .collect();
    let sheet = folder.join("sheet.html");
    fs::write(
        &sheet,
        format!("<!DOCTYPE html><meta charset=\"utf-8\"><body>{frames}<script>{SCRIPT}</script></body>"),
    )?;
    let mut profile = OsStr::new("--user-data-dir=").to_owned();
    profile.push(folder.join("profile"));
    let output = Command::new(BROWSER)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(profile)
        .arg(format!("file://{}", sheet.display()))
        .output()
        .with_context(|| format!("{BROWSER} cannot be started"))?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{BROWSER} failed: {errors}");
    let console: Vec<&str> = errors.lines().filter(|line| line.contains("CONSOLE")).collect();
    ensure!(console.is_empty(), "the console says: {}", console.join("\n"));
    let dom = String::from_utf8_lossy(&output.stdout);
    let told = dom.split_once("<body>").and_then(|(_, body)| body.split_once("</body>"));
    let (told, _) = told.with_context(|| format!("{BROWSER} printed no body"))?;
    serde_json::from_str(told)
        .with_context(|| format!("the sheet was not measured: {}", &told[..told.len().min(200)]))
}

/// Each frame is as wide as it should be, the page is no wider, and every picture is there and whole.
fn check(told: &Value, figures_min: u64) -> anyhow::Result<()> {
    let frames = told.as_array().context("no list of frames")?;
    ensure!(frames.len() == WIDTHS.len(), "{} frames were measured", frames.len());
    for (frame, width) in frames.iter().zip(WIDTHS) {
        ensure!(frame["width"] == width, "a frame is {} wide, not {width}", frame["width"]);
        let page = frame["page"].as_u64().unwrap_or(u64::MAX);
        ensure!(page <= width, "at {width} pixels the page is {page} wide");
        let figures = frame["figures"].as_array().context("no list of figures")?;
        ensure!(figures.len() as u64 >= figures_min, "{} pictures, not {figures_min}", figures.len());
        for (index, figure) in figures.iter().enumerate() {
            let size = [&figure["width"], &figure["height"]].map(|side| side.as_f64().unwrap_or(0.0));
            let seen = figure["shown"] == 1 && size.iter().all(|side| *side >= 60.0);
            ensure!(seen, "at {width} pixels picture {index} is {figure}");
            for fault in ["cut", "hidden"] {
                let texts = figure[fault].as_array().context("no list of texts")?;
                ensure!(texts.is_empty(), "at {width} pixels picture {index} has texts {fault}: {texts:?}");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn frame(width: u64, page: u64, figure: &Value) -> Value {
        json!({ "width": width, "page": page, "figures": [figure] })
    }

    /// The check refuses what it is there for.
    #[test]
    fn what_is_wrong_with_a_page_is_found() {
        let figure = |shown, height, cut: &[&str], hidden: &[&str]| json!({ "shown": shown, "width": 300.5, "height": height, "cut": cut, "hidden": hidden });
        let good = figure(1, 200, &[], &[]);
        let all = |page: u64, figure: &Value| {
            let frames = WIDTHS.map(|width| frame(width, width.max(page), figure));
            check(&json!(frames), 1).map_err(|error| error.to_string())
        };
        assert_eq!(all(0, &good), Ok(()));
        assert!(all(381, &good).unwrap_err().contains("381 wide"));
        assert!(all(0, &figure(1, 0, &[], &[])).is_err());
        assert!(all(0, &figure(2, 90, &[], &[])).is_err());
        assert!(all(0, &figure(1, 90, &["eu"], &[])).unwrap_err().contains("cut"));
        assert!(all(0, &figure(1, 90, &[], &["eu"])).unwrap_err().contains("hidden"));
        assert!(check(&json!([]), 1).is_err());
    }
}
