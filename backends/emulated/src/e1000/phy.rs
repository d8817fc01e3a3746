//! The internal PHY, an M88E1011 (the PHY registers under "MDI Control Register",
//! and chapter 11; IEEE 802.3, clause 22).

/// Where the PHY answers on the management bus.
pub(super) const ADDRESS: u32 = 1;

/// Register numbers.
pub(super) mod reg {
    pub(in crate::e1000) const PCTRL: u8 = 0;
    pub(in crate::e1000) const PSTATUS: u8 = 1;
    pub(in crate::e1000) const PID1: u8 = 2;
    pub(in crate::e1000) const PID2: u8 = 3;
    pub(in crate::e1000) const ANA: u8 = 4;
    pub(in crate::e1000) const LPA: u8 = 5;
    pub(in crate::e1000) const ANE: u8 = 6;
    pub(in crate::e1000) const NPT: u8 = 7;
    pub(in crate::e1000) const GCON: u8 = 9;
    pub(in crate::e1000) const GSTATUS: u8 = 10;
    pub(in crate::e1000) const ESTATUS: u8 = 15;
    pub(in crate::e1000) const PSCON: u8 = 16;
    pub(in crate::e1000) const PSSTAT: u8 = 17;
    pub(in crate::e1000) const PINTE: u8 = 18;
    pub(in crate::e1000) const PINTS: u8 = 19;
    pub(in crate::e1000) const EPSCON: u8 = 20;
    pub(in crate::e1000) const EPSCON2: u8 = 26;
}

const PCTRL_RESET: u16 = 1 << 15;
const PCTRL_LOOPBACK: u16 = 1 << 14;
const PCTRL_AUTONEG: u16 = 1 << 12;
const PCTRL_POWER_DOWN: u16 = 1 << 11;
const PCTRL_ISOLATE: u16 = 1 << 10;
const PCTRL_RESTART: u16 = 1 << 9;
const PSTATUS_COMPLETE: u16 = 1 << 5;
const PSTATUS_LINK: u16 = 1 << 2;

/// Interrupt causes: PINTE enables them, PINTS shows them.
mod cause {
    pub(super) const LINK: u16 = 1 << 10;
    pub(super) const COMPLETE: u16 = 1 << 11;
    pub(super) const PAGE: u16 = 1 << 12;
    pub(super) const DUPLEX: u16 = 1 << 13;
    pub(super) const SPEED: u16 = 1 << 14;
}

/// The PHY's registers and its autonegotiation with whoever is at the other end.
/// The partner offers all that an M88E1011 can do.
#[derive(Clone, Debug)]
pub(super) struct Phy {
    words: [u16; 32],
    autoneg_ns: u64,
    negotiation: Negotiation,
    carrier: bool,
    /// PSTATUS shows a link that went down until it was read once.
    link_dropped: bool,
    /// ANE.1: a page came since ANE was read.
    page: bool,
    /// PINTS, which reading clears.
    causes: u16,
    /// An enabled cause was added since somebody asked.
    interrupt: bool,
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
pub(super) struct Link {
    /// 00b 10, 01b 100, 10b 1000 Mbit/s.
    pub(super) speed: u32,
    pub(super) full_duplex: bool,
}

impl Phy {
    pub(super) fn new(autoneg_ns: u64) -> Self {
        let mut phy = Self {
            words: [0; 32],
            autoneg_ns,
            negotiation: Negotiation::Idle,
            carrier: false,
            link_dropped: false,
            page: false,
            causes: 0,
            interrupt: false,
        };
        phy.reset();
        phy
    }

    /// Sets all registers to their initial values and negotiates anew.
    pub(super) fn reset(&mut self) {
        self.track(|phy| {
            phy.set_initial_values();
            phy.restart();
        });
    }

    fn set_initial_values(&mut self) {
        self.words = [0; 32];
        self.causes = 0;
        for (number, value) in [
            (reg::PCTRL, 0x1140),
            (reg::PSTATUS, 0x7949),
            (reg::PID1, 0x0141),
            (reg::PID2, 0x0c20),
            (reg::ANA, 0x0de1),
            (reg::ANE, 0x0004),
            (reg::NPT, 0x2001),
            // 1000 Mbit/s in full duplex only; a multiport device, and master
            // if it had to choose.
            (reg::GCON, 0x0e00),
            (reg::ESTATUS, 0x3000),
            (reg::PSCON, 0x0068),
            (reg::EPSCON, 0x0d60),
            (reg::EPSCON2, 0x000c),
        ] {
            self.words[usize::from(number)] = value;
        }
    }

    /// Does something that the link may change by, and notes how it did.
    fn track(&mut self, something: impl FnOnce(&mut Self)) {
        let before = self.link();
        something(self);
        let after = self.link();
        if before == after {
            return;
        }
        self.link_dropped |= before.is_some();
        let mut causes = 0;
        if before.is_some() != after.is_some() {
            causes |= cause::LINK;
        }
        if before.map(|link| link.speed) != after.map(|link| link.speed) {
            causes |= cause::SPEED;
        }
        if before.map(|link| link.full_duplex) != after.map(|link| link.full_duplex) {
            causes |= cause::DUPLEX;
        }
        self.raise(causes);
    }

    fn raise(&mut self, causes: u16) {
        self.causes |= causes;
        self.interrupt |= causes & self.words[usize::from(reg::PINTE)] != 0;
    }

    /// Whether an interrupt is due that was not asked for yet.
    pub(super) fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.interrupt)
    }

    /// Whether what is sent comes back.
    pub(super) fn loops_back(&self) -> bool {
        self.control() & (PCTRL_LOOPBACK | PCTRL_POWER_DOWN) == PCTRL_LOOPBACK
    }

    /// Negotiates anew, if there is somebody and it is not switched off. With
    /// autonegotiation off, the forced link is there at once.
    fn restart(&mut self) {
        let control = self.control();
        self.negotiation = if !self.carrier || control & (PCTRL_POWER_DOWN | PCTRL_ISOLATE) != 0 {
            Negotiation::Idle
        } else if control & PCTRL_AUTONEG != 0 {
            Negotiation::Begun
        } else {
            Negotiation::Complete
        };
    }

    fn control(&self) -> u16 {
        self.words[usize::from(reg::PCTRL)]
    }

    /// Somebody came to the other end of the cable, or left.
    pub(super) fn set_carrier(&mut self, carrier: bool) {
        if self.carrier != carrier {
            self.track(|phy| {
                phy.carrier = carrier;
                phy.restart();
            });
        }
    }

    /// Looks at the clock: completes what is due.
    pub(super) fn tick(&mut self, now_ns: u64) {
        if self.negotiation == Negotiation::Begun {
            self.negotiation = Negotiation::Until(now_ns.saturating_add(self.autoneg_ns));
        }
        if matches!(self.negotiation, Negotiation::Until(due) if due <= now_ns) {
            self.track(|phy| {
                phy.negotiation = Negotiation::Complete;
                phy.page = true;
            });
            self.raise(cause::COMPLETE | cause::PAGE);
        }
    }

    /// Time passes that the clock does not show.
    pub(super) fn hurry(&mut self, ns: u64) {
        if let Negotiation::Until(due) = &mut self.negotiation {
            *due = due.saturating_sub(ns);
        }
    }

    /// When there will be something to complete.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        match self.negotiation {
            Negotiation::Begun => Some(0),
            Negotiation::Until(due) => Some(due),
            Negotiation::Idle | Negotiation::Complete => None,
        }
    }

    /// The link, if it is up.
    pub(super) fn link(&self) -> Option<Link> {
        let control = self.control();
        if self.negotiation != Negotiation::Complete && !self.loops_back() {
            None
        } else if control & PCTRL_AUTONEG == 0 || self.loops_back() {
            Some(Link {
                speed: u32::from(control >> 5 & 2 | control >> 13 & 1),
                full_duplex: control & 1 << 8 != 0,
            })
        } else {
            self.agreed()
        }
    }

    /// The best of what is advertised (IEEE 802.3, annex 28B.3).
    fn agreed(&self) -> Option<Link> {
        let gigabit = self.words[usize::from(reg::GCON)];
        let other = self.words[usize::from(reg::ANA)];
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
        self.negotiation == Negotiation::Complete && self.control() & PCTRL_AUTONEG != 0
    }

    pub(super) fn read(&mut self, number: u8) -> u16 {
        let stored = self.words[usize::from(number % 32)];
        let negotiated = self.negotiated();
        match number {
            reg::PSTATUS => {
                let dropped = std::mem::take(&mut self.link_dropped);
                let link = self.link().is_some() && !dropped;
                stored
                    | if negotiated { PSTATUS_COMPLETE } else { 0 }
                    | if link { PSTATUS_LINK } else { 0 }
            }
            // The partner: acknowledge, pause, and all of 10 and 100 Mbit/s.
            reg::LPA if negotiated => 0x4de1,
            reg::ANE => {
                let page = std::mem::take(&mut self.page);
                stored | u16::from(page) << 1 | u16::from(negotiated)
            }
            // Both receivers fine; the partner can do 1000 Mbit/s, both duplexes.
            reg::GSTATUS if negotiated => 0x3c00,
            reg::PSSTAT => self.specific_status(),
            reg::PINTS => std::mem::take(&mut self.causes),
            _ => stored,
        }
    }

    /// Speed 15:14, duplex 13, page received 12, resolved 11, link 10, MDIX 6.
    fn specific_status(&self) -> u16 {
        let Some(link) = self.link() else {
            return 0;
        };
        (link.speed as u16) << 14
            | u16::from(link.full_duplex) << 13
            | u16::from(self.page) << 12
            | 1 << 11
            | 1 << 10
            | 1 << 6
    }

    pub(super) fn write(&mut self, number: u8, value: u16) {
        let at = usize::from(number % 32);
        match number {
            reg::PCTRL => self.write_control(value),
            reg::ANA => self.words[at] = value & 0xbfff,
            reg::GCON => self.words[at] = value & 0xff00,
            reg::NPT | reg::PSCON | reg::PINTE | reg::EPSCON | reg::EPSCON2 | 24 | 29 | 30 => {
                self.words[at] = value;
            }
            // Status, identity, and what is not there.
            _ => {}
        }
    }

    /// Speed and duplex written while autonegotiation is on take effect only
    /// when it is switched off by a reset or by this write.
    fn write_control(&mut self, value: u16) {
        let before = self.control();
        self.track(|phy| {
            if value & PCTRL_RESET != 0 {
                // A software reset keeps what is advertised.
                phy.words[usize::from(reg::PCTRL)] = value & 0x3dc0;
                return phy.restart();
            }
            phy.words[usize::from(reg::PCTRL)] = value & 0x7dc0;
            let matters = PCTRL_AUTONEG | PCTRL_POWER_DOWN | PCTRL_ISOLATE;
            if value & PCTRL_RESTART != 0 || (before ^ value) & matters != 0 {
                phy.restart();
            }
        });
    }
}
