//! The registers that every PHY has, and its autonegotiation with whoever is at
//! the other end (IEEE 802.3, clauses 22, 28 and 40).

/// Register numbers.
pub(crate) mod reg {
    pub(crate) const CONTROL: u8 = 0;
    pub(crate) const STATUS: u8 = 1;
    pub(crate) const ID1: u8 = 2;
    pub(crate) const ID2: u8 = 3;
    pub(crate) const ADVERTISE: u8 = 4;
    pub(crate) const PARTNER: u8 = 5;
    pub(crate) const EXPANSION: u8 = 6;
    pub(crate) const NEXT_PAGE: u8 = 7;
    pub(crate) const GIGABIT_CONTROL: u8 = 9;
    pub(crate) const GIGABIT_STATUS: u8 = 10;
    pub(crate) const EXTENDED_STATUS: u8 = 15;
}

mod control {
    pub(super) const RESET: u16 = 1 << 15;
    pub(super) const LOOPBACK: u16 = 1 << 14;
    pub(super) const AUTONEG: u16 = 1 << 12;
    pub(super) const POWER_DOWN: u16 = 1 << 11;
    pub(super) const ISOLATE: u16 = 1 << 10;
    pub(super) const RESTART: u16 = 1 << 9;
    pub(super) const DUPLEX: u16 = 1 << 8;
    /// What is stored.
    pub(super) const KEPT: u16 = 0x7dc0;
}

mod status {
    pub(super) const COMPLETE: u16 = 1 << 5;
    pub(super) const LINK: u16 = 1 << 2;
}

/// The standard's registers and the state of the negotiation. The partner offers
/// all speeds and duplexes, and pauses both ways.
#[derive(Clone, Debug)]
pub(crate) struct Mii {
    words: [u16; 32],
    /// The initial values.
    initial: &'static [(u8, u16)],
    autoneg_ns: u64,
    negotiation: Negotiation,
    carrier: bool,
    /// The status shows a link that went down until it was read once.
    link_dropped: bool,
    page: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Negotiation {
    /// Nobody to negotiate with, or switched off.
    Idle,
    /// Begun; the end is set at the next look at the clock.
    Begun,
    /// Complete at this time.
    Until(u64),
    Complete,
}

/// What a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// 00b 10, 01b 100, 10b 1000 Mbit/s.
    pub(crate) speed: u32,
    pub(crate) full_duplex: bool,
}

impl Mii {
    /// A PHY whose registers begin with these values, the others with 0.
    pub(crate) fn new(initial: &'static [(u8, u16)], autoneg_ns: u64) -> Self {
        let mut mii = Self {
            words: [0; 32],
            initial,
            autoneg_ns,
            negotiation: Negotiation::Idle,
            carrier: false,
            link_dropped: false,
            page: false,
        };
        mii.reset();
        mii
    }

    /// Sets all registers to their initial values and negotiates anew.
    pub(crate) fn reset(&mut self) {
        self.track(|mii| {
            mii.words = [0; 32];
            for &(number, value) in mii.initial {
                mii.words[usize::from(number % 32)] = value;
            }
            mii.restart();
        });
    }

    /// Does something that the link may change by.
    fn track(&mut self, something: impl FnOnce(&mut Self)) {
        let before = self.link();
        something(self);
        self.link_dropped |= before.is_some() && before != self.link();
    }

    /// Negotiates anew, if there is somebody and it is not switched off. With
    /// autonegotiation off, the forced link is there at once.
    fn restart(&mut self) {
        let control = self.control();
        let off = control & (control::POWER_DOWN | control::ISOLATE) != 0;
        self.negotiation = if off || !self.carrier {
            Negotiation::Idle
        } else if control & control::AUTONEG != 0 {
            Negotiation::Begun
        } else {
            Negotiation::Complete
        };
    }

    fn control(&self) -> u16 {
        self.words[usize::from(reg::CONTROL)]
    }

    /// Whether what is sent comes back from here.
    pub(crate) fn loops_back(&self) -> bool {
        self.control() & (control::LOOPBACK | control::POWER_DOWN) == control::LOOPBACK
    }

    /// Somebody came to the other end of the cable, or left.
    pub(crate) fn set_carrier(&mut self, carrier: bool) {
        if self.carrier != carrier {
            self.track(|mii| {
                mii.carrier = carrier;
                mii.restart();
            });
        }
    }

    /// Looks at the clock. Returns whether the negotiation is complete now, and
    /// was not before.
    pub(crate) fn tick(&mut self, now_ns: u64) -> bool {
        if self.negotiation == Negotiation::Begun {
            self.negotiation = Negotiation::Until(now_ns.saturating_add(self.autoneg_ns));
        }
        let due = matches!(self.negotiation, Negotiation::Until(due) if due <= now_ns);
        if due {
            self.track(|mii| {
                mii.negotiation = Negotiation::Complete;
                mii.page = true;
            });
        }
        due
    }

    /// Whether a page came since the expansion register was read.
    pub(crate) fn page_came(&self) -> bool {
        self.page
    }

    /// Time passes that the clock does not show.
    pub(crate) fn hurry(&mut self, ns: u64) {
        if let Negotiation::Until(due) = &mut self.negotiation {
            *due = due.saturating_sub(ns);
        }
    }

    /// When there will be something to complete.
    pub(crate) fn next_event_ns(&self) -> Option<u64> {
        match self.negotiation {
            Negotiation::Begun => Some(0),
            Negotiation::Until(due) => Some(due),
            Negotiation::Idle | Negotiation::Complete => None,
        }
    }

    /// The link, if it is up.
    pub(crate) fn link(&self) -> Option<Link> {
        let control = self.control();
        if self.negotiation != Negotiation::Complete && !self.loops_back() {
            None
        } else if control & control::AUTONEG == 0 || self.loops_back() {
            // The speed's low bit is bit 13, its high bit is bit 6.
            Some(Link {
                speed: u32::from(control >> 5 & 2 | control >> 13 & 1),
                full_duplex: control & control::DUPLEX != 0,
            })
        } else {
            self.agreed()
        }
    }

    /// The best of what is advertised (annex 28B.3).
    fn agreed(&self) -> Option<Link> {
        let gigabit = self.words[usize::from(reg::GIGABIT_CONTROL)];
        let other = self.words[usize::from(reg::ADVERTISE)];
        let offers = [
            (gigabit & 1 << 9, 2, true),
            (gigabit & 1 << 8, 2, false),
            (other & 1 << 8, 1, true),
            (other & 1 << 7, 1, false),
            (other & 1 << 6, 0, true),
            (other & 1 << 5, 0, false),
        ];
        let best = offers.into_iter().find(|&(offered, ..)| offered != 0);
        best.map(|(_, speed, full_duplex)| Link { speed, full_duplex })
    }

    fn negotiated(&self) -> bool {
        self.negotiation == Negotiation::Complete && self.control() & control::AUTONEG != 0
    }

    pub(crate) fn read(&mut self, number: u8) -> u16 {
        let stored = self.words[usize::from(number % 32)];
        let negotiated = self.negotiated();
        match number {
            reg::STATUS => {
                let dropped = std::mem::take(&mut self.link_dropped);
                let link = self.link().is_some() && !dropped;
                stored
                    | if negotiated { status::COMPLETE } else { 0 }
                    | if link { status::LINK } else { 0 }
            }
            // Acknowledge, pause, and all of 10 and 100 Mbit/s.
            reg::PARTNER if negotiated => 0x4de1,
            reg::EXPANSION => {
                let page = std::mem::take(&mut self.page);
                stored | u16::from(page) << 1 | u16::from(negotiated)
            }
            // Both receivers fine; the partner can do 1000 Mbit/s, both duplexes.
            reg::GIGABIT_STATUS if negotiated => 0x3c00,
            _ => stored,
        }
    }

    pub(crate) fn write(&mut self, number: u8, value: u16) {
        let at = usize::from(number % 32);
        match number {
            reg::CONTROL => self.write_control(value),
            reg::ADVERTISE => self.words[at] = value & 0xbfff,
            reg::GIGABIT_CONTROL => self.words[at] = value & 0xff00,
            reg::NEXT_PAGE => self.words[at] = value,
            // The vendor's own.
            16.. => self.words[at] = value,
            // Status, identity, and what is not there.
            _ => {}
        }
    }

    /// Speed and duplex written while autonegotiation is on take effect only
    /// when it is switched off by a reset or by this write.
    fn write_control(&mut self, value: u16) {
        let before = self.control();
        self.track(|mii| {
            if value & control::RESET != 0 {
                // A software reset keeps what is advertised.
                mii.words[usize::from(reg::CONTROL)] = value & 0x3dc0;
                return mii.restart();
            }
            mii.words[usize::from(reg::CONTROL)] = value & control::KEPT;
            let matters = control::AUTONEG | control::POWER_DOWN | control::ISOLATE;
            if value & control::RESTART != 0 || (before ^ value) & matters != 0 {
                mii.restart();
            }
        });
    }
}
