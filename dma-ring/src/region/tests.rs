use super::*;
use core::sync::atomic::Ordering::Relaxed;
use proptest::prelude::*;

/// A region of `len` bytes at a bus address of the test's choice.
fn region_at(dma: u64, len: usize) -> DmaRegion {
    let mut memory = alloc::vec![0_u64; len.div_ceil(8)];
    let base = NonNull::from(&mut memory[..]).cast();
    // SAFETY: the vector's memory lives as long as the region, and is reached
    // through it only.
    unsafe { DmaRegion::from_foreign(base, len, DmaAddr(dma), Box::new(memory)) }
}

fn fault(addr: u64, len: usize, access: DmaAccess) -> DmaFault {
    DmaFault {
        addr: DmaAddr(addr),
        len,
        access,
    }
}

#[test]
fn a_region_is_zeroed_whole_pages() {
    let region = DmaRegion::alloc(5000).unwrap();
    let mut bytes = [1; 8192];
    assert_eq!(region.len(), 8192);
    assert_eq!(region.base().as_ptr().addr() % PAGE, 0);
    assert!(region.read_bytes(0, &mut bytes).is_some());
    assert!(bytes.iter().all(|&b| b == 0));
}

#[test]
fn impossible_lengths_are_errors() {
    assert_eq!(DmaRegion::alloc(0).err(), Some(RegionError::Empty));
    for len in [usize::MAX, isize::MAX as usize] {
        assert_eq!(
            DmaRegion::alloc(len).err(),
            Some(RegionError::OutOfMemory { len })
        );
    }
}

#[test]
fn two_regions_never_touch_on_the_bus() {
    let (a, b) = (DmaRegion::alloc(1).unwrap(), DmaRegion::alloc(1).unwrap());
    let (low, high) = if a.dma_addr() < b.dma_addr() {
        (a, b)
    } else {
        (b, a)
    };
    assert!(low.dma_addr().offset(low.len() as u64) < high.dma_addr());
    assert!(low.dma_addr().0 >= 1 << 32);
}

#[test]
fn words_are_little_endian_aligned_and_inside() {
    let region = region_at(0, 16);
    assert!(region.write_bytes(0, &[1, 2, 3, 4, 5, 6, 7, 8]).is_some());
    assert_eq!(region.read_u32(4, Relaxed), Some(0x0807_0605));
    assert_eq!(region.read_u64(0, Relaxed), Some(0x0807_0605_0403_0201));
    for offset in [1, 2, 4, 7, 9, 16, usize::MAX - 7, usize::MAX] {
        assert_eq!(region.read_u64(offset, Relaxed), None);
        assert_eq!(region.write_u64(offset, 0, Relaxed), None);
    }
    for offset in [1, 2, 3, 16, usize::MAX - 3, usize::MAX] {
        assert_eq!(region.read_u32(offset, Relaxed), None);
        assert_eq!(region.write_u32(offset, 0, Relaxed), None);
    }
    assert_eq!(region.write_u64(8, 0x0102, Relaxed), Some(()));
    assert_eq!(region.write_u32(12, 0x0304, Relaxed), Some(()));
    let mut bytes = [9; 8];
    assert!(region.read_bytes(8, &mut bytes).is_some());
    assert_eq!(bytes, [2, 1, 0, 0, 4, 3, 0, 0]);
}

#[test]
fn a_region_of_odd_length_has_no_word_beyond_its_end() {
    let region = region_at(0, 12);
    assert_eq!(region.read_u64(8, Relaxed), None);
    assert_eq!(region.read_u32(8, Relaxed), Some(0));
}

#[test]
fn foreign_memory_is_kept_until_the_last_handle_goes() {
    let token = Arc::new(());
    let mut memory = Box::new([0_u64; 2]);
    let base = NonNull::from(&mut memory[..]).cast();
    let keep: Box<dyn Any + Send + Sync> = Box::new((memory, token.clone()));
    // SAFETY: the box's memory lives as long as the region.
    let region = unsafe { DmaRegion::from_foreign(base, 16, DmaAddr(0), keep) };
    let mut domain = DmaDomain::new();
    domain.map(&region).unwrap();
    drop(region);
    assert!(domain.write(DmaAddr(8), &[1; 8]).is_ok());
    assert_eq!(Arc::strong_count(&token), 2);
    drop(domain);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn accesses_fault_at_both_edges_and_change_nothing() {
    let mut domain = DmaDomain::new();
    let region = region_at(0x1000, 0x100);
    domain.map(&region).unwrap();
    for (addr, len) in [
        (0xfff, 1),
        (0xfff, 2),
        (0x10ff, 2),
        (0x1100, 1),
        (0, 1),
        (u64::MAX, 1),
    ] {
        let mut out = [7; 2];
        let read = domain.read(DmaAddr(addr), &mut out[..len]);
        assert_eq!(read, Err(fault(addr, len, DmaAccess::Read)));
        assert_eq!(out, [7; 2]);
        let write = domain.write(DmaAddr(addr), &[7; 2][..len]);
        assert_eq!(write, Err(fault(addr, len, DmaAccess::Write)));
    }
    assert!(domain.write(DmaAddr(0x10ff), &[5]).is_ok());
    let mut all = [0; 0x100];
    assert!(domain.read(DmaAddr(0x1000), &mut all).is_ok());
    assert_eq!(all.iter().map(|&b| u32::from(b)).sum::<u32>(), 5);
}

#[test]
fn words_fault_when_unaligned_or_cut() {
    let mut domain = DmaDomain::new();
    domain.map(&region_at(0x1000, 0x14)).unwrap();
    assert_eq!(domain.write_u64(DmaAddr(0x1008), 5, Relaxed), Ok(()));
    assert_eq!(domain.read_u64(DmaAddr(0x1008), Relaxed), Ok(5));
    for addr in [0x1001, 0x1004, 0x1010, 0x1018, 0xff8, u64::MAX - 7] {
        let read = domain.read_u64(DmaAddr(addr), Relaxed);
        assert_eq!(read, Err(fault(addr, 8, DmaAccess::Read)));
        let write = domain.write_u64(DmaAddr(addr), 1, Relaxed);
        assert_eq!(write, Err(fault(addr, 8, DmaAccess::Write)));
    }
}

#[test]
fn an_access_of_no_bytes_still_needs_a_mapped_address() {
    let mut domain = DmaDomain::new();
    domain.map(&region_at(0x1000, 0x10)).unwrap();
    assert_eq!(domain.read(DmaAddr(0x1000), &mut []), Ok(()));
    assert_eq!(domain.write(DmaAddr(0x100f), &[]), Ok(()));
    assert_eq!(
        domain.write(DmaAddr(0x1010), &[]),
        Err(fault(0x1010, 0, DmaAccess::Write))
    );
    assert_eq!(
        domain.read(DmaAddr(0), &mut []),
        Err(fault(0, 0, DmaAccess::Read))
    );
}

#[test]
fn an_access_across_two_mappings_faults_even_when_they_touch() {
    let mut domain = DmaDomain::new();
    domain.map(&region_at(0x2000, 0x1000)).unwrap();
    domain.map(&region_at(0x1000, 0x1000)).unwrap();
    assert!(domain.write(DmaAddr(0x1fff), &[1]).is_ok());
    assert!(domain.write(DmaAddr(0x2000), &[1]).is_ok());
    assert!(domain.write(DmaAddr(0x1fff), &[1, 1]).is_err());
}

#[test]
fn mappings_do_not_overlap_and_the_same_one_may_be_repeated() {
    let mut domain = DmaDomain::new();
    let region = region_at(0x2000, 0x1000);
    domain.map(&region).unwrap();
    assert_eq!(domain.map(&region), Ok(()));
    let overlap = Err(MapError::Overlap(DmaAddr(0x2000)));
    for (addr, len) in [
        (0x2000, 0x1000),
        (0x1fff, 2),
        (0x2fff, 1),
        (0x2800, 8),
        (0x1000, 0x4000),
    ] {
        assert_eq!(
            domain.map(&region_at(addr, len)),
            overlap,
            "{addr:#x}+{len:#x}"
        );
    }
    assert_eq!(domain.map(&region_at(0x3000, 1)), Ok(()));
    assert_eq!(domain.map(&region_at(0x1fff, 1)), Ok(()));
    assert!(domain.unmap(&region));
    assert!(!domain.unmap(&region));
    assert!(domain.read(DmaAddr(0x2000), &mut [0]).is_err());
}

#[test]
fn nothing_is_mapped_at_the_end_of_the_address_space() {
    let mut domain = DmaDomain::new();
    for (addr, len) in [(u64::MAX, 1), (u64::MAX - 7, 8), (u64::MAX, 2)] {
        let outside = Err(MapError::OutsideAddressSpace(DmaAddr(addr)));
        assert_eq!(domain.map(&region_at(addr, len)), outside);
    }
    assert_eq!(domain.map(&region_at(u64::MAX - 8, 8)), Ok(()));
    assert!(domain.write(DmaAddr(u64::MAX - 1), &[1]).is_ok());
    assert!(domain.write(DmaAddr(u64::MAX - 1), &[1, 1]).is_err());
    assert!(domain.write(DmaAddr(u64::MAX), &[1]).is_err());
    assert_eq!(DmaAddr(u64::MAX).offset(5), DmaAddr(u64::MAX));
}

#[test]
fn a_stale_domain_reaches_memory_that_still_exists() {
    let mut domain = DmaDomain::new();
    let region = region_at(0x1000, 0x100);
    domain.map(&region).unwrap();
    let stale = domain.clone();
    domain.unmap(&region);
    drop(region);
    assert!(stale.write(DmaAddr(0x1000), &[1; 0x100]).is_ok());
}

#[test]
fn two_words_are_those_that_are_read_one_by_one() {
    let region = region_at(0x1000, 0x30);
    let mut domain = DmaDomain::new();
    domain.map(&region).unwrap();
    let mut window = domain.window();
    let words = window.words(DmaAddr(0x1010)).unwrap();
    words.set_first(0x0102_0304_0506_0708, Relaxed);
    words.set_second(9, Relaxed);
    assert_eq!(region.read_u64(0x10, Relaxed), Some(0x0102_0304_0506_0708));
    assert_eq!(region.read_u64(0x18, Relaxed), Some(9));
    assert_eq!(
        (words.first(Relaxed), words.second(Relaxed)),
        (0x0102_0304_0506_0708, 9)
    );
    for outside in [0x0fff, 0x1008 + 1, 0x1028, 0x1030] {
        let missed = window.words(DmaAddr(outside)).err();
        assert_eq!(missed, Some(fault(outside, 16, DmaAccess::Read)));
    }
    assert!(window.words(DmaAddr(0x1020)).is_ok(), "the last two");
}

proptest! {
    #[test]
    fn a_domain_is_the_union_of_its_mappings(
        maps in prop::collection::vec((0_u64..64, 1_usize..24), 1..8),
        accesses in prop::collection::vec((0_u64..96, 0_usize..24), 1..40),
    ) {
        let mut domain = DmaDomain::new();
        let mut owner = [None; 96];
        for (n, &(addr, len)) in maps.iter().enumerate() {
            let range = addr as usize..addr as usize + len;
            let free = owner[range.clone()].iter().all(Option::is_none);
            prop_assert_eq!(domain.map(&region_at(addr, len)).is_ok(), free);
            if free {
                owner[range].fill(Some(n));
            }
        }
        let mut window = domain.window();
        for (addr, len) in accesses {
            let first = owner[addr as usize];
            let last = (addr as usize + len).saturating_sub(1);
            let inside = first.is_some() && owner.get(last).is_some_and(|o| len == 0 || *o == first);
            let mut buffer = [0; 24];
            prop_assert_eq!(domain.read(DmaAddr(addr), &mut buffer[..len]).is_ok(), inside);
            prop_assert_eq!(domain.write(DmaAddr(addr), &buffer[..len]).is_ok(), inside);
            prop_assert_eq!(window.read(DmaAddr(addr), &mut buffer[..len]).is_ok(), inside);
            prop_assert_eq!(window.write(DmaAddr(addr), &buffer[..len]).is_ok(), inside);
        }
    }
}
