//! Page 3, which is the RTL8029's own (RTL8029AS, "Page 3").

/// Of 9346CR: the mode, and the pins that a driver sets.
const CR9346_WRITABLE: u8 = 0xce;
/// Of 9346CR: the EEPROM's data out, which floats high: there is no serial EEPROM
/// behind it.
const EEDO: u8 = 1;
/// The mode in which the configuration registers can be written.
const EEM: u8 = 0xc0;
/// The mode that loads them from the EEPROM, and then ends by itself.
const EEM_AUTOLOAD: u8 = 0x40;

/// CONFIG2: medium (PL1, PL0), flow control, boot ROM.
const CONFIG2_WRITABLE: u8 = 0xe0;
/// CONFIG3: full duplex, sleep, power down.
const CONFIG3_WRITABLE: u8 = 0x46;
const CONFIG3_FUDUP: u8 = 0x40;

/// The registers of page 3. They configure the cable, and nothing in the model
/// follows from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigPage {
    cr9346: u8,
    config2: u8,
    config3: u8,
}

impl Default for ConfigPage {
    /// What the EEPROM holds: twisted pair, found by itself; full duplex.
    fn default() -> Self {
        Self {
            cr9346: 0,
            config2: 0,
            config3: CONFIG3_FUDUP,
        }
    }
}

impl ConfigPage {
    pub(super) fn read(&self, at: u8) -> u8 {
        match at {
            0x1 => self.cr9346 | EEDO,
            // CONFIG0: the cable is no coaxial one.
            0x3 => 0,
            0x5 => self.config2,
            0x6 => self.config3,
            0xe => 0x29,
            0xf => 0x80,
            _ => u8::MAX,
        }
    }

    pub(super) fn write(&mut self, at: u8, value: u8) {
        let open = self.cr9346 & EEM == EEM;
        match at {
            0x1 if value & EEM == EEM_AUTOLOAD => *self = Self::default(),
            0x1 => self.cr9346 = value & CR9346_WRITABLE,
            0x5 if open => self.config2 = value & CONFIG2_WRITABLE,
            0x6 if open => self.config3 = value & CONFIG3_WRITABLE,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_is_written_in_its_mode_only_and_an_autoload_undoes_it() {
        let mut page = ConfigPage::default();
        page.write(0x6, 0);
        assert_eq!(page.read(0x6), CONFIG3_FUDUP);
        page.write(0x1, 0xc0);
        page.write(0x6, 0x06);
        page.write(0x5, 0xff);
        assert_eq!((page.read(0x6), page.read(0x5)), (0x06, 0xe0));
        page.write(0x1, 0x40);
        assert_eq!((page.read(0x6), page.read(0x5)), (CONFIG3_FUDUP, 0));
        assert_eq!(page.read(0x1), EEDO);
    }
}
