//! bpf(2): the commands that this crate uses, with its only unsafe code for BPF.
//!
//! A [`Map`] knows the sizes of its keys and values from the kernel, so that no
//! buffer can be shorter than what the kernel copies.

use super::uapi::{
    ById, Element, LinkCreate, LinkDetach, LinkUpdate, MapCreate, Name, ObjectInfo, ProgLoad,
    ProgTestRun, RawLinkInfo, RawMapInfo, RawProgramInfo, XdpMd, name,
};
use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const MAP_CREATE: c_int = 0;
const MAP_LOOKUP_ELEM: c_int = 1;
const MAP_UPDATE_ELEM: c_int = 2;
const MAP_DELETE_ELEM: c_int = 3;
const MAP_GET_NEXT_KEY: c_int = 4;
const PROG_LOAD: c_int = 5;
const PROG_TEST_RUN: c_int = 10;
const PROG_GET_FD_BY_ID: c_int = 13;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const LINK_CREATE: c_int = 28;
const LINK_UPDATE: c_int = 29;
const LINK_GET_FD_BY_ID: c_int = 30;
const LINK_GET_NEXT_ID: c_int = 31;
const LINK_DETACH: c_int = 34;

/// `BPF_PROG_TYPE_XDP`.
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_TYPE_XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;
/// `BPF_F_REPLACE`: the link's program must be the one named.
const F_REPLACE: u32 = 1 << 2;

fn name_text(name: &Name) -> String {
    let text = CStr::from_bytes_until_nul(name).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

/// One of `enum bpf_map_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`: one value a possible CPU.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LPM_TRIE`: the longest prefix that matches.
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS`
    ArrayOfMaps = 12,
    /// `BPF_MAP_TYPE_DEVMAP`: interfaces to send to.
    DevMap = 14,
    /// `BPF_MAP_TYPE_XSKMAP`: XDP sockets by queue.
    XskMap = 17,
}

/// What a map is made of. A descriptor from elsewhere is compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapShape {
    /// The map's type.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The most entries.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
}

impl MapShape {
    fn key_len(&self) -> usize {
        self.key_size as usize
    }
}

/// A map, and how long its keys and values are.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    shape: MapShape,
    value_len: usize,
}

impl Map {
    /// Makes a map. `inner` is the pattern of the maps in an array of maps.
    pub(super) fn create(
        shape: MapShape,
        text: &str,
        inner: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Errno> {
        let mut attr = MapCreate {
            map_type: shape.kind as u32,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            map_flags: shape.flags,
            inner_map_fd: inner.map_or(0, fd_field),
            numa_node: 0,
            map_name: name(text),
        };
        // SAFETY: MAP_CREATE follows no pointer of its attribute.
        let fd = unsafe { bpf(MAP_CREATE, &mut attr) }?;
        Self::sized(owned(fd), shape)
    }

    /// Takes over a map that another process made, if it has the shape. The
    /// number of entries is the maker's choice.
    pub(super) fn from_fd(fd: OwnedFd, expected: MapShape) -> Result<Self, Errno> {
        let info = map_info(fd.as_fd())?;
        let fits = info.map_type == expected.kind as u32
            && info.key_size == expected.key_size
            && info.value_size == expected.value_size;
        if !fits {
            return Err(Errno::EMEDIUMTYPE);
        }
        let shape = MapShape {
            max_entries: info.max_entries,
            flags: info.map_flags,
            ..expected
        };
        Self::sized(fd, shape)
    }

    fn sized(fd: OwnedFd, shape: MapShape) -> Result<Self, Errno> {
        let value_len = match shape.kind {
            MapKind::PerCpuArray => {
                (shape.value_size as usize).next_multiple_of(8) * possible_cpus()?
            }
            _ => shape.value_size as usize,
        };
        Ok(Self {
            fd,
            shape,
            value_len,
        })
    }

    pub(super) const fn shape(&self) -> &MapShape {
        &self.shape
    }

    /// The kernel's number for the map.
    pub(super) fn id(&self) -> Result<u32, Errno> {
        Ok(map_info(self.fd.as_fd())?.id)
    }

    /// The value of `key`; of a per-CPU map the values of all possible CPUs, each
    /// padded to 8 bytes.
    pub(super) fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let key = self.key(key)?;
        let mut value = vec![0; self.value_len];
        let mut attr = self.element(key, value.as_mut_ptr() as u64, 0);
        // SAFETY: the kernel reads `key_size` bytes of the key, which `key` has
        // checked, and writes `value_len` bytes to the value.
        let found = unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) };
        missing(found.map(|_| value))
    }

    /// Sets the value of `key`.
    pub(super) fn update(&self, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        let key = self.key(key)?;
        if value.len() != self.value_len {
            return Err(Errno::EMSGSIZE);
        }
        let mut attr = self.element(key, value.as_ptr() as u64, 0);
        // SAFETY: the kernel reads `key_size` and `value_len` bytes; both lengths
        // were checked.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }?;
        Ok(())
    }

    /// Removes `key`, and says whether it was there.
    pub(super) fn delete(&self, key: &[u8]) -> Result<bool, Errno> {
        let key = self.key(key)?;
        let mut attr = self.element(key, 0, 0);
        // SAFETY: the kernel reads `key_size` bytes of the key, which `key` has
        // checked.
        let gone = unsafe { bpf(MAP_DELETE_ELEM, &mut attr) };
        Ok(missing(gone)?.is_some())
    }

    /// The key after `key`, or the first one.
    pub(super) fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        let key = key.map(|key| self.key(key)).transpose()?;
        let mut next = vec![0; self.shape.key_len()];
        let mut attr = Element {
            key: key.map_or(0, |key| key.as_ptr() as u64),
            ..self.element(&[], next.as_mut_ptr() as u64, 0)
        };
        // SAFETY: the kernel reads `key_size` bytes of a key that is not null,
        // whose length was checked, and writes as many to `next`.
        let found = unsafe { bpf(MAP_GET_NEXT_KEY, &mut attr) };
        missing(found.map(|_| next))
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn key<'a>(&self, key: &'a [u8]) -> Result<&'a [u8], Errno> {
        if key.len() == self.shape.key_len() {
            Ok(key)
        } else {
            Err(Errno::EMSGSIZE)
        }
    }

    fn element(&self, key: &[u8], value: u64, flags: u64) -> Element {
        Element {
            map_fd: fd_field(self.fd.as_fd()),
            pad: 0,
            key: key.as_ptr() as u64,
            value,
            flags,
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads an XDP program of `code` (8 bytes an instruction). With a log, the
/// verifier writes text into it, ended by a NUL.
pub(super) fn load_xdp(
    code: &[[u8; 8]],
    text: &str,
    flags: u32,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd, Errno> {
    let license = c"MIT OR Apache-2.0";
    let (log_level, log_size, log_buf) = match log {
        Some(log) => (1, log.len() as u32, log.as_mut_ptr() as u64),
        None => (0, 0, 0),
    };
    let mut attr = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level,
        log_size,
        log_buf,
        kern_version: 0,
        prog_flags: flags,
        prog_name: name(text),
        prog_ifindex: 0,
        expected_attach_type: ATTACH_TYPE_XDP,
    };
    // SAFETY: the kernel reads `insn_cnt` instructions of 8 bytes and a string
    // that ends in NUL, and writes at most `log_size` bytes to the log; all three
    // outlive the call.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    Ok(owned(fd))
}

/// Attaches an XDP program to the interface by a link.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    flags: u32,
) -> Result<OwnedFd, Errno> {
    let mut attr = LinkCreate {
        prog_fd: fd_field(program),
        target_ifindex: ifindex,
        attach_type: ATTACH_TYPE_XDP,
        flags,
    };
    // SAFETY: LINK_CREATE for XDP follows no pointer of its attribute.
    let fd = unsafe { bpf(LINK_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// Puts `new` in the place of `old` under the link.
pub(super) fn link_update(
    link: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    old: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut attr = LinkUpdate {
        link_fd: fd_field(link),
        new_prog_fd: fd_field(new),
        flags: F_REPLACE,
        old_prog_fd: fd_field(old),
    };
    // SAFETY: LINK_UPDATE follows no pointer of its attribute.
    unsafe { bpf(LINK_UPDATE, &mut attr) }?;
    Ok(())
}

/// Detaches the link's program, whoever else holds the link.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = LinkDetach {
        link_fd: fd_field(link),
    };
    // SAFETY: LINK_DETACH follows no pointer of its attribute.
    unsafe { bpf(LINK_DETACH, &mut attr) }?;
    Ok(())
}

/// The program with this number. It needs CAP_SYS_ADMIN.
pub(super) fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    by_id(PROG_GET_FD_BY_ID, id)
}

/// The link with this number. It needs CAP_SYS_ADMIN.
pub(super) fn link_by_id(id: u32) -> Result<OwnedFd, Errno> {
    by_id(LINK_GET_FD_BY_ID, id)
}

/// The number of the link after `id`. It needs CAP_SYS_ADMIN.
pub(super) fn next_link_id(id: u32) -> Result<Option<u32>, Errno> {
    let mut attr = ById {
        id,
        ..ById::default()
    };
    // SAFETY: LINK_GET_NEXT_ID follows no pointer of its attribute.
    let found = unsafe { bpf(LINK_GET_NEXT_ID, &mut attr) };
    Ok(missing(found)?.map(|_| attr.next_id))
}

/// What the kernel tells of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) name: String,
}

impl ProgramInfo {
    pub(super) const fn is_xdp(&self) -> bool {
        self.kind == PROG_TYPE_XDP
    }
}

/// The program's number and name.
pub(super) fn program_info(program: BorrowedFd<'_>) -> Result<ProgramInfo, Errno> {
    check_kind(program, &["bpf-prog"])?;
    let mut info = RawProgramInfo::default();
    // SAFETY: all pointers in the structure are null with a length of 0, so the
    // kernel writes to the structure alone.
    unsafe { object_info(program, &mut info) }?;
    Ok(ProgramInfo {
        kind: info.kind,
        id: info.id,
        name: name_text(&info.name),
    })
}

/// What the kernel tells of a link that attaches an XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct XdpLinkInfo {
    pub(super) id: u32,
    pub(super) program: u32,
    /// 0 after the interface has gone or the link was detached.
    pub(super) ifindex: u32,
}

/// What hangs on the link, if it is an XDP one.
pub(super) fn xdp_link_info(link: BorrowedFd<'_>) -> Result<Option<XdpLinkInfo>, Errno> {
    check_kind(link, &["bpf_link", "bpf-link"])?;
    let mut info = RawLinkInfo::default();
    // SAFETY: the fields of the union that the kernel takes for a pointer and its
    // length are 0, so it writes to the structure alone.
    unsafe { object_info(link, &mut info) }?;
    Ok((info.kind == LINK_TYPE_XDP).then_some(XdpLinkInfo {
        id: info.id,
        program: info.program,
        ifindex: info.union[0],
    }))
}

/// How a program is run by the kernel on frames of the caller.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TestRun<'a> {
    pub(super) frame: &'a [u8],
    pub(super) context: Option<XdpMd>,
    pub(super) repeat: u32,
    pub(super) flags: u32,
    pub(super) batch: u32,
}

/// What a test run came to.
#[derive(Debug)]
pub(super) struct TestOutcome {
    pub(super) retval: u32,
    pub(super) data: Vec<u8>,
    /// Nanoseconds a run, on average.
    pub(super) duration: u32,
}

/// Runs the program. Up to `room` bytes of the frame come back.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    run: &TestRun<'_>,
    room: usize,
) -> Result<TestOutcome, Errno> {
    let mut data = vec![0; room];
    let context = run.context.as_ref();
    let mut attr = ProgTestRun {
        prog_fd: fd_field(program),
        data_size_in: run.frame.len() as u32,
        data_size_out: room as u32,
        data_in: run.frame.as_ptr() as u64,
        data_out: if room == 0 {
            0
        } else {
            data.as_mut_ptr() as u64
        },
        repeat: run.repeat,
        ctx_size_in: context.map_or(0, |_| size_of::<XdpMd>() as u32),
        ctx_in: context.map_or(0, |context| core::ptr::from_ref(context) as u64),
        flags: run.flags,
        batch_size: run.batch,
        ..ProgTestRun::default()
    };
    // SAFETY: the kernel reads `data_size_in` and `ctx_size_in` bytes of the two
    // inputs, and writes at most `data_size_out` bytes to `data`; each has the
    // length stated, and lives until the call returns.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    data.truncate(attr.data_size_out as usize);
    Ok(TestOutcome {
        retval: attr.retval,
        data,
        duration: attr.duration,
    })
}

/// The number of CPUs that the kernel keeps per-CPU values for.
pub(super) fn possible_cpus() -> Result<usize, Errno> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    last_cpu(&text).map(|last| last + 1).ok_or(Errno::EIO)
}

/// The last number of a list such as `0-3,8-11`.
fn last_cpu(list: &str) -> Option<usize> {
    list.trim().rsplit(['-', ',']).next()?.parse().ok()
}

/// A structure of plain integers that BPF_OBJ_GET_INFO_BY_FD fills.
///
/// # Safety
/// Every bit pattern must be a valid value.
unsafe trait Info {}

// SAFETY: the structure holds integers only.
unsafe impl Info for RawMapInfo {}
// SAFETY: the structure holds integers only.
unsafe impl Info for RawProgramInfo {}
// SAFETY: the structure holds integers only.
unsafe impl Info for RawLinkInfo {}

fn map_info(map: BorrowedFd<'_>) -> Result<RawMapInfo, Errno> {
    check_kind(map, &["bpf-map"])?;
    let mut info = RawMapInfo::default();
    // SAFETY: `bpf_map_info` has no pointer.
    unsafe { object_info(map, &mut info) }?;
    Ok(info)
}

/// BPF_OBJ_GET_INFO_BY_FD tells of maps, programs and links alike, and their numbers
/// of types overlap; only the name of the file says what it is. (A link has one name
/// from the call that makes it, and another from the one that finds it.) Without
/// /proc the question stays open.
fn check_kind(fd: BorrowedFd<'_>, expected: &[&str]) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let Ok(name) = std::fs::read_link(path) else {
        return Ok(());
    };
    let name = name.to_string_lossy();
    let kind = name.strip_prefix("anon_inode:");
    if kind.is_some_and(|kind| expected.contains(&kind)) {
        Ok(())
    } else {
        Err(Errno::EMEDIUMTYPE)
    }
}

/// Fills `info` with what the kernel tells of a map, program or link.
///
/// # Safety
/// Each pointer that `info` holds must be null, or be valid for the length beside
/// it.
unsafe fn object_info<I: Info>(fd: BorrowedFd<'_>, info: &mut I) -> Result<(), Errno> {
    let mut attr = ObjectInfo {
        bpf_fd: fd_field(fd),
        info_len: size_of::<I>() as u32,
        info: core::ptr::from_mut(info) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes to the structure, which
    // takes any bytes; the caller answers for pointers inside it.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(())
}

fn by_id(command: c_int, id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = ById {
        id,
        ..ById::default()
    };
    // SAFETY: the commands that open by number follow no pointer.
    let fd = unsafe { bpf(command, &mut attr) }?;
    Ok(owned(fd))
}

/// One bpf(2) call.
///
/// # Safety
/// Each pointer in `attr` that `command` follows must be valid for as many bytes
/// as the command copies.
unsafe fn bpf<A>(command: c_int, attr: &mut A) -> Result<c_int, Errno> {
    let command = c_long::from(command);
    // SAFETY: the kernel reads and writes at most `size_of::<A>()` bytes of the
    // attribute, a structure of integers; the caller answers for its pointers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            core::ptr::from_mut(attr),
            size_of::<A>(),
        )
    };
    // Descriptors and zero are all that these commands answer with.
    Errno::result(result).map(|value| value as c_int)
}

/// The descriptor that the kernel has just answered with.
fn owned(fd: c_int) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for this call, so nobody else owns
    // it; bpf(2) sets close-on-exec on it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn fd_field(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// ENOENT is no failure where something is looked for.
fn missing<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_to_15_bytes() {
        assert_eq!(name_text(&name("softnet")), "softnet");
        assert_eq!(name_text(&name("a_name_of_20_letters")), "a_name_of_20_le");
    }

    #[test]
    fn a_list_of_cpus_ends_with_the_last_one() {
        assert_eq!(last_cpu("0\n"), Some(0));
        assert_eq!(last_cpu("0-3\n"), Some(3));
        assert_eq!(last_cpu("0-3,8-11\n"), Some(11));
        assert_eq!(last_cpu("\n"), None);
    }
}
