//! The caller's memory: the only place where pointers from C are followed.

use crate::result::Error;
use std::ffi::{CStr, c_char};

/// Stores a value where the caller wants it. NULL is refused.
///
/// # Safety
/// `to` is NULL, or good for a write of a `T`.
pub(crate) unsafe fn store<T>(to: *mut T, value: T, name: &str) -> Result<(), Error> {
    if to.is_null() {
        return Err(Error::null(name));
    }
    // SAFETY: not NULL, so good for the write. Unaligned, since C's structures
    // may be packed.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Refuses NULL before a call has done anything that it could not take back.
pub(crate) fn wanted<T>(pointer: *const T, name: &str) -> Result<(), Error> {
    if pointer.is_null() {
        return Err(Error::null(name));
    }
    Ok(())
}

/// The caller's bytes. NULL is an empty slice if `len` is 0.
///
/// # Safety
/// `from` is good for reads of `len` bytes, which nobody writes during `'a`.
pub(crate) unsafe fn bytes<'a>(from: *const u8, len: usize, name: &str) -> Result<&'a [u8], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    check(from, len, name)?;
    // SAFETY: not NULL and not too long; the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(from, len) })
}

/// The caller's buffer. NULL is an empty slice if `len` is 0.
///
/// # Safety
/// `to` is good for writes of `len` bytes, which nobody else uses during `'a`.
pub(crate) unsafe fn copy_out(to: *mut u8, len: usize, from: &[u8]) -> usize {
    let count = from.len().min(len);
    // SAFETY: `count` bytes are within both, and the caller's buffer cannot be
    // part of a frame that it does not hold.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, count) };
    count
}

/// Refuses a buffer that no object can be.
pub(crate) fn check(at: *const u8, len: usize, name: &str) -> Result<(), Error> {
    if len > 0 && at.is_null() {
        return Err(Error::null(name));
    }
    if len > isize::MAX as usize {
        return Err(Error::invalid(format_args!(
            "{name} cannot be {len} bytes long"
        )));
    }
    Ok(())
}

/// The caller's string.
///
/// # Safety
/// `text` is NULL, or a string that ends with a NUL and that nobody writes
/// during `'a`.
pub(crate) unsafe fn string<'a>(text: *const c_char, name: &str) -> Result<&'a str, Error> {
    wanted(text, name)?;
    // SAFETY: not NULL; the caller vouches for the NUL.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str()
        .map_err(|_| Error::invalid(format_args!("{name} is not UTF-8")))
}

/// A string that may be absent: NULL.
///
/// # Safety
/// As for [`string`].
pub(crate) unsafe fn optional_string<'a>(
    text: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Error> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for it.
    unsafe { string(text, name) }.map(Some)
}

/// A structure that begins with its own size in bytes, so that a program and a
/// library of different versions understand each other.
///
/// # Safety
/// `#[repr(C)]`; its first field is `size: usize`; its smallest version is that
/// of 0.1; any bytes are a value, and so are zeros.
pub(crate) unsafe trait Versioned: Copy {
    /// The bytes of the structure in version 0.1.
    const OLDEST: usize;
    /// How messages call it.
    const NAME: &'static str;
    /// Zeroed, or what else stands for "not said".
    fn defaults() -> Self;
}

/// Reads a structure of the caller's version: what a newer library has beyond
/// it gets its default.
///
/// # Safety
/// `from` is NULL, or good for reading as many bytes as its first field says.
pub(crate) unsafe fn read_sized<T: Versioned>(from: *const T) -> Result<T, Error> {
    wanted(from, T::NAME)?;
    // SAFETY: every version begins with its size.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    check_size::<T>(size)?;
    let mut value = T::defaults();
    let to: *mut T = &mut value;
    // SAFETY: `size` is at most the size of `T`, and the caller has that many
    // bytes; any bytes are a value of `T`.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), size) };
    Ok(value)
}

/// Writes a structure of the caller's version: the first `size` bytes.
///
/// # Safety
/// `to` is NULL, or good for writing `size` bytes.
pub(crate) unsafe fn write_sized<T: Versioned>(
    to: *mut T,
    size: usize,
    value: &T,
) -> Result<(), Error> {
    wanted(to, T::NAME)?;
    check_size::<T>(size)?;
    let from: *const T = value;
    // SAFETY: `size` is at most the size of `T`, and the caller has room for it.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), size) };
    Ok(())
}

fn check_size<T: Versioned>(size: usize) -> Result<(), Error> {
    let (oldest, newest, name) = (T::OLDEST, size_of::<T>(), T::NAME);
    if (oldest..=newest).contains(&size) {
        return Ok(());
    }
    Err(Error::invalid(format_args!(
        "a {name} of {size} bytes: this library knows {oldest} to {newest}; was it initialised?"
    )))
}
