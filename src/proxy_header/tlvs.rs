//! What stands behind the addresses in version 2: types, lengths and values; and the checksum, which is one of them.

use std::fmt;

use crc::{CRC_32_ISCSI, Crc};

use super::{Malformed, v2};

/// The type of the checksum.
const CHECKSUM: u8 = 0x03;

/// The type and the length, in bytes.
const HEAD: usize = 3;

static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// TLVs as they came, in their order; none is left out, whatever its type. They take no memory where there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tlvs(Box<[u8]>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// What it is, a `PP2_TYPE_` of the specification.
    pub kind: u8,
    /// What it says.
    pub value: &'a [u8],
}

impl Tlvs {
    /// Those that `bytes` are.
    ///
    /// # Errors
    ///
    /// They are something else, or more than a header may have.
    pub fn new(bytes: &[u8]) -> Result<Tlvs, Malformed> {
        checksum_place(bytes)?;
        if bytes.len() > v2::MOST_BEHIND {
            return Err(Malformed::TooLong { length: bytes.len() });
        }
        Ok(Tlvs(bytes.into()))
    }

    /// Those that `header` has from this place on.
    pub(super) fn of_header(header: &[u8], place: usize) -> Result<Tlvs, Malformed> {
        let bytes = header.get(place..).unwrap_or(&[]);
        if let Some(at) = checksum_place(bytes)? {
            let value = &bytes[at..at + 4];
            if checksum(header, place + at) != value {
                return Err(Malformed::Checksum);
            }
        }
        Ok(Tlvs(bytes.into()))
    }

    /// Their bytes, as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Tlv<'_>> {
        let mut rest = self.as_bytes();
        // What is kept was looked at, so none of it is malformed.
        std::iter::from_fn(move || next(&mut rest).ok().flatten())
    }
}

/// As the list of them.
impl fmt::Debug for Tlvs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes the first one off `rest`.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Tlv<'a>>, Malformed> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some((&[kind, high, low], behind)) = rest.split_first_chunk::<HEAD>() else { return Err(Malformed::HalfTlv) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = behind.split_at_checked(length).ok_or(Malformed::Tlv(kind))?;
    *rest = behind;
    Ok(Some(Tlv { kind, value }))
}

/// Where in `tlvs` the checksum stands, if they have one.
///
/// # Errors
///
/// They are no TLVs, or the checksum is none.
fn checksum_place(tlvs: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut rest = tlvs;
    let mut place = None;
    while let Some(tlv) = next(&mut rest)? {
        if tlv.kind == CHECKSUM {
            if tlv.value.len() != 4 || place.is_some() {
                return Err(Malformed::ChecksumForm);
            }
            place = Some(tlvs.len() - rest.len() - tlv.value.len());
        }
    }
    Ok(place)
}

/// The checksum of a whole header, which itself stands at `place` and counts as zeros.
pub(super) fn checksum(header: &[u8], place: usize) -> [u8; 4] {
    let mut digest = CRC32C.digest();
    digest.update(&header[..place]);
    digest.update(&[0; 4]);
    digest.update(&header[place + 4..]);
    digest.finalize().to_be_bytes()
}

/// Makes the checksum of a whole header anew, if there is one among its TLVs, which stand from `place` on.
pub(super) fn seal(header: &mut [u8], place: usize) {
    if let Ok(Some(at)) = checksum_place(&header[place..]) {
        let sum = checksum(header, place + at);
        header[place + at..][..sum.len()].copy_from_slice(&sum);
    }
}
