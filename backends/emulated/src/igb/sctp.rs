//! The checksum of SCTP: a CRC32c over the packet, in which its own field counts as
//! zero, with the low byte first (RFC 9260, section 6.8 and appendix A).

/// Where the field is in the common header, and that header's length.
const FIELD: usize = 8;
const HEADER: usize = 12;

/// The checksum of a packet; `None`: it is shorter than its header.
fn checksum(packet: &[u8]) -> Option<[u8; 4]> {
    let data = packet.get(HEADER..)?;
    let head = crc32c::crc32c(&packet[..FIELD]);
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(head, &[0; 4]), data);
    Some(crc.to_le_bytes())
}

/// Whether a packet's checksum is right; `None`: there is none to judge.
pub(super) fn judge(packet: &[u8]) -> Option<bool> {
    Some(checksum(packet)? == packet[FIELD..HEADER])
}

/// Stores the checksum of a packet, if it has room for one.
pub(super) fn insert(packet: &mut [u8]) {
    if let Some(checksum) = checksum(packet) {
        packet[FIELD..HEADER].copy_from_slice(&checksum);
    }
}
