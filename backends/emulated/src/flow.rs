//! Flow control by pause frames (IEEE 802.3, annex 31B), whatever the registers
//! are that it is set up by.

/// The opcode of a pause frame.
const PAUSE: u16 = 1;
/// Nanoseconds of one pause quantum: 512 bit times, here of 1000 Mbit/s.
const QUANTUM_NS: u64 = 512;
/// Bytes of the shortest frame, without FCS.
const SHORTEST: usize = 60;

/// What is under way.
#[derive(Default)]
pub(crate) struct Flow {
    /// The partner has asked for silence until then.
    paused_until: Option<u64>,
    /// The partner was asked for silence, which it keeps until then.
    asked_until: Option<u64>,
    /// Something was to be sent in the silence that is kept now.
    deferred: bool,
}

/// What becomes of a MAC control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// It is received as any other.
    Pass,
    /// It was for the MAC alone.
    Consumed,
}

/// What a MAC control frame said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Be silent.
    Xoff,
    /// Be silent no longer.
    Xon,
    /// Nothing that is known.
    Unsupported,
}

/// What MAC control frames are known by: the group's address, this station's, and
/// the EtherType.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) group: [u8; 6],
    pub(crate) station: [u8; 6],
    pub(crate) ethertype: [u8; 2],
}

/// How they are received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) names: Names,
    /// Pause frames go to the host too, and those that are not known.
    pub(crate) pauses: Control,
    pub(crate) others: Control,
}

/// How full the receiver is, in bytes, and when that matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) used: usize,
    /// From here on the partner is asked for silence; 0: never.
    pub(crate) high: usize,
    /// Down to here the silence goes on.
    pub(crate) low: usize,
    /// Its end is said.
    pub(crate) says_xon: bool,
}

/// FCRTL.XONE: below the low threshold, an XON is sent.
const XONE: u32 = 1 << 31;

impl Fill {
    /// By the registers of the two thresholds, FCRTH and FCRTL.
    pub(crate) fn new(used: usize, fcrth: u32, fcrtl: u32) -> Self {
        let threshold = |register| (register & 0xfff8) as usize;
        Self {
            used,
            high: threshold(fcrth),
            low: threshold(fcrtl),
            says_xon: fcrtl & XONE != 0,
        }
    }
}

impl Names {
    /// From pairs of registers: four bytes, and two.
    pub(crate) fn new(group: [u32; 2], station: [u32; 2], ethertype: u32) -> Self {
        Self {
            group: address(group),
            station: address(station),
            ethertype: (ethertype as u16).to_be_bytes(),
        }
    }

    /// A pause frame of so many quanta.
    pub(crate) fn pause_frame(&self, quanta: u16) -> [u8; SHORTEST] {
        let mut frame = [0; SHORTEST];
        frame[..6].copy_from_slice(&self.group);
        frame[6..12].copy_from_slice(&self.station);
        let words = [self.ethertype, PAUSE.to_be_bytes(), quanta.to_be_bytes()];
        frame[12..18].copy_from_slice(words.as_flattened());
        frame
    }
}

fn address([low, high]: [u32; 2]) -> [u8; 6] {
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.to_le_bytes();
    [a, b, c, d, e, f]
}

impl Listener {
    /// Whether a frame is MAC control, and for this station.
    #[inline]
    pub(crate) fn is_control(&self, frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&self.names.ethertype)
            && (frame.starts_with(&self.names.group) || frame.starts_with(&self.names.station))
    }

    /// Obeys a MAC control frame.
    #[cold]
    pub(crate) fn obey(&self, frame: &[u8], now_ns: u64, flow: &mut Flow) -> (Heard, Control) {
        let word = |at| frame.get(at..).and_then(<[u8]>::first_chunk).copied();
        let opcode = word(14).map(u16::from_be_bytes);
        let quanta = word(16).map(u16::from_be_bytes);
        let (Some(PAUSE), Some(quanta)) = (opcode, quanta) else {
            return (Heard::Unsupported, self.others);
        };
        let pause_ns = u64::from(quanta) * QUANTUM_NS;
        flow.paused_until = (quanta != 0).then(|| now_ns.saturating_add(pause_ns));
        let heard = if quanta == 0 { Heard::Xon } else { Heard::Xoff };
        (heard, self.pauses)
    }
}

impl Flow {
    /// Whether the transmitter has to be silent at `now_ns`.
    #[inline]
    pub(crate) fn is_paused(&mut self, now_ns: u64) -> bool {
        if self.shows_pause(now_ns) {
            return true;
        }
        self.paused_until = None;
        self.deferred = false;
        false
    }

    /// What a register shows at `now_ns`, also while there is nothing to send.
    pub(crate) fn shows_pause(&self, now_ns: u64) -> bool {
        self.paused_until.is_some_and(|until| until > now_ns)
    }

    /// The transmitter has something to send, and is silent. Returns whether that
    /// is new.
    pub(crate) fn defer(&mut self) -> bool {
        !std::mem::replace(&mut self.deferred, true)
    }

    /// When the first of the two silences ends that last beyond `now_ns`.
    pub(crate) fn due(&self, now_ns: u64) -> Option<u64> {
        let ends = self.paused_until.into_iter().chain(self.asked_until);
        ends.filter(|&end| end > now_ns).min()
    }

    /// The partner is asked for `quanta` of silence.
    pub(crate) fn ask(&mut self, quanta: u16, now_ns: u64) {
        let pause_ns = u64::from(quanta) * QUANTUM_NS;
        self.asked_until = Some(now_ns.saturating_add(pause_ns));
    }

    /// What the partner is to be told for how full the receiver is: the quanta of
    /// a pause frame, of which 0 is the end of the silence.
    pub(crate) fn compare(&mut self, fill: &Fill, quanta: u16, now_ns: u64) -> Option<u16> {
        // A silence of no time is over at once, and asked for once all the same.
        let again = self
            .asked_until
            .is_none_or(|end| quanta != 0 && end <= now_ns);
        if fill.high != 0 && fill.used >= fill.high && again {
            self.ask(quanta, now_ns);
            return Some(quanta);
        }
        let over = self.asked_until.is_some() && fill.used <= fill.low;
        if over {
            self.asked_until = None;
        }
        (over && fill.says_xon).then_some(0)
    }
}
