//! Unmounting what others may still hold for a moment: a process that was just started has the handles of this one
//! until it becomes another program, and a tool that has ended may not be taken apart yet.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// How long a filesystem may stay busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Unmounts.
///
/// # Errors
/// It is busy all the time, or nothing is mounted there.
pub(super) fn unmount(point: &Path) -> rustix::io::Result<()> {
    unmount_with(point, || std::thread::sleep(PAUSE))
}

fn unmount_with(point: &Path, mut pause: impl FnMut()) -> rustix::io::Result<()> {
    let began = Instant::now();
    loop {
        match rustix::mount::unmount(point, UnmountFlags::empty()) {
            Err(Errno::BUSY) if began.elapsed() < PATIENCE => pause(),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::mount::{MountFlags, mount};

    use super::*;

    #[test]
    fn a_filesystem_that_is_held_for_a_moment_is_waited_for() {
        let at = tempfile::tempdir().unwrap();
        mount("tmpfs", at.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        let mut held = Some(File::open(at.path()).unwrap());
        let mut pauses = 0;
        unmount_with(at.path(), || {
            pauses += 1;
            held.take();
        })
        .unwrap();
        assert!(pauses > 0 && held.is_none());
        assert_eq!(unmount(at.path()), Err(Errno::INVAL), "nothing is mounted there any more");
    }
}
