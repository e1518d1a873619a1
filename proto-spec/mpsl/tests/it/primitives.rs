//! The primitives beneath, against their RFCs' vectors and Wycheproof: that the libraries compute what the clauses name,
//! and that our wrappings of them refuse what they must.

use crypto_bigint::BoxedUint;
use hmac::{Hmac, KeyInit, Mac};
use ml_kem::{Decapsulate, DecapsulationKey, EncapsulationKey, KeyExport, MlKem768, TryKeyInit};
use sealcast_mpsl::keys::{Prk, verify};
use sealcast_mpsl::suite::{PacketKey, Suite};
use sealcast_mpsl::wrap::Kek;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use wycheproof::TestResult;
use x25519_dalek::{PublicKey, StaticSecret};

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.split_whitespace().collect::<String>()).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    unhex(text).try_into().unwrap()
}

fn seal(key: &PacketKey, nonce: &[u8; 12], associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = plaintext.to_vec();
    key.seal_tail(nonce, associated, &mut out, 0);
    out
}

fn open(key: &PacketKey, nonce: &[u8; 12], associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = sealed.to_vec();
    key.open_sealed(nonce, associated, &mut buffer).ok().map(|plaintext| plaintext.to_vec())
}

/// RFC 5054, appendix B: 1,024 bits and SHA-1, which checks the library's arithmetic, not our use of it.
#[test]
#[allow(deprecated)]
fn rfc_5054_appendix_b() {
    use srp::groups::G1024;
    let number = |text: &str| {
        let bytes = unhex(text);
        BoxedUint::from_be_slice(&bytes, 8 * bytes.len() as u32).unwrap()
    };
    let hash = |parts: &[&[u8]]| {
        let mut sha = Sha1::new();
        parts.iter().for_each(|part| sha.update(part));
        sha.finalize().to_vec()
    };
    let salt = unhex("BEB25379 D1A8581E B5A72767 3A2441EE");
    let x = hash(&[&salt, &hash(&[b"alice:password123"])]);
    assert_eq!(x, unhex("94B7555A ABE9127C C58CCF49 93DB6CF8 4D16C124"));
    let x = number(&hex::encode(x));
    let k = number("7556AA04 5AEF2CDD 07ABAF0F 665C3E81 8913186F");
    let client = srp::Client::<G1024, Sha1>::new();
    let server = srp::Server::<G1024, Sha1>::new();
    let v = client.compute_g_x(&x);
    assert_eq!(
        &*v.to_be_bytes(),
        unhex(
            "7E273DE8696FFC4F4E337D05B4B375BEB0DDE1569E8FA00A9886D8129BADA1F1822223CA1A605B530E379BA4729FDC59
             F105B4787E5186F5C671085A1447B52A48CF1970B4FB6F8400BBF4CEBFBB168152E08AB5EA53D15C1AFF87B2B9DA6E04
             E058AD51CC72BFC9033B564E26480D78E955A5E29E7AB245DB2BE315E2099AFB"
        )
    );
    let a = number("60975527035CF2AD1989806F0407210BC81EDC04E2762A56AFD529DDDA2D4393");
    let b = number("E487CB59D31AC550471E81F00F6928E01DDA08E974A004F49E61F5D105284D20");
    let a_public = client.compute_g_x(&a);
    let b_public = server.compute_b_pub(&b, &k, &v);
    assert_eq!(a_public.to_be_bytes()[..8], unhex("61D5E490F6F1B795"));
    assert_eq!(b_public.to_be_bytes()[..8], unhex("BD0C61512C692C0C"));
    let u = hash(&[&a_public.to_be_bytes(), &b_public.to_be_bytes()]);
    assert_eq!(u, unhex("CE38B959 3487DA98 554ED47D 70A7AE5F 462EF019"));
    let u = number(&hex::encode(u));
    let premaster = unhex(
        "B0DC82BABCF30674AE450C0287745E7990A3381F63B387AAF271A10D233861E359B48220F7C4693C9AE12B0A6F67809F
         0876E2D013800D6C41BB59B6D5979B5C00A172B4A2A5903A0BDCAF8A709585EB2AFAFA8F3499B200210DCC1F10EB3394
         3CD67FC88A2F39A4BE5BEC4EC0A3212DC346D7E474B29EDE8A469FFECA686E5A",
    );
    assert_eq!(&*client.compute_premaster_secret(&b_public, &k, &x, &a, &u).to_be_bytes(), premaster);
    assert_eq!(&*server.compute_premaster_secret(&a_public, &v, &u, &b).to_be_bytes(), premaster);
}

/// RFC 3394, section 4.6 \[PWM-4\].
#[test]
fn rfc_3394_section_4() {
    let kek = Kek::new(std::array::from_fn(|at| at as u8));
    let secret = array("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
    let wrapped: [u8; 40] =
        array("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21");
    assert_eq!(kek.wrap(&secret), wrapped);
    assert_eq!(*kek.unwrap(&wrapped).unwrap(), secret);
}

/// \[PWM-4\]: wrapped blobs of 0 to 39 and 41 and more bytes, `A6 x 8`, and blobs under another key are refused.
#[test]
fn wrapped_keys_of_other_lengths_and_keys_are_refused() {
    let kek = Kek::new([7; 32]);
    let wrapped = kek.wrap(&[9; 32]);
    assert!(Kek::new([8; 32]).unwrap(&wrapped).is_err());
    let long = [wrapped, [0xa6; 40]].concat();
    for length in (0..=80).filter(|length| *length != 40) {
        assert!(kek.unwrap(&long[..length]).is_err(), "{length} bytes");
    }
    for at in 0..40 {
        let mut altered = wrapped;
        altered[at] ^= 1;
        assert!(kek.unwrap(&altered).is_err(), "byte {at}");
    }
    // What makes the length check necessary: the library beneath takes this for an empty key.
    let mut empty = [0u8; 0];
    assert!(aes_kw::KwAes256::new(&[7; 32].into()).unwrap_key(&[0xa6; 8], &mut empty).is_ok());
    assert!(kek.unwrap(&[0xa6; 8]).is_err());
    assert!(kek.unwrap(&[0xa6; 40]).is_err());
    // Correctly wrapped keys of other lengths.
    for length in [16, 24, 40] {
        let mut other = vec![0u8; length + 8];
        aes_kw::KwAes256::new(&[7; 32].into()).wrap_key(&vec![1; length], &mut other).unwrap();
        assert!(kek.unwrap(&other).is_err(), "a key of {length} bytes");
    }
}

/// RFC 8452, appendices C.2 and C.3 \[SUI-2\].
#[test]
fn rfc_8452_appendix_c() {
    let key = PacketKey::new(Suite::Modern, &array::<32>(&format!("01{}", "00".repeat(31))));
    let nonce = array("030000000000000000000000");
    for (associated, plaintext, sealed) in [
        ("", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
        ("", "0100000000000000", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"),
        ("", "010000000000000000000000", "9aab2aeb3faa0a34aea8e2b18ca50da9ae6559e48fd10f6e5c9ca17e"),
        ("01", "0200000000000000", "1de22967237a813291213f267e3b452f02d01ae33e4ec854"),
    ] {
        let (associated, plaintext) = (unhex(associated), unhex(plaintext));
        assert_eq!(seal(&key, &nonce, &associated, &plaintext), unhex(sealed));
        assert_eq!(open(&key, &nonce, &associated, &unhex(sealed)), Some(plaintext));
    }
    // C.3: the counter wraps.
    let key = PacketKey::new(Suite::Modern, &[0; 32]);
    let sealed = seal(
        &key,
        &[0; 12],
        b"",
        &unhex("00000000000000000000000000000000 4db923dc793ee6497c76dcc03a98e108"),
    );
    let expected =
        "f3f80f2cf0cb2dd9c5984fcda908456c c537703b5ba70324a6793a7bf218d3ea ffffffff000000000000000000000000";
    assert_eq!(sealed, unhex(expected));
}

/// RFC 3686, section 6, vectors 1 to 3, through the classic suite: its nonce is the RFC's nonce and IV, its blocks count
/// from 1 \[SUI-3\].
#[test]
fn rfc_3686_section_6() {
    let counting = |length: u8| (0..length).collect::<Vec<u8>>();
    for (key, nonce, plaintext, ciphertext) in [
        (
            "AE6852F8121067CC4BF7A5765577F39E",
            "00000030 0000000000000000",
            b"Single block msg".to_vec(),
            "E4095D4FB7A7B3792D6175A3261311B8",
        ),
        (
            "7E24067817FAE0D743D6CE1F32539163",
            "006CB6DB C0543B59DA48D90B",
            counting(32),
            "5104A106168A72D9790D41EE8EDAD388EB2E1EFC46DA57C8FCE630DF9141BE28",
        ),
        (
            "7691BE035E5020A8AC6E618529F9A0DC",
            "00E0017B 27777F3F4A1786F0",
            counting(36),
            "C1CF48A89F2FFDD9CF4652E9EFDB72D74540A42BDE6D7836D59A5CEAAEF3105325B2072F",
        ),
    ] {
        let mac_key = [0x0b; 20];
        let packet_key = PacketKey::new(Suite::Classic, &[&unhex(key)[..], &mac_key].concat());
        let sealed = seal(&packet_key, &array(nonce), b"header", &plaintext);
        assert_eq!(sealed[..plaintext.len()], unhex(ciphertext));
        // Encrypt-then-MAC over header and ciphertext.
        let mac = Hmac::<Sha1>::new_from_slice(&mac_key).unwrap().chain_update(b"header");
        let tag = mac.chain_update(&sealed[..plaintext.len()]).finalize().into_bytes();
        assert_eq!(sealed[plaintext.len()..], tag[..]);
        assert_eq!(open(&packet_key, &array(nonce), b"header", &sealed), Some(plaintext));
    }
}

/// \[SUI-1\] \[SUI-2\] \[SUI-3\] \[SUI-4\]: in both suites any altered byte of nonce, associated data, ciphertext or tag
/// keeps the packet shut, a short one too, and a failed opening leaves no plaintext behind.
#[test]
fn altered_packets_stay_shut_in_both_suites() {
    assert_eq!([0, 1, 2, 3].map(Suite::from_u8), [None, Some(Suite::Modern), Some(Suite::Classic), None]);
    for suite in Suite::ALL {
        let key = PacketKey::new(suite, &[3; 36][..suite.key_length()]);
        // The header holds what the nonce is made of, as in records and pairwise packets.
        let nonce = [5; 12];
        let header = [&nonce[..], b"class"].concat();
        let plaintext = b"a plaintext of 40 bytes, which is no mul";
        let sealed = seal(&key, &nonce, &header, plaintext);
        assert_eq!(sealed.len(), plaintext.len() + suite.tag_length());
        assert_eq!(open(&key, &nonce, &header, &sealed).as_deref(), Some(&plaintext[..]));
        for at in 0..header.len() {
            let mut altered = header.clone();
            altered[at] ^= 0x80;
            let nonce: [u8; 12] = altered[..12].try_into().unwrap();
            assert_eq!(open(&key, &nonce, &altered, &sealed), None, "{suite:?} header {at}");
        }
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(open(&key, &nonce, &header, &altered), None, "{suite:?} byte {at}");
            let result = key.open_sealed(&nonce, &header, &mut altered);
            assert!(result.is_err());
            assert!(!altered.windows(8).any(|window| plaintext.windows(8).any(|plain| plain == window)));
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&key, &nonce, &header, &sealed[..length]), None, "{suite:?} {length} bytes");
        }
        assert_eq!(open(&key, &nonce, &header, &[&sealed[..], &[0]].concat()), None);
        let mut buffer = sealed[..plaintext.len()].to_vec();
        assert!(key.open_in_place(&nonce, &header, &mut buffer, &[]).is_err());
        let empty = seal(&key, &nonce, &header, b"");
        assert_eq!(open(&key, &nonce, &header, &empty), Some(vec![]));
    }
}

/// RFC 2202, section 3.
#[test]
fn rfc_2202_section_3() {
    let counting: Vec<u8> = (1..=25).collect();
    for (key, message, tag) in [
        (&[0x0b; 20][..], &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
        (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
        (&counting, &[0xcd; 50], "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
        (&[0x0c; 20], b"Test With Truncation", "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "aa4ae5e15272d00e95705637ce8a3b55ed402112",
        ),
        (
            &[0xaa; 80],
            b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
            "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
        ),
    ] {
        let mac = Hmac::<Sha1>::new_from_slice(key).unwrap().chain_update(message);
        assert_eq!(mac.finalize().into_bytes()[..], unhex(tag));
    }
}

/// RFC 5869, appendix A, cases 1 to 3.
#[test]
fn rfc_5869_appendix_a() {
    let counting = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    for (ikm, salt, info, okm) in [
        (
            vec![0x0b; 22],
            counting(0x00, 0x0c),
            counting(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            counting(0x00, 0x4f),
            counting(0x60, 0xaf),
            counting(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c
             59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ] {
        let expected = unhex(okm);
        let mut made = vec![0; expected.len()];
        Prk::extract(&salt, &[&ikm[..5], &ikm[5..]]).expand(&[&info], &mut made);
        assert_eq!(made, expected);
    }
}

/// RFC 7748, section 6.1.
#[test]
fn rfc_7748_section_6() {
    let alice =
        StaticSecret::from(array::<32>("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob =
        StaticSecret::from(array::<32>("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let public = PublicKey::from(&alice);
    assert_eq!(
        public.as_bytes()[..],
        unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    let shared = unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(bob.diffie_hellman(&public).as_bytes()[..], shared);
    assert_eq!(alice.diffie_hellman(&PublicKey::from(&bob)).as_bytes()[..], shared);
}

/// RFC 8032, section 7.1, tests 1 to 3.
#[test]
fn rfc_8032_section_7() {
    use ed25519_dalek::{Signer, SigningKey};
    for (secret, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b
             d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c
             387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659
             4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let key = SigningKey::from_bytes(&array(secret));
        let (message, expected) = (unhex(message), array::<64>(signature));
        assert_eq!(key.verifying_key().to_bytes(), array::<32>(public));
        assert_eq!(key.sign(&message).to_bytes(), expected);
        assert!(verify(&array(public), &message, &expected).is_ok());
        assert!(verify(&array(public), b"another", &expected).is_err());
    }
}

/// Counts what was run, so that an empty set cannot pass.
fn ran(count: usize, at_least: usize) {
    assert!(count >= at_least, "only {count} cases ran");
}

#[test]
fn wycheproof_aes_gcm_siv() {
    use wycheproof::aead::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::AesGcmSiv).unwrap().test_groups {
        if group.key_size != 256 {
            continue;
        }
        for test in group.tests {
            let key = PacketKey::new(Suite::Modern, &test.key);
            let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
                assert!(test.result.must_fail());
                continue;
            };
            let sealed = [&test.ct[..], &test.tag].concat();
            let opened = open(&key, &nonce, &test.aad, &sealed);
            if test.result == TestResult::Valid {
                assert_eq!(opened.as_deref(), Some(&test.pt[..]), "case {}", test.tc_id);
                assert_eq!(seal(&key, &nonce, &test.aad, &test.pt), sealed, "case {}", test.tc_id);
            } else {
                assert_eq!(opened, None, "case {}", test.tc_id);
            }
            count += 1;
        }
    }
    ran(count, 80);
}

/// All cases of 256-bit keys, valid ones for other lengths too: those are refused by their length.
#[test]
fn wycheproof_aes_wrap() {
    use wycheproof::keywrap::{TestName, TestSet};
    let (mut count, mut unwrapped) = (0, 0);
    for group in TestSet::load(TestName::AesKeyWrap).unwrap().test_groups {
        for test in group.tests {
            let Ok(key) = <[u8; 32]>::try_from(&test.key[..]) else { continue };
            count += 1;
            let kek = Kek::new(key);
            let result = kek.unwrap(&test.ct);
            match (test.result, <[u8; 32]>::try_from(&test.pt[..])) {
                (TestResult::Valid, Ok(secret)) => {
                    assert_eq!(*result.unwrap(), secret, "case {}", test.tc_id);
                    assert_eq!(kek.wrap(&secret)[..], test.ct[..], "case {}", test.tc_id);
                    unwrapped += 1;
                }
                _ => assert!(result.is_err(), "case {}", test.tc_id),
            }
        }
    }
    ran(count, 40);
    ran(unwrapped, 3);
}

#[test]
fn wycheproof_hmac() {
    use wycheproof::mac::{TestName, TestSet};
    fn check<M: Mac + KeyInit>(name: TestName) {
        let mut count = 0;
        for group in TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let mac = <M as KeyInit>::new_from_slice(&test.key).unwrap().chain_update(&test.msg[..]);
                let result = if group.tag_size == 8 * M::output_size() {
                    mac.verify_slice(&test.tag)
                } else {
                    mac.verify_truncated_left(&test.tag)
                };
                assert_eq!(result.is_err(), test.result.must_fail(), "case {}", test.tc_id);
                count += 1;
            }
        }
        ran(count, 160);
    }
    check::<Hmac<Sha1>>(TestName::HmacSha1);
    check::<Hmac<Sha256>>(TestName::HmacSha256);
}

#[test]
fn wycheproof_hkdf_sha256() {
    use wycheproof::hkdf::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
        for test in group.tests {
            // Longer expansions are our own bug: nothing foreign chooses a length.
            if test.size > 255 * 32 {
                assert!(test.result.must_fail());
                continue;
            }
            let mut made = vec![0; test.size];
            Prk::extract(&test.salt, &[&test.ikm[..]]).expand(&[&test.info[..]], &mut made);
            assert_eq!(made == test.okm[..], !test.result.must_fail(), "case {}", test.tc_id);
            count += 1;
        }
    }
    ran(count, 80);
}

#[test]
fn wycheproof_x25519() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let (mut count, mut zero) = (0, 0);
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let secret = StaticSecret::from(<[u8; 32]>::try_from(&test.private_key[..]).unwrap());
            let Ok(public) = <[u8; 32]>::try_from(&test.public_key[..]) else {
                assert!(test.result.must_fail());
                continue;
            };
            let shared = secret.diffie_hellman(&PublicKey::from(public));
            assert_eq!(shared.as_bytes()[..], test.shared_secret[..], "case {}", test.tc_id);
            // The check that refuses keys of small order \[SRP-3\].
            assert_eq!(!shared.was_contributory(), test.flags.contains(&TestFlag::ZeroSharedSecret));
            zero += usize::from(!shared.was_contributory());
            count += 1;
        }
    }
    ran(count, 500);
    ran(zero, 10);
}

#[test]
fn wycheproof_ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let mut count = 0;
    for group in TestSet::load(TestName::Ed25519).unwrap().test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
        for test in group.tests {
            let is_valid = <[u8; 64]>::try_from(&test.sig[..])
                .is_ok_and(|signature| verify(&key, &test.msg, &signature).is_ok());
            assert_eq!(is_valid, test.result == TestResult::Valid, "case {}", test.tc_id);
            count += 1;
        }
    }
    ran(count, 140);
}

/// Decapsulation, encapsulation with the key check of FIPS 203, and key generation \[SRP-3\].
#[test]
fn wycheproof_ml_kem_768() {
    use wycheproof::mlkem::{TestName, TestSet};
    let cases = |name| {
        let groups = TestSet::load(name).unwrap().test_groups;
        groups.into_iter().flat_map(|group| group.tests).collect::<Vec<_>>()
    };
    let mut count = [0; 4];
    for test in cases(TestName::MlKem768) {
        let seed = <[u8; 64]>::try_from(&test.seed.as_ref().unwrap()[..]);
        let ciphertext = <[u8; 1088]>::try_from(&test.ct.as_ref().unwrap()[..]);
        let (Ok(seed), Ok(ciphertext)) = (seed, ciphertext) else {
            assert!(test.result.must_fail(), "case {}", test.tc_id);
            continue;
        };
        let key = DecapsulationKey::<MlKem768>::from_seed(seed.into());
        if let Some(public) = &test.encaps_key {
            assert_eq!(key.encapsulation_key().to_bytes()[..], public[..], "case {}", test.tc_id);
        }
        let shared = key.decapsulate(&ciphertext.into());
        let is_right = shared[..] == test.shared_secret.as_ref().unwrap()[..];
        assert_eq!(is_right, !test.result.must_fail(), "case {}", test.tc_id);
        count[0] += 1;
    }
    for test in cases(TestName::MlKem768Encaps) {
        let key = EncapsulationKey::<MlKem768>::new_from_slice(&test.encaps_key.as_ref().unwrap()[..]);
        let Ok(key) = key else {
            assert!(test.result.must_fail(), "case {}", test.tc_id);
            count[2] += 1;
            continue;
        };
        assert!(!test.result.must_fail(), "case {}", test.tc_id);
        let message: [u8; 32] = test.msg.as_ref().unwrap()[..].try_into().unwrap();
        let (ciphertext, shared) = key.encapsulate_deterministic(&message.into());
        assert_eq!(ciphertext[..], test.ct.as_ref().unwrap()[..], "case {}", test.tc_id);
        assert_eq!(shared[..], test.shared_secret.as_ref().unwrap()[..], "case {}", test.tc_id);
        count[1] += 1;
    }
    for test in cases(TestName::MlKem768KeyGenSeed) {
        let seed: [u8; 64] = test.seed.as_ref().unwrap()[..].try_into().unwrap();
        let key = DecapsulationKey::<MlKem768>::from_seed(seed.into());
        assert_eq!(key.encapsulation_key().to_bytes()[..], test.encaps_key.as_ref().unwrap()[..]);
        count[3] += 1;
    }
    assert!(count.iter().all(|count| *count >= 90), "{count:?}");
}
