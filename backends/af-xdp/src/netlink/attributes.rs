//! Attributes of a message: what is absent, or shorter than its type, is
//! `None`.

use super::error::Refusal;
use neli::FromBytesWithInput;
use neli::consts::genl::NlAttrType;
use neli::genl::{AttrTypeBuilder, Nlattr, NlattrBuilder};
use neli::types::{Buffer, GenlBuffer};
use neli::{Size, ToBytes};
use std::io::Cursor;

/// One attribute, its type a plain number.
pub(super) type Attribute = Nlattr<u16, Buffer>;
/// Attributes in the order of the message.
pub(super) type Attributes = GenlBuffer<u16, Buffer>;

/// Reads attributes by their type.
pub(super) trait Read {
    fn bytes(&self, kind: u16) -> Option<&[u8]>;

    fn u8(&self, kind: u16) -> Option<u8> {
        self.bytes(kind)?.first().copied()
    }

    fn u16(&self, kind: u16) -> Option<u16> {
        let bytes = self.bytes(kind)?.first_chunk()?;
        Some(u16::from_ne_bytes(*bytes))
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        let bytes = self.bytes(kind)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    /// A number that the kernel sends in 4 or 8 bytes, whichever holds it.
    fn uint(&self, kind: u16) -> Option<u64> {
        let bytes = self.bytes(kind)?;
        let short = || bytes.first_chunk().map(|four| u32::from_ne_bytes(*four));
        match bytes.first_chunk() {
            Some(eight) => Some(u64::from_ne_bytes(*eight)),
            None => short().map(u64::from),
        }
    }

    fn text(&self, kind: u16) -> Option<String> {
        self.bytes(kind).map(text)
    }

    fn nested(&self, kind: u16) -> Option<Attributes> {
        parse(self.bytes(kind)?).ok()
    }
}

impl<T: NlAttrType> Read for GenlBuffer<T, Buffer> {
    fn bytes(&self, kind: u16) -> Option<&[u8]> {
        let found = self
            .iter()
            .find(|attribute| *attribute.nla_type().nla_type() == T::from(kind))?;
        Some(found.nla_payload().as_ref())
    }
}

/// The bytes up to the first NUL, as text.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

/// Attributes of a payload.
pub(super) fn parse(bytes: &[u8]) -> Result<Attributes, Refusal> {
    Attributes::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len())
        .map_err(|_| Refusal::Malformed)
}

/// One attribute of a request.
pub(super) fn attribute(kind: u16, payload: impl Size + ToBytes) -> Result<Attribute, Refusal> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build();
    NlattrBuilder::default()
        .nla_type(kind.map_err(|_| Refusal::Malformed)?)
        .nla_payload(payload)
        .build()
        .map_err(|_| Refusal::Malformed)
}

/// An attribute that holds others.
pub(super) fn nest(kind: u16, inner: &[Attribute]) -> Result<Attribute, Refusal> {
    let empty = attribute(kind, Buffer::new())?;
    inner.iter().try_fold(empty, |outer, attribute| {
        outer.nest(attribute).map_err(|_| Refusal::Malformed)
    })
}
