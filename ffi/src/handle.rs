//! Handles that can be wrong without harm.
//!
//! A handle is a pointer for C's eyes only: its value is the number of a slot
//! and the slot's generation, and it is never followed. A slot's memory is never
//! given back, and its generation goes up whenever its object leaves, so that a
//! handle that was freed, or freed twice, or made up, is recognised and refused.
//!
//! The slot's lock is held for the moment that it takes to look at it. What takes
//! longer holds a reference to the object, so that an object lives until the last
//! call that uses it has returned, whoever closes it meanwhile.

use crate::result::{Code, Error};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Slots are allocated in chunks that never move.
const CHUNK: usize = 1024;
/// 2^20 handles at most.
const CHUNKS: usize = 1024;
/// The low bits of a handle are the slot, the others the generation.
const SLOT_BITS: u32 = 20;

const _: () = assert!(CHUNK * CHUNKS == 1 << SLOT_BITS);
const _: () = assert!(
    usize::BITS == 64,
    "a handle holds a slot and 44 bits of generation: this needs pointers of 64 bits"
);

/// A kind of object that C may hold.
pub(crate) trait Kind: Sized {
    /// How messages call it.
    const NAME: &'static str;
    /// What stands in the slot.
    type Object;
    /// Wraps the object for its slot.
    fn wrap(object: Self::Object) -> Object;
    /// Looks at it.
    fn of(object: &mut Object) -> Option<&mut Self::Object>;
    /// Takes it out, or gives an object of another kind back.
    fn unwrap(object: Object) -> Result<Self::Object, Object>;
}

/// Makes one variant of [`Object`] known by its handle's type.
macro_rules! kind {
    ($handle:ty, $variant:ident, $object:ty, $name:literal) => {
        impl crate::handle::Kind for $handle {
            const NAME: &'static str = $name;
            type Object = $object;

            fn wrap(object: $object) -> crate::handle::Object {
                crate::handle::Object::$variant(object)
            }

            fn of(object: &mut crate::handle::Object) -> Option<&mut $object> {
                match object {
                    crate::handle::Object::$variant(object) => Some(object),
                    _ => None,
                }
            }

            fn unwrap(object: crate::handle::Object) -> Result<$object, crate::handle::Object> {
                match object {
                    crate::handle::Object::$variant(object) => Ok(object),
                    other => Err(other),
                }
            }
        }
    };
}
pub(crate) use kind;

/// What a handle can stand for.
pub(crate) enum Object {
    Stack(std::sync::Arc<crate::stack::StackObject>),
    Nic(std::sync::Arc<crate::nic::NicObject>),
    Wire(crate::wire::WireObject),
    Sock(std::sync::Arc<crate::sock::SockObject>),
    Frame(crate::frame::FrameObject),
    #[cfg(test)]
    Number(u32),
}

#[derive(Default)]
struct Slot(Mutex<Entry>);

#[derive(Default)]
struct Entry {
    generation: usize,
    object: Option<Object>,
}

/// All handles of the process.
struct Table {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    slots: Vec<usize>,
    /// Slots that have been used at least once.
    used: usize,
}

static TABLE: Table = Table {
    chunks: [const { OnceLock::new() }; CHUNKS],
    free: Mutex::new(Free {
        slots: Vec::new(),
        used: 0,
    }),
};

impl Table {
    /// The slot, if its chunk was ever needed.
    fn slot(&self, slot: usize) -> Option<&Slot> {
        self.chunks.get(slot / CHUNK)?.get()?.get(slot % CHUNK)
    }

    fn take_slot(&self) -> Option<(usize, &Slot)> {
        let mut free = lock(&self.free);
        let slot = match free.slots.pop() {
            Some(slot) => slot,
            None if free.used < CHUNK * CHUNKS => {
                free.used += 1;
                free.used - 1
            }
            None => return None,
        };
        let chunk = self.chunks.get(slot / CHUNK)?;
        let slots = chunk.get_or_init(|| (0..CHUNK).map(|_| Slot::default()).collect());
        Some((slot, slots.get(slot % CHUNK)?))
    }

    fn give_back(&self, slot: usize) {
        lock(&self.free).slots.push(slot);
    }
}

/// The table's own locks guard single steps, which a panic cannot leave half
/// done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives an object a handle.
pub(crate) fn insert<K: Kind>(object: K::Object) -> Result<*mut K, Error> {
    let Some((slot, place)) = TABLE.take_slot() else {
        return Err(Error::new(
            Code::SOFTNET_RESULT_NO_RESOURCES,
            format_args!("{} handles are open: close some", 1u32 << SLOT_BITS),
        ));
    };
    let mut entry = lock(&place.0);
    // From 1 on, so that no handle is NULL.
    entry.generation += 1;
    entry.object = Some(K::wrap(object));
    let value = entry.generation << SLOT_BITS | slot;
    Ok(std::ptr::without_provenance_mut(value))
}

/// Looks at a handle's object. `look` must be short: it holds the slot's lock.
pub(crate) fn with<K: Kind, R>(
    handle: *const K,
    look: impl FnOnce(&mut K::Object) -> R,
) -> Result<R, Error> {
    let mut entry = entry::<K>(handle)?;
    let object = entry.object.as_mut().and_then(K::of);
    object.map(look).ok_or_else(wrong_kind::<K>)
}

/// A reference to a shared object, which lives as long as the reference.
pub(crate) fn shared<K, T>(handle: *const K) -> Result<std::sync::Arc<T>, Error>
where
    K: Kind<Object = std::sync::Arc<T>>,
{
    with(handle, |object| object.clone())
}

/// Takes the object out; the handle is bad from now on.
pub(crate) fn remove<K: Kind>(handle: *const K) -> Result<K::Object, Error> {
    let mut entry = entry::<K>(handle)?;
    let object = entry.object.take().ok_or_else(bad::<K>)?;
    match K::unwrap(object) {
        Ok(object) => {
            drop(entry);
            TABLE.give_back(slot_of(handle));
            Ok(object)
        }
        Err(other) => {
            entry.object = Some(other);
            Err(wrong_kind::<K>())
        }
    }
}

/// The slot of a handle that is in use.
fn entry<K: Kind>(handle: *const K) -> Result<MutexGuard<'static, Entry>, Error> {
    if handle.is_null() {
        return Err(Error::null(K::NAME));
    }
    let slot = TABLE.slot(slot_of(handle)).ok_or_else(bad::<K>)?;
    let entry = lock(&slot.0);
    let valid = entry.generation == handle.addr() >> SLOT_BITS && entry.object.is_some();
    valid.then_some(entry).ok_or_else(bad::<K>)
}

fn slot_of<K>(handle: *const K) -> usize {
    handle.addr() & ((1 << SLOT_BITS) - 1)
}

#[cold]
fn bad<K: Kind>() -> Error {
    let name = K::NAME;
    Error::new(
        Code::SOFTNET_RESULT_BAD_HANDLE,
        format_args!("the {name} handle was closed already, or never was one"),
    )
}

#[cold]
fn wrong_kind<K: Kind>() -> Error {
    let name = K::NAME;
    Error::new(
        Code::SOFTNET_RESULT_WRONG_KIND,
        format_args!("the handle is open but not a {name}'s"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sock::softnet_sock;

    struct Number;
    kind!(Number, Number, u32, "number");

    fn code<T>(result: Result<T, Error>) -> Code {
        result
            .err()
            .map_or(Code::SOFTNET_RESULT_OK, |error| error.code)
    }

    #[test]
    fn a_handle_finds_its_object_until_it_is_removed() {
        let handle = insert::<Number>(7).unwrap();
        assert_eq!(with(handle, |number| *number).unwrap(), 7);
        assert_eq!(remove(handle).unwrap(), 7);
        assert_eq!(code(remove(handle)), Code::SOFTNET_RESULT_BAD_HANDLE);
        assert_eq!(code(with(handle, |_| ())), Code::SOFTNET_RESULT_BAD_HANDLE);
    }

    #[test]
    fn a_slot_that_is_used_again_does_not_answer_to_the_old_handle() {
        let old = insert::<Number>(1).unwrap();
        remove(old).unwrap();
        let reused: Vec<_> = (0..64).map(|n| insert::<Number>(n).unwrap()).collect();
        assert_eq!(code(with(old, |_| ())), Code::SOFTNET_RESULT_BAD_HANDLE);
        for handle in reused {
            remove(handle).unwrap();
        }
    }

    #[test]
    fn a_wrong_kind_is_refused_and_the_object_stays() {
        let handle = insert::<Number>(3).unwrap();
        let wrong = handle.cast::<softnet_sock>();
        assert_eq!(code(with(wrong, |_| ())), Code::SOFTNET_RESULT_WRONG_KIND);
        assert_eq!(code(remove(wrong)), Code::SOFTNET_RESULT_WRONG_KIND);
        assert_eq!(remove(handle).unwrap(), 3);
    }

    #[test]
    fn made_up_handles_are_bad_and_null_is_null() {
        assert_eq!(
            code(with(std::ptr::null::<Number>(), |_| ())),
            Code::SOFTNET_RESULT_NULL
        );
        for value in [1, 0xfffff, 0x7fff_dead_beef, usize::MAX] {
            let handle = std::ptr::without_provenance::<Number>(value);
            assert_eq!(code(with(handle, |_| ())), Code::SOFTNET_RESULT_BAD_HANDLE);
        }
    }

    #[test]
    fn threads_that_insert_and_remove_never_meet() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..1000 {
                        let number = thread * 1000 + round;
                        let handle = insert::<Number>(number).unwrap();
                        assert_eq!(remove(handle).unwrap(), number);
                    }
                });
            }
        });
    }
}
