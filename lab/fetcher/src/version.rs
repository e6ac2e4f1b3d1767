//! Debian versions: their order, and the relations that dependencies put on them.
//!
//! Follows deb-version(7) and the policy manual, 5.6.12 and 7.1.

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, rest_a) = epoch(a);
    let (epoch_b, rest_b) = epoch(b);
    let (upstream_a, revision_a) = rest_a.rsplit_once('-').unwrap_or((rest_a, ""));
    let (upstream_b, revision_b) = rest_b.rsplit_once('-').unwrap_or((rest_b, ""));
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

/// True if `version` stands in `relation` (one of `<<`, `<=`, `=`, `>=`, `>>`) to `other`.
pub(crate) fn holds(version: &str, relation: &str, other: &str) -> bool {
    let order = compare(version, other);
    match relation {
        "<<" => order.is_lt(),
        "<=" | "<" => order.is_le(),
        "=" => order.is_eq(),
        ">=" | ">" => order.is_ge(),
        ">>" => order.is_gt(),
        _ => false,
    }
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Compares stretches of text and of digits in turn.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (weight(a), weight(b));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (x, y) = (digits(&mut a), digits(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// The place of the first character: a tilde before the end, that and digits before letters, then the rest.
fn weight(text: &[u8]) -> i32 {
    match text.first() {
        None => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// Takes a number off the front, without the zeros that lead it.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().take_while(|c| **c == b'0').count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_dpkgs() {
        // From low to high; each was compared with its neighbour by `dpkg --compare-versions`.
        let rising = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0.9",
            "0.10",
            "1.0~rc1-1",
            "1.0-0.1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1a",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.2-3-1",
            "1:0.1",
            "2:0",
        ];
        for (at, low) in rising.iter().enumerate() {
            assert_eq!(compare(low, low), Ordering::Equal);
            for high in &rising[at + 1..] {
                assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
                assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
            }
        }
        assert_eq!(compare("0:1.00-0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn relations_hold_by_that_order() {
        assert!(holds("2.36-9+deb12u10", ">=", "2.34") && !holds("2.36", ">>", "2.36"));
        assert!(holds("1:9", ">=", "10") && holds("1.0~rc1", "<<", "1.0") && holds("1.0", "=", "1.0-0"));
    }
}
