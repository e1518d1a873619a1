//! Who may import whom, read from cargo's own metadata.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// The import table of docs/ARCHITECTURE.md: each crate with the local crates it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("proto-spec", &[]),
    ("sealcast-rpc", &["proto-spec"]),
    ("sealcast-trust", &["proto-spec"]),
    ("sealcast-mpsl", &["proto-spec"]),
    ("sealcast-placement", &["proto-spec"]),
    ("sealcast-mesh", &["proto-spec", "sealcast-placement"]),
    ("sealcast-attach", &["proto-spec", "sealcast-trust"]),
    ("sealcast-broker", &["proto-spec", "sealcast-trust", "sealcast-placement"]),
    ("sealcast-endpoint-core", &["proto-spec", "sealcast-mpsl"]),
    ("sealcast-endpoint", &["proto-spec", "sealcast-endpoint-core", "sealcast-rpc"]),
    ("sealcast", &["proto-spec", "sealcast-endpoint", "sealcast-endpoint-core"]),
    ("sealcast-driver", &["proto-spec", "sealcast-endpoint", "sealcast-endpoint-core"]),
    (
        "relayd",
        &[
            "proto-spec",
            "sealcast-rpc",
            "sealcast-mesh",
            "sealcast-attach",
            "sealcast-placement",
            "sealcast-trust",
            "sealcast-broker",
        ],
    ),
    ("relayctl", &["proto-spec", "sealcast-rpc", "sealcast-trust"]),
    (
        "netsim",
        &[
            "proto-spec",
            "sealcast-mesh",
            "sealcast-attach",
            "sealcast-placement",
            "sealcast-trust",
            "sealcast-broker",
            "sealcast-endpoint-core",
            "sealcast-mpsl",
            "sealcast-process",
        ],
    ),
    ("sealcast-process", &[]),
    (
        "xtask",
        &["proto-spec", "sealcast-rpc", "sealcast-endpoint", "sealcast-mpsl", "netsim", "sealcast-process"],
    ),
];

/// Crates whose logic runs in the simulator as it is.
const SANS_IO: &[&str] = &[
    "proto-spec",
    "sealcast-mesh",
    "sealcast-attach",
    "sealcast-placement",
    "sealcast-trust",
    "sealcast-broker",
    "sealcast-endpoint-core",
    "sealcast-mpsl",
];

/// What does IO: none of it may be reachable from a crate above.
const IO: &[&str] = &[
    "tokio",
    "libp2p",
    "tonic",
    "hyper",
    "axum",
    "rustls",
    "tokio-rustls",
    "socket2",
    "mio",
    "quinn",
    "sled",
    "async-std",
    "smol",
    "reqwest",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(super::workspace().join("Cargo.toml"))
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap_or_else(|_| {
            MetadataCommand::new().manifest_path(super::workspace().join("Cargo.toml")).exec().unwrap()
        })
}

fn local(metadata: &Metadata) -> BTreeMap<String, PackageId> {
    metadata
        .workspace_packages()
        .iter()
        .map(|package| (package.name.to_string(), package.id.clone()))
        .collect()
}

/// Names of every package that `root` is built from, itself included; what only its tests or build scripts use is left
/// out.
fn closure(metadata: &Metadata, root: &PackageId) -> BTreeSet<String> {
    let nodes: BTreeMap<_, _> =
        metadata.resolve.as_ref().unwrap().nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn every_crate_imports_only_what_the_table_allows() {
    let metadata = metadata();
    let locals = local(&metadata);
    let table: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    assert_eq!(
        locals.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        table.keys().copied().collect::<BTreeSet<_>>(),
        "a crate is missing from the table, or gone from the workspace"
    );
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Normal && locals.contains_key(dependency.name.as_str()) {
                assert!(
                    table[package.name.as_str()].contains(&dependency.name.as_str()),
                    "{} may not import {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn the_table_stands_in_the_architecture() {
    let text = std::fs::read_to_string(super::workspace().join("docs/ARCHITECTURE.md")).unwrap();
    for (name, allowed) in ALLOWED {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("docs/ARCHITECTURE.md has no row for {name}"));
        let cell = row.split('|').nth(2).unwrap();
        let named: BTreeSet<_> = cell.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, allowed.iter().copied().collect(), "the row of {name}");
    }
}

#[test]
fn nothing_beneath_the_cores_does_io() {
    let metadata = metadata();
    let locals = local(&metadata);
    for name in SANS_IO {
        let closure = closure(&metadata, &locals[*name]);
        for io in IO {
            assert!(!closure.contains(*io), "{name} reaches {io}");
        }
    }
}

/// [PKT-1]: what cannot be linked cannot open a packet.
#[test]
fn a_relay_cannot_link_decryption() {
    let metadata = metadata();
    let locals = local(&metadata);
    for name in ["relayd", "relayctl"] {
        let closure = closure(&metadata, &locals[name]);
        for absent in
            ["sealcast-mpsl", "sealcast-endpoint-core", "sealcast-endpoint", "srp", "aes-kw", "aes-gcm-siv"]
        {
            assert!(!closure.contains(absent), "{name} reaches {absent}");
        }
    }
    assert!(
        closure(&metadata, &locals["sealcast"]).contains("sealcast-mpsl"),
        "the search finds what is there"
    );
}

#[test]
fn every_dependency_has_one_version_from_the_workspace() {
    for manifest in super::files(&super::workspace(), &["Cargo.toml"]) {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let value: toml::Table = text.parse().unwrap();
        if value.contains_key("workspace") {
            continue;
        }
        let own = value["package"]["name"].as_str().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, entry) in value.get(section).and_then(|v| v.as_table()).into_iter().flatten() {
                // A crate's tests may ask for a feature of the crate itself.
                let itself = name == own;
                let inherited = entry.get("workspace").and_then(|v| v.as_bool()) == Some(true);
                assert!(
                    inherited || itself,
                    "{}: {name} does not say `workspace = true`",
                    manifest.display()
                );
            }
        }
    }
}
