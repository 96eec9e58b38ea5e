//! The one socket option that no crate of ours sets.

use std::io;
use std::mem::size_of;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

/// Lets [`rustix::event::poll`] answer only when this many bytes can be received, or no more will come
/// (`SO_RCVLOWAT`, socket(7)).
///
/// # Errors
/// The kernel refused it.
#[expect(unsafe_code, reason = "neither the standard library nor rustix sets this option")]
pub(super) fn set_low_water(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int is a few bytes long");
    // SAFETY: the descriptor is open while `stream` is borrowed, and the kernel reads `length` bytes of `value`.
    let outcome = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            length,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
