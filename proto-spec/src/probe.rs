//! Plaintext probes: RTT and open ports, nothing sensitive, an answer as long as its question \[PRB-1\].

/// First bytes of a probe.
pub const PROBE_MAGIC: [u8; 8] = *b"SCPROBE1";
/// Length of question and answer in bytes: magic and a token of eight bytes.
pub const PROBE_LENGTH: usize = 16;
/// First bytes of the answer.
pub const PROBE_ANSWER_MAGIC: [u8; 8] = *b"SCPRESP1";

/// The answer to a probe; `None` if the bytes are not one.
pub fn answer(question: &[u8; PROBE_LENGTH]) -> Option<[u8; PROBE_LENGTH]> {
    question.starts_with(&PROBE_MAGIC).then(|| {
        let mut answer = *question;
        answer[..8].copy_from_slice(&PROBE_ANSWER_MAGIC);
        answer
    })
}

/// The question that carries `token`.
pub fn question(token: [u8; 8]) -> [u8; PROBE_LENGTH] {
    let mut question = [0u8; PROBE_LENGTH];
    question[..8].copy_from_slice(&PROBE_MAGIC);
    question[8..].copy_from_slice(&token);
    question
}
