//! The text of the XDP program.
//!
//! It reads the configuration in force, walks the headers, and ends at one of the
//! verdicts. r6 holds the context, r7 the header at hand, r8 the end of the data,
//! r9 the configuration's flags and in the end the verdict. Multi-byte fields of a
//! frame are compared as they lie, in network order, so that nothing is swapped.
//!
//! What lies at a fixed place is read from the frame itself. Behind options and
//! extension headers r7 is an offset, and bytes are copied out by a helper: to add
//! such a length to a pointer, the kernel would ask for CAP_PERFMON too.
//!
//! Standards: IEEE 802.1Q, RFC 791, RFC 826, RFC 4861, RFC 8200.

use super::asm::{Alu, AsmError, Assembler, Helper, Instruction, Jump, Label, Reg, Size};
use super::maps::Verdict;
use super::steering::Transport;
use super::tables::{ADDRESS_OURS, KIND_FRAGMENT, KIND_WHOLE, config, flag, key};
use Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use std::os::fd::BorrowedFd;

/// The maps that the program names.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilterMaps<'a> {
    pub(super) selector: BorrowedFd<'a>,
    pub(super) macs: BorrowedFd<'a>,
    pub(super) ipv4: BorrowedFd<'a>,
    pub(super) ipv6: BorrowedFd<'a>,
    pub(super) ports: BorrowedFd<'a>,
    pub(super) counters: BorrowedFd<'a>,
    pub(super) xsks: BorrowedFd<'a>,
}

/// The instructions of the program for these maps.
pub(super) fn assemble(maps: FilterMaps<'_>) -> Result<Vec<Instruction>, AsmError> {
    let mut filter = Filter::new(maps);
    filter.read_configuration();
    filter.parse_ethernet();
    filter.prepare_keys();
    filter.match_mac();
    filter.dispatch_ethertype();
    filter.match_arp();
    filter.match_ipv4();
    filter.match_ipv6();
    filter.walk_extension_headers();
    filter.match_neighbour_discovery();
    filter.match_ports_near();
    filter.match_ports_far();
    filter.match_fragment();
    filter.finish()
}

/// `struct xdp_md`.
mod context {
    pub(super) const DATA: i16 = 0;
    pub(super) const DATA_END: i16 = 4;
    pub(super) const RX_QUEUE_INDEX: i16 = 16;
}

/// Places below the frame pointer.
mod stack {
    /// A key of one word.
    pub(super) const INDEX: i16 = -4;
    pub(super) const GENERATION: i16 = -8;
    pub(super) const ETHERTYPE: i16 = -12;
    /// Whether the rules by port hold for the packet's destination.
    pub(super) const PORTS_HOLD: i16 = -16;
    /// A pointer to the header behind Ethernet's.
    pub(super) const NETWORK_HEADER: i16 = -24;
    pub(super) const MAC_KEY: i16 = -32;
    pub(super) const IPV4_KEY: i16 = -48;
    pub(super) const PORT_KEY: i16 = -64;
    pub(super) const IPV6_KEY: i16 = -88;
    pub(super) const VLAN: i16 = -92;
    /// Where the header behind Ethernet's begins, in bytes from the frame's start.
    pub(super) const NETWORK_OFFSET: i16 = -96;
    /// What is copied out of a frame: 8 bytes.
    pub(super) const BUFFER: i16 = -104;
}

/// Where the searched-for bytes lie in a trie's key: behind the prefix's length
/// and the generation's word.
const KEY_DATA: i16 = 8;
const XDP_PASS: i32 = 2;
const XDP_REDIRECT: i32 = 4;

const ETH_HLEN: i32 = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021AD: u16 = 0x88a8;
const VLAN_ID: i32 = 0x0fff;

const IPV4_HLEN: i32 = 20;
const IPV6_HLEN: i32 = 40;
/// Address and protocol types of Ethernet and IPv4, as the first word of an ARP
/// packet, and their lengths, as the next half word.
const ARP_TYPES: u32 = 0x0001_0800;
const ARP_LENGTHS: u16 = 0x0604;
const ARP_LEN: i32 = 28;
/// More fragments, or an offset other than 0.
const IPV4_FRAGMENT: u16 = 0x3fff;
const IPV6_FRAGMENT: u16 = 0xfff9;

const IPPROTO_HOPOPTS: i32 = 0;
const IPPROTO_ROUTING: i32 = 43;
const IPPROTO_FRAGMENT: i32 = 44;
const IPPROTO_ICMPV6: i32 = 58;
const IPPROTO_DSTOPTS: i32 = 60;
/// Behind type, code, checksum and a reserved word comes the target address.
const ND_TARGET: i32 = 8;
const ND_SOLICITATION: i32 = 135;
const ND_ADVERTISEMENT: i32 = 136;

/// How many extension headers are walked. RFC 8200, section 4.1 recommends an
/// order in which five of those that are known here can occur.
const MAX_EXTENSION_HEADERS: usize = 6;

struct Filter<'a> {
    asm: Assembler,
    maps: FilterMaps<'a>,
    verdicts: [Label; Verdict::ALL.len()],
    arp: Label,
    ipv4: Label,
    ipv6: Label,
    /// r2 holds the protocol, r7 its header's offset.
    upper_layer: Label,
    ipv6_fragment: Label,
    /// r2 holds the protocol, r7 points to its header.
    ports_near: Label,
    /// r2 holds the protocol, r7 its header's offset.
    ports_far: Label,
    /// The key of the table of ports is filled in.
    search_ports: Label,
    /// r2 holds the protocol.
    fragment: Label,
}

impl<'a> Filter<'a> {
    fn new(maps: FilterMaps<'a>) -> Self {
        let mut asm = Assembler::new();
        Self {
            maps,
            verdicts: std::array::from_fn(|_| asm.label()),
            arp: asm.label(),
            ipv4: asm.label(),
            ipv6: asm.label(),
            upper_layer: asm.label(),
            ipv6_fragment: asm.label(),
            ports_near: asm.label(),
            ports_far: asm.label(),
            search_ports: asm.label(),
            fragment: asm.label(),
            asm,
        }
    }

    /// r9 = flags; the generation and the VLAN go to the stack.
    fn read_configuration(&mut self) {
        let pass = self.verdict(Verdict::Pass);
        self.asm.mov(R6, R1);
        self.asm.store(Size::Word, R10, stack::INDEX, 0);
        self.lookup(self.maps.selector, stack::INDEX);
        self.asm.jump(Jump::Eq, R0, 0, pass);
        self.asm.mov(R1, R0);
        self.point_r2_at(stack::INDEX);
        self.asm.call(Helper::MapLookupElem);
        self.asm.jump(Jump::Eq, R0, 0, pass);
        self.asm.load(Size::Word, R9, R0, config::FLAGS);
        self.jump_if_flag(flag::ALL, self.verdict(Verdict::All));
        self.copy_word(R0, config::GENERATION, stack::GENERATION);
        self.copy_word(R0, config::VLAN, stack::VLAN);
    }

    /// r7 = the frame; the EtherType and the network header behind up to two tags
    /// go to the stack.
    fn parse_ethernet(&mut self) {
        let done = self.asm.label();
        let tagged = self.asm.label();
        self.asm.load(Size::Word, R7, R6, context::DATA);
        self.asm.load(Size::Word, R8, R6, context::DATA_END);
        self.need(R7, ETH_HLEN);
        self.asm.load(Size::Half, R2, R7, 12);
        self.asm.mov(R3, 0);
        self.asm.mov(R4, R7);
        self.asm.alu(Alu::Add, R4, ETH_HLEN);
        self.asm.mov(R5, ETH_HLEN);
        self.jump_if_tag(tagged);
        self.asm.goto(done);
        self.asm.bind(tagged);
        self.need(R4, 4);
        self.asm.load(Size::Half, R3, R4, 0);
        self.asm.swap_be(R3, 16);
        self.asm.alu(Alu::And, R3, VLAN_ID);
        self.skip_tag();
        let tagged_twice = self.asm.label();
        self.jump_if_tag(tagged_twice);
        self.asm.goto(done);
        self.asm.bind(tagged_twice);
        self.need(R4, 4);
        self.skip_tag();
        self.asm.bind(done);
        self.asm.store(Size::Word, R10, stack::ETHERTYPE, R2);
        self.asm.store(Size::Double, R10, stack::NETWORK_HEADER, R4);
        self.asm.store(Size::Word, R10, stack::NETWORK_OFFSET, R5);
        self.match_vlan();
    }

    fn jump_if_tag(&mut self, target: Label) {
        self.asm.jump(Jump::Eq, R2, be16(ETH_P_8021Q), target);
        self.asm.jump(Jump::Eq, R2, be16(ETH_P_8021AD), target);
    }

    /// r2 = the EtherType behind the tag at r4; r4 and its offset r5 go behind it.
    fn skip_tag(&mut self) {
        self.asm.load(Size::Half, R2, R4, 2);
        self.asm.alu(Alu::Add, R4, 4);
        self.asm.alu(Alu::Add, R5, 4);
    }

    /// r3 holds the outer VLAN, or 0.
    fn match_vlan(&mut self) {
        let any = self.asm.label();
        self.asm.load(Size::Word, R1, R10, stack::VLAN);
        // As a signed number, VLAN_ANY is -1.
        self.asm.jump32(Jump::Eq, R1, -1, any);
        self.asm
            .jump(Jump::Ne, R1, R3, self.verdict(Verdict::PassVlan));
        self.asm.bind(any);
    }

    /// Everything in the keys that is the same for all look-ups of this frame.
    fn prepare_keys(&mut self) {
        self.asm.load(Size::Word, R1, R10, stack::GENERATION);
        for (key, bits) in [
            (stack::IPV4_KEY, 64),
            (stack::IPV6_KEY, 160),
            (stack::PORT_KEY, 64),
        ] {
            let generation = key + key::GENERATION as i16;
            self.asm.store(Size::Word, R10, key, bits);
            self.asm.store(Size::Word, R10, generation, 0);
            self.asm.store(Size::Byte, R10, generation, R1);
        }
        self.asm
            .store(Size::Word, R10, stack::PORT_KEY + KEY_DATA, 0);
        let generation = stack::MAC_KEY + key::MAC_GENERATION as i16;
        self.asm.store(Size::Half, R10, generation, 0);
        self.asm.store(Size::Byte, R10, generation, R1);
    }

    fn match_mac(&mut self) {
        let search = self.asm.label();
        let done = self.asm.label();
        let multicast = self.asm.label();
        self.asm.load(Size::Word, R1, R7, 0);
        self.asm.load(Size::Half, R2, R7, 4);
        self.asm.load(Size::Byte, R3, R7, 0);
        self.asm.alu(Alu::And, R3, 1);
        self.asm.jump(Jump::Eq, R3, 0, search);
        self.asm.jump32(Jump::Ne, R1, -1, multicast);
        self.asm.jump(Jump::Ne, R2, 0xffff, multicast);
        self.jump_if_flag(flag::BROADCAST, self.verdict(Verdict::Mac));
        self.asm.goto(search);
        self.asm.bind(multicast);
        self.jump_if_flag(flag::MULTICAST, self.verdict(Verdict::Mac));
        self.asm.bind(search);
        let listed = self.asm.label();
        self.jump_if_flag(flag::MACS, listed);
        self.asm.goto(done);
        self.asm.bind(listed);
        self.asm.store(Size::Word, R10, stack::MAC_KEY, R1);
        self.asm.store(Size::Half, R10, stack::MAC_KEY + 4, R2);
        self.lookup(self.maps.macs, stack::MAC_KEY);
        self.asm.jump(Jump::Ne, R0, 0, self.verdict(Verdict::Mac));
        self.asm.bind(done);
    }

    /// r7 = the network header.
    fn dispatch_ethertype(&mut self) {
        self.asm.load(Size::Double, R7, R10, stack::NETWORK_HEADER);
        self.asm.load(Size::Word, R2, R10, stack::ETHERTYPE);
        self.asm.jump(Jump::Eq, R2, be16(ETH_P_IP), self.ipv4);
        self.asm.jump(Jump::Eq, R2, be16(ETH_P_IPV6), self.ipv6);
        self.asm.jump(Jump::Eq, R2, be16(ETH_P_ARP), self.arp);
        self.asm.goto(self.verdict(Verdict::Pass));
    }

    fn match_arp(&mut self) {
        let pass = self.verdict(Verdict::Pass);
        let wanted = self.asm.label();
        self.asm.bind(self.arp);
        self.jump_if_flag(flag::IPV4, wanted);
        self.asm.goto(pass);
        self.asm.bind(wanted);
        self.need(R7, ARP_LEN);
        self.asm.load(Size::Word, R1, R7, 0);
        self.asm.jump(Jump::Ne, R1, be32(ARP_TYPES), pass);
        self.asm.load(Size::Half, R1, R7, 4);
        self.asm.jump(Jump::Ne, R1, be16(ARP_LENGTHS), pass);
        self.look_up_ipv4(24);
        self.asm.jump(Jump::Eq, R0, 0, pass);
        self.jump_if_ours(self.verdict(Verdict::Neighbour));
        self.asm.goto(pass);
    }

    fn match_ipv4(&mut self) {
        let pass = self.verdict(Verdict::Pass);
        let (no_address, by_port) = (self.asm.label(), self.asm.label());
        let known = self.asm.label();
        self.asm.bind(self.ipv4);
        self.need(R7, IPV4_HLEN);
        self.asm.load(Size::Byte, R1, R7, 0);
        // Version 4, and a header of 5 words or more.
        self.asm.jump(Jump::Lt, R1, 0x45, pass);
        self.asm.jump(Jump::Gt, R1, 0x4f, pass);
        self.jump_if_flag(flag::IPV4, known);
        self.asm.goto(no_address);
        self.asm.bind(known);
        self.look_up_ipv4(16);
        self.asm.jump(Jump::Eq, R0, 0, no_address);
        self.jump_if_ours(self.verdict(Verdict::Address));
        self.asm.goto(by_port);
        self.asm.bind(no_address);
        self.jump_if_flag(flag::PORTS_ANYWHERE, by_port);
        self.asm.goto(pass);
        self.asm.bind(by_port);
        self.enter_ipv4_payload();
    }

    /// Goes to the rules by port with r2 = the protocol, r7 = its header.
    fn enter_ipv4_payload(&mut self) {
        let wanted = self.asm.label();
        self.jump_if_flag(flag::PORTS, wanted);
        self.asm.goto(self.verdict(Verdict::Pass));
        self.asm.bind(wanted);
        self.asm.load(Size::Byte, R2, R7, 9);
        self.asm.load(Size::Half, R1, R7, 6);
        let bits = be16(IPV4_FRAGMENT);
        self.asm.jump(Jump::Set, R1, bits, self.fragment);
        let far = self.asm.label();
        self.asm.load(Size::Byte, R1, R7, 0);
        self.asm.jump(Jump::Ne, R1, 0x45, far);
        self.asm.alu(Alu::Add, R7, IPV4_HLEN);
        self.asm.goto(self.ports_near);
        self.asm.bind(far);
        self.asm.alu(Alu::And, R1, 0x0f);
        self.asm.alu(Alu::Lsh, R1, 2);
        self.asm.load(Size::Word, R7, R10, stack::NETWORK_OFFSET);
        self.asm.alu(Alu::Add, R7, R1);
        self.asm.goto(self.ports_far);
    }

    fn match_ipv6(&mut self) {
        let (known, anywhere) = (self.asm.label(), self.asm.label());
        let (no_address, by_port) = (self.asm.label(), self.asm.label());
        let walk = self.asm.label();
        self.asm.bind(self.ipv6);
        self.need(R7, IPV6_HLEN);
        self.asm.load(Size::Byte, R1, R7, 0);
        self.asm.alu(Alu::Rsh, R1, 4);
        self.asm.jump(Jump::Ne, R1, 6, self.verdict(Verdict::Pass));
        self.asm.store(Size::Word, R10, stack::PORTS_HOLD, 0);
        self.jump_if_flag(flag::IPV6, known);
        self.jump_if_flag(flag::PORTS_ANYWHERE, anywhere);
        self.asm.goto(self.verdict(Verdict::Pass));
        self.asm.bind(known);
        self.look_up_ipv6(24);
        self.asm.jump(Jump::Eq, R0, 0, no_address);
        self.jump_if_ours(self.verdict(Verdict::Address));
        self.asm.goto(by_port);
        self.asm.bind(no_address);
        self.jump_if_flag(flag::PORTS_ANYWHERE, by_port);
        // It may be neighbour discovery about an address of ours.
        self.asm.goto(walk);
        self.asm.bind(anywhere);
        self.asm.bind(by_port);
        self.asm.mov(R1, R9);
        self.asm.alu(Alu::And, R1, flag::PORTS);
        self.asm.store(Size::Word, R10, stack::PORTS_HOLD, R1);
        self.asm.bind(walk);
        self.enter_ipv6_payload();
    }

    /// Goes to the ports if there is no other header before them, and else on with
    /// r2 = the protocol, r7 = its header's offset.
    fn enter_ipv6_payload(&mut self) {
        let far = self.asm.label();
        self.asm.load(Size::Byte, R2, R7, 6);
        for protocol in [IPPROTO_FRAGMENT, IPPROTO_ICMPV6] {
            self.asm.jump(Jump::Eq, R2, protocol, far);
        }
        self.jump_if_options(far);
        self.pass_unless_ports_hold();
        self.asm.alu(Alu::Add, R7, IPV6_HLEN);
        self.asm.goto(self.ports_near);
        self.asm.bind(far);
        self.asm.load(Size::Word, R7, R10, stack::NETWORK_OFFSET);
        self.asm.alu(Alu::Add, R7, IPV6_HLEN);
    }

    /// Goes to the upper layer with r2 = its protocol, r7 = its header's offset.
    fn walk_extension_headers(&mut self) {
        for _ in 0..MAX_EXTENSION_HEADERS {
            let (options, fragment) = (self.asm.label(), self.asm.label());
            let advance = self.asm.label();
            self.asm.jump(Jump::Eq, R2, IPPROTO_FRAGMENT, fragment);
            self.jump_if_options(options);
            self.asm.goto(self.upper_layer);
            self.asm.bind(fragment);
            self.enter_fragment_header();
            self.asm.goto(advance);
            self.asm.bind(options);
            self.copy_to_buffer(2);
            self.asm.load(Size::Byte, R1, R10, stack::BUFFER + 1);
            self.asm.bind(advance);
            self.asm.load(Size::Byte, R2, R10, stack::BUFFER);
            // In units of 8 bytes, the first 8 not counted.
            self.asm.alu(Alu::Lsh, R1, 3);
            self.asm.alu(Alu::Add, R1, 8);
            self.asm.alu(Alu::Add, R7, R1);
        }
        let truncated = self.verdict(Verdict::PassTruncated);
        self.jump_if_options(truncated);
        self.asm.jump(Jump::Eq, R2, IPPROTO_FRAGMENT, truncated);
    }

    /// The extension headers that begin with the next protocol and their length.
    fn jump_if_options(&mut self, target: Label) {
        for protocol in [IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS] {
            self.asm.jump(Jump::Eq, R2, protocol, target);
        }
    }

    /// A fragment header that makes no fragment (RFC 6946) is walked over; r1 = 0,
    /// as if it told its length.
    fn enter_fragment_header(&mut self) {
        self.copy_to_buffer(8);
        self.asm.load(Size::Byte, R2, R10, stack::BUFFER);
        self.asm.load(Size::Half, R1, R10, stack::BUFFER + 2);
        let bits = be16(IPV6_FRAGMENT);
        self.asm.jump(Jump::Set, R1, bits, self.ipv6_fragment);
        self.asm.mov(R1, 0);
    }

    fn match_neighbour_discovery(&mut self) {
        let (other, about) = (self.asm.label(), self.asm.label());
        let (wanted, miss) = (self.asm.label(), self.asm.label());
        self.asm.bind(self.upper_layer);
        self.asm.jump(Jump::Ne, R2, IPPROTO_ICMPV6, other);
        self.jump_if_flag(flag::IPV6, wanted);
        self.asm.goto(other);
        self.asm.bind(wanted);
        self.copy_out(0, 1, stack::BUFFER, miss);
        self.asm.load(Size::Byte, R1, R10, stack::BUFFER);
        self.asm.jump(Jump::Eq, R1, ND_SOLICITATION, about);
        self.asm.jump(Jump::Ne, R1, ND_ADVERTISEMENT, miss);
        self.asm.bind(about);
        self.copy_out(ND_TARGET, 16, stack::IPV6_KEY + KEY_DATA, miss);
        self.lookup(self.maps.ipv6, stack::IPV6_KEY);
        self.asm.jump(Jump::Eq, R0, 0, miss);
        self.jump_if_ours(self.verdict(Verdict::Neighbour));
        self.asm.bind(miss);
        self.asm.mov(R2, IPPROTO_ICMPV6);
        self.asm.bind(other);
        self.pass_unless_ports_hold();
        self.asm.goto(self.ports_far);
        self.asm.bind(self.ipv6_fragment);
        self.pass_unless_ports_hold();
        self.asm.goto(self.fragment);
    }

    fn pass_unless_ports_hold(&mut self) {
        self.asm.load(Size::Word, R1, R10, stack::PORTS_HOLD);
        let pass = self.verdict(Verdict::Pass);
        self.asm.jump(Jump::Eq, R1, 0, pass);
    }

    fn match_ports_near(&mut self) {
        let with_ports = self.asm.label();
        self.asm.bind(self.ports_near);
        self.begin_port_key(KIND_WHOLE);
        self.jump_if_transport(with_ports);
        self.asm.goto(self.search_ports);
        self.asm.bind(with_ports);
        self.need(R7, 4);
        self.asm.load(Size::Half, R1, R7, 2);
        self.store_port();
        self.asm.goto(self.search_ports);
    }

    fn match_ports_far(&mut self) {
        let with_ports = self.asm.label();
        self.asm.bind(self.ports_far);
        self.begin_port_key(KIND_WHOLE);
        self.jump_if_transport(with_ports);
        self.asm.goto(self.search_ports);
        self.asm.bind(with_ports);
        self.copy_to_buffer(4);
        self.asm.load(Size::Half, R1, R10, stack::BUFFER + 2);
        self.store_port();
        self.asm.bind(self.search_ports);
        self.lookup(self.maps.ports, stack::PORT_KEY);
        self.asm.jump(Jump::Ne, R0, 0, self.verdict(Verdict::Port));
        self.asm.goto(self.verdict(Verdict::Pass));
    }

    fn jump_if_transport(&mut self, target: Label) {
        for transport in Transport::ALL {
            let number = i32::from(transport.number());
            self.asm.jump(Jump::Eq, R2, number, target);
        }
    }

    fn store_port(&mut self) {
        let place = stack::PORT_KEY + KEY_DATA;
        self.asm.store(Size::Half, R10, place, R1);
    }

    fn match_fragment(&mut self) {
        self.asm.bind(self.fragment);
        self.begin_port_key(KIND_FRAGMENT);
        self.lookup(self.maps.ports, stack::PORT_KEY);
        let taken = self.verdict(Verdict::Fragment);
        self.asm.jump(Jump::Ne, R0, 0, taken);
        self.asm.goto(self.verdict(Verdict::PassFragment));
    }

    /// The verdicts, and what is done about each.
    fn finish(mut self) -> Result<Vec<Instruction>, AsmError> {
        let (ours, count, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        // That a queue has no socket is found out behind all jumps, in `redirect`.
        let named = |verdict: &Verdict| *verdict != Verdict::PassNoSocket;
        for verdict in Verdict::ALL.into_iter().filter(named) {
            self.asm.bind(self.verdict(verdict));
            self.asm.mov(R9, verdict as i32);
            if verdict.is_ours() {
                self.asm.goto(ours);
            } else {
                self.asm.mov(R6, XDP_PASS);
                self.asm.goto(count);
            }
        }
        self.asm.bind(ours);
        self.redirect(count);
        self.asm.bind(count);
        self.asm.store(Size::Word, R10, stack::INDEX, R9);
        self.lookup(self.maps.counters, stack::INDEX);
        self.asm.jump(Jump::Eq, R0, 0, done);
        self.asm.load(Size::Double, R1, R0, 0);
        self.asm.alu(Alu::Add, R1, 1);
        self.asm.store(Size::Double, R0, 0, R1);
        self.asm.bind(done);
        self.asm.mov(R0, R6);
        self.asm.exit();
        self.asm.finish()
    }

    /// r6 = the action. A queue without a socket lets its frames pass.
    fn redirect(&mut self, count: Label) {
        self.asm.load(Size::Word, R2, R6, context::RX_QUEUE_INDEX);
        self.asm.load_map(R1, self.maps.xsks);
        self.asm.mov(R3, XDP_PASS);
        self.asm.call(Helper::RedirectMap);
        self.asm.mov(R6, R0);
        self.asm.jump(Jump::Eq, R0, XDP_REDIRECT, count);
        self.asm.mov(R9, Verdict::PassNoSocket as i32);
    }

    const fn verdict(&self, verdict: Verdict) -> Label {
        self.verdicts[verdict as usize]
    }

    /// Gives up as truncated unless `len` bytes from `pointer` on are there.
    fn need(&mut self, pointer: Reg, len: i32) {
        let truncated = self.verdict(Verdict::PassTruncated);
        self.asm.mov(R1, pointer);
        self.asm.alu(Alu::Add, R1, len);
        self.asm.jump(Jump::Gt, R1, R8, truncated);
    }

    fn jump_if_flag(&mut self, bit: i32, target: Label) {
        self.asm.jump(Jump::Set, R9, bit, target);
    }

    /// r0 points to the value of an address that was found.
    fn jump_if_ours(&mut self, target: Label) {
        self.asm.load(Size::Word, R1, R0, 0);
        self.asm.jump(Jump::Eq, R1, ADDRESS_OURS as i32, target);
    }

    /// r0 = what the table has for the IPv4 address at this offset of r7.
    fn look_up_ipv4(&mut self, offset: i16) {
        self.copy_word(R7, offset, stack::IPV4_KEY + KEY_DATA);
        self.lookup(self.maps.ipv4, stack::IPV4_KEY);
    }

    /// r0 = what the table has for the IPv6 address at this offset of r7.
    fn look_up_ipv6(&mut self, offset: i16) {
        for word in [0, 4, 8, 12] {
            self.copy_word(R7, offset + word, stack::IPV6_KEY + KEY_DATA + word);
        }
        self.lookup(self.maps.ipv6, stack::IPV6_KEY);
    }

    /// Puts the kind and protocol r2 into the key of the table of ports.
    fn begin_port_key(&mut self, kind: u8) {
        let place = stack::PORT_KEY + 5;
        self.asm.store(Size::Byte, R10, place, i32::from(kind));
        self.asm.store(Size::Byte, R10, place + 1, R2);
    }

    /// Copies `len` bytes at offset r7 to the buffer, or gives up as truncated.
    fn copy_to_buffer(&mut self, len: i32) {
        let truncated = self.verdict(Verdict::PassTruncated);
        self.copy_out(0, len, stack::BUFFER, truncated);
    }

    /// Copies `len` bytes at offset r7 and `skip` to the stack, or goes to `short`.
    fn copy_out(&mut self, skip: i32, len: i32, place: i16, short: Label) {
        self.asm.mov(R1, R6);
        self.asm.mov(R2, R7);
        self.asm.alu(Alu::Add, R2, skip);
        self.asm.mov(R3, R10);
        self.asm.alu(Alu::Add, R3, i32::from(place));
        self.asm.mov(R4, len);
        self.asm.call(Helper::XdpLoadBytes);
        self.asm.jump(Jump::Ne, R0, 0, short);
    }

    /// r0 = the element of `map` whose key is at this place of the stack.
    fn lookup(&mut self, map: BorrowedFd<'_>, key: i16) {
        self.asm.load_map(R1, map);
        self.point_r2_at(key);
        self.asm.call(Helper::MapLookupElem);
    }

    fn point_r2_at(&mut self, place: i16) {
        self.asm.mov(R2, R10);
        self.asm.alu(Alu::Add, R2, i32::from(place));
    }

    /// Copies a word to the stack, by way of r1.
    fn copy_word(&mut self, base: Reg, offset: i16, place: i16) {
        self.asm.load(Size::Word, R1, base, offset);
        self.asm.store(Size::Word, R10, place, R1);
    }
}

/// What a half word of a frame is when loaded as it lies.
fn be16(value: u16) -> i32 {
    i32::from(value.to_be())
}

/// The same for a word; a comparison takes it sign-extended, so its first bit in
/// memory order must be clear.
const fn be32(value: u32) -> i32 {
    value.to_be().cast_signed()
}
