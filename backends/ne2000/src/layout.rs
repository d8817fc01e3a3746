//! How the card's memory is divided: pages of 256 bytes, first the transmit
//! buffers, then the receive ring.

/// The first page of the packet memory.
pub(crate) const FIRST: u8 = 0x40;
/// Behind the last page of a card with 16 KiB, which every one has.
pub(crate) const STOP_16K: u8 = 0x80;
/// Behind the last page of a card with 32 KiB.
pub(crate) const STOP_32K: u8 = 0xc0;

/// Pages of a transmit buffer: the longest packet fits.
const BUFFER: u8 = 6;
/// Transmit buffers of the largest card.
pub(crate) const MAX_BUFFERS: usize = 6;
/// Transmit buffers of the smallest: one is filled while the other is sent.
const MIN_BUFFERS: u8 = 2;

/// Before each packet in the ring: status, next packet, byte count.
pub(crate) const HEADER: usize = 4;
/// Bytes of a page.
const PAGE: usize = 256;

/// The division of one card's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Transmit buffers.
    pub(crate) buffers: u8,
    /// The ring's first page.
    pub(crate) start: u8,
    /// The page behind the ring.
    pub(crate) stop: u8,
}

impl Layout {
    pub(crate) fn new(stop: u8) -> Self {
        let buffers = if stop == STOP_32K {
            MAX_BUFFERS as u8
        } else {
            MIN_BUFFERS
        };
        Self {
            buffers,
            start: FIRST + buffers * BUFFER,
            stop,
        }
    }

    /// The first page of a transmit buffer.
    pub(crate) fn buffer(&self, index: u8) -> u8 {
        FIRST + index % self.buffers * BUFFER
    }

    /// Whether a page is one of the ring.
    pub(crate) fn contains(&self, page: u8) -> bool {
        (self.start..self.stop).contains(&page)
    }

    fn pages(&self) -> usize {
        usize::from(self.stop - self.start)
    }

    /// The page so many pages behind a page of the ring.
    pub(crate) fn behind(&self, page: u8, pages: usize) -> u8 {
        let at = usize::from(page.saturating_sub(self.start)) + pages;
        self.start + (at % self.pages()) as u8
    }

    /// The page before a page of the ring: the boundary is always one page behind
    /// what is read next, since the chip takes equal pointers for a full ring.
    pub(crate) fn before(&self, page: u8) -> u8 {
        self.behind(page, self.pages() - 1)
    }

    /// Whether a packet at `page`, with such a byte count in its header, can be
    /// followed by one at `next`. The count has the FCS, and not the header. A
    /// packet that ends with its page may have one more.
    pub(crate) fn follows(&self, page: u8, count: usize, next: u8) -> bool {
        let pages = (HEADER + count).div_ceil(PAGE);
        next == self.behind(page, pages) || next == self.behind(page, pages + 1)
    }

    /// Bytes from an address to the ring's end.
    pub(crate) fn until_stop(&self, address: u16) -> usize {
        let stop = usize::from(self.stop) * PAGE;
        stop.saturating_sub(usize::from(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_card_has_room_for_more_of_both() {
        let (small, large) = (Layout::new(STOP_16K), Layout::new(STOP_32K));
        assert_eq!((small.buffers, small.start, small.stop), (2, 0x4c, 0x80));
        assert_eq!((large.buffers, large.start, large.stop), (6, 0x64, 0xc0));
        assert_eq!([0, 1, 2].map(|at| small.buffer(at)), [0x40, 0x46, 0x40]);
    }

    #[test]
    fn pages_wrap_at_the_rings_end() {
        let layout = Layout::new(STOP_16K);
        assert_eq!(layout.behind(0x7e, 1), 0x7f);
        assert_eq!(layout.behind(0x7e, 2), 0x4c);
        assert_eq!(layout.before(0x4c), 0x7f);
        assert_eq!(layout.before(0x60), 0x5f);
        assert_eq!(layout.until_stop(0x7f04), 252);
    }

    #[test]
    fn the_next_packet_is_where_this_one_ends() {
        let layout = Layout::new(STOP_16K);
        // 252 bytes fill a page with their header.
        assert!(layout.follows(0x50, 64, 0x51));
        assert!(layout.follows(0x50, 252, 0x51));
        assert!(layout.follows(0x50, 253, 0x52));
        assert!(layout.follows(0x7f, 1518, 0x51));
        assert!(!layout.follows(0x50, 64, 0x50));
        assert!(!layout.follows(0x50, 64, 0x53));
    }
}
