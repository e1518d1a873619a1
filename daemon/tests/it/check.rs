//! `relayd check`, and what keeps `relayd run` from starting.

use std::path::Path;

use sealcast_trust::{AdminRole, CertificateRole};

use super::support::{Mesh, free_ports, relayd};

fn check(config: &Path) -> (bool, String) {
    let output = relayd().args(["check", "--config"]).arg(config).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

fn mesh_with_config() -> (Mesh, std::path::PathBuf) {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "");
    (mesh, config)
}

#[test]
fn a_good_configuration_passes() {
    let (_mesh, config) = mesh_with_config();
    assert_eq!(check(&config), (true, String::new()));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[drain]\ndeadline = 3");
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("unknown field `deadline`") && talk.contains("line 18"), "{talk}");
}

#[test]
fn a_missing_file_is_named_with_its_key() {
    let (mesh, config) = mesh_with_config();
    std::fs::remove_file(mesh.path("node-1.key")).unwrap();
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("node-1.key") && talk.contains("identity.key"), "{talk}");
}

#[test]
fn a_key_that_everybody_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (mesh, config) = mesh_with_config();
    std::fs::set_permissions(mesh.path("broker-1.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("relayd.toml:12: broker.key") && talk.contains("chmod 600"), "{talk}");
}

#[test]
fn a_certificate_for_another_host_or_role_is_refused() {
    let (mesh, config) = mesh_with_config();
    let text = std::fs::read_to_string(&config).unwrap();

    std::fs::write(
        &config,
        text.replace("public_host = \"127.0.0.1\"", "public_host = \"relay.example.org\""),
    )
    .unwrap();
    let (good, talk) = check(&config);
    assert!(
        !good && talk.contains("node.public_host") && talk.contains("--name relay.example.org"),
        "{talk}"
    );

    mesh.issue(&CertificateRole::admin(AdminRole::Auditor, "ann").unwrap(), &[]);
    let admin =
        text.replace("\"node-1.pem\"", "\"admin-ann.pem\"").replace("\"node-1.key\"", "\"admin-ann.key\"");
    std::fs::write(&config, admin).unwrap();
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("identity.certificate") && talk.contains("another role"), "{talk}");

    std::fs::write(&config, text.replace("key = \"node-1.key\"", "key = \"broker-1.key\"")).unwrap();
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("cannot be used together"), "{talk}");
}

#[test]
fn a_certificate_of_another_mesh_is_refused() {
    let (mesh, config) = mesh_with_config();
    let other = Mesh::new();
    std::fs::copy(other.path("broker-1.pem"), mesh.path("broker-1.pem")).unwrap();
    let (good, talk) = check(&config);
    assert!(!good && talk.contains("broker.certificate") && talk.contains("another mesh"), "{talk}");
}

#[test]
fn a_port_that_is_taken_keeps_it_from_starting_but_not_from_passing_the_check() {
    let mesh = Mesh::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let [ops] = free_ports();
    let config = mesh.config(port, ops, "", "");
    let (good, talk) = check(&config);
    assert!(good && talk.contains("in use"), "{talk}");
    let output = relayd().args(["run", "--config"]).arg(&config).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && talk.contains("listen.endpoints") && talk.contains("cannot be bound"),
        "{talk}"
    );
    assert!(!mesh.path("state").join("store").exists(), "nothing is opened when a port is missing");
}

#[test]
fn the_tap_exists_in_dev_alone() {
    let (_mesh, config) = mesh_with_config();
    let output = relayd().args(["run", "--tap", "frames", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
