//! A small assembler for BPF instructions.
//!
//! Encodings are those of the BPF instruction set architecture, RFC 9669: eight
//! bytes an instruction (opcode; destination and source register; a 16-bit offset;
//! a 32-bit immediate), the fields in the byte order of the host.

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. r0 holds results, r1 to r5 arguments, which a call clobbers; r6 to
/// r9 survive calls; r10 is the frame pointer, below which lie 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// The second operand: a register, or a number that is sign-extended to 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Self {
        Self::Imm(value)
    }
}

impl Operand {
    /// The source bit of the opcode, the source register and the immediate.
    const fn fields(self) -> (u8, u8, i32) {
        match self {
            Self::Reg(reg) => (SOURCE_REG, reg as u8, 0),
            Self::Imm(value) => (0, 0, value),
        }
    }
}

/// Width of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Size {
    /// 4 bytes.
    Word = 0x00,
    /// 2 bytes.
    Half = 0x08,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// An operation on 64 bits: `dst = dst OP operand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alu {
    Add = 0x00,
    And = 0x50,
    Lsh = 0x60,
    Rsh = 0x70,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// When a jump is taken, `dst` compared with the operand, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Jump {
    /// `dst == operand`
    Eq = 0x10,
    /// `dst > operand`
    Gt = 0x20,
    /// `dst & operand != 0`
    Set = 0x40,
    /// `dst != operand`
    Ne = 0x50,
    /// `dst < operand`
    Lt = 0xa0,
}

/// A helper of the kernel, by its number (`enum bpf_func_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Helper {
    /// `bpf_map_lookup_elem(map, key)`: a pointer to the value, or null.
    MapLookupElem = 1,
    /// `bpf_redirect_map(map, key, flags)`: XDP_REDIRECT, or the action in the low
    /// bits of the flags if the map has no such entry.
    RedirectMap = 51,
    /// `bpf_xdp_load_bytes(context, offset, buffer, length)`: 0, or an error if the
    /// frame is shorter (kernel 5.18).
    XdpLoadBytes = 189,
}

const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU: u8 = 0x04;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const CLASS_ALU64: u8 = 0x07;
/// The operand is a register rather than the immediate.
const SOURCE_REG: u8 = 0x08;
const MODE_MEM: u8 = 0x60;
const OP_JA: u8 = 0x00;
const OP_CALL: u8 = 0x80;
const OP_EXIT: u8 = 0x90;
const OP_END: u8 = 0xd0;
/// The source register of a 64-bit load whose immediate is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;

/// One instruction, as the kernel takes it.
pub(super) type Instruction = [u8; 8];

/// A place in the program that jumps can name before it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// The program could not be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A jump names a label that stands nowhere.
    #[error("the jump at instruction {0} names a label that was never bound")]
    Unbound(usize),
    /// A jump reaches further than 16 bits can say.
    #[error("the jump at instruction {0} is too long")]
    TooFar(usize),
}

/// Collects instructions, and resolves their labels at the end.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
    /// The jumps whose offset is still open.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// An empty program.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A label that is bound later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Lets the label stand before the next instruction.
    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// `dst = dst OP operand`, in 64 bits.
    pub(super) fn alu(&mut self, op: Alu, dst: Reg, operand: impl Into<Operand>) {
        let (source, src, imm) = operand.into().fields();
        self.push(CLASS_ALU64 | source | op as u8, dst as u8, src, 0, imm);
    }

    /// `dst = operand`
    pub(super) fn mov(&mut self, dst: Reg, operand: impl Into<Operand>) {
        self.alu(Alu::Mov, dst, operand);
    }

    /// Turns the low `bits` (16, 32 or 64) of `dst` from the host's byte order to
    /// the network's, or back, and clears the others.
    pub(super) fn swap_be(&mut self, dst: Reg, bits: i32) {
        self.push(CLASS_ALU | SOURCE_REG | OP_END, dst as u8, 0, 0, bits);
    }

    /// `dst = *(base + offset)`, zero-extended.
    pub(super) fn load(&mut self, size: Size, dst: Reg, base: Reg, offset: i16) {
        let code = CLASS_LDX | MODE_MEM | size as u8;
        self.push(code, dst as u8, base as u8, offset, 0);
    }

    /// `*(base + offset) = operand`
    pub(super) fn store(
        &mut self,
        size: Size,
        base: Reg,
        offset: i16,
        operand: impl Into<Operand>,
    ) {
        let (class, src, imm) = match operand.into() {
            Operand::Reg(reg) => (CLASS_STX, reg as u8, 0),
            Operand::Imm(value) => (CLASS_ST, 0, value),
        };
        self.push(class | MODE_MEM | size as u8, base as u8, src, offset, imm);
    }

    /// `dst = value`, in 64 bits. It takes two instructions.
    pub(super) fn load_imm64(&mut self, dst: Reg, value: u64) {
        self.wide(dst, 0, value);
    }

    /// `dst = map`. It takes two instructions.
    pub(super) fn load_map(&mut self, dst: Reg, map: BorrowedFd<'_>) {
        let fd = u64::from(map.as_raw_fd().cast_unsigned());
        self.wide(dst, PSEUDO_MAP_FD, fd);
    }

    /// Goes to `target` if `dst` compares so with the operand, in 64 bits.
    pub(super) fn jump(
        &mut self,
        when: Jump,
        dst: Reg,
        operand: impl Into<Operand>,
        target: Label,
    ) {
        self.branch(CLASS_JMP | when as u8, dst, operand.into(), target);
    }

    /// The same for the low 32 bits.
    pub(super) fn jump32(
        &mut self,
        when: Jump,
        dst: Reg,
        operand: impl Into<Operand>,
        target: Label,
    ) {
        self.branch(CLASS_JMP32 | when as u8, dst, operand.into(), target);
    }

    /// Goes to `target`.
    pub(super) fn goto(&mut self, target: Label) {
        self.branch(CLASS_JMP | OP_JA, Reg::R0, Operand::Imm(0), target);
    }

    /// Calls a helper. r1 to r5 are its arguments and lost after it, r0 its result.
    pub(super) fn call(&mut self, helper: Helper) {
        self.push(CLASS_JMP | OP_CALL, 0, 0, 0, helper as i32);
    }

    /// Returns r0.
    pub(super) fn exit(&mut self) {
        self.push(CLASS_JMP | OP_EXIT, 0, 0, 0, 0);
    }

    /// The program, with every jump resolved.
    ///
    /// # Errors
    /// A label stands nowhere, or too far away.
    pub(super) fn finish(mut self) -> Result<Vec<Instruction>, AsmError> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let target = self.labels[label.0].ok_or(AsmError::Unbound(at))?;
            let offset = i16::try_from(target as isize - at as isize - 1)
                .map_err(|_| AsmError::TooFar(at))?;
            self.code[at][2..4].copy_from_slice(&offset.to_ne_bytes());
        }
        Ok(self.code)
    }

    fn branch(&mut self, code: u8, dst: Reg, operand: Operand, target: Label) {
        let (source, src, imm) = operand.fields();
        self.jumps.push((self.code.len(), target));
        self.push(code | source, dst as u8, src, 0, imm);
    }

    /// The 64-bit load: its high half is the immediate of a second instruction.
    fn wide(&mut self, dst: Reg, src: u8, value: u64) {
        let (low, high) = (value as u32, (value >> 32) as u32);
        let code = CLASS_LD | Size::Double as u8;
        self.push(code, dst as u8, src, 0, low.cast_signed());
        self.push(0, 0, 0, 0, high.cast_signed());
    }

    fn push(&mut self, code: u8, dst: u8, src: u8, offset: i16, imm: i32) {
        // The two registers share a byte: the destination is the host's first
        // nibble.
        let registers = if cfg!(target_endian = "little") {
            src << 4 | dst
        } else {
            dst << 4 | src
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = imm.to_ne_bytes();
        self.code.push([code, registers, o0, o1, i0, i1, i2, i3]);
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::Reg::{R1, R2, R3, R4, R6, R7, R8, R9, R10};
    use super::*;
    use std::os::fd::AsFd;

    fn encode(write: impl FnOnce(&mut Assembler)) -> Vec<Instruction> {
        let mut asm = Assembler::new();
        write(&mut asm);
        asm.finish().unwrap()
    }

    /// The bytes are those that LLVM's assembler writes.
    #[test]
    fn operations_are_encoded_as_other_assemblers_do() {
        let code = encode(|asm| {
            asm.mov(R6, R1);
            asm.alu(Alu::Add, R2, -4);
            asm.alu(Alu::And, R1, 4095);
            asm.alu(Alu::Lsh, R1, 3);
            asm.alu(Alu::Rsh, R1, 4);
            asm.alu(Alu::Xor, R1, -1);
            asm.swap_be(R3, 16);
            asm.call(Helper::RedirectMap);
            asm.exit();
        });
        let expected = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xfc, 0xff, 0xff, 0xff],
            [0x57, 0x01, 0, 0, 0xff, 0x0f, 0, 0],
            [0x67, 0x01, 0, 0, 0x03, 0, 0, 0],
            [0x77, 0x01, 0, 0, 0x04, 0, 0, 0],
            [0xa7, 0x01, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0xdc, 0x03, 0, 0, 0x10, 0, 0, 0],
            [0x85, 0, 0, 0, 0x33, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(code, expected);
    }

    #[test]
    fn loads_and_stores_carry_their_width_and_offset() {
        let code = encode(|asm| {
            asm.load(Size::Word, R7, R6, 4);
            asm.load(Size::Half, R3, R7, 12);
            asm.load(Size::Byte, R3, R7, 0);
            asm.load(Size::Double, R4, R10, -24);
            asm.store(Size::Word, R10, -4, R9);
            asm.store(Size::Double, R10, -24, R4);
            asm.store(Size::Word, R10, -4, 0);
            asm.store(Size::Byte, R10, -59, 1);
            asm.load_imm64(R1, 0x0123_4567_89ab_cdef);
        });
        let expected = [
            [0x61, 0x67, 0x04, 0, 0, 0, 0, 0],
            [0x69, 0x73, 0x0c, 0, 0, 0, 0, 0],
            [0x71, 0x73, 0, 0, 0, 0, 0, 0],
            [0x79, 0xa4, 0xe8, 0xff, 0, 0, 0, 0],
            [0x63, 0x9a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x7b, 0x4a, 0xe8, 0xff, 0, 0, 0, 0],
            [0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x72, 0x0a, 0xc5, 0xff, 1, 0, 0, 0],
            [0x18, 0x01, 0, 0, 0xef, 0xcd, 0xab, 0x89],
            [0, 0, 0, 0, 0x67, 0x45, 0x23, 0x01],
        ];
        assert_eq!(code, expected);
    }

    #[test]
    fn a_map_is_named_by_its_descriptor() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let code = encode(|asm| asm.load_map(R1, file.as_fd()));
        let [fd, ..] = file.as_raw_fd().to_ne_bytes();
        assert_eq!(code[0], [0x18, 0x11, 0, 0, fd, 0, 0, 0]);
        assert_eq!(code[1], [0; 8]);
    }

    #[test]
    fn a_jump_counts_from_the_instruction_behind_it() {
        let code = encode(|asm| {
            let (back, ahead) = (asm.label(), asm.label());
            asm.bind(back);
            asm.jump(Jump::Gt, R1, R8, ahead);
            asm.jump32(Jump::Eq, R1, -1, ahead);
            asm.jump(Jump::Set, R9, 64, ahead);
            asm.jump(Jump::Lt, R1, 69, back);
            asm.goto(back);
            asm.bind(ahead);
            asm.exit();
        });
        let expected = [
            [0x2d, 0x81, 4, 0, 0, 0, 0, 0],
            [0x16, 0x01, 3, 0, 0xff, 0xff, 0xff, 0xff],
            [0x45, 0x09, 2, 0, 64, 0, 0, 0],
            [0xa5, 0x01, 0xfc, 0xff, 69, 0, 0, 0],
            [0x05, 0, 0xfb, 0xff, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(code, expected);
    }

    #[test]
    fn a_label_that_stands_nowhere_or_too_far_away_is_an_error() {
        let mut asm = Assembler::new();
        let label = asm.label();
        asm.goto(label);
        assert_eq!(asm.finish(), Err(AsmError::Unbound(0)));

        let mut asm = Assembler::new();
        let label = asm.label();
        asm.goto(label);
        (0..40_000).for_each(|_| asm.mov(R1, 0));
        asm.bind(label);
        assert_eq!(asm.finish(), Err(AsmError::TooFar(0)));
    }
}
