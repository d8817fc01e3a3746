//! Frames that Scapy made, which knows nothing of this code.

pub(crate) const TCP_IPV4: &str = "02000000000202000000000108004500002d00070000400666c20a0000010a0\
    0000203e80050010203040a0b0c0d50180200379d000068656c6c6f";
pub(crate) const UDP_IPV4: &str = "02000000000202000000000108004500001f00080000401166c40a0000010a0\
    0000200350fa0000b179e616263";
pub(crate) const TCP_IPV6: &str = "02000000000202000000000186dd6000000000180640fe80000000000000000\
    0000000000001fe80000000000000000000000000000203e8005000000005000000006002200076f90000020405a0";
pub(crate) const TAGGED_UDP_IPV4: &str = "0200000000020200000000018100a123080046000023000800004011\
    63be0a0000010a0000020101010100350fa0000b179e616263";
pub(crate) const FRAGMENT_IPV4: &str = "02000000000202000000000108004500001f00082000401146c40a0000\
    010a00000200350fa000640001616263";
/// UDP whose checksum is zero, which is sent as all ones.
pub(crate) const UDP_SUM_OF_ZERO: &str = "02000000000202000000000108004500001e00080000401166c50a00\
    00010a00000200350fa0000affffdc02";
/// Segments of four bytes of one packet with eleven, with sequence numbers and
/// identifications that wrap; FIN and PSH in the last.
pub(crate) const TCP_SEGMENTS: [&str; 3] = [
    "02000000000202000000000108004500002cffff4000400626ca0a0000010a00000203e80050fffffffe\
     0000000150d0020090d0000001020304",
    "02000000000202000000000108004500002c00004000400626ca0a0000010a00000203e8005000000002\
     0000000150d0020088c5000005060708",
    "02000000000202000000000108004500002b00014000400626ca0a0000010a00000203e8005000000006\
     0000000150d9020080bd0000090a0b",
];

pub(crate) fn golden(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The frame with a tag.
pub(crate) fn tagged(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    let [tpid, tci] = [tpid, tci].map(u16::to_be_bytes);
    [&frame[..12], &tpid, &tci, &frame[12..]].concat()
}
