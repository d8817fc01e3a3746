//! The internal PHY, an M88E1011 (the PHY registers under "MDI Control Register",
//! and chapter 11).

use crate::mii::{Link, Mii, reg};

/// Where the PHY answers on the management bus.
pub(super) const ADDRESS: u32 = 1;

/// Registers of this PHY alone.
mod own {
    pub(super) const PSCON: u8 = 16;
    pub(super) const PSSTAT: u8 = 17;
    pub(super) const PINTE: u8 = 18;
    pub(super) const PINTS: u8 = 19;
    pub(super) const EPSCON: u8 = 20;
    pub(super) const EPSCON2: u8 = 26;
}

/// The values after a reset. GCON: 1000 Mbit/s in full duplex only; a multiport
/// device, and master if it had to choose.
const INITIAL: &[(u8, u16)] = &[
    (reg::CONTROL, 0x1140),
    (reg::STATUS, 0x7949),
    (reg::ID1, 0x0141),
    (reg::ID2, 0x0c20),
    (reg::ADVERTISE, 0x0de1),
    (reg::EXPANSION, 0x0004),
    (reg::NEXT_PAGE, 0x2001),
    (reg::GIGABIT_CONTROL, 0x0e00),
    (reg::EXTENDED_STATUS, 0x3000),
    (own::PSCON, 0x0068),
    (own::EPSCON, 0x0d60),
    (own::EPSCON2, 0x000c),
];

/// Interrupt causes: PINTE enables them, PINTS shows them.
mod cause {
    pub(super) const LINK: u16 = 1 << 10;
    pub(super) const COMPLETE: u16 = 1 << 11;
    pub(super) const PAGE: u16 = 1 << 12;
    pub(super) const DUPLEX: u16 = 1 << 13;
    pub(super) const SPEED: u16 = 1 << 14;
}

/// The PHY.
#[derive(Clone, Debug)]
pub(super) struct Phy {
    mii: Mii,
    enabled: u16,
    /// PINTS, which reading clears.
    causes: u16,
    /// An enabled cause was added since somebody asked.
    interrupt: bool,
}

impl Phy {
    pub(super) fn new(autoneg_ns: u64) -> Self {
        Self {
            mii: Mii::new(INITIAL, autoneg_ns),
            enabled: 0,
            causes: 0,
            interrupt: false,
        }
    }

    pub(super) fn mii(&self) -> &Mii {
        &self.mii
    }

    /// Sets all registers to their initial values and negotiates anew.
    pub(super) fn reset(&mut self) {
        self.causes = 0;
        self.enabled = 0;
        self.track(Mii::reset);
    }

    /// Does something that the link may change by, and notes how it did.
    fn track<R>(&mut self, something: impl FnOnce(&mut Mii) -> R) -> R {
        let before = self.mii.link();
        let result = something(&mut self.mii);
        let after = self.mii.link();
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
        result
    }

    fn raise(&mut self, causes: u16) {
        self.causes |= causes;
        self.interrupt |= causes & self.enabled != 0;
    }

    /// Whether an interrupt is due that was not asked for yet.
    pub(super) fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.interrupt)
    }

    /// Somebody came to the other end of the cable, or left.
    pub(super) fn set_carrier(&mut self, carrier: bool) {
        self.track(|mii| mii.set_carrier(carrier));
    }

    /// Looks at the clock: completes what is due.
    pub(super) fn tick(&mut self, now_ns: u64) {
        if self.track(|mii| mii.tick(now_ns)) {
            self.raise(cause::COMPLETE | cause::PAGE);
        }
    }

    /// Time passes that the clock does not show.
    pub(super) fn hurry(&mut self, ns: u64) {
        self.mii.hurry(ns);
    }

    pub(super) fn read(&mut self, number: u8) -> u16 {
        match number {
            own::PSSTAT => self.specific_status(),
            own::PINTE => self.enabled,
            own::PINTS => std::mem::take(&mut self.causes),
            _ => self.mii.read(number),
        }
    }

    /// Speed 15:14, duplex 13, page received 12, resolved 11, link 10, MDIX 6.
    fn specific_status(&self) -> u16 {
        let Some(Link { speed, full_duplex }) = self.mii.link() else {
            return 0;
        };
        (speed as u16) << 14
            | u16::from(full_duplex) << 13
            | u16::from(self.mii.page_came()) << 12
            | 1 << 11
            | 1 << 10
            | 1 << 6
    }

    pub(super) fn write(&mut self, number: u8, value: u16) {
        match number {
            own::PINTE => self.enabled = value,
            own::PSCON | own::EPSCON | own::EPSCON2 | 24 | 29 | 30 | 0..16 => {
                self.track(|mii| mii.write(number, value));
            }
            // Status, and what is not there.
            _ => {}
        }
    }
}
