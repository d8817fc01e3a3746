//! The memory of a ring: slots that hold an item or nothing.

use crate::index::{RingIndex, RingSize};
use crate::sync::Track;
use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
#[cfg(loom)]
use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// The slots of one ring, owned. Dropping it frees the memory and no items.
pub(crate) struct Slots<T> {
    view: SlotsView<T>,
    layout: Layout,
    #[cfg(loom)]
    _tracks: Box<[Track]>,
}

/// The way to the slots of a ring whose owner is alive.
///
/// Every access is by position, and the mask keeps it inside. What no mask can
/// know is the caller's part: whether the slot holds an item, and that nobody
/// else touches it.
pub(crate) struct SlotsView<T> {
    base: NonNull<MaybeUninit<T>>,
    size: RingSize,
    #[cfg(loom)]
    tracks: NonNull<Track>,
}

impl<T> Clone for SlotsView<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SlotsView<T> {}

/// Slots start on a line of their own, so that an item of a line's size takes
/// one line, not two.
const ALIGN: usize = 128;

impl<T> Slots<T> {
    pub(crate) fn new(size: RingSize) -> Self {
        let layout = Self::layout(size);
        let base = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the layout is not of size zero.
            let memory = unsafe { alloc(layout) };
            match NonNull::new(memory.cast()) {
                Some(base) => base,
                None => handle_alloc_error(layout),
            }
        };
        #[cfg(loom)]
        let tracks: Box<[Track]> = (0..size.slots()).map(|_| Track::new()).collect();
        Self {
            view: SlotsView {
                base,
                size,
                #[cfg(loom)]
                tracks: NonNull::from(&*tracks).cast(),
            },
            layout,
            #[cfg(loom)]
            _tracks: tracks,
        }
    }

    /// # Panics
    /// When the slots would fill the address space, as `Vec` does.
    fn layout(size: RingSize) -> Layout {
        let slots = Layout::array::<T>(size.slots()).and_then(|l| l.align_to(ALIGN));
        match slots {
            Ok(layout) => layout,
            Err(_) => handle_alloc_error(Layout::new::<T>()),
        }
    }

    pub(crate) fn view(&self) -> SlotsView<T> {
        self.view
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: the memory was allocated with this layout, and is freed once.
            unsafe { dealloc(self.view.base.as_ptr().cast(), self.layout) };
        }
    }
}

impl<T> SlotsView<T> {
    #[inline(always)]
    pub(crate) fn size(self) -> RingSize {
        self.size
    }

    #[inline(always)]
    fn at(self, index: RingIndex) -> NonNull<MaybeUninit<T>> {
        // SAFETY: the mask keeps the offset below the number of slots.
        unsafe { self.base.add(index.slot(self.size)) }
    }

    /// Tells loom of an access to `count` slots from `index`.
    #[inline(always)]
    fn track(self, index: RingIndex, count: usize, access: impl Fn(&Track)) {
        #[cfg(loom)]
        for n in 0..count {
            let slot = index.advance(n).slot(self.size);
            // SAFETY: there are as many tracks as slots.
            let track = unsafe { self.tracks.add(slot) };
            // SAFETY: the owner of the slots, and so of the tracks, is alive.
            access(unsafe { track.as_ref() });
        }
        #[cfg(not(loom))]
        let _ = (index, count, access);
    }

    /// Asks for the line of a slot, to be written. It only changes when the line
    /// comes, never what it holds.
    #[inline(always)]
    pub(crate) fn prefetch_write(self, index: RingIndex) {
        #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
        // SAFETY: `prefetchw` is a hint on any address, and nothing where a CPU
        // does not know it.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) self.at(index).as_ptr(),
                options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
        let _ = index;
    }

    /// Puts an item into an empty slot.
    ///
    /// # Safety
    /// The slots are alive, and the slot is the caller's alone. An item that
    /// it holds is forgotten.
    #[inline(always)]
    pub(crate) unsafe fn write(self, index: RingIndex, item: T) {
        self.track(index, 1, Track::write);
        // SAFETY: inside (`at`), alive and exclusive (the caller).
        unsafe { self.at(index).write(MaybeUninit::new(item)) };
    }

    /// Moves the item out of a slot.
    ///
    /// # Safety
    /// The slots are alive, the slot holds an item and is the caller's alone.
    /// It is empty afterwards.
    #[inline(always)]
    pub(crate) unsafe fn take(self, index: RingIndex) -> T {
        self.track(index, 1, Track::write);
        // SAFETY: inside (`at`), alive, exclusive and initialised (the caller).
        unsafe { self.at(index).cast::<T>().read() }
    }

    /// The item of one slot, in place.
    ///
    /// # Safety
    /// For all of `'a` the slots are alive, the slot holds an item, and nobody
    /// writes it.
    #[inline(always)]
    pub(crate) unsafe fn peek<'a>(self, index: RingIndex) -> &'a T {
        self.track(index, 1, Track::read);
        // SAFETY: inside (`at`), alive, initialised and shared (the caller).
        unsafe { self.at(index).cast::<T>().as_ref() }
    }

    /// The items of `count` slots, in place and in order, in two parts.
    ///
    /// # Safety
    /// For all of `'a` the slots are alive, each of the `count` slots from
    /// `index` holds an item, and nobody writes them.
    #[inline]
    pub(crate) unsafe fn slices<'a>(self, index: RingIndex, count: usize) -> (&'a [T], &'a [T]) {
        self.track(index, count, Track::read);
        let first = count.min(self.size.until_end(index));
        let front = self.at(index).cast::<T>().as_ptr();
        let back = self.base.cast::<T>().as_ptr();
        // SAFETY: `first` slots lie from here to the end; the rest as above.
        let front = unsafe { core::slice::from_raw_parts(front, first) };
        // SAFETY: `count` is at most the number of slots, so the rest lies at
        // the start of the memory, before `index`.
        let back = unsafe { core::slice::from_raw_parts(back, count - first) };
        (front, back)
    }

    /// Copies items into empty slots: at most two copies of memory.
    ///
    /// # Safety
    /// The slots are alive, `items` is no longer than the ring, and that many
    /// slots from `index` are the caller's alone. The items are moved: the
    /// caller forgets its own, or they are `Copy`.
    #[inline]
    pub(crate) unsafe fn copy_in(self, index: RingIndex, items: &[T]) {
        self.track(index, items.len(), Track::write);
        let first = items.len().min(self.size.until_end(index));
        let (front, back) = items.split_at(first);
        let source = NonNull::from(front).cast::<MaybeUninit<T>>();
        // SAFETY: `first` slots lie from here to the end, and are the caller's.
        unsafe { self.at(index).copy_from_nonoverlapping(source, first) };
        if back.is_empty() {
            return;
        }
        let source = NonNull::from(back).cast::<MaybeUninit<T>>();
        // SAFETY: the rest lies at the start, before `index`: the caller's too.
        unsafe { self.base.copy_from_nonoverlapping(source, back.len()) };
    }

    /// Moves items out of slots: at most two copies of memory.
    ///
    /// # Safety
    /// The slots are alive, `out` is no longer than the ring, and that many
    /// slots from `index` hold items and are the caller's alone. They are empty
    /// afterwards.
    #[inline]
    pub(crate) unsafe fn copy_out(self, index: RingIndex, out: &mut [MaybeUninit<T>]) {
        self.track(index, out.len(), Track::write);
        let first = out.len().min(self.size.until_end(index));
        let (front, back) = out.split_at_mut(first);
        let target = NonNull::from(&mut *front).cast();
        // SAFETY: `first` slots lie from here to the end, and are the caller's.
        unsafe { self.at(index).copy_to_nonoverlapping(target, first) };
        if back.is_empty() {
            return;
        }
        let target = NonNull::from(&mut *back).cast();
        // SAFETY: the rest lies at the start, before `index`: the caller's too.
        unsafe { self.base.copy_to_nonoverlapping(target, back.len()) };
    }

    /// Drops the items of `count` slots.
    ///
    /// # Safety
    /// As [`take`](Self::take), for each of `count` slots from `index`.
    pub(crate) unsafe fn drop_items(self, index: RingIndex, count: usize) {
        if core::mem::needs_drop::<T>() {
            for n in 0..count {
                // SAFETY: the caller's word for each slot.
                drop(unsafe { self.take(index.advance(n)) });
            }
        }
    }
}
