#!/usr/bin/env python3
"""Writes frames.json: frames built from the clauses FRM-1..FRM-12 alone, independently of the Rust code."""
import json
import pathlib
import struct
import sys

u8, u16, u32, u64 = (lambda v, f=f: struct.pack(">" + f, v) for f in "BHIQ")
var = lambda b: u16(len(b)) + b
frame = lambda kind, body: u8(kind) + struct.pack(">I", len(body))[1:] + body
peer = lambda p: u16(p[0]) + u8(p[1])

SESSION = bytes(range(16))
TICKET = b"v4.public.dGVzdA"
out = []


def add(name, frame_type, body, **fields):
    out.append({"name": name, **fields, "hex": frame(frame_type, body).hex()})


add("hello", 0x01, u16(1) + u16(3) + var(b"sealcast 0.1"), version_min=1, version_max=3, software="sealcast 0.1")
add("ticket", 0x02, var(TICKET) + u64(7) + u8(0) + b"\x5a" * 64, ticket=TICKET.decode(), attach_seq=7, standby=False)
add("ticket", 0x02, var(TICKET) + u64(8) + u8(1) + b"\x5a" * 64, ticket=TICKET.decode(), attach_seq=8, standby=True)
peers = [[1, 1], [9, 2], [65535, 3]]
add("attached", 0x03, SESSION + u16(2) + u8(2) + u64(7) + u32(15000) + u8(3) + b"".join(map(peer, peers)),
    session=SESSION.hex(), number=2, kind=2, attach_seq=7, ping_ms=15000, peers=peers)
add("attached", 0x03, SESSION + u16(2) + u8(1) + u64(1) + u32(15000) + u8(0),
    session=SESSION.hex(), number=2, kind=1, attach_seq=1, ping_ms=15000, peers=[])
nodes = ["a.example:8200", "[2001:db8::1]:443"]
addresses = u8(2) + b"".join(var(n.encode()) for n in nodes)
add("redirect", 0x04, addresses, addresses=nodes)
add("activate", 0x05, u64(9), attach_seq=9)
add("credit", 0x11, u8(3) + u64(1 << 40), **{"class": 3}, limit_bytes=1 << 40)
add("ping", 0x12, u64(0x0123456789ABCDEF), token=0x0123456789ABCDEF)
add("pong", 0x13, u64(0), token=0)
add("presence", 0x20, peer([5, 0]), peer=[5, 0])
add("path_hint", 0x21, u16(0), node=0)
add("path_hint", 0x21, u16(12), node=12)
add("move", 0x22, u32(30000) + addresses, deadline_ms=30000, addresses=nodes)
add("ready", 0x23, u64(9), attach_seq=9)
add("ended", 0x30, u16(10) + u16(0), refusal=10, number=0)
add("ended", 0x30, u16(11) + u16(3), refusal=11, number=3)
add("error", 0x31, u16(12) + u32(2500), refusal=12, retry_after_ms=2500)
add("detach", 0x32, b"")
add("data", 0x10, u8(0x30) + u16(4) + b"packet", **{"class": 3}, sender=4, to=None, replace=None, packet=b"packet".hex())
add("data", 0x10, u8(0x18) + u16(4) + u8(2) + u16(1) + u16(9) + b"x", **{"class": 1}, sender=4, to=[1, 9], replace=None,
    packet=b"x".hex())
add("data", 0x10, u8(0x26) + u16(4) + u16(2) + u32(77) + b"px", **{"class": 2}, sender=4, to=None, replace=[2, 77, True],
    packet=b"px".hex())
add("data", 0x10, u8(0x2C) + u16(4) + u8(1) + u16(1) + u16(2) + u32(78) + b"px", **{"class": 2}, sender=4, to=[1],
    replace=[2, 78, False], packet=b"px".hex())

text = "[\n" + ",\n".join("  " + json.dumps(v) for v in out) + "\n]\n"
path = pathlib.Path(__file__).with_name("frames.json")
if sys.argv[1:] != ["--check"]:
    path.write_text(text)
elif path.read_text() != text:
    sys.exit(f"{path.name} is not what the clauses give: run {sys.argv[0]} and read the difference")
else:
    print(f"{len(out)} frames are as the clauses give them")
