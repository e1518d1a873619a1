//! The simulator of the mesh and the lab of real processes. Not built yet, and says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("netsim is not built yet: there is nothing to simulate before nodes form a mesh.");
    ExitCode::FAILURE
}
