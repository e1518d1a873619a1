#!/usr/bin/env python3
"""Checks the MPSL vectors against a second implementation, written from the clauses alone.

Shares no code with the Rust crate: Python's integers for SRP, PyPI's `cryptography` (48 or newer, for ML-KEM and
AES-GCM-SIV) for everything else. Usage: check_mpsl.py [FOLDER]; exit code 0 if all agrees.
"""
import hashlib
import hmac
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

# ----------------------------------------------------------------------------------------------- common to all parts

MODERN, CLASSIC = 1, 2
KEY_LENGTH = {MODERN: 32, CLASSIC: 36}
TAG_LENGTH = {MODERN: 16, CLASSIC: 20}

u8, u16, u32, u64 = (lambda v, f=f: struct.pack(">" + f, v) for f in "BHIQ")
unhex = bytes.fromhex


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf_extract(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk, info, length):
    return HKDFExpand(hashes.SHA256(), length, info).derive(prk)


def seal(suite, key, nonce, associated, plaintext):
    """[SUI-2] [SUI-3]: ciphertext | tag."""
    assert len(nonce) == 12 and len(key) == KEY_LENGTH[suite]
    if suite == MODERN:
        return AESGCMSIV(key).encrypt(nonce, plaintext, associated)
    encryptor = Cipher(algorithms.AES128(key[:16]), modes.CTR(nonce + u32(1))).encryptor()
    ciphertext = encryptor.update(plaintext) + encryptor.finalize()
    return ciphertext + hmac.digest(key[16:], associated + ciphertext, "sha1")


def unseal(suite, key, nonce, associated, sealed):
    """The inverse of seal; raises InvalidTag."""
    assert len(nonce) == 12 and len(key) == KEY_LENGTH[suite]
    if suite == MODERN:
        return AESGCMSIV(key).decrypt(nonce, sealed, associated)
    ciphertext, tag = sealed[:-20], sealed[-20:]
    if not hmac.compare_digest(tag, hmac.digest(key[16:], associated + ciphertext, "sha1")):
        raise InvalidTag
    decryptor = Cipher(algorithms.AES128(key[:16]), modes.CTR(nonce + u32(1))).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def equal(what, made, expected):
    if made != expected:
        show = lambda v: v.hex() if isinstance(v, bytes) else v
        raise AssertionError(f"{what}: made {show(made)}, file has {show(expected)}")


def fields(packet, *lengths):
    """Cuts a packet into fields; the last length may be None for the rest."""
    out, at = [], 0
    for length in lengths:
        end = len(packet) if length is None else at + length
        assert end <= len(packet), "packet too short"
        out.append(packet[at:end])
        at = end
    assert at == len(packet), "packet too long"
    return out


# ------------------------------------------------------------------------------------------------------- handshakes

# RFC 5054, appendix A, 3072-bit group: 2^3072 - 2^3008 - 1 + 2^64 * (floor(2^2942 pi) + 1690314) (RFC 3526, group 15).
G = 5


def modulus_3072():
    # pi by Machin's formula in fixed point, so that the constant is not copied from anywhere.
    bits = 2942 + 128

    def arctan_inverse(x):
        total = term = (1 << bits) // x
        n, sign = 3, -1
        while term:
            term //= x * x
            total += sign * (term // n)
            sign, n = -sign, n + 2
        return total

    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))
    return 2**3072 - 2**3008 - 1 + 2**64 * ((pi >> 128) + 1690314)


N = modulus_3072()


def pad(value):
    return value.to_bytes(384, "big")


def check_handshake(case):
    suite = case["suite_value"]
    random = {name: unhex(value) for name, value in case["random"].items()}
    m1, m2, m3, m4 = (unhex(case[name]) for name in ("m1", "m2", "m3", "m4"))

    # Private values and what follows from them.
    a, b = (int.from_bytes(random[name], "big") for name in "ab")
    identity, phrase = str(case["code"]).encode(), case["words"].encode()
    x = int.from_bytes(sha256(random["salt"], sha256(identity + b":" + phrase)), "big")  # [SRP-1]
    k = int.from_bytes(sha256(pad(N), pad(G)), "big")
    v = pow(G, x, N)
    a_public = pow(G, a, N)
    b_public = (k * v + pow(G, b, N)) % N
    u = int.from_bytes(sha256(pad(a_public), pad(b_public)), "big")
    joiner_s = pow(b_public - k * pow(G, x, N), a + u * x, N)
    leader_s = pow(a_public * pow(v, u, N), b, N)
    assert joiner_s == leader_s
    equal("premaster", pad(joiner_s), unhex(case["premaster"]))

    joiner_x = X25519PrivateKey.from_private_bytes(random["joiner_x25519"])
    leader_x = X25519PrivateKey.from_private_bytes(random["leader_x25519"])
    kem = MLKEM768PrivateKey.from_seed_bytes(random["ml_kem_seed"])
    joiner_sign = Ed25519PrivateKey.from_private_bytes(random["joiner_ed25519"])
    leader_sign = Ed25519PrivateKey.from_private_bytes(random["leader_ed25519"])
    raw = lambda private: private.public_key().public_bytes_raw()

    # [HSK-2] M1, byte for byte.
    equal("m1", b"\x01\x01" + u8(1) + u8(suite) + unhex(case["session"]) + u16(case["joiner"]) + u16(case["leader"])
          + u32(case["code"]) + random["joiner_nonce"] + raw(joiner_sign) + raw(joiner_x) + raw(kem) + pad(a_public), m1)
    # [HSK-3] M2; encapsulation draws its own randomness here, so the ciphertext is taken and decapsulated.
    head, nonce, salt, key, x_public, ciphertext, srp_b = fields(m2, 2, 32, 32, 32, 32, 1088, 384)
    equal("m2", (head, nonce, salt, key, x_public, srp_b),
          (b"\x01\x02", random["leader_nonce"], random["salt"], raw(leader_sign), raw(leader_x), pad(b_public)))
    ss_x = joiner_x.exchange(X25519PublicKey.from_public_bytes(x_public))
    equal("x25519", ss_x, unhex(case["x25519"]))
    ss_kem = kem.decapsulate(ciphertext)
    equal("ml_kem", ss_kem, unhex(case["ml_kem"]))
    # FIPS 203, algorithm 17: K is the first half of SHA3-512(m | SHA3-256(ek)).
    equal("ml_kem m", hashlib.sha3_512(random["ml_kem_m"] + hashlib.sha3_256(raw(kem)).digest()).digest()[:32], ss_kem)

    # [HSK-4] [HSK-5]
    th = sha256(b"mpsl th 1", u32(len(m1)), m1, u32(len(m2)), m2)
    equal("th", th, unhex(case["th"]))
    prk = hkdf_extract(th, pad(joiner_s) + ss_x + ss_kem)
    keys = {}
    for name, label, length in [
        ("confirm_joiner", b"mpsl confirm joiner", 32), ("confirm_leader", b"mpsl confirm leader", 32),
        ("to_leader", b"mpsl to leader", KEY_LENGTH[suite]), ("to_member", b"mpsl to member", KEY_LENGTH[suite]),
        ("chain", b"mpsl chain", 32),
    ]:
        keys[name] = hkdf_expand(prk, label, length)
        equal(name, keys[name], unhex(case[name]))

    # [HSK-6] [HSK-7] M3 and M4.
    for message, packet, letter, confirm, direction, label, private, name in [
        (3, m3, b"J", "confirm_joiner", "to_leader", b"mpsl joiner", joiner_sign, case["joiner_name"]),
        (4, m4, b"L", "confirm_leader", "to_member", b"mpsl leader", leader_sign, case["leader_name"]),
    ]:
        plaintext = private.sign(label + th) + u16(len(name.encode())) + name.encode()
        associated = b"\x01" + u8(message) + u64(0) + th
        sealed = seal(suite, keys[direction], bytes(12), associated, plaintext)
        proof = hmac.digest(keys[confirm], letter + th, "sha256")
        equal(f"m{message}", b"\x01" + u8(message) + proof + u16(len(sealed)) + sealed, packet)
        Ed25519PublicKey.from_public_bytes(raw(private)).verify(plaintext[:64], label + th)

    # [PWM-1] [PWM-2] Counters go on from 1, each direction by itself.
    counters = {"member": 1, "leader": 1}
    for message in case["pairwise"]:
        sender = message["from"]
        header = b"\x02" + u8(message["type"]) + u64(counters[sender])
        key = keys["to_leader" if sender == "member" else "to_member"]
        sealed = seal(suite, key, bytes(4) + u64(counters[sender]), header + th, unhex(message["plaintext"]))
        equal("pairwise", header + sealed, unhex(message["packet"]))
        counters[sender] += 1

    # [PWM-3] [PWM-4]
    chain, step = keys["chain"], 0
    for wrap in case["wraps"]:
        while step < wrap["step"]:
            chain, step = hkdf_expand(chain, b"next", 32), step + 1
        kek = hkdf_expand(chain, b"kek" + unhex(wrap["epoch"]) + u16(wrap["number"]), 32)
        equal("kek", kek, unhex(wrap["kek"]))
        equal("wrapped", aes_key_wrap(kek, unhex(wrap["secret"])), unhex(wrap["wrapped"]))


def check_handshakes(folder):
    cases = json.loads((folder / "mpsl-handshake.json").read_text())["handshakes"]
    assert [case["suite_value"] for case in cases] == [MODERN, CLASSIC]
    for case in cases:
        check_handshake(case)
        print(f"handshake {case['suite']}: agrees")


# ---------------------------------------------------------------------------------------------------------- records


def unpad(content):
    """[REC-7]"""
    end = content.rindex(0x80)
    assert not any(content[end + 1:]), "padding"
    assert len(content) == -(-(end + 1) // 64) * 64, "padded length"
    return content[:end]


def lz4_block(block):
    """Decompresses one LZ4 block (lz4_Block_format.md)."""
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        if nibble == 15:
            while True:
                more = block[at]
                at += 1
                total += more
                if more != 255:
                    break
        return total

    while True:
        token = block[at]
        at += 1
        literals = length(token >> 4)
        out += block[at:at + literals]
        at += literals
        if at == len(block):
            return bytes(out)
        offset = block[at] | block[at + 1] << 8
        at += 2
        assert 0 < offset <= len(out), "LZ4 offset"
        for _ in range(length(token & 15) + 4):
            out.append(out[-offset])


def read_body(body):
    """[REC-7]"""
    encoding, content = body[0], body[1:]
    if encoding == 0:
        return content
    if encoding == 1:
        return unpad(content)
    assert encoding == 2, "encoding"
    plaintext = lz4_block(content[2:])
    equal("length of compressed plaintext", len(plaintext), int.from_bytes(content[:2], "big"))
    return plaintext


def check_epoch(session, epoch):
    """[GRP-2] [GRP-4] [GRP-6]: makes roster and epoch message anew; returns what records need."""
    seeds = {member["number"]: Ed25519PrivateKey.from_private_bytes(unhex(member["seed"])) for member in epoch["members"]}
    public = {number: key.public_key().public_bytes_raw() for number, key in seeds.items()}
    secret = unhex(epoch["secret"])
    members = b"".join(
        u16(member["number"]) + public[member["number"]] + u8(member["role"])
        + u16(len(member["name"].encode())) + member["name"].encode()
        for member in epoch["members"]
    )
    roster = (
        u64(epoch["epoch"]) + public[epoch["creator"]]
        + u8(len(epoch["deputies"])) + b"".join(map(u16, epoch["deputies"]))
        + u8(len(epoch["members"])) + members + sha256(b"mpsl group secret", secret)
    )
    equal("roster", roster, unhex(epoch["roster"]))
    signed = b"mpsl roster" + session + roster
    roster_hash = sha256(signed)
    equal("roster hash", roster_hash, unhex(epoch["roster_hash"]))

    leader = epoch["epoch"] >> 32 & 0xffff
    chain = unhex(epoch["chain_key_0"])
    for _ in range(epoch["step"]):
        chain = hkdf_expand(chain, b"next", 32)
    kek = hkdf_expand(chain, b"kek" + u64(epoch["epoch"]) + u16(epoch["to"]), 32)
    message = u16(len(roster)) + roster + seeds[leader].sign(signed) + u32(epoch["step"]) + aes_key_wrap(kek, secret)
    equal("epoch message", message, unhex(epoch["message"]))

    # [GRP-10]
    prk = hkdf_extract(session + u64(epoch["epoch"]) + roster_hash, secret)
    return {"prk": prk, "hash": roster_hash, "seeds": seeds, "public": public}


def check_messages(messages, roster_hash):
    """[GRP-8] [GRP-13]"""
    nonce, epoch = unhex(messages["nonce"]), u64(messages["epoch"])
    equal("heartbeat", nonce + epoch, unhex(messages["heartbeat"]))
    equal("heartbeat without an epoch", nonce + u64(0), unhex(messages["heartbeat_without_epoch"]))
    equal("answer", nonce + epoch + roster_hash, unhex(messages["answer"]))
    equal("notices", [unhex(notice) for notice in messages["notices"]], [u8(n) for n in (1, 2, 3, 4)])


def open_record(suite, epochs, record, counters, carried=False):
    """[REC-1] [REC-4] [REC-6] [REC-11]: opens header | sealed, makes it anew, and returns the plaintext."""
    header, sealed = fields(record, 24, None)
    kind, sender = header[1] & 15, int.from_bytes(header[2:4], "big")
    equal("suite", header[0], suite)
    epoch = epochs[int.from_bytes(header[4:12], "big")]
    public = epoch["public"][sender]
    key = hkdf_expand(epoch["prk"], b"sender" + header[2:4] + public + u8(suite), KEY_LENGTH[suite])
    inside = unseal(suite, key, header[12:], header, sealed)
    equal("sealed", seal(suite, key, header[12:], header, inside), sealed)
    if not carried:
        equal("counter", int.from_bytes(header[16:], "big"), counters.get(header[12:16], 0))
        counters[header[12:16]] = counters.get(header[12:16], 0) + 1
    body = inside
    if kind != 0:
        body = inside[:-64]
        signed = b"mpsl record" + epoch["hash"] + header + sha256(body)
        equal("signature", epoch["seeds"][sender].sign(signed), inside[-64:])
    if kind != 2:
        return read_body(body)
    assert not carried, "nested"
    assert body[2:4] == header[2:4] and body[12:16] == header[12:16] and body[1] >> 4 == header[1] >> 4
    return open_record(suite, epochs, body, counters, carried=True)


def check_records(folder):
    file = json.loads((folder / "mpsl-records.json").read_text())
    session = unhex(file["session"])
    epochs = {epoch["epoch"]: check_epoch(session, epoch) for epoch in file["epochs"]}
    print("epochs: agree")
    check_messages(file["messages"], epochs[file["messages"]["epoch"]]["hash"])
    assert [case["suite_value"] for case in file["suites"]] == [MODERN, CLASSIC]
    for case in file["suites"]:
        counters = {}
        for record in case["records"]:
            packet = unhex(record["packet"])
            equal("packet kind", packet[0], 3)
            equal(record["what"], open_record(case["suite_value"], epochs, packet[1:], counters), unhex(record["plaintext"]))
        print(f"records {case['suite']}: agree")

    # [REC-12]: the base statement and its acknowledgement, from their fields.
    said = {record["what"]: unhex(record["plaintext"]) for record in file["suites"][0]["records"]}
    entry = lambda stream, counter, sequence: u32(stream) + u64(counter) + u64(sequence)
    bases = b"\1\3" + entry(2, 3, 40) + entry(9, 1, 0) + entry(16, 3, 3)
    equal("bases", bases, said["base statement"])
    equal("acknowledgement", b"\2" + u16(5), said["acknowledgement of 5's bases"])


# ------------------------------------------------------------------------------------------------------------- main

CHECKS = [check_handshakes, check_records]


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for check in CHECKS:
        check(folder)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, InvalidTag) as error:
        sys.exit(f"check_mpsl.py: {error or error.__class__.__name__}")
