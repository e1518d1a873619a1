//! The command line: results on stdout, talk on stderr, exit codes that tell what came of it.

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;

fn netsim() -> Command {
    cargo_bin_cmd!("netsim")
}

fn stdout(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn scenarios_are_listed() {
    let listed = stdout(netsim().arg("list"), 0);
    assert_eq!(listed.lines().count(), netsim::scenario::SHIPPED.len());
    assert!(listed.contains("kill-one-of-three"));
}

/// One line with seed, version, commit, both profiles and trace; the same as JSON.
#[test]
fn a_run_names_seed_version_commit_profiles_and_trace() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let run = ["run", "three-nodes", "--seed", "4", "--json"];
    let shown = stdout(netsim().args(run).arg(&json), 0);
    let first = shown.lines().next().unwrap();
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    for part in ["seed 4", "netsim 0.1.0", report["trace"].as_str().unwrap()] {
        assert!(first.contains(part), "{first} lacks {part}");
    }
    let [commit, profile, simulation] =
        ["commit", "profile", "simulation"].map(|key| report[key].as_str().unwrap());
    assert!(first.contains(&format!("commit {commit} {profile} {simulation}, ")), "{first}");
    assert_eq!((profile, simulation), (netsim::play::profile(), "full"));
    let hash = commit.trim_end_matches('+');
    let is_hash = hash.len() >= 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash || commit == "unknown", "{commit}");
    assert_eq!(report["verdict"], "held");
    assert!(shown.contains("all held"));
    let light = stdout(netsim().args(["run", "three-nodes", "--seed", "4", "--profile", "light"]), 0);
    assert!(!light.contains(report["trace"].as_str().unwrap()), "another end-to-end layer, another trace");
    let unknown = netsim().args(["run", "three-nodes", "--profile", "half"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("use full or light"));
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    std::fs::write(&path, "name = \"wrong\"\nabout = \"\"\nduration = 5\n").unwrap();
    let output = netsim().arg("run").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("wrong.toml:3: unknown field `duration`"), "{told}");
    assert!(output.stdout.is_empty());
    let missing = netsim().args(["run", "no-such-one"]).output().unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("netsim list"));
}

/// Exit codes tell correctness from liveness; a failing run says how to run it again.
#[test]
fn exit_codes_tell_what_came_of_it() {
    let wrong = stdout(netsim().args(["replay", "3", "--bug", "deliver-twice"]), 3);
    assert!(wrong.contains("delivery: seed 3 at "), "{wrong}");
    let late = stdout(netsim().args(["replay", "1", "--bug", "forget-member"]), 4);
    assert!(late.contains("convergence: seed 1 at "), "{late}");
    let soaked = stdout(netsim().args(["soak", "--seeds", "0..4", "--jobs", "2"]), 0);
    assert!(soaked.contains("soak: 4 seeds") && soaked.contains("crashes 0"), "{soaked}");
    assert!(!soaked.contains('\r'), "no progress bar but on a terminal");
    let unknown = netsim().args(["replay", "3", "--bug", "no-such"]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("use one of wrong-next-hop"));
}

/// Policies as rows, bounds below, the same as JSON; what is meant for the other command is sent there.
#[test]
fn policies_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.toml");
    let text = r#"name = "small"
about = "Small."
duration_s = 120
[regions]
names = ["eu"]
rtt_ms = [[8]]
[[node]]
number = 1
count = 4
region = "eu"
broker = true
[arrivals]
kind = "poisson"
sessions_per_min = 120
geography = { eu = 1 }
length = "lognormal"
length_median_s = 60
length_max_s = 600
[checks]
load_over_mean_percent = 150
"#;
    std::fs::write(&small, text).unwrap();
    let json = folder.path().join("report.json");
    let compare = |more: &[&str], code| stdout(netsim().arg("compare").arg(&small).args(more), code);
    let shown = compare(&["--seeds", "2", "--json", json.to_str().unwrap()], 0);
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let firsts: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let rows =
        ["policy", "random", "round-robin", "nearest", "least-loaded", "two-choice", "placement", "bound"];
    assert_eq!(firsts[..rows.len()], rows);
    assert!(shown.contains('±') && shown.ends_with("all held\n") && !shown.contains('\r'), "{shown}");
    assert!(shown.contains(report["rows"][5]["trace"].as_str().unwrap()));
    assert_eq!(report["rows"][5]["figures"][0]["values"].as_array().unwrap().len(), 2);
    std::fs::write(&small, text.replace("150", "100")).unwrap();
    let shown = compare(&["--policies", "placement", "--seeds", "1"], 4);
    assert!(shown.contains("violated: placement: load_over_mean"), "{shown}");
    let refused = |arguments: &[&str]| {
        let output = netsim().args(arguments).output().unwrap();
        assert!(output.stdout.is_empty() && !output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["compare", "three-nodes"]).contains("netsim run three-nodes"));
    assert!(refused(&["compare", "stale-load", "--policies", "best"]).contains("two-choice"));
}

/// A page is one file that loads nothing; where it cannot be written, nothing is played.
#[test]
fn pages_are_written_or_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str| folder.path().join(name);
    let run = ["run", "three-nodes", "--seed", "4", "--html"];
    let shown = stdout(netsim().args(run).arg(page("run.html")), 0);
    assert!(shown.contains("all held"), "the table is shown as well");
    let text = std::fs::read_to_string(page("run.html")).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>") && text.contains("netsim run three-nodes --seed 4"));
    let trace = shown.lines().next().unwrap().split("trace ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(text.contains(trace), "{trace} is missing");
    stdout(netsim().args(run).arg(page("again.html")), 0);
    assert_eq!(text, std::fs::read_to_string(page("again.html")).unwrap());
    let small = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page.toml");
    let compare = ["compare", small, "--seeds", "1", "--policies", "placement,random", "--html"];
    stdout(netsim().args(compare).arg(page("compare.html")), 0);
    let text = std::fs::read_to_string(page("compare.html")).unwrap();
    assert!(text.contains("--policies placement,random --seeds 1 --seed 1"));
    for arguments in [&run[..], &compare[..]] {
        let output = netsim().args(arguments).arg(page("no/such/folder.html")).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains("no/such/folder.html") && told.contains("can be written"), "{told}");
        assert!(output.stdout.is_empty() && !told.contains("nodes"), "nothing was played: {told}");
    }
}

/// What a page shows is in the JSON as well, and in no other.
#[test]
fn series_are_written_when_a_page_is() {
    let folder = tempfile::tempdir().unwrap();
    let json = |more: &[&std::ffi::OsStr]| {
        let shown = stdout(netsim().args(["run", "three-nodes", "--json", "-"]).args(more), 0);
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()
    };
    let bare = json(&[]);
    let mut with = json(&["--html".as_ref(), folder.path().join("page.html").as_os_str()]);
    let series = with.as_object_mut().unwrap().remove("series").unwrap();
    assert_eq!(bare, with);
    assert_eq!(series["nodes"].as_array().unwrap().len(), 3);
}
