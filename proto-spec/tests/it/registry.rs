//! The tables of `spec/registry.md` and the code hold the same code points \[ERR-1\], \[ERR-2\], \[CON-7\].

use proto_spec::frame::FrameType;
use proto_spec::lsa::DrainState;
use proto_spec::membership::MemberKind;
use proto_spec::mesh::MeshMessageType;
use proto_spec::trunk::{TrunkFrameType, TrunkRefusal, WELCOME};
use proto_spec::{Refusal, TrafficClass};

/// The rows of the table under a heading, each split into its cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let registry = include_str!("../../spec/registry.md");
    let section = registry.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn frame_types() {
    let code: Vec<_> =
        FrameType::ALL.iter().map(|kind| (format!("0x{:02x}", *kind as u8), format!("{kind:?}"))).collect();
    let spec: Vec<_> = table("Frame types").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(code, spec);
}

#[test]
fn refusals() {
    let code: Vec<_> = Refusal::ALL
        .iter()
        .map(|refusal| {
            let resumable = if refusal.resumable() { "yes" } else { "no" };
            vec![(*refusal as u16).to_string(), refusal.label().to_owned(), resumable.to_owned()]
        })
        .collect();
    assert_eq!(code, table("Refusals"));
    for refusal in Refusal::ALL {
        assert_eq!(Refusal::from_code(*refusal as u16), Some(*refusal));
        assert!(refusal.sentence().ends_with('.'), "{refusal:?} has no whole sentence");
    }
}

#[test]
fn traffic_classes() {
    let code: Vec<_> = TrafficClass::ALL
        .iter()
        .map(|class| vec![(*class as u8).to_string(), class.name().to_owned()])
        .collect();
    assert_eq!(code, table("Traffic classes"));
}

#[test]
fn messages_and_states_of_the_mesh() {
    let spec =
        |heading| table(heading).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect::<Vec<_>>();
    let code: Vec<_> =
        MeshMessageType::ALL.iter().map(|kind| ((*kind as u8).to_string(), format!("{kind:?}"))).collect();
    assert_eq!(code, spec("Mesh messages"));
    let code: Vec<_> = (0..=u8::MAX)
        .filter_map(|value| {
            Some((value.to_string(), format!("{:?}", DrainState::from_u8(value)?).to_lowercase()))
        })
        .collect();
    assert_eq!(code, spec("Drain states"));
    let code: Vec<_> = (0..=u8::MAX)
        .filter_map(|value| {
            Some((value.to_string(), format!("{:?}", MemberKind::from_u8(value)?).to_lowercase()))
        })
        .collect();
    assert_eq!(code, spec("Member kinds"));
}

#[test]
fn application_protocols() {
    use proto_spec::alpn::{ATTACH, DATA, GRPC, HTTP1, TRUNK};
    let code =
        [ATTACH, GRPC, HTTP1, TRUNK, DATA].map(|alpn| format!("`{}`", std::str::from_utf8(alpn).unwrap()));
    let spec: Vec<_> = table("Application protocols").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(spec, code);
}

/// [TRK-3], [TRK-5], [TRK-7], [TRK-13]
#[test]
fn frames_and_refusals_of_trunks() {
    let code: Vec<_> =
        TrunkFrameType::ALL.iter().map(|kind| vec![(*kind as u8).to_string(), format!("{kind:?}")]).collect();
    assert_eq!(code, table("Trunk frames"));
    let code: Vec<_> = TrunkRefusal::ALL
        .iter()
        .map(|refusal| vec![(*refusal as u8).to_string(), refusal.label().to_owned()])
        .collect();
    assert_eq!(code, table("Trunk refusals"));
    for refusal in TrunkRefusal::ALL {
        assert_eq!(TrunkRefusal::from_code(u16::from(*refusal as u8)), Some(*refusal));
        assert_ne!(*refusal as u8, WELCOME);
    }
}
