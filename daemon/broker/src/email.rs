//! E-mail addresses as names of accounts \[GW-3\].

/// Longest address in bytes (RFC 5321).
pub const EMAIL_LENGTH_MAX: usize = 254;

/// The one spelling of an address: lower case, without spaces around it. `None` when it cannot be one.
pub fn normalise(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > EMAIL_LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (local, domain) = text.split_once('@')?;
    // Quoting and comments of RFC 5322 are left out: they name nobody in practice and confuse every log.
    let local_fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let label_fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let good = (1..=64).contains(&local.len())
        && local.bytes().all(local_fits)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && domain.split('.').all(label_fits);
    good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[GW-3\]
    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(normalise("  Alice.B+x@Example.ORG ").as_deref(), Some("alice.b+x@example.org"));
        assert_eq!(normalise("root@localhost").as_deref(), Some("root@localhost"));
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a@b..c",
            "a@-b",
            "a@b-",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a\n@b",
            "ä@b",
            "a@b/c",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a/../b@c\0",
        ] {
            assert_eq!(normalise(bad), None, "{bad:?}");
        }
        assert_eq!(normalise(&format!("{}@b", "a".repeat(65))), None);
        assert!(normalise(&format!("{}@b", "a".repeat(64))).is_some());
    }
}
