//! IEEE 802.1Q tags: four bytes after the two addresses, an EtherType of their own
//! (the TPID) and the tag control information: priority in the upper three bits,
//! CFI, and twelve bits of VLAN identifier.

/// Bytes of a tag.
pub const TAG_LEN: usize = 4;

/// Bytes before the tag: the two addresses.
const ADDRESSES: usize = 12;

/// The tag control information of a frame whose EtherType is `tpid`.
#[must_use]
#[inline]
pub fn tag(frame: &[u8], tpid: u16) -> Option<u16> {
    let &[a, b, c, d] = frame.get(ADDRESSES..)?.first_chunk()?;
    (u16::from_be_bytes([a, b]) == tpid).then_some(u16::from_be_bytes([c, d]))
}

/// What is left of a tagged frame when its tag is taken out, in two parts: the
/// addresses, and what follows the tag. `None`: it is too short to hold one.
#[must_use]
#[inline]
pub fn without_tag(frame: &[u8]) -> Option<(&[u8; ADDRESSES], &[u8])> {
    let (addresses, rest) = frame.split_first_chunk()?;
    Some((addresses, rest.get(TAG_LEN..)?))
}

/// Puts a tag into a frame that begins [`TAG_LEN`] bytes after the start of
/// `buffer`, so that only the addresses move: the tagged frame begins at the
/// buffer's start. Returns whether there were addresses.
#[inline]
pub fn insert_tag(buffer: &mut [u8], tpid: u16, tci: u16) -> bool {
    let Some(head) = buffer.first_chunk_mut::<{ ADDRESSES + TAG_LEN }>() else {
        return false;
    };
    head.copy_within(TAG_LEN.., 0);
    let [tpid, tci] = [tpid, tci].map(u16::to_be_bytes);
    head[ADDRESSES..].copy_from_slice(&[tpid[0], tpid[1], tci[0], tci[1]]);
    true
}

/// Where the filter table, 4096 bits in words of 32, has the bit of the VLAN that
/// `tci` names: the word and the mask.
#[must_use]
#[inline]
pub fn filter_entry(tci: u16) -> (usize, u32) {
    let vlan = tci & 0xfff;
    (usize::from(vlan >> 5), 1 << (vlan & 31))
}
