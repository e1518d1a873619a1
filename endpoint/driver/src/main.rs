//! Many endpoints in one process, for the lab and for load tests; never shipped. Not built yet, and says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("the endpoint driver is not built yet: start `sealcast --json` once for each endpoint.");
    ExitCode::FAILURE
}
