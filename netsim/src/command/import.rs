//! `netsim import`: writes the scenario of a mesh that `relayctl mesh export` described.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use proto_spec::export::EXPORT_LENGTH_MAX;

use super::EXIT_USAGE;
use super::output::Output;
use crate::import::{As, Imported, import};

/// What to import.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// What `relayctl mesh export` wrote.
    file: PathBuf,
    /// The scenario's name, in place of the mesh's.
    #[arg(long)]
    name: Option<String>,
    /// The load as endpoints that come and go, for `netsim compare`.
    #[arg(long)]
    arrivals: bool,
    /// Write the scenario there; to stdout otherwise.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl Import {
    pub(super) fn run(self) -> u8 {
        let load = if self.arrivals { As::Arrivals } else { As::Sessions };
        let imported = read(&self.file).and_then(|text| import(&text, self.name.as_deref(), load));
        let Imported { scenario, notes } = match imported {
            Ok(imported) => imported,
            Err(sentence) => {
                eprintln!("netsim: {}: {sentence}", self.file.display());
                return EXIT_USAGE;
            }
        };
        let mut text = String::from("# Made by `netsim import` of what `relayctl mesh export` wrote.\n");
        for note in &notes {
            eprintln!("{note}");
            let _ = writeln!(text, "# {note}");
        }
        text.push_str(&scenario.to_text());
        match Output::open(&self.output).and_then(|mut output| output.write(&text)) {
            Ok(()) => 0,
            Err(code) => code,
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map(|data| data.len()).unwrap_or(0);
    if size > EXPORT_LENGTH_MAX as u64 {
        return Err("longer than any export: write it with `relayctl mesh export --file FILE`".to_owned());
    }
    std::fs::read_to_string(path)
        .map_err(|error| format!("{error}: give a file that `relayctl mesh export --file FILE` wrote"))
}
