//! The structures that bpf(2) reads and writes: prefixes of the kernel's `union
//! bpf_attr` and of its `bpf_*_info` (UAPI `linux/bpf.h`, kernel 6.18). The kernel
//! takes what is missing at the end as zero.

/// Bytes of a name, with the NUL at its end (`BPF_OBJ_NAME_LEN`).
pub(super) const NAME_LEN: usize = 16;

/// A name as the kernel keeps it.
pub(super) type Name = [u8; NAME_LEN];

/// Makes a name of at most 15 bytes; what is longer is cut off. The kernel takes
/// letters, digits, `_` and `.`.
pub(super) fn name(text: &str) -> Name {
    let mut name = [0; NAME_LEN];
    let len = text.len().min(NAME_LEN - 1);
    name[..len].copy_from_slice(&text.as_bytes()[..len]);
    name
}

/// `struct xdp_md`, as the kernel takes it for a test run: `data` and `data_end`
/// are offsets.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct XdpMd {
    pub(super) data: u32,
    pub(super) data_end: u32,
    pub(super) data_meta: u32,
    pub(super) ingress_ifindex: u32,
    pub(super) rx_queue_index: u32,
    pub(super) egress_ifindex: u32,
}

#[repr(C)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: u32,
    pub(super) numa_node: u32,
    pub(super) map_name: Name,
}

#[repr(C, align(8))]
pub(super) struct Element {
    pub(super) map_fd: u32,
    pub(super) pad: u32,
    pub(super) key: u64,
    /// Or the next key.
    pub(super) value: u64,
    pub(super) flags: u64,
}

#[repr(C, align(8))]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: Name,
    pub(super) prog_ifindex: u32,
    pub(super) expected_attach_type: u32,
}

#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct ProgTestRun {
    pub(super) prog_fd: u32,
    pub(super) retval: u32,
    pub(super) data_size_in: u32,
    pub(super) data_size_out: u32,
    pub(super) data_in: u64,
    pub(super) data_out: u64,
    pub(super) repeat: u32,
    pub(super) duration: u32,
    pub(super) ctx_size_in: u32,
    pub(super) ctx_size_out: u32,
    pub(super) ctx_in: u64,
    pub(super) ctx_out: u64,
    pub(super) flags: u32,
    pub(super) cpu: u32,
    pub(super) batch_size: u32,
    pub(super) pad: u32,
}

#[repr(C, align(8))]
pub(super) struct LinkCreate {
    pub(super) prog_fd: u32,
    pub(super) target_ifindex: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

#[repr(C, align(8))]
pub(super) struct LinkUpdate {
    pub(super) link_fd: u32,
    pub(super) new_prog_fd: u32,
    pub(super) flags: u32,
    pub(super) old_prog_fd: u32,
}

#[repr(C)]
pub(super) struct LinkDetach {
    pub(super) link_fd: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct ById {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
}

#[repr(C, align(8))]
pub(super) struct ObjectInfo {
    pub(super) bpf_fd: u32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// `struct bpf_map_info` up to its flags.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawMapInfo {
    pub(super) map_type: u32,
    pub(super) id: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
}

/// `struct bpf_prog_info` up to its name.
#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct RawProgramInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) tag: [u8; 8],
    pub(super) jited_prog_len: u32,
    pub(super) xlated_prog_len: u32,
    pub(super) jited_prog_insns: u64,
    pub(super) xlated_prog_insns: u64,
    pub(super) load_time: u64,
    pub(super) created_by_uid: u32,
    pub(super) nr_map_ids: u32,
    pub(super) map_ids: u64,
    pub(super) name: Name,
}

/// `struct bpf_link_info`, whose union is longer than what XDP uses of it.
#[repr(C, align(8))]
#[derive(Default)]
pub(super) struct RawLinkInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program: u32,
    pub(super) pad: u32,
    pub(super) union: [u32; 12],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_end_where_the_kernels_fields_end() {
        assert_eq!(size_of::<MapCreate>(), 44);
        assert_eq!(size_of::<Element>(), 32);
        assert_eq!(core::mem::offset_of!(ProgLoad, prog_name), 48);
        assert_eq!(core::mem::offset_of!(ProgLoad, expected_attach_type), 68);
        assert_eq!(core::mem::offset_of!(ProgTestRun, batch_size), 72);
        assert_eq!(core::mem::offset_of!(RawProgramInfo, name), 64);
        assert_eq!(core::mem::offset_of!(RawLinkInfo, union), 16);
    }
}
