//! Chooses the content coding by the client's `Accept-Encoding` (RFC 9110, section 12.5.3).
//!
//! Pure. It considers only what the edge can produce: Brotli, gzip and identity, preferred in this
//! order at equal quality.

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Brotli.
    Brotli,
    /// gzip.
    Gzip,
    /// None.
    Identity,
}

impl Coding {
    /// The name in `Content-Encoding`; identity has none.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    /// The suffix of a file that is compressed with it.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }
}

/// What a client accepts: a quality in thousandths for each coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    brotli: u16,
    gzip: u16,
    identity: u16,
}

impl Accepted {
    /// A client that accepts only the plain bytes, or did not say.
    pub const IDENTITY: Self = Self { brotli: 0, gzip: 0, identity: 1000 };

    /// Parses an `Accept-Encoding` header. Invalid members are skipped.
    pub fn parse(header: &str) -> Self {
        let (mut brotli, mut gzip, mut identity, mut any) = (None, None, None, None);
        for member in header.split(',') {
            let (name, parameters) = member.split_once(';').unwrap_or((member, ""));
            let Some(quality) = quality(parameters) else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "br" => brotli = Some(quality),
                "gzip" | "x-gzip" => gzip = Some(quality),
                "identity" => identity = Some(quality),
                "*" => any = Some(quality),
                _ => {}
            }
        }
        Self {
            brotli: brotli.or(any).unwrap_or(0),
            gzip: gzip.or(any).unwrap_or(0),
            // Acceptable unless excluded, and the last choice.
            identity: identity.unwrap_or(if any == Some(0) { 0 } else { 1 }),
        }
    }

    /// The codings to try, best first. Identity always ends the list: sending it against the
    /// client's wish is better than sending nothing.
    pub fn ranked(self) -> impl Iterator<Item = Coding> {
        let mut codings = [(self.brotli, Coding::Brotli), (self.gzip, Coding::Gzip), (self.identity, Coding::Identity)];
        // A stable sort: at equal quality the order above holds.
        codings.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
        let wanted = codings.into_iter().filter(|(quality, _)| *quality > 0).map(|(_, coding)| coding);
        wanted.chain(std::iter::once(Coding::Identity))
    }
}

/// The quality in thousandths: `q=0.5` is 500; absent is 1000; invalid is `None`.
fn quality(parameters: &str) -> Option<u16> {
    let Some((_, value)) = parameters.split(';').filter_map(|pair| pair.split_once('=')).find(|(name, _)| name.trim() == "q")
    else {
        return Some(1000);
    };
    let (whole, fraction) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    if fraction.len() > 3 {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Coding::*, *};

    fn first(header: &str) -> Coding {
        Accepted::parse(header).ranked().next().expect("never empty")
    }

    #[test]
    fn the_best_coding_is_the_one_the_client_likes_most() {
        for (header, coding) in [
            ("", Identity),
            ("gzip, deflate, br", Brotli),
            ("gzip", Gzip),
            ("GZIP", Gzip),
            ("br;q=0.5, gzip;q=0.8", Gzip),
            ("br;q=0, gzip", Gzip),
            ("br; q=0 , gzip;q=0", Identity),
            ("*", Brotli),
            ("*;q=0.5, br;q=0.1", Gzip),
            ("identity", Identity),
            ("gzip;q=0.5, identity;q=0.9", Identity),
            ("gzip;q=0.001", Gzip),
            ("deflate, zstd", Identity),
            ("br;q=2, gzip;q=1.000", Gzip),
            ("br;q=x", Identity),
        ] {
            assert_eq!(first(header), coding, "{header}");
        }
    }

    #[test]
    fn identity_ends_every_list() {
        let all: Vec<_> = Accepted::parse("br, gzip;q=0.9, identity;q=0").ranked().collect();
        assert_eq!(all, [Brotli, Gzip, Identity]);
    }
}
