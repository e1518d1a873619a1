//! What the tree may not hold.

use std::fs;

/// Macros that mark what is not done, and constructs that nothing bounds.
#[test]
fn nothing_is_left_undone_or_unbounded() {
    // Put together here, so that this file does not find itself.
    let words = [
        "to".to_owned() + "do!(",
        "un".to_owned() + "implemented!(",
        "unbounded".to_owned() + "_channel",
        "static".to_owned() + " mut ",
    ];
    let mut faults = Vec::new();
    for path in super::files(&super::workspace(), &[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// [CON-6]: the cores get time and randomness handed in; their sources name neither clocks nor the system's generator.
#[test]
fn the_cores_read_no_clock_and_draw_no_entropy() {
    let cores = [
        "proto-spec/src",
        "proto-spec/mpsl/src",
        "daemon/mesh/src",
        "daemon/attach/src",
        "daemon/placement/src",
        "daemon/broker/src",
        "endpoint/core/src",
    ];
    let words = [
        "Instant::now",
        "SystemTime",
        "OsRng",
        "SysRng",
        "getrandom",
        "thread_rng",
        "std::net::Tcp",
        "std::thread",
    ];
    let mut faults = Vec::new();
    for core in cores {
        for path in super::files(&super::workspace().join(core), &[".rs"]) {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                let comment = line.trim_start().starts_with("//");
                if !comment && words.iter().any(|word| line.contains(word)) {
                    faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
