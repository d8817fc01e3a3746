//! The internal PHY (section 8.25; IEEE 802.3, clauses 22, 28 and 40).

use crate::mii::{Link, Mii, reg};

/// Where the PHY answers on the management bus.
pub(super) const ADDRESS: u32 = 1;

/// Registers of this PHY alone.
mod own {
    pub(super) const PORT_CONFIGURATION: u8 = 16;
    pub(super) const PORT_STATUS: u8 = 17;
    pub(super) const POWER_MANAGEMENT: u8 = 25;
    pub(super) const PAGE: u8 = 31;
}

/// The values after a reset.
const INITIAL: &[(u8, u16)] = &[
    (reg::CONTROL, 0x1140),
    (reg::STATUS, 0x7949),
    (reg::ID1, 0x02a8),
    (reg::ID2, 0x0391),
    (reg::ADVERTISE, 0x0de1),
    (reg::EXPANSION, 0x0004),
    (reg::NEXT_PAGE, 0x2001),
    (reg::GIGABIT_CONTROL, 0x0e00),
    (reg::EXTENDED_STATUS, 0x3000),
    (own::PORT_CONFIGURATION, 0x0120),
    (own::POWER_MANAGEMENT, 0x008d),
];

/// The gain control of each pair, in the pages that hold it (11B1h and so on): the
/// entry in bits 15:9 stands for a cable of some twenty metres.
const GAIN: u16 = 12 << 9;

/// The PHY.
#[derive(Clone, Debug)]
pub(super) struct Phy {
    mii: Mii,
    page: u16,
}

impl Phy {
    pub(super) fn new(autoneg_ns: u64) -> Self {
        Self {
            mii: Mii::new(INITIAL, autoneg_ns),
            page: 0,
        }
    }

    /// Sets all registers to their initial values and negotiates anew.
    pub(super) fn reset(&mut self) {
        self.page = 0;
        self.mii.reset();
    }

    pub(super) fn mii(&self) -> &Mii {
        &self.mii
    }

    pub(super) fn mii_mut(&mut self) -> &mut Mii {
        &mut self.mii
    }

    /// The page that numbers from 16 on are in; the page register's own is in all.
    fn paged(&self, number: u8) -> bool {
        self.page & !0x1f != 0 && number >= own::PORT_CONFIGURATION && number != own::PAGE
    }

    pub(super) fn read(&mut self, number: u8) -> u16 {
        match number {
            own::PAGE => self.page,
            // Of what is in the pages there is only what a cable's length is told by.
            _ if self.paged(number) => match self.page {
                0x11b1 | 0x12b1 | 0x14b1 | 0x18b1 => GAIN,
                _ => 0,
            },
            own::PORT_STATUS => self.port_status(),
            _ => self.mii.read(number),
        }
    }

    /// The speed in bits 15:14 (01b is 10, 11b is 1000 Mbit/s), crossed pairs in
    /// bit 11, the link in bit 10, and full duplex in bit 9.
    fn port_status(&self) -> u16 {
        let Some(Link { speed, full_duplex }) = self.mii.link() else {
            return 0;
        };
        (speed as u16 + 1) << 14 | 1 << 11 | 1 << 10 | u16::from(full_duplex) << 9
    }

    pub(super) fn write(&mut self, number: u8, value: u16) {
        match number {
            own::PAGE => self.page = value,
            _ if self.paged(number) => {}
            own::PORT_STATUS => {}
            _ => self.mii.write(number, value),
        }
    }
}
