//! Real connections through fronts, on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(20);
/// What a busy machine may be late by without telling anything about the line.
const SOON: Duration = Duration::from_millis(5);

fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

/// A network of nodes 1 and 2, 60 ms apart and back; this process is node 1 and listens as node 2.
struct Stage {
    network: Network,
    front: SocketAddr,
    listener: TcpListener,
}

impl Stage {
    fn new(change: impl FnOnce(&mut Weather)) -> Stage {
        let mut weather = Weather::new(vec![vec![Duration::from_millis(60)]], 0);
        weather.regions = BTreeMap::from([(node(1), 0), (node(2), 0)]);
        change(&mut weather);
        let network = Network::new(weather, 1, Ground::Loopback).unwrap();
        let front = network.front(node(2), Service::Trunk).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        network.introduce(std::process::id(), Party::Node(node(1)));
        network.target(node(2), Service::Trunk, Some(listener.local_addr().unwrap()));
        Stage { network, front, listener }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(self.front).unwrap();
        let (far, _) = self.listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        (near, far)
    }
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn bytes_take_as_long_as_the_distance_says() {
    let stage = Stage::new(|_| {});
    let begun = Instant::now();
    let (mut near, mut far) = stage.connect();
    assert!(begun.elapsed() >= Duration::from_millis(60), "the handshake goes there and back");
    let begun = Instant::now();
    near.write_all(b"ping").unwrap();
    assert_eq!(read(&mut far, 4), b"ping");
    assert!(begun.elapsed() >= Duration::from_millis(30));
    far.write_all(b"pong").unwrap();
    assert_eq!(read(&mut near, 4), b"pong");
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[test]
fn much_arrives_whole_and_in_order_through_losses_and_jitter() {
    let stage = Stage::new(|weather| {
        weather.jitter_percent = 50;
        weather.lose(&[node(1), node(2)], 1);
    });
    let (mut near, mut far) = stage.connect();
    let sent: Vec<u8> = (0..400_000u32).flat_map(|at| (at as u16).to_le_bytes()).collect();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || {
        near.write_all(&copy).unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        near
    });
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    drop(writer.join().unwrap());
}

#[test]
fn a_thin_line_brings_what_it_brings() {
    // This process plays an endpoint; what the node says comes over its line.
    let stage = Stage::new(|weather| {
        weather.lines = vec![Line { region: 0, downstream: Some(100_000), only: None }];
    });
    stage.network.introduce(std::process::id(), Party::Line(0));
    let (mut near, mut far) = stage.connect();
    let begun = Instant::now();
    let writer = std::thread::spawn(move || {
        far.write_all(&[7; 50_000]).unwrap();
        far
    });
    read(&mut near, 50_000);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    drop(writer.join().unwrap());
}

#[test]
fn silence_holds_back_and_loses_nothing() {
    let stage = Stage::new(|_| {});
    let (mut near, mut far) = stage.connect();
    stage.network.weather(|weather| weather.silence(&[node(1)], &[node(2)])).unwrap();
    near.write_all(b"held").unwrap();
    // The other way works meanwhile.
    far.write_all(b"heard").unwrap();
    assert_eq!(read(&mut near, 5), b"heard");
    far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(far.read(&mut [0; 4]).is_err());
    // Nor is the end of the connection heard.
    drop(near);
    assert!(far.read(&mut [0; 4]).is_err());
    far.set_read_timeout(Some(LONG)).unwrap();
    stage.network.weather(Weather::heal).unwrap();
    assert_eq!(read(&mut far, 4), b"held");
    assert_eq!(far.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn nobody_connects_through_silence() {
    let stage = Stage::new(|weather| weather.partition(&[vec![node(1)], vec![node(2)]]));
    let mut near = TcpStream::connect(stage.front).unwrap();
    near.write_all(b"hello").unwrap();
    stage.listener.set_nonblocking(true).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(stage.listener.accept().is_err());
    stage.listener.set_nonblocking(false).unwrap();
    stage.network.weather(Weather::heal).unwrap();
    let (mut far, _) = stage.listener.accept().unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(read(&mut far, 5), b"hello");
}

#[test]
fn a_reset_is_heard_by_both() {
    let stage = Stage::new(|_| {});
    let (mut near, mut far) = stage.connect();
    near.write_all(b"a").unwrap();
    read(&mut far, 1);
    stage.network.weather(|weather| weather.reset(node(2), node(1))).unwrap();
    for stream in [&mut near, &mut far] {
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    // The next connection is not concerned.
    let (mut near, mut far) = stage.connect();
    near.write_all(b"b").unwrap();
    assert_eq!(read(&mut far, 1), b"b");
}

#[test]
fn what_one_end_does_the_other_hears_later() {
    let stage = Stage::new(|_| {});
    let (near, mut far) = stage.connect();
    let begun = Instant::now();
    SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
    drop(near);
    let error = far.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(begun.elapsed() + SOON >= Duration::from_millis(30));
}

#[test]
fn a_dead_node_and_a_forbidden_one_refuse() {
    let stage = Stage::new(|weather| {
        weather.lines = vec![Line { only: Some([node(1)].into()), ..Line::default() }];
    });
    let refused = || {
        let mut near = TcpStream::connect(stage.front).unwrap();
        near.set_read_timeout(Some(LONG)).unwrap();
        near.read(&mut [0; 1]).unwrap_err().kind() == std::io::ErrorKind::ConnectionReset
    };
    stage.network.introduce(std::process::id(), Party::Line(0));
    assert!(refused());
    stage.network.introduce(std::process::id(), Party::Node(node(1)));
    stage.network.target(node(2), Service::Trunk, None);
    assert!(refused());
}
